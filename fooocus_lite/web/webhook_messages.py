"""What a webhook says of a task that has ended: the task, as every route shows it, and its last event."""

from __future__ import annotations

from typing import Any

from fooocus_lite.events import TERMINAL
from fooocus_lite.store import Store
from fooocus_lite.web.schemas import task_out
from fooocus_lite.webhooks import Describe


def describer(store: Store) -> Describe:
    """Tells (state, data) of a task."""

    def describe(task_id: str) -> tuple[str, dict[str, Any]] | None:
        task = store.queue.find(task_id)
        if task is None:
            return None
        ends = [event.to_dict() for event in store.log.facts(task_id) if event.kind in TERMINAL]
        image = f"/v1/tasks/{task_id}/image" if task.image_path else None
        return task.state, {"task": task_out(task).model_dump(mode="json"), "event": ends[-1], "image": image}

    return describe
