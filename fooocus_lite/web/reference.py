"""The page at ``/docs``: every call of the interface, written out from our own OpenAPI.

Plain HTML without scripts or anything from elsewhere, so that it works without a network and under
the server's content policy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Schema = Mapping[str, Any]
#: Keyword of JSON Schema → how it reads behind a type.
LIMITS = {
    "minimum": "at least {}", "maximum": "at most {}", "minLength": "at least {} characters",
    "maxLength": "at most {} characters", "minItems": "at least {} entries", "maxItems": "at most {} entries",
}  # fmt: skip
STYLE = """
:root { color-scheme: light dark; --line: #d5d5dc; --soft: #f3f3f6; --quiet: #5c5c68; --link: #3b4fc4; }
@media (prefers-color-scheme: dark) { :root { --line: #3a3a44; --soft: #24242b; --quiet: #a5a5b2; --link: #a3b1ff; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.5rem; } h3 { margin: 0; font-size: 1rem; }
a { color: var(--link); } code, pre { font: 0.9em ui-monospace, monospace; } code { overflow-wrap: anywhere; }
section { border: 1px solid var(--line); border-radius: 8px; padding: 0.9rem 1rem; margin: 0.9rem 0; overflow-x: auto; }
pre { background: var(--soft); padding: 0.6rem 0.8rem; border-radius: 6px; overflow-x: auto; margin: 0.4rem 0; }
table { border-collapse: collapse; width: 100%; margin: 0.4rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.9rem 0.25rem 0; border-top: 1px solid var(--line); }
th { font-weight: 600; color: var(--quiet); } p { margin: 0.4rem 0; } h4 { margin: 0.9rem 0 0; font-size: 0.9rem; }
"""


def make_reference(openapi: Schema) -> str:
    """The whole page. Everything from ``openapi`` is escaped."""
    about = openapi["info"]
    groups: dict[str, list[str]] = {}
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            tag = (route.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_route(method.upper(), path, route))
    shapes = openapi.get("components", {}).get("schemas", {})
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="/ui/favicon.svg" type="image/svg+xml">',
            f"<title>{escape(about['title'])}: for programs</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(about['title'])} {escape(about['version'])}: for programs</h1>",
            *(f"<p>{_words(part)}</p>" for part in about.get("description", "").split("\n\n")),
            '<p>The same for tools: <a href="/openapi.json">/openapi.json</a>. <a href="/">To the page</a>.</p>',
            *(f'<h2 id="{escape(tag)}">{escape(tag.capitalize())}</h2>{"".join(rows)}' for tag, rows in groups.items()),
            "<h2>Shapes</h2>",
            *(_shape(name, shape) for name, shape in shapes.items()),
            "</body></html>",
        ]
    )


def _route(method: str, path: str, route: Schema) -> str:
    name = f"{method} {path}"
    parts = [f'<section aria-label="{escape(name)}"><h3><code>{escape(name)}</code></h3>']
    parts.append(f"<p><b>{escape(route.get('summary', ''))}.</b> {_words(route.get('description', ''))}</p>")
    if parameters := route.get("parameters"):
        rows = [
            (f"{one['name']} ({one['in']})", one.get("schema", {}), one.get("required", False), _about(one))
            for one in parameters
        ]
        parts.append(f"<h4>Parameters</h4>{_table(rows)}")
    for kind, body in route.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h4>Body</h4><p>{_type(body.get('schema', {}))} as <code>{escape(kind)}</code></p>")
        for title, example in body.get("examples", {}).items():
            text = json.dumps(example.get("value"), ensure_ascii=False)
            parts.append(f"<p>{escape(title)}:</p><pre>{escape(text)}</pre>")
        if "example" in body:
            parts.append(_example("An example", body["example"]))
    answers = [_answer(status, answer) for status, answer in route.get("responses", {}).items()]
    head = "<tr><th>status</th><th>meaning</th><th>body</th></tr>"
    shown = [
        _example(f"An example of {status}", content["example"])
        for status, answer in route.get("responses", {}).items()
        for content in answer.get("content", {}).values()
        if "example" in content
    ]
    return "".join([*parts, f"<h4>Answers</h4><table>{head}", *answers, "</table>", *shown, "</section>"])


def _about(parameter: Schema) -> str:
    """What a parameter means, and what one looks like."""
    shown = f"Such as `{parameter['example']}`." if parameter.get("example") is not None else ""
    return f"{parameter.get('description', '')} {shown}".strip()


def _example(title: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def _answer(status: str, answer: Schema) -> str:
    bodies = [
        _type(content["schema"]) if content.get("schema") else f"<code>{escape(kind)}</code>"
        for kind, content in answer.get("content", {}).items()
    ]
    body = " or ".join(bodies)
    return f"<tr><td>{escape(status)}</td><td>{_words(answer.get('description', ''))}</td><td>{body}</td></tr>"


def _shape(name: str, shape: Schema) -> str:
    title = f'<section id="{escape(name)}"><h3>{escape(name)}</h3><p>{_words(shape.get("description", ""))}</p>'
    if "properties" not in shape:
        return f"{title}<p>{_type(shape)}</p></section>"
    needed = shape.get("required", ())
    rows = [(field, value, field in needed, value.get("description")) for field, value in shape["properties"].items()]
    return f"{title}{_table(rows)}</section>"


def _table(rows: Iterable[tuple[str, Schema, bool, str | None]]) -> str:
    head = "<tr><th>name</th><th>what it is</th><th>meaning</th></tr>"
    lines = [
        f"<tr><td><code>{escape(name)}</code></td><td>{_type(schema)}{_rest(schema, is_needed=is_needed)}</td>"
        f"<td>{_words(text or '')}</td></tr>"
        for name, schema, is_needed, text in rows
    ]
    return f"<table>{head}{''.join(lines)}</table>"


def _rest(schema: Schema, *, is_needed: bool) -> str:
    if is_needed:
        return ", required"
    default = schema.get("default")
    return "" if default is None else f"; default <code>{escape(json.dumps(default))}</code>"


def _type(schema: Schema) -> str:
    """A type in words, with its limits; a named shape as a link to where it is written out."""
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rsplit("/", 1)[-1])
        return f'<a href="#{name}">{name}</a>'
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(_type(choice) for choice in schema[key])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
    said = escape(str(schema.get("type", "anything")))
    if schema.get("type") == "array":
        said = f"list of {_type(schema.get('items', {}))}"
    elif isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
        said = f"object of {_type(schema['additionalProperties'])}"
    limits = [words.format(_number(schema[key])) for key, words in LIMITS.items() if key in schema]
    return ", ".join([said, *limits])


def _number(value: float) -> str:
    """OpenAPI holds limits as floats, which are exact up to 2^53."""
    return f"{value:.3g}" if abs(value) >= 2**53 else f"{value:,.10g}"


def _words(text: str) -> str:
    """A sentence with `code` in it."""
    return re.sub(r"`+([^`]+)`+", r"<code>\1</code>", escape(text))
