"""Which weights draw the picture."""

from __future__ import annotations

from typing import Any

import gradio as gr

LABEL = "Models"


def applies(menu: dict[str, Any]) -> bool:
    """Only when there is a choice."""
    return len(_available(menu)) > 1


def build(menu: dict[str, Any]) -> dict[str, Any]:
    """Widgets by field name."""
    choices = [(row["label"], row["name"]) for row in _available(menu)]
    model = gr.Radio(
        choices, value=menu["defaults"].get("model"), label="Model", elem_id="fl-model", elem_classes="fl-field"
    )
    return {"model": model}


def _available(menu: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in menu["models"] if row["available"]]
