"""What a forward pass keeps alive at once, counted without computing it: for the constants of `fooocus_lite.memory`.

The network runs on tensors that have a shape and no numbers, so the largest ones take seconds and no memory. Counted
are all results of operations, from when they are made to when nobody holds them; weights are not. What a backend takes
for its own work space is not seen here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


def counted_peak(build: Callable[[], nn.Module], run: Callable[[Any], object], *, dtype: torch.dtype) -> int:
    """The most bytes that ``run(build())`` has at once, beside the weights.

    Args:
        build: Makes the network, with ``dtype`` as the default.
        run: Makes its inputs, and calls it.
    """
    with _default(dtype), FakeTensorMode(), torch.no_grad():
        network = build().eval()
        weights = {_key(tensor.untyped_storage()) for tensor in (*network.parameters(), *network.buffers())}
        counter = _Counter(weights)
        with counter:
            run(network)
    return counter.most


class _Counter(TorchDispatchMode):
    """Counts storages as operations make them and as they go."""

    def __init__(self, ignored: set[int]) -> None:
        super().__init__()
        self._ignored = ignored
        self._alive: dict[int, int] = {}
        self.now = self.most = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and look at what it made."""
        made = function(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = _key(storage)
        if key not in self._alive and key not in self._ignored:
            self._alive[key] = storage.nbytes()
            self.now += self._alive[key]
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._alive.pop(key, 0)


def _key(storage: Any) -> int:
    """What stays the same while a storage lives; its address says nothing, since there is none."""
    return storage._cdata


@contextmanager
def _default(dtype: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
