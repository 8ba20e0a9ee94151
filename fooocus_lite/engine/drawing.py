"""Pictures that were asked for together, being drawn: in as few walks as their plans and memory allow.

A walk of several pictures computes the same for each as one alone, a row of the batch each: its own noise, words,
previews and end. What batched kernels round otherwise is measured in ``docs/batches.md``.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fooocus_lite.engine import device as devices
from fooocus_lite.engine.adapters import Use
from fooocus_lite.engine.denoise import Stopped, denoise
from fooocus_lite.engine.failures import failed
from fooocus_lite.engine.family import DrawsItself, Encoded, Family
from fooocus_lite.engine.guidance import Guided, Told, gathered, guided, not_there
from fooocus_lite.engine.levels import read_levels
from fooocus_lite.engine.moment import NoiseSource, Predict
from fooocus_lite.engine.party import Party, Rows
from fooocus_lite.engine.picture import Picture
from fooocus_lite.engine.refiner import handed_over
from fooocus_lite.engine.room import Room, step_down, stepped_down_words
from fooocus_lite.engine.samplers import Path, make_path
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import NOT_EXPANDED, Failed, Finished, ImageReady, PromptReady, Started
from fooocus_lite.families import FAMILIES
from fooocus_lite.memory import Fit
from fooocus_lite.plan import Plan, first_refined
from fooocus_lite.registry import SAMPLERS, SCHEDULERS

if TYPE_CHECKING:
    from fooocus_lite.engine.run import Engine

log = logging.getLogger(__name__)


class Drawing:
    """One call of the engine, in the drawing thread.

    Attributes:
        ended: Every picture has told its terminal event.
    """

    def __init__(self, engine: Engine, pictures: Sequence[Picture]) -> None:
        self._engine, self._pictures = engine, pictures
        self._most = len(pictures)  # at once
        self._uses: Sequence[Use] = ()
        self.ended = threading.Event()

    def run(self) -> None:
        """Draw all; each ends with exactly one terminal event."""
        while line := [picture for picture in self._pictures if not picture.is_ended]:
            self._draw_first_of(line)

    def _draw_first_of(self, line: Sequence[Picture]) -> None:
        """One walk, after which at least one picture has ended or fewer are drawn at once."""
        started = time.monotonic()
        party: Sequence[Picture] = line[:1]
        outcome: Failed | None = None
        try:
            with torch.inference_mode():
                devices.make_current(self._engine.machine().device)
                party = self._alike(line)
                self._draw_with_room(Party(party, line), started)
        except Stopped:
            log.info("stopped after %.1f s", time.monotonic() - started)
        except Exception as exc:  # the one place where anything becomes `Failed`
            outcome = failed(exc)
            log.warning("picture failed: %s", outcome.problem, exc_info=outcome.code == "internal")
        if outcome is not None:
            # Only now: an exception that is still held keeps the tensors of its frames alive.
            self._clean_up_after(outcome)
            if len(party) > 1 and outcome.code == "internal":
                self._most = 1  # perhaps one of them is to blame: each by itself, then
                return
            for picture in party:
                picture.end(outcome)

    def _alike(self, line: Sequence[Picture]) -> Sequence[Picture]:
        """The first of the line and those right behind it that walk the same way, as many as there is room for.

        Room is where one alone would be: a batch never takes a lower rung of the memory ladder for being one.
        """
        first, engine = line[0].plan, self._engine
        if FAMILIES[first.model.family].pipeline is not None:  # diffusers' own loop, with one noise for all
            return line[:1]
        alike = list(itertools.takewhile(lambda picture: picture.plan.walk == first.walk, line))
        many = min(len(alike), self._most, engine.most_together.get(first.walk, len(alike)))
        alone = engine.models.fit(first, forced=engine.memory, start=first.memory)
        while many > 1:
            fit = engine.models.fit(first, forced=engine.memory, start=first.memory, together=many)
            if fit.is_enough and (fit.rung, fit.in_tiles) == (alone.rung, alone.in_tiles):
                break
            many //= 2
        return alike[:many]

    def _draw_with_room(self, party: Party, started: float) -> None:
        """Draw; if memory runs out, from the same noise again: fewer at once, one alone on the next rung down."""
        engine, plan, many = self._engine, party.pictures[0].plan, len(party.pictures)
        device = engine.machine().device
        for picture in party.pictures:
            picture.tell(Started(device=devices.device_name(device)))
        self._uses = engine.adapters.uses(plan.loras)  # a bad file is told before a model is loaded for it
        devices.reset_peak_memory(device)
        fit = engine.models.fit(plan, forced=engine.memory, start=plan.memory, together=many)
        try:
            self._draw(party, fit, started)
            return
        except Exception as exc:
            below = step_down(exc, fit, device.type, engine.models.needs(plan))
            is_too_many = many > 1 and devices.is_out_of_memory(exc)
            if below is None and not is_too_many:
                raise
        # Only now: an exception that is still held keeps the tensors of its frames alive.
        devices.free_memory(device)
        if is_too_many:
            self._most = engine.most_together[plan.walk] = many // 2
            log.warning("memory ran out for %d pictures at once: %d from now on", many, self._most)
            return
        log.warning("memory ran out on the rung %s: once more on %s", fit.rung, below)
        again = engine.models.fit(plan, forced=str(below))
        self._draw(party, again, started, tried=fit)

    def _draw(self, party: Party, fit: Fit, started: float, *, tried: Fit | None = None) -> None:
        """One attempt.

        Args:
            tried: The attempt before, which ran out of memory.
        """
        plan, many = party.pictures[0].plan, len(party.pictures)
        with ExitStack() as changes:
            room = Room(self._engine.models, plan, fit, together=many)
            family, refiner = room.model, room.refiner
            party.stay()
            notes = changes.enter_context(room.adapted(self._uses))
            if isinstance(family, DrawsItself):
                self._draw_by_itself(party.pictures[0], family, room, started, tried)
                return
            told = self._read(party, family, room, notes, tried)
            refined = [refiner.encode(picture.plan) for picture in party.pictures] if refiner else []
            together, of_refiner = gathered(told), gathered(refined) if refined else None
            if together is None or (refined and of_refiner is None):
                self._most = 1  # their texts differ too much in length
                return
            device = room.machine.device
            noise = NoiseSource([picture.plan.seed for picture in party.pictures], family.latent_shape(plan), device)
            path = make_path(
                SAMPLERS[plan.sampler], SCHEDULERS[plan.scheduler], family.scheduler_config, plan.steps,
                device=device, noise=noise,
            )  # fmt: skip
            steps = len(path.spans)
            with (
                _guided(family, together, plan, steps) as first,
                _refined(first, refiner, of_refiner, plan, path) as (
                    predict,
                    others,
                ),
            ):
                room.after_reading()
                latents = noise.draw() * path.init_noise_sigma
                party.walk_with(path, first, *others)
                for picture in party.pictures:
                    picture.begin_walk(steps, self._engine.previews(family, device, among=len(party.pictures)))
                latents = denoise(predict, path, latents, constrain=party.leave, observe=party.observe)
            changes.close()  # before the decoder needs the memory
        self._decode(party, latents, room, started, tried)

    def _read(
        self, party: Party, family: Family, room: Room, notes: tuple[str, ...], tried: Fit | None
    ) -> list[Encoded]:
        """What the model is told of each picture; one whose words cannot be read fails alone."""
        told: list[tuple[Picture, Encoded]] = []
        for picture in party.pictures:
            party.end_unwanted()  # a language model may take seconds for the words of each
            if picture.is_ended:
                continue
            try:
                plan, expansion, trouble = self._with_words(picture.plan)
                encoded = family.encode(plan)
            except FooocusError as exc:
                log.warning("picture failed: %s", exc.problem)
                picture.end(failed(exc))
                continue
            warnings = plan.warnings + notes + trouble + encoded.warnings
            idle = FAMILIES[plan.model.family].without  # the plan says so
            warnings += tuple(not_there(plan, encoded, family.layers, plan.model.name, said=idle))
            warnings += (stepped_down_words(room.rung),) if tried else ()
            log.debug("texts %r, unwanted %r", plan.texts, plan.negative_texts)
            picture.tell(PromptReady(
                texts=plan.texts, negative_texts=plan.negative_texts, expansion=expansion, warnings=warnings,
            ))  # fmt: skip
            told.append((picture, encoded))
        party.drop_ended()
        return [encoded for picture, encoded in told if not picture.is_ended]

    def _decode(self, party: Party, latents: Tensor, room: Room, started: float, tried: Fit | None) -> None:
        """Hand the pictures over one after another: the first is encoded and saved while the next is decoded."""
        many = len(latents)
        for row, picture in enumerate(tuple(party.pictures)):
            party.end_unwanted()
            if picture.is_ended:
                continue
            try:
                pixels = room.decode(latents[row : row + 1])
            except FooocusError as exc:
                log.warning("picture failed: %s", exc.problem)
                picture.end(failed(exc))
                continue
            self._hand_over(picture, pixels, room, started, tried, many)
        room.after_decoding()

    def _draw_by_itself(
        self, picture: Picture, family: DrawsItself, room: Room, started: float, tried: Fit | None
    ) -> None:
        """The picture of a model that walks all the way by itself."""
        plan, expansion, trouble = self._with_words(picture.plan)
        warnings = plan.warnings + trouble + family.warnings(plan)
        warnings += (stepped_down_words(room.rung),) if tried else ()
        picture.tell(PromptReady(
            texts=plan.texts, negative_texts=plan.negative_texts, expansion=expansion, warnings=warnings,
        ))  # fmt: skip
        picture.begin_walk(plan.steps, self._engine.previews(family, room.machine.device))
        pixels = family.draw(plan, picture.on_step)
        picture.end_if_unwanted()
        if not picture.is_ended:
            self._hand_over(picture, pixels, room, started, tried)

    def _hand_over(
        self, picture: Picture, pixels: Tensor, room: Room, started: float, tried: Fit | None, many: int = 1
    ) -> None:
        seconds, device = time.monotonic() - started, room.machine.device
        facts = {
            "device": devices.device_name(device),
            "dtype": room.machine.dtype_name,
            "seconds": round(seconds, 3),
            "peak_memory_bytes": devices.peak_memory_bytes(device),
        } | room.facts(tried)
        facts |= {"together": many} if many > 1 else {}
        picture.tell(ImageReady(
            width=pixels.shape[1], height=pixels.shape[0], rgb=pixels.numpy().tobytes(), facts=facts,
        ))  # fmt: skip
        picture.end(Finished(seconds=seconds))
        plan = picture.plan  # after the event: nobody waits for a line of the log
        log.info(
            "picture done: %d×%d, %s %s %d steps, %.1f s",
            plan.width, plan.height, plan.sampler, plan.scheduler, plan.steps, seconds,
        )  # fmt: skip

    def _with_words(self, plan: Plan) -> tuple[Plan, str | None, tuple[str, ...]]:
        """The plan with the words it wishes for, those words, and what went wrong: then it is drawn without."""
        wish = plan.expansion
        if wish is None:
            return plan, None, ()
        try:
            words = self._engine.expand(wish)
        except FooocusError as exc:
            log.warning("prompt not expanded: %s", exc)
            return plan, "", (f"{NOT_EXPANDED} {exc}",)
        return dataclasses.replace(plan, texts=wish.added_to(plan.texts, words)), words, ()

    def _clean_up_after(self, outcome: Failed) -> None:
        try:
            if outcome.code == "device_error":
                self._engine.forget()
            elif outcome.code == "out_of_memory":
                devices.free_memory(self._engine.machine().device)
        except RuntimeError as exc:  # a device with a fault refuses everything; this thread must live to say so
            log.warning("nothing was freed: %s", exc)


def _guided(family: Family, told: Told, plan: Plan, steps: int) -> AbstractContextManager[Guided]:
    return guided(family.forward, told, plan, steps=steps, layers=family.layers)


@contextmanager
def _refined(
    predict: Guided, refiner: Family | None, told: Told | None, plan: Plan, path: Path
) -> Generator[tuple[Predict, tuple[Rows, ...]]]:
    """``predict`` up to the plan's share of the steps, then the refiner's; and what else holds rows of the batch."""
    if refiner is None or told is None:
        yield predict, ()
        return
    step = first_refined(plan.refiner_switch, len(path.spans))
    with _guided(refiner, told, plan, len(path.spans)) as second:
        yield handed_over(predict, second, path, read_levels(refiner.scheduler_config), step=step), (second,)
