"""Which weights draw the picture, and which its last steps."""

from __future__ import annotations

from typing import Any

import gradio as gr

from fooocus_lite.web.tabs.fields import slider

LABEL = "Models"


def applies(menu: dict[str, Any]) -> bool:
    """Only when there is a choice."""
    return len(_available(menu)) > 1


def build(menu: dict[str, Any]) -> dict[str, Any]:
    """Widgets by field name."""
    defaults = menu["defaults"]
    choices = [(row["label"], row["name"]) for row in _available(menu)]
    model = gr.Radio(choices, value=defaults.get("model"), label="Model", elem_id="fl-model", elem_classes="fl-field")
    refiner = gr.Dropdown(
        [("None", "none"), *choices],
        value=defaults.get("refiner"),
        label="Refiner",
        info="A second model that draws the last steps.",
        elem_id="fl-refiner",
        elem_classes="fl-field",
    )
    switch = slider(
        menu,
        "refiner_switch",
        step=0.05,
        label="Refiner from",
        info="Share of the steps before the refiner takes over; 1 is never.",
    )
    return {"model": model, "refiner": refiner, "refiner_switch": switch}


def _available(menu: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in menu["models"] if row["available"]]
