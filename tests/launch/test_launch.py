"""launch.py: what it says to a Python it cannot use, and that such a Python can read it."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from fooocus_lite.environment import Place, requirements

ROOT = Path(__file__).resolve().parents[2]
if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_launch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("launch", ROOT / "launch.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LAUNCH = load_launch()


@pytest.mark.parametrize(
    "version, is_64bit, said",
    [
        ((2, 7, 18), True, "Python 2.7 is too old"),
        ((3, 7, 16), True, "Python 3.7 is too old"),
        ((3, 9, 1), True, "Python 3.9 is too old"),
        ((3, 14, 0), True, "Python 3.14 is too new"),
        ((3, 12, 1), False, "32-bit"),
    ],
)
def test_wrong_python_is_one_sentence(version: tuple[int, ...], is_64bit: bool, said: str) -> None:
    problem = LAUNCH.version_problem(version, is_64bit)
    assert said in problem and "install" in problem and problem.count("\n") == 0


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_supported_pythons_pass(minor: int) -> None:
    assert LAUNCH.version_problem((3, minor, 0), True) == ""


def test_an_old_python_can_read_launch() -> None:
    tree = ast.parse((ROOT / "launch.py").read_text(encoding="utf-8"), feature_version=(3, 4))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.Starred, ast.NamedExpr, ast.Match, ast.AsyncFunctionDef)
    assert [type(node).__name__ for node in ast.walk(tree) if isinstance(node, newer)] == []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert not any(node.returns or any(arg.annotation for arg in node.args.args) for node in functions)


def test_requirements_are_read_as_toml_reads_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert requirements(Place(ROOT), tools=False) == project["dependencies"]
    assert requirements(Place(ROOT), tools=True) == project["dependencies"] + project["optional-dependencies"]["dev"]


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_every_requirement_has_one_pin_that_satisfies_it(minor: int) -> None:
    where = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"}
    pins: dict[str, Version] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        pin = Requirement(line) if line and not line.startswith("#") else None
        if pin and (pin.marker is None or pin.marker.evaluate(where)):
            assert pin.name not in pins, f"{pin.name} is pinned twice"
            pins[pin.name] = Version(str(pin.specifier).removeprefix("=="))
    for wanted in map(Requirement, requirements(Place(ROOT), tools=True)):
        if wanted.marker is None or wanted.marker.evaluate(where):
            assert pins[wanted.name] in wanted.specifier, wanted.name


@pytest.mark.skipif(os.name == "nt", reason="POSIX shells")
@pytest.mark.parametrize("door", ["launch.sh", "launch.command", ".ci/run", "check"])
def test_doors_are_executable_and_valid(door: str) -> None:
    path = ROOT / door
    assert os.access(path, os.X_OK)
    shell = re.match(r"#!(?:/usr/bin/env )?(\S+)", path.read_text(encoding="utf-8"))
    assert shell and subprocess.run([shell.group(1), "-n", str(path)], check=False).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX shells")
def test_a_door_without_python_says_so(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path)}
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "launch.sh")],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "was not found: install Python" in done.stdout


def test_ci_runs_the_command_that_people_use() -> None:
    assert "\npython3 launch.py test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
