"""Every call of the interface has examples, and each is what its schema allows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fooocus_lite.web.examples import OPEN, add_examples
from tests.house.code import ROOT

#: Its own process: the application is made for real, over a queue in a temporary folder, and never served.
OPENAPI = """
import json, sys
from pathlib import Path
from fooocus_lite.live_library import LiveLibrary
from fooocus_lite.settings import load_settings
from fooocus_lite.store import open_store
from fooocus_lite.supply import Supply
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.users import Users
from fooocus_lite.web.app import create_app

settings = load_settings({"data_dir": sys.argv[1], "output_dir": sys.argv[1]}, env={})
store, library = open_store(settings.data_dir), LiveLibrary(settings)
supply = Supply(store, settings, library)
dispatcher = Dispatcher(store, [], library=library, output_dir=settings.output_dir, supply=supply)
print(json.dumps(create_app(settings, library, store, dispatcher, supply, Users(settings)).openapi()))
store.close()
"""


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = [sys.executable, "-c", OPENAPI, str(tmp_path_factory.mktemp("openapi"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def routes(openapi: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            yield f"{method.upper()} {path}", route


def contents(route: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, content) of what is sent and of what comes back when all is well, as far as it is JSON or events."""
    bodies = {"body": route.get("requestBody", {})}
    bodies |= {status: answer for status, answer in route["responses"].items() if status.startswith("2")}
    for where, body in bodies.items():
        for kind, content in body.get("content", {}).items():
            if kind in ("application/json", "text/event-stream"):
                yield where, content


def examples(place: dict[str, Any]) -> list[Any]:
    found = [one["value"] for one in place.get("examples", {}).values()]
    return [*found, place["example"]] if "example" in place else found


def test_every_call_has_an_example_of_all_that_it_takes_and_gives(openapi: dict[str, Any]) -> None:
    lacking = [
        f"{name}: {where}" for name, route in routes(openapi) for where, place in contents(route) if not examples(place)
    ]
    lacking += [
        f"{name}: {one['name']}"
        for name, route in routes(openapi)
        for one in route.get("parameters", ())
        if "example" not in one
    ]
    assert lacking == [] and len(list(routes(openapi))) > 60


def test_every_example_is_what_its_schema_allows(openapi: dict[str, Any]) -> None:
    wrong: list[str] = []
    for name, route in routes(openapi):
        places = [*contents(route), *((one["name"], one) for one in route.get("parameters", ()))]
        for where, place in places:
            schema = place.get("schema", {}) | {"components": openapi["components"]}
            for value in examples(place):
                problems = list(Draft202012Validator(schema).iter_errors(value))
                wrong += [f"{name}, {where}: {problem.message} in {value}" for problem in problems]
    assert wrong == []


def test_no_text_in_them_is_left_open(openapi: dict[str, Any]) -> None:
    """Give the field an example of its own, ``Field(examples=[…])``, or its name one in `NAMES`."""
    found: set[str] = set()

    def look(value: Any, where: str) -> None:
        if value == OPEN:
            found.add(where)
        for key, inner in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            look(inner, f"{where}.{key}")

    for name, route in routes(openapi):
        for where, place in contents(route):
            look(place.get("example"), f"{name}, {where}")
        for one in route.get("parameters", ()):
            look(one["example"], f"{name}, {one['name']}")
    assert sorted(found) == []


def test_a_wrong_example_is_seen(openapi: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/Recipe", "components": openapi["components"]}
    assert list(Draft202012Validator(schema).iter_errors({"steps": 0}))


def test_adding_them_again_changes_nothing(openapi: dict[str, Any]) -> None:
    before = json.dumps(openapi)
    assert json.dumps(add_examples(openapi)) == before
