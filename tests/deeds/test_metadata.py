"""What other programs save is read: every scheme in every container it is written in, names mapped, losses said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.errors import FooocusError
from fooocus_lite.fooocus_presets import Need
from fooocus_lite.metadata import ReadPicture, read_file, read_text
from fooocus_lite.modes import known_mode
from fooocus_lite.preset_files import Preset
from fooocus_lite.recipe import Lora, Recipe, parse_recipe
from tests.deeds import foreign as f
from tests.deeds.foreign import LIBRARY, read, said

PICTURES = Path(__file__).parent / "pictures"


@pytest.mark.parametrize("name", ["fooocus_scheme.png", "fooocus_scheme.jpeg", "a1111_scheme.png"])
def test_pictures_that_fooocus_wrote(name: str) -> None:
    found = read_file(PICTURES / name, LIBRARY)
    assert found.scheme == name.partition("_")[0]
    recipe = found.recipe
    assert (recipe.prompt, recipe.negative_prompt) == ("red cat\nsecond line", "blurry")
    assert (recipe.width, recipe.height, recipe.seed, recipe.steps) == (1152, 896, 12345, 30)
    assert (recipe.guidance_scale, recipe.sampler) == (4.0, "dpmpp_2m_sde")
    assert recipe.model == "juggernautXL_v8Rundiffusion"
    assert "'juggernautXL_v8Rundiffusion' is not here (hash e3b0c44298); choose another one, or add it" in said(found)
    assert recipe.loras == (Lora(name="sd_xl_offset_example-lora_1.0", weight=0.1),)
    assert "The LoRA 'sd_xl_offset_example-lora_1.0' is not here; add it to models/loras." in said(found)
    assert (recipe.sharpness, recipe.adm_positive, recipe.adm_negative, recipe.adm_end) == (2.0, 1.5, 0.8, 0.3)
    assert recipe.adaptive_cfg is None, "weaker than its 7"
    assert "clip" not in said(found) and "vae" not in said(found), "what changes nothing is not worth a word"
    expected = () if found.scheme == "fooocus" else ("Plain",)
    assert recipe.styles == ("Expand prompt", *expected), "the second scheme names no styles: found by their words"
    assert recipe.expansion == "cinematic", "exactly what was added then"
    assert "Fooocus V2" not in said(found)
    assert ("'Fooocus Enhance'" in said(found)) == (found.scheme == "fooocus")
    assert recipe.clip_skip == 2


def test_a_missing_model_comes_with_the_address_that_a_preset_knows() -> None:
    need = Need("model", "Far_v2.safetensors", "https://x.test/far")
    library = replace(LIBRARY, presets={"far": Preset("far", "far", "", Recipe(), needs=(need,))})
    text = f"a fox\nSteps: 20, Seed: 1, Model hash: {'0' * 10}, Model: {{}}"
    assert said(read_text(text.format("far_v2"), library)) == (
        "The model 'far_v2' is not here (hash 0000000000); get it at https://x.test/far."
    )
    assert "choose another one, or add it as models/README.md says." in said(read_text(text.format("near"), library))
    nasty = "a fox\nSteps: 20, Seed: 1, Model hash: <b>, Model: far_v2"
    assert "hash" not in said(read_text(nasty, library))


def test_a_model_that_is_known_and_not_here_comes_with_its_place() -> None:
    entry = replace(next(iter(LIBRARY.models.values())), name="Far", path="/models/far.safetensors", available=False)
    found = read_text("a fox\nSteps: 20, Seed: 1, Model: far", replace(LIBRARY, models={"Far": entry}))
    assert found.recipe.model == "Far"
    assert said(found) == "The model Far is known here, but not on this disk yet. Put it at /models/far.safetensors."


FOOOCUS_TEXT = f.as_json(f.FOOOCUS)
FOOOCUS_FILES = {
    "PNG": f.png(parameters=FOOOCUS_TEXT, fooocus_scheme="fooocus"),
    "PNG, compressed, behind the pixels": f.png(parameters=FOOOCUS_TEXT, compressed=True, after=True),
    "JPEG": f.with_exif("JPEG", {f.USER_COMMENT: FOOOCUS_TEXT, f.MAKER_NOTE: "fooocus", f.SOFTWARE: "Fooocus v2.5.5"}),
    "WebP": f.with_exif("WEBP", {f.USER_COMMENT: FOOOCUS_TEXT, f.MAKER_NOTE: "fooocus", f.SOFTWARE: "Fooocus v2.5.5"}),
    "JPEG, in the EXIF folder": f.with_exif("JPEG", folder={f.USER_COMMENT: b"ASCII\0\0\0" + FOOOCUS_TEXT.encode()}),
    "JPEG, UTF-16": f.with_exif("JPEG", folder={f.USER_COMMENT: f.comment(FOOOCUS_TEXT)}),
    "JPEG, little-endian UTF-16": f.with_exif("JPEG", folder={f.USER_COMMENT: f.comment(FOOOCUS_TEXT, "utf-16-le")}),
    "pasted": FOOOCUS_TEXT.encode(),
}


@pytest.mark.parametrize("name", FOOOCUS_FILES)
def test_fooocus_in_every_container(name: str) -> None:
    found = read(FOOOCUS_FILES[name])
    assert found.scheme == "fooocus"
    assert found.recipe == Recipe(
        prompt="a fox\nin snow", negative_prompt="fog", styles=("SAI Anime",), clip_skip=2,
        model="bluePencilXL_v050", width=1344, height=768, seed=8123456789012345678, steps=30,
        sampler="dpmpp_2m_sde", scheduler="karras", guidance_scale=5.5,
        sharpness=2.0, adm_positive=1.5, adm_negative=0.8, adm_end=0.3,
        loras=(Lora(name="ink", weight=0.7), Lora(name="lines", weight=-0.25)),
        mode="speed",
    )  # fmt: skip
    assert 'There is no style "Artist\'s Choice". It was left out.' in found.warnings


def fooocus(**changes: Any) -> ReadPicture:
    return read_text(f.as_json(f.FOOOCUS | changes), LIBRARY)


def test_fooocus_guidance_is_ours() -> None:
    found = fooocus(guidance_scale=9, freeu="(1.01, 1.02, 0.99, 0.95)", adm_guidance="('1.2', '0.9', '0.4')")
    recipe = found.recipe
    assert (recipe.freeu_b1, recipe.freeu_b2, recipe.freeu_s1, recipe.freeu_s2) == (1.01, 1.02, 0.99, 0.95)
    assert (recipe.adm_positive, recipe.adm_end, recipe.adaptive_cfg) == (None, None, 7.0), "its usual one goes unsaid"
    assert "adm guidance is" in said(found)
    assert fooocus(guidance_scale=9, adaptive_cfg=5).recipe.adaptive_cfg == 5
    assert fooocus(sharpness=99).recipe.sharpness == 30
    assert "sharpness 99.0 is outside 0 to 30; 30 is taken" in said(fooocus(sharpness=99))


def test_fooocus_labels_of_its_log_mean_the_same() -> None:
    log = {
        "Prompt": "a fox", "Negative Prompt": "fog", "Fooocus V2 Expansion": "a fox, bright", "Steps": -1,
        "Styles": "['SAI Anime']", "Performance": "Quality", "Resolution": "('1024', '1024')", "Guidance Scale": 4,
        "Base Model": "foxXL.safetensors", "Sampler": "euler", "Scheduler": "normal", "Seed": 7,
        "LoRA 1": "True : ink.safetensors : 0.5", "LoRA 2": "False : off.safetensors : 1.0",
        "LoRA 3": "True : None : 1.0", "Refiner Model": "ref.safetensors", "Refiner Switch": 0.7,
    }  # fmt: skip
    found = read_text(json.dumps(log), LIBRARY)
    recipe = found.recipe
    assert (recipe.styles, recipe.width, recipe.steps, recipe.model) == (("SAI Anime",), 1024, 60, "foxXL")
    assert recipe.expansion is None, "the style that adds words was not chosen"
    assert recipe.loras == (Lora(name="ink", weight=0.5),)
    assert (recipe.refiner, recipe.refiner_switch, recipe.mode) == ("none", 0.7, "quality")
    assert "The refiner 'ref' is not here; the model draws all the steps." in found.warnings


@pytest.mark.parametrize(
    "text",
    [
        """{"prompt": "a fox", "styles": "['sai-anime']", "seed": "7"}""",
        """{"Prompt": "a fox", "Styles": "['SAI Anime']", "Seed": 7}""",
    ],
)
def test_a_part_of_fooocus_s_settings_can_be_pasted(text: str) -> None:
    found = read_text(text, LIBRARY)
    assert found.scheme == "fooocus"
    assert found.recipe == Recipe(prompt="a fox", styles=("SAI Anime",), loras=(), seed=7)


@pytest.mark.parametrize(
    ("mode", "steps"), [("Quality", 60), ("Speed", 30), ("Extreme Speed", 8), ("Lightning", 4), ("Hyper-SD", 4)]
)
def test_a_mode_means_its_steps_where_none_are_said(mode: str, steps: int) -> None:
    lora = {"lora_combined_9": "sdxl_lightning_4step_lora.safetensors : 1.0"} if mode == "Lightning" else {}
    found = fooocus(performance=mode, steps=-1, **lora)
    assert (found.recipe.steps, found.recipe.mode) == (steps, known_mode(mode))
    assert "lightning" not in said(found), "the mode brings its LoRA by itself"
    assert fooocus(performance="nope").recipe.mode is None


def test_a_mode_that_cannot_be_had_here_is_said() -> None:
    found = fooocus(performance="Lightning", base_model=f"{next(iter(LIBRARY.models))}.safetensors")
    assert found.recipe.mode == "lightning"
    assert "The mode Lightning needs the LoRA sdxl_lightning_4step_lora.safetensors, which is not in" in said(found)


@pytest.mark.parametrize(
    "change",
    [
        {"styles": "__import__('os').system('touch pwned')"},
        {"styles": "['a', __import__('os').system('touch pwned')]"},
        {"styles": "['a' 'b']"},
        {"styles": {"a": 1}},
        {"styles": [1, 2]},
        {"resolution": "(__import__('os'), 2)"},
        {"resolution": [1]},
        {"resolution": "wide"},
        {"prompt": ["a"]},
        {"prompt": None, "negative_prompt": 5},
        {"seed": "1 + 1"},
        {"seed": True},
        {"seed": [1]},
        {"steps": "many"},
        {"steps": 1.5},
        {"guidance_scale": "NaN"},
        {"guidance_scale": {}},
        {"sampler": 3},
        {"base_model": ["x"]},
        {"loras": [["ink"]]},
        {"loras": [["ink", "heavy", "0"]]},
        {"loras": [[1, 1, "0"]]},
        {"loras": [["ink", 1e300, "0"]]},
        {"loras": [], "lora_combined_1": "ink"},
        {"loras": [], "lora_combined_1": "ink : 1 : 2 : 3"},
        {"prompt": "x" * 20_001},
    ],
    ids=str,
)
def test_wrong_kinds_of_values_are_refused(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FooocusError) as caught:
        fooocus(**change)
    assert caught.value.code == "unreadable_picture"
    assert caught.value.problem.startswith("The text holds settings that cannot be used: ") and caught.value.hint
    assert len(caught.value.problem) < 250
    assert list(tmp_path.iterdir()) == []


A1111_FILES = {
    "PNG": f.png(parameters=f.A1111),
    "PNG, compressed": f.png(parameters=f.A1111, compressed=True),
    "JPEG": f.with_exif("JPEG", folder={f.USER_COMMENT: f.comment(f.A1111)}),
    "WebP": f.with_exif("WEBP", folder={f.USER_COMMENT: f.comment(f.A1111)}),
    "pasted": f.A1111.encode(),
    "saved by Notepad as Unicode": f.A1111.encode("utf-16"),
    "pasted on Windows": b"\xef\xbb\xbf" + f.A1111.replace("\n", "\r\n").encode(),
    "with a wildcard's template behind": f"{f.A1111}\nTemplate: a __animal__\nNegative Template: x".encode(),
}


@pytest.mark.parametrize("name", A1111_FILES)
def test_a1111_in_every_container(name: str) -> None:
    found = read(A1111_FILES[name])
    assert found.scheme == "a1111"
    assert found.recipe == Recipe(
        prompt="a fox, (in snow:1.2) <lora:ink:0.7>\nsecond line, with a comma", negative_prompt="fog,\nmud", styles=(),
        model="sd_xl_base_1.0", width=832, height=1216, seed=1234567890, steps=25, sampler="dpmpp_2m",
        scheduler="karras", guidance_scale=6.5, loras=(),
    )  # fmt: skip
    assert found.recipe.loras == (), "the prompt names it"
    assert found.warnings == (
        "There is no setting here for: vae 'sdxl_vae.safetensors', denoising strength '0.4', hires upscale '1.5'.",
    )


def test_forge_and_its_schedule_apart() -> None:
    found = read(f.png(parameters=f.FORGE))
    recipe = found.recipe
    assert (recipe.sampler, recipe.model, recipe.negative_prompt) == ("dpmpp_2m_sde", "foxXL", "")
    assert "distilled cfg scale '3.5'" in said(found) and "module 1" in said(found)
    assert "hashes" not in said(found)


@pytest.mark.parametrize(
    ("prompt", "is_said"),
    [("a BREAK b", False), ("a AND b", True), ("a [b:c:0.5]", True), ("a [b::.25]", True), ("a [b:c:d]", False)],
)
def test_what_of_its_prompts_means_nothing_here_is_said(prompt: str, is_said: bool) -> None:
    assert ("mean nothing here" in said(read_text(f"{prompt}\nSteps: 5"))) == is_said


def test_civitai_names_its_models_in_a_list() -> None:
    found = read(f.png(parameters=f.CIVITAI))
    assert found.recipe.model == "Fox XL, fine"
    assert found.recipe.loras == (Lora(name="Ink", weight=0.8),)
    assert (found.recipe.sampler, found.recipe.seed) == ("euler_ancestral", 7)


def test_quoted_values_keep_their_commas_and_lines() -> None:
    raw = json.dumps('a "quoted", fox: yes\nSteps: 3, line 2 ★')
    found = read_text(f"shown words\nNegative prompt: x\nSteps: 4, Size: 64x64, Raw prompt: {raw}, Seed: 9", LIBRARY)
    assert found.recipe.prompt == 'a "quoted", fox: yes\nSteps: 3, line 2 ★'
    assert (found.recipe.steps, found.recipe.seed, found.recipe.negative_prompt) == (4, 9, "")


@pytest.mark.parametrize(
    ("line", "open_field", "words"),
    [
        ("Steps: 5, Seed: -1, Size: 64x64", "seed", "The seed -1 is outside"),
        ("Steps: 5, Seed: 18446744073709551615, Size: 64x64", "seed", "is outside 0 to 2^63 − 1"),
        ("Steps: 5, Seed: abc, Size: 64x64", "seed", "Seed is 'abc', not a whole number"),
        ("Steps: 5, CFG scale: NaN, Size: 64x64", "guidance_scale", "CFG scale is 'NaN', not a number"),
        ("Steps: 5, Size: huge", "width", "Size is 'huge'"),
        ("Steps: 5, Size: 9000x64", "width", "more than 4096"),
        ("Steps: 5, Sampler: Sorcery, Size: 64x64", "sampler", "'Sorcery' is not known here"),
    ],
)
def test_loose_text_that_does_not_fit_is_left_open_and_said(line: str, open_field: str, words: str) -> None:
    found = read_text(f"a fox\n{line}", LIBRARY)
    assert getattr(found.recipe, open_field) is None
    assert words in said(found)


@pytest.mark.parametrize(("written", "layer"), [("1", None), ("2", 2), ("3", 3), ("0", 1), ("x", None)])
def test_clip_skip_of_loose_text(written: str, layer: int | None) -> None:
    assert read_text(f"a fox\nSteps: 5, Clip skip: {written}, Size: 64x64", LIBRARY).recipe.clip_skip == layer


def test_numbers_outside_the_range_become_its_ends() -> None:
    found = read_text("a fox\nSteps: 500, CFG scale: 0.5, Size: 64x64", LIBRARY)
    assert (found.recipe.steps, found.recipe.guidance_scale) == (200, 1.0)
    assert "steps 500 is outside 1 to 200; 200 is taken." in found.warnings


def test_invokeai_new() -> None:
    found = read(f.png(invokeai_metadata=f.as_json(f.INVOKE), invokeai_graph="{}"))
    assert found.scheme == "invokeai"
    assert found.recipe == Recipe(
        prompt="a fox", negative_prompt="fog", styles=(), model="Juggernaut XL v9", width=1024, height=768, seed=4242,
        steps=28, sampler="dpmpp_2m_sde", scheduler="karras", guidance_scale=7.5,
        loras=(Lora(name="ink", weight=0.75),),
    )  # fmt: skip
    assert "There is no setting here for: vae 'sdxl-vae-fp16-fix'." in found.warnings
    version_3 = f.INVOKE | {
        "model": {"model_name": "sd_xl_base_1.0", "base_model": "sdxl"},
        "loras": [{"lora": {"model_name": "ink"}, "weight": 1}],
    }
    found = read_text(f.as_json(version_3), LIBRARY)
    assert (found.recipe.model, found.recipe.loras) == ("sd_xl_base_1.0", (Lora(name="ink", weight=1.0),))


@pytest.mark.parametrize(
    ("prompt", "is_said"), [("a (red)1.4 cat", True), ("a red++ cat", True), ("a (red:1.4), well-made cat", False)]
)
def test_weights_of_invokeai_are_said_to_mean_nothing(prompt: str, is_said: bool) -> None:
    found = read_text(f.as_json(f.INVOKE | {"positive_prompt": prompt}), LIBRARY)
    assert ("write them as (red:1.2)" in said(found)) == is_said


def test_invokeai_old() -> None:
    found = read(f.png(sd_dash_metadata=f.as_json(f.INVOKE_OLD)))
    assert found.scheme == "invokeai"
    recipe = found.recipe
    assert (" ".join(recipe.prompt.split()), recipe.negative_prompt) == ("a fox in snow", "fog")
    assert (recipe.sampler, recipe.height, recipe.model) == ("euler_ancestral", 640, "stable-diffusion-1.5")


@pytest.mark.parametrize("change", [{"seed": "x"}, {"loras": 5}, {"loras": [1]}, {"positive_prompt": {}}], ids=str)
def test_invokeai_wrong_kinds_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FooocusError, match="cannot be used"):
        read_text(f.as_json(f.INVOKE | change))


def test_our_own_object_and_a_bare_recipe_can_be_pasted() -> None:
    for text in ('{"recipe": {"prompt": "a fox", "seed": 3}}', '{"prompt": "a fox", "seed": 3}'):
        found = read_text(text, LIBRARY)
        assert (found.scheme, found.recipe) == ("fooocus_lite", Recipe(prompt="a fox", seed=3))


@pytest.mark.parametrize("more", [{"loras": [{"name": "ink", "weight": 1}]}, {"styles": ["SAI Anime"]}, {"width": 512}])
def test_an_unknown_key_in_a_recipe_is_said_and_left_out(more: dict[str, Any]) -> None:
    found = read_text(json.dumps({"prompt": "a fox", "steps": 7, "foo": 3} | more), LIBRARY)
    assert (found.scheme, found.recipe) == ("fooocus_lite", parse_recipe({"prompt": "a fox", "steps": 7} | more))
    assert "There is no setting here called 'foo'; it is left out." in found.warnings


@pytest.mark.parametrize(
    ("wrong", "words"), [({"sampler": "nonsense"}, "no sampler 'nonsense'"), ({"scheduler": "no"}, "no scheduler 'no'")]
)
def test_a_sampler_that_is_not_here_is_said_of_a_recipe_of_ours(wrong: dict[str, str], words: str) -> None:
    found = read_text(json.dumps({"prompt": "a fox", "seed": 3} | wrong), LIBRARY)
    assert found.recipe == Recipe(prompt="a fox", seed=3)
    assert f"There is {words}. The sampler is left open." in found.warnings


@pytest.mark.parametrize("theirs", [{"performance": "Speed"}, {"lora_combined_1": "ink : 1"}, {"loras": [["ink", 1]]}])
def test_what_only_fooocus_writes_makes_it_fooocus_s(theirs: dict[str, Any]) -> None:
    found = read_text(json.dumps({"prompt": "a fox", "steps": 7, "seed": 1, "foo": 3} | theirs), LIBRARY)
    assert found.scheme == "fooocus"


def test_the_hint_for_a_text_speaks_of_texts() -> None:
    for read_it in (lambda: read_text("hello"), lambda: read(b"hello")):
        with pytest.raises(FooocusError) as caught:
            read_it()
        assert "JSON object" in caught.value.hint and "PNG" not in caught.value.hint
    with pytest.raises(FooocusError, match="Choose a PNG"):
        read(b"\xff\xfa")


def test_names_are_written_as_the_library_writes_them() -> None:
    found = fooocus(base_model="SD XL-base_1.0.safetensors", styles="['sai-anime']")
    assert found.recipe.styles == ("SAI Anime",)
    found = read_text("a\nSteps: 1, Size: 8x8, Model: FOXXL", LIBRARY)
    assert found.recipe.model == "foxXL"


def test_a_damaged_text_does_not_hide_a_good_one() -> None:
    found = read(f.png(parameters='{"broken', prompt=f.as_json(f.COMFY)))
    assert found.scheme == "comfyui"


@pytest.mark.parametrize(
    "text",
    ["", "hello", "{}", "[]", "null", '"x"', '{"a": 1}', "a: b", '{"recipe": 3}', "%7B%7D", "<html>Steps</html>"],
)
def test_text_without_settings_is_said_so(text: str) -> None:
    with pytest.raises(FooocusError) as caught:
        read_text(text, LIBRARY)
    assert caught.value.problem.startswith("The text holds ")


def test_html_stays_text() -> None:
    words = "<script>alert(1)</script> <img src=x onerror=alert(1)>"
    found = fooocus(prompt=words, base_model="<b>x</b>")
    assert found.recipe.prompt == words
    assert found.recipe.model == "b>", "what looks like a folder is none of a model's name"
