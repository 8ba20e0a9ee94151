"""`Settings`: what this machine is told, once, before anything starts.

Defaults < ``fooocus.toml`` < ``FOOOCUS_*`` environment < command line. `SETTINGS` is the one
table; ``--help``, the docs and the checks below read it. The app never rewrites a setting.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from fooocus_lite.errors import BadFile, BadValue, UnknownName
from fooocus_lite.memory import RUNGS

TOML_NAME = "fooocus.toml"
HUB_OFFLINE = "HF_HUB_OFFLINE"
_DEVICE = r"(auto|cpu|mps|(cuda|xpu)(:\d{1,2})?)"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def app_root() -> Path:
    """The folder that holds ``presets/``, ``styles/`` and ``models/``: the checkout."""
    return Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Setting:
    """One row: everything that is known about a setting.

    Attributes:
        kind: How text is read. A folder is relative to the app root; on the command line, to where one stands.
            Several folders are a list, or in one text parted as the system parts those of PATH.
        default: A folder's default is relative to the app root; without one the setting is empty, ``None``.
        help: One line for people.
        allowed: The range in words, for help and errors.
        minimum: Smallest number.
        maximum: Largest number.
        pattern: What a text must match, whole.
        option: On the command line, when it is not ``--`` and the name.
    """

    name: str
    kind: Literal["folder", "folders", "text", "whole number", "number", "yes or no"]
    default: str | int | float | bool
    help: str
    allowed: str
    minimum: float | None = None
    maximum: float | None = None
    pattern: str = ".+"
    option: str = ""

    @property
    def env(self) -> str:
        """Its name in the environment."""
        return f"FOOOCUS_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return self.option or "--" + self.name.replace("_", "-")


SETTINGS: dict[str, Setting] = {
    row.name: row
    for row in (
        Setting("data_dir", "folder", "data", "Queue, thumbnails, own styles and presets.", "a folder"),
        Setting("output_dir", "folder", "outputs", "Where pictures are saved, one folder a day.", "a folder"),
        Setting("models_dir", "folder", "models", "Where models are looked for.", "a folder"),
        Setting(
            "extra_model_folders",
            "folders",
            "",
            "More folders with models, of ComfyUI, A1111, Forge, InvokeAI, the hub's cache …; used in place.",
            f"a list of folders, or one text with {os.pathsep} between them",
        ),
        Setting(
            "legacy_folder",
            "folder",
            "",
            "Your Fooocus folder; its styles, presets, word lists and LoRAs are used in place.",
            "a folder",
        ),
        Setting(
            "expansion_model",
            "text",
            "",
            "Language model behind the style Expand prompt; empty: the one that ships.",
            "a folder, or the name of a model on the Hugging Face hub that is on this disk",
            pattern=".*",
        ),
        Setting(
            "hub_endpoint",
            "text",
            "",
            "Mirror that models are downloaded from; empty: HF_ENDPOINT, else huggingface.co.",
            "an address such as https://hub.example.org",
            pattern=r"(https?://[^\s/@]+(/\S*)?)?",
        ),
        Setting("offline", "yes or no", False, "Never use the network; models are not downloaded.", "yes or no"),
        Setting("host", "text", "127.0.0.1", "Address to listen on.", "an address or host name", pattern=r"[^\s/]+"),
        Setting("listen", "yes or no", False, "Let other devices of your network in, with a password.", "yes or no"),
        Setting(
            "share",
            "yes or no",
            False,
            "Ask for a password and answer to any name: for a tunnel program or reverse proxy on this machine.",
            "yes or no",
        ),
        Setting(
            "allowed_hosts",
            "text",
            "",
            "More names that the page is opened under; *.example.org stands for every name below it.",
            "host names with commas between them",
            pattern=r"(\*\.)?[\w.-]+(\s*,\s*(\*\.)?[\w.-]+)*|",
        ),
        Setting("port", "whole number", 7865, "Port; a taken one moves on to the next.", "1 to 65535", 1, 65535),
        Setting("open_browser", "yes or no", True, "Open the page when ready.", "yes or no", option="--no-browser"),
        Setting(
            "device",
            "text",
            "auto",
            "What computes the pictures; several share the queue.",
            "auto, cpu, mps, cuda, xpu, cuda:N or xpu:N, several with commas between them, or all",
            pattern=rf"all|{_DEVICE}(\s*,\s*{_DEVICE}){{0,15}}",
        ),
        Setting(
            "engine",
            "text",
            "local",
            "Who computes: this machine, or every machine of a Ray cluster (docs/machines.md).",
            "local or ray",
            pattern="local|ray",
        ),
        Setting(
            "ray_address",
            "text",
            "",
            "The Ray cluster, for engine = ray; empty: one of this machine alone.",
            "auto, or host:port as ray start says it",
            pattern=r"(auto|[^\s/:]+:\d{1,5})?",
        ),
        Setting(
            "memory",
            "text",
            "auto",
            "How models are kept in memory.",
            f"auto, {', '.join(RUNGS)}",
            pattern="|".join(("auto", *RUNGS)),
        ),
        Setting("dtype", "text", "auto", "Precision.", "auto, bf16, fp16 or fp32", pattern="auto|bf16|fp16|fp32"),
        Setting("preset", "text", "starter", "Preset that fills what a person leaves open.", "a preset's name"),
        Setting(
            "a1111_text",
            "yes or no",
            True,
            "Write the settings into pictures also as the text that Civitai and other programs read.",
            "yes or no",
            option="--no-a1111-text",
        ),
        Setting(
            "webhooks",
            "text",
            "",
            "Addresses that programs may have told when a picture is done: how they begin; empty: none.",
            "addresses such as https://example.org/hooks, with commas between them",
            pattern=r"(\s*https?://[^\s,@?#]+\s*(,\s*https?://[^\s,@?#]+\s*)*)?",
        ),
        Setting(
            "language",
            "text",
            "",
            "Language of the page: a file in data/languages, without .json; empty: English.",
            "a file's name without .json",
            pattern=".*",
        ),
        Setting("preview_fps", "number", 5.0, "Previews a second; 0 shows none.", "0 to 5", 0, 5),
        Setting(
            "log_level",
            "text",
            "info",
            "How much is logged; debug includes prompts.",
            "debug, info, warning or error",
            pattern="debug|info|warning|error",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Every setting, decided. Made by `load_settings`.

    Attributes:
        root: The folder that holds ``presets/``, ``styles/`` and ``models/``.
        sources: Where each value came from: "default", "fooocus.toml", "FOOOCUS_PORT", "--port".
    """

    root: Path
    data_dir: Path
    output_dir: Path
    models_dir: Path
    extra_model_folders: tuple[Path, ...]
    legacy_folder: Path | None
    expansion_model: str
    hub_endpoint: str
    offline: bool
    host: str
    listen: bool
    share: bool
    allowed_hosts: str
    port: int
    open_browser: bool
    device: str
    engine: str
    ray_address: str
    memory: str
    dtype: str
    preset: str
    a1111_text: bool
    webhooks: str
    language: str
    preview_fps: float
    log_level: str
    sources: dict[str, str] = field(default_factory=dict[str, str], compare=False)

    @property
    def is_for_others(self) -> bool:
        """Whether people at other computers can reach this one, so that nobody gets in without a password."""
        return self.share or not (self.host.casefold() in ("localhost", "::1") or self.host.startswith("127."))

    @property
    def styles_dirs(self) -> tuple[Path, ...]:
        """Folders of style files, those of a Fooocus folder aside; a later one overrides."""
        return (self.root / "styles", self.data_dir / "styles")

    @property
    def presets_dirs(self) -> tuple[Path, ...]:
        """Folders of preset files, those of a Fooocus folder aside; a later one overrides."""
        return (self.root / "presets", self.data_dir / "presets")

    @property
    def wildcards_dirs(self) -> tuple[Path, ...]:
        """Folders of word lists, those of a Fooocus folder aside; a later one overrides."""
        return (self.root / "wildcards", self.data_dir / "wildcards")

    @property
    def languages_dir(self) -> Path:
        """The folder of a person's language files."""
        return self.data_dir / "languages"

    @property
    def loras_dir(self) -> Path:
        """Where LoRA files are looked for."""
        return self.models_dir / "loras"

    @property
    def adapters_dirs(self) -> tuple[Path, ...]:
        """Where the LoRAs lie that ship."""
        return tuple(dict.fromkeys((self.models_dir / "adapters", self.root / "models" / "adapters")))

    @property
    def embeddings_dir(self) -> Path:
        """Where files of textual inversions are looked for."""
        return self.models_dir / "embeddings"

    @property
    def catalogs(self) -> tuple[Path, ...]:
        """Files that describe models; a later one overrides."""
        return (self.root / "models" / "catalog.json", self.data_dir / "catalog.json")

    def describe(self) -> list[tuple[Setting, Any, str]]:
        """(row, value, source) of every setting, in the order of the table."""
        return [(row, getattr(self, name), self.sources.get(name, "default")) for name, row in SETTINGS.items()]


def load_settings(
    cli: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    toml_path: Path | None = None,
    *,
    root: Path | None = None,
) -> Settings:
    """The settings of this start.

    Args:
        cli: Setting name to value; ``None`` means that the option was not given.
        env: The environment; ``os.environ`` when left out.
        toml_path: The settings file; ``fooocus.toml`` in the app root when left out, which may be missing.
        root: The app root, for tests.

    Raises:
        BadValue: a value out of range; names the setting, its source and the range.
        UnknownName: a setting that does not exist.
        BadFile: the settings file cannot be read.
    """
    root = (root or app_root()).resolve()
    values: dict[str, Any] = {name: row.default for name, row in SETTINGS.items()}
    sources = dict.fromkeys(SETTINGS, "default")
    for name, (value, source) in _given(cli or {}, os.environ if env is None else env, toml_path, root).items():
        values[name], sources[name] = _read(SETTINGS[name], value, source), source
    for name, row in SETTINGS.items():
        base = Path.cwd() if sources[name] == row.flag else root  # typed by a person who stands somewhere
        if row.kind == "folder":
            values[name] = _folder(row, str(values[name]), sources[name], base) if values[name] else None
        elif row.kind == "folders":
            folders = (_folder(row, text, sources[name], base) for text in values[name])
            values[name] = tuple(dict.fromkeys(folders))
    if values["listen"] and sources["host"] == "default":
        values["host"], sources["host"] = "0.0.0.0", sources["listen"]
    return Settings(root=root, sources=sources, **values)


def _given(
    cli: Mapping[str, Any], env: Mapping[str, str], toml_path: Path | None, root: Path
) -> dict[str, tuple[Any, str]]:
    """Setting name → (value, source), the strongest source last."""
    path = toml_path or root / TOML_NAME
    # The hub's own variable, as its library reads it, is the word of whoever has said nothing of ours.
    given: dict[str, tuple[Any, str]] = {}
    if env.get(HUB_OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE"):
        given["offline"] = (True, HUB_OFFLINE)
    given |= {name: (value, path.name) for name, value in _read_toml(path, needed=toml_path is not None).items()}
    # An empty variable means "not set": that is how container files clear one.
    given |= {name: (env[row.env], row.env) for name, row in SETTINGS.items() if env.get(row.env)}
    for name, value in cli.items():
        if value is not None:
            given[name] = (value, _known(name, "the command line").flag)
    return given


def _read_toml(path: Path, *, needed: bool) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if needed:
            raise BadFile(f"There is no settings file {path}.", "Check the path.") from None
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise BadFile(f"{path.name} cannot be read: {exc}.", "It must be a UTF-8 text file.") from exc
    try:
        values = _parse_toml(text)
    except ValueError as exc:  # its message ends with line and column
        hint = "Write one setting a line, such as port = 7865."
        raise BadFile(f"{path.name} is not valid TOML: {exc}.", hint) from exc
    for name in values:
        _known(name, path.name)
    return values


def _parse_toml(text: str) -> dict[str, Any]:
    # Python 3.10 has no tomllib; tomli is the same code under its older name.
    return importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(text)


def _known(name: str, source: str) -> Setting:
    if name in SETTINGS:
        return SETTINGS[name]
    near = difflib.get_close_matches(name, SETTINGS, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Settings are: {', '.join(SETTINGS)}."
    raise UnknownName(f"There is no setting '{name[:60]}' (in {source}).", hint, field=name)


def _read(row: Setting, value: Any, source: str) -> Any:
    """The value as the row's kind, or a `BadValue` that says what is allowed."""
    text = str(value).strip()
    if row.kind == "yes or no" and text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    if row.kind == "whole number" and re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        return _within(row, int(text), source)
    if row.kind == "number" and re.fullmatch(r"[+-]?([0-9]{1,9}(\.[0-9]*)?|\.[0-9]+)", text):
        return _within(row, float(text), source)
    if row.kind == "folder" and isinstance(value, (str, Path)) and text and "\0" not in text:
        return text
    if row.kind == "folders" and all(isinstance(part, (str, Path)) for part in _parts(value)) and "\0" not in text:
        return tuple(part for one in _parts(value) if (part := str(one).strip()))
    if row.kind == "text" and isinstance(value, str) and re.fullmatch(row.pattern, text):
        return text
    raise _bad(row, value, source)


def _parts(value: Any) -> list[Any]:
    """What a list of folders holds, or a text with the system's sign between them."""
    if isinstance(value, (list, tuple)):
        return list(cast("Sequence[Any]", value))
    return value.split(os.pathsep) if isinstance(value, str) else [value]


def _within(row: Setting, number: float, source: str) -> float:
    if (row.minimum is not None and number < row.minimum) or (row.maximum is not None and number > row.maximum):
        raise _bad(row, number, source)
    return number


def _folder(row: Setting, text: str, source: str, base: Path) -> Path:
    try:
        path = Path(os.path.abspath(base / Path(text).expanduser()))  # abspath keeps links as the person made them
    except RuntimeError as exc:  # "~somebody" who does not exist
        raise _bad(row, text, source, why="there is no such home folder") from exc
    if os.path.isfile(path):  # Path would raise for a folder that may not be looked into
        raise _bad(row, text, source, why="that is a file")
    return path


def _bad(row: Setting, value: object, source: str, why: str = "") -> BadValue:
    shown = repr(value) if isinstance(value, str) else str(value)
    shown = shown if len(shown) <= 60 else shown[:59] + "…"
    problem = f"{row.name} cannot be {shown} (from {source}){': ' if why else ''}{why}."
    return BadValue(problem, f"Allowed: {row.allowed}.", field=row.name)
