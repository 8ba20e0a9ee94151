"""`make_plan`: the picture's ladder, its checks, and the round-trip law."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fooocus_lite.errors import BadValue, FooocusError, UnknownName
from fooocus_lite.library import Library
from fooocus_lite.plan import MAX_BATCH, batch_notes, expand, make_plan, parse_wish, resolve
from fooocus_lite.recipe import MAX_INDEX, MAX_SEED, Recipe, parse_recipe
from fooocus_lite.registry import FORMER_SAMPLERS, SAMPLERS, SCHEDULERS
from fooocus_lite.wording import LoraRef
from tests.lora_header import lora_bytes

LORA = "models/loras/sub/ink.safetensors"
WORDS = ["__thing__", "__no__", "[[a, b]]", "<style:dots>", "<style:no>", "<lora:ink:1>", "\n", "\n---\n", "(a:2)"]
ANY_SEED = st.integers(0, MAX_SEED)
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.lists(st.sampled_from(WORDS) | st.text(max_size=10), max_size=8).map("".join),
        "negative_prompt": st.text(max_size=20),
        "styles": st.lists(st.sampled_from(["Washes", "dots", "PLAIN addition", "nope"]), max_size=3),
        "preset": st.sampled_from(["plain", "Wide", "nope"]),
        "model": st.sampled_from(["tiny", "Big", "nope"]),
        "width": st.integers(1, 40).map(lambda n: n * 32) | st.just(7),
        "height": st.integers(1, 40).map(lambda n: n * 32),
        "seed": ANY_SEED,
        "index": st.integers(0, MAX_INDEX),
        "wildcard_order": st.sampled_from(["random", "ordered"]),
        "count": st.integers(1, 5),
        "steps": st.integers(1, 200),
        "sampler": st.sampled_from([*SAMPLERS, *FORMER_SAMPLERS, "Euler a", "heunpp2", "nope"]),
        "scheduler": st.sampled_from([*SCHEDULERS, "auto", "Karras", "nope"]),
        "guidance_scale": st.floats(1, 30),
        "mode": st.sampled_from(["Quality", "speed", "LCM", "lightning", "nope"]),
        "image_format": st.sampled_from(["png", "jpeg", "webp"]),
    },
).map(parse_recipe)


def plan(library: Library, **wish: Any):
    return make_plan(parse_recipe(wish), library, seed=5)


def test_an_empty_wish_is_filled_from_family_entry_and_preset(library: Library) -> None:
    made = plan(library)
    assert (made.width, made.height, made.steps, made.sampler) == (128, 128, 20, "euler")  # the catalog entry
    assert (made.guidance_scale, made.seed) == (3.0, 5)  # the default preset; the seed handed in
    assert (made.sag_scale, made.image_format, made.negative_texts) == (0.0, "png", ("",))  # the family
    assert made.clip_skip == 2


def test_the_person_wins_over_preset_over_entry_over_family(library: Library) -> None:
    assert plan(library, preset="wide").width == 192
    assert plan(library, preset="wide").steps == 9
    assert plan(library, preset="wide", steps=11).steps == 11
    assert plan(library, preset="wide").texts == ("dots",)
    assert plan(library, preset="wide", styles=[]).texts == ("",)
    assert plan(library, model="big").steps == 30


def test_the_default_preset_leaves_another_model_alone(library: Library) -> None:
    """Guidance that suits the starter must not reach a model that somebody chose instead."""
    assert plan(library, model="big").guidance_scale == 4.0
    assert plan(library, model="TINY").guidance_scale == 3.0
    assert plan(library, model="big", preset="plain").guidance_scale == 3.0


def test_a_model_that_is_there_comes_first_when_nobody_chose(library: Library) -> None:
    lone = dataclasses.replace(library, presets={}, models=dict(reversed(library.models.items())))
    assert plan(lone).model.name == "tiny"


def test_texts_are_cleaned_and_styled_and_the_recipe_keeps_what_was_written(library: Library) -> None:
    wish = parse_recipe({"prompt": "a  cat\nat sea ", "negative_prompt": " fog", "styles": ["dots", "washes"]})
    made, full = make_plan(wish, library, 5), resolve(wish, library, 5)
    assert made.texts == ("a cat, dots", "washes of a cat, wet", "at sea")
    assert made.negative_texts == ("lines", "dry", "fog")
    assert full.prompt == "a  cat\nat sea " and full.styles == ("Dots", "Washes")


def test_a_style_alone_is_enough(library: Library) -> None:
    assert plan(library, styles=["washes"]).texts == ("washes, wet",)


def test_a_schedule_belongs_to_its_sampler(library: Library, root: Path, load: Callable[[], Library]) -> None:
    def walk(**wish: Any) -> tuple[str, str]:
        made = plan(load(), preset="beta", **wish)
        return made.sampler, made.scheduler

    preset = {"recipe": {"model": "tiny", "sampler": "dpmpp_2m", "scheduler": "beta"}}
    (root / "presets" / "beta.json").write_text(json.dumps(preset))
    assert walk() == ("dpmpp_2m", "beta")
    assert walk(scheduler="exponential") == ("dpmpp_2m", "exponential")
    assert walk(scheduler="auto") == ("dpmpp_2m", "karras")
    assert walk(sampler="euler") == ("euler", "normal")  # and not along the preset's schedule
    assert walk(sampler="uni_pc", scheduler="Karras") == ("uni_pc", "karras")
    assert plan(library, sampler="dpmpp_2m_sde_gpu", scheduler="karras").sampler == "dpmpp_2m_sde"


def test_the_nearest_sampler_is_taken_with_a_notice(library: Library) -> None:
    wish = parse_recipe({"sampler": "heunpp2", "scheduler": "kl_optimal"})
    batch = expand(wish, library, 0)
    assert (batch[0].sampler, batch[0].scheduler) == ("heun", "karras")
    assert batch_notes(batch, library, wish)[:2] == (
        "heunpp2 is not here; Heun comes nearest and is used.",
        "The schedule kl_optimal is not here; Karras comes nearest and is used.",
    )


def test_models_say_how_they_were_trained(library: Library) -> None:
    models = {"tiny": dataclasses.replace(library.models["tiny"], noise="flow")}
    flow = dataclasses.replace(library, models=models)
    assert plan(flow, sampler="dpmpp_2m").scheduler == "simple", "its usual one, Karras, is for others"
    assert plan(flow, sampler="uni_pc", scheduler="beta").scheduler == "beta"
    for wish, field in (
        ({"sampler": "tcd"}, "sampler"),
        ({"sampler": "euler", "scheduler": "karras"}, "scheduler"),
    ):
        with pytest.raises(BadValue, match="not made for how the model tiny was trained") as caught:
            plan(flow, **wish)
        assert caught.value.field == field


@pytest.mark.parametrize(
    "wish, problem, hint",
    [
        ({"width": 7}, "width cannot be 7.", "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"height": 130}, "height cannot be 130.", "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"height": 288}, "height cannot be 288.", "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"width": 32}, "width cannot be 32.", "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"width": 128, "model": "big"}, "width cannot be 128.", "Allowed for big: multiples of 8 from 512 to 2048."),
        ({"steps": 1, "sampler": "uni_pc"}, "steps cannot be 1.", "Allowed for UniPC: 2 to 200."),
        ({"steps": 3, "sampler": "lms"}, "steps cannot be 3.", "Allowed for LMS: 4 to 200."),
        ({"steps": 2, "sampler": "dpmpp_3m_sde_gpu"}, "steps cannot be 2.", "Allowed for DPM++ 3M SDE: 3 to 200."),
        ({"steps": 11, "scheduler": "turbo"}, "steps cannot be 11.", "Allowed for Turbo: 1 to 10."),
        (
            {"scheduler": "edm_playground_v2.5"},
            "The scheduler EDM is not made for how the model tiny was trained.",
            "Choose one of: normal, karras, exponential, sgm_uniform, whole_uniform, simple, ddim_uniform, beta, "
            "align_your_steps, turbo, lcm, tcd.",
        ),
    ],
)
def test_what_model_or_sampler_cannot_do(library: Library, wish: dict[str, Any], problem: str, hint: str) -> None:
    with pytest.raises(BadValue) as caught:
        plan(library, **wish)
    assert (caught.value.problem, caught.value.hint) == (problem, hint)
    assert caught.value.field in wish


@pytest.mark.parametrize(
    "wish, hint",
    [
        ({"width": 0}, "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"height": 100_000}, "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"height": "tall", "model": "BIG"}, "Allowed for big: multiples of 8 from 512 to 2048."),
        ({"width": 0, "preset": "wide"}, "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"width": 0, "model": "nope"}, "Allowed is a whole number from 1 to 4096."),
        ({"steps": 0}, "Allowed is a whole number from 1 to 200."),
    ],
)
def test_a_size_that_no_model_can_do_hears_the_models_range(library: Library, wish: dict[str, Any], hint: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_wish(wish, library)
    assert caught.value.hint == hint and caught.value.field in wish
    assert parse_wish({"width": 64}, library) == Recipe(width=64)


@pytest.mark.parametrize("field", ["preset", "model", "mode", "sampler", "scheduler", "styles"])
def test_unknown_names(library: Library, field: str) -> None:
    with pytest.raises(UnknownName) as caught:
        plan(library, **{field: ["nope"] if field == "styles" else "nope"})
    assert caught.value.field == field and "'nope'" in caught.value.problem and caught.value.hint


@pytest.mark.parametrize("text", ["\U0001f680" * 900, "\u202eabc\u05d0", "a\x00b", "word " * 3999], ids=range(4))
def test_strange_prompts_make_a_plan(library: Library, text: str) -> None:
    (made,) = plan(library, prompt=text).texts
    made.encode("utf-8")
    assert "\x00" not in made


@pytest.mark.parametrize(
    "wish, said",
    [
        ({}, "The prompt is empty"),
        ({"styles": ["dots", "Dots", "washes"]}, "Dots was chosen more than once"),
        ({"guidance_scale": 1, "negative_prompt": "fog"}, "does nothing at guidance scale 1"),
        ({"width": 256, "height": 256}, "256×256 is far from the 128×128 that tiny was trained at"),
        ({"width": 64, "height": 256}, "64×256 is far from"),
        ({"model": "big"}, "big is not on this disk yet"),
    ],
)
def test_warnings(library: Library, wish: dict[str, Any], said: str) -> None:
    assert any(said in warning for warning in plan(library, **wish).warnings)
    assert plan(library, prompt="a cat", styles=["dots"]).warnings == ()


def test_styles_a_model_has_not_learned_are_mentioned(library: Library) -> None:
    models = {"tiny": dataclasses.replace(library.models["tiny"], style_categories=("Other",))}
    warnings = plan(dataclasses.replace(library, models=models), prompt="a cat", styles=["dots"]).warnings
    assert warnings == ("The model tiny has not learned the style Dots; it may show little of it.",)


def test_a_batch_is_one_recipe_per_picture_with_rising_seeds(library: Library) -> None:
    batch = expand(parse_recipe({"prompt": "a cat", "count": 3, "seed": MAX_SEED - 1}), library, seed=9)
    assert [recipe.seed for recipe in batch] == [MAX_SEED - 1, MAX_SEED, 0]
    assert {recipe.count for recipe in batch} == {1}
    assert [recipe.seed for recipe in expand(parse_recipe({"count": 2}), library, seed=9)] == [9, 10]
    assert len(expand(parse_recipe({"preset": "wide"}), library, seed=9)) == 3


@pytest.fixture
def wordy(root: Path, load: Callable[[], Library]) -> Library:
    """The library with a word list and a LoRA."""
    for place, data in (("wildcards/thing.txt", b"cat\ndog <lora:ink:0.5>\nbird <style:dots>"), (LORA, lora_bytes())):
        (root / place).parent.mkdir(parents=True)
        (root / place).write_bytes(data)
    return load()


def test_a_batch_goes_through_the_arrays(library: Library) -> None:
    batch = expand(parse_recipe({"prompt": "[[red, green]] cat", "count": 3}), library, seed=9)
    assert [recipe.index for recipe in batch] == [0, 1, 2]
    assert {recipe.prompt for recipe in batch} == {"[[red, green]] cat"}
    assert [make_plan(recipe, library, 0).texts for recipe in batch] == [("red cat",), ("green cat",), ("red cat",)]


@pytest.mark.parametrize(
    "wish, pictures",
    [
        ({"prompt": "[[a, b, c]]"}, 3),
        ({"prompt": "[[a, b, c]]", "count": 1}, 1),
        ({"prompt": "[[a, b]]", "preset": "wide"}, 3),
        ({"prompt": "[[a, b]]\n[[c, d]]", "negative_prompt": "[[e, f]]"}, 8),
        ({"prompt": "[[" + "a," * 150 + "]]"}, 100),
    ],
)
def test_an_open_count_is_as_many_as_the_arrays_have(library: Library, wish: dict[str, Any], pictures: int) -> None:
    assert len(expand(parse_recipe(wish), library, seed=1)) == pictures


def test_prompts_between_dashes_are_pictures_of_their_own(library: Library) -> None:
    wish = parse_recipe({"prompt": "a cat\n---\n[[a, b]] dog\nat sea", "count": 2, "seed": 7, "styles": ["dots"]})
    batch = expand(wish, library, 0)
    assert [(one.prompt.split()[-1], one.seed, one.index) for one in batch] == [
        ("cat", 7, 0), ("cat", 8, 1), ("sea", 7, 0), ("sea", 8, 1),
    ]  # fmt: skip
    assert make_plan(batch[3], library, 0).texts == ("b dog, dots", "at sea")


def test_too_many_pictures_at_once_are_refused(library: Library) -> None:
    most = parse_recipe({"prompt": "\n---\n".join("abcdefghij"), "count": MAX_BATCH // 10})
    assert len(expand(most, library, 0)) == MAX_BATCH
    with pytest.raises(BadValue, match="11 prompts of 100 pictures each are too many") as caught:
        expand(parse_recipe({"prompt": "\n---\n".join("abcdefghijk"), "count": 100}), library, 0)
    assert caught.value.field == "prompt"
    with pytest.raises(BadValue):
        expand(parse_recipe({"prompt": "a\n---\n" * 3000}), library, 0)
    crowded = parse_recipe({"prompt": "\n---\n".join(["[[" + "a," * 99 + "]]"] * 60)})
    assert len(expand(crowded, library, 0)) == MAX_BATCH


def test_tags_bring_styles_and_loras_to_their_picture_only(wordy: Library, root: Path) -> None:
    wish = parse_recipe({"prompt": "a __thing__", "styles": ["washes"], "wildcard_order": "ordered", "count": 3})
    cat, dog, bird = (make_plan(one, wordy, 0) for one in expand(wish, wordy, 5))
    assert (cat.texts, cat.loras) == (("washes of a cat, wet",), ())
    assert (dog.texts, dog.loras) == (("washes of a dog, wet",), (LoraRef("ink", str(root / LORA), 0.5),))
    assert (bird.texts, bird.loras) == (("washes of a bird, wet", "a bird, dots"), ())


@pytest.mark.parametrize(
    "prompt, said",
    [
        ("__thin__ x", "There is no wildcard 'thin'. Did you mean thing? It stays as plain words."),
        (
            "<lora:inc:1> x",
            "There is no LoRA 'inc' in models/loras. Did you mean sub/ink? The picture is made without it.",
        ),
        ("<style:dot> x", "There is no style 'dot'. Did you mean Dots? The tag was left out."),
        ("<style:dots>" * 31 + "x", "The prompt names 31 styles; the first 30 are used."),
    ],
)
def test_what_a_prompt_names_and_is_not_there_is_a_warning(wordy: Library, prompt: str, said: str) -> None:
    warnings = plan(wordy, prompt=prompt).warnings
    assert warnings[0] == said and (len(warnings) == 1 or "no:" in prompt)


def test_what_is_missing_is_named_ten_times_and_then_counted(wordy: Library) -> None:
    prompt = " ".join(f"__no{number}__ embedding:no{number}" for number in range(30))
    warnings = plan(wordy, prompt=prompt).warnings
    assert sum("There is no wildcard" in warning for warning in warnings) == 10
    assert "20 more wildcards are not there; they stay as plain words, too." in warnings
    assert "20 more embeddings are not there; the picture was drawn without them, too." in warnings


def test_a_style_chosen_and_named_is_applied_once(library: Library) -> None:
    assert plan(library, prompt="a cat <style:DOTS>", styles=["dots"]).texts == ("a cat, dots",)


def test_a_tag_for_any_style_picks_by_the_seed_and_not_what_was_chosen(library: Library) -> None:
    wish = {"prompt": "a cat <style:random style>", "styles": ["washes", "random style"], "seed": 4}
    texts = plan(library, **wish).texts
    assert sorted(texts) == ["a cat, dots", "sharp", "washes of a cat, wet"]
    named = {plan(library, prompt="a cat <style:Random style>", seed=seed).texts for seed in range(20)}
    assert named == {("a cat, dots",), ("washes of a cat, wet",), ("a cat", "sharp")}


def test_a_batch_says_what_it_leaves_out(library: Library) -> None:
    batch = expand(parse_recipe({"prompt": "[[a, b, c]] __x__\n---\n__y__", "count": 2}), library, 0)
    notes = batch_notes(batch, library)
    assert "The lists in [[ ]] make 3 combinations; 2 will be drawn." in notes
    assert [note for note in notes if "wildcard" in note] == [
        f"There is no wildcard {name!r}. It stays as plain words." for name in "xy"
    ]


def test_combinations_without_end_are_not_written_out(library: Library) -> None:
    recipe = parse_recipe({"prompt": "[[a,b,c,d]]" * 1_500, "count": 1})
    (note,) = (one for one in batch_notes(expand(recipe, library, 1), library) if "combinations" in one)
    assert note == "The lists in [[ ]] make more than a million combinations; 1 will be drawn."


def test_a_resolved_recipe_writes_names_as_the_library_does(library: Library) -> None:
    wish = {"preset": "Wide", "model": "TINY", "sampler": "DPM++ 2M Karras", "styles": ["WASHES", "plain addition"]}
    full = resolve(parse_recipe(wish), library, 5)
    assert (full.preset, full.model, full.sampler, full.scheduler) == ("wide", "tiny", "dpmpp_2m", "karras")
    assert full.styles == ("Washes", "plain-addition")


def test_a_style_chosen_twice_is_applied_once(library: Library) -> None:
    assert plan(library, prompt="a cat", styles=["dots", "Dots"]).texts == ("a cat, dots",)


def test_a_resolved_recipe_is_complete_and_outlives_its_preset(library: Library, root: Path) -> None:
    full = resolve(parse_recipe({"prompt": "a cat", "preset": "WIDE"}), library, 5)
    assert full.preset == "wide"
    assert [name for name, value in full.model_dump().items() if value is None] == ["expansion"], "chosen by the seed"
    (root / "presets" / "wide.json").unlink()
    assert make_plan(full, library.refreshed(), 0) == make_plan(full, library, 0)
    older = full.model_copy(update={"clip_skip": None})  # of a picture from before the field existed
    assert make_plan(older, library.refreshed(), 0) == make_plan(full, library, 0)
    older = full.model_copy(update={"sampler": "dpmpp_2m_sde_karras", "scheduler": None})  # likewise
    made = make_plan(older, library.refreshed(), 0)
    assert (made.sampler, made.scheduler) == ("dpmpp_2m_sde", "karras")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WISHES, ANY_SEED, ANY_SEED)
def test_the_round_trip_law(wordy: Library, wish: Recipe, seed: int, other_seed: int) -> None:
    """Resolving again, through JSON and with another seed at hand, changes nothing: not the words either."""
    library = wordy
    try:
        full = resolve(wish, library, seed)
    except FooocusError:
        return
    again = parse_recipe(json.loads(full.model_dump_json()))
    assert resolve(again, library, other_seed) == full == again
    assert make_plan(again, library, other_seed) == make_plan(wish, library, seed)
    assert [resolve(one, library, other_seed) for one in expand(wish, library, seed)] == expand(wish, library, seed)
