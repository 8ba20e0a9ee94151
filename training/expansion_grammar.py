"""What the expansion model learns from: prompts as people type them, and endings that suit their subject.

An ending says how a picture looks, is lit, framed and finished. It never names a colour, a shape, a size, a
medium, a thing that was not asked for or a background, so "a red circle" stays a red circle. Words that only suit
some subjects stand in a `Group`, which is open for prompts that name such a subject.

A phrase is written as words with alternatives: ``gentle|even light|lighting`` stands for four.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from random import Random

from training.words import caption, random_spec

#: Words that hold a phrase together; they may come again, and no phrase ends with one.
GLUE = ("of", "in", "the")


@dataclass(frozen=True)
class Group:
    """Phrases for some prompts only.

    Attributes:
        phrases: By what they speak of; an ending takes few of each kind.
        subjects: The prompt must name one of these …
        unless: … and none of these.
    """

    phrases: dict[str, tuple[str, ...]]
    subjects: tuple[str, ...]
    unless: tuple[str, ...] = ()


ANY: dict[str, tuple[str, ...]] = {
    "light": (
        "gentle|even|balanced|mellow|diffused|ambient|natural light|lighting|illumination",
        "subtle|delicate highlights", "carefully|precisely placed accents of light",
        "luminous|radiant highlights|glimmer|presence", "directional|raking|slanting light",
        "rich|wide|full tonal range", "smooth|gradual|seamless tonal transitions", "balanced|faithful exposure",
        "gentle|graceful falloff of light", "clear|fine separation of tones", "restrained|confident|measured contrast",
        "dramatic|expressive|theatrical lighting", "subtle|delicate play of light", "refined shading",
    ),
    "composition": (
        "balanced|harmonious|considered|elegant|dynamic|confident composition", "thoughtful|careful|deliberate framing",
        "clear|strong|single focal point", "harmonious|pleasing|classical proportions",
        "uncluttered|orderly arrangement",
        "generous|ample margins", "elegant|refreshing|quiet simplicity", "immediate|instant clarity",
        "effortless|pleasing balance", "deliberate|steady rhythm", "centered|steady viewpoint",
    ),
    "look": (
        "harmonious|cohesive|considered palette", "rich|vivid|deep saturation", "true|faithful|vibrant color",
        "subtle|fine gradation", "tactile|nuanced|convincing surface|surfaces", "tangible|lifelike depth",
        "strong|gentle sense of depth", "smooth|flawless|pristine finish", "nuanced|expressive rendering",
        "unmistakable|striking|memorable impression",
    ),
    "mood": (
        "quiet|serene|calm|peaceful|tranquil mood|atmosphere", "timeless|enduring appeal", "evocative|captivating mood",
        "striking|commanding|magnetic presence", "joyful|playful|lively energy", "intriguing|mysterious mood",
        "tender|intimate|nostalgic feeling", "majestic|solemn dignity", "poetic|dreamlike|wistful atmosphere",
    ),
    "quality": (
        "intricate|exquisite|remarkable|abundant detail", "highly|finely|richly|intricately detailed",
        "sharp|exact|precise focus", "masterful|meticulous|exquisite craftsmanship",
        "immaculate|superb|exceptional quality",
        "polished|refined execution", "high fidelity", "remarkable|exceptional precision", "professional|superb finish",
        "carefully|beautifully finished", "masterful|assured execution",
    ),
}  # fmt: skip

LAND = (
    "landscape", "mountain", "valley", "forest", "lake", "river", "coast", "beach", "sea", "ocean", "desert", "field",
    "meadow", "hill", "cliff", "canyon", "island", "waterfall", "jungle", "glacier", "fjord", "marsh", "garden", "park",
    "harbor", "harbour", "bay", "shore", "vineyard", "countryside", "path", "road", "bridge", "village", "tree",
    "woods",
    "dune", "volcano", "savanna", "prairie", "orchard", "farm", "pond", "stream", "moor", "swamp", "horizon", "house",
)  # fmt: skip
BUILT = (
    "city", "street", "building", "house", "tower", "castle", "cathedral", "church", "temple", "palace", "skyscraper",
    "skyline", "station", "library", "museum", "room", "interior", "kitchen", "bedroom", "hall", "cafe", "café", "shop",
    "market", "alley", "bridge", "lighthouse", "cabin", "cottage", "villa", "ruins", "theater", "theatre", "factory",
    "courtyard", "staircase", "monastery", "town", "village", "mansion", "workshop", "office", "barn",
)  # fmt: skip
BEING = (
    "woman", "man", "girl", "boy", "child", "person", "portrait", "face", "dancer", "knight", "king", "queen", "wizard",
    "witch", "warrior", "soldier", "sailor", "pilot", "astronaut", "chef", "musician", "pianist", "painter",
    "fisherman",
    "farmer", "monk", "nurse", "teacher", "bride", "grandmother", "grandfather", "baby", "family", "couple", "princess",
    "prince", "elf", "hero", "pirate", "cat", "dog", "horse", "fox", "wolf", "bear", "lion", "tiger", "owl", "eagle",
    "bird", "parrot", "rabbit", "deer", "elephant", "monkey", "panda", "penguin", "whale", "dolphin", "fish", "turtle",
    "frog", "butterfly", "bee", "cow", "sheep", "goat", "mouse", "hedgehog", "squirrel", "kitten", "puppy", "lady",
)  # fmt: skip
THING = (
    "cup", "teapot", "bottle", "bowl", "vase", "watch", "clock", "lamp", "chair", "table", "book",
    "camera", "guitar", "violin", "piano", "car", "bicycle", "motorcycle", "shoe", "hat", "bag", "apple", "pear",
    "lemon", "strawberry", "cake", "bread", "burger", "pizza", "soup", "salad", "coffee", "tea", "wine", "cheese",
    "flower", "rose", "tulip", "orchid", "bouquet", "mushroom", "leaf", "shell", "crystal", "gem", "necklace", "crown",
    "sword", "helmet", "toy", "doll", "robot", "machine", "engine", "telescope", "umbrella", "candle", "perfume",
)  # fmt: skip
WONDER = (
    "dragon", "unicorn", "phoenix", "spaceship", "planet", "galaxy", "nebula", "alien", "robot", "wizard", "witch",
    "castle", "giant", "goblin", "fairy", "elf", "knight", "monster", "demon", "angel", "ghost", "spirit", "portal",
    "kingdom", "cyborg", "mermaid", "griffin", "golem", "titan", "starship", "airship", "magic", "enchanted", "fantasy",
)  # fmt: skip
TIMES = (
    "night", "morning", "noon", "midnight", "evening", "dawn", "dusk", "sunset", "sunrise", "twilight", "day",
    "daytime",
    "daylight", "afternoon", "moon", "moonlight", "sun", "sunny", "moonlit", "stars", "starry", "nocturnal", "dark",
)  # fmt: skip
WEATHER = (
    "rain", "rainy", "snow", "snowy", "storm", "stormy", "fog", "foggy", "mist", "misty", "cloud", "cloudy", "clouds",
    "sunny", "windy", "winter", "summer", "autumn", "spring", "clear", "thunder", "lightning", "blizzard", "hazy",
)  # fmt: skip

GROUPS: dict[str, Group] = {
    "land": Group({
        "space": (
            "sweeping|breathtaking|open vista|view", "wide|sweeping|panoramic angle|view|framing",
            "atmospheric|aerial perspective", "grand|immense sense of scale", "distant|receding planes",
            "deep|infinite focus", "foreground interest", "inviting viewpoint",
        ),
        "lens": ("wide angle lens|view", "telephoto compression", "long exposure", "deep depth of field"),
    }, LAND),
    "weather": Group({
        "air": (
            "drifting|distant|thin|lingering haze|mist", "fresh|pure|still air", "shifting|gathering|passing weather",
            "gentle|light breeze", "lingering moisture in the air",
        ),
    }, LAND, WEATHER),
    "time": Group({
        "hour": (
            "early|late morning|afternoon light", "first light of dawn", "last light of dusk",
            "lingering|quiet twilight", "long|slanting evening light",
        ),
    }, (*LAND, *BUILT), (*TIMES, "room", "interior", "kitchen", "bedroom", "hall", "library", "museum", "office")),
    "built": Group({
        "space": (
            "strong|clean|true verticals", "converging|precise perspective", "human|monumental|imposing scale",
            "architectural|structural precision", "ornate|intricate architectural ornament",
            "inviting|airy sense of space",
            "eye level viewpoint", "rhythmic|elegant architecture",
        ),
    }, BUILT),
    "being": Group({
        "person": (
            "expressive|thoughtful|attentive gaze", "subtle|candid|honest expression",
            "natural|relaxed|graceful posture",
            "lifelike|vivid presence", "catchlights in the eyes", "faithful|convincing anatomy",
            "fine|delicate features",
            "authentic|candid moment",
        ),
        "lens": (
            "shallow depth of field", "flattering|gentle key|rim|fill light", "close|intimate framing",
            "eye level portrait framing", "creamy|smooth bokeh", "sharp eyes",
        ),
    }, BEING),
    "thing": Group({
        "close": (
            "macro|close detail", "tactile|convincing material|materials", "controlled|precise reflections",
            "studio light|lighting", "close|inviting view", "fine|visible workmanship", "gentle|controlled sheen",
            "shallow depth of field", "carefully|tastefully styled",
        ),
    }, THING),
    "wonder": Group({
        "epic": (
            "epic|legendary|immense scale", "otherworldly|enchanted|mythic atmosphere", "sense of wonder|awe|adventure",
            "cinematic|heroic framing", "volumetric|ethereal light", "imaginative|fantastical design",
            "commanding|towering stature", "intricate worldbuilding",
        ),
    }, WONDER),
}  # fmt: skip

_ADJECTIVES = (
    "old", "young", "tiny", "huge", "beautiful", "strange", "happy", "sad", "lonely", "colorful", "red", "blue",
    "green",
    "golden", "white", "black", "wooden", "glass", "ancient", "modern", "futuristic", "cozy", "quiet", "broken", "wild",
    "sleeping", "smiling", "flying", "running", "hidden", "giant", "little", "famous", "angry", "elegant", "rusty",
)  # fmt: skip
_PLACES = ("in", "near", "beside", "in front of", "behind", "above", "inside", "at")
_LOOSE = (
    "love", "chaos", "music", "freedom", "an idea", "nothing", "a logo", "letter A", "abstract", "pattern", "dreams",
    "speed", "my first picture", "hello", "test", "a symbol of peace", "time", "silence", "geometry", "a poster",
    "icon",
)  # fmt: skip
_STYLES = ("photo of", "painting of", "drawing of", "3d render of", "watercolor of", "a picture of", "sketch of")


def spellings(phrase: str) -> list[str]:
    """Every phrase that one with alternatives stands for."""
    return [" ".join(words) for words in product(*(word.split("|") for word in phrase.split()))]


def words_of(phrases: dict[str, tuple[str, ...]]) -> list[str]:
    """Every word in them, once, glue left out."""
    texts = " ".join(phrase for kind in phrases.values() for phrase in kind).replace("|", " ")
    return sorted(set(texts.split()) - set(GLUE))


def vocabulary() -> dict[str, object]:
    """The curated words as ``words.json`` in a model's folder; `fooocus_lite.engine.curated` reads them."""
    groups = {
        name: {"words": words_of(group.phrases), "subjects": list(group.subjects), "unless": list(group.unless)}
        for name, group in GROUPS.items()
    }
    return {"glue": list(GLUE), "any": words_of(ANY), "groups": groups}


def prompt(rng: Random) -> str:
    """A prompt as a person might type it."""
    form = rng.random()
    if form < 0.3:
        text = caption(random_spec(rng), rng)
    elif form < 0.38:
        text = rng.choice(_LOOSE)
    else:
        text = _scene(rng)
    if rng.random() < 0.12:
        text = f"{rng.choice(_STYLES)} {text}"
    if rng.random() < 0.15:
        text = text.capitalize() if rng.random() < 0.7 else text.upper()
    return text.rstrip(".") if rng.random() < 0.95 else f"{text}."


def _scene(rng: Random) -> str:
    kinds = rng.sample((LAND, BUILT, BEING, THING, WONDER), 2)
    text = _noun(rng.choice(kinds[0]), rng)
    if rng.random() < 0.4:
        text = f"{text} {rng.choice(_PLACES)} {_noun(rng.choice(kinds[1]), rng)}"
    if rng.random() < 0.2:
        text = f"{text} {rng.choice(('at', 'by', 'under the', 'in the'))} {rng.choice(TIMES)}"
    if rng.random() < 0.15:
        text = f"{text}, {rng.choice(WEATHER)}"
    return text


def _noun(noun: str, rng: Random) -> str:
    plural = rng.random() < 0.15
    words = f"{rng.choice(_ADJECTIVES)} {noun}" if rng.random() < 0.5 else noun
    if plural:
        return f"{rng.choice(('two', 'three', 'many', 'some'))} {words}s"
    return words if rng.random() < 0.2 else f"{rng.choice(('a', 'a', 'the'))} {words}"


def open_groups(text: str) -> list[str]:
    """Names of the groups whose words suit the prompt."""
    said = set("".join(letter if letter.isalpha() else " " for letter in text.casefold()).split())
    said |= {word.removesuffix("s") for word in said}
    return [
        name for name, group in GROUPS.items() if not said.isdisjoint(group.subjects) and said.isdisjoint(group.unless)
    ]


def ending(text: str, rng: Random) -> list[str]:
    """Phrases for the prompt ``text``, no word twice and none that it has already; fewer for a long one."""
    used = set(text.casefold().replace(",", " ").split())
    most = rng.randint(4, 7) if len(text.split()) < 25 else rng.randint(2, 4)
    special = [kind for name in open_groups(text) for kind in GROUPS[name].phrases.values()]
    rng.shuffle(special)
    own = special[: rng.randint(1, 3)] if special else []
    plain = rng.sample([kind for name, kind in ANY.items() if name != "quality"], k=min(4, max(1, most - len(own) - 1)))
    kinds = [*own, *plain]
    rng.shuffle(kinds)
    kinds = [*kinds, ANY["quality"]][:most] if rng.random() < 0.8 else kinds[:most]
    said: list[str] = []
    for kind in kinds:
        phrase = _fresh(kind, used, rng)
        if phrase:
            said.append(phrase)
            used |= set(phrase.split()) - set(GLUE)
    return said


def _fresh(kind: tuple[str, ...], used: set[str], rng: Random) -> str:
    for _ in range(8):
        phrase = rng.choice(spellings(rng.choice(kind)))
        if used.isdisjoint(set(phrase.split()) - set(GLUE)):
            return phrase
    return ""


def example(rng: Random) -> tuple[str, str]:
    """(prompt, ending): what is read, and what follows it. Some prompts have begun their ending already."""
    text = prompt(rng)
    phrases = ending(text, rng)
    while not phrases:
        phrases = ending(text, rng)
    begun = rng.randint(1, len(phrases) - 1) if len(phrases) > 1 and rng.random() < 0.2 else 0
    return ", ".join([text, *phrases[:begun]]), "".join(f", {phrase}" for phrase in phrases[begun:])
