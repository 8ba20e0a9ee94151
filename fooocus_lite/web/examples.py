"""An example for every call in our OpenAPI: of what is sent, of what comes back, of each parameter.

Made from the shapes themselves, so that a new route has one by being there; what a shape's fields call an example of
themselves comes first. A test holds every example against its schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

Schema = Mapping[str, Any]
JSON, STREAM = "application/json", "text/event-stream"
#: Shapes of which the fields alone say too little.
SHAPES: dict[str, Any] = {
    "Recipe": {"prompt": "a red star on a blue background", "styles": ["Watercolor"], "steps": 20, "seed": 7},
    "Txt2Img": {"prompt": "a red star on a blue background", "steps": 20, "width": 128, "height": 128},
    "openai_schemas__ImagesOut": {
        "created": 1795300000, "data": [{"b64_json": "iVBORw0KGgo…", "url": "http://127.0.0.1:7865/v1/tasks/…/image"}],
        "background": "opaque", "output_format": "png", "quality": "auto", "size": "128x128",
    },
}  # fmt: skip
#: Fields and parameters by name: what one looks like.
NAMES: dict[str, Any] = {
    "id": "0d1f0a9e5b01", "task_id": "0d1f0a9e5b01", "batch_id": "0d1f0a9e5b01", "sheet_id": "0d1f0a9e5b01",
    "ids": "0d1f0a9e5b01", "task_ids": "0d1f0a9e5b01", "repeat_id": "0d1f0a9e5b01", "owner": "Ana",
    "before": "0d1f0a9e5b01", "after": "0d1f0a9e5b01", "next": "0d1f0a9e5b01", "v": "3f2a",
    "created_at": 1795300000.0, "finished_at": 1795300006.1, "created": 1795300000, "since": "2026-11-21",
    "state": "finished", "width": 128, "height": 128, "steps": 20, "step": 5, "seed": 7, "attempt": 1,
    "name": "Watercolor", "label": "Watercolor", "prompt": "a red star on a blue background", "words": "a red star",
    "negative_prompt": "blue", "styles": "Watercolor", "favourites": "Watercolor", "title": "Pop art",
    "texts": "a red star, watercolor", "negative_texts": "blue", "category": "Art", "style_categories": "Art",
    "description": "For quick sketches.", "good_for": "Soft edges.",
    "note": "Written into every picture.", "notes": "The style Neon is not here.",
    "preset": "starter", "default_preset": "starter", "model": "starter", "family": "sdxl", "fits": "sdxl",
    "as_refiner": "It can refine pictures of SDXL.", "keeps": "prompt", "older": "sd_xl_base_0.9.safetensors",
    "lora": "starter-pop-art", "wildcards": "color", "scheduler": "karras", "cost": "1.0", "why": "It needs a LoRA.",
    "kind": "model", "file": "starter.safetensors", "folder": "checkpoints", "url": "https://example.org/model",
    "path": "outputs/2026-11-21/picture.png", "licence": "Apache-2.0", "licence_url": "https://example.org/licence",
    "code": "bad_value", "problem": "steps cannot be 0.", "problems": "steps cannot be 0.", "reason": "It was stopped.",
    "hint": "Allowed is a whole number from 1 to 200.", "warnings": "The style Neon is not here.",
    "image_formats": "png", "output_format": "png", "quality": "auto", "image": "iVBORw0KGgo=",
    "images": "iVBORw0KGgo=", "current_image": "/9j/4AAQSkZJRg==", "current_task": "0d1f0a9e5b01",
    "info": "a red star\nSteps: 20, Seed: 7, Size: 128x128", "scheme": "a1111", "version": "0.1.0", "page": "ready",
    "text": "a red star\na green heart", "idempotency-key": "7c9e6679-7425-40de",
    "last-event-id": "1795300000000017", "webhook-url": "https://example.org/hooks/done", "if-none-match": '"3f2a"',
}  # fmt: skip
#: Whole answers of which no shape is known.
WHOLE: dict[str, Any] = {
    "GET /v1/queue/export": {"fooocus_lite_queue": 1, "tasks": [{"recipe": SHAPES["Recipe"]}]},
}
EVENTS = 'id: 1795300000000017\nevent: finished\ndata: {"kind":"finished","task_id":"0d1f0a9e5b01"}\n\n'
#: What a text looks like of which nobody has said it; a test finds it.
OPEN = "…"
MAX_DEPTH = 12


def add_examples(openapi: dict[str, Any]) -> dict[str, Any]:
    """The same OpenAPI, with an example wherever there was none; again changes nothing."""
    shapes = cast("Schema", openapi.get("components", {}).get("schemas", {}))
    for name, route in _routes(openapi):
        for parameter in route.get("parameters", ()):
            _fill(parameter, shapes, parameter["name"])
        contents = [route.get("requestBody", {}).get("content", {})]
        contents += [answer.get("content", {}) for status, answer in route["responses"].items() if status[0] == "2"]
        for content in contents:
            if JSON in content:
                _fill(content[JSON], shapes, "text")
            if JSON in content and name in WHOLE:
                content[JSON].setdefault("example", WHOLE[name])
            if STREAM in content:
                content[STREAM].setdefault("example", EVENTS)
    return openapi


def _routes(openapi: Schema) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            yield f"{method.upper()} {path}", route


def _fill(place: dict[str, Any], shapes: Schema, name: str) -> None:
    if "example" not in place and "examples" not in place and "schema" in place:
        place["example"] = example_of(place["schema"], shapes, name)


def example_of(schema: Schema, shapes: Schema, name: str = "", depth: int = 0) -> Any:
    """A value that ``schema`` allows.

    Args:
        shapes: What ``$ref`` refers to.
        name: Of the field or parameter whose value it is.
    """
    if schema.get("examples"):
        return schema["examples"][0]
    if "$ref" in schema:
        shape = str(schema["$ref"]).rpartition("/")[2]
        known = SHAPES.get(shape.removeprefix("fooocus_lite__web__"))
        return known or example_of(shapes[shape], shapes, name, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            choices = [choice for choice in schema[key] if choice.get("type") != "null"]
            return example_of(choices[0], shapes, name, depth + 1) if choices else None
    if "const" in schema or "enum" in schema:
        allowed = schema.get("enum", [schema.get("const")])
        return NAMES[name] if NAMES.get(name) in allowed else allowed[0]
    return _of_type(schema, shapes, name, depth)


def _of_type(schema: Schema, shapes: Schema, name: str, depth: int) -> Any:
    kind, known = schema.get("type"), NAMES.get(name)
    if kind == "object" or "properties" in schema:
        needed = schema.get("required", ())
        fields = schema.get("properties", {}).items() if depth < MAX_DEPTH else ()
        shown = {key: value for key, value in fields if key in needed or _has_own(value)}
        return {key: example_of(value, shapes, key, depth + 1) for key, value in shown.items()}
    if kind == "array":
        items = schema.get("items", {})
        is_open = depth >= MAX_DEPTH or not items
        return [] if is_open else [example_of(items, shapes, name, depth + 1)] * max(1, schema.get("minItems", 1))
    if kind == "string":
        return known if isinstance(known, str) else schema.get("default") or OPEN
    if kind in ("integer", "number"):
        number = known if isinstance(known, (int, float)) else schema.get("default", 1)
        number = max(number, schema.get("minimum", number))
        return int(number) if kind == "integer" else float(number)
    return schema.get("default", False) if kind == "boolean" else None


def _has_own(schema: Schema) -> bool:
    """Whether a field that may be left out says of itself what it looks like."""
    return bool(schema.get("examples"))
