"""What a walk asks again at every step and what has the same answer: the texts, as each attention layer reads them.

Keys and values of a text depend on the text and the weights alone, and neither changes within a walk. Computing them
once takes two small layers out of every cross-attention at every step: about a twentieth of a pass on a CPU, and on a
GPU 140 of the 2,005 kernels of an SDXL pass.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from fooocus_lite.engine.groups import comes_in_groups

#: Texts at a time: a guided step may ask with all of them and then with one (SAG), as may one outside the interval.
_KEPT = 2
#: Of a text: keys and values of SDXL take 55 MB for 77 of them and two pictures in 16 bits, which no ladder counts.
_MOST_TOKENS = 4 * 77


class _Remembering:
    """A layer's forward that knows its latest answers by the very tensors it was asked with."""

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        self._forward = forward
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, states: Tensor) -> Tensor:
        """(B, tokens, channels) -> (B, tokens, inner channels), the same tensor for the same tensor."""
        if states.shape[-2] > _MOST_TOKENS:
            return self._forward(states)
        # The question is kept with its answer, so that no other tensor can come by its id.
        known = self._known.pop(id(states), None) or (states, self._forward(states))
        if len(self._known) >= _KEPT:
            del self._known[next(iter(self._known))]
        self._known[id(states)] = known
        return known[1]


@contextmanager
def remembered(layers: Iterable[nn.Module]) -> Generator[None]:
    """Let ``layers`` remember their latest answers inside the ``with`` block; their weights must not change in it.

    Those that come to the device one after another are left alone: each brings the next, in the order of the first
    pass, and one that is not asked breaks the chain.
    """
    with ExitStack() as stack:
        for layer in layers:
            if comes_in_groups(layer):
                continue
            any_layer: Any = layer
            stack.callback(_put_back, any_layer, vars(any_layer).get("forward"))
            any_layer.forward = _Remembering(any_layer.forward)
        yield


def _put_back(layer: Any, former: Any) -> None:
    """The forward that the layer itself had, or that of its class."""
    del layer.forward
    if former is not None:
        layer.forward = former
