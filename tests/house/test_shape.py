"""Sizes, module state, and the few patterns that are banned everywhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.code import ROOT, imports, module_name, package_files, parse, shown

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
FOLDERS = ("fooocus_lite", "training", "tests")
OURS = sorted(
    path
    for pattern in ("*.py", "*.js", "*.css")
    for folder in FOLDERS
    for path in (ROOT / folder).rglob(pattern)
    if "work" not in path.relative_to(ROOT).parts
)
PYTHON = [ROOT / "launch.py", *(path for path in OURS if path.suffix == ".py")]
# Constants, type names, dunder names, and the one logger.
MODULE_NAMES = re.compile(r"_?[A-Z]\w*|__\w+__|logger|log|_log|_logger")


@pytest.mark.parametrize("path", [ROOT / "launch.py", *OURS], ids=shown)
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("path", PYTHON, ids=shown)
def test_functions_stay_readable(path: Path) -> None:
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lines = [(node.name, (node.end_lineno or 0) - node.lineno + 1) for node in functions]
    assert [(name, count) for name, count in lines if count > MAX_FUNCTION_LINES] == []


@pytest.mark.parametrize("path", package_files(), ids=shown)
def test_modules_hold_no_state(path: Path) -> None:
    """Law: no module-level mutable state but constants and loggers."""
    tree, wrong = parse(path), []
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        wrong += [name for name in names if not MODULE_NAMES.fullmatch(name)]
    wrong += [f"global {', '.join(node.names)}" for node in ast.walk(tree) if isinstance(node, ast.Global)]
    assert wrong == []


@pytest.mark.parametrize("path", package_files(), ids=shown)
def test_modules_say_why_they_exist_and_evaluate_nothing(path: Path) -> None:
    tree = parse(path)
    assert ast.get_docstring(tree), "a module's docstring says why the file exists"
    calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert not {"eval", "exec"} & set(calls)


@pytest.mark.parametrize("path", package_files(), ids=shown)
def test_nothing_foreign_is_unpickled(path: Path) -> None:
    """Law: reading data never runs it."""
    names = set(imports(parse(path), module_name(path), is_package=path.name == "__init__.py"))
    assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & {name.split(".")[0] for name in names}
