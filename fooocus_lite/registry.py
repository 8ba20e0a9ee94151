"""Everything a person can choose by name, as rows of plain data. Adding one is one row.

The engine reads these rows; page, CLI, API, docs and tests list them. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fooocus_lite.recipe import MAX_STEPS

#: How a model was trained to take noise away: at a table of levels (SD, SDXL), at EDM's levels, on straight lines.
Noise = Literal["table", "edm", "flow"]
EVERY_NOISE: tuple[Noise, ...] = ("table", "edm", "flow")
#: The schedule that means: the one that the sampler is usually taken with.
AUTO = "auto"


@dataclass(frozen=True)
class Sampler:
    """One way to walk from noise to picture.

    Attributes:
        label: What a person reads.
        good_for: One line for the documents and the page.
        solver: ``"module:function"`` inside ``fooocus_lite.engine``: one step.
        paper: Where the method is published.
        scheduler: The schedule it is usually taken with, a key of `SCHEDULERS`.
        space: In which scale it keeps the latents between calls: x0 + ratio·noise, or the model's own.
        calls: How often a step asks the model; the last step asks once.
        order: Convergence order on a smooth ODE; ``None`` for stochastic and few-step ones.
        min_steps: Fewest steps that make sense: fewer are below its order.
        noise: The kinds of models that it can walk for.
        aliases: Other names for it, here and in other programs.
    """

    label: str
    good_for: str
    solver: str
    paper: str
    scheduler: str = "normal"
    space: Literal["ratio", "model"] = "ratio"
    calls: int = 1
    order: int | None = None
    min_steps: int = 1
    noise: tuple[Noise, ...] = ("table", "edm")
    aliases: tuple[str, ...] = ()


SAMPLERS: dict[str, Sampler] = {
    "euler": Sampler(
        label="Euler",
        good_for="plain and predictable; the yardstick, and what few-step adapters are made for",
        solver="solvers:euler",
        paper="arXiv:2206.00364, algorithm 2 without churn",
        order=1,
        noise=EVERY_NOISE,
    ),
    "euler_ancestral": Sampler(
        label="Euler a",
        good_for="softer, livelier pictures that keep changing with the steps",
        solver="noisy_solvers:euler_ancestral",
        paper="arXiv:2010.02502, eq. 16, eta = 1",
        noise=EVERY_NOISE,
        aliases=("euler_a",),
    ),
    "heun": Sampler(
        label="Heun",
        good_for="exact, at two calls a step",
        solver="solvers:heun",
        paper="arXiv:2206.00364, algorithm 1",
        calls=2,
        order=2,
        min_steps=2,
        noise=EVERY_NOISE,
    ),
    "dpm_2": Sampler(
        label="DPM2",
        good_for="as Heun, its second look in the middle of the step",
        solver="solvers:dpm_2",
        paper="arXiv:2206.00927, algorithm 1, on dx/dsigma",
        scheduler="karras",
        calls=2,
        order=2,
        min_steps=2,
        noise=EVERY_NOISE,
        aliases=("dpm2", "kdpm_2"),
    ),
    "dpm_2_ancestral": Sampler(
        label="DPM2 a",
        good_for="Euler a with a second look a step",
        solver="noisy_solvers:dpm_2_ancestral",
        paper="arXiv:2206.00927, algorithm 1, with the noise of arXiv:2010.02502, eq. 16",
        scheduler="karras",
        calls=2,
        min_steps=2,
        aliases=("dpm2_a", "dpm_2_a", "dpm2_ancestral", "kdpm_2_a"),
    ),
    "lms": Sampler(
        label="LMS",
        good_for="many steps, cheaply exact; too few make it swing",
        solver="solvers:lms",
        paper="Adams-Bashforth of order 4, as in arXiv:2202.09778, section 3",
        order=4,
        min_steps=4,
        noise=EVERY_NOISE,
        aliases=("plms", "pndm"),
    ),
    "dpmpp_2s_ancestral": Sampler(
        label="DPM++ 2S a",
        good_for="Euler a's liveliness with more detail, at two calls a step",
        solver="noisy_solvers:dpmpp_2s_ancestral",
        paper="arXiv:2211.01095, algorithm 1, with the noise of arXiv:2010.02502, eq. 16",
        scheduler="karras",
        calls=2,
        min_steps=2,
        aliases=("dpmpp_2s", "dpmpp_2s_a"),
    ),
    "dpmpp_2m": Sampler(
        label="DPM++ 2M",
        good_for="the best for its time where the picture should stay the same with more steps",
        solver="solvers:dpmpp_2m",
        paper="arXiv:2211.01095, algorithm 2",
        scheduler="karras",
        space="model",
        order=2,
        min_steps=2,
        noise=EVERY_NOISE,
    ),
    "dpmpp_2m_sde": Sampler(
        label="DPM++ 2M SDE",
        good_for="fine detail from 20 steps on; Fooocus's usual one",
        solver="noisy_solvers:dpmpp_2m_sde",
        paper="arXiv:2211.01095, eq. 19",
        scheduler="karras",
        space="model",
        min_steps=2,
        noise=EVERY_NOISE,
        aliases=("dpmpp_2m_sde_gpu",),
    ),
    "dpmpp_3m_sde": Sampler(
        label="DPM++ 3M SDE",
        good_for="as 2M SDE, for 30 steps and more",
        solver="noisy_solvers:dpmpp_3m_sde",
        paper="arXiv:2211.01095, SDE form with three steps' memory, weights as in k-diffusion",
        scheduler="exponential",
        space="model",
        min_steps=3,
        aliases=("dpmpp_3m_sde_gpu",),
    ),
    "dpmpp_sde": Sampler(
        label="DPM++ SDE",
        good_for="rich detail in few steps, at two calls a step",
        solver="noisy_solvers:dpmpp_sde",
        paper="arXiv:2211.01095, section 6, in two calls with r = 1/2",
        scheduler="karras",
        calls=2,
        min_steps=2,
        aliases=("dpmpp_sde_gpu",),
    ),
    "uni_pc": Sampler(
        label="UniPC",
        good_for="good pictures in 8 to 12 steps",
        solver="solvers:uni_pc",
        paper="arXiv:2302.04867",
        scheduler="whole_uniform",
        space="model",
        order=3,  # the corrector adds one to the predictor's two (section 3.3)
        min_steps=2,
        noise=EVERY_NOISE,
        aliases=("unipc", "uni_pc_bh2"),
    ),
    "ddim": Sampler(
        label="DDIM",
        good_for="pictures like those of the first programs",
        solver="solvers:ddim",
        paper="arXiv:2010.02502, eq. 12 with sigma = 0",
        scheduler="ddim_uniform",
        space="model",
        order=1,
        noise=EVERY_NOISE,
    ),
    "ddpm": Sampler(
        label="DDPM",
        good_for="the method of the training itself; wants many steps",
        solver="noisy_solvers:ddpm",
        paper="arXiv:2006.11239, eq. 7",
        space="model",
        noise=EVERY_NOISE,
    ),
    "lcm": Sampler(
        label="LCM",
        good_for="4 to 8 steps with a consistency model or adapter",
        solver="noisy_solvers:lcm",
        paper="arXiv:2310.04378, algorithm 3",
        scheduler="lcm",
        space="model",
        noise=("table", "flow"),
    ),
    "tcd": Sampler(
        label="TCD",
        good_for="4 to 8 steps with a trajectory consistency adapter; more detail than LCM",
        solver="noisy_solvers:tcd",
        paper="arXiv:2402.19159, algorithm 4, gamma = 0.3",
        scheduler="tcd",
        space="model",
        noise=("table",),
    ),
    "restart": Sampler(
        label="Restart",
        good_for="corrects its own mistakes from 20 steps on, at two calls a step",
        solver="noisy_solvers:restart",
        paper="arXiv:2306.14878, algorithm 1",
        scheduler="karras",
        calls=2,
        min_steps=2,
    ),
}


@dataclass(frozen=True)
class Scheduler:
    """One way to place the steps between noise and picture. Every one ends at no noise at all.

    Attributes:
        label: What a person reads.
        good_for: One line for the documents and the page.
        schedule: Name of the function in ``fooocus_lite.engine.schedules``.
        paper: Where it is published.
        max_steps: Most steps that it has places for.
        noise: The kinds of models that it can be laid on.
        aliases: Other names for it, here and in other programs.
    """

    label: str
    good_for: str
    schedule: str
    paper: str
    max_steps: int = MAX_STEPS
    noise: tuple[Noise, ...] = ("table",)
    aliases: tuple[str, ...] = ()


SCHEDULERS: dict[str, Scheduler] = {
    "normal": Scheduler(
        label="Normal",
        good_for="even steps in the model's own time",
        schedule="normal",
        paper="arXiv:2305.08891, table 2, linspace",
        noise=("table", "flow"),
        aliases=("uniform",),
    ),
    "karras": Scheduler(
        label="Karras",
        good_for="many small steps near the end: fine detail; the usual choice",
        schedule="karras",
        paper="arXiv:2206.00364, eq. 5",
        noise=("table", "edm"),
    ),
    "exponential": Scheduler(
        label="Exponential",
        good_for="as Karras, still denser near the end; for 3M SDE",
        schedule="exponential",
        paper="arXiv:2206.00927, section 3.3: even in log(alpha / sigma)",
        noise=("table", "edm"),
    ),
    "sgm_uniform": Scheduler(
        label="SGM uniform",
        good_for="few-step adapters, which are trained at these times",
        schedule="sgm_uniform",
        paper="arXiv:2305.08891, table 2, trailing",
        noise=("table", "flow"),
    ),
    "whole_uniform": Scheduler(
        label="SGM uniform, whole times",
        good_for="UniPC; the levels a model was trained at, and no others",
        schedule="whole_uniform",
        paper="arXiv:2305.08891, table 2, trailing, rounded",
        noise=("table", "flow"),
    ),
    "simple": Scheduler(
        label="Simple",
        good_for="as SGM uniform, taken from the model's own levels",
        schedule="simple",
        paper="arXiv:2305.08891, table 2, trailing",
        noise=("table", "flow"),
    ),
    "ddim_uniform": Scheduler(
        label="DDIM uniform",
        good_for="pictures like those of the first programs; begins below full noise",
        schedule="ddim_uniform",
        paper="arXiv:2010.02502, appendix D.2",
        aliases=("ddim",),
    ),
    "beta": Scheduler(
        label="Beta",
        good_for="dense at both ends: firm composition and fine detail",
        schedule="beta",
        paper="arXiv:2407.12173, Beta(0.6, 0.6) in time",
        noise=("table", "flow"),
        aliases=("beta_schedule",),
    ),
    "align_your_steps": Scheduler(
        label="Align Your Steps",
        good_for="the most from about ten steps; made for SDXL",
        schedule="align_your_steps",
        paper="arXiv:2404.14507",
        aliases=("ays", "align_your_steps_gits"),
    ),
    "turbo": Scheduler(
        label="Turbo",
        good_for="Turbo models, which know ten times",
        schedule="turbo",
        paper="arXiv:2311.17042",
        max_steps=10,
        aliases=("sd_turbo", "sdturbo"),
    ),
    "lcm": Scheduler(
        label="LCM",
        good_for="consistency models: the fifty times they were taught",
        schedule="lcm",
        paper="arXiv:2310.04378, section 4.3",
    ),
    "tcd": Scheduler(
        label="TCD",
        good_for="trajectory consistency models: the same fifty times",
        schedule="lcm",
        paper="arXiv:2402.19159, section 4",
    ),
    "edm": Scheduler(
        label="EDM",
        good_for="Playground v2.5, which was trained with EDM's levels",
        schedule="edm",
        paper="arXiv:2206.00364, eq. 5, from 120 to 0.002",
        noise=("edm",),
        aliases=("edm_playground_v2.5", "playground_v2.5"),
    ),
}
#: What "auto" means for a model on which the sampler's usual schedule cannot be laid.
USUAL_SCHEDULERS: dict[Noise, str] = {"table": "normal", "edm": "karras", "flow": "simple"}
#: Ids of earlier versions → (sampler, schedule). Pictures, presets and drafts still say them.
FORMER_SAMPLERS = {
    "dpmpp_2m_karras": ("dpmpp_2m", "karras"),
    "dpmpp_2m_sde_karras": ("dpmpp_2m_sde", "karras"),
}
