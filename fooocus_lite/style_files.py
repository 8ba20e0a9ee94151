"""Style files: `Style`, and how lists of {name, prompt, negative_prompt} become styles."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fooocus_lite import fooocus_names
from fooocus_lite.fooocus_folder import fooocus_root, in_reading_order
from fooocus_lite.library_json import Source, called, json_files, read_rows, readable, sentence
from fooocus_lite.prompts import normal_name
from fooocus_lite.recipe import MAX_PROMPT_CHARS
from fooocus_lite.settings import Settings


@dataclass(frozen=True)
class Style:
    """A template around the prompt.

    Attributes:
        prompt: Text with ``{prompt}``; without it, it is appended.
        negative_prompt: Joined to the person's.
        category: The file it stands in, in words.
        source: Who wrote it.
        kind: "random" stands for another style, which the seed picks; "expand" lets a language model add words.
        path: The file it stands in.
    """

    name: str
    prompt: str
    negative_prompt: str = ""
    category: str = ""
    source: Source = "shipped"
    kind: Literal["text", "random", "expand"] = "text"
    path: Path | None = field(default=None, repr=False, compare=False)


#: Stands among the styles whenever there are others to pick from.
RANDOM_STYLE = Style("Random style", "", category="Chance", kind="random")
#: Not words of its own: a language model adds some that suit the prompt.
EXPAND_STYLE = Style("Expand prompt", "", category="Chance", kind="expand")


#: Where the program itself saves a person's styles, under the names that they typed.
OWN_STYLES_FILE = "my_styles.json"


class StyleRow(BaseModel):
    """One entry of a style file."""

    model_config = ConfigDict(strict=True)  # fields of other programs are ignored
    name: str = Field(min_length=1, max_length=200)
    prompt: str | None = Field(default=None, max_length=MAX_PROMPT_CHARS)
    negative_prompt: str | None = Field(default=None, max_length=MAX_PROMPT_CHARS)


def style_paths(settings: Settings) -> list[tuple[Path, Source]]:
    """Every style file in reading order: shipped, Fooocus's, own; within each as Fooocus orders its own."""
    shipped, own = settings.styles_dirs
    fooocus = fooocus_root(settings)
    folders = in_reading_order(shipped, fooocus and fooocus / "sdxl_styles", own)
    return [(path, source) for folder, source in folders for path in json_files(folder, _fooocus_order)]


def _fooocus_order(path: Path) -> int:
    """Any other file comes before the six of Fooocus, whose order is fixed."""
    return fooocus_names.STYLE_FILES.index(path.name) if path.name in fooocus_names.STYLE_FILES else -1


def read_styles(settings: Settings, problems: list[str]) -> dict[str, Style]:
    """Every style by name, in file order.

    One of a later source takes the place of one of an earlier source with that name. Within a
    source the first one counts; of Fooocus's files the last, as there, but none of an imported
    folder takes the place of what was saved from the page.
    """
    found: dict[str, Style] = {}
    names: dict[str, str] = {normal_name(style.name): style.name for style in (EXPAND_STYLE, RANDOM_STYLE)}
    for path, source in style_paths(settings):
        for where, row in read_rows(path, settings.root, "styles", problems):
            style = parse_style(row, where, path, source, problems)
            if style is None:
                continue
            known = names.setdefault(normal_name(style.name), style.name)
            if known in (EXPAND_STYLE.name, RANDOM_STYLE.name):
                problems.append(f"{where} is called {known}, which is a style of the program; it is left out.")
                continue
            earlier = found.get(known)
            if earlier is not None and earlier.source == source:
                problems.append(f"{where} ('{style.name[:60]}') has the name of an earlier style.")
                is_saved = earlier.path is not None and earlier.path.name == OWN_STYLES_FILE
                if source != "fooocus" and (is_saved or path.name not in fooocus_names.STYLE_FILES):
                    continue
            found[known] = replace(style, name=known)
    return {style.name: style for style in (EXPAND_STYLE, RANDOM_STYLE)} | found if found else {}


def parse_style(row: Any, where: str, path: Path, source: Source, problems: list[str]) -> Style | None:
    """The style that an entry of a file says; ``None``, and a problem that names ``where``, when it says none."""
    try:
        parsed = StyleRow.model_validate(row)
    except ValidationError as exc:
        problems.append(f"{where}{called(row)}: {sentence(exc)}.")
        return None
    name = shown_name(parsed.name, path, source)
    if not name:
        problems.append(f"{where}: name is empty.")
        return None
    category = category_of(path, source)
    return Style(name, parsed.prompt or "", parsed.negative_prompt or "", category, source, path=path)


def shown_name(written: str, path: Path, source: Source) -> str:
    """The name as people read it: Fooocus's own way for its files and for names without a capital letter."""
    name = " ".join(written.split())
    is_fooocus = source == "fooocus" or path.name.startswith("sdxl_styles_")
    if is_fooocus or (source == "own" and path.name != OWN_STYLES_FILE and name == name.lower()):
        return fooocus_names.style_name(name)
    return name


def category_of(path: Path, source: Source) -> str:
    """The file's name in words: ``night_scenes.json`` → "Night scenes"; Fooocus's say so."""
    stem = readable(path.stem)
    if source == "fooocus" or stem.startswith("sdxl_styles_"):
        return f"Fooocus: {stem.removeprefix('sdxl_styles_').replace('_', ' ')}"
    words = stem.replace("_", " ").replace("-", " ")
    return (words[:1].upper() + words[1:]).replace("3d", "3D")
