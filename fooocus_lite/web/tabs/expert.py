"""What few people change: the walk from noise to picture, how words are read and chosen, the file's format.

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
    sag = slider(
        menu, "sag_scale", step=0.05, label="Self-attention guidance", info="Firmer shapes, half as fast; 0 is off."
    )
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
    return fields | _build_words(defaults, limits)


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
    gr.HTML('<div id="fl-done"></div>', elem_classes="fl-html", apply_default_css=False, js_on_load=None)
    return {"wildcard_order": wildcard_order, "index": index}
