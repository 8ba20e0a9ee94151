"""Where there are users: what changes the program or is everybody's is an admin's, at every route there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.client import ask_json
from tests.app.closed import basic, listening
from tests.app.test_login import ANA, peopled_folder
from tests.faults.server import Server

#: Routes that change something everybody uses.
ADMINS = (
    r"POST /v1/pictures/x/open-folder",
    r"(POST|PUT|DELETE) /v1/(styles|presets)(/x)?",
    r"PUT /v1/(favourites|default-preset|a1111-text)",
    r"POST /v1/downloads(/x/(pause|resume|cancel))?",
    r"POST /v1/queue/(pause|resume)",
)
#: Routes that change only what the user's own is, or nothing; test_users.py holds them to that.
EVERYBODYS = (
    r"POST /v1/(plan|expand|read|skip|stop|clear|tasks|sheets)",
    r"(POST|PATCH|DELETE) /v1/(tasks|pictures|sheets)/x(/retry|/duplicate)?",
    r"(POST|DELETE) /v1/(queue/(move|edit|import|cancel|duplicate)|repeats(/x)?)",
    r"POST /v1/images/\w+",
    r"POST /sdapi/v1/[\w-]+",
)


@pytest.fixture(scope="module")
def peopled(web_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with listening(peopled_folder(tmp_path_factory.mktemp("rights")), web_models, listen=False) as server:
        yield server


def changes(server: Server) -> list[tuple[str, str]]:
    paths = ask_json(server.address, "GET", "/openapi.json", **basic("root", "root and its password"))[1]["paths"]
    named = [(method.upper(), re.sub(r"\{[^}]*\}", "x", path)) for path, ways in paths.items() for method in ways]
    return [(method, path) for method, path in named if method != "GET"]


def test_every_change_is_somebody_s(peopled: Server) -> None:
    """A new route belongs into one of the two tables above."""
    for method, path in changes(peopled):
        is_admins = any(re.fullmatch(pattern, f"{method} {path}") for pattern in ADMINS)
        is_everybodys = any(re.fullmatch(pattern, f"{method} {path}") for pattern in EVERYBODYS)
        assert is_admins != is_everybodys, (method, path)


def test_only_admins_change_what_is_everybody_s(peopled: Server) -> None:
    before = {path for path in peopled.data.rglob("*") if path.suffix == ".json"}
    for method, path in changes(peopled):
        status, said = ask_json(peopled.address, method, path, {}, **basic("ana", ANA))
        is_refused = status == 403 and "Only an admin may" in str(said)
        assert is_refused == any(re.fullmatch(pattern, f"{method} {path}") for pattern in ADMINS), (method, path, said)
    root = basic("root", "root and its password")
    status, _ = ask_json(peopled.address, "POST", "/v1/pictures/x/open-folder", {}, **root)
    assert status == 404, "an admin hears what is wrong with it"
    assert {path for path in peopled.data.rglob("*") if path.suffix == ".json"} == before
