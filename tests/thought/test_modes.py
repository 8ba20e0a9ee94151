"""Speed modes: their rung of the ladder, what they keep, what they need, and that a decided picture asks no table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite import library_files, modes
from fooocus_lite.errors import BadValue, MissingModel, UnknownName
from fooocus_lite.library import Library
from fooocus_lite.modes import MODES, known_mode, parse_mode_lora
from fooocus_lite.plan import batch_notes, expand, make_plan, resolve
from fooocus_lite.recipe import Recipe, parse_recipe
from tests.lora_header import lora_bytes

Load = Callable[[], Library]
LIGHTNING = "sdxl_lightning_4step_lora"
TINY = {
    "quality": {"steps": 40},
    "extreme_speed": {"steps": 3, "lora": "tiny-lcm:0.5"},
    "hyper_sd": None,
}


@pytest.fixture
def fast(root: Path, load: Load) -> Library:
    """The small root, whose model has a fast adapter of its own, and a LoRA of Fooocus's."""
    catalog = root / "models" / "catalog.json"
    rows = json.loads(catalog.read_text())
    rows[0]["modes"] = TINY
    catalog.write_text(json.dumps(rows))
    for name in ("adapters/tiny-lcm", f"loras/fast/{LIGHTNING}"):
        path = root / "models" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lora_bytes())
    write_preset(root, "quick", {"model": "tiny", "mode": "lightning", "guidance_scale": 5, "width": 192})
    write_preset(root, "slow", {"model": "tiny", "mode": "Quality", "steps": 50})
    write_preset(root, "few", {"model": "tiny", "steps": 8})
    return load()


def write_preset(root: Path, name: str, recipe: dict[str, Any]) -> None:
    (root / "presets" / f"{name}.json").write_text(json.dumps({"recipe": recipe}))


def plan(library: Library, **wish: Any):
    return make_plan(parse_recipe({"prompt": "a cat", **wish}), library, seed=5)


def test_who_names_a_mode_names_its_values(fast: Library) -> None:
    """family < entry < preset < mode < person: a mode lies just below what the same one says."""
    assert resolve(Recipe(), fast, 0).mode == "speed" and plan(fast).steps == 20, "the model's own steps"
    assert plan(fast, mode="quality").steps == 40, "the model's own for the mode"
    assert plan(fast, mode="quality", steps=44).steps == 44
    assert plan(fast, preset="few").steps == 8
    assert plan(fast, preset="few", mode="quality").steps == 40, "chosen by the person, after the preset"
    assert plan(fast, preset="slow").steps == 50, "the preset says mode and steps"
    assert plan(fast, preset="slow", mode="speed").steps == 30
    assert plan(fast, model="big", mode="quality").steps == 60
    assert plan(fast, preset="quick", mode="quality").guidance_scale == 5, "which Quality leaves to others"


def test_what_a_mode_keeps_wins_and_a_sentence_says_so(fast: Library) -> None:
    made = plan(fast, preset="quick")
    assert (made.steps, made.sampler, made.scheduler, made.guidance_scale) == (4, "euler", "sgm_uniform", 1.0)
    assert made.width == 192
    wish = parse_recipe({"mode": "lightning", "guidance_scale": 7, "sampler": "ddim", "steps": 6})
    batch = expand(wish, fast, 0)
    assert (batch[0].guidance_scale, batch[0].sampler, batch[0].steps) == (1.0, "euler", 6)
    told = "The mode Lightning keeps sampler at euler, guidance_scale at 1; what you set there does nothing."
    assert told in batch_notes(batch, fast, wish)
    agreed = parse_recipe({"mode": "lightning", "guidance_scale": 1, "sampler": "Euler", "scheduler": "auto"})
    assert not [note for note in batch_notes(expand(agreed, fast, 0), fast, agreed) if "keeps" in note]
    quiet = parse_recipe({"preset": "quick"})
    assert not [note for note in batch_notes(expand(quiet, fast, 0), fast, quiet) if "keeps" in note]


def test_the_lora_of_a_mode_is_part_of_the_plan(fast: Library, root: Path) -> None:
    (lora,) = plan(fast, mode="extreme_speed").loras
    assert (lora.name, lora.weight) == ("tiny-lcm", 0.5)
    assert Path(lora.path) == root / "models" / "adapters" / "tiny-lcm.safetensors"
    assert plan(fast, mode="extreme_speed").steps == 3
    (lora,) = plan(fast, mode="lightning").loras
    assert (lora.name, lora.weight) == (LIGHTNING, 1.0)
    assert plan(fast, mode="quality").loras == ()
    twice = plan(fast, mode="lightning", prompt=f"a cat <lora:{LIGHTNING}:0.5>")
    assert [lora.weight for lora in twice.loras] == [1.0]
    assert f"The mode brings the LoRA {LIGHTNING} itself; it counts once." in twice.warnings


def test_a_decided_picture_asks_no_table(fast: Library, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the table says something else by now, or the mode is gone."""
    full = resolve(parse_recipe({"prompt": "a cat", "mode": "Extreme Speed"}), fast, 7)
    assert (full.mode, full.mode_lora) == ("extreme_speed", "tiny-lcm:0.5")
    made = make_plan(full, fast, 0)
    other = dataclasses.replace(MODES["extreme_speed"], values={"steps": 9, "guidance_scale": 2.0}, loras={})
    for table in ({"extreme_speed": other}, {}):
        changed = {**MODES, **table} if table else {key: MODES[key] for key in ("quality", "speed")}
        monkeypatch.setattr(modes, "MODES", changed)
        monkeypatch.setattr(modes, "_KEYS", {key: key for key in changed})
        entry = dataclasses.replace(fast.models["tiny"], mode_changes={})
        later = dataclasses.replace(fast, models={**fast.models, "tiny": entry})
        assert resolve(full, later, 1) == full
        assert make_plan(full, later, 1) == made
    monkeypatch.undo()
    (root / "models" / "adapters" / "tiny-lcm.safetensors").unlink()
    with pytest.raises(MissingModel, match=r"The picture needs the LoRA tiny-lcm\.safetensors") as caught:
        make_plan(full, fast.refreshed(), 0)
    assert caught.value.field == "mode" and "choose another mode" in caught.value.hint


def test_a_preset_made_from_a_picture_gives_way_to_a_mode(fast: Library, root: Path, load: Load) -> None:
    """Its mode was decided, LoRA and all; who names another draws in that one."""
    drawn = resolve(parse_recipe({"prompt": "a cat", "mode": "extreme_speed", "width": 192}), fast, 7)
    catalog = root / "models" / "catalog.json"
    rows = json.loads(catalog.read_text())
    nobodys = ("model", "prompt", "negative_prompt", "preset", "seed", "count", "index")
    said = {name: value for name, value in drawn.set_fields().items() if name not in nobodys}
    write_preset(root, "drawn", {"model": "tiny", **said})
    catalog.write_text(json.dumps([*rows, rows[0] | {"name": "decided", "defaults": said}]))
    library = load()
    for wish in ({"preset": "drawn"}, {"model": "decided"}):
        again = plan(library, **wish)
        assert [lora.name for lora in again.loras] == ["tiny-lcm"] and (again.steps, again.sampler) == (3, "lcm")
        full = resolve(parse_recipe({**wish, "mode": "quality"}), library, 7)
        assert (full.mode, full.mode_lora) == ("quality", "none")
        other = plan(library, mode="quality", **wish)
        assert other.loras == () and "lcm" not in (other.sampler, other.scheduler)
        assert other.width == 192, "which no mode decides"
        assert other.guidance_scale > 1 and other.steps == 40
        with pytest.raises(UnknownName, match="There is no mode 'xyz'"):
            plan(library, mode="xyz", **wish)
    wish = parse_recipe({"preset": "drawn", "guidance_scale": 7})
    batch = expand(wish, library, 0)
    assert batch[0].guidance_scale == 7, "what was decided keeps nothing"
    assert not [note for note in batch_notes(batch, library, wish) if "keeps" in note]


def test_a_picture_from_before_modes_is_drawn_as_it_was(fast: Library) -> None:
    older = resolve(parse_recipe({"prompt": "a cat", "steps": 11}), fast, 7)
    bare = older.model_copy(update={"mode": None, "mode_lora": None})
    assert make_plan(bare, fast, 0) == make_plan(older, fast, 0)


@pytest.mark.parametrize(
    "name, hint",
    [("lightnin", "Did you mean lightning?"), ("Qualty", "Did you mean quality?"), ("xyz", "Choose one of: quality, ")],
)
def test_an_unknown_mode_comes_with_near_ones(fast: Library, name: str, hint: str) -> None:
    with pytest.raises(UnknownName, match=f"There is no mode '{name}'") as caught:
        plan(fast, mode=name)
    assert caught.value.field == "mode" and caught.value.hint.startswith(hint)


def test_a_mode_without_its_lora_says_what_to_do(fast: Library, root: Path, load: Load) -> None:
    (root / "models" / "loras" / "fast" / f"{LIGHTNING}.safetensors").unlink()
    for wish in ({"mode": "lightning"}, {"preset": "quick"}):
        with pytest.raises(MissingModel) as caught:
            plan(load(), **wish)
        needs = f"The mode Lightning needs the LoRA {LIGHTNING}.safetensors, which is not in models/loras."
        assert (caught.value.problem, caught.value.field) == (needs, "mode")
        assert (
            caught.value.hint.startswith("Get it at https://") and "Quality, Speed, Extreme Speed" in caught.value.hint
        )
    with pytest.raises(BadValue, match="The mode Hyper-SD is not made for tiny") as wrong:
        plan(load(), mode="hyper-sd")
    assert wrong.value.field == "mode" and "Extreme Speed" in wrong.value.hint


def test_the_menu_says_which_modes_can_be_had(fast: Library, root: Path) -> None:
    menu = json.loads(json.dumps(fast.menu()))
    assert [row["label"] for row in menu["modes"]] == [mode.label for mode in MODES.values()]
    rows = {row["id"]: row for row in menu["models"][0]["modes"]}
    assert {key: row["available"] for key, row in rows.items()} == {
        "quality": True, "speed": True, "extreme_speed": True, "lightning": True, "hyper_sd": False,
    }  # fmt: skip
    assert rows["extreme_speed"]["values"]["steps"] == 3 and rows["extreme_speed"]["lora"] == "tiny-lcm"
    assert "guidance_scale" in rows["extreme_speed"]["keeps"] and rows["quality"]["keeps"] == []
    assert menu["defaults"]["mode"] == "speed" and "mode_lora" not in menu["defaults"]
    (root / "models" / "adapters" / "tiny-lcm.safetensors").unlink()
    row = fast.refreshed().menu()["models"][0]["modes"][2]
    assert not row["available"] and "tiny-lcm.safetensors" in row["problem"] and row["hint"]


@pytest.mark.parametrize(
    "said, problem",
    [
        ({"fastest": {"steps": 2}}, "There is no mode 'fastest'."),
        ({"speed": {"steps": 0}}, "steps cannot be 0."),
        ({"speed": {"lora": "a:b"}}, "mode_lora cannot be 'a:b'."),
        ({"speed": {"lora": 3}}, "mode_lora cannot be 3."),
    ],
)
def test_a_wrong_mode_in_a_catalog_is_named(root: Path, load: Load, said: dict[str, Any], problem: str) -> None:
    catalog = root / "models" / "catalog.json"
    rows = json.loads(catalog.read_text())
    rows[0]["modes"] = said
    catalog.write_text(json.dumps(rows))
    library = load()
    assert "tiny" not in library.models and any(problem in found for found in library.problems)


def test_a_preset_with_an_unknown_mode_is_a_problem_and_not_the_end(root: Path, load: Load) -> None:
    write_preset(root, "plain", {"mode": "nope"})
    library = load()
    assert "Preset plain: There is no mode 'nope'." in library.problems
    assert library.menu()["defaults"]["mode"] == "nope"


@pytest.mark.parametrize("written", ["tiny-lcm:0.5", "a b:-1", "x:1"])
def test_the_lora_of_a_mode_is_written_as_it_is_read(written: str) -> None:
    assert parse_mode_lora(written).written == written


@pytest.mark.parametrize("written", ["x:10.5", "x:-11", "x:999"])
def test_the_lora_of_a_mode_weighs_no_more_than_any_other(fast: Library, written: str) -> None:
    with pytest.raises(BadValue, match="mode_lora cannot be") as caught:
        plan(fast, mode="extreme_speed", mode_lora=written)
    assert caught.value.hint == "Allowed is name:weight with a weight from -10 to 10, or none."
    assert parse_mode_lora("x:-10").weight == -10


def test_modes_are_known_in_any_spelling() -> None:
    for key, mode in MODES.items():
        assert {known_mode(name) for name in (key, mode.label, mode.label.upper(), *mode.aliases)} == {key}
    assert known_mode("hyper SD") == "hyper_sd" and library_files.find_mode("LCM") == "extreme_speed"
