"""A server with three users: Ana and Ben, who are none, and Root, who is an admin. Programs of theirs have keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fooocus_lite.passwords import NOBODYS, hash_key
from fooocus_lite.users_file import KeyRow, LimitsRow, UserRow, UsersFile, change_users
from tests.app.light import LightServer

KEYS = {name: f"fl-key-of-{name}" for name in ("ana", "ben", "root")}


def people(folder: Path, **limits: LimitsRow) -> UsersFile:
    """Write the list of users into a data folder; ``limits`` by name."""
    rows = tuple(
        UserRow(
            name=name,
            password=NOBODYS,
            is_admin=name == "root",
            created_at=0.0,
            limits=limits.get(name),
            keys=(KeyRow(name="program", sha256=hash_key(key), created_at=0.0),),
        )
        for name, key in KEYS.items()
    )
    return change_users(folder / "users.json", lambda old: old.model_copy(update={"users": rows}))


class Client:
    """What one of them asks."""

    def __init__(self, server: LightServer, name: str) -> None:
        self._server = server
        self.headers = {"Authorization": f"Bearer {KEYS[name]}"}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and answer."""
        return self._server.ask(method, path, body, **self.headers, **headers)

    def submit(self, prompt: str = "a star", **fields: object) -> list[str]:
        """Ids of pictures that were asked for."""
        status, answer = self.ask("POST", "/v1/tasks", {"prompt": prompt, "seed": 1, "steps": 4} | fields)
        assert status == 201, answer
        return answer["ids"]
