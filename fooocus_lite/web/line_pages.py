"""The line page by page, as a list shows it: at the same cost, and never more than 20 KB, at any length."""

from __future__ import annotations

from collections.abc import Sequence

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import Progress
from fooocus_lite.line_records import Group
from fooocus_lite.recipe import MAX_SEED
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import Task
from fooocus_lite.web.queue_schemas import WORDS, QueueGroup, QueuePage, WaitingPage, repeat_out, that_fit
from fooocus_lite.web.schemas import Problem, QueueRow


class LinePages:
    """Reads queue, log and dispatcher. ``owner`` is whose tasks are seen, ``None`` = everybody's."""

    def __init__(self, queue: TaskQueue, log: EventLog, dispatcher: Dispatcher) -> None:
        self._queue = queue
        self._log = log
        self._dispatcher = dispatcher

    def line(self, *, limit: int, after: str | None, owner: str | None) -> QueuePage:
        """A page of the line, one entry for each batch; never more than 20 KB."""
        groups = self._queue.groups(after=after, limit=limit, owner=owner)
        numbers = self._queue.numbers(owner)
        page = QueuePage(
            groups=[],
            next=None,
            batches=numbers.batches,
            waiting=numbers.waiting,
            held=numbers.held,
            ahead=0 if owner is None else self._queue.ahead(owner),
            paused=self._queue.is_paused,
            seconds_left=self._dispatcher.seconds_left(owner=owner),
            version=self._queue.version,
            repeats=[repeat_out(repeat) for repeat in self._queue.repeats(owner)],
        )
        drawing = self._seconds_of_running()
        rows = self.rows([group.first for group in groups])
        fit = that_fit([self._group(group, row, drawing) for group, row in zip(groups, rows, strict=True)], page)
        is_last = len(fit) == len(groups) and len(groups) < limit
        return page.model_copy(update={"groups": fit, "next": None if is_last else groups[len(fit) - 1].cursor})

    def _group(self, group: Group, first: QueueRow, drawing: float) -> QueueGroup:
        """Args: ``drawing``: seconds until what is drawn now is done."""
        until = None
        if not group.first.waits_for:
            until = self._dispatcher.seconds_for(group.work_until)
        return QueueGroup(
            batch_id=group.batch_id,
            first=first,
            waiting=group.waiting,
            held=group.held,
            work=group.work,
            seconds=self._dispatcher.seconds_for(group.work),
            seconds_left=None if until is None else until + drawing,
        )

    def _seconds_of_running(self) -> float:
        """Until a worker is free, on average."""
        workers = self._dispatcher.workers()
        longest = (max(map(self._seconds_of, worker["task_ids"]), default=0.0) for worker in workers)
        return sum(longest) / max(1, len(workers))

    def _seconds_of(self, task_id: str) -> float:
        """Until a running task is done, 0 while unknown; pictures that are drawn together are done together."""
        steps = [event for event in self._log.latest(task_id) if isinstance(event, Progress)]
        return (steps[-1].seconds_left or 0.0) if steps else 0.0

    def waiting(self, batch_id: str, *, limit: int, after: str | None, owner: str | None) -> WaitingPage:
        """A page of what waits of one batch.

        Raises:
            NotFound: no such batch.
        """
        self._queue.check_batch(batch_id, owner=owner)
        tasks, cursor = self._queue.waiting_in(batch_id, after=after, limit=limit, owner=owner)
        fit = that_fit(self.rows(tasks), WaitingPage(tasks=[], next=None))
        return WaitingPage(tasks=fit, next=cursor if len(fit) == len(tasks) else self._queue.task_cursor(fit[-1].id))

    def rows(self, tasks: Sequence[Task]) -> list[QueueRow]:
        """The tasks as a list shows them, at the same cost whatever their batches' sizes."""
        sizes = self._queue.sizes({task.batch_id for task in tasks})
        return [
            _row(task, of=sizes.get(task.batch_id, 1), seconds=self._dispatcher.seconds_per_picture(task.recipe))
            for task in tasks
        ]


def _row(task: Task, *, of: int, seconds: float | None) -> QueueRow:
    recipe = task.recipe
    return QueueRow(
        id=task.id,
        batch_id=task.batch_id,
        owner=task.owner,
        index=task.place,
        of=of,
        state=task.state,
        position=task.position,
        words=recipe.prompt[:WORDS],
        styles=list(recipe.styles or ())[:3],
        width=recipe.width or 1,
        height=recipe.height or 1,
        seed=recipe.seed if recipe.seed is not None and recipe.seed <= MAX_SEED else None,
        label=task.label,
        cancelling=task.cancel_requested,
        waits_for=task.waits_for,
        error=Problem(**task.error) if task.error else None,
        revision=task.revision,
        seconds=seconds if task.state == "waiting" else None,
    )
