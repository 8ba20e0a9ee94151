"""What makes a pass cheaper changes nothing: texts are read once a walk, small convolutions take oneDNN."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fooocus_lite.engine.convolutions import with_direct_convolutions
from fooocus_lite.engine.guidance import Told, Weights, guided, unet_forward, unet_layers
from fooocus_lite.engine.remembered import remembered
from tests.engine.test_guidance import condition, sdxl_unet
from tests.engine.test_guidance_passes import LATENTS, moment

__all__ = ["sdxl_unet"]
TOLD = Told(condition(8), condition(9))


class Counted(nn.Linear):
    calls = 0

    def forward(self, input: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(input)


def test_an_answer_is_known_by_the_tensor_not_by_its_values() -> None:
    layer, one = Counted(4, 4), torch.randn(2, 4)
    with torch.no_grad(), remembered([layer]):
        first = layer(one)
        assert layer(one) is first and layer.calls == 1
        assert layer(one.clone()) is not first and layer.calls == 2
        third = layer(torch.randn(2, 4))
        assert layer(one) is not first, "of two texts at a time the oldest goes"
        assert layer.calls == 4 and not torch.equal(third, first)
    assert "forward" not in vars(layer)


def test_answers_to_long_texts_are_not_kept() -> None:
    layer, long = Counted(4, 4), torch.randn(1, 5 * 77, 4)
    with torch.no_grad(), remembered([layer]):
        assert torch.equal(layer(long), layer(long)) and layer.calls == 2


def test_nested_and_failing_blocks_put_back_what_they_found() -> None:
    """A model may refine itself."""
    layer, one = Counted(4, 4), torch.randn(2, 4)
    with pytest.raises(ZeroDivisionError), torch.no_grad(), remembered([layer]):
        outer = layer.forward
        layer(one)
        with remembered([layer]):
            layer(one)
        assert layer.forward is outer and layer.calls == 1
        raise ZeroDivisionError
    assert "forward" not in vars(layer)


@pytest.mark.parametrize(
    "weights", [{}, {"sag_scale": 1.0}, {"guidance_end": 0.5}, {"pag_scale": 2.0, "freeu_b1": 1.2}]
)
def test_a_walk_reads_its_texts_once_and_sees_the_same(sdxl_unet: Any, weights: dict[str, float]) -> None:
    forward, layers = unet_forward(sdxl_unet, torch.float32), unet_layers(sdxl_unet)
    crossings = sum(name.endswith("attn2") for name, _ in sdxl_unet.named_modules())
    assert len(layers.of_texts) == 2 * crossings > 0
    asked: list[nn.Module] = []
    handles = [layer.register_forward_hook(lambda module, *_: asked.append(module)) for layer in layers.of_texts]
    led = Weights(guidance_scale=4, **weights)

    def walk(places: Any) -> list[Tensor]:
        with torch.no_grad(), guided(forward, TOLD, led, steps=4, layers=places) as predict:
            return [predict(LATENTS, moment(index)) for index in range(4)]

    plain = walk(dataclasses.replace(layers, of_texts=()))
    computed: list[int] = []
    for layer in layers.of_texts:
        any_layer: Any = layer
        inner = any_layer.forward
        any_layer.forward = lambda states, inner=inner: (computed.append(1), inner(states))[1]
    found = walk(layers)
    for layer, handle in zip(layers.of_texts, handles, strict=True):
        del layer.forward
        handle.remove()
    assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))
    texts = 2 if "sag_scale" in weights or "guidance_end" in weights else 1
    assert len(computed) == texts * len(layers.of_texts), "once for each of the texts, whatever the steps"


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"padding": 2, "dilation": 2, "groups": 2}],
    ids=str,
)
def test_a_direct_convolution_is_the_convolution(options: dict[str, Any]) -> None:
    layer, states = nn.Conv2d(8, 12, 3, **options), torch.randn(1, 8, 10, 14)
    wanted = layer.double()(states.double())
    direct = with_direct_convolutions(layer.float())
    assert "forward" in vars(direct)
    with torch.no_grad():
        found = direct(states)
        # Sums of 72 products in float32, whatever their order.
        torch.testing.assert_close(found.double(), wanted.detach(), rtol=0, atol=72 * torch.finfo(torch.float32).eps)
        direct.weight.zero_()
        assert torch.equal(direct(states), direct.bias.view(1, -1, 1, 1).expand_as(found)), "the weights of now"


def test_a_layer_that_was_moved_is_torchs_own() -> None:
    others = (nn.Conv2d(4, 4, 1, padding_mode="circular"), nn.Conv2d(4, 4, 1, padding="same"))
    layer = with_direct_convolutions(nn.Sequential(nn.Conv2d(4, 4, 1), *others))
    assert ["forward" in vars(child) for child in layer] == [True, False, False]
    states = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    assert layer.double()(states).dtype == torch.float64
