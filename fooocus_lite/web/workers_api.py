"""Who draws here, by what, and what of its memory is free: ``GET /v1/workers``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.web.who import Who


class WorkerOut(BaseModel):
    """A worker: one device. What it has not said yet is null."""

    name: str
    state: str = Field(description="`starting`, `idle`, `drawing`, or `away`: its machine has left the cluster.")
    task_ids: list[str] = Field(
        description="What it draws, of what you may see: one task, or those of a batch in the line's order."
    )
    machine: str | None = Field(default=None, description="Which one of a cluster; null on the server's own.")
    address: str | None = Field(default=None, description="Of that machine.")
    device: str | None = Field(default=None, examples=["cuda:0"])
    device_name: str | None = None
    dtype: str | None = None
    memory: str | None = Field(default=None, description="The setting: `auto` or a rung.")
    total_memory_bytes: int | None = None
    free_memory_bytes: int | None = Field(default=None, description="What a picture could have, were nothing loaded.")
    models: list[str] = Field(default_factory=list[str], description="Loaded, the one used last first.")
    problem: str | None = Field(default=None, description="Why it cannot draw.")


class WorkerList(BaseModel):
    """All workers."""

    workers: list[WorkerOut]


def add_worker_route(router: APIRouter, dispatcher: Dispatcher) -> None:
    """``GET /workers``."""

    @router.get("/workers", tags=["choices"], summary="Who draws, and by what")
    def workers(who: Who) -> WorkerList:
        """One per device of the setting `device`, or per GPU of the cluster."""
        told: list[dict[str, Any]] = dispatcher.workers(owner=who.sees)
        return WorkerList(workers=[WorkerOut.model_validate(worker) for worker in told])
