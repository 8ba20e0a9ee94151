"""ComfyUI: the graph of nodes that made the picture, of which only what can be recognised is taken.

The walk starts at what is saved and goes back to the sampler, from there to checkpoint, LoRAs, texts and
size. It asks what a node's inputs are called, not what kind of node it is, and so passes through nodes
of extensions that nobody here knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fooocus_lite.metadata.found import Found
from fooocus_lite.untrusted import Refused, as_float, as_int

MAX_NODES = 20_000
MAX_TEXTS = 50
MAX_PASSES = 50
#: Inputs by what they hold, the most telling name first.
SEED = ("seed", "noise_seed")
SAMPLER, SCHEDULE = ("sampler_name", "sampler"), ("scheduler",)
MODEL = ("ckpt_name", "unet_name", "model_name", "base_ckpt_name", "checkpoint", "ckpt")
TEXT = ("text", "text_g", "text_l", "prompt", "string", "wildcard_text", "populated_text", "value", "clip_l", "t5xxl")
LATENT = ("latent_image", "samples", "latent")
_FREEU = {"b1": "freeu_b1", "b2": "freeu_b2", "s1": "freeu_s1", "s2": "freeu_s2"}
#: Nodes that guide, by kind: what an input is called there → the field of a recipe.
GUIDANCE: Mapping[str, Mapping[str, str]] = {
    "PerturbedAttentionGuidance": {"scale": "pag_scale"},
    "PerturbedAttention": {"scale": "pag_scale"},  # the extension that the former was taken from
    "SelfAttentionGuidance": {"scale": "sag_scale"},
    "RescaleCFG": {"multiplier": "guidance_rescale"},
    "FreeU": _FREEU,
    "FreeU_V2": _FREEU,
    "PerpNeg": {"neg_scale": "perp_neg"},
    "PerpNegGuider": {"neg_scale": "perp_neg"},
    "APG": {"eta": "apg_eta", "norm_threshold": "apg_threshold", "momentum": "apg_momentum"},
}
#: Links that lead to weights, pictures or noise, never to words.
NOT_WORDS = re.compile(r"model|clip|vae|image|pixels|latent|control_net|mask|noise|sampler|sigmas|style_model")
_FILE = re.compile(r"^(prompt|workflow):\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Node:
    """One node: its kind, its own values, and the nodes that its other inputs come from."""

    kind: str
    values: Mapping[str, Any]
    links: Mapping[str, str]


Graph = Mapping[str, Node]


def strip_label(text: str) -> str:
    """EXIF tags hold ``prompt:{…}``: the text without that label."""
    return _FILE.sub("", text, count=1)


def claims(data: Mapping[str, Any]) -> bool:
    """Whether the object is a graph: of nodes with ``class_type``, or as the editor saves it."""
    if isinstance(data.get("nodes"), list) and "links" in data:
        return True
    return any(isinstance(node, dict) and "class_type" in node for node in data.values())


def read(data: Mapping[str, Any]) -> Found:
    """The settings that the graph shows.

    Raises:
        Refused: there is no sampler in it, or only the editor's drawing of a graph is there.
    """
    if isinstance(data.get("nodes"), list):
        raise Refused("holds a ComfyUI workflow without the prompt that ran; save it from ComfyUI again")
    graph = _graph(data)
    sampler, passes = _first_pass(graph)
    found = Found()
    node = graph[sampler]
    found.seed = _number(graph, sampler, SEED, as_int)
    found.steps = _number(graph, sampler, ("steps",), as_int)
    found.guidance_scale = _number(graph, sampler, ("cfg", "cfg_scale"), as_float)
    found.sampler = _name(graph, sampler, SAMPLER)
    found.schedule = _name(graph, sampler, SCHEDULE)
    found.prompt = _words(graph, sampler, "positive")
    found.negative_prompt = _words(graph, sampler, "negative")
    _read_weights(found, graph, sampler)
    _read_guidance(found, graph, sampler)
    _read_size(found, graph, sampler)
    denoise = node.values.get("denoise")
    found.leave_out("denoise", denoise, silent=(1, 1.0))
    if passes > 1:
        found.warnings.append(f"The picture went through {passes} sampling passes; the first one is read.")
    return found


def _graph(data: Mapping[str, Any]) -> dict[str, Node]:
    if len(data) > MAX_NODES:
        raise Refused(f"holds a graph of more than {MAX_NODES:,} nodes")
    graph: dict[str, Node] = {}
    for key, row in data.items():
        if not isinstance(row, dict):
            continue
        inputs = row.get("inputs")
        inputs = inputs if isinstance(inputs, dict) else {}
        links = {name: str(value[0]) for name, value in inputs.items() if _is_link(value)}
        values = {name: value for name, value in inputs.items() if name not in links}
        graph[key] = Node(str(row.get("class_type", "")), values, links)
    return graph


def _is_link(value: object) -> bool:
    """A link is ``[node, output]``."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)) and isinstance(value[1], int)
    )


def _is_sampler(node: Node) -> bool:
    """A node that turns noise into a latent: it has texts and a latent, or a guider and sigmas."""
    inputs = node.values.keys() | node.links.keys()
    is_plain = "steps" in inputs and bool({"seed", "noise_seed", "cfg"} & inputs)
    return (is_plain and bool({"positive", "negative", "latent_image", "model", "sampler_name"} & inputs)) or (
        "guider" in node.links and "sigmas" in node.links
    )


def _first_pass(graph: Graph) -> tuple[str, int]:
    """The sampler that the saved picture began with, and how many passes there were from it on."""
    ends = _ends(graph)
    order = [key for key in _upstream(graph, ends) if _is_sampler(graph[key])]
    if not order:
        raise Refused("holds a ComfyUI graph without a sampler that is known here")
    line = [order[0]]
    while True:
        links = graph[line[-1]].links
        latent = [links[name] for name in LATENT if name in links]
        earlier = next((key for key in _upstream(graph, latent) if _is_sampler(graph[key])), None)
        if earlier is None or earlier in line:
            return line[-1], len(line)
        line.append(earlier)
        if len(line) > MAX_PASSES:
            raise Refused(f"holds a ComfyUI graph of more than {MAX_PASSES} sampling passes")


def _ends(graph: Graph) -> list[str]:
    """What is saved or shown; else every node that nothing comes after."""
    used = {source for node in graph.values() for source in node.links.values()}
    last = [key for key in graph if key not in used]
    return sorted(last, key=lambda key: "save" not in graph[key].kind.casefold()) or list(graph)


def _upstream(
    graph: Graph,
    start: Sequence[str],
    follow: Callable[[str], bool] = lambda name: True,
    *,
    skip: Collection[str] = (),
) -> Iterator[str]:
    """Every node before and including ``start``, nearest first, each once; those in ``skip`` end the walk."""
    seen, line = set[str](), list(start)
    for key in line:
        if key in seen or key in skip or key not in graph:
            continue
        seen.add(key)
        yield key
        line.extend(source for name, source in graph[key].links.items() if follow(name))


def _is_setting(link: str) -> bool:
    """Links that may lead from a sampler to the node where one of its numbers is set."""
    return link not in (*LATENT, "positive", "negative", "conditioning", "vae", "image")


def _number(graph: Graph, start: str, names: Sequence[str], read: Callable[[object, str], Any]) -> Any:
    """The first value of one of ``names`` at or before ``start``; a linked one is followed to its number."""
    for key in _upstream(graph, [start], _is_setting):
        node = graph[key]
        if any(name in node.values or name in node.links for name in names):
            return _own_number(graph, node, names, read, set())
    return None


def _own_number(
    graph: Graph, node: Node, names: Sequence[str], read: Callable[[object, str], Any], barren: set[str]
) -> Any:
    """The first value of one of ``names`` at this node; a linked one is followed to its number.

    Args:
        barren: Nodes known to hold no number, nor any before them; grows, so that many calls walk a graph once.
    """
    for name in names:
        if name in node.values:
            return _read_or_none(read, node.values[name], name)
        if name in node.links:
            return _linked_number(graph, node.links[name], names, read, barren)
    return None


def _linked_number(
    graph: Graph, start: str, names: Sequence[str], read: Callable[[object, str], Any], barren: set[str]
) -> Any:
    walked: list[str] = []
    for key in _upstream(graph, [start], skip=barren):
        walked.append(key)
        values = graph[key].values
        ordered = [*(name for name in (*names, "value", "int", "float", "number") if name in values), *values]
        for name in ordered:
            number = _read_or_none(read, values[name], name)
            if number is not None:
                return number
    barren.update(walked)
    return None


def _read_or_none(read: Callable[[object, str], Any], value: object, name: str) -> Any:
    try:
        return read(value, name)
    except Refused:
        return None


def _name(graph: Graph, start: str, names: Sequence[str]) -> str | None:
    for key in _upstream(graph, [start], _is_setting):
        for name in names:
            value = graph[key].values.get(name)
            if isinstance(value, str) and value:
                return value
    return None


def _words(graph: Graph, sampler: str, side: str) -> str:
    """The texts behind the sampler's positive or negative input, joined by line ends, in the order of the links."""
    node = graph[sampler]
    if isinstance(node.values.get(side), str):
        return node.values[side]
    start = node.links.get(side) or (node.links.get("conditioning") if side == "positive" else None)
    if start is None and "guider" in node.links:
        return (
            _words(graph, node.links["guider"], side)
            if node.links["guider"] != sampler and node.links["guider"] in graph
            else ""
        )
    texts, seen, todo = list[str](), set[str](), [start] if start else []
    while todo and len(texts) < MAX_TEXTS:
        key = todo.pop()
        if key in seen or key not in graph:
            continue
        seen.add(key)
        own = _own_texts(graph[key], side)
        texts += [text for text in own if text not in texts]
        todo += reversed(_word_links(graph[key], side))
    return "\n".join(texts)


def _own_texts(node: Node, side: str) -> list[str]:
    names = [side, *TEXT]
    found = [node.values[name] for name in names if isinstance(node.values.get(name), str)]
    if not found:
        found = [
            value
            for name, value in node.values.items()
            if isinstance(value, str) and re.match(r"(text|string|prompt)[_ ]?\w{0,3}$", name, re.IGNORECASE)
        ]
    return [text for text in dict.fromkeys(found) if text.strip()]


def _word_links(node: Node, side: str) -> list[str]:
    """The links that words may come from: of a node with both sides only the right one."""
    other = "negative" if side == "positive" else "positive"
    if side in node.links:
        return [node.links[side]]
    return [source for name, source in node.links.items() if name != other and not NOT_WORDS.search(name)]


def _read_weights(found: Found, graph: Graph, sampler: str) -> None:
    """Checkpoint and LoRAs along the sampler's model link, the LoRA nearest to the checkpoint first."""
    loras: list[tuple[str, object]] = []
    for key in _upstream(graph, [sampler], _is_of_model):
        node = graph[key]
        loras += reversed(list(_loras(node)))
        if found.model is None:
            found.model = next((v for name in MODEL if isinstance(v := node.values.get(name), str) and v), None)
    for name, weight in reversed(loras):
        found.add_lora(name, weight)


def _is_of_model(link: str) -> bool:
    """Links along which a model comes to a sampler."""
    return re.search(r"model|guider|lora|pipe|ckpt", link) is not None


def _read_guidance(found: Found, graph: Graph, sampler: str) -> None:
    """What guides along the sampler's model link; of two alike, the nearest to the sampler."""
    barren: set[str] = set()
    kinds: set[str] = set()
    for key in _upstream(graph, [sampler], _is_of_model):
        node = graph[key]
        fields = GUIDANCE.get(node.kind, {})
        kinds |= {node.kind} if fields else set()
        for name, field in fields.items():
            value = _own_number(graph, node, (name,), as_float, barren)
            if value is not None:
                found.guidance.setdefault(field, value)
    if "SelfAttentionGuidance" in kinds:
        found.leave_out("blur_sigma", _number(graph, sampler, ("blur_sigma",), as_float), silent=(1.0,))
    if "FreeU" in kinds:
        found.warnings.append(
            "FreeU is read as its second version, which strengthens only where the network is active."
        )
    if "APG" in kinds and found.guidance_scale is not None:
        found.guidance_scale += 1  # there the scale is what is added to the answer to the prompt


def _loras(node: Node) -> Iterator[tuple[str, object]]:
    """LoRAs of a loader: its one name, or a row for each (``{"on", "lora", "strength"}``)."""
    name = node.values.get("lora_name")
    if isinstance(name, str):
        weight = next(
            (node.values[key] for key in ("strength_model", "lora_model_strength", "strength") if key in node.values),
            1.0,
        )
        yield name, weight if isinstance(weight, (int, float)) else 1.0
    for row in node.values.values():
        if isinstance(row, dict) and isinstance(row.get("lora"), str) and row.get("on", True):
            yield row["lora"], row.get("strength", 1.0)


def _read_size(found: Found, graph: Graph, sampler: str) -> None:
    links = graph[sampler].links
    start = [links[name] for name in (*LATENT, "pipe", "basic_pipe") if name in links]
    barren: set[str] = set()
    for key in _upstream(graph, [*start, sampler]):
        node = graph[key]
        sides = [
            _own_number(graph, node, names, as_int, barren)
            for names in (("width", "empty_latent_width"), ("height", "empty_latent_height"))
        ]
        if None not in sides:
            found.width, found.height = sides
            return
        if "pixels" in node.links or "image" in node.links:
            found.warnings.append("The picture was made from another picture, which is not part of a recipe.")
            return
