"""Samplers and schedules by the names that other programs give them, and the nearest of ours to each.

The canonical names are those of k-diffusion, which ComfyUI and Fooocus use; A1111's labels and
InvokeAI's ids become the same after the spelling is levelled.
"""

from __future__ import annotations

import re

from fooocus_lite.errors import UnknownName
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
    (r"sde", "dpmpp_2m_sde_karras"),
    (r"ancestral|ddpm", "euler_ancestral"),
    (r"ddim|euler|gradient", "euler"),
    (r"dpmpp|dpm_|heun|res_multistep|restart|deis|ipndm|lms", "dpmpp_2m_karras"),
)


def nearest_sampler(name: str, schedule: str) -> tuple[str, bool]:
    """(our sampler, whether it walks just so) for another program's.

    Args:
        name: In any program's spelling, with or without the schedule at its end.
        schedule: Where it is said apart, else empty.

    Raises:
        UnknownName: nothing here comes near.
    """
    canonical, ending = _canonical(name)
    wanted = _levelled(schedule)
    wanted = SCHEDULES.get(wanted, wanted) or ending
    ours = _nearest(canonical)
    if ours is None:
        raise UnknownName(f"There is no sampler {name[:60]!r}.", "Choose one of ours.", field="sampler")
    samplers, schedules = EXACT.get(ours, ({ours}, {""}))
    return ours, canonical in samplers and wanted in schedules


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
