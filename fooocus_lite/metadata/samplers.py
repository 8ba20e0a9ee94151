"""Samplers and schedules by the names that other programs give them, and the nearest of ours to each.

The canonical names are those of k-diffusion, which ComfyUI and Fooocus use; A1111's labels and
InvokeAI's ids become the same after the spelling is levelled.
"""

from __future__ import annotations

import re

from fooocus_lite.errors import UnknownName
from fooocus_lite.recipe import shown
from fooocus_lite.registry import SAMPLERS, find_sampler

#: Other spellings, levelled → canonical.
SPELLINGS = {
    "euler_a": "euler_ancestral",
    "dpm2": "dpm_2",
    "kdpm_2": "dpm_2",
    "dpm2_a": "dpm_2_ancestral",
    "dpm_2_a": "dpm_2_ancestral",
    "kdpm_2_a": "dpm_2_ancestral",
    "dpmpp_2": "dpmpp_2m",
    "dpmpp_2s": "dpmpp_2s_ancestral",
    "dpmpp_2s_a": "dpmpp_2s_ancestral",
    "dpmpp_2m_sde_heun": "dpmpp_2m_sde",
    "dpmpp_3m": "dpmpp_3m_sde",
    "unipc": "uni_pc",
    "uni_pc_bh2": "uni_pc",
    "plms": "lms",
    "pndm": "lms",
    "ddim_cfgpp": "ddim",
}
#: Endings of a sampler's name that name its schedule, as A1111 ("DPM++ 2M Karras") and InvokeAI ("euler_k") write it.
SCHEDULE_ENDINGS = {
    "karras": "karras",
    "exponential": "exponential",
    "sgm_uniform": "sgm_uniform",
    "k": "karras",
}
#: Schedules by other names, levelled → canonical; "automatic" is the sampler's own.
SCHEDULES = {
    "automatic": "",
    "uniform": "normal",
    "ddim": "ddim_uniform",
    "beta_schedule": "beta",
    "align_your_steps_gits": "align_your_steps",
    "ays": "align_your_steps",
}
#: What each of our samplers is, canonically: (samplers, schedules). Another schedule is said aloud.
EXACT = {
    "euler": ({"euler"}, {"", "normal", "simple"}),
    "euler_ancestral": ({"euler_ancestral"}, {"", "normal", "simple"}),
    "dpmpp_2m_karras": ({"dpmpp_2m"}, {"", "karras"}),
    "dpmpp_2m_sde_karras": ({"dpmpp_2m_sde"}, {"", "karras"}),
    "uni_pc": ({"uni_pc"}, {"", "normal", "simple"}),
    "lcm": ({"lcm"}, {"", "lcm", "sgm_uniform", "normal", "simple"}),
}
#: The nearest of ours where there is no such sampler: the first pattern that fits the canonical name.
NEAREST = (
    (r"tcd|turbo", "lcm"),
    (r"sde|dpmpp_2m_cfg|restart|er_sde", "dpmpp_2m_sde_karras"),
    (r"ancestral|ddpm", "euler_ancestral"),
    (r"dpmpp|res_multistep|dpm_fast|dpm_adaptive|deis|ipndm|lms", "dpmpp_2m_karras"),
    (r"ddim|heun|dpm_2|euler|gradient", "euler"),
)


def map_sampler(name: str, schedule: str | None) -> tuple[str | None, str | None]:
    """Our sampler for another program's, and a sentence where it is not the same.

    Args:
        name: In any program's spelling, with or without the schedule at its end.
        schedule: Where it is said apart.
    """
    canonical, ending = _canonical(name)
    wanted = _levelled(schedule or "")
    wanted = SCHEDULES.get(wanted, wanted) or ending
    ours = _nearest(canonical)
    written = _written(name, schedule)
    if ours is None:
        return None, f"The sampler {written} is not known here; the sampler is left open."
    samplers, schedules = EXACT.get(ours, ({ours}, {""}))
    if canonical in samplers and wanted in schedules:
        return ours, None
    return ours, f"The sampler {written} has no exact counterpart here; {SAMPLERS[ours].label} is the nearest."


def _canonical(name: str) -> tuple[str, str]:
    """(canonical sampler, schedule from its ending or "")."""
    level = _levelled(name).removeprefix("sample_")
    if level.startswith("k_"):
        level = level[2:]
    level = level.removesuffix("_gpu")
    for ending, schedule in SCHEDULE_ENDINGS.items():
        if level.endswith("_" + ending):
            short = level.removesuffix("_" + ending)
            return SPELLINGS.get(short, short), schedule
    return SPELLINGS.get(level, level), ""


def _nearest(canonical: str) -> str | None:
    for ours, (samplers, _) in EXACT.items():
        if canonical in samplers and ours in SAMPLERS:
            return ours
    try:
        return find_sampler(canonical)
    except UnknownName:
        return next((ours for pattern, ours in NEAREST if re.search(pattern, canonical) and ours in SAMPLERS), None)


def _levelled(name: str) -> str:
    """Lower case, words joined by ``_``, ``++`` as ``pp``."""
    return re.sub(r"[\s_\-]+", "_", name[:80].strip().casefold().replace("++", "pp"))


def _written(name: str, schedule: str | None) -> str:
    return shown(name) if not schedule else f"{shown(name)} with the schedule {shown(schedule)}"
