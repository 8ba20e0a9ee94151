"""A queue as a file: JSON with whole recipes, or a text with one prompt a line. Whoever wrote it, nothing in it is
trusted: it is bounded, taken apart without evaluating anything, and refused as a whole with the place of the first
thing that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fooocus_lite.errors import BadFile, BadValue, FooocusError
from fooocus_lite.library import Library
from fooocus_lite.plan import expand, parse_wish
from fooocus_lite.prompts import split_prompts
from fooocus_lite.recipe import Recipe, shown
from fooocus_lite.sheets import EVERY_VARIES, Varies
from fooocus_lite.taskqueue import Wanted
from fooocus_lite.tasks import Task
from fooocus_lite.untrusted import Refused, parse_json

#: What the file's first field is called; its value is the version of the form.
MARK = "fooocus_lite_queue"
VERSION = 1
MAX_FILE_BYTES = 32_000_000
MAX_PICTURES = 20_000
MAX_LABEL_CHARS = 200
_MAX_PARTS = 4_000_000
_COMMENT = "#"
#: A prompt that begins as something else does in such a file has this before it.
_ESCAPED = re.compile(r"^\\(?=[#{\\])")


@dataclass(frozen=True)
class _Entry:
    """Pictures of a file: which batch of the file they belong to, and where in it they stand."""

    recipes: list[Recipe]
    batch: object
    where: str
    label: str | None = None
    varies: Varies = "style"


def write_queue(tasks: Iterable[Task]) -> Iterator[str]:
    """The pieces of a JSON file that `read_queue` reads: one task a line, in the order given."""
    numbers: dict[str, int] = {}
    yield f'{{"{MARK}": {VERSION}, "tasks": ['
    sign = "\n"
    for task in tasks:
        said: dict[str, Any] = {"batch": numbers.setdefault(task.batch_id, len(numbers) + 1)}
        if task.label is not None:
            said |= {"label": task.label, "varies": task.varies}
        yield sign + json.dumps(said | {"recipe": task.recipe.set_fields()}, ensure_ascii=False)
        sign = ",\n"
    yield "\n]}\n"


def write_prompts(tasks: Iterable[Task]) -> Iterator[str]:
    """The pieces of a text file that `read_queue` reads: one prompt a line, line breaks in a prompt as spaces."""
    for task in tasks:
        prompt = " ".join(task.recipe.prompt.split())
        if prompt:
            yield f"\\{prompt}\n" if prompt.startswith((_COMMENT, "\\", "{")) else f"{prompt}\n"


def read_queue(text: str, base: Recipe, library: Library, seed: int) -> list[Wanted]:
    """The batches of a file, all pictures resolved; of a text every line is one.

    Args:
        text: JSON as `write_queue` makes it, or one prompt a line; ``#`` begins a comment, blank lines are skipped.
        base: What a text's prompts are drawn with, its own prompt excepted.
        seed: For what names none.

    Raises:
        BadFile: it is neither, or damaged; names the line.
        BadValue: a value that cannot be, or too many pictures; names the line or task.
        FooocusError: otherwise as `fooocus_lite.plan.expand`.
    """
    text = text.removeprefix("\ufeff")
    entries = _tasks_of(text, library, seed) if _is_json(text) else _prompts_of(text, base, library, seed)
    batches: list[Wanted] = []
    first_of: dict[object, int] = {}
    count, runs = 0, list[tuple[object, list[_Entry]]]()
    for entry in entries:
        count += len(entry.recipes)
        if count > MAX_PICTURES:
            hint = f"Take at most {MAX_PICTURES:,} pictures into a file."
            raise BadValue(f"{entry.where}: that is one too many.", hint, field="text")
        if runs and runs[-1][0] == entry.batch:
            runs[-1][1].append(entry)
        else:
            runs.append((entry.batch, [entry]))
    for batch, run in runs:
        joins = first_of.setdefault(batch, len(batches))
        batches.append(_wanted(run, joins if joins < len(batches) else None))
    if not batches:
        raise BadFile("There is no prompt in this file.", "Write one prompt a line.", field="text")
    return batches


def _wanted(run: list[_Entry], joins: int | None) -> Wanted:
    pairs = [(recipe, entry) for entry in run for recipe in entry.recipes]
    return Wanted(
        recipes=[recipe for recipe, _ in pairs],
        labels=[entry.label for _, entry in pairs],
        varies=[entry.varies for _, entry in pairs],
        joins=joins,
    )


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{") and ('"' in text.lstrip()[1:].lstrip()[:1] or f'"{MARK}"' in text)


def _prompts_of(text: str, base: Recipe, library: Library, seed: int) -> Iterator[_Entry]:
    for number, line in enumerate(text.split("\n"), start=1):
        prompt = line.strip()
        if not prompt or prompt.startswith(_COMMENT) or not split_prompts(prompt)[0]:
            continue
        with_prompt = base.model_dump(exclude_unset=True) | {"prompt": _ESCAPED.sub("", prompt)}
        yield _Entry(_resolved(with_prompt, library, seed, f"Line {number}"), number, f"Line {number}")


def _tasks_of(text: str, library: Library, seed: int) -> Iterator[_Entry]:
    try:
        said: Any = parse_json(text, most_chars=MAX_FILE_BYTES, most_parts=_MAX_PARTS)
    except Refused as exc:
        cause = exc.__cause__
        where = f" in line {cause.lineno}" if isinstance(cause, json.JSONDecodeError) else ""
        problem = f"The file cannot be read{where}: it {exc}."
        raise BadFile(problem, "Export the queue again, or mend that place.", field="text") from exc
    version = said.get(MARK)
    if type(version) is not int or version != VERSION:  # true is 1 to Python
        problem = f"This is no queue of Fooocus Lite: {MARK} is {shown(version)}."
        raise BadFile(problem, f"It must be {VERSION}; or send a text with one prompt a line.", field="text")
    tasks = said.get("tasks")
    if not isinstance(tasks, list):
        raise BadFile("The file has no list of tasks.", "Export the queue again.", field="text")
    for number, task in enumerate(tasks, start=1):
        yield _task_of(task, library, seed, f"Task {number}")


def _task_of(task: Any, library: Library, seed: int, where: str) -> _Entry:
    fields = ("recipe", "batch", "label", "varies")
    if not isinstance(task, dict) or "recipe" not in task:
        raise BadValue(f"{where}: there is no recipe.", "A task is an object with a recipe.", field="text")
    other = next((name for name in task if name not in fields), None)
    if other is not None:
        raise BadValue(f"{where}: there is no field {shown(other)}.", f"Fields are: {', '.join(fields)}.", field="text")
    batch, label, varies = task.get("batch"), task.get("label"), task.get("varies", "style")
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, (int, str))):
        raise BadValue(f"{where}: batch cannot be {shown(batch)}.", "Allowed is a number or text.", field="text")
    if label is not None and not (isinstance(label, str) and 0 < len(label) <= MAX_LABEL_CHARS):
        hint = f"Allowed is a text of at most {MAX_LABEL_CHARS} characters."
        raise BadValue(f"{where}: label cannot be {shown(label)}.", hint, field="text")
    if varies not in EVERY_VARIES:
        raise BadValue(
            f"{where}: varies cannot be {shown(varies)}.", f"Allowed: {', '.join(EVERY_VARIES)}.", field="text"
        )
    recipes = _resolved(task["recipe"], library, seed, where)
    if label is not None and len(recipes) > 1:
        raise BadValue(f"{where}: a cell of a contact sheet is one picture.", "Leave out its count.", field="text")
    return _Entry(recipes, batch, where, label, varies)


def _resolved(recipe: Any, library: Library, seed: int, where: str) -> list[Recipe]:
    try:
        return expand(parse_wish(recipe, library), library, seed)
    except FooocusError as exc:
        exc.problem = f"{where}: {exc.problem}"
        raise
