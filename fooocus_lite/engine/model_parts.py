"""`ModelParts`: where each part of a model lies, whichever way it came: a folder, one file, parts from elsewhere.

A family asks for its parts by the names that diffusers gives them and need not know. Nothing here goes to a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fooocus_lite.engine.ldm_names import Naming, is_t5, namings
from fooocus_lite.engine.tensor_files import Stored
from fooocus_lite.engine.weights import (
    Component,
    damaged,
    folder_component,
    missing,
    read_header,
    read_json,
)
from fooocus_lite.errors import CorruptModel, MissingModel
from fooocus_lite.lora_keys import FLUX, SD3, WIDTHS, find_place
from fooocus_lite.model_files import PICKLES, ModelRef

#: What says most quickly whether a file holds a part, and by which of the ways in which it is named.
_PROBES = {
    "unet": ("conv_in.weight",),
    "transformer": ("x_embedder.weight",),
    "vae": (
        *("decoder.conv_in.weight", "decoder.mid_block.resnets.0.norm1.weight"),
        "decoder.mid_block.attentions.0.to_q.weight",
    ),
    "text_encoder": ("embeddings.token_embedding.weight",),
    "text_encoder_2": ("embeddings.token_embedding.weight",),
}
_T5_PROBES = ("shared.weight",)
#: What draws; a model has one of them.
_NETWORKS = ("unet", "transformer")
_NAMES = {
    "unet": "drawing network",
    "transformer": "drawing network",
    "vae": "VAE",
    "text_encoder": "text encoder",
    "text_encoder_2": "text encoder",
}
_PREDICTIONS = {"flow": "flow_prediction"}


class ModelParts:
    """The files of a model.

    Raises (when made):
        MissingModel: neither a folder nor a file lies at the model's path.
        CorruptModel: the file cannot be loaded, whatever it holds: a pickle.
    """

    def __init__(self, ref: ModelRef) -> None:
        path = Path(ref.path)
        if not path.exists():
            raise missing(path)
        self._ref, self._path = ref, path
        self._file = None if path.is_dir() else path
        self._elsewhere = {component: Path(place) for component, place in ref.parts}
        self._headers: dict[Path, dict[str, Stored]] = {}
        if self._file is not None:
            refuse_pickle(self._file)
            if not ref.configs:
                raise MissingModel(
                    f"The program does not know how the networks of {path.name} are built.",
                    'Say where their configuration is: "configs" of the model in data/catalog.json.',
                )

    @property
    def configs(self) -> Path:
        """The folder with the small files, in the layout of diffusers."""
        return self._path if self._file is None else Path(self._ref.configs)

    @property
    def index(self) -> Mapping[str, Any]:
        """``model_index.json``, or nothing."""
        path = self.configs / "model_index.json"
        return read_json(path) if path.is_file() else {}

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """How the model was trained to take noise away: as its configuration says, unless its file says otherwise.

        Raises:
            MissingModel, CorruptModel: the configuration is not there or not usable.
        """
        config = read_json(self.configs / "scheduler" / "scheduler_config.json")
        if self._ref.prediction:
            config["prediction_type"] = _PREDICTIONS.get(self._ref.prediction, self._ref.prediction)
        if self._ref.has_zero_snr:
            config["rescale_betas_zero_snr"] = True
        return config

    def config(self, component: str) -> dict[str, Any]:
        """The ``config.json`` of a component.

        Raises:
            MissingModel, CorruptModel: it is not there or not usable.
        """
        return read_json(self._config_path(component))

    def tokenizer(self, name: str) -> Path:
        """The folder of a tokenizer."""
        return self.configs / name

    def component(self, name: str) -> Component:
        """Where the numbers of a component lie.

        Raises:
            MissingModel: they are not there.
            CorruptModel: the file is not usable, or made for another family.
        """
        place = self._elsewhere.get(name, self._path)
        if place.is_dir():
            return folder_component(place if name in self._elsewhere else place / name)
        refuse_pickle(place)
        config = self.config(name)
        header = self._header(place)
        naming = _naming(name, config, header)
        if naming is None:
            raise self._without(name, place, header)
        if name == "unet":
            self._check_network(config, header, naming)
        return Component(self._config_path(name), (place,), (naming,))

    def _config_path(self, component: str) -> Path:
        place = self._elsewhere.get(component)
        return (place if place is not None and place.is_dir() else self.configs / component) / "config.json"

    def _header(self, path: Path) -> dict[str, Stored]:
        if path not in self._headers:
            header = read_header(path)
            if any(".quant_state.bitsandbytes" in name or name.endswith(".absmax") for name in header):
                raise damaged(path, "its weights are packed by bitsandbytes, which cannot be read here")
            self._headers[path] = header
        return self._headers[path]

    def _without(self, name: str, path: Path, header: Mapping[str, Stored]) -> CorruptModel | MissingModel:
        """The error for a file that lacks a component."""
        kind = _other_kind(header)
        if (self.configs / "transformer").is_dir():  # of which a file with the transformer alone is a fine one
            kind = "a model with a UNet" if any("input_blocks." in key for key in header) else ""
        if name in _NETWORKS or kind:
            return _wrong_kind(path, kind or "no model that can be drawn with", self._ref.family)
        return MissingModel(
            f"The model file {path.name} has no {_NAMES.get(name, name)} in it.",
            f'Say where one is: "parts": {{"{name}": "path of a file"}} for the model in data/catalog.json.',
        )

    def _check_network(self, config: Mapping[str, Any], header: Mapping[str, Stored], naming: Naming) -> None:
        """Compare what a person would call another kind of model, before any weights are read.

        Raises:
            CorruptModel: it is one.
        """
        path = self._elsewhere.get("unet", self._path)
        wanted, found = config.get("cross_attention_dim"), _context_width(header)
        if found in WIDTHS and found != wanted:
            raise _wrong_kind(path, f"a model of {WIDTHS[found]}", self._ref.family)
        place = naming(*_PROBES["unet"])
        shape = header[place.name].shape if place else ()
        if len(shape) == 4 and shape[1] != config.get("in_channels"):
            kind = "a model for inpainting" if shape[1] == 9 else f"a model that takes {shape[1]} channels"
            raise _wrong_kind(path, kind, self._ref.family)


def refuse_pickle(path: Path) -> None:
    """Let pass what is none.

    Raises:
        CorruptModel: the file is of a kind that can run a stranger's code when it is opened.
    """
    if path.suffix.lower() in PICKLES:
        raise CorruptModel(
            f"The model file {path.name} is a pickle, and opening a pickle can run a stranger's code.",
            f"Make a safe file of it: fooocus-lite models convert {_quoted(path)}",
        )


def _quoted(path: Path) -> str:
    text = str(path)
    return f'"{text}"' if " " in text else text


def _naming(component: str, config: Mapping[str, Any], header: Mapping[str, Stored]) -> Naming | None:
    """The way in which a file names the tensors of a component; ``None`` if it has no such component."""
    probes = _T5_PROBES if is_t5(config) else _PROBES.get(component, ())

    def found(naming: Naming) -> int:
        places = (naming(probe) for probe in probes)
        return sum(place is not None and place.name in header for place in places)

    best = max(namings(component, config), key=found, default=None)
    return best if best is not None and found(best) else None


def _context_width(header: Mapping[str, Stored]) -> int | None:
    """How many numbers of a text's vector a UNet reads."""
    shapes = (stored.shape for name, stored in header.items() if name.endswith("attn2.to_k.weight"))
    return next((shape[1] for shape in shapes if len(shape) == 2), None)


def _other_kind(header: Mapping[str, Stored]) -> str:
    """What a file holds that is no UNet with its parts; empty if that is not known."""
    if any("double_blocks." in name or "single_transformer_blocks." in name for name in header):
        return f"a model of {FLUX}"
    if any("joint_blocks." in name for name in header):
        return f"a model of {SD3}"
    if header and all(find_place(name) is not None for name in header):
        return "a LoRA, which belongs into the folder loras"
    if any(name.startswith(("control_model.", "controlnet_")) for name in header):
        return "a ControlNet"
    is_vae = any(name.endswith("decoder.conv_in.weight") for name in header)
    return "a VAE alone" if is_vae and not any("attn2" in name for name in header) else ""


def _wrong_kind(path: Path, kind: str, family: str) -> CorruptModel:
    return CorruptModel(
        f"The model file {path.name} holds {kind}; it is listed as one of the family {family}.",
        "Give it its own family in data/catalog.json, or choose another model.",
    )
