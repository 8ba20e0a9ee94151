"""Fooocus's names and preset keys. `fooocus_facts.json` holds what Fooocus 2.5.5 was observed to do."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fooocus_lite.errors import UnknownName
from fooocus_lite.fooocus_names import (
    PERFORMANCES,
    SAMPLER_NAMES,
    SCHEDULES,
    STYLE_FILES,
    moved_to_top,
    parse_size,
    style_name,
)
from fooocus_lite.fooocus_presets import KEYS, FooocusPreset, Need, needs_of, read_fooocus_preset, recipe_of
from fooocus_lite.recipe import Recipe
from fooocus_lite.registry import FORMER_SAMPLERS, SAMPLERS
from fooocus_lite.registry import SCHEDULERS as OUR_SCHEDULERS
from fooocus_lite.sampler_names import find_pair
from tests.thought.facts import FACTS

PRESETS = list(FACTS["preset_to_settings"])
#: What the observed settings call a key of a preset, where that is another word.
SETTING_OF = {
    "default_model": "base_model",
    "default_refiner": "refiner_model",
    "default_refiner_switch": "refiner_switch",
    "default_cfg_scale": "guidance_scale",
    "default_sample_sharpness": "sharpness",
    "default_cfg_tsnr": "adaptive_cfg",
    "default_clip_skip": "clip_skip",
    "default_sampler": "sampler",
    "default_scheduler": "scheduler",
    "default_overwrite_step": "steps",
    "default_overwrite_switch": "overwrite_switch",
    "default_performance": "performance",
    "default_image_number": "image_number",
    "default_prompt": "prompt",
    "default_prompt_negative": "negative_prompt",
    "default_vae": "vae",
    "default_inpaint_engine_version": "inpaint_engine_version",
}
#: What a recipe says in which nobody set anything.
NOBODY_SAID = Recipe().set_fields()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def observed(name: str) -> dict[str, Any]:
    """The settings that Fooocus made of a preset, under the preset's keys and with its types."""
    said = FACTS["preset_to_settings"][name]
    rows = [said[f"lora_combined_{number}"].split(" : ") for number in range(1, 6)]
    made: dict[str, Any] = {key: said[SETTING_OF.get(key, key)] for key in KEYS if SETTING_OF.get(key, key) in said}
    made["default_loras"] = [[on == "True", file, float(weight)] for on, file, weight in rows]
    made["default_styles"] = ast.literal_eval(said["styles"])
    made["default_aspect_ratio"] = "*".join(ast.literal_eval(said["resolution"]))
    assert made.keys() == KEYS.keys()
    return made


def preset_file(name: str) -> dict[str, Any]:
    """A preset with the keys that Fooocus's own has, and the values that it was seen to give them."""
    values = observed(name)
    return {key: values[key] for key in FACTS["preset_keys"][f"{name}.json"]}


def test_there_are_28_keys() -> None:
    assert len(KEYS) == 28
    assert {key for keys in FACTS["preset_keys"].values() for key in keys} <= KEYS.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_becomes_the_settings_that_fooocus_makes_of_it(name: str) -> None:
    """Missing keys come from the configuration at start, which is the default preset's, then from the program."""
    read = read_fooocus_preset(preset_file(name), startup=preset_file("default"))
    wanted = observed(name)
    wanted["default_loras"] = tuple(tuple(row) for row in wanted["default_loras"] if row[1] != "None")
    wanted["default_styles"] = tuple(wanted["default_styles"])
    wanted["default_aspect_ratio"] = parse_size(wanted["default_aspect_ratio"])
    is_said = "previous_default_models" in preset_file(name)
    # On purpose: a preset that names no older models inherits none. Fooocus gave pony_v6 those of another preset.
    wanted["previous_default_models"] = tuple(wanted["previous_default_models"]) if is_said else ()
    assert read.values == wanted
    assert read.warnings == () and read.unknown == {}
    assert is_said or name == "pony_v6"


def test_what_the_default_preset_draws_here() -> None:
    recipe, warnings = recipe_of(read_fooocus_preset(preset_file("default")))
    assert recipe.set_fields() == {
        **NOBODY_SAID,
        "styles": ["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"],
        "model": "juggernautXL_v8Rundiffusion",
        "width": 1152,
        "height": 896,
        "steps": 30,
        "sampler": "dpmpp_2m_sde",
        "scheduler": "karras",
        "guidance_scale": 4.0,
        "loras": [{"name": "sd_xl_offset_example-lora_1.0", "weight": 0.1, "enabled": True}],
    }
    assert "prompt" not in recipe.model_fields_set, "an empty one must not clear the person's"
    assert warnings == ()


def test_few_steps_are_not_taken_without_the_lora_that_they_need() -> None:
    recipe, warnings = recipe_of(read_fooocus_preset(preset_file("lightning")))
    assert recipe.steps == 30 and "Lightning needs the LoRA sdxl_lightning_4step_lora.safetensors" in warnings[0]
    assert recipe_of(read_fooocus_preset({"default_performance": "Quality"}))[0].steps == 60
    assert (
        recipe_of(read_fooocus_preset({"default_performance": "Quality", "default_overwrite_step": 12}))[0].steps == 12
    )


def test_what_nobody_said_stays_open() -> None:
    recipe, warnings = recipe_of(read_fooocus_preset({"default_cfg_scale": 3}, startup={"path_loras": "x"}))
    assert recipe.set_fields() == {**NOBODY_SAID, "guidance_scale": 3} and warnings == ()


def test_the_layer_that_is_read_means_the_same_here() -> None:
    assert recipe_of(read_fooocus_preset({"default_clip_skip": 1}))[0].clip_skip == 1


def test_a_preset_carries_the_files_that_it_needs() -> None:
    default, pony = (needs_of(read_fooocus_preset(preset_file(name))) for name in ("default", "pony_v6"))
    assert [(need.kind, need.name) for need in default] == [
        ("model", "juggernautXL_v8Rundiffusion"),
        ("lora", "sd_xl_offset_example-lora_1.0"),
    ]
    assert all(need.url.startswith("https://huggingface.co/") and need.url.endswith(need.file) for need in default)
    assert len(default[0].older) == 5
    assert [need.kind for need in pony] == ["model", "vae"] and pony[0].older == ()
    folders = needs_of(read_fooocus_preset({"default_model": "sub\\a.safetensors"}))
    assert folders == (Need("model", "a.safetensors"),)
    assert needs_of(read_fooocus_preset({"default_model": "sub/", "default_vae": "/"})) == (Need("model", "sub"),)


@pytest.mark.parametrize(
    "key, value",
    [
        ("default_model", 7),
        ("default_refiner_switch", 1.5),
        ("default_cfg_scale", "7"),
        ("default_cfg_scale", True),
        ("default_cfg_scale", float("nan")),
        ("default_cfg_scale", 10**400),
        ("default_clip_skip", 0),
        ("default_clip_skip", 2.5),
        ("default_sampler", "nope"),
        ("default_scheduler", "nope"),
        ("default_performance", "speed"),
        ("default_aspect_ratio", "wide"),
        ("default_styles", "Fooocus V2"),
        ("default_styles", "__import__('os').system('x')"),
        ("default_loras", [["a"]]),
        ("default_loras", [["yes", "a", 1]]),
        ("default_loras", [[True, "a", 11]]),
        ("default_image_number", 0),
        ("default_save_metadata_to_images", 1),
        ("checkpoint_downloads", [1]),
        ("checkpoint_downloads", {"a": 1}),
        ("default_inpaint_engine_version", "v9"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named_and_the_rest_is_read(key: str, value: Any) -> None:
    read = read_fooocus_preset({key: value, "default_sample_sharpness": 5.0})
    assert len(read.warnings) == 1 and key in read.warnings[0] and KEYS[key].allowed in read.warnings[0]
    assert read.values[key] == KEYS[key].default and key not in read.said
    assert read.values["default_sample_sharpness"] == 5.0


def test_loras_in_both_forms() -> None:
    rows = [["a.safetensors", 0.5], [False, "b.safetensors", 1], [True, "None", 1.0], [True, "", 1.0], [None, 1]]
    read = read_fooocus_preset({"default_loras": rows})
    assert read.values["default_loras"] == ((True, "a.safetensors", 0.5), (False, "b.safetensors", 1.0))
    assert [need.file for need in needs_of(read)] == ["a.safetensors"], "what is switched off is not needed"


@pytest.mark.parametrize("value", ["", "None", "/"])
def test_a_preset_without_a_model_leaves_it_open(value: str) -> None:
    read = read_fooocus_preset({"default_model": value, "default_cfg_scale": 3.0})
    assert recipe_of(read)[0].model is None and needs_of(read) == ()


@pytest.mark.parametrize("value", [None, "", "None"])
def test_no_refiner_in_three_ways(value: str | None) -> None:
    assert read_fooocus_preset({"default_refiner": value}).values["default_refiner"] == "None"


def test_unknown_keys_are_kept_and_mentioned() -> None:
    read = read_fooocus_preset({"default_cfg_scale": 3.0, "default_magic": [1]})
    assert read.unknown == {"default_magic": [1]}
    assert read.warnings == ("The key default_magic is kept, but nothing here knows it.",)


@given(st.dictionaries(st.sampled_from([*KEYS, "other"]), JSON), st.dictionaries(st.sampled_from(list(KEYS)), JSON))
def test_whatever_a_preset_holds_is_a_recipe_and_sentences(data: dict[str, Any], startup: dict[str, Any]) -> None:
    read = read_fooocus_preset(data, startup)
    assert isinstance(read, FooocusPreset) and read.values.keys() == KEYS.keys()
    recipe, warnings = recipe_of(read)
    assert recipe.preset is None and all(warning.endswith(".") for warning in (*read.warnings, *warnings))
    assert all(need.file for need in needs_of(read))


@pytest.mark.parametrize("written, name", FACTS["style_name_examples"].items())
def test_style_names(written: str, name: str) -> None:
    assert style_name(written) == name


def test_the_tables_are_fooocus_s() -> None:
    assert list(SAMPLER_NAMES) == list(FACTS["samplers"])
    assert list(SCHEDULES) == FACTS["schedulers"]
    assert {name: (mode.steps, mode.lora) for name, mode in PERFORMANCES.items()} == {
        name: (row["steps"], row["lora"]) for name, row in FACTS["performance"].items()
    }
    assert set(STYLE_FILES) == FACTS["style_files"].keys()


NOT_HERE = {"heunpp2": "heun", "dpm_fast": "dpmpp_2m", "dpm_adaptive": "dpmpp_2m"}
OTHERWISE_CALLED = {"uni_pc_bh2": "uni_pc"}


@pytest.mark.parametrize("sampler", FACTS["samplers"])
def test_every_id_of_fooocus_is_a_sampler_here_or_the_nearest_with_a_notice(sampler: str) -> None:
    pair = find_pair(sampler, "karras")
    here = NOT_HERE.get(sampler, OTHERWISE_CALLED.get(sampler, sampler.removesuffix("_gpu")))
    assert (pair.sampler, pair.scheduler) == (here, "karras")
    label = SAMPLERS[here].label
    notice = (f"{sampler} is not here; {label} comes nearest and is used.",) if sampler in NOT_HERE else ()
    assert pair.notes == notice


@pytest.mark.parametrize("schedule", FACTS["schedulers"])
def test_every_schedule_of_fooocus_is_here(schedule: str) -> None:
    pair = find_pair("euler", schedule)
    assert (pair.scheduler, pair.notes) == ({"edm_playground_v2.5": "edm"}.get(schedule, schedule), ())


@pytest.mark.parametrize(
    ("written", "schedule", "sampler", "scheduler"),
    [
        ("DPM++ 2M Karras", None, "dpmpp_2m", "karras"),
        ("DPM++ 2M", "SGM Uniform", "dpmpp_2m", "sgm_uniform"),
        ("DPM++ 2M", "Automatic", "dpmpp_2m", "karras"),
        ("DPM++ 3M SDE Exponential", None, "dpmpp_3m_sde", "exponential"),
        ("DPM++ 2M Karras", "Exponential", "dpmpp_2m", "exponential"),
        ("DPM++ 2S a Karras", "", "dpmpp_2s_ancestral", "karras"),
        ("Euler a", "Beta", "euler_ancestral", "beta"),
        ("dpmpp_2m_k", None, "dpmpp_2m", "karras"),
        ("dpmpp_2m_sde_gpu", "auto", "dpmpp_2m_sde", "karras"),
        ("k_dpm_2_a", None, "dpm_2_ancestral", "karras"),
        ("kdpm_2", None, "dpm_2", "karras"),
        ("sample_dpmpp_sde", None, "dpmpp_sde", "karras"),
        ("Restart", "uniform", "restart", "normal"),
        ("UniPC", None, "uni_pc", "whole_uniform"),
        ("LCM", None, "lcm", "lcm"),
        ("ddim", "Align Your Steps", "ddim", "align_your_steps"),
        *((former, None, *pair) for former, pair in FORMER_SAMPLERS.items()),
    ],
)
def test_names_of_other_programs_and_earlier_versions(
    written: str, schedule: str | None, sampler: str, scheduler: str
) -> None:
    pair = find_pair(written, schedule)
    assert (pair.sampler, pair.scheduler, pair.notes) == (sampler, scheduler, ())
    assert find_pair(pair.sampler, pair.scheduler) == pair, "our own names mean themselves"


def test_what_nobody_knows_is_said() -> None:
    with pytest.raises(UnknownName, match="There is no sampler 'nope'") as caught:
        find_pair("nope", "karras", guesses=True)
    assert caught.value.field == "sampler"
    with pytest.raises(UnknownName, match="There is no scheduler 'nope'") as caught:
        find_pair("euler", "nope")
    assert caught.value.field == "scheduler" and "karras" in (caught.value.hint or "")
    with pytest.raises(UnknownName):
        find_pair("my_own_sde", "karras")
    guess = find_pair("my_own_sde", "nope", guesses=True)
    assert (guess.sampler, guess.scheduler, len(guess.replaced)) == ("dpmpp_2m_sde", "karras", 2)


def test_turbo_has_no_more_steps_than_it_knows() -> None:
    said = {"default_sampler": "euler_ancestral", "default_scheduler": "turbo", "default_performance": "Speed"}
    recipe, warnings = recipe_of(read_fooocus_preset(said))
    most = OUR_SCHEDULERS["turbo"].max_steps
    assert recipe.steps == most and f"Turbo has {most} steps; they are taken, not 30." in warnings


@pytest.mark.parametrize("label", FACTS["aspect_labels"])
def test_sizes(label: str) -> None:
    width, height = (int(side) for side in label.split(" ")[0].split("×"))
    assert parse_size(label) == parse_size(f"{width}*{height}") == (width, height)
    assert parse_size("1152") is None and parse_size("123456*1") is None


def test_favourites_are_what_was_moved_to_the_top() -> None:
    original = list("abcdef")
    assert moved_to_top(list("cfabde"), original) == ["c", "f"]
    assert moved_to_top(list("adbcef"), original) == ["a", "d"]
    assert moved_to_top(original, original) == [] == moved_to_top([], original)
    assert moved_to_top(["x", *"fabcde"], original) == ["f"], "names that are gone count for nothing"
