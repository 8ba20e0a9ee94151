"""Widgets that several tabs have, so that one kind of field looks and behaves alike everywhere."""

from __future__ import annotations

from typing import Any

import gradio as gr


def slider(menu: dict[str, Any], name: str, *, step: float, label: str, info: str | None = None) -> gr.Slider:
    """A slider for the Recipe field ``name``, with the menu's range and default."""
    limits = menu["limits"][name]
    return gr.Slider(
        limits["min"],
        limits["max"],
        menu["defaults"].get(name),
        buttons=[],
        step=step,
        label=label,
        info=info,
        elem_id=f"fl-{name}",
        elem_classes="fl-field",
    )
