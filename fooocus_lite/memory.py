"""What a picture needs of a device's memory, and the ladder of ways to need less. Numbers only: nothing is loaded.

The server shows by it what a picture will need; the engine chooses by it how to draw. Sizes of weights are read from
the files; what a forward pass keeps alive at once was counted in the real networks, operation by operation
(`fooocus_lite.engine.footprint`), and a test counts it again. What libraries need beside that is an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fooocus_lite.model_files import ModelRef
from fooocus_lite.weight_sizes import ModelSize, size_of

#: The setting that means: the highest rung that fits.
AUTO = "auto"
GIB = 2**30
#: How the warning begins that a picture had to be drawn a second time.
STEPPED_DOWN = "There was not enough memory for the way that was chosen first."
#: Convolutions take room to work in besides what was counted. Measured: decoding 512² by a processor took 1.34 times
#: the count, 256² 1.35 times. With it, all of SDXL in bf16 comes to 9.1 GB (10^9); published for an A100: 8.96 GB.
WORKSPACE = 1.35
#: Estimate: gaps in memory that is handed out in blocks.
RESERVE_BYTES = GIB // 2
#: Estimate: the layers that are on the card at once while groups come and go; published for FLUX: 0.53 to 0.56 GB.
_GROUPS_BYTES = int(0.6 * GIB)
#: Below the first rung, larger text encoders come to the card layer by layer: whole they would pass the same wire, and
#: they read a text once.
LARGE_ENCODERS_BYTES = 2 * GIB
#: Pixels of a tile of the VAE: tiles are as large whatever the picture is.
TILE_SIDE = 512
NUMBER_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True)
class Rung:
    """One way to keep a model in memory.

    Attributes:
        words: What it means, for the sentence beside Generate; may be empty.
        help: One line for the documents.
    """

    words: str
    help: str


#: From the fastest to the one that needs least.
RUNGS: dict[str, Rung] = {
    "resident": Rung("", "everything stays on the card"),
    "offload": Rung("encoders off the card after use", "text encoders and VAE are on the card only while they work"),
    "fp8": Rung(
        "weights in 8 bits, encoders off the card after use",
        "as offload, and the network's weights are stored in 8 bits; pictures change a little; not with LoRAs",
    ),
    "groups": Rung(
        "layers come to the card one after another", "the weights stay in this computer's memory; slower, same pictures"
    ),
    "cpu": Rung("does not fit on the card: computed by the processor, slowly", "the card is not used"),
}
#: The rungs that make sense by kind of device. A processor's memory is this computer's: there is nowhere else to go.
LADDERS: dict[str, tuple[str, ...]] = {
    "cuda": ("resident", "offload", "fp8", "groups", "cpu"),
    "xpu": ("resident", "offload", "fp8", "groups", "cpu"),
    "mps": ("resident", "offload", "cpu"),  # no 8-bit floats
    "cpu": ("resident", "fp8"),
}


@dataclass(frozen=True)
class Footprint:
    """What a family's networks keep alive at once, besides their weights, with numbers of 16 bits.

    Attributes:
        denoise: Bytes for each pixel of the picture and each pass of a batch.
        denoise_fixed: Bytes whatever the picture is.
        decode: Bytes for each pixel that is decoded at once.
        typical: Size of a model of this family in 16 bits, where its files cannot be read.
    """

    denoise: float
    denoise_fixed: int
    decode: float
    typical: ModelSize


#: Counted by `fooocus_lite.engine.footprint`; sizes are the published networks' numbers, two bytes each.
FOOTPRINTS: dict[str, Footprint] = {
    "sdxl": Footprint(158, 0, 1536, ModelSize(5_134_927_368, 1_635_440_640, 167_307_726)),
    "sd15": Footprint(261, 0, 1536, ModelSize(1_719_041_928, 246_120_960, 167_307_726)),
    "flux": Footprint(413, 58_200_000, 1536, ModelSize(23_802_816_640, 9_770_742_272, 167_639_366)),
    "z-image": Footprint(475, 32_900_000, 1536, ModelSize(12_309_817_472, 8_044_936_192, 167_639_366)),
}
_DEFAULT = "sdxl"


@dataclass(frozen=True)
class Needs:
    """What one picture asks for, in bytes.

    Attributes:
        models: The model, and its refiner if it has one.
        denoise: While a step is computed, besides weights.
        decode: While the whole picture is decoded at once, besides weights.
        decode_tiled: While it is decoded in tiles.
        number_bytes: Of a weight that is not stored in fewer.
        has_loras: They change weights, which cannot be done in 8 bits.
    """

    models: tuple[ModelSize, ...]
    denoise: int
    decode: int
    decode_tiled: int
    number_bytes: int
    has_loras: bool = False

    @property
    def weights(self) -> int:
        return sum(model.total for model in self.models)

    @property
    def gains_by_fp8(self) -> bool:
        """Whether weights in 8 bits would be fewer bytes, and could be drawn with."""
        return not self.has_loras and not all(model.is_compact for model in self.models)

    def peak_at_home(self, rung: str) -> int:
        """The most of this computer's memory, where the device has its own."""
        if rung == "resident":
            return 0
        if rung == "cpu":  # which computes in fp32
            return sum(m.total if m.is_compact else m.total * 4 // self.number_bytes for m in self.models)
        # Changed in this computer's memory, beside which the originals are kept.
        originals = sum(model.denoiser for model in self.models) if rung == "groups" and self.has_loras else 0
        return self.weights + originals

    def peak(self, rung: str, *, in_tiles: bool) -> int:
        """The most that is on the device at once."""
        decode = self.decode_tiled if in_tiles else self.decode
        if rung == "cpu":
            return 0
        if rung == "resident":
            return self.weights + max(self.denoise, decode) + RESERVE_BYTES
        vae = max(model.vae for model in self.models)
        if rung == "groups":
            groups = min(_GROUPS_BYTES, max(model.denoiser for model in self.models))
            return max(groups + self.denoise, vae + decode) + RESERVE_BYTES
        denoiser = max(self._stored(model, rung) for model in self.models)
        encoders = max(_reading(model) for model in self.models)
        # A network that LoRAs have changed cannot make room while texts are read.
        reading = encoders + (denoiser if self.has_loras else 0)
        return max(reading, denoiser + max(self.denoise, vae + decode)) + RESERVE_BYTES

    def peak_in_ram(self, rung: str, *, in_tiles: bool) -> int:
        """The same where device and computer share their memory: nothing can leave."""
        saved = sum(model.denoiser - self._stored(model, rung) for model in self.models)
        return self.peak("resident", in_tiles=in_tiles) - saved

    def _stored(self, model: ModelSize, rung: str) -> int:
        # Norms and the ends of the network keep their format: some 2 % more than a byte a weight.
        is_cast = rung == "fp8" and not model.is_compact
        return int(model.denoiser / self.number_bytes * 1.02) if is_cast else model.denoiser


class Picture(Protocol):
    """What memory depends on of a plan."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def model(self) -> ModelRef: ...
    @property
    def refiner(self) -> ModelRef | None: ...
    @property
    def loras(self) -> Sequence[Any]: ...
    @property
    def guidance_scale(self) -> float: ...
    @property
    def perp_neg(self) -> float: ...
    @property
    def pag_scale(self) -> float: ...


def passes_at_once(picture: Picture) -> int:
    """How many passes of a guided step are one batch; self-attention guidance looks again on its own."""
    is_led = picture.guidance_scale != 1
    return 1 + is_led + (is_led and picture.perp_neg != 0) + (picture.pag_scale != 0)


def make_needs(picture: Picture, models: Sequence[ModelSize], *, dtype: str, together: int = 1) -> Needs:
    """What a picture asks for.

    Args:
        models: Sizes of its model, and of its refiner if it has one.
        dtype: The machine's: ``fp32``, ``fp16`` or ``bf16``.
        together: How many such pictures are walked as one batch; they are decoded one after another.
    """
    footprint = FOOTPRINTS.get(picture.model.family) or FOOTPRINTS[_DEFAULT]
    scale = WORKSPACE * NUMBER_BYTES[dtype] / 2
    pixels = picture.width * picture.height
    in_passes = footprint.denoise * pixels * passes_at_once(picture) * together
    return Needs(
        models=tuple(models),
        denoise=int((in_passes + footprint.denoise_fixed) * scale),
        decode=int(footprint.decode * pixels * scale),
        # A tile, and the whole picture in three colours, twice: its tiles are kept until they are joined.
        decode_tiled=int((footprint.decode * min(pixels, TILE_SIDE**2) + 12 * pixels) * scale),
        number_bytes=NUMBER_BYTES[dtype],
        has_loras=any(lora.weight for lora in picture.loras),
    )


def models_of(picture: Picture) -> list[ModelRef]:
    """The models that a picture has loaded: one that refines itself is one."""
    return list(dict.fromkeys(ref for ref in (picture.model, picture.refiner) if ref is not None))


def sizes_of(picture: Picture, *, dtype: str, memory_bytes: int | None = None) -> list[ModelSize]:
    """Sizes of the models of a picture, from their files, or typical ones.

    Args:
        memory_bytes: Of the model in 16 bits, if somebody said so; for one that is not on this disk.
    """
    return [
        size_of(ref, number_bytes=NUMBER_BYTES[dtype])
        or typical_size(ref.family, dtype=dtype, memory_bytes=memory_bytes if ref is picture.model else None)
        for ref in models_of(picture)
    ]


def typical_size(family: str, *, dtype: str, memory_bytes: int | None = None) -> ModelSize:
    """The size of a model whose files cannot be read, such as one that is not on this disk yet.

    Args:
        memory_bytes: Of the whole model in 16 bits, if somebody said so.
    """
    typical = (FOOTPRINTS.get(family) or FOOTPRINTS[_DEFAULT]).typical
    share = (memory_bytes / typical.total if memory_bytes else 1) * NUMBER_BYTES[dtype] / 2
    return ModelSize(int(typical.denoiser * share), int(typical.encoders * share), int(typical.vae * share))


@dataclass(frozen=True)
class Fit:
    """How a picture will be kept in memory.

    Attributes:
        rung: Key of `RUNGS`.
        in_tiles: The VAE decodes the picture in tiles.
        needs_bytes: The most that will be on the device at once.
        free_bytes: What there is; ``None`` where nobody can tell.
        home_needs_bytes: The most that will be in this computer's memory, where the device has its own.
        home_free_bytes: What there is; ``None`` as above. It changes no rung: those below need as much.
    """

    rung: str
    in_tiles: bool
    needs_bytes: int
    free_bytes: int | None
    home_needs_bytes: int = 0
    home_free_bytes: int | None = None

    @property
    def is_enough(self) -> bool:
        return self.free_bytes is None or self.needs_bytes <= self.free_bytes

    @property
    def is_short_at_home(self) -> bool:
        """Whether this computer's own memory is too small: it will use its disk, or refuse."""
        return self.home_free_bytes is not None and self.home_needs_bytes > self.home_free_bytes

    def words(self, dtype: str) -> str:
        """As a person reads it: "needs 7.1 GB, 8.0 free: fp16, encoders off the card after use, VAE in tiles"."""
        short = ""
        if self.is_short_at_home:
            needs, free = _gigabytes(self.home_needs_bytes), _gigabytes(self.home_free_bytes or 0)
            short = f"; this computer's own memory (RAM) is short: needs {needs} GB, {free} free"
        if self.rung == "cpu":
            return RUNGS["cpu"].words + short
        free = "" if self.free_bytes is None else f", {_gigabytes(self.free_bytes)} free"
        ways = [dtype, RUNGS[self.rung].words, "VAE in tiles" if self.in_tiles else ""]
        return f"needs {_gigabytes(self.needs_bytes)} GB{free}: {', '.join(filter(None, ways))}{short}"


def choose_rung(
    needs: Needs,
    free_bytes: int | None,
    *,
    device: str = "cuda",
    forced: str = AUTO,
    start: str = "",
    home_free_bytes: int | None = None,
) -> Fit:
    """The highest rung that fits; where none does, the lowest, and for a processor the highest.

    Args:
        free_bytes: What the device could give this picture if everything else of ours left it.
        device: Kind of device, a key of `LADDERS`.
        forced: A person's choice, or `AUTO`.
        start: Not above this rung: those above it were too much for a picture like this.
        home_free_bytes: Likewise of this computer's memory, where the device has its own; for `Fit.words`.
    """
    ladder = LADDERS.get(device, LADDERS["cuda"])
    if forced != AUTO:
        rungs: Sequence[str] = (forced,)
    else:
        rungs = ladder[ladder.index(start) :] if start in ladder else ladder
        if not needs.gains_by_fp8:
            rungs = [rung for rung in rungs if rung != "fp8"] or [ladder[0]]
    fits = [_fit(needs, rung, free_bytes, device) for rung in rungs]
    # Where nothing fits, a card still has this computer's memory beside it; that one has only its disk.
    last = fits[0] if device == "cpu" else fits[-1]
    fit = next((fit for fit in fits if fit.is_enough), last)
    if home_free_bytes is None:
        return fit
    return replace(fit, home_needs_bytes=needs.peak_at_home(fit.rung), home_free_bytes=home_free_bytes)


def _fit(needs: Needs, rung: str, free_bytes: int | None, device: str) -> Fit:
    if rung == "cpu":
        return Fit(rung, in_tiles=False, needs_bytes=0, free_bytes=free_bytes)
    peak = needs.peak_in_ram if device == "cpu" else needs.peak
    whole = Fit(rung, in_tiles=False, needs_bytes=peak(rung, in_tiles=False), free_bytes=free_bytes)
    tiled = Fit(rung, in_tiles=True, needs_bytes=peak(rung, in_tiles=True), free_bytes=free_bytes)
    return whole if whole.is_enough or tiled.needs_bytes >= whole.needs_bytes else tiled


def next_rung(rung: str, *, device: str, gains_by_fp8: bool = True) -> str | None:
    """The rung below; ``None`` at the end of the ladder."""
    ladder = [one for one in LADDERS.get(device, LADDERS["cuda"]) if one != "fp8" or gains_by_fp8]
    if rung not in ladder:  # forced upon a device that would not have chosen it
        ladder = [one for one in RUNGS if one == rung or one in ladder]
    below = ladder[ladder.index(rung) + 1 :]
    return below[0] if below else None


def _reading(model: ModelSize) -> int:
    """Bytes of the text encoders on the card while they read, below the first rung."""
    return _GROUPS_BYTES if model.encoders > LARGE_ENCODERS_BYTES else model.encoders


def _gigabytes(number: int) -> str:
    return f"{number / GIB:.1f}"
