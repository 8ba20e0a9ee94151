"""The shapes of the queue over HTTP: the line by batches, what repeats, and what has ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.events import State
from fooocus_lite.line import Spot
from fooocus_lite.line_records import Repeat
from fooocus_lite.recipe import Recipe
from fooocus_lite.tasks import Task
from fooocus_lite.web.schemas import Problem, QueueRow

WORDS = 120
#: Of a page of any list of the queue, as JSON.
MAX_PAGE_BYTES = 20_000
MAX_IDS = 10_000
Row = TypeVar("Row", bound=BaseModel)


class RepeatOut(BaseModel):
    """A recipe that is drawn again and again with new seeds."""

    id: str
    owner: str = Field(description="Name of the user who asked for it; empty where there are no users.")
    words: str = Field(description="How the prompt begins.")
    times: int | None = Field(description="Rounds that were asked for; null = until it is ended.")
    rounds: int = Field(description="Rounds that were put in line so far, the one that waits among them.")
    begun: int = Field(description="Rounds that were begun.")
    batch_id: str | None = Field(description="Batch of the newest round.")
    state: str = Field(
        description="`on`; `waiting` for a new day, on which its user may ask for more; `stopped` by the error;"
        " `ended`, in no list."
    )
    error: Problem | None = Field(
        default=None, description="Why it waits or stopped; a stopped one stays in the list until it is deleted."
    )


class RepeatList(BaseModel):
    """Those that go on, and those that an error stopped, oldest first."""

    repeats: list[RepeatOut]


class RepeatIn(BaseModel):
    """What to repeat, and how often."""

    model_config = ConfigDict(extra="forbid")

    recipe: Recipe
    times: int | None = Field(default=None, ge=1, le=100_000, description="Rounds; null = until it is ended.")


class QueueGroup(BaseModel):
    """What waits of one batch."""

    batch_id: str
    first: QueueRow = Field(description="The picture of it that is next.")
    waiting: int = Field(description="How many of it wait.")
    held: int = Field(description="How many of these wait for files.")
    work: int = Field(description="Pixels × model calls of those that wait.")
    seconds: float | None = Field(description="About how long these take; null before anything was measured.")
    seconds_left: float | None = Field(
        description="About when the last of them is done, from now on; null before anything was measured, and while"
        " they wait for files."
    )


class QueuePage(BaseModel):
    """The line, one entry for each batch of which anything waits, in the order of what is next of each."""

    groups: list[QueueGroup]
    next: str | None = Field(description="The `after` of the next page; null at the end.")
    batches: int = Field(description="How many batches wait.")
    waiting: int = Field(description="How many pictures wait.")
    held: int = Field(description="How many of these wait for files.")
    ahead: int = Field(
        description="How many tasks of other users, whom you do not see, come before yours; what is drawn now counts."
    )
    paused: bool = Field(description="Nothing new is drawn until the queue is resumed.")
    seconds_left: float | None = Field(description="About how long the whole line takes.")
    version: int = Field(description="Rises when the line changes by itself: order, edits, pause, repeats.")
    repeats: list[RepeatOut]


class WaitingPage(BaseModel):
    """What waits of one batch, next first."""

    tasks: list[QueueRow]
    next: str | None = Field(description="The `after` of the next page; null at the end.")


class _Chosen(BaseModel):
    """Some pictures that wait, or all that wait of a batch."""

    model_config = ConfigDict(extra="forbid")

    ids: list[str] | None = Field(default=None, max_length=MAX_IDS, description="Tasks.")
    batch_id: str | None = Field(default=None, description="Instead of `ids`: all that waits of this batch.")

    def chosen(self) -> list[str]:
        """The tasks; none where it is a batch.

        Raises:
            BadValue: neither or both were sent.
        """
        if bool(self.ids) == (self.batch_id is not None):
            raise BadValue("It must be said which pictures.", "Send either ids or batch_id.", field="ids")
        return self.ids or []


class CancelIn(_Chosen):
    """What to take out of the line."""


class DuplicateAllIn(_Chosen):
    """What to draw once more."""

    new_seed: bool = Field(default=False, description="The copies are other pictures of the same words.")


class MoveIn(_Chosen):
    """What to move where. Pictures go before or after pictures, a batch before or after batches."""

    before: str | None = Field(default=None, description="Id of the task, or of the batch, that it comes before.")
    after: str | None = Field(default=None, description="Id of the one that it comes after.")
    to: str | None = Field(default=None, description="`first` or `last`, instead of both.", examples=["first"])

    def spot(self) -> Spot:
        """Where.

        Raises:
            BadValue: none or several places, or one that is not there.
        """
        self.chosen()
        if [self.before, self.after, self.to].count(None) != 2:
            hint = "Send one of before, after and to."
            raise BadValue("It must be said where to move it.", hint, field="to")
        if self.to is not None:
            if self.to not in ("first", "last"):
                raise BadValue(f"to cannot be {self.to[:40]!r}.", "Allowed is first or last.", field="to")
            return Spot("first" if self.to == "first" else "last")
        neighbour = self.before if self.before is not None else self.after
        of, of_batch = (neighbour, None) if self.ids is not None else (None, neighbour)
        return Spot("before" if self.before is not None else "after", of=of, of_batch=of_batch)


class Moved(BaseModel):
    """How many pictures now stand somewhere else."""

    moved: int


class EditIn(BaseModel):
    """What to change of a waiting picture."""

    model_config = ConfigDict(extra="forbid")

    recipe: Recipe = Field(description="The fields to change, and only these; null = let the app decide.")
    revision: int = Field(ge=0, description="The task's when it was read, so that nobody's change is lost.")


class EditAllIn(_Chosen):
    """What to change of waiting pictures, of all of them at once."""

    recipe: Recipe = Field(description="As for one picture; each keeps its seed, unless that is sent as null.")
    revisions: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None,
        max_length=MAX_IDS,
        description="Of each of `ids` as it was read, so that nobody's change is lost; left out: whatever they are.",
    )

    def known(self) -> list[int] | None:
        """The revisions, one for each of `ids`.

        Raises:
            BadValue: other than that, or for a batch.
        """
        if self.revisions is not None and (self.ids is None or len(self.revisions) != len(self.ids)):
            hint = "Send one for each of ids, in their order, or leave them out."
            raise BadValue("There are not as many revisions as ids.", hint, field="revisions")
        return self.revisions


class Stayed(BaseModel):
    """A picture that was not changed, and why."""

    id: str
    error: Problem


class Edited(BaseModel):
    """What became of an edit of several pictures."""

    edited: int
    stayed: list[Stayed] = Field(description="They wait no more, were changed by somebody else, or are not there.")


class DuplicateIn(BaseModel):
    """How to draw a picture once more."""

    model_config = ConfigDict(extra="forbid")

    new_seed: bool = Field(default=False, description="The copy is another picture of the same words.")


class ImportIn(BaseModel):
    """A file to put in line, all of it or nothing."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(description="What is in the file: an exported queue, or one prompt a line (# = comment).")
    recipe: Recipe = Field(default=Recipe(), description="What the prompts of a text are drawn with.")


#: Its shape for OpenAPI, written out: the route takes the body in by itself, so FastAPI does not know it.
IMPORT_SCHEMA = ImportIn.model_json_schema(ref_template="#/components/schemas/{model}")
IMPORT_SCHEMA.pop("$defs", None)


class Imported(BaseModel):
    """What came out of a file."""

    ids: list[str] = Field(description="The tasks, in the order of the file.")
    notes: list[str] = Field(description="What a person should know before they are drawn.")


class Paused(BaseModel):
    """Whether the queue stands still."""

    paused: bool


class HistoryRow(QueueRow):
    """A picture that was drawn, failed or was cancelled."""

    created_at: float = Field(description="Unix time at which it was asked for.")
    started_at: float | None = Field(description="Null if it never began.")
    finished_at: float
    took: float | None = Field(description="Seconds from its start to its end; null if it never began.")


class History(BaseModel):
    """What has ended, newest first."""

    tasks: list[HistoryRow]
    next: str | None = Field(description="The `before` of the next page; null at the end.")


def repeat_out(repeat: Repeat) -> RepeatOut:
    """The repeat as programs see it."""
    return RepeatOut(
        id=repeat.id,
        owner=repeat.owner,
        words=Recipe.model_validate_json(repeat.recipe).prompt[:WORDS],
        times=repeat.times,
        rounds=repeat.rounds,
        begun=repeat.begun,
        batch_id=repeat.batch_id,
        state="waiting" if repeat.state == "on" and repeat.error else repeat.state,
        error=Problem(**repeat.error) if repeat.error else None,
    )


def edited(ids: Sequence[str], stayed: Mapping[str, FooocusError]) -> Edited:
    """What became of an edit of these tasks.

    Raises:
        FooocusError: nothing of it was done.
    """
    count = len(set(ids)) - len(stayed)
    if not count:
        (first, *others) = stayed.values()
        if not others or first.code == "not_found":
            raise first
        problem = "None of these pictures can be changed: they have begun, or somebody else changed them."
        raise FooocusError(problem, "Look at the queue again, then change what waits.", code="conflict")
    problems = [Stayed(id=task_id, error=Problem.model_validate(error.to_dict())) for task_id, error in stayed.items()]
    return Edited(edited=count, stayed=problems)


def history_row(task: Task, row: QueueRow) -> HistoryRow:
    """An ended task in the history."""
    took = task.finished_at - task.started_at if task.finished_at and task.started_at else None
    return HistoryRow(
        **row.model_dump(),
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at or task.created_at,
        took=None if took is None else max(0.0, took),
    )


def that_fit(rows: Iterable[Row], beside: BaseModel) -> list[Row]:
    """Of a page's rows as many as keep it below `MAX_PAGE_BYTES`, one at least; ``beside`` is the page without them."""
    room = MAX_PAGE_BYTES - len(beside.model_dump_json().encode()) - 200  # a cursor takes its place later
    fit: list[Row] = []
    for row in rows:
        room -= len(row.model_dump_json().encode()) + 1
        if room < 0 and fit:
            break
        fit.append(row)
    return fit


def ended(state: State | None) -> State | None:
    """The state to look for in the history.

    Raises:
        BadValue: nothing in that state has ended.
    """
    if state in ("waiting", "running"):
        raise BadValue(f"state cannot be '{state}' here.", "Allowed: finished, failed, cancelled.", field="state")
    return state
