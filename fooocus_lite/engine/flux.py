"""Family ``flux``: FLUX.1 and what is built like it, a transformer on straight lines from noise to picture.

It was distilled from a guided model: the guidance scale is a number that it reads, there is no second pass and no
negative prompt. Latents are read two by two, as one token.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fooocus_lite.engine.adapter_layers import Layers
from fooocus_lite.engine.adapters import Use, applied, check_fit
from fooocus_lite.engine.decode import Decoder
from fooocus_lite.engine.device import Machine
from fooocus_lite.engine.family import Encoded
from fooocus_lite.engine.flux_text import FluxTexts, Read
from fooocus_lite.engine.guidance import Condition, Forward
from fooocus_lite.engine.guidance import Layers as Places
from fooocus_lite.engine.latent_colours import COLOURS
from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.engine.moment import Moment
from fooocus_lite.engine.preview import load_colours
from fooocus_lite.engine.weights import load_module
from fooocus_lite.errors import BadValue
from fooocus_lite.lora_keys import TEXT_ENCODER_2, TEXT_ENCODER_3, TRANSFORMER, UNET
from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Plan

# Tokens of a text that FLUX.1-dev and -schnell were trained with.
_TEXT_LENGTH, _SHORT_TEXT_LENGTH = 512, 256
_SIDE = 2  # latents a side of a token
_CLOCK = 1000  # of the levels; the transformer's own runs from 1 to 0


class Flux:
    """A loaded FLUX.1 model.

    Raises (when made):
        MissingModel, CorruptModel: a file of the model is not there or not usable, or of another family.
    """

    def __init__(self, ref: ModelRef, machine: Machine) -> None:
        parts = ModelParts(ref)
        self._machine, self._name = machine, ref.name
        self.scheduler_config = parts.scheduler_config
        network = parts.component("transformer")  # a file of another kind is told before anything is read
        self._reads_scale = bool(parts.config("transformer").get("guidance_embeds", False))
        self.texts = FluxTexts(parts, machine, length=_TEXT_LENGTH if self._reads_scale else _SHORT_TEXT_LENGTH)
        place = machine.weights_device
        transformer = load_module(network, _build_transformer, device=place, dtype=machine.dtype)
        encoders = self.texts.parts
        # kohya's files call the transformer a UNet, and T5 the third encoder, which it is in Stable Diffusion 3.
        self._layers = Layers(
            {UNET: transformer, TRANSFORMER: transformer, **encoders, TEXT_ENCODER_3: encoders[TEXT_ENCODER_2]}
        )
        vae = load_module(parts.component("vae"), _build_vae, device=place, dtype=machine.dtype)
        self.decoder = Decoder(vae, device=machine.device, dtype=machine.dtype)
        self.parts = {TRANSFORMER: transformer, "vae": vae, **encoders}
        self._channels = int(transformer.config.in_channels) // _SIDE**2
        self.forward = flux_forward(transformer, machine.dtype)
        self.layers = Places(reads_scale=True)
        usual = COLOURS["flux"] if self._channels == len(COLOURS["flux"].matrix) else None
        self.colours = load_colours(parts.configs / "preview.json", self._channels) or usual

    @contextmanager
    def adapted(self, uses: Sequence[Use]) -> Generator[None]:
        """As `Family.adapted`; the text encoders are changed only while they read."""
        encoders = tuple(part for part in self._layers.parts if part not in (UNET, TRANSFORMER))
        of_texts = [use for use in uses if use.touches(encoders)]
        check_fit(self._layers, uses)
        key = tuple((use.stamp, use.weight) for use in of_texts)
        with (
            self.texts.changed(key, lambda: applied(self._layers, of_texts, encoders)),
            applied(self._layers, uses, (UNET, TRANSFORMER)),
        ):
            yield

    def encode(self, plan: Plan) -> Encoded:
        """The Plan's texts as one, with the guidance scale where the model reads it."""
        read = self.texts.read(", ".join(text for text in plan.texts if text))
        added = {"pooled_projections": read.pooled}
        if self._reads_scale:
            added["guidance"] = torch.tensor([plan.guidance_scale], device=self._machine.device)
        return Encoded(Condition(read.prompt_embeds, added), warnings=tuple(self._warnings(plan, read)))

    def _warnings(self, plan: Plan, read: Read) -> Generator[str]:
        if read.tokens_cut:
            length = read.prompt_embeds.shape[1] - 1
            yield f"The prompt is longer than {length:,} tokens; the last {read.tokens_cut:,} were left out."
        if read.was_weighted:
            yield f"The model {self._name} reads no weights in a prompt; the words count as they stand."
        if not self._reads_scale and plan.guidance_scale != 1:
            yield f"The model {self._name} was made without a guidance scale; it does nothing."

    def latent_shape(self, plan: Plan) -> tuple[int, int, int, int]:
        """(1, C, h, w).

        Raises:
            BadValue: the size does not divide by the pixels of a token.
        """
        scale = self.decoder.pixels_per_latent
        for field, value in (("width", plan.width), ("height", plan.height)):
            if value % (scale * _SIDE):
                hint = f"It must be a multiple of {scale * _SIDE}."
                raise BadValue(f"{field} cannot be {value}.", hint, field=field)
        return (1, self._channels, plan.height // scale, plan.width // scale)

    def decode(self, latents: Tensor) -> Tensor:
        """As `Decoder`."""
        return self.decoder(latents)


def flux_forward(transformer: Any, dtype: torch.dtype) -> Forward:
    """A `Forward` over a diffusers ``FluxTransformer2DModel``.

    Args:
        dtype: Of its weights; inputs are cast to it, outputs come back as float32.
    """

    def forward(model_input: Tensor, moment: Moment, condition: Condition) -> Tensor:
        rows, columns = (side // _SIDE for side in model_input.shape[-2:])
        output: Tensor = transformer(
            hidden_states=packed(model_input).to(dtype),
            timestep=(moment.timestep / _CLOCK).expand(len(model_input)),
            guidance=condition.added.get("guidance"),
            pooled_projections=condition.added["pooled_projections"],
            encoder_hidden_states=condition.prompt_embeds,
            txt_ids=torch.zeros(condition.prompt_embeds.shape[1], 3, device=model_input.device),  # T5 knows the order
            img_ids=_places(rows, columns, model_input.device),
            return_dict=False,
        )[0]
        return unpacked(output.float(), rows)

    return forward


def packed(latents: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h/2 · w/2, 4 C): each two by two of the latents as one token."""
    return torch.nn.functional.pixel_unshuffle(latents, _SIDE).flatten(2).transpose(1, 2)


def unpacked(tokens: Tensor, rows: int) -> Tensor:
    """The inverse of `packed`; ``rows`` of tokens, h/2."""
    return torch.nn.functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, -1)), _SIDE)


def _places(rows: int, columns: int, device: torch.device) -> Tensor:
    """(rows · columns, 3): (0, row, column) of each token of a picture."""
    places = torch.zeros(rows, columns, 3, device=device)
    places[..., 1] = torch.arange(rows, device=device)[:, None]
    places[..., 2] = torch.arange(columns, device=device)[None, :]
    return places.view(-1, 3)


def _build_transformer(config: dict[str, Any]) -> Any:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    return FluxTransformer2DModel.from_config(config)


def _build_vae(config: dict[str, Any]) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL.from_config(config)
