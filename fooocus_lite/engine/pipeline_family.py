"""Every family that we do not take apart: one of diffusers' text-to-image pipelines, driven through its own call.

It walks by itself, with its own scheduler. We see each step as it ends: that gives previews, progress and a way to
stop. A new one is a row with a `fooocus_lite.families.Pipeline`. Always offline, and never with code from a model's
folder.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fooocus_lite.engine.adapter_layers import Layers
from fooocus_lite.engine.adapters import Use, applied, check_fit
from fooocus_lite.engine.decode import tiled
from fooocus_lite.engine.device import Machine, is_out_of_memory
from fooocus_lite.engine.family import OnStep
from fooocus_lite.engine.gguf_files import ENDING as GGUF
from fooocus_lite.engine.latent_colours import COLOURS
from fooocus_lite.engine.preview import LatentColours, load_colours
from fooocus_lite.engine.tokens import plain_words
from fooocus_lite.engine.weights import check_length, damaged, missing, read_json
from fooocus_lite.errors import FooocusError
from fooocus_lite.families import FAMILIES
from fooocus_lite.lora_keys import TEXT_ENCODER, TRANSFORMER, UNET
from fooocus_lite.memory import TILE_SIDE
from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Plan
from fooocus_lite.untrusted import printable

_VAE = "vae"
_SIDE = 2  # latents a side of a token, where a pipeline hands over tokens
#: Whose classes a model's folder may name: no code of its own.
_LIBRARIES = ("diffusers", "transformers")
#: Classes that load whichever network a folder names, in whichever way it is saved: pickles, too.
_CHOOSES_A_NETWORK = re.compile(r"Auto(Model|Backbone|Pipeline)|\w*Pipeline$|pipeline$")


class PipelineFamily:
    """A loaded pipeline.

    Raises (when made):
        MissingModel, CorruptModel: a file of the model is not there or not usable.
    """

    def __init__(self, ref: ModelRef, machine: Machine) -> None:
        row = FAMILIES[ref.family].pipeline
        if row is None:
            raise RuntimeError(f"the family {ref.family} names no pipeline")
        self._row, self._name = row, ref.name
        self.in_tiles, self._tile_side = False, TILE_SIDE
        self._usual_steps: int = FAMILIES[ref.family].defaults["steps"]
        self._pipe = _load(ref, row.name, machine)
        components: Mapping[str, Any] = self._pipe.components
        self.parts = {name: part for name, part in components.items() if isinstance(part, nn.Module)}
        network = self.parts[TRANSFORMER]
        self._layers = Layers({UNET: network, TRANSFORMER: network})
        vae: Any = self._pipe.vae.config
        channels = int(vae.get("latent_channels") or vae.get("z_dim") or 0)
        usual = COLOURS.get(row.colours)
        self.colours: LatentColours | None = load_colours(_folder(ref) / "preview.json", channels) or (
            usual if usual and len(usual.matrix) == channels else None
        )

    @contextmanager
    def adapted(self, uses: Sequence[Use]) -> Generator[None]:
        """As `Family.adapted`; of the transformer alone."""
        check_fit(self._layers, uses)
        with applied(self._layers, uses, (UNET, TRANSFORMER)):
            yield

    def warnings(self, plan: Plan) -> tuple[str, ...]:
        """What a person should know about the words."""
        if not any(plain_words(text)[1] for text in (*plan.texts, *plan.negative_texts)):
            return ()
        return (f"The model {self._name} reads no weights in a prompt; the words count as they stand.",)

    def draw(self, plan: Plan, on_step: OnStep) -> Tensor:
        """(height, width, 3) uint8 pixels in this computer's memory.

        Raises:
            FooocusError: the picture's numbers left their range.
        """
        shown = _Estimates(self._pipe, plan)

        def at_step_end(_pipe: object, index: int, _timestep: object, found: dict[str, Any]) -> dict[str, Any]:
            on_step(index, shown.after(index, found["latents"]))
            if index + 1 == plan.steps:  # the library asks it by `decode`, which no hook of `forward` hears
                self._wake(_VAE)
            return {}

        # Pipelines put the words where an encoder is, before they call it.
        self._wake(*(name for name in self.parts if name.startswith(TEXT_ENCODER)))
        with tiled(self._pipe.vae, self._tile_side) if self.in_tiles else nullcontext():
            image: Tensor = self._pipe(
                **self._arguments(plan),
                generator=torch.Generator("cpu").manual_seed(plan.seed),
                callback_on_step_end=at_step_end,
                output_type="pt",
            ).images[0]
        picture = image.float().cpu()
        if not bool(picture.isfinite().all()):
            raise FooocusError(
                "The picture's numbers left their range, so there is nothing to see.",
                "Start with --dtype bf16 or --dtype fp32, or choose another model.",
                code="bad_value",
                field="dtype",
            )
        return picture.mul(255).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()

    def _arguments(self, plan: Plan) -> dict[str, Any]:
        row = self._row
        found: dict[str, Any] = {
            "prompt": _joined(plan.texts),
            "width": plan.width,
            "height": plan.height,
            "num_inference_steps": plan.steps,
            **row.arguments,
        }
        if plan.steps != self._usual_steps:
            found |= row.at_other_steps
        found[row.scale] = plan.guidance_scale + row.scale_offset
        if row.unwanted and plan.guidance_scale != 1:
            found[row.unwanted] = _joined(plan.negative_texts)
        return found

    def _wake(self, *names: str) -> None:
        """Bring parts to the device, if somebody keeps them elsewhere until they are called."""
        for name in names:
            for hook in tuple(self.parts[name]._forward_pre_hooks.values()):  # pyright: ignore[reportPrivateUsage]
                hook(self.parts[name], ())


class _Estimates:
    """What the picture looks like after each step of a pipeline.

    Of a flow model the velocity of a step of Euler follows from where the latents were and are, so that the estimate
    of x0 can be told without asking the model; of others the latents themselves are shown.
    """

    def __init__(self, pipe: Any, plan: Plan) -> None:
        self._scheduler = pipe.scheduler
        self._rows = plan.height // (int(pipe.vae_scale_factor) * _SIDE)
        self._is_flow = type(self._scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"
        self._former: Tensor | None = None

    def after(self, index: int, latents: Tensor) -> Callable[[], Tensor] | None:
        """How to see the picture, (1, C, h, w), after a step; ``None`` if nothing is known yet."""
        former, self._former = self._former, latents
        if not self._is_flow:
            return lambda: self._as_picture(latents)
        if former is None:
            return None
        here, there = self._scheduler.sigmas[index], self._scheduler.sigmas[index + 1]

        def estimate() -> Tensor:
            velocity = (latents - former) / (there - here)
            return self._as_picture(latents - there * velocity)

        return estimate

    def _as_picture(self, latents: Tensor) -> Tensor:
        latents = latents[:1].float()
        if latents.dim() == 3:  # tokens, row by row
            latents = latents.transpose(1, 2).unflatten(2, (self._rows, -1))
            return torch.nn.functional.pixel_shuffle(latents, _SIDE)
        return latents[:, :, 0] if latents.dim() == 5 else latents  # one frame of a film


def _joined(texts: Sequence[str]) -> str:
    return ", ".join(words for words in (plain_words(text)[0] for text in texts) if words)


def _folder(ref: ModelRef) -> Path:
    """With the small files, in the layout of diffusers."""
    path = Path(ref.path)
    if not path.exists():
        raise missing(path)
    return path if path.is_dir() else Path(ref.configs)


def _load(ref: ModelRef, name: str, machine: Machine) -> Any:
    """The pipeline ``name`` of diffusers with the model's components."""
    import diffusers
    from transformers.utils import logging as transformers_log

    transformers_log.disable_progress_bar()
    base: Any = getattr(diffusers, name)
    folder = _folder(ref)
    index = read_json(folder / "model_index.json")
    elsewhere = {component: Path(place) for component, place in ref.parts}
    if not Path(ref.path).is_dir():
        elsewhere[TRANSFORMER] = Path(ref.path)
    wanted = set(inspect.signature(base.__init__).parameters) - {"self"}
    made: dict[str, Any] = {}
    for key in wanted & index.keys():
        said = index[key]
        if isinstance(said, list):
            library, kind = (str(word) if word is not None else "" for word in (*said, None, None)[:2])
            place = elsewhere.get(key, folder / key)
            made[key] = _component(folder, place, library, kind, machine) if kind else None
        else:
            made[key] = said

    class Here(base):  # by itself a pipeline looks where its first network is, which may be at home
        @property
        def _execution_device(self) -> torch.device:
            return machine.device

    try:
        pipe: Any = Here(**made)
    except (TypeError, ValueError, AttributeError) as exc:
        raise damaged(folder / "model_index.json", f"it does not describe a {name} ({_first_line(exc)})") from exc
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _component(folder: Path, place: Path, library: str, kind: str, machine: Machine) -> Any:
    """A component of a pipeline; networks where the machine has its weights.

    Args:
        folder: Of the model, with the configuration of ``place`` if that is a file.
        library, kind: Of its class, as ``model_index.json`` names them.
    """
    if library not in _LIBRARIES:
        raise damaged(folder / "model_index.json", f"it names the class {library[:60]}.{kind[:60]}, which is not known")
    if not place.exists():
        raise missing(place)
    for path in [place] if place.is_file() else sorted(place.glob("*.safetensors")):
        check_length(path)
    cls: Any = getattr(importlib.import_module(library), kind, None)
    if not isinstance(cls, type) or _CHOOSES_A_NETWORK.match(kind):
        raise damaged(folder / "model_index.json", f"it names the unknown class {library}.{kind[:60]}")
    if not issubclass(cls, nn.Module):
        own: Any = cls
        safe = {"trust_remote_code": False} if kind.startswith("Auto") else {}  # of these, some look for code
        return _tried(place, lambda: own.from_pretrained(str(place), local_files_only=True, **safe))
    read: Any = cls
    options: dict[str, Any] = {
        "local_files_only": True,
        "torch_dtype" if library == "diffusers" else "dtype": machine.dtype,
    }
    if place.is_file():
        options |= {"config": str(folder), "subfolder": TRANSFORMER}
        if place.suffix.lower() == GGUF:
            from diffusers.quantizers.quantization_config import GGUFQuantizationConfig

            options["quantization_config"] = GGUFQuantizationConfig(compute_dtype=machine.dtype)
        return _tried(place, lambda: read.from_single_file(str(place), **options)).to(machine.weights_device)
    options |= {"use_safetensors": True, "output_loading_info": True}
    network, told = _tried(place, lambda: read.from_pretrained(str(place), **options))
    lacking = sorted(told["missing_keys"])
    if lacking:
        raise damaged(place, f"{len(lacking)} of its tensors are not there, such as {lacking[0]}")
    return network.eval().requires_grad_(requires_grad=False).to(machine.weights_device)


def _tried(place: Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as exc:
        if is_out_of_memory(exc):
            raise
        raise damaged(place, f"it cannot be loaded ({_first_line(exc)})") from exc


def _first_line(exc: Exception) -> str:
    return printable(next(iter(str(exc).strip().splitlines()), type(exc).__name__)[:200]).rstrip(".")
