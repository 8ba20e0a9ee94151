"""Taking over a Fooocus folder: what a person made there, copied once into the data folder.

Models, LoRAs and embeddings are large: they stay where they are, and a list in the data folder says where that is.
Nothing in the Fooocus folder is changed, nothing of the person's own is overwritten, and running it
again adds only what is missing. A further kind of thing to take over is one more function in `STEPS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from fooocus_lite import fooocus_presets
from fooocus_lite.catalog_files import WEIGHT_SUFFIXES
from fooocus_lite.choices import MAX_FAVOURITES, read_choices
from fooocus_lite.disk import disk_problem, write_atomic
from fooocus_lite.errors import DiskProblem, FooocusError, NotFound
from fooocus_lite.fooocus_folder import SIGNS, FooocusFolder, find_root, read_fooocus
from fooocus_lite.fooocus_names import STYLE_FILES, moved_to_top, style_name
from fooocus_lite.language_files import read_words
from fooocus_lite.library import load_library
from fooocus_lite.library_json import json_files, read_json, read_object, read_rows, readable
from fooocus_lite.metadata.outputs import import_outputs
from fooocus_lite.model_files import PICKLES
from fooocus_lite.model_folders import KINDS, Kind, ModelFolders, model_folders_path
from fooocus_lite.own_files import OwnFiles
from fooocus_lite.preset_files import INITIAL
from fooocus_lite.prompt_files import MAX_LISTS_BYTES, files_of_fooocus, read_list
from fooocus_lite.settings import Settings
from fooocus_lite.store import open_store
from fooocus_lite.style_files import parse_style

#: Keys that a preset takes from the configuration at start; older models of another preset are none of its own.
_INHERITED = fooocus_presets.KEYS.keys() - {"previous_default_models"}

_GET = "get .safetensors files instead"
_CONVERT = "`fooocus-lite models convert` makes a .safetensors file of it"
#: (what a file of the kind is called, what to do with a pickle).
_TOLD: Mapping[Kind, tuple[str, str]] = {
    "loras": ("LoRA", _GET), "embeddings": ("embedding", _GET), "checkpoints": ("checkpoint", _CONVERT),
    "vae": ("VAE", _GET),
}  # fmt: skip


@dataclass
class Report:
    """What was taken over, in words; the lists grow as the steps run.

    Attributes:
        folder: The Fooocus folder.
        done: One sentence for each thing that is now here.
        left: One sentence for each thing that is not, and why.
    """

    folder: Path
    done: list[str] = field(default_factory=list[str])
    left: list[str] = field(default_factory=list[str])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"folder": str(self.folder), "done": self.done, "left": self.left}


def import_fooocus(path: Path, settings: Settings) -> Report:
    """Take over everything that `STEPS` know from the Fooocus folder at ``path``.

    Raises:
        NotFound: there is no Fooocus.
        DiskProblem: the data folder cannot be written to.
    """
    # Without "..": the history knows a picture by its path, and must not take it twice.
    root = find_root(Path(os.path.abspath(path.expanduser())))
    if root is None:
        signs = ", ".join(SIGNS[:3])
        raise NotFound(f"There is no Fooocus in {path}.", f"Give the folder in which {signs} lie.")
    fooocus = read_fooocus(root)
    report = Report(root, left=list(fooocus.problems))
    for step in STEPS:
        step(fooocus, settings, report)
    return report


def _take_styles(fooocus: FooocusFolder, settings: Settings, report: Report) -> None:
    folder = settings.styles_dirs[-1]
    names: set[str] = set()
    for path in json_files(fooocus.styles):
        good, problems = dict[str, Any](), list[str]()
        for where, row in read_rows(path, fooocus.root.parent, "styles", problems):
            style = parse_style(row, where, path, "fooocus", problems)
            good |= {style.name: row} if style else {}
        report.left += problems
        # Names are read as Fooocus shows them from files that are called as its own are.
        target = folder / (path.name if path.name.startswith("sdxl_styles_") else f"sdxl_styles_{path.name}")
        # What is broken stays behind, or the program would complain of it from now on.
        data = _as_json([*good.values()]) if problems else _read(path, report)
        if good and data is not None and _write(data, target, report):
            names |= good.keys()
    _count(report, len(names), "style")


def _name_of(row: Any) -> str:
    name = cast("dict[str, Any]", row).get("name") if isinstance(row, dict) else None
    return name if isinstance(name, str) else ""


def _take_presets(fooocus: FooocusFolder, settings: Settings, report: Report) -> None:
    folder, taken = settings.presets_dirs[-1], 0
    for path in json_files(fooocus.presets):
        data = read_object(path, fooocus.root.parent, report.left)
        if data:
            taken += _write(_as_preset(data, fooocus.startup), folder / path.name, report)
    if fooocus_presets.is_fooocus_preset(fooocus.config):
        said = {key: value for key, value in fooocus.config.items() if key in fooocus_presets.KEYS}
        taken += _write(_as_preset(said, fooocus.startup), folder / f"fooocus-{INITIAL}.json", report)
    _count(report, taken, "preset")


def _as_preset(data: Mapping[str, Any], startup: Mapping[str, Any]) -> bytes:
    """The preset with what it takes from the configuration at start written out, as it will stand alone."""
    whole = {key: value for key, value in startup.items() if key in _INHERITED} | dict(data)
    return _as_json(whole)


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "replace")


def _take_wildcards(fooocus: FooocusFolder, settings: Settings, report: Report) -> None:
    source, folder, taken = fooocus.wildcards, settings.data_dir / "wildcards", 0
    room = MAX_LISTS_BYTES
    for path in (path for path in sorted(source.rglob("*.txt")) if os.path.isfile(path)):
        text = read_list(path, room, fooocus.root.parent, report.left)
        room -= len(text)
        data = _read(path, report) if text.strip() else None
        taken += data is not None and _write(data, folder / path.relative_to(source), report)
    _count(report, taken, "list of words for wildcards", "lists of words for wildcards")


def _take_languages(fooocus: FooocusFolder, settings: Settings, report: Report) -> None:
    taken: list[str] = []
    for path in json_files(fooocus.languages):
        problems: list[str] = []
        words = read_words(path, fooocus.root.parent, problems)
        report.left += problems
        data = _as_json(words) if problems else _read(path, report)  # as for styles
        if words and data is not None and _write(data, settings.languages_dir / path.name, report):
            taken.append(readable(path.stem))
    if taken:
        names = ", ".join(taken[:8]) + (", …" if len(taken) > 8 else "")
        report.done.append(f"{_counted(len(taken), 'language')}: {names}. The setting language chooses one.")


def _take_model_folders(fooocus: FooocusFolder, settings: Settings, report: Report) -> None:
    """The list is written anew each time: it is of one Fooocus, as that is now."""
    there = {kind: [str(one) for one in fooocus.models[f"path_{kind}"] if os.path.isdir(one)] for kind in KINDS}
    folders, path = ModelFolders(**there), model_folders_path(settings)
    if any(there.values()) or path.exists():
        data = _as_json(folders.model_dump())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data, replace=True)
        except OSError as exc:
            raise disk_problem(exc, path.parent, "FOOOCUS_DATA_DIR") from exc
    for kind in KINDS:
        for folder in there[kind]:
            _tell_weights(kind, Path(folder), report)


def _tell_weights(kind: Kind, folder: Path, report: Report) -> None:
    """How many files of a folder are used from now on, and how many cannot be."""
    named, advice = _TOLD[kind]
    if kind == "loras" or kind == "embeddings":
        files = [path for _, path in files_of_fooocus(folder, kind)]
    else:
        files = [path for path in folder.rglob("*") if path.suffix.lower() in (*WEIGHT_SUFFIXES, *PICKLES)]
    usable = sum(path.suffix.lower() in WEIGHT_SUFFIXES for path in files)
    if usable:
        report.done.append(f"{_counted(usable, named)} in {folder}, used from there: leave the folder where it is.")
    if len(files) > usable:
        what = f"{_counted(len(files) - usable, 'pickle')} in {folder}"
        report.left.append(f"{what}: opening one can run a stranger's code; {advice}.")


def _take_favourites(fooocus: FooocusFolder, settings: Settings, report: Report) -> None:
    """Fooocus keeps the whole order of its list: what was moved to the top of it are favourites."""
    path, problems = fooocus.root / "sorted_styles.json", list[str]()
    order = read_json(path, fooocus.root.parent, problems) if path.exists() else None
    report.left += problems
    if not isinstance(order, list):
        return
    library = load_library(settings)
    names = [name for name in cast("list[Any]", order) if isinstance(name, str)]
    moved = moved_to_top(names, ["Fooocus V2", "Random Style", *_style_names(fooocus)])
    known, warnings = library.known_styles(moved)
    own = read_choices(settings, []).favourites
    new = [name for name in known if name not in own]
    all_of_them = [*(name for name in own if library.known_style(name)), *new]
    OwnFiles(settings, lambda: library).set_favourites(all_of_them[:MAX_FAVOURITES])
    report.left += warnings
    _count(report, len(new), "favourite")


def _take_pictures(fooocus: FooocusFolder, settings: Settings, report: Report) -> None:
    """The history gets them; the files stay where they lie."""
    if not _holds_something(fooocus.outputs, report):
        return
    try:
        store = open_store(settings.data_dir)
    except DiskProblem:
        raise
    except FooocusError as exc:  # a server runs
        report.left.append(f"The pictures in {fooocus.outputs} are not in the history yet. {exc}")
        return
    try:
        pictures = import_outputs(fooocus.outputs, store.queue, load_library(settings))
    finally:
        store.close()
    report.left += pictures.problems
    _count(report, pictures.added, "picture in the history", "pictures in the history")
    if pictures.bare:
        say = "says nothing about how it was" if pictures.bare == 1 else "say nothing about how they were"
        report.left.append(f"{pictures.bare} of the pictures {say} made.")


def _style_names(fooocus: FooocusFolder) -> Iterable[str]:
    """The names in the order in which Fooocus lists them before anybody moves one."""
    order = {name: number for number, name in enumerate(STYLE_FILES)}
    for path in json_files(fooocus.styles, lambda one: order.get(one.name, -1)):
        for _, row in read_rows(path, fooocus.root, "styles", []):
            if name := _name_of(row):
                yield style_name(name)


def _note_config(fooocus: FooocusFolder, settings: Settings, report: Report) -> None:
    """Its folders are dealt with where they are looked into, and those of models that it fetches say nothing."""
    is_folder = ("path_", "temp_path")
    rest = [key[:60] for key in fooocus.config if key not in fooocus_presets.KEYS and not key.startswith(is_folder)]
    if rest:
        report.left.append(f"What config.txt says of these is not used here: {', '.join(rest)}.")


def _note_folders(fooocus: FooocusFolder, settings: Settings, report: Report) -> None:
    """Folders of models that `_take_model_folders` has no use for."""
    used = {f"path_{kind}" for kind in KINDS}
    for kind, folders in fooocus.models.items():
        there = [str(folder) for folder in folders if kind not in used and _holds_something(folder, report)]
        if there:
            name, where = kind.removeprefix("path_").replace("_", " "), ", ".join(there)
            report.left.append(f"The folder of {name} stays where it is: {where}. Nothing here uses it yet.")


#: Each is given the Fooocus folder, our settings, and the report to which it adds.
STEPS: tuple[Callable[[FooocusFolder, Settings, Report], None], ...] = (
    _take_styles,
    _take_presets,
    _take_wildcards,
    _take_languages,
    _take_model_folders,
    _take_favourites,
    _take_pictures,
    _note_config,
    _note_folders,
)


def _holds_something(folder: Path, report: Report) -> bool:
    try:
        return os.path.isdir(folder) and any(folder.iterdir())
    except OSError as exc:
        report.left.append(f"{folder} cannot be read ({exc.strerror or exc}).")
        return False


def _read(source: Path, report: Report) -> bytes | None:
    """A file of the Fooocus folder; one that cannot be read is named, and the import goes on."""
    try:
        return source.read_bytes()
    except OSError as exc:
        report.left.append(f"{source} cannot be read ({exc.strerror or exc}).")
        return None


def _write(data: bytes, target: Path, report: Report) -> bool:
    """Write a file that is not there yet; says in the report why it did not."""
    try:
        if target.exists():
            if target.read_bytes() != data:
                report.left.append(f"{target} is there already and differs; it was left as it is.")
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, data)
    except OSError as exc:
        raise disk_problem(exc, target.parent, "FOOOCUS_DATA_DIR") from exc
    return True


def _count(report: Report, number: int, one: str, many: str = "") -> None:
    if number:
        report.done.append(f"{_counted(number, one, many)}.")


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
