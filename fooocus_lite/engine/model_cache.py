"""The models that are loaded, those used last for longest: on the device first, then in this computer's memory.

A model is read once. It leaves the device only when another one needs the room, and this computer's memory only when
that gets short, too; coming back costs no reading. Where device and computer share their memory there is one place.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from fooocus_lite.engine import device as devices
from fooocus_lite.engine.device import Machine
from fooocus_lite.engine.family import DrawsItself, Family, load_family
from fooocus_lite.engine.residence import VAE, Residence, is_denoiser, is_encoder
from fooocus_lite.families import FAMILIES
from fooocus_lite.memory import (
    AUTO,
    GIB,
    LARGE_ENCODERS_BYTES,
    NUMBER_BYTES,
    Fit,
    Needs,
    Picture,
    choose_rung,
    make_needs,
    models_of,
    typical_size,
)
from fooocus_lite.model_files import ModelRef
from fooocus_lite.weight_sizes import ModelSize, size_of

log = logging.getLogger(__name__)
#: What the system and other programs keep of this computer's memory.
RAM_RESERVE_BYTES = 2 * GIB
#: How weights are stored on a rung. Down from "plain" is one step; back, the files are read again.
_FORMS = {"fp8": "fp8", "groups": "groups", "cpu": "cpu"}
_PLAIN = "plain"
_HOME = torch.device("cpu")


@dataclass
class Loaded:
    """A model in memory.

    Attributes:
        form: How its weights are stored: ``plain``, ``fp8``, ``groups`` or ``cpu``.
        machine: What computes it.
    """

    family: Family | DrawsItself
    residence: Residence
    form: str
    machine: Machine


class ModelCache:
    """What the engine has loaded.

    Attributes:
        reads: How often a model was read from disk.
        moves: How often a part of one came to the device or left it.

    Args:
        machine: Decides at the first use where to compute.
        free_bytes: What is left of a device, or of this computer's memory for a processor.
    """

    def __init__(
        self,
        machine: Callable[[], Machine],
        *,
        free_bytes: Callable[[torch.device], int | None] = devices.free_memory_bytes,
    ) -> None:
        self._machine, self._free_bytes = machine, free_bytes
        self._loaded: OrderedDict[ModelRef, Loaded] = OrderedDict()
        self._sizes: dict[ModelRef, ModelSize] = {}
        self._in_use: tuple[ModelRef, ...] = ()
        self.reads = self.moves = 0

    @property
    def names(self) -> list[str]:
        """Of the models that need not be read again, the one used last first."""
        return [ref.name for ref in reversed(self._loaded)]

    def free_bytes(self) -> int | None:
        """What the device could give a picture if all models left it."""
        free = self._free_bytes(self._machine().device)
        if free is None:
            return None
        return free + sum(self._held_bytes(loaded) for loaded in self._loaded.values())

    def home_free_bytes(self) -> int | None:
        """Likewise of this computer's memory; ``None`` where it is the device's as well."""
        if self._machine().device.type in ("cpu", "mps"):
            return None
        free = self._free_bytes(_HOME)
        return None if free is None else free + sum(loaded.residence.home_bytes for loaded in self._loaded.values())

    def needs(self, picture: Picture, *, together: int = 1) -> Needs:
        """What so many pictures of a kind ask of the device at once."""
        sizes = [self._size(ref) for ref in models_of(picture)]
        return make_needs(picture, sizes, dtype=self._machine().dtype_name, together=together)

    def fit(self, picture: Picture, *, forced: str = AUTO, start: str = "", together: int = 1) -> Fit:
        """How so many pictures of a kind will be kept in memory; see `fooocus_lite.memory.choose_rung`."""
        device = self._machine().device.type
        needs, home_free = self.needs(picture, together=together), self.home_free_bytes()
        fit = choose_rung(
            needs, self.free_bytes(), device=device, forced=forced, start=start, home_free_bytes=home_free
        )
        if fit.is_short_at_home:
            log.warning("model %s: %s", picture.model.name, fit.words(self._machine().dtype_name))
        return fit

    def get(self, refs: Sequence[ModelRef], rung: str, *, room_bytes: int = 0) -> list[Loaded]:
        """The models that ``refs`` name, as the rung wants them; on ``resident`` they are on the device.

        Args:
            room_bytes: What the picture will need of the device beside them.
        """
        form = _FORMS.get(rung, _PLAIN)
        self._in_use = tuple(refs)
        for ref in refs:
            loaded = self._loaded.get(ref)
            if loaded is not None and not _leads_to(loaded.form, form):
                loaded = None
                del self._loaded[ref]  # what the steps down took from the weights is in the files only
                devices.free_memory(self._machine().device)
            if loaded is None:
                loaded = self._read(ref, rung, room_bytes)
            self._loaded[ref] = loaded
            self._loaded.move_to_end(ref)
            try:
                self._step_down(loaded, form)
            except BaseException:
                del self._loaded[ref]  # stored half in one way and half in the other
                raise
            loaded.residence.room_bytes = room_bytes
            if rung == "resident":
                loaded.residence.wake()
            elif rung != "cpu":
                loaded.residence.rest(lambda part: not is_denoiser(part))
                if _encoder_bytes(loaded.residence) > LARGE_ENCODERS_BYTES:
                    loaded.residence.bring_in_groups(is_encoder)
        self._make_room(room_bytes, others_only=True)
        return [self._loaded[ref] for ref in refs]

    def forget(self) -> None:
        """Free everything."""
        if self._loaded:
            self._loaded.clear()
            devices.free_memory(self._machine().device)

    def _read(self, ref: ModelRef, rung: str, room_bytes: int) -> Loaded:
        machine = self._machine()
        if rung == "cpu" and not machine.is_cpu:
            machine = devices.choose_machine("cpu")
        machine = machine.with_range() if FAMILIES[ref.family].wants_range else machine
        machine = dataclasses.replace(machine, loads_at_home=rung not in ("resident", "cpu"))
        size = self._size(ref).total
        self._make_room(size + room_bytes, machine.weights_device)
        started = time.monotonic()
        family = load_family(ref, machine)
        self.reads += 1
        parts = getattr(family, "parts", {})
        residence = Residence(parts, machine, on_move=self._count, make_room=self._make_room)
        if (texts := getattr(family, "texts", None)) is not None:
            texts.before_reading = lambda: residence.wake(*filter(is_encoder, residence.parts))
        log.info("model %s loaded in %.1f s", ref.name, time.monotonic() - started)
        return Loaded(family, residence, "cpu" if rung == "cpu" else _PLAIN, machine)

    def _step_down(self, loaded: Loaded, form: str) -> None:
        """From plain weights to ``form``, in place."""
        if loaded.form == form:
            return
        if form == "groups":
            loaded.residence.bring_in_groups(is_denoiser)
        elif form == "fp8":
            loaded.residence.store_in_8_bits()
        loaded.form = form

    def _count(self) -> None:
        self.moves += 1

    def _size(self, ref: ModelRef) -> ModelSize:
        dtype = self._machine().dtype_name
        loaded = self._loaded.get(ref)
        if ref not in self._sizes and loaded is not None and loaded.form == _PLAIN and loaded.residence.parts:
            self._sizes[ref] = _measured(loaded.residence)
        if ref not in self._sizes:
            return size_of(ref, number_bytes=NUMBER_BYTES[dtype]) or typical_size(ref.family, dtype=dtype)
        return self._sizes[ref]

    def _held_bytes(self, loaded: Loaded) -> int:
        """What a model has of the memory in which pictures are drawn."""
        machine = self._machine()
        if machine.is_cpu:
            return loaded.residence.size_bytes
        return 0 if loaded.machine.is_cpu else loaded.residence.awake_bytes

    def _make_room(self, wanted_bytes: int, device: torch.device | None = None, *, others_only: bool = False) -> None:
        """Send away what this picture does not need, then what it does not need now, until so much is free."""
        device = device or self._machine().device
        if device.type == "cpu":
            self._make_room_in_ram(wanted_bytes)
            return
        others = [loaded for ref, loaded in self._loaded.items() if ref not in self._in_use]
        ours = [] if others_only else [self._loaded[ref] for ref in self._in_use if ref in self._loaded]
        for loaded in (*others, *ours):
            if self._has(wanted_bytes, device):
                return
            if loaded.residence.awake_bytes:
                self._make_room_in_ram(loaded.residence.awake_bytes)
                if loaded in self._loaded.values():  # else it has left that, too
                    loaded.residence.rest()
                devices.free_memory(device)

    def _make_room_in_ram(self, wanted_bytes: int) -> None:
        """Drop the models used longest ago until so much of this computer's memory is free, besides the reserve."""
        for ref in [ref for ref in self._loaded if ref not in self._in_use]:
            if self._has(wanted_bytes + RAM_RESERVE_BYTES, _HOME):
                return
            log.info("model %s leaves the memory", ref.name)
            del self._loaded[ref]
            devices.free_memory(self._machine().device)

    def _has(self, wanted_bytes: int, device: torch.device) -> bool:
        free = self._free_bytes(device)
        return free is None or free >= wanted_bytes


def _leads_to(form: str, wanted: str) -> bool:
    """Whether weights of one form can be put into another without reading them again."""
    return form == wanted or (form == _PLAIN and wanted in ("fp8", "groups"))


def _measured(residence: Residence) -> ModelSize:
    """The size of a model that is loaded, by what its tensors take."""
    sizes = {name: part.size_bytes for name, part in residence.parts.items()}
    denoiser = sum(size for name, size in sizes.items() if is_denoiser(name))
    return ModelSize(denoiser, _encoder_bytes(residence), sizes.get(VAE, 0), is_compact=residence.is_compact)


def _encoder_bytes(residence: Residence) -> int:
    return sum(part.size_bytes for name, part in residence.parts.items() if is_encoder(name))
