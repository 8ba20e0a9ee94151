"""Gradio's theme variables, all pointing at the tokens of ``static/base.css``: one place decides how things look."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "Menlo", "Consolas", "monospace")
TOKENS = {
    "body_background_fill": "bg",
    "body_text_color": "text",
    "body_text_color_subdued": "dim",
    "background_fill_primary": "panel",
    "background_fill_secondary": "bg",
    "block_background_fill": "panel",
    "block_border_color": "line",
    "block_label_text_color": "dim",
    "block_title_text_color": "dim",
    "block_info_text_color": "dim",
    "border_color_primary": "line",
    "border_color_accent": "accent",
    "color_accent": "accent",
    "color_accent_soft": "hover",
    "panel_background_fill": "panel",
    "input_background_fill": "input",
    "input_background_fill_focus": "input",
    "input_border_color": "line",
    "input_border_color_focus": "ring",
    "input_placeholder_color": "dim",
    "slider_color": "accent",
    "checkbox_background_color": "input",
    "checkbox_background_color_selected": "accent",
    "checkbox_border_color": "edge",
    "checkbox_border_color_selected": "accent",
    "checkbox_border_color_focus": "ring",
    "checkbox_label_background_fill": "panel",
    "checkbox_label_text_color": "text",
    "button_primary_background_fill": "accent",
    "button_primary_background_fill_hover": "accent-hover",
    "button_primary_text_color": "on-accent",
    "button_primary_border_color": "accent",
    "button_secondary_background_fill": "input",
    "button_secondary_background_fill_hover": "hover",
    "button_secondary_text_color": "text",
    "button_secondary_border_color": "line",
    "link_text_color": "accent-text",
}


def make_theme() -> Any:
    """A Gradio theme with system fonts and our colours, the same names in dark and light."""
    themes = importlib.import_module("gradio.themes")
    both = {name: f"var(--fl-{token})" for name, token in TOKENS.items()}
    theme = themes.Base(font=FONT, font_mono=MONO, text_size="md", radius_size="md", spacing_size="md")
    known = inspect.signature(theme.set).parameters  # a few variables have no dark twin
    return theme.set(**both, **{f"{name}_dark": value for name, value in both.items() if f"{name}_dark" in known})
