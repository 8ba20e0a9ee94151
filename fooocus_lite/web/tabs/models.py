"""Which weights draw the picture, and which its last steps; and the models that can be downloaded."""

from __future__ import annotations

from typing import Any

import gradio as gr

from fooocus_lite.web.tabs.fields import slider

LABEL = "Models"


def applies(menu: dict[str, Any]) -> bool:
    """Always: with one model, it says which others there are."""
    return True


def build(menu: dict[str, Any]) -> dict[str, Any]:
    """Widgets by field name. ``static/models.js`` fills the place, and a field that nobody sees holds the choice."""
    defaults = menu["defaults"]
    gr.HTML('<div id="fl-models"></div>', elem_classes="fl-html", apply_default_css=False, js_on_load=None)
    model = gr.Textbox(defaults.get("model"), label="Model", visible="hidden", elem_id="fl-model")
    refiner = gr.Dropdown(
        [("None", "none"), *((row["as_refiner"], row["name"]) for row in menu["models"] if row["as_refiner"])],
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
