"""What a person chose once and for all in the page: favourites, the preset that starts them off, the second text.

`fooocus_lite.own_files` writes the file; a broken one is a problem, and counts as empty.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fooocus_lite.library_json import read_json, sentence, shown_path
from fooocus_lite.settings import Settings

MAX_FAVOURITES = 2_000


class Choices(BaseModel):
    """The file ``choices.json`` in the data folder.

    Attributes:
        favourites: Names of styles, the dearest first.
        preset: Name of the preset that fills what a person leaves open; ``None`` leaves it to the settings.
        a1111_text: Whether pictures also hold the text that other programs read; ``None`` likewise.
    """

    model_config = ConfigDict(frozen=True, strict=True)  # what a newer version added is no error

    favourites: list[str] = Field(default=[], max_length=MAX_FAVOURITES)
    preset: str | None = Field(default=None, max_length=200)
    a1111_text: bool | None = None


def choices_path(settings: Settings) -> Path:
    """Where the choices are kept."""
    return settings.data_dir / "choices.json"


def read_choices(settings: Settings, problems: list[str]) -> Choices:
    """The choices, or none and a problem when the file is broken."""
    path = choices_path(settings)
    data = read_json(path, settings.root, problems) if path.exists() else {}
    try:
        return Choices.model_validate({} if data is None else data)
    except ValidationError as exc:
        problems.append(f"{shown_path(path, settings.root)}: {sentence(exc)}; favourites and default are not known.")
        return Choices()


def default_preset(settings: Settings, choices: Choices) -> tuple[str, str]:
    """(name, where it was said): what was set for this start wins over what was saved, and that over what ships."""
    source = settings.sources.get("preset", "default")
    if source == "default" and choices.preset is not None:
        return choices.preset, "saved as default"
    return settings.preset, source


def a1111_text(settings: Settings, choices: Choices) -> tuple[bool, str]:
    """(whether pictures also hold the text that other programs read, where it was said); as `default_preset`."""
    source = settings.sources.get("a1111_text", "default")
    if source == "default" and choices.a1111_text is not None:
        return choices.a1111_text, "saved in the page"
    return settings.a1111_text, source
