"""The bare loop that `bench` measures the app against: the same model, one process, nothing around it.

A child process of `bench`: orders as JSON lines on standard input, answers as JSON lines on standard output.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fooocus_lite.engine.adapters import Adapters
from fooocus_lite.engine.denoise import denoise
from fooocus_lite.engine.device import choose_machine
from fooocus_lite.engine.family import DrawsItself, Encoded, load_family
from fooocus_lite.engine.guidance import guided, joined
from fooocus_lite.engine.moment import Moment, NoiseSource, Predict
from fooocus_lite.engine.preview import OnItsWay, to_pixels
from fooocus_lite.engine.run import Engine
from fooocus_lite.engine.samplers import Path as WalkPath
from fooocus_lite.engine.samplers import make_path
from fooocus_lite.engine.weights import weight_files
from fooocus_lite.events import ImageReady
from fooocus_lite.lora_keys import TEXT_ENCODER, TEXT_ENCODER_2, UNET
from fooocus_lite.plan import LoraRef, Plan, plan_from_dict
from fooocus_lite.registry import SAMPLERS, SCHEDULERS

#: Our sampler → the scheduler of diffusers that walks so, and its options. Another sampler is measured beside Euler.
_THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {"timestep_spacing": "linspace"}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    ),
}
_LORA_PARTS = {UNET: "lora_unet_", TEXT_ENCODER: "lora_te1_", TEXT_ENCODER_2: "lora_te2_"}
_LORA_RANK = 16
_ATTENTION = re.compile(r"(attn[12]\.to_(q|k|v|out\.0)|self_attn\.\w+_proj)\.weight$")
_READS = ("aten.item", "aten._local_scalar_dense", "aten.is_nonzero", "aten.nonzero")


class Bare:
    """A loaded model and the shortest way to a picture."""

    def __init__(self, plan: Plan, *, device: str, dtype: str) -> None:
        self.plan = plan
        self.machine = choose_machine(device, dtype)
        family = load_family(plan.model, self.machine)
        if isinstance(family, DrawsItself):
            raise TypeError("diffusers' own loop is the only one that there is for this model")
        self.family = family
        self._adapters = Adapters()
        self._engine = Engine(device=device, dtype=dtype, preview_fps=0)
        self._drawn: dict[bool, list[bytes]] = {}
        self._lora: LoraRef | None = None

    def picture(self, seed: int) -> float:
        """Seconds for a picture of the plan, its words encoded before."""
        encoded = self.family.encode(self.plan)
        started = time.perf_counter()
        self.family.decode(self._walk(encoded, seed, self.plan.steps)[0]).cpu()
        return time.perf_counter() - started

    def first_preview(self, text: str) -> float:
        """Seconds to encode ``text``, take one step and make a preview."""
        started = time.perf_counter()
        encoded = self.family.encode(replace(self.plan, texts=(text,)))
        latents, denoised = self._walk(encoded, 1, 1)
        colours = self.family.colours
        if colours is not None:
            shown = latents if denoised is None else denoised
            matrix, bias = torch.tensor(colours.matrix).to(shown), torch.tensor(colours.bias).to(shown)
            OnItsWay(to_pixels(shown, matrix, bias)).jpeg(self.plan.width, self.plan.height)
        return time.perf_counter() - started

    def _walk(self, encoded: Encoded, seed: int, steps: int) -> tuple[Tensor, Tensor | None]:
        """(latents, last estimate of x0) after ``steps`` steps, with diffusers' scheduler as it comes."""
        name, options = _THEIRS.get(self.plan.sampler, _THEIRS["euler"])
        scheduler: Any = getattr(diffusers, name).from_config(dict(self.family.scheduler_config), **options)
        scheduler.set_timesteps(self.plan.steps)
        generator = torch.Generator("cpu").manual_seed(seed)
        shape = self.family.latent_shape(self.plan)
        latents = torch.randn(shape, generator=generator).to(self.machine.device) * scheduler.init_noise_sigma
        pair = None if encoded.uncond is None else joined(encoded.uncond, encoded.cond)
        denoised: Tensor | None = None
        for index, timestep in enumerate(scheduler.timesteps[:steps]):
            model_input: Tensor = scheduler.scale_model_input(latents, timestep)
            moment = Moment(index, timestep.to(self.machine.device), 1.0, 0.0)
            if pair is None:
                prediction = self.family.forward(model_input, moment, encoded.cond)
            else:
                uncond, cond = self.family.forward(torch.cat([model_input, model_input]), moment, pair).chunk(2)
                prediction = uncond + self.plan.guidance_scale * (cond - uncond)
            done = scheduler.step(prediction, timestep, latents)
            latents, denoised = done.prev_sample, getattr(done, "pred_original_sample", None)
        return latents, denoised

    def write_lora(self, path: str) -> int:
        """Write a LoRA on every attention layer, for `switch_lora`; how many layers that are."""
        dice = torch.Generator().manual_seed(1)
        stored: dict[str, Tensor] = {}
        for part, prefix in _LORA_PARTS.items():
            (file,) = weight_files(Path(self.plan.model.path) / part)
            with safe_open(str(file), framework="pt") as weights:
                keys: list[str] = weights.keys()
                shapes = {key: weights.get_slice(key).get_shape() for key in keys if _ATTENTION.search(key)}
            for key, (rows, columns) in shapes.items():
                layer = prefix + key.removesuffix(".weight").replace(".", "_")
                stored[f"{layer}.lora_down.weight"] = torch.randn(_LORA_RANK, columns, generator=dice)
                stored[f"{layer}.lora_up.weight"] = torch.randn(rows, _LORA_RANK, generator=dice) * 1e-3
        save_file(stored, path)
        self._lora = LoraRef("bench", path, 1.0)
        return len(stored) // 2

    def switch_lora(self, weight: float) -> float:
        """Seconds that a LoRA at another weight adds to a picture."""
        if self._lora is None:
            raise RuntimeError("write_lora comes first")
        started = time.perf_counter()
        with self.family.adapted(self._adapters.uses([replace(self._lora, weight=weight)])):
            self.family.encode(self.plan)
        _wait(self.machine.device)
        return time.perf_counter() - started

    def host_reads(self) -> int:
        """How often our own loop reads a number from the device in one picture without previews."""
        with self._ready(self.plan) as (predict, path, latents), _Reads() as reads:
            denoise(predict, path, latents)
        return reads.count

    def walk(self, changes: dict[str, Any]) -> tuple[float, int]:
        """(seconds, calls of the model) of our own loop for the plan with some of it changed."""
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
        with self._ready(replace(self.plan, **values)) as (predict, path, latents):
            started = time.perf_counter()
            denoise(predict, path, latents).cpu()
            return time.perf_counter() - started, sum(len(step) for step in path.moments)

    def arithmetic(self, changes: dict[str, Any]) -> float:
        """Seconds of a walk for each call of the model that are not the model's: its answer is there at once."""
        with self._ready(replace(self.plan, **changes)) as (_, path, latents):
            answer = torch.zeros_like(latents)
            started = time.perf_counter()
            denoise(lambda model_input, moment: answer, path, latents).cpu()
            return (time.perf_counter() - started) / sum(len(step) for step in path.moments)

    @contextmanager
    def _ready(self, plan: Plan) -> Generator[tuple[Predict, WalkPath, Tensor]]:
        """What our own loop is given, its words encoded before."""
        family, machine = self.family, self.machine
        noise = NoiseSource(plan.seed, family.latent_shape(plan), machine.device)
        path = make_path(
            SAMPLERS[plan.sampler], SCHEDULERS[plan.scheduler], family.scheduler_config, plan.steps,
            device=machine.device, noise=noise,
        )  # fmt: skip
        encoded = family.encode(plan)
        with guided(family.forward, encoded, plan, steps=len(path.spans), layers=family.layers) as predict:
            yield predict, path, noise.draw() * path.init_noise_sigma

    def pictures(self, many: int, *, at_once: bool) -> float:
        """Seconds for so many pictures of other seeds by the whole engine, as a batch or one by one; no previews."""
        plans = [replace(self.plan, seed=seed) for seed in range(many)]
        started = time.perf_counter()
        if at_once:
            events = [event for _, event in self._engine.run_together(plans, lambda _: False)]
        else:
            events = [event for plan in plans for event in self._engine.run(plan, lambda: False)]
        seconds = time.perf_counter() - started
        self._drawn[at_once] = [event.rgb for event in events if isinstance(event, ImageReady)]
        return seconds

    def difference(self) -> tuple[int, float]:
        """(largest difference in levels, least PSNR in dB) of the last batch's pictures and the same one by one."""
        pairs = zip(self._drawn[True], self._drawn[False], strict=True)
        apart = [
            torch.frombuffer(bytearray(a + b), dtype=torch.uint8).double().view(2, -1).diff(dim=0) for a, b in pairs
        ]
        worst = max(float(one.square().mean()) for one in apart)
        return int(max(one.abs().max() for one in apart)), 10 * math.log10(255**2 / max(worst, 1e-6))

    def second_task(self, *, device: str, dtype: str) -> tuple[int, int, int]:
        """How often a second task with the same words runs a text encoder, reads a model, and moves a part of one."""
        engine, runs = Engine(device=device, dtype=dtype, preview_fps=0), list[str]()
        short = replace(self.plan, steps=SAMPLERS[self.plan.sampler].min_steps)
        list(engine.run(short, lambda: False))
        reads, moves = engine.models.reads, engine.models.moves

        def note(module: torch.nn.Module, *_: object) -> None:
            if type(module).__name__.startswith("CLIPTextModel"):
                runs.append(type(module).__name__)

        handle = torch.nn.modules.module.register_module_forward_hook(note)
        try:
            list(engine.run(replace(short, seed=short.seed + 1), lambda: False))
        finally:
            handle.remove()
        return len(runs), engine.models.reads - reads, engine.models.moves - moves


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Reads(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += str(func).startswith(_READS)
        return func(*args, **(kwargs or {}))


def main() -> None:
    """Answer orders until the input ends."""
    first = json.loads(sys.stdin.readline())
    plan = plan_from_dict(first["plan"])
    where = {"device": str(first["device"]), "dtype": str(first["dtype"])}
    with torch.inference_mode():
        bare = Bare(plan, **where)
        orders: dict[str, Callable[[Any], Any]] = {
            "picture": bare.picture,
            "first_preview": bare.first_preview,
            "walk": bare.walk,
            "arithmetic": bare.arithmetic,
            "write_lora": bare.write_lora,
            "switch_lora": bare.switch_lora,
            "host_reads": lambda _: bare.host_reads(),
            "batch": lambda many: bare.pictures(many, at_once=True),
            "one_by_one": lambda many: bare.pictures(many, at_once=False),
            "difference": lambda _: bare.difference(),
            "second_task": lambda _: bare.second_task(**where),
        }
        sys.stdout.write(json.dumps({"ready": torch.__version__}) + "\n")
        sys.stdout.flush()
        for line in sys.stdin:
            name, value = json.loads(line)
            sys.stdout.write(json.dumps(orders[name](value)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
