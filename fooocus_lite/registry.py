"""Everything a person can choose by name, as rows of plain data. Adding one is one row.

The engine reads these rows; page, CLI, API, docs and tests list them. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fooocus_lite.errors import UnknownName


@dataclass(frozen=True)
class Sampler:
    """One way to walk from noise to picture.

    Attributes:
        label: What a person reads.
        scheduler: Class name in ``diffusers``.
        config: What is set on top of the model's own scheduler config.
        paper: Where the method is published.
        order: Convergence order on a smooth ODE; ``None`` for stochastic and few-step ones.
        aliases: Names other programs use for it.
        min_steps: Fewest steps that make sense.
    """

    label: str
    scheduler: str
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    paper: str = ""
    order: int | None = None
    aliases: tuple[str, ...] = ()
    min_steps: int = 1


SAMPLERS: dict[str, Sampler] = {
    "euler": Sampler(
        label="Euler",
        scheduler="EulerDiscreteScheduler",
        config={"timestep_spacing": "linspace"},
        paper="arXiv:2206.00364, algorithm 2 without churn",
        order=1,
    ),
    "euler_ancestral": Sampler(
        label="Euler a",
        scheduler="EulerAncestralDiscreteScheduler",
        config={"timestep_spacing": "linspace"},
        paper="arXiv:2010.02502, eq. 16, eta = 1",
        aliases=("euler_a",),
    ),
    "dpmpp_2m_karras": Sampler(
        label="DPM++ 2M Karras",
        scheduler="DPMSolverMultistepScheduler",
        config={"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
        paper="arXiv:2211.01095, algorithm 2; schedule arXiv:2206.00364, eq. 5",
        order=2,
        aliases=("dpmpp_2m",),
        min_steps=2,
    ),
    "dpmpp_2m_sde_karras": Sampler(
        label="DPM++ 2M SDE Karras",
        scheduler="DPMSolverMultistepScheduler",
        config={"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
        paper="arXiv:2211.01095, SDE form; schedule arXiv:2206.00364, eq. 5",
        aliases=("dpmpp_2m_sde", "dpmpp_2m_sde_gpu"),
        min_steps=2,
    ),
    "uni_pc": Sampler(
        label="UniPC",
        scheduler="UniPCMultistepScheduler",
        config={"solver_order": 2},
        paper="arXiv:2302.04867",
        order=3,  # the corrector adds one to the predictor's two (section 3.3)
        aliases=("unipc", "uni_pc_bh2"),
        min_steps=2,
    ),
    "lcm": Sampler(
        label="LCM",
        scheduler="LCMScheduler",
        paper="arXiv:2310.04378, algorithm 3",
    ),
}


@dataclass(frozen=True)
class Family:
    """An architecture that the engine can drive.

    Attributes:
        label: What a person reads.
        engine: ``"module:class"`` inside ``fooocus_lite.engine``, loaded in the worker.
        size_multiple: Width and height must be multiples of this many pixels.
        defaults: Recipe values that fit every model of the family (the lowest rung of the picture ladder).
    """

    label: str
    engine: str
    size_multiple: int
    defaults: Mapping[str, Any]


FAMILIES: dict[str, Family] = {
    "sdxl": Family(
        label="Stable Diffusion XL",
        engine="fooocus_lite.engine.sdxl:Sdxl",
        size_multiple=8,
        defaults={
            "width": 1024,
            "height": 1024,
            "steps": 30,
            "sampler": "dpmpp_2m_sde_karras",
            "guidance_scale": 4.0,
            "sag_scale": 0.0,
            "clip_skip": 2,  # the last layer but one, which the model was trained with
            "negative_prompt": "",
            "count": 1,
            "image_format": "png",
        },
    ),
}


def find_sampler(name: str) -> str:
    """The registry id for an id, alias or label, however it is written.

    Raises:
        UnknownName: nothing is called that; lists what is.
    """
    wanted = name.strip().casefold()
    for key, row in SAMPLERS.items():
        if wanted in (key, row.label.casefold(), *row.aliases):
            return key
    raise UnknownName(f"There is no sampler {name[:60]!r}.", f"Choose one of: {', '.join(SAMPLERS)}.", field="sampler")
