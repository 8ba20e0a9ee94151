"""Where to compute and in which number format, decided by what is there and overridable by a setting."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from fooocus_lite.errors import BadValue

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_LONG_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_BACKENDS = ("cuda", "xpu", "mps", "cpu")
#: How libraries say that there was no room: CUDA and MPS, a processor under Linux and Windows, cuBLAS, Intel's.
_NO_ROOM = (
    *("out of memory", "can't allocate memory", "not enough memory", "alloc_failed"),
    *("out_of_device_memory", "out_of_host_memory"),
)


@dataclass(frozen=True)
class Machine:
    """One device and the number format of the weights on it.

    Attributes:
        device: Such as ``cuda:0``; AMD cards are ``cuda`` too, because ROCm builds of torch call them so.
        dtype: Of UNet and text encoders; latents between the steps are float32 whatever this is.
        loads_at_home: Weights are loaded into this computer's memory and come to the device when they are needed.
        is_dtype_chosen: A person named the format.
    """

    device: torch.device
    dtype: torch.dtype
    loads_at_home: bool = False
    is_dtype_chosen: bool = False

    @property
    def weights_device(self) -> torch.device:
        """Where weights are put when they are read."""
        return torch.device("cpu") if self.loads_at_home else self.device

    @property
    def dtype_name(self) -> str:
        """``fp32``, ``fp16`` or ``bf16``."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)

    @property
    def is_cpu(self) -> bool:
        """Whether host and device are the same memory."""
        return self.device.type == "cpu"

    def with_range(self) -> Machine:
        """For networks whose numbers leave the range of fp16: bf16 in its place, where nobody chose and it is there."""
        can_be = has_bf16(self.device) or self.device.type == "mps"  # slower there, where fp16 draws nothing
        is_wanted = self.dtype == torch.float16 and not self.is_dtype_chosen
        return replace(self, dtype=torch.bfloat16) if is_wanted and can_be else self


def choose_machine(device: str = "auto", dtype: str = "auto") -> Machine:
    """The device and dtype that a setting names, or the best of this machine for ``auto``.

    Raises:
        BadValue: a device or dtype that does not exist here.
    """
    chosen = _choose_device(device.strip().lower())
    name = dtype.strip().lower()
    return Machine(chosen, _choose_dtype(name, chosen), is_dtype_chosen=name != "auto")


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is as fast as fp16: on cards since Ampere (compute capability 8), which ROCm's all claim to be."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "xpu"


def _is_there(backend: str) -> bool:
    if backend == "cpu":
        return True
    if backend == "mps":
        return torch.backends.mps.is_available()
    return bool(getattr(torch, backend).is_available())


def _choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device(next(backend for backend in _BACKENDS if _is_there(backend)))
    backend, _, number = name.removeprefix("rocm:").partition(":")
    backend = "cuda" if backend == "rocm" else backend
    if backend not in _BACKENDS or (number and not number.isdecimal()):
        raise BadValue(
            f"There is no device called '{name[:40]}'.", "Use auto, cpu, cuda, cuda:1, xpu or mps.", field="device"
        )
    if not _is_there(backend):
        there = ", ".join(other for other in _BACKENDS if _is_there(other))
        raise BadValue(
            f"The device '{name[:40]}' is not available here.", f"Use auto or one of: {there}.", field="device"
        )
    count = int(getattr(torch, backend).device_count()) if backend in ("cuda", "xpu") else 1
    if number and int(number) >= count:
        raise BadValue(
            f"The device '{name[:40]}' does not exist.", f"{backend} devices here: 0 to {count - 1}.", field="device"
        )
    return torch.device(f"{backend}:{number}" if number and backend != "cpu" else backend)


def every_device() -> list[str]:
    """Names of all devices of the best kind that is here."""
    kind = next(backend for backend in _BACKENDS if _is_there(backend))
    if kind in ("cuda", "xpu"):
        return [f"{kind}:{number}" for number in range(int(getattr(torch, kind).device_count()))]
    return [kind]


def _choose_dtype(name: str, device: torch.device) -> torch.dtype:
    name = _LONG_NAMES.get(name, name)
    if name == "auto":
        return _best_dtype(device)
    if name not in DTYPES:
        raise BadValue(
            f"There is no number format called '{name[:40]}'.", "Use auto, fp32, fp16 or bf16.", field="dtype"
        )
    return DTYPES[name]


def _best_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        # fp16 has three more bits of mantissa than bf16 and SDXL was published in it; cards before Volta
        # (compute capability 7) compute fp16 slower than fp32. ROCm reports 9 or more for its half-fast cards.
        return torch.float16 if torch.cuda.get_device_capability(device)[0] >= 7 else torch.float32
    if device.type == "xpu":
        return torch.float16
    if device.type == "mps":
        return torch.float16
    # On a CPU half precision is emulated nearly everywhere: slower and less exact.
    return torch.float32


def make_current(device: torch.device) -> None:
    """Let what names no device, such as a stream or pinned memory, belong to this one; for the calling thread.

    It would belong to the first card, take some hundred MB of it, and of a stream of another card nobody waits.
    """
    if str(device).startswith(("cuda:", "xpu:")):
        getattr(torch, device.type).set_device(device)


def device_name(device: torch.device) -> str:
    """What a person calls it."""
    if device.type in ("cuda", "xpu"):
        return str(getattr(torch, device.type).get_device_name(device))
    return {"mps": "Apple GPU", "cpu": "CPU"}.get(device.type, device.type)


def total_memory_bytes(device: torch.device) -> int | None:
    """Memory of the device; ``None`` where torch cannot tell."""
    if device.type in ("cuda", "xpu"):
        return int(getattr(torch, device.type).get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return None


def free_memory_bytes(device: torch.device) -> int | None:
    """What is left on a device for this process, its own reserve included; ``None`` where torch cannot tell."""
    if device.type in ("cuda", "xpu"):
        backend = getattr(torch, device.type)
        try:
            free, _ = backend.mem_get_info(device)
        except RuntimeError:  # some of Intel's drivers
            return None
        return int(free) + int(backend.memory_reserved(device) - backend.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.current_allocated_memory())
    return int(psutil.virtual_memory().available)


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring anew, where the device can."""
    if device.type in ("cuda", "xpu"):
        getattr(torch, device.type).reset_peak_memory_stats(device)
    elif device.type == "cpu" and sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may hide it: then the peak is that of the process's life
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


def peak_memory_bytes(device: torch.device) -> int | None:
    """The most memory used since `reset_peak_memory`: on the device, or on a CPU by this process.

    Off Linux a process's peak cannot be reset: there it is that of its life.
    """
    if device.type in ("cuda", "xpu"):
        return int(getattr(torch, device.type).max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    if sys.platform == "win32":
        return None
    import resource  # exists on Unix only

    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            highest = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
            if highest:
                return int(highest.group(1)) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory(device: torch.device) -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if device.type in ("cuda", "xpu", "mps"):
        getattr(torch, device.type).empty_cache()


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether the device (or this computer) had no room; older backends only say so in words."""
    if isinstance(exc, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(exc).lower()
    return isinstance(exc, RuntimeError) and any(said in words for said in _NO_ROOM)
