"""What is changed now and then: what must not be seen, size, steps, guidance, how the page tells that it is done."""

from __future__ import annotations

from typing import Any

import gradio as gr

from fooocus_lite.web.tabs.fields import slider

LABEL = "Settings"


def applies(menu: dict[str, Any]) -> bool:
    """Always."""
    return True


def build(menu: dict[str, Any]) -> dict[str, Any]:
    """Widgets by field name."""
    defaults = menu["defaults"]
    negative = gr.Textbox(
        defaults.get("negative_prompt", ""),
        label="Negative prompt",
        placeholder="What it must not show",
        lines=2,
        max_lines=6,
        elem_id="fl-negative_prompt",
        elem_classes="fl-field",
    )
    with gr.Row(elem_classes="fl-pair"):
        width, height = (
            gr.Number(
                defaults.get(side),
                label=f"{side.capitalize()} (pixels)",
                precision=0,
                step=_multiple(menu),
                elem_id=f"fl-{side}",
                elem_classes="fl-field",
            )
            for side in ("width", "height")
        )
    steps = slider(menu, "steps", step=1, label="Steps")
    guidance = slider(
        menu,
        "guidance_scale",
        step=0.1,
        label="Guidance",
        info="How closely the picture keeps to the words; 1 is off.",
    )
    gr.HTML('<div id="fl-done"></div>', elem_classes="fl-html", apply_default_css=False, js_on_load=None)
    return {
        "negative_prompt": negative,
        "width": width,
        "height": height,
        "steps": steps,
        "guidance_scale": guidance,
    }


def _multiple(menu: dict[str, Any]) -> int:
    """Pixels by which the arrows change a side."""
    for model in menu["models"]:
        if model["name"] == menu["defaults"].get("model"):
            return model["size_multiple"]
    return 8
