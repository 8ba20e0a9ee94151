"""The words that the shipped language model adds: curated ones only, each once, the same for the same seed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fooocus_lite.engine.curated import MAX_PHRASE_WORDS, MAX_WORDS, MIN_PHRASES, read_vocabulary, words_in
from fooocus_lite.engine.expansion import Expander, load_writer, readable
from fooocus_lite.engine.run import Engine
from fooocus_lite.errors import CorruptModel, FooocusError, MissingModel
from fooocus_lite.events import Event, ImageReady, PromptReady
from fooocus_lite.expansion import WORDS_FILE
from fooocus_lite.plan import Expansion, Plan
from fooocus_lite.settings import app_root
from tests.engine.tiny_sdxl import make_plan

SHIPPED = app_root() / "models" / "expansion"
WORDS = SHIPPED / WORDS_FILE
VOCABULARY = read_vocabulary(WORDS)
PROMPTS = ("a red circle", "portrait of an old sailor", "a mountain lake", "", "Ein Hund 🐕 im Wald", "x" * 5000)
hypothesis.settings.register_profile("calm", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("calm")


def wish(text: str, seed: int = 1, model: Path | str = SHIPPED) -> Expansion:
    return Expansion(text, seed, str(model), str(WORDS))


@pytest.fixture(scope="module")
def expander() -> Expander:
    return Expander()


def check(text: str, words: str) -> None:
    """Everything that is promised of the words behind ``text``."""
    phrases = [phrase.split() for phrase in words.split(", ")]
    flat = [word for phrase in phrases for word in phrase]
    content = [word for word in flat if word not in VOCABULARY.glue]
    assert set(content) <= set(VOCABULARY.words_for(readable(text))), "curated words that suit the prompt"
    assert len(set(content)) == len(content) <= MAX_WORDS + 1, "each once"
    assert words_in(readable(text)).isdisjoint(content), "none that the person has said"
    assert len(phrases) >= MIN_PHRASES and max(map(len, phrases)) <= MAX_PHRASE_WORDS + 1
    assert all({phrase[0], phrase[-1]}.isdisjoint(VOCABULARY.glue) for phrase in phrases)


@pytest.mark.parametrize("text", PROMPTS)
def test_words_keep_every_promise(expander: Expander, text: str) -> None:
    for seed in (0, 1, 2**63 - 1):
        check(text, expander.words(wish(text, seed)))


@hypothesis.settings(max_examples=25)
@given(st.text(max_size=400), st.integers(0, 2**63 - 1))
def test_any_text_is_expanded_and_ends(expander: Expander, text: str, seed: int) -> None:
    check(text, expander.words(wish(text, seed)))


def test_the_same_seed_says_the_same_and_another_one_something_else(expander: Expander) -> None:
    said = {seed: expander.words(wish("a red circle", seed)) for seed in range(8)}
    assert len(set(said.values())) >= 7
    torch.manual_seed(99)  # whatever else draws random numbers
    fresh = Expander()
    assert [fresh.words(wish("a red circle", seed)) for seed in reversed(range(8))] == [*reversed(said.values())]
    assert expander.words(wish("a blue square", 1)) != said[1], "another prompt throws other dice"


def test_choosing_words_leaves_the_dice_of_others_alone(expander: Expander) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    expander.words(wish("never asked before", 3))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_wish_is_written_once(expander: Expander, monkeypatch: pytest.MonkeyPatch) -> None:
    said = expander.words(wish("a fox", 4))
    monkeypatch.setattr("fooocus_lite.engine.expansion.Writer.write", lambda *_: pytest.fail("written again"))
    assert expander.words(wish("a fox", 4)) == said


def test_words_suit_the_subject() -> None:
    """A landscape may have weather and an hour, where the prompt names none; a circle never."""
    land, weather, hour = ({*group.words} - {*VOCABULARY.general} for group in VOCABULARY.groups[:3])
    for text in ("a red circle", "two blue squares on a white background", "the letter A", ""):
        assert set(VOCABULARY.words_for(text)) <= set(VOCABULARY.general)
    assert land | weather | hour <= set(VOCABULARY.words_for("a wide valley"))
    assert hour.isdisjoint(set(VOCABULARY.words_for("a wide valley at night")) - land - weather)
    assert "breeze" not in VOCABULARY.words_for("rainy mountains") and "vista" in VOCABULARY.words_for(
        "rainy mountains"
    )


def test_no_word_names_what_the_starter_would_draw() -> None:
    from training.words import COLOURS, SHAPES, STYLE_TEMPLATES, THINGS

    drawn = {*COLOURS, *SHAPES, *THINGS, "sun", "moon", "night", "day", "snow", "background", "small", "large", "big"}
    drawn |= words_in(" ".join((*STYLE_TEMPLATES, *STYLE_TEMPLATES.values()))) - {"of", "with", "on"}
    words = {*VOCABULARY.general, *(word for group in VOCABULARY.groups for word in group.words)}
    assert words.isdisjoint(drawn)


def test_the_words_are_those_of_the_grammar() -> None:
    from training.expansion_grammar import vocabulary

    assert json.loads(WORDS.read_text("utf-8")) == vocabulary()


def test_weights_are_read_as_words() -> None:
    assert readable("A (Red:1.4) CAT, embedding:ugly  [fox]") == "a red cat, fox"


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 12_000_000


# Through the engine


def events_of(engine: Engine, plan: Plan) -> list[Event]:
    return list(engine.run(plan, lambda: False))


def ready(events: list[Event]) -> PromptReady:
    return next(event for event in events if isinstance(event, PromptReady))


def test_the_engine_tells_the_words_and_draws_with_them(
    engine: Engine, model: Path, pixels: Callable[[Plan], bytes]
) -> None:
    plan = make_plan(model, texts=("a red circle",), steps=2)
    events = events_of(engine, replace(plan, expansion=wish("a red circle", plan.seed)))
    told = ready(events)
    assert told.expansion and told.texts == ("a red circle", f"a red circle, {told.expansion}")
    (picture,) = (event.rgb for event in events if isinstance(event, ImageReady))
    assert picture == pixels(replace(plan, texts=told.texts)), "drawn again with the words alone, it is the same"
    assert picture != pixels(plan)
    assert ready(events_of(engine, plan)).expansion is None


def test_without_its_model_the_picture_is_drawn_and_says_so(
    engine: Engine, model: Path, pixels: Callable[[Plan], bytes], tmp_path: Path
) -> None:
    plan = make_plan(model, texts=("a red circle",), steps=2)
    events = events_of(engine, replace(plan, expansion=wish("a red circle", 1, tmp_path / "gone")))
    told = ready(events)
    assert told.expansion == "" and told.texts == plan.texts
    (warning,) = told.warnings
    assert warning.startswith("The prompt was not expanded. The expansion model file") and "is missing" in warning
    (picture,) = (event.rgb for event in events if isinstance(event, ImageReady))
    assert picture == pixels(plan)


# Other people's models


def other(folder: Path, **config: Any) -> Path:
    """A random GPT-2 with the shipped tokenizer and no word list of its own."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 2200, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 256} | config
    GPT2LMHeadModel(GPT2Config(**sizes)).save_pretrained(folder)
    for path in SHIPPED.glob("tokenizer*"):
        shutil.copy(path, folder)
    return folder


def test_a_model_without_words_says_ours(expander: Expander, tmp_path: Path) -> None:
    check("a red circle", expander.words(wish("a red circle", 1, other(tmp_path / "other"))))


def test_a_tokenizer_of_another_model_is_one_sentence(expander: Expander, tmp_path: Path) -> None:
    with pytest.raises(CorruptModel, match="more tokens than its weights"):
        expander.words(wish("a red circle", 1, other(tmp_path / "other", vocab_size=100)))


def broken(folder: Path, how: str) -> Path:
    shutil.copytree(SHIPPED, folder)
    weights = folder / "model.safetensors"
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif how == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "words":
        (folder / WORDS_FILE).write_text('{"any": 3}')
    elif how == "tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    elif how == "config":
        (folder / "config.json").write_text("[")
    elif how == "too short":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"n_positions": 8}))
    return folder


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("cut", CorruptModel, "cut short"), ("pickle", MissingModel, "is a pickle"),
        ("words", CorruptModel, "does not hold lists of words"), ("tokenizer", CorruptModel, "damaged"),
        ("config", CorruptModel, "not readable JSON"), ("too short", CorruptModel, "too few"),
    ],
)  # fmt: skip
def test_a_damaged_model_is_one_sentence(tmp_path: Path, how: str, kind: type[FooocusError], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        load_writer(str(broken(tmp_path / how, how)), WORDS)
    assert caught.value.hint and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nobody/has-this", "not a name at all", "a/b/c"])
def test_a_hub_model_that_is_not_here_is_not_fetched(name: str) -> None:
    with pytest.raises(FooocusError, match=r"is not on this disk\. Fetch it with"):
        load_writer(name, WORDS)
