"""What the names and shapes in a LoRA file say: which layer a tensor changes, how, and what kind of model it is for.

Knows names only, no numbers: the library asks it with a file's header, the engine with the tensors themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from fooocus_lite.weight_header import Shape

#: Parts of a model that adapters change, named as their folders are.
UNET, TEXT_ENCODER, TEXT_ENCODER_2 = "unet", "text_encoder", "text_encoder_2"
#: Of a transformer model. Some trainers call it a UNet; its families take both for the same.
TRANSFORMER = "transformer"
#: T5, as trainers number the encoders of Stable Diffusion 3 and of FLUX.
TEXT_ENCODER_3 = "text_encoder_3"

# kohya's trainers join with underscores; diffusers, PEFT and ComfyUI keep dots. The longer prefix comes first.
_PREFIXES = (
    ("lora_unet_", UNET),
    ("lycoris_unet_", UNET),
    ("lora_te1_", TEXT_ENCODER),
    ("lora_te2_", TEXT_ENCODER_2),
    ("lora_te3_", TEXT_ENCODER_3),
    ("lora_te_", TEXT_ENCODER),
    ("lora_transformer_", TRANSFORMER),
    ("base_model.model.text_encoder_2.", TEXT_ENCODER_2),
    ("base_model.model.text_encoder.", TEXT_ENCODER),
    ("base_model.model.unet.", UNET),
    ("base_model.model.", UNET),
    ("text_encoders.clip_l.transformer.", TEXT_ENCODER),
    ("text_encoders.clip_g.transformer.", TEXT_ENCODER_2),
    ("text_encoder_2.", TEXT_ENCODER_2),
    ("text_encoder.", TEXT_ENCODER),
    ("diffusion_model.", UNET),
    ("unet.", UNET),
    ("transformer.", TRANSFORMER),
)
# Saved from a network by itself, without a prefix.
_BARE = re.compile(r"(?:down_blocks|mid_block|up_blocks|input_blocks|middle_block|output_blocks)\.")
_BARE_TRANSFORMER = re.compile(r"(?:double_blocks|single_blocks|transformer_blocks|single_transformer_blocks)\.")
# XLabs' trainer for FLUX: what changes which half of a block's attention, and the layer as FLUX's makers call it.
_XLABS = re.compile(
    r"^(?:diffusion_model\.)?(double|single)_blocks\.(\d+)\.processor\.(qkv|proj)_lora([12]?)\.(?=(?:down|up)\.)"
)
_XLABS_LAYERS = {
    ("double", "qkv", "1"): "img_attn.qkv",
    ("double", "qkv", "2"): "txt_attn.qkv",
    ("double", "proj", "1"): "img_attn.proj",
    ("double", "proj", "2"): "txt_attn.proj",
    ("single", "qkv", ""): "qkv",
    ("single", "proj", ""): "linear2",
}
# PEFT's own saver does not say which model it was; of a text encoder the layers do.
_PEFT_TEXT = re.compile(r"base_model\.model\.(?=text_model\.)")

_PARAMETER = re.compile(
    r"(?:\.lora_(?P<kohya>down|up|mid)(?:\.weight)?"
    r"|[._]lora(?:_linear_layer)?\.(?P<old>down|up)\.weight"
    r"|\.lora_(?P<peft>[AB])(?:\.\w+)?\.weight"
    r"|\.lora_(?P<magnitude>magnitude_vector)(?:\.\w+){0,2}"
    r"|\.(?P<own>alpha|dora_scale|diff|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2))$"
)
_PEFT = {"A": "down", "B": "up"}

# Names that only some kind of transformer has.
_FLUX = re.compile(r"(?:double|single)_(?:stream_)?blocks|single_transformer_blocks")
_SD3 = re.compile(r"joint_blocks")
_CROSS_ATTENTION = re.compile(r"attn2_to_[kv]$")
#: Numbers of a text's vector → the models whose UNets read so many.
WIDTHS = {768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2", 1280: "the SDXL refiner", 2048: "SDXL"}
FLUX, SD3, OTHER = "FLUX", "Stable Diffusion 3", "a transformer model"
MAX_NAMED_KEYS = 3
#: Trainers' longest are about 150.
MAX_KEY_CHARS = 500
#: Of the side that two factors share: more than any rank, and little enough that a small file fills no memory.
MAX_INNER_SIDE = 8_192


@dataclass(frozen=True)
class Place:
    """Where a tensor of a LoRA file belongs.

    Attributes:
        part: `UNET`, `TEXT_ENCODER`, `TEXT_ENCODER_2` or `TRANSFORMER`.
        layer: The layer's path with underscores for dots.
        parameter: What it is in the layer's formula: ``down``, ``up``, ``alpha``, ``hada_w1_a`` …
    """

    part: str
    layer: str
    parameter: str


def find_place(key: str) -> Place | None:
    """The place of a tensor, or ``None`` for a name that nobody here knows."""
    key = _in_makers_words(key) if len(key) <= MAX_KEY_CHARS else ""
    match = _PARAMETER.search(key)
    if match is None:
        return None
    path = key[: match.start()]
    part, prefix = _part_of(path)
    if part is None:
        return None
    said = match.groupdict()
    parameter = said["kohya"] or said["old"] or _PEFT.get(said["peft"] or "") or said["own"] or "dora_scale"
    # Attention processors, which diffusers no longer has, held the layers in former files.
    layer = path[len(prefix) :].replace(".processor.", ".").replace(".", "_")
    return Place(part, layer, parameter)


def _in_makers_words(key: str) -> str:
    """XLabs' names for a layer of FLUX as those of its makers; others as they are."""
    found = _XLABS.match(key)
    layer = _XLABS_LAYERS.get((found[1], found[3], found[4])) if found else None
    return f"{found[1]}_blocks.{found[2]}.{layer}.lora_{key[found.end() :]}" if found and layer else key


def _part_of(path: str) -> tuple[str | None, str]:
    if _PEFT_TEXT.match(path):
        return TEXT_ENCODER, "base_model.model."
    for prefix, part in _PREFIXES:
        if path.startswith(prefix):
            return part, prefix
    if _BARE_TRANSFORMER.match(path):
        return TRANSFORMER, ""
    return (UNET, "") if _BARE.match(path) else (None, "")


def unknown_keys(keys: Iterable[str]) -> list[str]:
    """Those whose place nobody knows."""
    return [key for key in keys if find_place(key) is None]


def delta_shape(shapes: Mapping[str, Shape]) -> Shape:
    """The shape of the change that a layer's factors make: (out, in), or (out, in, height, width).

    Args:
        shapes: By parameter.

    Raises:
        ValueError: they make none; says why.
    """
    if "diff" in shapes:
        return shapes["diff"]
    if "down" in shapes or "up" in shapes:
        return _lora_shape(shapes)
    if any(name.startswith("hada_") for name in shapes):
        return _loha_shape(shapes)
    if any(name.startswith("lokr_") for name in shapes):
        first, second = _lokr_shape(shapes, 1), _lokr_shape(shapes, 2)
        return (first[0] * second[0], first[1] * second[1], *second[2:])
    raise ValueError("factors are missing")


def _need(shapes: Mapping[str, Shape], name: str, *ranks: int) -> Shape:
    if name not in shapes:
        raise ValueError(f"{name} is missing")
    shape = shapes[name]
    if len(shape) not in ranks or 0 in shape:
        raise ValueError(f"{name} has the shape {shape}")
    return shape


def _lora_shape(shapes: Mapping[str, Shape]) -> Shape:
    down, up = _need(shapes, "down", 2, 4), _need(shapes, "up", 2, 4)
    if prod(up[2:]) != 1:
        raise ValueError(f"up has the shape {up}")
    if "mid" in shapes:
        mid = _need(shapes, "mid", 4)
        if (up[1], down[0]) != mid[:2] or prod(down[2:]) != 1 or max(mid[:2]) > MAX_INNER_SIDE:
            raise ValueError(f"up, mid and down have the shapes {up}, {mid} and {down}")
        return (up[0], down[1], *mid[2:])
    if up[1] != down[0] or up[1] > MAX_INNER_SIDE:
        raise ValueError(f"up and down have the shapes {up} and {down}")
    return (up[0], *down[1:])


def _loha_shape(shapes: Mapping[str, Shape]) -> Shape:
    halves: list[Shape] = []
    for number in "12":
        first, second = _need(shapes, f"hada_w{number}_a", 2), _need(shapes, f"hada_w{number}_b", 2)
        core = _need(shapes, f"hada_t{number}", 4) if f"hada_t{number}" in shapes else None
        halves.append(_tucker(core, first, second) if core else _product(first, second))
    if halves[0] != halves[1]:
        raise ValueError(f"its halves have the shapes {halves[0]} and {halves[1]}")
    return halves[0]


def _product(first: Shape, second: Shape) -> Shape:
    if first[1] != second[0] or first[1] > MAX_INNER_SIDE:
        raise ValueError(f"two factors have the shapes {first} and {second}")
    return (first[0], second[1])


def _tucker(core: Shape, first: Shape, second: Shape) -> Shape:
    """Of core (i, j, h, w), first (i, out), second (j, in)."""
    if (first[0], second[0]) != core[:2] or max(core[:2]) > MAX_INNER_SIDE:
        raise ValueError(f"three factors have the shapes {core}, {first} and {second}")
    return (first[1], second[1], *core[2:])


def _lokr_shape(shapes: Mapping[str, Shape], number: int) -> Shape:
    whole = f"lokr_w{number}"
    if whole in shapes:
        return _need(shapes, whole, *((2,) if number == 1 else (2, 4)))
    first, second = _need(shapes, f"{whole}_a", 2), _need(shapes, f"{whole}_b", 2)
    if number == 2 and "lokr_t2" in shapes:
        return _tucker(_need(shapes, "lokr_t2", 4), first, second)
    return _product(first, second)


def rank_of(shapes: Mapping[str, Shape]) -> int | None:
    """What alpha is divided by; ``None`` where the formula has no rank."""
    for name in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        if shapes.get(name):
            return shapes[name][0]
    return None


def fits(shape: Shape, weight: Shape) -> bool:
    """Whether a change of ``shape`` can be added to a weight; a 1 × 1 convolution and a matrix are the same."""
    if len(shape) == len(weight):
        return shape == weight
    return bool(shape and weight) and shape[0] == weight[0] and prod(shape) == prod(weight)


@dataclass(frozen=True)
class MadeFor:
    """What kind of model a LoRA was made for.

    Attributes:
        kind: In words; empty where its layers do not tell.
        context_width: Numbers of a text's vector as its cross-attention reads them; 0 where they do not tell.
        rank: The most usual one.
    """

    kind: str
    context_width: int
    rank: int

    @property
    def is_transformer(self) -> bool:
        """Whether it has no UNet."""
        return self.kind in (FLUX, SD3, OTHER)


def made_for(shapes: Mapping[str, Shape]) -> MadeFor:
    """What the tensors of a file say about the model it is for.

    Args:
        shapes: By key, as the file's header has them.
    """
    layers = by_layer(shapes)
    ranks = Counter(rank for factors in layers.values() if (rank := rank_of(factors)))
    rank = ranks.most_common(1)[0][0] if ranks else 0
    joined = " ".join(f"{part}.{layer}" for part, layer in layers)
    if _FLUX.search(joined):
        return MadeFor(FLUX, 0, rank)
    if _SD3.search(joined):
        return MadeFor(SD3, 0, rank)
    if layers and all(part == TRANSFORMER for part, _ in layers):
        return MadeFor(OTHER, 0, rank)
    width = next(filter(None, (_context_width(layer, factors) for (_, layer), factors in layers.items())), 0)
    kind = WIDTHS.get(width, f"a model whose texts are {width:,} numbers wide" if width else "")
    if not width and any(part == TEXT_ENCODER_2 for part, _ in layers):
        kind = WIDTHS[2048]
    return MadeFor(kind, width, rank)


def by_layer(shapes: Mapping[str, Shape]) -> dict[tuple[str, str], dict[str, Shape]]:
    """(part, layer) → shapes by parameter; keys without a place are left out."""
    layers: dict[tuple[str, str], dict[str, Shape]] = {}
    for key, shape in shapes.items():
        place = find_place(key)
        if place is not None:
            layers.setdefault((place.part, place.layer), {})[place.parameter] = shape
    return layers


def _context_width(layer: str, factors: Mapping[str, Shape]) -> int:
    if not _CROSS_ATTENTION.search(layer):
        return 0
    try:
        return delta_shape(factors)[1]
    except (ValueError, IndexError):
        return 0
