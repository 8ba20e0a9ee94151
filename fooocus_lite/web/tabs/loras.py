"""LoRAs with their weights, words and pictures."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

LABEL = "LoRA"


def applies(menu: dict[str, Any]) -> bool:
    """Always: without any, it says where to put them."""
    return True


def build(menu: dict[str, Any]) -> dict[str, Any]:
    """A field that nobody sees holds the list, as JSON; ``static/loras.js`` fills the place and changes the field."""
    gr.HTML('<div id="fl-loras"></div>', elem_classes="fl-html", apply_default_css=False, js_on_load=None)
    chosen = json.dumps(menu["defaults"].get("loras") or [])
    return {"loras": gr.Textbox(chosen, label="LoRAs", visible="hidden", elem_id="fl-loralist")}
