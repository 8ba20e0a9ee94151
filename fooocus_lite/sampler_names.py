"""Samplers and schedules by every name they go by, and the nearest of ours to those that are not here.

The canonical names are those of k-diffusion, which ComfyUI and Fooocus use; A1111's labels and
InvokeAI's ids become the same after the spelling is levelled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fooocus_lite.errors import UnknownName
from fooocus_lite.registry import (
    AUTO,
    FORMER_SAMPLERS,
    SAMPLERS,
    SCHEDULERS,
    USUAL_SCHEDULERS,
    Noise,
    Sampler,
    Scheduler,
)

#: Endings of a sampler's name that name its schedule, as A1111 ("DPM++ 2M Karras") and InvokeAI ("euler_k") write it.
SCHEDULE_ENDINGS = {
    "karras": "karras",
    "exponential": "exponential",
    "sgm_uniform": "sgm_uniform",
    "k": "karras",
}
#: What is not here → the nearest that is, and a sentence says so. Levelled names.
NEAREST = {
    "heunpp2": "heun",
    "dpm_fast": "dpmpp_2m",
    "dpm_adaptive": "dpmpp_2m",
    "dpmpp_2m_sde_heun": "dpmpp_2m_sde",
    "dpmpp_2": "dpmpp_2m",
    "dpmpp_3m": "dpmpp_3m_sde",
    "deis": "dpmpp_2m",
    "ipndm": "lms",
    "ipndm_v": "lms",
    "res_multistep": "dpmpp_2m",
    "gradient_estimation": "euler",
    "ddim_cfgpp": "ddim",
    "euler_cfg_pp": "euler",
    "euler_ancestral_cfg_pp": "euler_ancestral",
}
#: Likewise for schedules.
NEAREST_SCHEDULES = {
    "polyexponential": "exponential",
    "kl_optimal": "karras",
    "beta57": "beta",
    "linear_quadratic": "normal",
}
#: Names that nobody listed, of other programs only: the first pattern that is found in the levelled name.
_PATTERNS = (
    (r"tcd", "tcd"),
    (r"lcm|turbo", "lcm"),
    (r"3m", "dpmpp_3m_sde"),
    (r"sde", "dpmpp_2m_sde"),
    (r"ancestral", "euler_ancestral"),
    (r"ddpm", "ddpm"),
    (r"ddim", "ddim"),
    (r"euler|gradient", "euler"),
    (r"heun", "heun"),
    (r"dpmpp|dpm_|res_multistep|deis", "dpmpp_2m"),
)
_AUTO_NAMES = ("", AUTO, "automatic", "default")


@dataclass(frozen=True)
class Pair:
    """A sampler and a schedule of ours.

    Attributes:
        sampler: Key of `SAMPLERS`.
        scheduler: Key of `SCHEDULERS`.
        replaced: (what was named, the label of what is taken for it), where the one is not here.
    """

    sampler: str
    scheduler: str
    replaced: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """As a person reads it: "DPM++ 2M Karras"."""
        return f"{SAMPLERS[self.sampler].label} {SCHEDULERS[self.scheduler].label}"

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each that is not here."""
        return tuple(f"{named} is not here; {ours} comes nearest and is used." for named, ours in self.replaced)


def find_pair(sampler: str, scheduler: str | None = None, *, noise: Noise = "table", guesses: bool = False) -> Pair:
    """The sampler and the schedule that are meant.

    Args:
        sampler: In any program's spelling, with or without the schedule at its end.
        scheduler: Likewise; nothing, or "auto", is the one in the sampler's name, else its usual one.
        noise: How the model was trained; its usual schedule is one that can be laid on it.
        guesses: For other programs' pictures: an unlisted name becomes what it looks like, an unlisted schedule
            the usual one.

    Raises:
        UnknownName: nothing here comes near.
    """
    replaced: list[tuple[str, str]] = []
    ours, said, is_here = _find_sampler(sampler, guesses=guesses)
    if ours is None:
        hint = f"Choose one of: {', '.join(SAMPLERS)}."
        raise UnknownName(f"There is no sampler {sampler[:60]!r}.", hint, field="sampler")
    if not is_here:
        replaced.append((sampler[:60], SAMPLERS[ours].label))
    level = _levelled(scheduler or "")
    if level in _AUTO_NAMES:
        return Pair(ours, said or _usual(ours, noise), tuple(replaced))
    schedule = _SCHEDULER_KEYS.get(level) or NEAREST_SCHEDULES.get(level)
    if schedule is None:
        if not guesses:
            hint = f"Choose one of: {AUTO}, {', '.join(SCHEDULERS)}."
            raise UnknownName(f"There is no scheduler {str(scheduler)[:60]!r}.", hint, field="scheduler")
        schedule = _usual(ours, noise)
    if level not in _SCHEDULER_KEYS:
        replaced.append((f"The schedule {str(scheduler)[:60]}", SCHEDULERS[schedule].label))
    return Pair(ours, schedule, tuple(replaced))


def _usual(sampler: str, noise: Noise) -> str:
    usual = SAMPLERS[sampler].scheduler
    # Straight lines have one usual place for steps, which their shift was chosen for, whatever the sampler.
    return usual if noise in SCHEDULERS[usual].noise and noise != "flow" else USUAL_SCHEDULERS[noise]


def _find_sampler(name: str, *, guesses: bool) -> tuple[str | None, str, bool]:
    """(key or ``None``, the schedule that the name says or "", whether it is that very sampler)."""
    level = _levelled(name).removeprefix("sample_")
    if level in FORMER_SAMPLERS:
        ours, schedule = FORMER_SAMPLERS[level]
        return ours, schedule, True
    short, schedule = _without_ending(level.removeprefix("k_").removesuffix("_gpu"))
    for known in (level, short):
        if known in _SAMPLER_KEYS:
            return _SAMPLER_KEYS[known], schedule if known == short else "", True
    near = NEAREST.get(level) or NEAREST.get(short)
    if near is None and guesses:
        near = next((ours for pattern, ours in _PATTERNS if re.search(pattern, short)), None)
    return near, schedule, False


def _without_ending(level: str) -> tuple[str, str]:
    """(the name, the schedule that stood at its end or "")."""
    for ending, schedule in SCHEDULE_ENDINGS.items():
        if level.endswith("_" + ending):
            return level.removesuffix("_" + ending), schedule
    return level, ""


def _keys(rows: Mapping[str, Sampler] | Mapping[str, Scheduler]) -> dict[str, str]:
    """Levelled key, label and alias → key; a key wins over another row's label."""
    names = {_levelled(name): key for key, row in rows.items() for name in (row.label, *row.aliases)}
    return names | {key: key for key in rows}


def _levelled(name: str) -> str:
    """Lower case, words joined by ``_``, ``++`` as ``pp``."""
    return re.sub(r"[\s_\-]+", "_", name[:80].strip().casefold().replace("++", "pp"))


_SAMPLER_KEYS = _keys(SAMPLERS)
_SCHEDULER_KEYS = _keys(SCHEDULERS)
