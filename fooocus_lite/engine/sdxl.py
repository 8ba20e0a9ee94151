"""Family ``sdxl``: Stable Diffusion XL (arXiv:2307.01952) and everything built like it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fooocus_lite.engine.adapter_layers import Layers
from fooocus_lite.engine.adapters import Use, applied, check_fit, misfit_of
from fooocus_lite.engine.decode import Decoder
from fooocus_lite.engine.device import Machine, has_bf16
from fooocus_lite.engine.family import Encoded
from fooocus_lite.engine.guidance import Condition, unet_forward, unet_layers
from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.engine.preview import SDXL_COLOURS, LatentColours, load_colours
from fooocus_lite.engine.text import Embedded, EncoderSpec, TextEncoders
from fooocus_lite.engine.weights import damaged, load_module
from fooocus_lite.errors import BadValue
from fooocus_lite.lora_keys import UNET
from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Plan

# arXiv:2307.01952, section 2.1: hidden states of both encoders, pooled of the second only.
ENCODERS = (
    EncoderSpec(tokenizer="tokenizer", encoder="text_encoder", embedding_key="clip_l"),
    EncoderSpec(tokenizer="tokenizer_2", encoder="text_encoder_2", embedding_key="clip_g", is_projected=True),
)

# What SDXL's refiner is told of the beauty of wanted and unwanted pictures; as its makers' own pipeline does.
_GOOD_SCORE, _POOR_SCORE = 6.0, 2.5


class Sdxl:
    """A loaded SDXL-shaped model.

    Raises (when made):
        MissingModel, CorruptModel: a file of the model is not there or not usable, or of another family.
    """

    #: How to show its latents where the model brings no colours of its own.
    usual_colours: LatentColours = SDXL_COLOURS

    def __init__(self, ref: ModelRef, machine: Machine) -> None:
        parts = ModelParts(ref)
        self._machine = machine
        self.scheduler_config = parts.scheduler_config
        self._wants_score = bool(parts.index.get("requires_aesthetics_score", False))
        network = parts.component("unet")  # a file of another kind is told before anything is read
        self._texts = TextEncoders(parts, machine, self._encoders(parts))
        unet = load_module(network, _build_unet, device=machine.weights_device, dtype=machine.dtype)
        # cuDNN's half-precision convolutions want channels last; on a CPU it measured 5 % slower.
        layout = torch.channels_last if machine.device.type == "cuda" else torch.contiguous_format
        self._unet = unet.to(memory_format=layout)
        self._layers = Layers({UNET: self._unet, **self._texts.parts})
        vae = parts.config("vae")
        dtype = _vae_dtype(vae, machine)
        self._vae = load_module(
            parts.component("vae"), _vae_builder(parts.configs, vae), device=machine.weights_device, dtype=dtype
        ).to(memory_format=layout)
        self.decoder = Decoder(self._vae, device=machine.device, dtype=dtype)
        self.parts = {UNET: self._unet, "vae": self._vae, **self._texts.parts}
        self.forward = unet_forward(self._unet, machine.dtype)
        self.layers = unet_layers(self._unet)
        channels = int(self._unet.config.in_channels)
        self.colours = load_colours(parts.configs / "preview.json", channels) or (
            self.usual_colours if channels == 4 else None
        )

    def _encoders(self, parts: ModelParts) -> Sequence[EncoderSpec]:
        """The text encoders that the model reads with; a refiner has the second only."""
        has_one = parts.index.get("text_encoder", True) in (None, [None, None])
        return ENCODERS[1:] if has_one else ENCODERS

    @property
    def texts(self) -> TextEncoders:
        """What reads the words."""
        return self._texts

    @contextmanager
    def adapted(self, uses: Sequence[Use]) -> Generator[None]:
        """As `Family.adapted`; the text encoders are changed only while they read, and texts they know are not read."""
        parts = self._texts.parts
        of_texts = [use for use in uses if use.touches(parts)]
        check_fit(self._layers, uses)
        key = tuple((use.stamp, use.weight) for use in of_texts)
        with (
            self._texts.changed(key, lambda: applied(self._layers, of_texts, parts)),
            applied(self._layers, uses, (UNET,)),
        ):
            yield

    def takes(self, use: Use) -> bool:
        """As `Family.takes`."""
        return not misfit_of(self._layers, use)

    def encode(self, plan: Plan) -> Encoded:
        """The Plan's texts; the unwanted ones only if an unconditional pass will run."""
        cond, warnings = self._condition(plan.texts, plan, "prompt", _GOOD_SCORE)
        if plan.guidance_scale == 1:
            return Encoded(cond, warnings=warnings)
        uncond, more = self._condition(plan.negative_texts, plan, "negative prompt", _POOR_SCORE)
        # Nothing unwanted stands at no angle to anything; the third pass would be for nothing.
        has_perp_neg = plan.perp_neg != 0 and any(plan.negative_texts)
        empty = self._condition(("",), plan, "", _POOR_SCORE)[0] if has_perp_neg else None
        return Encoded(cond, uncond, empty, warnings=warnings + more)

    def _condition(
        self, texts: tuple[str, ...], plan: Plan, what: str, score: float
    ) -> tuple[Condition, tuple[str, ...]]:
        files = {name: Path(path) for name, path in plan.embeddings}
        embedded = self._texts.embed(texts, clip_skip=plan.clip_skip, embeddings=files)
        condition = Condition(embedded.prompt_embeds, self._added(embedded, plan, score))
        return condition, (_cut_warning(embedded, what),) if embedded.tokens_cut else ()

    def _added(self, embedded: Embedded, plan: Plan, score: float) -> dict[str, Tensor]:
        """What the UNet is told besides the words."""
        return {"text_embeds": embedded.pooled_prompt_embeds, "time_ids": self._time_ids(plan, score)}

    def _time_ids(self, plan: Plan, score: float) -> Tensor:
        """(1, 6): original size, crop corner, target size, each as (height, width); arXiv:2307.01952, section 2.2.

        A refiner takes (1, 5): in place of the target size how beautiful the picture is, 0 … 10.
        """
        size = (plan.height, plan.width)
        last = (score,) if self._wants_score else size
        return torch.tensor([[*size, 0, 0, *last]], dtype=self._machine.dtype, device=self._machine.device)

    def latent_shape(self, plan: Plan) -> tuple[int, int, int, int]:
        """(1, C, h, w).

        Raises:
            BadValue: the size does not divide by the pixels of a latent.
        """
        scale = self.decoder.pixels_per_latent
        for field, value in (("width", plan.width), ("height", plan.height)):
            if value % scale:
                raise BadValue(f"{field} cannot be {value}.", f"It must be a multiple of {scale}.", field=field)
        return (1, int(self._unet.config.in_channels), plan.height // scale, plan.width // scale)

    def decode(self, latents: Tensor) -> Tensor:
        """As `Decoder`."""
        return self.decoder(latents)


def _build_unet(config: dict[str, Any]) -> Any:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel.from_config(config)


def _vae_builder(folder: Path, config: Mapping[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    kinds: dict[str, Any] = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
    kind = kinds.get(str(config.get("_class_name", "AutoencoderKL")))
    if kind is None:
        raise damaged(folder / "vae" / "config.json", f"it names the unknown class {config['_class_name']}")
    # The tiny one saves a key that it does not take back, and warns about it.
    extra = {"block_out_channels"} if kind is AutoencoderTiny else set[str]()
    return lambda config: kind.from_config({key: value for key, value in config.items() if key not in extra})


def _vae_dtype(config: Mapping[str, Any], machine: Machine) -> torch.dtype:
    """SDXL's own VAE overflows in fp16 and says so in its config; bf16 has the range, where the device has it."""
    if machine.dtype != torch.float16 or not config.get("force_upcast", False):
        return machine.dtype
    return torch.bfloat16 if has_bf16(machine.device) else torch.float32


def _cut_warning(embedded: Embedded, what: str) -> str:
    return f"The {what} is longer than {embedded.tokens_read:,} tokens; the last {embedded.tokens_cut:,} were left out."
