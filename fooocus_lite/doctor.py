"""`doctor`: what this machine has, what is missing, and how to mend it. Never imports torch itself."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from fooocus_lite import __version__, hub, torch_build
from fooocus_lite.disk import free_bytes, nearest_folder
from fooocus_lite.download_state import size_text
from fooocus_lite.library import CatalogEntry, load_library
from fooocus_lite.model_folders import gone_folders, read_model_folders
from fooocus_lite.model_headers import identify
from fooocus_lite.model_scan import scan_models
from fooocus_lite.part_file import part_bytes
from fooocus_lite.pip_runner import Problem
from fooocus_lite.settings import Settings
from fooocus_lite.workers import ALL, device_names

PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "gradio", "fastapi", "uvicorn", "pydantic", "pillow")
LOW_DISK_GB = 2.0
AGAIN = "Delete the folder .venv and start launch.py again."
_MARKS = {"ok": "✓", "note": "•", "problem": "✗"}
_ASK_ENGINE = (
    "import json, sys; from fooocus_lite.engine.run import Engine;"
    "print(json.dumps(Engine(device=sys.argv[1], dtype=sys.argv[2]).describe()))"
)


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``hint`` says how to mend it."""

    name: str
    state: Literal["ok", "note", "problem"]
    text: str
    hint: str = ""

    @property
    def mark(self) -> str:
        """A sign that can be read at a glance, in ASCII where the terminal knows no other."""
        mark = _MARKS[self.state]
        try:
            mark.encode(sys.stdout.encoding or "ascii")
        except UnicodeEncodeError:
            return {"ok": "+", "note": "-", "problem": "!"}[self.state]
        return mark

    def to_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """Everything worth knowing, the machine first."""
    return [
        Finding("app", "ok", f"Fooocus Lite {__version__} in {settings.root}"),
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
        *_memory(),
        *_engine(settings),
        *_build(),
        *_versions(settings),
        *_folders(settings),
        *_models(settings),
        _hub(settings),
        *_parts(settings),
        _browser(),
    ]


def _memory() -> Iterator[Finding]:
    try:
        import psutil
    except ImportError:
        return
    memory = psutil.virtual_memory()
    text = f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB of them free; {os.cpu_count()} cores"
    yield Finding("memory", "ok", text)


def _engine(settings: Settings) -> Iterator[Finding]:
    """Each device as the engine sees it, asked in a child process: a broken driver may end it."""
    for name in ["auto"] if settings.device == ALL else device_names(settings.device):
        yield from _device(name, settings)


def _device(name: str, settings: Settings) -> Iterator[Finding]:
    command = [sys.executable, "-c", _ASK_ENGINE, name, settings.dtype]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        yield Finding("device", "problem", f"PyTorch does not answer: {exc}", AGAIN)
        return
    if done.returncode:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no output")
        yield Finding("device", "problem", last, AGAIN)
        return
    about: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "problem" in about:
        yield Finding("device", "problem", about["problem"], "Change the setting device or dtype.")
        return
    memory = f", {about['total_memory_bytes'] / 1e9:.1f} GB" if about.get("total_memory_bytes") else ""
    text = f"{about['device_name']} ({about['device']}){memory}, {about['dtype']}, PyTorch {about['torch']}"
    yield Finding("device", "ok", text)


def _build() -> Iterator[Finding]:
    """Whether the installed PyTorch is the one for this machine's card."""
    try:
        installed, (build, what) = metadata.version("torch"), torch_build.choose()
    except (metadata.PackageNotFoundError, Problem) as exc:
        yield Finding("build", "problem", str(exc), AGAIN)
        return
    is_gpu_build = build.startswith(("cu", "rocm", "xpu"))
    if is_gpu_build and installed.endswith("+cpu"):
        yield Finding("build", "note", f"PyTorch {installed} cannot use {what}.", AGAIN)


def _versions(settings: Settings) -> Iterator[Finding]:
    pins = _read_pins(settings.root / "constraints.txt")
    found = {name: _version(name) for name in PACKAGES}
    absent = [name for name, version in found.items() if not version]
    if absent:
        yield Finding("packages", "problem", f"Not installed: {', '.join(absent)}.", AGAIN)
    other = [
        f"{name} {version} instead of {' or '.join(sorted(pins[name]))}"
        for name, version in found.items()
        if version and name in pins and version.split("+")[0] not in pins[name]
    ]
    if other:
        yield Finding("packages", "note", f"Not the tested versions: {', '.join(other)}.", AGAIN)
    elif not absent:
        yield Finding("packages", "ok", ", ".join(f"{name} {found[name]}" for name in PACKAGES))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _read_pins(path: Path) -> dict[str, set[str]]:
    """Package → pinned versions; more than one where Python versions differ."""
    pins: dict[str, set[str]] = {}
    if path.is_file():
        for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            pins.setdefault(name, set()).add(version)
    return pins


def _folders(settings: Settings) -> Iterator[Finding]:
    places = {"data_dir": settings.data_dir, "output_dir": settings.output_dir, "models_dir": settings.models_dir}
    for name, path in places.items():
        there = nearest_folder(path) or path
        free = (free_bytes(path) or 0) / 1e9
        if name == "models_dir" and (free < LOW_DISK_GB or not _is_writable(there)):  # one may do without downloads
            text = f"{path}: {free:.1f} GB are free, and it can{'' if _is_writable(there) else 'not'} be written."
            hint = "To download models, set models_dir (FOOOCUS_MODELS_DIR) to a folder with more room."
            yield Finding(name, "note", text, hint)
        elif not _is_writable(there):
            hint = f"Set {name} (FOOOCUS_{name.upper()}) to a folder of your own."
            yield Finding(name, "problem", f"{path} cannot be written.", hint)
        elif free < LOW_DISK_GB:
            yield Finding(name, "problem", f"{path}: only {free:.1f} GB are free.", "Free some space on this disk.")
        else:
            yield Finding(name, "ok", f"{path}, {free:.0f} GB free")


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _models(settings: Settings) -> Iterator[Finding]:
    scan_models(settings)
    library = load_library(settings)
    gone = set(gone_folders(read_model_folders(settings, [])))  # no file is broken
    for problem in library.problems:
        yield Finding("files", "problem", problem, "" if problem in gone else "Mend or remove the file.")
    for entry in library.models.values():
        if entry.available or not entry.files:  # what can be fetched when it is wanted lacks nothing
            yield _model(entry)
    if not any(entry.available for entry in library.models.values()):
        hint = "Get models/starter from a fresh copy of Fooocus Lite, or put a model into models/."
        yield Finding("models", "problem", "No model is there.", hint)


def _model(entry: CatalogEntry) -> Finding:
    if not entry.available:
        return Finding("model", "note", f"{entry.name} is not on this disk ({entry.path}).")
    path = Path(entry.path)
    hint = "Put an intact copy in its place, or fetch the model again."
    if absent := missing_files(path) if path.is_dir() else []:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        return Finding("model", "problem", f"{entry.name}: {absent[0]}{more} is missing.", hint)
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    reasons = ((file, identify(str(file)).problem) for file in files)
    if damaged := next(((file, reason) for file, reason in reasons if reason), None):
        return Finding("model", "problem", f"{entry.name}: {damaged[0]} is damaged: {damaged[1]}.", hint)
    size = sum(file.stat().st_size for file in files) / 1e6
    return Finding("model", "ok", f"{entry.name}: {len(files)} files, {size:,.0f} MB, whole")


def _hub(settings: Settings) -> Finding:
    """Whether models could be downloaded now."""
    address = hub.endpoint(settings)
    if settings.offline:
        return Finding("hub", "note", "Offline: the network is not used, nothing is downloaded.")
    problem = hub.why_unreachable(settings)
    if problem:
        hint = "Models that are here can be used. To download others, check the connection, proxy and hub_endpoint."
        return Finding("hub", "note", problem, hint)
    return Finding("hub", "ok", f"{address} answers")


def _parts(settings: Settings) -> Iterator[Finding]:
    """Downloads that were begun."""
    for offer in load_library(settings).downloadable.values():
        arrived = sum(part_bytes(Path(file.path)) for file in offer.files)
        if arrived:
            text = f"{offer.name}: {size_text(arrived)} of a download that has not ended."
            hint = f"fooocus-lite models download {offer.name} goes on; models remove {offer.name} clears it away."
            yield Finding("download", "note", text, hint)


def missing_files(folder: Path) -> list[Path]:
    """What a diffusers folder's own index promises and the engine would look for in vain."""
    parts = [
        name
        for name, kind in _read_object(folder / "model_index.json").items()
        if isinstance(kind, list) and len(kind) == 2 and kind[1]  # [null, null] stands for a part that is left out
    ]
    return [path for name in parts for path in _wanted_in(folder / name) if not path.is_file()]


def _wanted_in(part: Path) -> list[Path]:
    """The files of one part, by its role: diffusers gives the same names in every model."""
    if part.name.startswith("scheduler"):
        return [part / "scheduler_config.json"]
    if part.name.startswith("tokenizer"):
        is_split = (part / "vocab.json").is_file() and not (part / "tokenizer.json").is_file()
        return [part / "vocab.json", part / "merges.txt"] if is_split else [part / "tokenizer.json"]
    stem = "diffusion_pytorch_model" if part.name in ("unet", "vae") else "model"
    if part.name not in ("unet", "vae") and not part.name.startswith("text_encoder"):
        return []  # the engine does not read it
    weights = [part / f"{stem}{variant}.safetensors" for variant in ("", ".fp16")]
    there = [path for path in weights if path.is_file()]
    shards = [name for path in part.glob("*.safetensors.index*.json") for name in _shards(path)]
    return [part / "config.json", *(there or [part / name for name in shards] or weights[:1])]


def _shards(index: Path) -> list[str]:
    names = _read_object(index).get("weight_map")
    return sorted({Path(str(name)).name for name in names.values()}) if isinstance(names, dict) else []


def _read_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _browser() -> Finding:
    try:
        webbrowser.get()
    except webbrowser.Error:
        return Finding("browser", "note", "No browser was found here.", "Open the printed address from any browser.")
    return Finding("browser", "ok", "a browser is there")
