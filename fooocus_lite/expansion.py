"""What there is to expand: the words that `Expand prompt` adds behind a person's own, and who chooses them.

Nothing here changes what a person wrote. The engine chooses the words (`fooocus_lite.engine.expansion`); here it is
decided whether it must, and how they are put behind the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fooocus_lite.prompts import MAX_TEXTS, clean_text
from fooocus_lite.settings import Settings

#: The model that ships, below a models folder. Its words serve every model that brings none of its own.
SHIPPED = "expansion"
#: The curated words in a model's folder.
WORDS_FILE = "words.json"


@dataclass(frozen=True)
class Expansion:
    """A wish for words.

    Attributes:
        text: What the person wrote: the line that the words go behind.
        seed: Chooses among the words that suit it.
        model: Folder of a causal language model, absolute, or the name of one on the Hugging Face hub.
        words: File of curated words for a model without its own, absolute.
    """

    text: str
    seed: int
    model: str
    words: str

    def added_to(self, texts: Sequence[str], words: str) -> tuple[str, ...]:
        """``texts`` and, last and as a text of its own, the person's line with ``words`` behind it."""
        return with_words(texts, self.text, words)


def with_words(texts: Sequence[str], line: str, words: str) -> tuple[str, ...]:
    """``texts`` and, last and as a text of its own, the person's ``line`` with ``words`` behind it.

    As in Fooocus: beside the texts of styles, so that neither cuts the other short.
    """
    added = clean_text(words)
    return (*texts, f"{line}, {added}") if added and len(texts) < MAX_TEXTS else tuple(texts)


def expansion_model(settings: Settings | None) -> tuple[str, str]:
    """(model, file of curated words) that the settings mean; see `Expansion`."""
    if settings is None:
        return "", ""
    places = [settings.models_dir / SHIPPED, settings.root / "models" / SHIPPED]
    shipped = next((place for place in places if place.exists()), places[-1])
    wanted = settings.expansion_model
    if not wanted:
        return str(shipped), str(shipped / WORDS_FILE)
    near = [Path(wanted).expanduser(), settings.models_dir / wanted, settings.root / wanted]
    folder = next((str(place.absolute()) for place in near if place.is_dir()), wanted)
    return folder, str(shipped / WORDS_FILE)
