"""The page at ``/docs`` says what the interface can do, without scripts and without a network."""

from __future__ import annotations

import re
from html import escape

from fooocus_lite.web.reference import make_reference
from tests.app.client import ask
from tests.faults.server import Server


def test_every_call_is_written_out(web_server: Server) -> None:
    status, headers, body = ask(web_server.address, "GET", "/docs")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    page, schema = body.decode(), web_server.get("/openapi.json")[1]
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            section = page.partition(f'<section aria-label="{method.upper()} {path}">')[2].partition("</section>")[0]
            assert escape(route["summary"]) in section
            assert all(f"<td>{status}</td>" in section for status in route["responses"])
            assert all(f"<code>{one['name']} ({one['in']})</code>" in section for one in route.get("parameters", ()))
    assert all(f'<section id="{name}">' in page for name in schema["components"]["schemas"])
    recipe = page.partition('<section id="Recipe">')[2].partition("</section>")[0]
    assert all(f"<code>{name}</code>" in recipe for name in schema["components"]["schemas"]["Recipe"]["properties"])
    assert "at least 1, at most 200" in recipe


def test_it_needs_nothing_from_elsewhere(web_server: Server) -> None:
    page = ask(web_server.address, "GET", "/docs")[2].decode()
    assert "<script" not in page and "http" not in re.sub(r"(?s)<code>.*?</code>|<pre>.*?</pre>", "", page)
    assert 'href="/openapi.json"' in page and "prefers-color-scheme: dark" in page
    ids = set(re.findall(r'id="([^"]+)"', page))
    assert ids >= set(re.findall(r'href="#([^"]+)"', page))
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(web_server.address, "GET", "/docs", headers=visit)[0] == 200  # a link in somebody's notes


def test_nothing_in_it_becomes_a_tag() -> None:
    evil = "<img src=x onerror=alert(1)>\"'"
    schema = {"type": "string", "enum": [evil], "default": evil, "description": evil}
    route = {
        "summary": evil, "description": evil, "tags": [evil],
        "parameters": [{"name": evil, "in": evil, "schema": schema, "description": evil}],
        "requestBody": {"content": {evil: {"schema": {"$ref": evil}, "examples": {evil: {"value": evil}}}}},
        "responses": {evil: {"description": evil, "content": {evil: {}}}},
    }  # fmt: skip
    page = make_reference(
        {
            "info": {"title": evil, "version": evil, "description": evil},
            "paths": {evil: {evil: route}},
            "components": {"schemas": {evil: {"description": evil, "properties": {evil: schema}}, "x": {"type": evil}}},
        }
    )
    assert "<img" not in page
    assert not re.search(r'(?:id|href|aria-label)="[^"]*"\'', page)
