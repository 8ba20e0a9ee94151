"""Where the parts of a loaded model are: on the device, or at home in this computer's memory.

A part that comes to the device leaves its weights at home as well, so that sending it away copies nothing. That is
right because nothing changes weights for good: adapters put back what was there, and come only to parts that are
awake. On a processor home and device are the same memory, and coming and going is bookkeeping.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fooocus_lite.engine import device as devices
from fooocus_lite.engine.device import Machine
from fooocus_lite.engine.groups import bring_in_groups

log = logging.getLogger(__name__)
_HOME = torch.device("cpu")
#: What a part is for. Everything that is neither is asked at every step.
_ENCODERS = ("text_encoder", "image_encoder")
VAE = "vae"


def is_encoder(part: str) -> bool:
    """Whether the part reads texts or pictures before the first step."""
    return part.startswith(_ENCODERS)


def is_denoiser(part: str) -> bool:
    """Whether the part is asked at every step."""
    return part != VAE and not is_encoder(part)


class Part:
    """A component of a model.

    Attributes:
        is_awake: It is on the device, and can compute there.
    """

    def __init__(self, module: nn.Module, device: torch.device, *, is_awake: bool) -> None:
        self.module, self._device = module, device
        self.is_awake = is_awake
        self._home: dict[Tensor, Tensor] = {}
        self._size_bytes: int | None = None

    @property
    def size_bytes(self) -> int:
        """Of its weights, in the format they are stored in."""
        if self._size_bytes is None:  # asked several times for every picture, and a large model has thousands
            self._size_bytes = sum(tensor.nbytes for tensor in (*self.module.parameters(), *self.module.buffers()))
        return self._size_bytes

    @property
    def home_bytes(self) -> int:
        """What it holds of this computer's memory."""
        return sum(kept.nbytes for kept in self._home.values()) if self.is_awake else self.size_bytes

    def wake(self) -> None:
        """Bring it to the device."""
        try:
            self._move(self._brought)
        except BaseException:
            self._move(self._at_home)  # half a part on the device would be nobody's
            self._home.clear()
            raise
        self.is_awake = True

    def rest(self) -> None:
        """Send it home."""
        self._move(self._at_home)
        self._home.clear()  # the weights are those again; else they would be held when they are stored otherwise
        self.is_awake = False

    def stored_otherwise(self) -> None:
        """Its weights have another format now: what is at home is not what the part holds any more."""
        self._home.clear()
        self._size_bytes = None

    def _move(self, moved: Callable[[Tensor], Tensor]) -> None:
        if self._device == _HOME:
            return
        if any(type(weight) is not nn.Parameter for weight in self.module.parameters()):
            # Such as those of GGUF, which know more than their numbers.
            self.module.to(self._device if moved == self._brought else _HOME)
            return
        for weight in self.module.parameters():
            weight.data = moved(weight)
        for child in self.module.modules():
            for name, buffer in child.named_buffers(recurse=False):
                setattr(child, name, moved(buffer))

    def _brought(self, tensor: Tensor) -> Tensor:
        if tensor.device == _HOME:
            self._home[tensor] = tensor.data
        return tensor.data.to(self._device, copy=True)

    def _at_home(self, tensor: Tensor) -> Tensor:
        home = self._home.get(tensor)
        # Loaded straight to the device, or cast since: then it is copied once.
        return home if home is not None and home.dtype == tensor.dtype else tensor.data.to(_HOME)


class Residence:
    """The parts of one model on one rung.

    Args:
        parts: By diffusers' names.
        on_move: Called when a part has come to the device or gone home.
        make_room: Asked, before a part comes, to free so many bytes of the device.
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        machine: Machine,
        *,
        on_move: Callable[[], None],
        make_room: Callable[[int], None],
    ) -> None:
        awake = not machine.loads_at_home
        self.parts = {name: Part(module, machine.device, is_awake=awake) for name, module in parts.items()}
        self.machine = machine
        #: The denoiser must stay where it is: adapters have changed it, which its weights at home know nothing of.
        self.is_pinned = False
        #: What a step of this picture needs beside the weights.
        self.room_bytes = 0
        #: Parts whose layers come and go by themselves.
        self._grouped: set[str] = set()
        self._on_move, self._make_room = on_move, make_room
        for name, part in self.parts.items():
            part.module.register_forward_pre_hook(lambda *_, name=name: self.wake(name))

    @property
    def awake_bytes(self) -> int:
        """What the model holds of the device's memory."""
        return sum(part.size_bytes for part in self.parts.values() if part.is_awake)

    @property
    def home_bytes(self) -> int:
        """What the model holds of this computer's memory, where the device has its own."""
        return self.size_bytes if self.machine.is_cpu else sum(part.home_bytes for part in self.parts.values())

    @property
    def size_bytes(self) -> int:
        """Of all parts."""
        return sum(part.size_bytes for part in self.parts.values())

    @property
    def is_compact(self) -> bool:
        """Whether what is asked at every step came in 8 bits a number or fewer."""
        return any(_is_compact(part.module) for name, part in self.parts.items() if is_denoiser(name))

    def wake(self, *names: str, room_bytes: int = 0) -> None:
        """Bring parts to the device that are not there; without names, all.

        Args:
            room_bytes: What they will need beside themselves; for a denoiser, at least `room_bytes` of the picture.
        """
        for name in names or tuple(self.parts):
            part = self.parts.get(name)
            if part is not None and not part.is_awake and name not in self._grouped:
                room = max(room_bytes, self.room_bytes) if is_denoiser(name) else room_bytes
                self._make_room(part.size_bytes + room)
                part.wake()
                self._on_move()

    def rest(self, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Send home those parts whose names are ``wanted``."""
        for name, part in self.parts.items():
            is_pinned = self.is_pinned and is_denoiser(name)
            if part.is_awake and name not in self._grouped and not is_pinned and wanted(name):
                part.rest()
                self._on_move()

    def store_in_8_bits(self) -> None:
        """Keep the weights of the denoiser as 8-bit floats; each layer computes in the machine's format.

        Norms, and whatever else the library knows to be delicate in a network, keep theirs.
        """
        for name, part in self.parts.items():
            if is_denoiser(name) and not _is_compact(part.module):
                network: Any = part.module
                network.enable_layerwise_casting(torch.float8_e4m3fn, self.machine.dtype)
                part.stored_otherwise()

    def bring_in_groups(self, wanted: Callable[[str], bool]) -> None:
        """Let the layers of the ``wanted`` parts come to the device one after another, and go again."""
        for name, part in self.parts.items():
            if not wanted(name) or name in self._grouped:
                continue
            if part.is_awake:
                part.rest()
            ram = devices.free_memory_bytes(_HOME)
            is_short = ram is not None and part.size_bytes > ram // 2
            bring_in_groups(part.module, self.machine.device, _HOME, saves_memory=is_short)
            self._grouped.add(name)
            part.is_awake = False


def _is_compact(module: Any) -> bool:
    """Whether the weights take a byte or less each already."""
    weights = list(module.parameters())
    stored = sum(weight.nbytes for weight in weights)
    return stored < 1.5 * sum(weight.numel() for weight in weights) or any(
        type(weight) is not nn.Parameter for weight in weights
    )
