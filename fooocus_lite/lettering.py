"""Words in a picture, in whatever script they are: Pillow's own font has hardly more than a to z."""

from __future__ import annotations

import unicodedata
from typing import Any

from PIL import ImageDraw, ImageFont

#: Fonts that systems come with, asked in this order when Pillow's own lacks a sign. None is shipped: those that
#: know every script are larger than the whole program.
SYSTEM_FONTS = (
    # Latin, Greek, Cyrillic; some also Arabic and Hebrew
    "DejaVuSans.ttf", "segoeui.ttf", "Arial Unicode.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "FreeSans.ttf",
    # Chinese, Japanese, Korean
    "NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc", "YuGothR.ttc", "malgun.ttf",
    "AppleSDGothicNeo.ttc", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc",
    # Others
    "NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "Nirmala.ttc",
    "Nirmala.ttf", "NotoSansThai-Regular.ttf", "LeelawUI.ttf",
)  # fmt: skip
MAX_SIGNS = 1_000  # of a line; no sheet is so wide
_PROBE_SIZE = 16  # whether a font has a sign is the same at every size
_NO_SIGN = "\uffff"  # never a letter, so what a font draws for it is its box


class Letters:
    """Writes lines; keeps the fonts that it has opened."""

    def __init__(self) -> None:
        self._fonts: dict[tuple[str, int], ImageFont.FreeTypeFont | None] = {}
        self._boxes: dict[str, tuple[bytes, Any]] = {}

    def write(
        self, pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, *,
        colour: str, room: int, anchor: str = "la",
    ) -> None:  # fmt: skip
        """One line of at most ``room`` pixels, with letters of ``size`` pixels; longer text ends with …."""
        font, line = self.fitting(text, size)
        pen.text(at, cut_to(line, room, font.getlength), fill=colour, font=font, anchor=anchor)

    def fitting(self, text: str, size: int) -> tuple[ImageFont.FreeTypeFont, str]:
        """The first font that has every sign of ``text``, else the one that has most; and what it writes of it.

        Of a letter with an accent that no font has, the bare letter is written; of a pictograph, nothing.
        """
        line = " ".join(text.split())[:MAX_SIGNS]
        signs = {sign for sign in line if not sign.isspace()}
        best, lacking = "", signs
        for name in ("", *SYSTEM_FONTS):
            if self._font(name, _PROBE_SIZE) is None:
                continue
            missing = {sign for sign in signs if not self._has(name, sign)}
            if not missing or len(missing) < len(lacking):
                best, lacking = name, missing
            if not missing:
                break
        font = self._font(best, size) or _own_font(size)
        return font, " ".join("".join(self._instead(best, sign) if sign in lacking else sign for sign in line).split())

    def _instead(self, name: str, sign: str) -> str:
        bare = unicodedata.normalize("NFKD", sign)[0]
        if bare != sign and self._has(name, bare):
            return bare
        return "" if unicodedata.category(sign) in ("So", "Sk", "Mn", "Me", "Cf", "Cs") else sign

    def _has(self, name: str, sign: str) -> bool:
        font = self._font(name, _PROBE_SIZE)
        if font is None:
            return False
        if name not in self._boxes:
            self._boxes[name] = _drawn(font, _NO_SIGN)
        return _drawn(font, sign) != self._boxes[name]

    def _font(self, name: str, size: int) -> ImageFont.FreeTypeFont | None:
        """The font, if it is on this machine; Pillow's own without a name."""
        if (name, size) not in self._fonts:
            try:
                self._fonts[name, size] = ImageFont.truetype(name, size) if name else _own_font(size)
            except OSError:
                self._fonts[name, size] = None
        return self._fonts[name, size]


def _own_font(size: int) -> ImageFont.FreeTypeFont:
    font: Any = ImageFont.load_default(size)  # with a size it is never one of fixed bitmaps
    return font


def _drawn(font: ImageFont.FreeTypeFont, sign: str) -> tuple[bytes, Any]:
    mask: Any = font.getmask(sign)
    return bytes(mask), mask.size


def cut_to(text: str, room: float, length_of: Any) -> str:
    """``text`` on one line, with … where it is longer than ``room``."""
    line = " ".join(text.split())[:MAX_SIGNS]
    if length_of(line) <= room:
        return line
    kept = next((end for end in range(len(line), 0, -1) if length_of(line[:end].rstrip() + "…") <= room), 0)
    return line[:kept].rstrip() + "…"
