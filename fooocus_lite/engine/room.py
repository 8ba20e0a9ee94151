"""The memory of one picture or batch: its models on the rung that was chosen, and who is on the device when."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from fooocus_lite.engine.adapters import Use
from fooocus_lite.engine.device import is_out_of_memory
from fooocus_lite.engine.family import DrawsItself, Family
from fooocus_lite.engine.gguf_files import is_packed
from fooocus_lite.engine.model_cache import Loaded, ModelCache
from fooocus_lite.engine.refiner import check_latents, for_refiner
from fooocus_lite.engine.residence import VAE, is_denoiser, is_encoder
from fooocus_lite.engine.soundness import broken_weights_named
from fooocus_lite.errors import BadValue
from fooocus_lite.memory import RESERVE_BYTES, RUNGS, STEPPED_DOWN, Fit, Needs, next_rung
from fooocus_lite.plan import Plan


class Room:
    """The models of a picture or of a batch, loaded.

    Args:
        together: How many pictures are walked at once.

    Attributes:
        model: What draws the picture.
        refiner: What draws the last steps; ``None`` where there is none.
        machine: What computes.

    Raises (when made):
        MissingModel, CorruptModel: a file of a model is not there or not usable.
        BadValue: the refiner does not go with the model, or LoRAs not with the rung.
    """

    def __init__(self, models: ModelCache, plan: Plan, fit: Fit, *, together: int = 1) -> None:
        if plan.refiner is not None:
            check_latents(plan.model, plan.refiner)
        refs = [plan.model] if plan.refiner is None else [plan.model, plan.refiner]
        needs = models.needs(plan, together=together)
        self._refs, self._fit = refs, fit
        self._decoding = needs.decode_tiled if fit.in_tiles else needs.decode
        room = max(needs.denoise, self._decoding) + RESERVE_BYTES
        self._models: list[Loaded] = models.get(refs, fit.rung, room_bytes=room)
        self.model: Family | DrawsItself = self._models[0].family
        if isinstance(self.model, DrawsItself):
            self.model.in_tiles = fit.in_tiles
        second = self._models[1].family if plan.refiner else None
        self.refiner: Family | None = None if isinstance(second, DrawsItself) else second
        self.machine = self._models[0].machine

    @property
    def _comes_and_goes(self) -> bool:
        """Whether parts leave the device when they have done their work."""
        return self._fit.rung not in ("resident", "cpu")

    @property
    def rung(self) -> str:
        """How the models are kept; see `fooocus_lite.memory.RUNGS`."""
        return self._fit.rung

    @contextmanager
    def adapted(self, uses: Sequence[Use]) -> Generator[tuple[str, ...]]:
        """The models changed by adapters, until the block ends.

        Yields:
            A sentence for what the refiner cannot take.

        Raises:
            BadValue: one was made for another model, or the model's weights are in 8 bits.
        """
        if not uses:
            with self.model.adapted(uses):
                yield ()
            return
        self._check_changeable()
        with ExitStack() as changes:
            changes.enter_context(_adapted(self._models[0], uses))
            taken, notes = self._for_refiner(uses)
            if taken:
                changes.enter_context(_adapted(self._models[1], taken))
            yield notes

    def _check_changeable(self) -> None:
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

    def _for_refiner(self, uses: Sequence[Use]) -> tuple[tuple[Use, ...], tuple[str, ...]]:
        """As `for_refiner`; nothing where there is no other model."""
        if self.refiner is None or self.refiner is self.model:
            return (), ()
        return for_refiner(self.refiner, uses, self._refs[1].name)

    def after_reading(self) -> None:
        """The texts are read: below the first rung the encoders leave, and what draws comes."""
        # The refiner's network may send the model's away when it comes; changed itself, it stays for its turn.
        self._models[0].residence.is_pinned = False
        for loaded in self._models:
            if self._comes_and_goes:
                loaded.residence.rest(is_encoder)
        residence = self._models[0].residence
        residence.wake(*filter(is_denoiser, residence.parts))

    def decode(self, latents: Tensor) -> Tensor:
        """As `Family.decode`, of one picture; in tiles if it is to be kept small."""
        family, residence = self.model, self._models[0].residence
        if isinstance(family, DrawsItself):
            raise TypeError("a model that draws by itself decodes by itself")
        family.decoder.in_tiles = self._fit.in_tiles
        residence.wake(VAE, room_bytes=self._decoding)
        networks = [(ref, loaded.family.parts) for ref, loaded in zip(self._refs, self._models, strict=True)]
        with broken_weights_named(*networks):
            return family.decode(latents).contiguous().cpu()

    def after_decoding(self) -> None:
        """The last picture is decoded: below the first rung the VAE leaves."""
        if self._comes_and_goes:
            self._models[0].residence.rest(lambda part: part == VAE)

    def facts(self, tried: Fit | None) -> dict[str, Any]:
        """What the picture says about its memory.

        Args:
            tried: The attempt before, which ran out of it.
        """
        facts: dict[str, Any] = {"memory": self._fit.rung}
        if isinstance(self.model, DrawsItself):
            notes = ("in tiles",) if self.model.in_tiles else ()
        else:
            notes = self.model.decoder.notes
        if notes:
            facts["decoding"] = ", ".join(notes)
        if tried is not None:
            facts |= {"too_much": tried.rung, "free_memory_bytes": tried.free_bytes or 0}
        return facts


@contextmanager
def _adapted(loaded: Loaded, uses: Sequence[Use]) -> Generator[None]:
    """A loaded model changed by adapters; what they change stays on the device until the texts are read."""
    residence = loaded.residence
    residence.wake(*filter(is_denoiser, residence.parts))
    residence.is_pinned = True
    try:
        with loaded.family.adapted(uses):
            yield
    finally:
        residence.is_pinned = False


def step_down(exc: Exception, fit: Fit, device: str, needs: Needs) -> str | None:
    """The rung on which a picture is tried again; ``None`` if memory was not what it lacked, or nothing is below."""
    if not is_out_of_memory(exc):
        return None
    return next_rung(fit.rung, device=device, gains_by_fp8=needs.gains_by_fp8)


def stepped_down_words(rung: str) -> str:
    """What a person is told of the second attempt."""
    return f"{STEPPED_DOWN} It was drawn again in another way: {RUNGS[rung].words}."
