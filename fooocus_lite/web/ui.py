"""The page's frame and forms, in Gradio. The live parts are scripts in ``static/`` that fill the `gr.HTML` places.

Nothing here runs on the server after the page was built: a click hands the fields' values to a
script, which sends them to ``/v1/tasks`` itself. That takes 1 ms where a Gradio event takes 100.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

import gradio as gr
from fastapi import FastAPI

from fooocus_lite.library import Library
from fooocus_lite.settings import Settings
from fooocus_lite.web.theme import make_theme

#: Tabs of the Advanced column, in order: files in ``web/tabs/`` with ``LABEL``, ``applies`` and ``build``.
TABS = ("settings", "styles", "models", "loras", "expert")
FIRST_PROMPT = "a red star on a blue background"
Fields = dict[str, Any]

HEAD = """
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/ui/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/ui/base.css">
<link rel="stylesheet" href="/ui/parts.css">
<link rel="stylesheet" href="/ui/styles.css">
<link rel="stylesheet" href="/ui/contact.css">
<link rel="stylesheet" href="/ui/loras.css">
<link rel="stylesheet" href="/ui/models.css">
<link rel="stylesheet" href="/ui/queue.css">
<link rel="stylesheet" href="/ui/layout.css">
<link rel="stylesheet" href="/ui/panels.css">
<script>
  {
    // Before the first paint, so before any module; as static/memory.js, it takes a browser that keeps nothing.
    const recall = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = recall("fl.theme") || (dark ? "dark" : "light");
    document.documentElement.dataset.advanced = recall("fl.advanced") || "closed";
  }
</script>
<script type="module" src="/ui/main.js"></script>
"""
#: Before the others: the sooner it knows the words, the less is seen in English.
LANGUAGE = '<script type="module" src="/ui/language.js"></script>'


def make_page(settings: Settings, library: Library) -> FastAPI:
    """The page as an application of its own, to be put at ``/``."""
    page = FastAPI(openapi_url=None)
    gr.mount_gradio_app(
        page,
        make_blocks(library.menu()),
        path="/",
        server_name=settings.host,
        server_port=settings.port,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
        max_file_size="64mb",
        theme=make_theme(),
        head=(LANGUAGE if settings.language.strip() else "") + HEAD,
    )
    return page


def make_blocks(menu: dict[str, Any]) -> gr.Blocks:
    """Every widget, filled with what the default preset decides."""
    with _Blocks(title="Fooocus Lite", analytics_enabled=False, fill_width=True, fill_height=True) as blocks:
        fields: Fields = {}
        with gr.Row(elem_id="fl-top"):
            _place("fl-brand")
            fields["preset"] = _presets(menu)
            _place("fl-presetmenu")
            _place("fl-changed")
            _place("fl-tools")
        with gr.Row(elem_id="fl-main"):
            with gr.Column(elem_id="fl-left"):
                _place("fl-stage")
                with gr.Row(elem_id="fl-ask"):
                    generate = _question(menu, fields)
                _place("fl-shelf")
            with gr.Column(elem_id="fl-advanced"):
                _advanced(menu, fields)
        _place("fl-bar")
        fill = gr.Button("Fill in", visible="hidden", elem_id="fl-fill")
        _wire(blocks, fields, generate, fill)
    return blocks


class _Blocks(gr.Blocks):
    """Blocks that cost nothing while nobody uses them."""

    def run_startup_events(self) -> None:
        """As Gradio, but its queue only runs where a widget calls Python.

        The queue looks for work a thousand times a second, and each look takes a core away from the picture.
        """
        if any(handler.fn is not None for handler in self.fns.values()):
            super().run_startup_events()


def _place(name: str) -> None:
    """An empty element that a script of ours fills."""
    gr.HTML(f'<div id="{name}"></div>', elem_classes="fl-html", apply_default_css=False, js_on_load=None)


def _presets(menu: dict[str, Any]) -> gr.Dropdown:
    choices = [(row["label"], row["name"]) for row in menu["presets"]]
    value = menu["default_preset"] or None
    return gr.Dropdown(choices, value=value, label="Preset", elem_id="fl-preset", elem_classes="fl-field")


def _modes(menu: dict[str, Any]) -> gr.Radio:
    """The first choice that is made; ``static/modes.js`` adds how long each takes with the model."""
    choices = [(row["label"], row["id"]) for row in menu["modes"]]
    value = menu["defaults"].get("mode")
    return gr.Radio(choices, value=value, label="Mode", elem_id="fl-mode", elem_classes="fl-field")


def _question(menu: dict[str, Any], fields: Fields) -> gr.Button:
    """Prompt, Generate, and the choices that are made most."""
    defaults = menu["defaults"]
    _place("fl-notices")
    fields["prompt"] = gr.Textbox(
        FIRST_PROMPT,
        label="Prompt",
        show_label=False,
        lines=2,
        max_lines=6,
        placeholder="What do you want to see?",
        elem_id="fl-prompt",
        elem_classes="fl-field",
    )
    generate = gr.Button("Generate", variant="primary", elem_id="fl-generate")
    _place("fl-again")
    fields["mode"] = _modes(menu)
    with gr.Row(elem_id="fl-choices"):
        fields["styles"] = gr.Dropdown(
            [row["name"] for row in menu["styles"]],
            value=list(defaults.get("styles") or []),
            multiselect=True,
            num_choices_shown=1000,
            label="Styles",
            elem_id="fl-styles",
            elem_classes="fl-field",
        )
        fields["aspect"] = gr.Dropdown(
            aspect_choices(menu), value=_aspect(menu), label="Shape", elem_id="fl-aspect", elem_classes="fl-field"
        )
        fields["count"] = gr.Number(
            defaults.get("count", 1),
            label="Pictures",
            minimum=1,
            maximum=menu["limits"]["count"]["max"],
            precision=0,
            elem_id="fl-count",
            elem_classes="fl-field",
        )
        with gr.Row(elem_id="fl-seedbox"):
            fields["seed"] = gr.Textbox(
                "", label="Seed", placeholder="random", elem_id="fl-seed", elem_classes=["fl-field", "fl-one"]
            )
            fields["random_seed"] = gr.Checkbox(True, label="Random", elem_id="fl-random", elem_classes="fl-field")
    _place("fl-run")
    with gr.Row(elem_id="fl-expansionbox"):  # expand.js shows it with its style
        fields["expansion"] = gr.Textbox(
            "",
            label="Expansion",
            placeholder="chosen for each picture",
            max_lines=3,
            elem_id="fl-expansion",
            elem_classes="fl-field",
        )
        _place("fl-expand")
    _place("fl-warning")
    return generate


def aspect_choices(menu: dict[str, Any]) -> list[tuple[str, str]]:
    """Sizes of the default model as label and value, then one that stands for any other."""
    model = next((row for row in menu["models"] if row["name"] == menu["defaults"].get("model")), None)
    sizes = model["sizes"] if model else []
    named = [(_turned(row["label"]), f"{row['width']}x{row['height']}") for row in sizes]
    return [*named, ("Custom", "custom")]


def _turned(label: str) -> str:
    size, _, ratio = label.partition(" · ")
    return f"{ratio} · {size}" if ratio else size


def _aspect(menu: dict[str, Any]) -> str:
    wanted = f"{menu['defaults'].get('width')}x{menu['defaults'].get('height')}"
    return wanted if any(value == wanted for _, value in aspect_choices(menu)) else "custom"


def _advanced(menu: dict[str, Any], fields: Fields) -> None:
    with gr.Tabs():
        for name in TABS:
            tab = importlib.import_module(f"fooocus_lite.web.tabs.{name}")
            if tab.applies(menu):
                with gr.Tab(tab.LABEL, id=name, elem_id=f"fl-tab-{name}", render_children=True):
                    fields.update(tab.build(menu))


def _wire(blocks: gr.Blocks, fields: Fields, generate: gr.Button, fill: gr.Button) -> None:
    """Scripts of ``static/`` behind the widgets; none of them asks the server through Gradio."""
    every = list(fields.values())

    def call(name: str, script: str = "form") -> str:
        return f"(...values) => import('/ui/{script}.js').then((script) => script.{name}(values))"

    names = json.dumps(list(fields))
    infos = json.dumps({name: field.info for name, field in fields.items() if getattr(field, "info", None)})
    start = f"(...values) => import('/ui/form.js').then((form) => form.start({names}, values, {infos}))"
    blocks.load(fn=None, inputs=every, outputs=every, js=start)
    generate.click(fn=None, inputs=every, js=call("generate"))
    fill.click(fn=None, inputs=every, outputs=every, js=call("filled"))
    fields["preset"].input(fn=None, inputs=every, outputs=every, js=call("presetChosen", "presets"))
    fields["aspect"].input(fn=None, inputs=every, outputs=every, js=call("shapeChosen"))
    fields["mode"].input(fn=None, inputs=every, outputs=every, js=call("modeChosen"))
    walk = [fields["steps"], fields["scheduler"]]
    fields["sampler"].input(fn=None, inputs=every, outputs=walk, js=call("samplerChosen"))
    for side in ("width", "height"):
        fields[side].input(fn=None, inputs=every, outputs=[fields["aspect"]], js=call("sizeTyped"))
    gr.on([field.change for field in every], fn=None, inputs=every, js=call("changed"))
