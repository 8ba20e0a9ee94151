"""All styles at a glance; a click puts one into the dropdown under the prompt or takes it out."""

from __future__ import annotations

from typing import Any

import gradio as gr

LABEL = "Styles"


def applies(menu: dict[str, Any]) -> bool:
    """Only when there are styles."""
    return bool(menu["styles"])


def build(menu: dict[str, Any]) -> dict[str, Any]:
    """No widget: ``static/styles.js`` fills the place and changes the field ``styles``."""
    gr.HTML('<div id="fl-stylelist"></div>', elem_classes="fl-html", apply_default_css=False, js_on_load=None)
    return {}
