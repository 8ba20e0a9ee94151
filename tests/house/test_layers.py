"""Law: words ← thought ← deeds ← faces, downwards only; torch in the engine, Gradio in the page."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.code import ROOT, imports, module_name, package_files, parse, shown

WORDS = {
    *("attention_weights", "errors", "recipe", "events", "registry", "families", "textual_inversion", "guidances"),
    *("fooocus_names", "fooocus_presets", "sampler_names", "lora_keys", "untrusted", "modes", "model_files"),
    *("memory", "download_state", "download_words", "weight_sizes", "weight_header", "gguf_header", "user"),
}
THOUGHT = {
    *("settings", "settings_table", "prompts", "prompt_tags", "prompt_files", "wildcards", "wording", "language_files"),
    *(
        "library",
        "live_library",
        "library_json",
        "library_files",
        "lora_files",
        "style_files",
        "preset_files",
        "fooocus_folder",
    ),
    *("model_folders", "choices", "expansion", "menu", "plan", "sheets", "mode_choice", "refiners", "preset_fit"),
    *("offers", "catalog_files", "missing_files", "model_headers", "model_index", "found_models", "family_fit"),
    *("webhook_rules", "edits"),
}
FACES = {"cli", "commands", "teller", "web", "__main__"}
#: Every other module is a deed, so a new one is held to the deeds' rules until it is listed here.
MAY_IMPORT = {
    "words": {"words"},
    "thought": {"words", "thought"},
    "deeds": {"words", "thought", "deeds"},
    "engine": {"words", "engine"},  # and the plan types
    "faces": {"words", "thought", "deeds", "faces"},
}
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "peft", "torchvision"}
GRADIO_HOMES = ("fooocus_lite.web",)


def layer(module: str) -> str:
    """The layer of ``fooocus_lite.…``; the package itself belongs to everybody."""
    part = module.partition(".")[2].partition(".")[0]
    if part == "engine":
        return "engine"
    for name, parts in (("words", WORDS), ("thought", THOUGHT), ("faces", FACES)):
        if part in parts:
            return name
    return "deeds"


def imported(path: Path) -> set[str]:
    return set(imports(parse(path), module_name(path), is_package=path.name == "__init__.py"))


def wrong_imports(module: str, names: set[str]) -> list[str]:
    """Those of ``names`` that the module's layer may not import."""
    own = layer(module)
    wrong: list[str] = []
    for name in names:
        top = name.split(".")[0]
        if top == "fooocus_lite" and name.count(".") and name != "fooocus_lite.__version__":
            is_plan = own == "engine" and name.startswith("fooocus_lite.plan.")
            if layer(name) not in MAY_IMPORT[own] and not is_plan:
                wrong.append(f"{name} ({layer(name)})")
        if top in HEAVY and own != "engine":
            wrong.append(f"{name} (engine only)")
        if top == "gradio" and not module.startswith(GRADIO_HOMES):
            wrong.append(f"{name} (the page only)")
    return sorted(wrong)


@pytest.mark.parametrize("path", package_files(), ids=shown)
def test_imports_go_downwards(path: Path) -> None:
    assert wrong_imports(module_name(path), imported(path)) == []


@pytest.mark.parametrize(
    "module, source",
    [
        ("fooocus_lite.recipe", "from fooocus_lite.settings import Settings"),
        ("fooocus_lite.plan", "import fooocus_lite.taskqueue"),
        ("fooocus_lite.taskqueue", "from .web import app"),
        ("fooocus_lite.runner", "def late():\n    from fooocus_lite.engine.run import Engine"),
        ("fooocus_lite.engine.run", "from fooocus_lite.images import save_image"),
        ("fooocus_lite.engine.run", "from ..library import Library"),
        ("fooocus_lite.web.api", "def late():\n    import torch.cuda"),
        ("fooocus_lite.cli", "import gradio as gr"),
        ("fooocus_lite.brand_new", "from fooocus_lite import cli"),
    ],
)
def test_the_rule_sees_what_is_wrong(module: str, source: str) -> None:
    assert wrong_imports(module, set(imports(ast.parse(source), module)))


def run(code: str, *args: str) -> str:
    """What a fresh Python prints for ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_ALL = """
import importlib, json, sys, threading
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps({"modules": sorted(sys.modules), "threads": threading.active_count()}))
"""


def light_modules() -> list[str]:
    """Everything but the engine, and the modules of the page that import Gradio at their top."""
    names = [module_name(path) for path in package_files() if layer(module_name(path)) != "engine"]
    return [
        name
        for name in names
        if not name.startswith(("fooocus_lite.web.ui", "fooocus_lite.web.tabs", "fooocus_lite.__main__"))
    ]


def test_importing_does_nothing_heavy() -> None:
    """Law: no torch, no Gradio, no thread, no file comes from an import outside their homes."""
    written = [ROOT / name for name in ("data", "outputs", "test-results", "fooocus.toml")]
    before = [path for path in written if path.exists()]
    state = json.loads(run(IMPORT_ALL, *light_modules()))
    assert not (HEAVY | {"gradio", "ray"}) & set(state["modules"])
    assert state["threads"] == 1
    assert [path for path in written if path.exists()] == before


HELP = """
import runpy, sys
sys.argv = ["fooocus-lite", "--help"]
try:
    runpy.run_module("fooocus_lite", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print("HEAVY:", *sorted({"torch", "diffusers", "transformers", "gradio", "numpy", "PIL"} & set(sys.modules)))
"""


def test_help_imports_neither_torch_nor_gradio() -> None:
    said, _, heavy = run(HELP).rpartition("HEAVY:")
    assert "generate" in said and "doctor" in said
    assert heavy.strip() == ""


def test_only_the_standard_library_is_needed_before_the_environment_stands() -> None:
    """launch.py, and what it imports of ours, runs on a bare Python."""
    ours = {module_name(path): path for path in package_files()}
    todo, seen, foreign = [(ROOT / "launch.py", "launch")], set(), set()
    while todo:
        path, module = todo.pop()
        tree = parse(path)
        top_level = ast.Module([node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
        for name in imports(top_level, module, is_package=path.name == "__init__.py"):
            known = next((known for known in (name, name.rpartition(".")[0]) if known in ours), None)
            if known and known not in seen:
                seen.add(known)
                todo.append((ours[known], known))
            elif not known and name.split(".")[0] not in sys.stdlib_module_names:
                foreign.add(f"{module}: {name}")
    assert foreign == set()
