"""Tags in a prompt: ``<lora:name:weight>`` and ``<style:name>``. They are taken out of its text.

``embedding:name`` is no tag: it stays where it is, because the text encoder puts its vectors there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# No exponent, as in Fooocus; six digits, so that float() cannot make it infinite.
_NUMBER = r"[+-]?(?:\d{1,6}(?:\.\d{0,6})?|\.\d{1,6})"
_TAG = re.compile(rf"<(?:lora:([^:<>,\n]+)(?::({_NUMBER}))?|style:([^:<>\n]+))>")
_BROKEN = re.compile(r"<(?:lora|style)\b[^<>\n]*>?")


@dataclass(frozen=True)
class LoraTag:
    """A LoRA as a prompt names it: a file's bare name or its path below the folder, without suffix."""

    name: str
    weight: float = 1.0


@dataclass
class Tags:
    """What was taken out of a prompt, in the order in which it stood there.

    Attributes:
        broken: What looks like a tag and is none; it stays in the text.
    """

    loras: list[LoraTag] = field(default_factory=list[LoraTag])
    styles: list[str] = field(default_factory=list[str])
    broken: list[str] = field(default_factory=list[str])

    def take(self, text: str) -> str:
        """``text`` without its tags, which are added to these."""

        def put_aside(match: re.Match[str]) -> str:
            lora, weight, style = match.groups()
            if style is not None:
                self.styles.append(style.strip())
            else:
                self.loras.append(LoraTag(lora.strip(), 1.0 if weight is None else float(weight)))
            return ""

        rest = _TAG.sub(put_aside, text)
        self.broken += _BROKEN.findall(rest)
        return rest
