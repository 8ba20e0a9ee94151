"""The command line without a picture: what it prints, in which channel, with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fooocus_lite.cli import COMMANDS, main
from fooocus_lite.commands.recipe_options import FIELD_OF, RECIPE_OPTIONS
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import SETTINGS
from tests import fooocus_like
from tests.lora_header import lora_bytes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in SETTINGS.values():
        monkeypatch.delenv(row.env, raising=False)
    monkeypatch.setenv("FOOOCUS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FOOOCUS_OUTPUT_DIR", str(tmp_path / "out"))


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> tuple[str, str]:
    """(stdout, stderr) of one command that must end with ``code``."""
    assert main(list(arguments)) == code
    return capsys.readouterr()


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert not end.value.code
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "test"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert not end.value.code
    text = capsys.readouterr().out
    assert "--data-dir" in text and "--debug" in text
    if command == "serve":
        assert all(row.flag in text for row in SETTINGS.values())


def test_every_option_of_generate_is_a_field_of_the_recipe() -> None:
    fields = {FIELD_OF.get(name, name) for name in RECIPE_OPTIONS} - {"size"}
    decided = {"mode_lora"}  # what the program fills in
    assert fields | {"width", "height", "styles", "loras", "prompt"} | decided == set(Recipe.model_fields)


@pytest.mark.parametrize(
    "options, words",
    [
        ("--seed abc", "seed cannot be 'abc'. Allowed is a whole number from 0 to 9223372036854775807."),
        ("--seed -1", "seed cannot be '-1'."),
        ("--seed 9223372036854775808", "seed cannot be '9223372036854775808'."),
        ("--size 7", "size cannot be '7'. Write it as 128x192."),
        ("--size 7x7", "width cannot be 7. Allowed for starter: multiples of 32"),
        ("--size 0x128", "width cannot be '0'."),
        ("--size 128x100000", "height cannot be '100000'."),
        ("--steps 0", "steps cannot be '0'. Allowed is a whole number from 1 to 200."),
        ("--steps 1000000", "steps cannot be '1000000'."),
        ("--guidance-scale nan", "guidance_scale cannot be 'nan'."),
        ("--sag-scale 99", "sag_scale cannot be '99'."),
        ("--count 0", "count cannot be '0'."),
        ("--sampler nope", "There is no sampler 'nope'. Choose one of: euler,"),
        ("--style nope", "There is no style 'nope'."),
        ("--preset nope", "There is no preset 'nope'."),
        ("--model nope", "There is no model 'nope'."),
        ("--format bmp", "image_format cannot be 'bmp'. Allowed is png, jpeg or webp."),
        ("--device quantum", "device cannot be 'quantum' (from --device)."),
    ],
)
def test_bad_value_is_one_sentence(options: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = said(capsys, "generate", "a red circle", "--dry-run", *options.split(), code=2)
    assert out == ""
    assert words in err and err.count("\n") == 1 and "Traceback" not in err


def test_huge_prompt_is_refused_and_strange_text_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = said(capsys, "generate", "x" * 1_000_000, "--dry-run", code=2)
    assert err == "prompt has 1,000,000 characters. Use at most 20,000.\n"
    strange = "🦊 نجمة حمراء\x00 a\u0301"
    out, _ = said(capsys, "generate", strange, "--dry-run", "--json", "--seed", "1", code=0)
    assert json.loads(out)["texts"] == [strange.replace("\x00", "")]


def test_dry_run_prints_a_plan_per_picture(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--count", "3", "--seed", "7", "--size", "128x160", "--style", "watercolor", "--steps", "9", "--json"]
    out, _ = said(capsys, "generate", "a red circle", "--dry-run", *options, code=0)
    plans = [json.loads(line) for line in out.splitlines()]
    assert [plan["seed"] for plan in plans] == [7, 8, 9]
    assert all((plan["width"], plan["height"], plan["steps"]) == (128, 160, 9) for plan in plans)
    assert "a red circle" in plans[0]["texts"][0] and "watercolor" in plans[0]["texts"][0]
    assert plans[0]["model"]["name"] == "starter"
    assert not (Path(os.environ["FOOOCUS_OUTPUT_DIR"])).exists()


def test_dry_run_shows_what_the_words_of_every_picture_come_to(capsys: pytest.CaptureFixture[str]) -> None:
    lists = Path(os.environ["FOOOCUS_DATA_DIR"]) / "wildcards"
    lists.mkdir(parents=True)
    (lists / "pets.txt").write_text("a cat\na (dog:1.2) <style:watercolor>")
    prompt = "__pets__ with [[a hat, a (scarf)]]\nat sea\n---\n__nope__ <lora:nope:1>"
    options = ["--seed", "3", "--wildcard-order", "ordered", "--dry-run", "--json"]
    out, _ = said(capsys, "generate", prompt, *options, code=0)
    first, second, third = (json.loads(line) for line in out.splitlines())
    assert first["texts"] == ["a cat with a hat", "at sea"] and first["warnings"] == []
    assert second["texts"][0].startswith("watercolor painting of a (dog:1.2) with a (scarf)")
    assert [plan["seed"] for plan in (first, second, third)] == [3, 4, 3]
    assert third["texts"] == ["nope"] and third["loras"] == []
    assert [plan["recipe"]["index"] for plan in (first, second, third)] == [0, 1, 0]
    assert first["recipe"]["prompt"] == prompt.partition("\n---")[0] and first["notes"] == third["warnings"]
    assert [warning.split(".")[0] for warning in third["warnings"]] == [
        "There is no wildcard 'nope'",
        "There is no LoRA 'nope' in models/loras",
    ]
    again, _ = said(capsys, "generate", prompt.partition("\n---")[0], *options, "--index", "1", "--count", "1", code=0)
    assert json.loads(again)["texts"] == second["texts"]


def test_wildcards_lists_the_word_lists(capsys: pytest.CaptureFixture[str]) -> None:
    lists = Path(os.environ["FOOOCUS_DATA_DIR"]) / "wildcards" / "mine"
    lists.mkdir(parents=True)
    (lists / "pets.txt").write_text("cat\ndog\nhen\nowl\n")
    out, _ = said(capsys, "wildcards", "--json", code=0)
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["mine/pets"] == {"name": "mine/pets", "source": "own", "count": 4, "first": ["cat", "dog", "hen"]}
    assert rows["colour"]["source"] == "shipped" and rows["starter/shape"]["count"] == 8
    out, _ = said(capsys, "wildcards", code=0)
    assert "__mine/pets__  4 (own): cat, dog, hen …" in out.splitlines()


def test_dry_run_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "generate", "a red circle", "--dry-run", "--seed", "7", code=0)
    assert "seed 7" in out and "wanted:   a red circle" in out


def test_an_open_seed_is_drawn_anew(capsys: pytest.CaptureFixture[str]) -> None:
    seeds = {json.loads(said(capsys, "generate", "x", "--dry-run", "--json", code=0)[0])["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_generate_without_its_model_says_where_it_should_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"name": "absent", "family": "sdxl", "path": "absent.safetensors", "native_size": 1024}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.json").write_text(json.dumps([entry]))
    out, err = said(capsys, "generate", "a red circle", "--model", "absent", code=2)
    assert out == "" and "The model absent is not at" in err and "absent.safetensors" in err


@pytest.mark.parametrize(
    "content, what",
    [(b"", "holds no recipe"), (b"no picture", "holds no recipe"), (b"\x89PNG\r\n\x1a\n", "is cut short")],
)
def test_replay_of_what_holds_no_recipe(
    tmp_path: Path, content: bytes, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    out, err = said(capsys, "replay", str(path), code=2)
    assert out == "" and f"picture.png {what}. Choose a PNG, JPEG or WebP" in err
    assert "missing.png cannot be read" in said(capsys, "replay", str(tmp_path / "missing.png"), code=2)[1]


def test_styles_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "styles").mkdir(parents=True)
    (tmp_path / "data" / "styles" / "mine.json").write_text('[{"name": "Fog", "prompt": "{prompt} in fog"}, 7]')
    (tmp_path / "data" / "choices.json").write_text('{"favourites": ["fog"]}')
    out, err = said(capsys, "styles", "--json", code=0)
    rows = {row["name"]: row for row in json.loads(out)}
    assert (rows["Fog"]["prompt"], rows["Fog"]["source"], rows["Fog"]["favourite"]) == ("{prompt} in fog", "own", True)
    assert rows["Random style"]["kind"] == "random" and not rows["Watercolor"]["favourite"]
    assert "mine.json, line 1, entry 2: it is not a JSON object." in err
    out, _ = said(capsys, "styles", code=0)
    assert len(out.splitlines()) == len(rows)
    assert "★  Fog" in out


def test_an_import_brings_the_loras_and_embeddings_that_presets_and_prompts_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fooocus = tmp_path / "Fooocus"
    lora, embedding = fooocus / "heavy/loras/sub/ink.safetensors", fooocus / "models/embeddings/soft.safetensors"
    for path in (lora, embedding):
        path.parent.mkdir(parents=True)
        path.write_bytes(lora_bytes(256))
    (fooocus / "presets").mkdir()
    preset = {"default_model": "starter.safetensors", "default_loras": [[True, "sub\\ink.safetensors", 0.5]]}
    (fooocus / "presets" / "inky.json").write_text(json.dumps(preset))
    (fooocus / "config.txt").write_text(json.dumps({"path_loras": [str(lora.parents[1])]}))
    options = ("generate", "a fox (embedding:soft:1.1)", "--preset", "inky", "--dry-run", "--json", "--seed", "1")
    said(capsys, *options, code=2)
    out, _ = said(capsys, "import-fooocus", str(fooocus), code=0)
    assert f"1 LoRA in {lora.parents[1]}, used from there" in out and f"1 embedding in {embedding.parent}" in out
    plan = json.loads(said(capsys, *options, code=0)[0])
    assert [(row["path"], row["weight"]) for row in plan["loras"]] == [(str(lora), 0.5)]
    assert plan["embeddings"] == [["soft", str(embedding)]]


def test_loras_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "models" / "loras"
    folder.mkdir(parents=True)
    for name, width in (("ink", 256), ("xl", 2048)):
        content = lora_bytes(width, metadata={"modelspec.trigger_phrase": "ink\x1b[2Jwash"})
        (folder / f"{name}.safetensors").write_bytes(content)
    (folder / "cut.safetensors").write_bytes(b"x")
    where = ("--models-dir", str(folder.parent))
    out, _ = said(capsys, "loras", *where, code=0)
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert (
        "rank 3" in lines["ink"]
        and "for starter" in lines["ink"]
        and "ink\N{REPLACEMENT CHARACTER}[2Jwash" in lines["ink"]
    )
    assert "made for SDXL" in lines["xl"] and "is damaged" in lines["cut"]
    out, _ = said(capsys, "loras", "--json", *where, code=0)
    fits = {row["name"]: row["fits"] for row in json.loads(out)}
    assert (fits["ink"], fits["cut"]) == (["starter"], [])
    assert "sdxl" in fits["xl"] and "starter" not in fits["xl"], "also of models that are not here yet"
    draw = ("generate", "x <lora:sub/ink:2>", "--dry-run", *where)
    out, err = said(capsys, *draw, "--lora", "ink:-0.5", "--lora", "gone", code=0)
    assert "LoRA:     ink, weight -0.5" in out and "There is no LoRA 'gone'" in out + err
    assert "made for SDXL, and starter" in said(capsys, *draw, "--lora", "xl", code=2)[1]
    assert "The weight of a LoRA cannot be '1e3'." in said(capsys, *draw, "--lora", "ink:1e3", code=2)[1]
    (folder / "a:b.safetensors").write_bytes(lora_bytes(256))
    out, err = said(capsys, *draw, "--lora", "a:b", "--lora", "a:b:.5", "--lora", "ink:x", code=0)
    assert "LoRA:     a:b, weight 1\n" in out and "LoRA:     a:b, weight 0.5\n" in out
    assert "There is no LoRA 'ink:x'" in out + err


def test_presets_say_what_they_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fooocus_like.write_fooocus(tmp_path / "Fooocus")
    out, _ = said(capsys, "presets", "--json", "--legacy-folder", str(folder), code=0)
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["starter"]["default"] and not rows["anime"]["default"]
    assert rows["default"]["needs"][0]["url"] == "https://example.org/base.safetensors"
    out, _ = said(capsys, "presets", "--legacy-folder", str(folder), code=0)
    assert "needs base.safetensors, which is not here: https://example.org/base.safetensors" in out
    assert "note: There is no style 'Gone'" in out and "'Fooocus V2'" not in out


def test_presets_say_what_their_mode_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fooocus_like.write_fooocus(tmp_path / "Fooocus")
    for name, mode in (("quick", "Lightning"), ("lcm", "Extreme Speed")):
        preset = {"default_model": "starter.safetensors", "default_performance": mode}
        loras = {"default_loras": [[True, "mine.safetensors", 1.0]]}
        (folder / "presets" / f"{name}.json").write_text(json.dumps(preset | loras))
    out, _ = said(capsys, "presets", "--legacy-folder", str(folder), code=0)
    assert "note: The mode Lightning is not made for Starter. Choose one of: " in out
    assert out.count("needs mine.safetensors, which is not here") == 2
    assert "sdxl_l" not in out, "LoRAs of SDXL are nothing for the starter"


def test_import_fooocus_and_find_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fooocus_like.write_fooocus(tmp_path / "Fooocus")
    out, _ = said(capsys, "import-fooocus", str(folder), code=0)
    assert "✓ 6 styles." in out and "✓ 1 language: xx." in out
    out, _ = said(capsys, "import-fooocus", str(folder), "--json", code=0)
    used = f"1 checkpoint in {folder / 'models/checkpoints'}, used from there: leave the folder where it is."
    assert json.loads(out)["done"] == [used]  # told each time; nothing is brought twice
    out, _ = said(capsys, "generate", "a cat", "--dry-run", "--json", "--style", "sai-anime", code=0)
    assert json.loads(out)["texts"] == ["cel shaded a cat"]
    _, err = said(capsys, "import-fooocus", str(tmp_path / "nowhere"), code=2)
    assert "There is no Fooocus in" in err and err.count("\n") == 1


def test_a_fooocus_folder_moves_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fooocus_like.write_fooocus(tmp_path / "Fooocus")
    (folder / "config.txt").write_text(json.dumps({"nasty\x1b[2J": 1}))
    out, _ = said(capsys, "import-fooocus", str(folder), code=0)
    assert "nasty" in out and "\x1b" not in out


def test_settings_name_their_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOOCUS_DTYPE", "bf16")
    out, _ = said(capsys, "settings", "--json", "--port", "9000", "--no-browser", code=0)
    shown = json.loads(out)
    assert set(shown) == set(SETTINGS)
    assert (shown["port"]["value"], shown["port"]["source"]) == (9000, "--port")
    assert (shown["dtype"]["value"], shown["dtype"]["source"]) == ("bf16", "FOOOCUS_DTYPE")
    assert (shown["open_browser"]["value"], shown["open_browser"]["source"]) == (False, "--no-browser")
    assert (shown["host"]["value"], shown["host"]["source"]) == ("127.0.0.1", "default")
    assert shown["data_dir"]["value"] == str(tmp_path / "data")
    text, _ = said(capsys, "settings", code=0)
    assert [line.split()[0] for line in text.splitlines()] == list(SETTINGS)


@pytest.mark.parametrize("arguments", [["serve", "--port", "70000"], ["--port", "abc"]])
def test_serve_refuses_a_bad_setting_before_it_starts(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    _, err = said(capsys, *arguments, code=2)
    assert "port cannot be" in err and "(from --port). Allowed: 1 to 65535." in err


def test_a_bug_is_two_sentences_and_no_traceback() -> None:
    code = (
        "import sys; from fooocus_lite import cli\n"
        "cli.run_settings = None\n"
        "cli._settings_of = lambda options: 1 / 0\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    for extra in ([], ["--debug"]):
        command = [sys.executable, "-c", code, "generate", "x", "--dry-run", *extra]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == bool(extra)
        assert ("report what it prints" in done.stderr) != bool(extra)
