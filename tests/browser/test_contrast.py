"""Colours people can read: every pair of text and ground that the page uses, in both themes (WCAG AA)."""

from __future__ import annotations

import re

import pytest

from tests.faults.server import ROOT

CSS = (ROOT / "fooocus_lite/web/static/base.css").read_text("utf-8")
GROUNDS = ("bg", "stage", "panel", "input", "hover")
TEXT = [(name, ground) for name in ("text", "dim") for ground in GROUNDS]
TEXT += [
    ("accent-text", "panel"),
    ("accent-text", "hover"),
    ("accent-text", "bg"),
    ("accent-text", "bad-bg"),
    ("bad", "bad-bg"),
    ("bad", "panel"),
    ("text", "bad-bg"),
]
TEXT += [("on-accent", "accent"), ("on-accent", "accent-hover")]
SIGNS = [("ring", ground) for ground in GROUNDS] + [("edge", "panel")]


def tokens(theme: str) -> dict[str, str]:
    blocks = re.findall(r":root(\[data-theme=\"dark\"\])? \{(.*?)\n\}", CSS, re.S)
    body = next(body for dark, body in blocks if bool(dark) == (theme == "dark"))
    return dict(re.findall(r"--fl-([\w-]+): (#[0-9a-f]{6});", body))


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize(("least", "pairs"), [(4.5, TEXT), (3.0, SIGNS)], ids=["text", "signs"])
def test_contrast(theme: str, least: float, pairs: list[tuple[str, str]]) -> None:
    colours = tokens(theme)
    weak = {pair: round(ratio, 2) for pair in pairs if (ratio := contrast(colours[pair[0]], colours[pair[1]])) < least}
    assert weak == {}
