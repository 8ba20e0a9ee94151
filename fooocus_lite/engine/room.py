"""The memory of one picture: its models on the rung that was chosen, and who is on the device when."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from fooocus_lite.engine.adapters import Use
from fooocus_lite.engine.device import is_out_of_memory
from fooocus_lite.engine.family import DrawsItself, Family
from fooocus_lite.engine.gguf_files import is_packed
from fooocus_lite.engine.model_cache import Loaded, ModelCache
from fooocus_lite.engine.refiner import check_latents
from fooocus_lite.engine.residence import VAE, is_denoiser, is_encoder
from fooocus_lite.engine.soundness import broken_weights_named
from fooocus_lite.errors import BadValue
from fooocus_lite.memory import RUNGS, STEPPED_DOWN, Fit, next_rung
from fooocus_lite.plan import Plan


class Room:
    """A picture's models, loaded.

    Attributes:
        model: What draws the picture.
        refiner: What draws the last steps; ``None`` where there is none.
        machine: What computes.

    Raises (when made):
        MissingModel, CorruptModel: a file of a model is not there or not usable.
        BadValue: the refiner does not go with the model, or LoRAs not with the rung.
    """

    def __init__(self, models: ModelCache, plan: Plan, fit: Fit) -> None:
        if plan.refiner is not None:
            check_latents(plan.model, plan.refiner)
        refs = (plan.model,) if plan.refiner is None else (plan.model, plan.refiner)
        self._refs, self._needs, self._fit = refs, models.needs(plan), fit
        self._models: list[Loaded] = models.get(refs, fit.rung, room_bytes=self._needs.denoise)
        self.model: Family | DrawsItself = self._models[0].family
        second = self._models[1].family if plan.refiner else None
        self.refiner: Family | None = None if isinstance(second, DrawsItself) else second
        self.machine = self._models[0].machine

    @property
    def rung(self) -> str:
        """How the models are kept; see `fooocus_lite.memory.RUNGS`."""
        return self._fit.rung

    @contextmanager
    def adapted(self, uses: Sequence[Use]) -> Generator[None]:
        """The model changed by adapters, until the block ends.

        Raises:
            BadValue: one was made for another model, or the model's weights are in 8 bits.
        """
        if not uses:
            with self.model.adapted(uses):
                yield
            return
        if self._fit.rung == "fp8":
            raise BadValue(
                "LoRAs cannot change weights that are stored in 8 bits.",
                "Set memory to auto or groups, or draw without LoRAs.",
                field="loras",
            )
        if any(is_packed(weight) for module in self.model.parts.values() for weight in module.parameters()):
            raise BadValue(
                "LoRAs cannot change weights that are packed in a GGUF file.",
                "Choose a .safetensors file of the model, or draw without LoRAs.",
                field="loras",
            )
        residence = self._models[0].residence
        residence.wake(*filter(is_denoiser, residence.parts))
        residence.is_pinned = True
        try:
            with self.model.adapted(uses):
                yield
        finally:
            residence.is_pinned = False

    def after_reading(self) -> None:
        """The texts are read: below the first rung the encoders leave, and what draws comes."""
        for loaded in self._models:
            loaded.residence.is_pinned = False
            if self._fit.rung != "resident":
                loaded.residence.rest(is_encoder)
        residence = self._models[0].residence
        residence.wake(*filter(is_denoiser, residence.parts))

    def decode(self, latents: Tensor) -> Tensor:
        """As `Family.decode`; in tiles if the picture is to be kept small."""
        family, residence = self.model, self._models[0].residence
        if isinstance(family, DrawsItself):
            raise TypeError("a model that draws by itself decodes by itself")
        family.decoder.in_tiles = self._fit.in_tiles
        needed = self._needs.decode_tiled if self._fit.in_tiles else self._needs.decode
        residence.wake(VAE, room_bytes=needed)
        networks = [(ref, loaded.family.parts) for ref, loaded in zip(self._refs, self._models, strict=True)]
        with broken_weights_named(*networks):
            pixels = family.decode(latents).contiguous().cpu()
        if self._fit.rung != "resident":
            residence.rest(lambda part: part == VAE)
        return pixels

    def facts(self, tried: Fit | None) -> dict[str, Any]:
        """What the picture says about its memory.

        Args:
            tried: The attempt before, which ran out of it.
        """
        facts: dict[str, Any] = {"memory": self._fit.rung}
        if not isinstance(self.model, DrawsItself) and self.model.decoder.notes:
            facts["decoding"] = ", ".join(self.model.decoder.notes)
        if tried is not None:
            facts |= {"too_much": tried.rung, "free_memory_bytes": tried.free_bytes or 0}
        return facts


def step_down(exc: Exception, fit: Fit, device: str, plan: Plan) -> str | None:
    """The rung on which a picture is tried again; ``None`` if memory was not what it lacked, or nothing is below."""
    if not is_out_of_memory(exc):
        return None
    return next_rung(fit.rung, device=device, has_loras=any(lora.weight for lora in plan.loras))


def stepped_down_words(rung: str) -> str:
    """What a person is told of the second attempt."""
    return f"{STEPPED_DOWN} It was drawn again in another way: {RUNGS[rung].words}."
