"""The training run itself, on a toy model: it learns, stops, and goes on from where it was."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from training import train_text
from training.config import CONFIGS, Config, save_atomic
from training.reading import ends, read_captions, reading_loss
from training.team import Team, flat_gradients, rate_at, train
from training.tokenizer import build, learn_merges
from training.train_unet import Run, Trainee, spread_timesteps
from training.words import COLOURS, NOTHING_THERE, QUESTIONS, SHAPES, Spec, Thing, answers, random_spec

TOY = replace(CONFIGS["cpu128"], channels=(32, 32, 32), text_widths=(32, 32), batch=8, warm_up=0.1)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder with a tokenizer and a few latents, as the earlier steps leave it."""
    build(replace(TOY, vocabulary=530), tmp_path / "tokenizer")
    (tmp_path / "latents").mkdir()
    rng = Random(1)
    for index, (width, height) in enumerate(((128, 128), (96, 160))):
        shard = {
            "latents": torch.randn(16, 8, height // 8, width // 8).half() * 2,
            "means": torch.zeros(16, 3, height // 8, width // 8).half(),
            "specs": [random_spec(rng).to_dict() for _ in range(16)],
        }
        save_atomic(shard, tmp_path / "latents" / f"{index:04d}_{width}x{height}.pt")
    return tmp_path


def test_a_stopped_run_goes_on_from_its_checkpoint(work: Path) -> None:
    first = Run(TOY, work, torch.device("cpu"), Team(0, 1))
    assert first.scaling_factor == pytest.approx(0.5, rel=0.05)
    train(first, 0.02)
    assert first.steps > 0
    second = Run(TOY, work, torch.device("cpu"), Team(0, 1))
    assert (second.steps, second.seen) == (first.steps, first.seen)
    assert second.elapsed == pytest.approx(first.elapsed)
    for mine, saved in zip(second.model.parameters(), first.model.parameters(), strict=True):
        assert torch.equal(mine, saved)
    train(second, 0.04)
    assert second.steps > first.steps


def test_a_new_run_can_begin_with_the_weights_of_another(work: Path, tmp_path: Path) -> None:
    first = Run(TOY, work, torch.device("cpu"), Team(0, 1))
    for value in first.average.values():
        value.add_(1)
    first.steps, first.elapsed = 7, 3.0
    first.save()
    other = (work / "unet.pt").rename(tmp_path / "other.pt")
    second = Run(TOY, work, torch.device("cpu"), Team(0, 1), start_from=other)
    assert (second.steps, second.elapsed) == (0, 0.0), "the budget and the learning rate begin anew"
    for name, value in second.model.named_parameters():
        assert torch.equal(value, first.average[name]), "the averaged weights, which are the better ones"
        assert torch.equal(second.average[name], first.average[name])


def test_the_text_encoders_learn_to_read_and_a_run_takes_them_over(work: Path) -> None:
    train_text.train(TOY, work, torch.device("cpu"), minutes=0.03, start_from=None)
    torch.manual_seed(TOY.seed)
    run = Run(TOY, work, torch.device("cpu"), Team(0, 1), start_from=work / "text.pt")
    torch.manual_seed(TOY.seed)
    untrained = Trainee(TOY, len(run.tokenizer))
    ids, said = read_captions(run.tokenizer, Random(1), 32, TOY.text_tokens)
    with torch.no_grad():
        before, after = (train_text.text_loss(model.eval(), ids, said).item() for model in (untrained, run.model))
    assert after < before
    for name, value in untrained.unet.named_parameters():
        assert torch.equal(value, run.model.unet.get_parameter(name)), "the drawing part is left alone"


def test_gradients_lie_in_one_vector() -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.LazyLinear(2))
    layers(torch.zeros(1, 3, 5, 5))
    layers.to(memory_format=torch.channels_last)
    flat = flat_gradients(layers)
    layers(torch.randn(2, 3, 5, 5)).square().sum().backward()
    expected = torch.stack([parameter.grad.norm() for parameter in layers.parameters()]).norm()
    assert flat.norm() == pytest.approx(float(expected), rel=1e-5)
    assert float(expected) > 0


def test_a_team_takes_the_mean_of_its_gradients() -> None:
    class Nobody:
        def wait(self) -> None:
            """Nobody to wait for."""

    shared = torch.zeros(2, 2, 3)
    shared[:, 1] = torch.tensor([3.0, 5.0, 7.0])
    team = Team(0, 2, shared, Nobody(), [0.0, 0.0])
    for _ in range(3):
        gradients = torch.tensor([1.0, 1.0, 1.0])
        team.share(gradients)
        assert gradients.tolist() == [2.0, 3.0, 4.0]


def test_the_learning_rate_rises_stays_and_runs_down() -> None:
    config: Config = TOY
    rates = [rate_at(progress / 100, config, 0.5) for progress in range(101)]
    assert rates[0] < rates[5] < rates[10] == 0.5 == rates[60]
    assert rates[60] > rates[80] > rates[99] > 0
    assert rates[100] == pytest.approx(0.01 * 0.5)


def test_timesteps_cover_the_schedule() -> None:
    timesteps = spread_timesteps(50).sort().values
    assert timesteps.min() >= 0
    assert timesteps.max() <= 999
    edges = 1000 * (torch.arange(51) / 50) ** (2 / 3)
    assert (timesteps >= edges[:-1].floor()).all(), "one from each of 50 equal parts"
    assert (timesteps <= edges[1:]).all()


def test_answers_tell_the_left_or_upper_thing_first() -> None:
    red, blue = Thing("red", "circle"), Thing("blue", "star")
    beside = Spec("pair", (red, blue), "left of", "white")
    assert answers(beside) == answers(Spec("pair", (blue, red), "right of", "white"))
    assert answers(beside) != answers(Spec("pair", (blue, red), "left of", "white"))
    colour, shape, other_colour, other_shape, background, arrangement = answers(beside)
    assert (colour, other_colour, background) == tuple(list(COLOURS).index(name) for name in ("red", "blue", "white"))
    assert (shape, other_shape, arrangement) == (SHAPES.index("circle"), SHAPES.index("star"), 1)
    scene = answers(Spec("scene", places=("house",)))
    assert scene == tuple(count - 1 for count in QUESTIONS), "nothing but a landscape"
    rng = Random(3)
    for _ in range(200):
        assert all(0 <= answer < count for answer, count in zip(answers(random_spec(rng)), QUESTIONS, strict=True))


def test_reading_passes_over_texts_that_say_nothing() -> None:
    right = torch.tensor([answers(Spec("scene", places=("sea",))), (NOTHING_THERE,) * len(QUESTIONS)])
    logits = torch.zeros(2, sum(QUESTIONS))
    chance = sum(math.log(count) for count in QUESTIONS) / len(QUESTIONS)
    assert reading_loss(logits, right).item() == pytest.approx(chance, rel=1e-5)
    logits[1] = torch.randn(sum(QUESTIONS)) * 100
    assert reading_loss(logits, right).item() == pytest.approx(chance, rel=1e-5)
    assert reading_loss(logits[1:], right[1:]).item() == 0, "a batch of empty prompts has no reading loss"


def test_reading_looks_at_tokens_that_have_seen_the_whole_text() -> None:
    ids = torch.tensor([[8, 1, 2, 9, 9, 9], [8, 1, 2, 3, 4, 9]])
    seen = {tuple(ends(ids).tolist()) for _ in range(100)}
    assert seen == {(3, 5), (4, 5), (5, 5)}


def test_merges_join_what_is_frequent_first() -> None:
    from collections import Counter

    merges = learn_merges(Counter({"red": 10, "bed": 3}), 3)
    assert merges[0] == ("e", "d</w>")
    assert merges[1] == ("r", "ed</w>")
