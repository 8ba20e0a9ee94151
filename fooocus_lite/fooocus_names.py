"""What things are called in Fooocus, and what they are called here: tables, and the few rules beside them.

Facts of Fooocus 2.5.5. Whoever reads its presets or its pictures asks here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Its own style files, in the order in which it loads them; any other file comes before.
STYLE_FILES = (
    "sdxl_styles_fooocus.json",
    "sdxl_styles_sai.json",
    "sdxl_styles_mre.json",
    "sdxl_styles_twri.json",
    "sdxl_styles_diva.json",
    "sdxl_styles_marc_k3nt3l.json",
)
#: How the names of its styles begin: what such a name misses is a folder, not a letter.
STYLE_PREFIXES = (
    "fooocus ",
    "sai ",
    "mre ",
    "ads ",
    "artstyle ",
    "futuristic ",
    "game ",
    "misc ",
    "papercraft ",
    "photo ",
)
#: Its names for styles that are no text, as `fooocus_lite.prompts.normal_name` writes them → ours.
STYLE_ALIASES = {"fooocus v2": "Expand prompt"}

SCHEDULES = (
    "normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform", "lcm", "turbo",
    "align_your_steps", "tcd", "edm_playground_v2.5",
)  # fmt: skip
SAMPLER_NAMES = (
    "euler", "euler_ancestral", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive",
    "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu",
    "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "tcd", "restart", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip


_ENDING = re.compile(r"\.(safetensors|ckpt|pth?|bin|gguf|sft)$", re.IGNORECASE)


@dataclass(frozen=True)
class Performance:
    """A speed mode.

    Attributes:
        steps: Of a picture from words alone.
        lora: The file without which so few steps give no picture.
    """

    steps: int
    lora: str | None = None


PERFORMANCES = {
    "Quality": Performance(60),
    "Speed": Performance(30),
    "Extreme Speed": Performance(8, "sdxl_lcm_lora.safetensors"),
    "Lightning": Performance(4, "sdxl_lightning_4step_lora.safetensors"),
    "Hyper-SD": Performance(4, "sdxl_hyper_sd_4step_lora.safetensors"),
}


def style_name(written: str) -> str:
    """A style's name as Fooocus shows it: ``sai-3d-model`` → ``SAI 3D Model``."""
    words = (word.capitalize() for word in written.replace("-", " ").split())
    text = " ".join({"Sai": "SAI", "Mre": "MRE"}.get(word, word) for word in words)
    return text.replace("3d", "3D").replace("(s", "(S")


def file_name(path: str) -> str:
    """The file that a setting names, without folders of either kind of slash."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2].strip()


def bare_name(path: str) -> str:
    """What a model is called here: its `file_name` without the ending."""
    return _ENDING.sub("", file_name(path))


def without_ending(path: str) -> str:
    """The path that a setting names, with its folders but without the ending of a file of weights."""
    return _ENDING.sub("", path.replace("\\", "/").strip())


def parse_size(text: str) -> tuple[int, int] | None:
    """(width, height) of ``1152*896``, or of the label ``1152×896 <span …> ∣ 9:7``; ``None`` if it is neither."""
    found = re.match(r"\s*(\d{1,5})\s*[*×xX]\s*(\d{1,5})(?!\d)", text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def moved_to_top(order: Sequence[str], original: Sequence[str]) -> list[str]:
    """The names that somebody put before the others: the shortest start of ``order`` after which all stand as they did.

    Fooocus keeps favourites as the whole list with the chosen ones first.
    """
    places = {name: place for place, name in enumerate(original)}
    known = [name for name in order if name in places]
    start = len(known) - 1
    while start > 0 and places[known[start - 1]] < places[known[start]]:
        start -= 1
    return known[: max(start, 0)]
