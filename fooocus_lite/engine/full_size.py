"""Checkpoints of full size with random weights: for measuring loading, memory and speed without a download.

``python -m fooocus_lite.engine.full_size FAMILY PATH`` writes one (SDXL: 6.9 GB); with ``--measure`` it is then
read and loaded, and the seconds of both are told as JSON. Its pictures are noise.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fooocus_lite.engine.device import Machine, choose_machine
from fooocus_lite.engine.family import load_family
from fooocus_lite.engine.ldm_names import Naming, namings
from fooocus_lite.engine.tokens import Tokenizer
from fooocus_lite.model_files import ModelRef

#: Folder of the configuration -> (family, how each component's tensors begin in its published files).
PREFIXES: dict[str, tuple[str, dict[str, str]]] = {
    "sdxl": (
        "sdxl",
        {
            "unet": "model.diffusion_model.",
            "vae": "first_stage_model.",
            "text_encoder": "conditioner.embedders.0.transformer.text_model.",
            "text_encoder_2": "conditioner.embedders.1.model.",
        },
    ),
    "sd15": (
        "sd15",
        {
            "unet": "model.diffusion_model.",
            "vae": "first_stage_model.",
            "text_encoder": "cond_stage_model.transformer.text_model.",
        },
    ),
}
_BLOCK = 4 * 2**20  # random numbers, said again and again
_SPREAD = 0.02  # as networks begin: nothing overflows
_BYTES = 2


def write_checkpoint(path: Path, configs: Path) -> int:
    """Write a checkpoint of the networks that ``configs`` describes, in fp16; the number of its tensors."""
    shapes = dict(_shapes(configs))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + prod(shape) * _BYTES
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    numbers: Any = (torch.randn(_BLOCK, generator=torch.Generator().manual_seed(1)) * _SPREAD).half().numpy()
    block = memoryview(numbers).cast("B")
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        while end > 0:
            end -= file.write(block[: min(end, len(block))])
    return len(shapes)


def _shapes(configs: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of every tensor of the checkpoint."""
    for component, prefix in PREFIXES[configs.name][1].items():
        config = json.loads((configs / component / "config.json").read_text(encoding="utf-8"))
        state = _network(component, config).state_dict()
        naming = _naming(component, config, prefix)
        found: dict[str, tuple[int, ...]] = {}
        for name, value in state.items():
            place = naming(name)
            if place is not None:
                shape = tuple(value.shape)
                rows = max(found.get(place.name, (0,))[0], (place.first_row or 0) + (shape or (1,))[0])
                found[place.name] = (rows, *shape[1:]) if shape else ()
        yield from found.items()


def _network(component: str, config: dict[str, Any]) -> nn.Module:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    kinds: dict[str, Any] = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    kind = kinds.get(component, CLIPTextModelWithProjection)
    with torch.device("meta"):
        if component in ("unet", "vae"):
            return kind.from_config(config)
        return kind(CLIPTextConfig.from_dict(config))


def _naming(component: str, config: dict[str, Any], prefix: str) -> Naming:
    probes = ("conv_in.weight", "decoder.conv_in.weight", "embeddings.token_embedding.weight")
    for naming in namings(component, config):
        places = [place for place in map(naming, probes) if place is not None]
        if places and all(place.name.startswith(prefix) for place in places):
            return naming
    raise LookupError(f"no file names {component} so")


def measure(path: Path, configs: Path, machine: Machine) -> dict[str, float]:
    """Seconds to read the file's bytes once into memory, and to load it: each once, for only the first is honest.

    A process that had the model before has its memory still, and need not ask the system for it page by page.
    """
    ref = ModelRef(path.name, PREFIXES[configs.name][0], str(path), 512, 2048, 8, configs=str(configs))
    for component in PREFIXES[configs.name][1]:  # the libraries are there in a worker that draws
        _network(component, json.loads((configs / component / "config.json").read_text(encoding="utf-8")))
    Tokenizer(configs / "tokenizer")
    path.read_bytes()  # from the disk, if it was not in the system's cache

    def seconds(job: Callable[[], object]) -> float:
        started = time.perf_counter()
        kept = job()
        if machine.device.type == "cuda":
            torch.cuda.synchronize(machine.device)
        taken = time.perf_counter() - started
        del kept
        return taken

    return {"read": seconds(path.read_bytes), "load": seconds(lambda: load_family(ref, machine))}


def main() -> None:
    """Write, and measure if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=sorted(PREFIXES))
    parser.add_argument("path", type=Path)
    parser.add_argument("--families", type=Path, default=Path("models/families"), help="folder of the configurations")
    parser.add_argument("--measure", action="store_true", help="load it and read it, and tell the seconds")
    parser.add_argument("--dtype", default="fp16", help="what it is loaded as; the file is fp16")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    configs = options.families / options.family
    told: dict[str, Any] = {}
    if not options.path.exists():
        told["tensors"] = write_checkpoint(options.path, configs)
    if options.measure:
        told |= measure(options.path, configs, choose_machine(options.device, options.dtype))
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
