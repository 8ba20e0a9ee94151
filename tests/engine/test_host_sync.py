"""No step waits for the device.

The loop runs on torch's ``meta`` device, where tensors have no values: whatever would read one on the host
(``.item()``, ``.cpu()``, ``bool(tensor)``, ``nonzero()``) raises. Copies to the device that a GPU would wait for
are counted too.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fooocus_lite.engine.denoise import denoise
from fooocus_lite.engine.guidance import Condition, Told, Weights, guided, unet_forward, unet_layers
from fooocus_lite.engine.moment import NoiseSource, Step
from fooocus_lite.engine.samplers import make_path
from fooocus_lite.registry import SAMPLERS, SCHEDULERS
from tests.engine.tiny_sdxl import SCHEDULER, make_unet

META = torch.device("meta")
EVERYTHING = Weights(
    guidance_scale=8, guidance_rescale=0.7, guidance_end=0.8, adaptive_cfg=5, perp_neg=1, apg_eta=0, apg_threshold=15,
    apg_momentum=-0.5, sag_scale=0.5, pag_scale=2, sharpness=2, freeu_b1=1.2, freeu_b2=1.3, freeu_s1=0.9, freeu_s2=0.5,
    adm_positive=1.5, adm_negative=0.8, adm_end=0.3,
)  # fmt: skip


class HostTraffic(TorchDispatchMode):
    """Counts what makes a host wait: reading numbers, and blocking copies from host to device."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.blocking_copies: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func)
        if name.startswith(("aten.item", "aten._local_scalar_dense", "aten.is_nonzero", "aten.nonzero")):
            self.reads.append(name)
        tensors = [value for value in args if isinstance(value, Tensor)]
        if name.startswith(("aten.to.", "aten._to_copy.")):
            source, target = tensors[0].device, torch.device(kwargs.get("device") or tensors[0].device)
        elif name.startswith("aten.copy_."):
            source, target = tensors[1].device, tensors[0].device
        else:
            source = target = META
        if source.type == "cpu" and target == META and not kwargs.get("non_blocking"):
            self.blocking_copies.append(name)
        return func(*args, **kwargs)


def condition(tokens: int) -> Condition:
    embeds = torch.empty(1, tokens, 40, device=META)
    return Condition(
        embeds, {"text_embeds": torch.empty(1, 24, device=META), "time_ids": torch.empty(1, 6, device=META)}
    )


def traffic(sampler: str, *, kind: str = "epsilon", spoil: Any = None) -> HostTraffic:
    unet = make_unet().to(META)
    shape = (1, 4, 16, 16)
    noise = NoiseSource(0, shape, META)
    row, config = SAMPLERS[sampler], SCHEDULER | {"prediction_type": kind}
    steps = 20 if sampler == "restart" else 5  # with fewer it never goes back
    path = make_path(row, SCHEDULERS[row.scheduler], config, steps, device=META, noise=noise)
    told = Told(condition(32), condition(16), condition(16))
    with torch.inference_mode(), guided(
        unet_forward(unet, torch.float32), told, EVERYTHING, steps=len(path.spans), layers=unet_layers(unet)
    ) as predict:  # fmt: skip
        latents = noise.draw() * path.init_noise_sigma
        with HostTraffic() as seen:
            denoise(predict, path, latents, observe=spoil or (lambda step: None))
    return seen


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_no_step_reads_or_waits(sampler: str, kind: str) -> None:
    seen = traffic(sampler, kind=kind)
    assert seen.reads == []
    assert seen.blocking_copies == []


def test_the_counter_would_notice() -> None:
    def look(step: Step) -> None:
        float(step.prediction.mean())

    with pytest.raises((RuntimeError, NotImplementedError)):
        traffic("euler", spoil=look)
    assert traffic("euler", spoil=lambda step: torch.ones(3).to(META)).blocking_copies != []
    assert traffic("euler", spoil=lambda step: torch.ones(()).item()).reads != []
