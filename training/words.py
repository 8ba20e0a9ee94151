"""What a training picture shows, and the many ways to say it.

A `Spec` holds the attributes of one picture; it is drawn by `pictures.draw` and put into words by
`caption`. Captions are made at training time from the stored attributes, so that one picture is
met in many wordings: other order, missing words, capitals, synonyms.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from random import Random

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (218, 36, 42),
    "green": (44, 160, 66),
    "blue": (36, 84, 214),
    "yellow": (250, 214, 44),
    "purple": (128, 56, 170),
    "orange": (246, 132, 28),
    "pink": (250, 148, 190),
    "cyan": (58, 206, 222),
    "white": (250, 250, 250),
    "black": (24, 24, 28),
    "gray": (138, 138, 142),
    "brown": (122, 76, 42),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
SIZES = ("small", "medium", "large")  # "medium" is never said
RELATIONS = ("left of", "right of", "above", "below")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
THINGS = ("house", "tree", "mountain", "sea")

STYLE_TEMPLATES: dict[str, str] = {
    "watercolor": "watercolor painting of {prompt}, soft washes, paper texture",
    "pixel art": "pixel art of {prompt}, 8-bit, crisp square pixels",
    "line drawing": "line drawing of {prompt}, ink outlines, hatching, white paper",
    "neon": "neon sign of {prompt}, glowing tubes, dark wall",
    "stained glass": "stained glass window of {prompt}, lead lines, glowing colored glass",
    "paper cutout": "paper cutout of {prompt}, layered paper, soft shadows",
    "blueprint": "blueprint of {prompt}, white lines on blue paper, grid",
    "oil painting": "oil painting of {prompt}, thick brush strokes, canvas",
    "chalkboard": "chalkboard drawing of {prompt}, colored chalk on slate",
    "low poly": "low poly art of {prompt}, faceted triangles, 3d",
}
STYLES = tuple(STYLE_TEMPLATES)
LOOSE_STYLES = (
    "{style} {prompt}",
    "{style} of {prompt}",
    "{prompt}, {style}",
    "{prompt}, {style} style",
    "{prompt} in {style} style",
    "a {style} of {prompt}",
    "{prompt} as {style}",
)

_COLOUR_SYNONYMS = {"gray": ("grey",), "purple": ("violet",)}
_SHAPE_SYNONYMS = {"circle": ("disc", "dot"), "ring": ("donut",), "diamond": ("rhombus",), "cross": ("plus sign",)}
_SIZE_WORDS = {"small": ("small", "small", "tiny", "little"), "large": ("large", "large", "big", "huge")}
_RELATION_WORDS = {
    "left of": ("left of", "left of", "to the left of"),
    "right of": ("right of", "right of", "to the right of"),
    "above": ("above", "above", "over", "on top of"),
    "below": ("below", "below", "under", "beneath"),
}
_FILLERS = (
    "high quality",
    "detailed",
    "beautiful",
    "masterpiece",
    "sharp",
    "simple",
    "8k",
    "clean composition",
    "centered",
    "vivid colors",
    "picture",
    "nice",
)
# Words of styles and negative prompts that this model has no pictures for: it learns to pass over them.
_STRANGE = (
    "low quality", "blurry", "distorted", "watermark", "signature", "text", "photograph", "3d render",
    "cinematic", "film still", "vintage", "poster", "illustration", "print", "sculpture", "portrait", "studio",
    "lens", "grain", "hand", "quiet", "rough", "elegant", "old", "modern", "warm", "cool", "light", "city",
    "forest", "dog", "cat", "person", "flower", "car", "design", "panel", "scene", "bold",
)  # fmt: skip
HELD_OUT_PERCENT = 15


@dataclass(frozen=True)
class Thing:
    """One coloured shape."""

    colour: str
    shape: str
    size: str = "medium"


@dataclass(frozen=True)
class Spec:
    """Everything that decides how one picture looks, except the random jitter.

    ``kind`` is "object" (one `Thing`), "pair" (two, the first ``relation`` the second) or "scene"
    (``places`` out of `THINGS`, ``body`` "sun", "moon" or "", ``night``, ``snow``).
    """

    kind: str
    objects: tuple[Thing, ...] = ()
    relation: str = ""
    background: str = ""
    places: tuple[str, ...] = ()
    body: str = ""
    night: bool = False
    snow: bool = False
    style: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain JSON data; `from_dict` reads it back."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict) -> Spec:
        """The inverse of `to_dict`."""
        objects = tuple(Thing(**thing) for thing in data["objects"])
        return Spec(**{**data, "objects": objects, "places": tuple(data["places"])})


def is_held_out(colour: str, shape: str, background: str) -> bool:
    """True for the 15 % of combinations that no training picture shows, in any style."""
    digest = hashlib.sha256(f"{colour}/{shape}/{background}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


def combinations() -> list[tuple[str, str, str]]:
    """Every (colour, shape, background) with a background unlike the object: 12 x 8 x 11."""
    return [(c, s, b) for c in COLOURS for s in SHAPES for b in COLOURS if b != c]


def shows_held_out(spec: Spec) -> bool:
    """Does any object of the picture stand on a background that was held out for it?"""
    return any(is_held_out(thing.colour, thing.shape, spec.background) for thing in spec.objects)


def random_object(rng: Random) -> Spec:
    """One shape on a plain background."""
    colour, background = rng.sample(list(COLOURS), 2)
    size = rng.choices(SIZES, (2, 5, 2))[0]
    return Spec("object", (Thing(colour, rng.choice(SHAPES), size),), background=background)


def random_pair(rng: Random) -> Spec:
    """Two shapes of different colours beside or above one another."""
    first, second, background = rng.sample(list(COLOURS), 3)
    objects = (Thing(first, rng.choice(SHAPES)), Thing(second, rng.choice(SHAPES)))
    return Spec("pair", objects, rng.choice(RELATIONS), background)


def random_scene(rng: Random) -> Spec:
    """A small landscape. The sun shines by day only, the moon by night only."""
    places = tuple(rng.sample(THINGS, rng.choices((1, 2, 3), (4, 5, 2))[0]))
    night = rng.random() < 0.4
    body = ("moon" if night else "sun") if rng.random() < 0.55 else ""
    return Spec("scene", places=places, body=body, night=night, snow=rng.random() < 0.28)


def random_spec(rng: Random, styled: float = 0.4) -> Spec:
    """A picture for training; ``styled`` is the share that gets one of `STYLES`.

    Draws again until no object stands on a background that was held out for it.
    """
    maker = rng.choices((random_object, random_pair, random_scene), (48, 25, 27))[0]
    spec = maker(rng)
    while shows_held_out(spec):
        spec = maker(rng)
    if rng.random() < styled:
        spec = Spec(**{**spec.__dict__, "style": rng.choice(STYLES)})
    return spec


NOTHING_THERE = -100  # the label that cross-entropy passes over
# What a text says, as questions with so many answers each: colour and shape of the left or upper thing (or the
# only one), of the right or lower one, the background, and how things stand (`ARRANGEMENTS`).
ARRANGEMENTS = {"": 0, "left of": 1, "right of": 1, "above": 2, "below": 2}  # 3 is a landscape
QUESTIONS = (len(COLOURS) + 1, len(SHAPES) + 1, len(COLOURS) + 1, len(SHAPES) + 1, len(COLOURS) + 1, 4)


def answers(spec: Spec) -> tuple[int, ...]:
    """The right answers to `QUESTIONS` for one picture; the last answer of colours and shapes is "none"."""
    things: list[Thing | None] = list(spec.objects)
    if spec.relation in ("right of", "below"):
        things.reverse()
    things += [None] * (2 - len(things))
    colours, shapes = [*COLOURS, ""], [*SHAPES, ""]
    said = []
    for thing in things:
        said += [colours.index(thing.colour), shapes.index(thing.shape)] if thing else [len(COLOURS), len(SHAPES)]
    arrangement = 3 if spec.kind == "scene" else ARRANGEMENTS[spec.relation]
    return (*said, colours.index(spec.background), arrangement)


def _a(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _pick(word: str, table: dict[str, tuple[str, ...]], rng: Random, chance: float = 0.15) -> str:
    return rng.choice(table[word]) if word in table and rng.random() < chance else word


def _article(phrase: str, rng: Random) -> str:
    chance = rng.random()
    if chance < 0.22:
        return phrase
    if chance < 0.27:
        return f"one {phrase}"
    return _a(phrase)


def _thing_words(thing: Thing, rng: Random) -> str:
    size = f"{rng.choice(_SIZE_WORDS[thing.size])} " if thing.size in _SIZE_WORDS else ""
    return f"{size}{_pick(thing.colour, _COLOUR_SYNONYMS, rng)} {_pick(thing.shape, _SHAPE_SYNONYMS, rng)}"


def _object_caption(spec: Spec, rng: Random) -> str:
    thing = _article(_thing_words(spec.objects[0], rng), rng)
    ground = _pick(spec.background, _COLOUR_SYNONYMS, rng)
    form = rng.random()
    if form < 0.04:
        return thing
    if form < 0.5:
        return f"{thing} on {_a(ground)} background"
    if form < 0.6:
        return f"{thing} on {ground} background"
    if form < 0.7:
        return f"{thing}, {ground} background"
    if form < 0.78:
        return f"{ground} background, {thing}"
    if form < 0.84:
        return f"{thing} on {ground}"
    if form < 0.9:
        return f"on {_a(ground)} background {thing}"
    before = rng.choice(("against", "in front of", "over", "with"))
    return f"{thing} {before} {_a(ground)} {rng.choice(('background', 'backdrop', 'wall'))}"


def _pair_caption(spec: Spec, rng: Random) -> str:
    objects, relation = spec.objects, spec.relation
    if rng.random() < 0.5:
        objects, relation = objects[::-1], OPPOSITE[relation]
    first, second = (_article(_thing_words(thing, rng), rng) for thing in objects)
    text = f"{first} {_pick(relation, _RELATION_WORDS, rng, 0.5)} {second}"
    ground = _pick(spec.background, _COLOUR_SYNONYMS, rng)
    form = rng.random()
    if form < 0.12:
        return text
    if form < 0.72:
        return f"{text} on {_a(ground)} background"
    if form < 0.88:
        return f"{text}, {ground} background"
    return f"{ground} background, {text}"


def _join_places(spec: Spec, rng: Random) -> str:
    places = list(spec.places)
    rng.shuffle(places)
    if "sea" in places and len(places) > 1 and rng.random() < 0.6:
        places.remove("sea")
        nouns = " and ".join(_article(place, rng) for place in places)
        return f"{nouns} {rng.choice(('by', 'by', 'at', 'near', 'beside'))} the sea"
    nouns = [
        rng.choice(("the sea", "the sea", "sea", "the ocean")) if place == "sea" else _article(place, rng)
        for place in places
    ]
    if len(nouns) == 3 and rng.random() < 0.6:
        return f"{nouns[0]}, {nouns[1]} and {nouns[2]}"
    return rng.choice((" and ", " and ", ", ", " with ")).join(nouns)


def _scene_caption(spec: Spec, rng: Random) -> str:
    text = _join_places(spec, rng)
    if spec.body and rng.random() < 0.9:
        body = rng.choice(
            (
                f"under the {spec.body}",
                f"under the {spec.body}",
                f"under a {spec.body}",
                f"and the {spec.body}",
                f"with the {spec.body}",
                f", {spec.body}",
            )
        )
        text = f"{text} {body}".replace(" ,", ",")
    lights = []
    if spec.night:
        lights.append(rng.choice(("at night", "at night", "by night", ", night")))
    elif rng.random() < 0.35:
        lights.append(
            rng.choice(("by day", "by day", "in the daytime", "on a sunny day" if spec.body else "during the day"))
        )
    if spec.snow:
        lights.append(rng.choice(("in snow", "in snow", "in the snow", "in winter", ", snow")))
    rng.shuffle(lights)
    return f"{text} {' '.join(lights)}".strip().replace(" ,", ",")


def add_style(text: str, style: str, rng: Random) -> str:
    """``text`` in the words of ``style``: the app's template mostly, looser wordings otherwise."""
    if rng.random() < 0.55:
        return STYLE_TEMPLATES[style].format(prompt=text)
    return rng.choice(LOOSE_STYLES).format(style=style, prompt=text)


def babble(rng: Random, count: int) -> str:
    """``count`` words that mean nothing to the model: strange ones and made-up ones, some commas."""
    words = []
    for _ in range(count):
        made_up = "".join(rng.choice("aeioubcdfghklmnprst") for _ in range(rng.randint(2, 9)))
        word = rng.choice(_STRANGE) if rng.random() < 0.55 else made_up
        words.append(f"{word}," if rng.random() < 0.3 else word)
    return " ".join(words).strip(",")


def nothing(rng: Random) -> str:
    """A text that asks for nothing: mostly empty, sometimes babble, as negative prompts often are."""
    return "" if rng.random() < 0.75 else babble(rng, rng.randint(1, 12))


def caption(spec: Spec, rng: Random) -> str:
    """One of many wordings of ``spec``."""
    text = {"object": _object_caption, "pair": _pair_caption, "scene": _scene_caption}[spec.kind](spec, rng)
    if rng.random() < 0.1:
        text = f"{rng.choice(('a picture of', 'picture of', 'an image of', 'a picture with', 'there is'))} {text}"
    if spec.style:
        text = add_style(text, spec.style, rng)
    if rng.random() < 0.1:
        text = f"{babble(rng, rng.randint(1, 4))} of {text}, {babble(rng, rng.randint(1, 9))}"
    elif rng.random() < 0.12:
        text = f"{text}, {', '.join(rng.sample(_FILLERS, rng.choice((1, 2, 3))))}"
    return text


def plain_caption(spec: Spec) -> str:
    """The wording that a person would type first; used for evaluation."""
    if spec.kind == "scene":
        rng = Random(repr(spec))
        nouns = [place for place in spec.places if place != "sea"]
        text = " and ".join(f"a {noun}" for noun in nouns)
        if "sea" in spec.places:
            text = f"{text} by the sea" if text else "the sea"
        text += f" under the {spec.body}" if spec.body else ""
        light = [word for word, said in (("at night", spec.night), ("in snow", spec.snow)) if said]
        text = " ".join([text, *light]) if light or rng.random() < 0.5 else f"{text} by day"
    else:
        words = []
        for thing in spec.objects:
            size = "" if thing.size == "medium" else f"{thing.size} "
            phrase = f"{size}{thing.colour} {thing.shape}"
            words.append(_a(phrase))
        text = f" {spec.relation} ".join(words) + f" on {_a(spec.background)} background"
    return STYLE_TEMPLATES[spec.style].format(prompt=text) if spec.style else text
