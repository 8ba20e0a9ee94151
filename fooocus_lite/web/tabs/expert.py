"""What few people change: the walk from noise to picture, what leads it, how words are read, the file's format.

How one is called and what else a file says are no part of a recipe: ``static/done.js`` and ``static/filetext.js``
fill their places.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from fooocus_lite.web.tabs.fields import slider

LABEL = "Expert"


def applies(menu: dict[str, Any]) -> bool:
    """Always."""
    return True


def build(menu: dict[str, Any]) -> dict[str, Any]:
    """Widgets by field name."""
    defaults, limits = menu["defaults"], menu["limits"]
    sampler = gr.Dropdown(
        [(row["label"], row["id"]) for row in menu["samplers"]],
        value=defaults.get("sampler"),
        label="Sampler",
        elem_id="fl-sampler",
        elem_classes="fl-field",
    )
    scheduler = gr.Dropdown(
        [(row["label"], row["id"]) for row in menu["schedulers"]],
        value=defaults.get("scheduler"),
        label="Scheduler",
        info=usual_schedule(menu),
        elem_id="fl-scheduler",
        elem_classes="fl-field",
    )
    knobs = {field["name"]: field for row in menu["guidances"] for field in row["fields"]}
    sag = _knob(menu, knobs.pop("sag_scale"))
    clip_skip = slider(
        menu,
        "clip_skip",
        step=1,
        label="CLIP skip",
        info="The layer of the text encoders that is read; 1 is the last.",
    )
    image_format = gr.Dropdown(
        [(name.upper(), name) for name in menu["image_formats"]],
        value=defaults.get("image_format"),
        label="File format",
        elem_id="fl-image_format",
        elem_classes="fl-field",
    )
    gr.HTML('<div id="fl-filetext"></div>', elem_classes="fl-html", apply_default_css=False, js_on_load=None)
    fields = {
        "sampler": sampler,
        "scheduler": scheduler,
        "sag_scale": sag,
        "clip_skip": clip_skip,
        "image_format": image_format,
    }
    return fields | _build_guidance(menu, knobs) | _build_words(defaults, limits)


def _build_guidance(menu: dict[str, Any], knobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What leads a picture besides; ``static/guidancefold.js`` folds it, and says above it what is on."""
    gr.HTML('<div id="fl-guidancebar"></div>', elem_classes="fl-html", apply_default_css=False, js_on_load=None)
    with gr.Column(elem_id="fl-guidance"):
        return {name: _knob(menu, knob) for name, knob in knobs.items()}


def _knob(menu: dict[str, Any], knob: dict[str, Any]) -> gr.Slider:
    return slider(menu, knob["name"], step=knob["step"], label=knob["label"], info=knob["info"])


def usual_schedule(menu: dict[str, Any]) -> str:
    """What "auto" is with the sampler that the form begins with; ``static/samplers.js`` says it of any other."""
    labels = {row["id"]: row["label"] for row in menu["schedulers"]}
    usual = {row["id"]: row["scheduler"] for row in menu["samplers"]}
    sampler = menu["defaults"].get("sampler")
    return f"Auto is {labels[usual[sampler]]}." if sampler in usual else ""


def _build_words(defaults: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
    """How what a prompt leaves open is chosen; below it the place for how one is called when a picture is done."""
    wildcard_order = gr.Dropdown(
        [("By the seed", "random"), ("In order", "ordered")],
        value=defaults.get("wildcard_order"),
        label="Words of __wildcards__",
        elem_id="fl-wildcard_order",
        elem_classes="fl-field",
    )
    index = gr.Number(
        defaults.get("index"),
        label="First combination",
        info="Which of [[a, b]] the first picture shows, from 0.",
        precision=0,
        minimum=limits["index"]["min"],
        maximum=limits["index"]["max"],
        elem_id="fl-index",
        elem_classes="fl-field",
    )
    return {"wildcard_order": wildcard_order, "index": index}
