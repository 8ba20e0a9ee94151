"""`convert`: a checkpoint that is a pickle becomes safetensors, in a process that can do nothing else.

Opening a pickle can run a stranger's code; a safetensors file holds numbers and cannot.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fooocus_lite.disk import disk_problem
from fooocus_lite.errors import BadValue, CorruptModel, DiskProblem, MissingModel
from fooocus_lite.model_files import PICKLES

_CHILD = "fooocus_lite.engine.unpickle"
# A machine on which torch takes this long to start has other troubles; a slow disk reads so many bytes a second.
_START_S, _BYTES_PER_S = 180, 5_000_000
_OWN_BYTES = 4 * 2**30  # torch itself
_COPIES = 3  # of the weights in memory: an old format is read whole, and tensors that share memory are parted


@dataclass(frozen=True)
class Converted:
    """A file that was made.

    Attributes:
        left_out: How many things of the old one are not in it: settings of the training, copies of the weights.
    """

    path: Path
    tensors: int
    left_out: int


def convert_pickle(source: Path) -> Converted:
    """Make ``source``'s safetensors file beside it; the old file stays as it is.

    Raises:
        MissingModel: there is no such file.
        BadValue: it is no pickle, or the new file is already there.
        CorruptModel: it is damaged, or asks to run code; then nothing was run.
        DiskProblem: there is no room for the new file.
    """
    target = source.with_suffix(".safetensors")
    _check(source, target)
    part = target.with_name(target.name + ".part")
    size = source.stat().st_size
    limits = {
        "memory_bytes": _OWN_BYTES + _COPIES * size,
        "seconds": _START_S + size // _BYTES_PER_S,
        "file_bytes": 2 * size + 2**20,
    }
    try:
        outcome = _run(source, part, limits)
        if "reason" in outcome:
            raise _refusal(source, outcome)
        if target.exists():
            raise _taken(target)
        os.replace(part, target)
    except OSError as exc:
        raise disk_problem(exc, target.parent, "--models-dir") from exc
    finally:
        part.unlink(missing_ok=True)
    return Converted(target, outcome["tensors"], outcome["left_out"])


def _check(source: Path, target: Path) -> None:
    if source.suffix.lower() not in PICKLES:
        raise BadValue(f"{source.name} cannot be converted.", f"Name a file that ends in one of: {', '.join(PICKLES)}.")
    if not source.is_file():
        raise MissingModel(f"There is no file {source}.", "Check the path.")
    if target.exists():
        raise _taken(target)
    with source.open("rb") as file:
        head = file.read(16).lstrip()
    if not head:
        raise CorruptModel(f"{source.name} is empty.", "Fetch it again.")
    if head.startswith(b"<"):
        raise CorruptModel(f"{source.name} is a web page, not a model: its download went wrong.", "Fetch it again.")


def _taken(target: Path) -> BadValue:
    return BadValue(f"{target} is already there.", "Use it, or move it away first.")


def _run(source: Path, part: Path, limits: dict[str, int]) -> dict[str, Any]:
    """What the child said, or a ``reason`` why it said nothing."""
    command = [sys.executable, "-m", _CHILD, str(source.resolve()), str(part.resolve()), json.dumps(limits)]
    # Nothing of a person's environment that a stranger's code could use; what finds the libraries stays.
    kept = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ} | {"CUDA_VISIBLE_DEVICES": ""}
    package = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH", "")]))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limits["seconds"],
            env=environment,
            check=False,
        )
        outcome = json.loads(done.stdout.decode("utf-8", "replace").splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"reason": "time"}
    except (ValueError, IndexError):
        return {"reason": "died"}
    return outcome if isinstance(outcome, dict) else {"reason": "died"}


def _refusal(source: Path, outcome: dict[str, Any]) -> CorruptModel | DiskProblem:
    """The sentence for what the child could not do."""
    reason, name = outcome["reason"], source.name
    if reason == "hostile":
        asked = outcome.get("asked_for")
        return CorruptModel(
            f"{name} was not converted: it asks to run {asked or 'code of its own'}, which no model needs. "
            "Nothing of it was run.",
            "Delete it, or look for a .safetensors file of the same model.",
        )
    if reason == "disk":
        full = "There is no room for the new file" if outcome.get("errno") else "The new file could not be written"
        return DiskProblem(f"{name} was not converted. {full}.", "Free some space, then try again.")
    said = {
        "no_tensors": "holds no weights that could be converted",
        "memory": "needs more memory to be opened than a model of its size should",
        "time": "takes longer to open than a model of its size should",
        "died": "ends the program that opens it",
    }
    problem = said.get(str(reason), "is damaged, or not a file of weights")
    return CorruptModel(f"{name} was not converted: it {problem}.", "Fetch it again, or look for a .safetensors file.")
