"""The order of the line against a plain list, edits that race with claims, pauses that outlive a restart."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fooocus_lite.errors import BadValue, FooocusError, NotFound
from fooocus_lite.events import Cancelled, Finished, ImageSaved
from fooocus_lite.line import Spot
from fooocus_lite.store import Store, open_store
from tests.deeds.books import check_books, line
from tests.deeds.conftest import a_recipe, until


def spot_of(draw: Callable[[int], int], neighbours: list[str]) -> Spot:
    kind = draw(4)
    if kind == 0 or not neighbours:
        return Spot("first")
    if kind == 1:
        return Spot("last")
    return Spot("before" if kind == 2 else "after", of=neighbours[draw(len(neighbours))])


def moved(order: list[str], ids: list[str], spot: Spot) -> list[str]:
    """What a list would be."""
    rest = [one for one in order if one not in ids]
    at = {"first": 0, "last": len(rest)}.get(spot.place)
    if at is None:
        at = rest.index(str(spot.of)) + (spot.place == "after")
    return [*rest[:at], *ids, *rest[at:]]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_moves_give_the_order_that_a_list_would_have(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        try:
            order = [one for _ in range(4) for one in store.queue.submit([a_recipe()] * 3)]
            for _ in range(data.draw(st.integers(1, 25))):
                ids = data.draw(st.lists(st.sampled_from(order), min_size=1, max_size=5, unique=True))
                rest = [one for one in order if one not in ids]
                spot = spot_of(lambda most: data.draw(st.integers(0, most - 1)), rest)
                assert store.queue.move(ids, spot) == len(ids)
                order = moved(order, ids, spot)
                assert line(store) == order
            check_books(store)
            drawn = [task.id for _ in order if (task := store.queue.claim("w"))]
            assert drawn == order
        finally:
            store.close()


def test_floats_that_run_out_are_made_anew_and_the_order_stays(store: Store) -> None:
    order = store.queue.submit([a_recipe(seed=n) for n in range(300)])
    rng = random.Random(1)
    for _ in range(400):  # always into the same gap: it is halved away a hundred times over
        one = rng.choice(order[2:])
        store.queue.move([one], Spot("after", of=order[0]))
        order = moved(order, [one], Spot("after", of=order[0]))
    assert line(store) == order
    block = rng.sample(order[5:], 120)
    store.queue.move(block, Spot("before", of=order[1]))
    order = moved(order, block, Spot("before", of=order[1]))
    later = store.queue.submit([a_recipe()])
    assert line(store) == [*order, *later]
    positions = [row["position"] for row in store.database.read("SELECT position FROM tasks ORDER BY position")]
    assert len(set(positions)) == len(positions)


def test_what_is_moved_to_the_end_stays_before_what_comes_later_also_after_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = store.queue.submit([a_recipe()] * 3)
    for _ in range(40):
        store.queue.move(first, Spot("last"))
    store.close()
    store = open_store(tmp_path)
    try:
        later = store.queue.submit([a_recipe()])
        assert line(store) == [*first, *later]
    finally:
        store.close()


def test_batches_move_as_a_whole(store: Store) -> None:
    a, b, c = (store.queue.submit([a_recipe()] * 3) for _ in range(3))
    store.queue.move_batch(c[0], Spot("before", of_batch=a[0]))
    assert line(store) == [*c, *a, *b]
    store.queue.move_batch(c[0], Spot("after", of_batch=a[0]))
    assert line(store) == [*a, *c, *b]
    store.queue.move_batch(b[0], Spot("first"))
    store.queue.move([a[1]], Spot("before", of_batch=b[0]))
    assert line(store) == [a[1], *b, a[0], a[2], *c]
    assert [group.batch_id for group in store.queue.groups()] == [a[0], b[0], c[0]], "by what of each is next"
    check_books(store)


def test_a_place_beside_what_is_drawn_or_has_ended_is_where_that_stood(store: Store) -> None:
    a = store.queue.submit([a_recipe()] * 5)
    assert store.queue.claim("w")
    store.queue.cancel(a[2])
    store.queue.move([a[4]], Spot("after", of=a[0]))
    assert line(store) == [a[4], a[1], a[3]]
    store.queue.move([a[4]], Spot("before", of=a[2]))
    assert line(store) == [a[1], a[4], a[3]]


def test_what_cannot_be_moved_is_said(store: Store) -> None:
    a, b = store.queue.submit([a_recipe()] * 3), store.queue.submit([a_recipe()], owner="ann")
    store.queue.claim("w")
    refused: list[tuple[Callable[[], object], type[FooocusError], str]] = [
        (lambda: store.queue.move([a[0]], Spot("first")), FooocusError, "This picture is being drawn already"),
        (lambda: store.queue.move(["nobody"], Spot("first")), NotFound, "There is no task 'nobody'."),
        (lambda: store.queue.move([a[1]], Spot("after", of="x")), NotFound, "There is no task 'x'."),
        (lambda: store.queue.move([a[1]], Spot("after", of=a[1])), BadValue, "before or after itself"),
        (lambda: store.queue.move_batch("x", Spot("first")), NotFound, "There is no batch 'x'."),
        (lambda: store.queue.move_batch(a[0], Spot("after", of_batch=a[0])), BadValue, "before or after itself"),
        (lambda: store.queue.move(a, Spot("first"), owner="ann"), NotFound, f"There is no task '{a[0]}'."),
        (lambda: store.queue.move_batch(a[0], Spot("first"), owner="ann"), NotFound, f"There is no batch '{a[0]}'."),
        (lambda: store.queue.move(b, Spot("before", of=a[1]), owner="ann"), NotFound, f"There is no task '{a[1]}'."),
    ]
    before = line(store)
    for do, kind, words in refused:
        with pytest.raises(kind) as said:
            do()
        assert words in str(said.value) and said.value.hint
    assert line(store) == before
    assert store.queue.move([a[0], a[2]], Spot("first")) == 1, "what waits is moved, what is drawn stays"
    for task_id in (*a[1:], *b):
        store.queue.cancel(task_id)
    for do, words in (
        (lambda: store.queue.move(a[1:], Spot("first")), "None of these pictures waits any more"),
        (lambda: store.queue.move([a[1]], Spot("first")), "This picture was cancelled"),
        (lambda: store.queue.move_batch(a[0], Spot("first")), "Nothing of this batch waits any more"),
    ):
        with pytest.raises(FooocusError, match=words) as conflict:
            do()
        assert conflict.value.code == "conflict"


def test_moves_race_with_claims_and_nothing_is_lost_or_drawn_twice(store: Store) -> None:
    ids = store.queue.submit([a_recipe(seed=n) for n in range(200)])
    start = threading.Barrier(6)

    def claim(name: str) -> list[str]:
        start.wait()
        mine: list[str] = []
        while (task := store.queue.claim(name)) is not None:
            mine.append(task.id)
        return mine

    def shuffle(seed: int) -> None:
        rng = random.Random(seed)
        start.wait()
        for _ in range(60):
            some = rng.sample(ids, 4)
            try:
                store.queue.move(some[:3], rng.choice([Spot("first"), Spot("last"), Spot("after", of=some[3])]))
            except FooocusError as exc:
                assert exc.code == "conflict"

    with ThreadPoolExecutor(6) as pool:
        movers = [pool.submit(shuffle, n) for n in range(3)]
        claimed = [one for part in [pool.submit(claim, str(n)) for n in range(3)] for one in part.result()]
        for mover in movers:
            mover.result()
    assert sorted(claimed) == ids
    check_books(store)


def test_a_paused_queue_gives_nothing_also_after_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    (first, second) = store.queue.submit([a_recipe()] * 2)
    assert store.queue.claim("w")
    version = store.queue.version
    store.queue.pause()
    assert store.queue.version > version
    assert store.queue.claim("w") is None and store.queue.is_paused
    store.queue.finish(first, ImageSaved(path="a.png", width=1, height=1), Finished(), {})  # what is drawn goes on
    store.close()
    store = open_store(tmp_path)
    try:
        assert store.queue.is_paused and store.queue.claim("w") is None
        got: list[object] = []
        seen = store.queue.work_version()

        def work() -> None:
            store.queue.wait_for_work(seen)
            got.append(store.queue.claim("w"))

        threading.Thread(target=work, daemon=True).start()
        store.queue.resume()
        until(lambda: got, "the claim")
        assert got[0] and store.queue.get(second).state == "running"
    finally:
        store.close()


def test_a_set_or_a_batch_is_taken_out_of_the_line(store: Store) -> None:
    a, b = store.queue.submit([a_recipe()] * 3), store.queue.submit([a_recipe()] * 2)
    store.queue.claim("w")
    assert store.queue.cancel_waiting([a[0], a[2], b[0]]) == 2
    assert store.queue.get(a[0]).cancel_requested is False, "what is drawn goes on"
    with pytest.raises(NotFound):
        store.queue.cancel_waiting([b[1], "nobody"])
    assert line(store) == [a[1], b[1]]
    assert store.queue.cancel_waiting_batch(a[0]) == 1
    assert line(store) == [b[1]]
    check_books(store)


def pages_of(ask: Callable[[str | None], tuple[list[str], str | None]]) -> list[str]:
    found, cursor = ask(None)
    while cursor is not None:
        more, cursor = ask(cursor)
        found += more
    return found


def test_pages_of_the_line_hold_each_batch_once_whatever_waits_for_files(store: Store) -> None:
    batches = [store.queue.submit([a_recipe()] * (1 + n % 3), owner="ab"[n % 2]) for n in range(23)]
    held = store.queue.submit([a_recipe()] * 2, waits_for=["big", "big"])
    mixed = store.queue.submit([a_recipe()] * 2, waits_for=["big", None])

    def ask(owner: str | None) -> Callable[[str | None], tuple[list[str], str | None]]:
        def page(after: str | None) -> tuple[list[str], str | None]:
            groups = store.queue.groups(after=after, limit=4, owner=owner)
            return [group.batch_id for group in groups], groups[-1].cursor if groups else None

        return page

    assert pages_of(ask(None)) == [*(batch[0] for batch in batches), mixed[0], held[0]]
    assert pages_of(ask("a")) == [batch[0] for batch in batches[::2]]
    last = store.queue.groups(after=store.queue.groups(limit=20)[-1].cursor)[-1]
    assert (last.batch_id, last.held, last.waiting, last.first.id) == (held[0], 2, 2, held[0])
    ahead = [group.work_ahead for group in store.queue.groups(limit=30)]
    assert ahead == sorted(ahead) and ahead[0] == 0 and ahead[1] == store.queue.groups()[0].work
    assert store.queue.numbers().batches == 25 and store.queue.numbers("a").batches == 12
    check_books(store)


def test_a_batch_that_stands_apart_is_done_with_its_last(store: Store) -> None:
    apart, between, behind = (
        store.queue.submit([a_recipe()] * count, owner=who) for count, who in ((5, "a"), (4, "b"), (2, "a"))
    )
    held = store.queue.submit([a_recipe()] * 3, waits_for=["big"] * 3, owner="a")
    one = store.queue.groups(limit=1)[0].work // 5

    def until_done(owner: str | None = None) -> dict[str, float]:
        return {group.batch_id: group.work_until / one for group in store.queue.groups(owner=owner)}

    assert until_done() == {apart[0]: 5, between[0]: 9, behind[0]: 11, held[0]: 14}
    store.queue.move(apart[3:], Spot("after", of=between[-1]))
    assert until_done() == {apart[0]: 9, between[0]: 7, behind[0]: 11, held[0]: 14}
    assert until_done("a") == {apart[0]: 5, behind[0]: 7, held[0]: 10}
    store.queue.move(apart[4:], Spot("last"))
    assert until_done() == {apart[0]: 11, between[0]: 7, behind[0]: 10, held[0]: 14}
    assert until_done("a") == {apart[0]: 7, behind[0]: 6, held[0]: 10}
    assert store.queue.groups(limit=1)[0].work_until == 11 * one, "also where the next is on another page"


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_pages_of_a_batch_hold_each_picture_once(store: Store, limit: int) -> None:
    ids = store.queue.submit([a_recipe()] * 9, waits_for=[None, "b", None, "a", None, None, "a", "b", None])
    order = [ids[n] for n in (0, 2, 4, 5, 8, 3, 6, 1, 7)]  # those that can be drawn, then by what they wait for

    def ask(after: str | None) -> tuple[list[str], str | None]:
        tasks, cursor = store.queue.waiting_in(ids[0], after=after, limit=limit)
        return [task.id for task in tasks], cursor

    assert pages_of(ask) == order
    assert store.queue.waiting_in(ids[0], owner="nobody") == ([], None)


@pytest.mark.parametrize(
    "cursor", ["", "x", "~~~", "1~x~0~a", "0~nan", "9" * 50, "0~0x1p0~9" * 3, "a~b", "~" * 40, "é", f"-{10**20}~0~0~a"]
)
def test_a_cursor_that_somebody_made_up_is_refused_or_harmless(store: Store, cursor: str) -> None:
    (task_id,) = store.queue.submit([a_recipe()])
    for ask in (store.queue.groups, lambda **after: store.queue.waiting_in(task_id, **after)):
        try:
            ask(after=cursor)  # type: ignore[operator]
        except BadValue as exc:
            assert exc.field == "after" and exc.hint


def test_history_tells_what_has_ended_newest_first(store: Store) -> None:
    ids = store.queue.submit([a_recipe()] * 6, owner="ann")
    store.queue.submit([a_recipe()])
    for task_id in ids[:4]:
        store.queue.claim("w")
        store.queue.end(task_id, Cancelled() if task_id == ids[1] else Finished())
    store.queue.cancel(ids[5])
    ended = [ids[5], ids[3], ids[2], ids[1], ids[0]]
    assert [task.id for task in store.queue.history()] == ended
    first = store.queue.history(limit=2)
    assert [task.id for task in first] == ended[:2]
    assert [task.id for task in store.queue.history(before=first[-1].id)] == ended[2:]
    assert [task.id for task in store.queue.history(state="cancelled")] == [ids[5], ids[1]]
    assert store.queue.history(owner="bob") == [] and len(store.queue.history(owner="ann")) == 5


def test_history_tells_nobody_when_a_picture_of_somebody_else_ended(store: Store) -> None:
    (bobs,), (anns,) = (store.queue.submit([a_recipe()], owner=owner) for owner in ("bob", "ann"))
    assert store.queue.cancel(bobs) and store.queue.cancel(anns)
    assert store.queue.history(before=anns) and not store.queue.history(before=anns, owner="bob")


def test_no_question_about_the_line_reads_all_of_it(store: Store) -> None:
    """Ask SQLite how it answers."""
    ids = store.queue.submit([a_recipe()] * 3)
    store.queue.submit([a_recipe()], waits_for=["big"])
    asked: set[str] = set()
    store.database._reader.set_trace_callback(asked.add)  # pyright: ignore[reportPrivateUsage]
    cursor = store.queue.groups(limit=1)[0].cursor
    for owner in (None, "ann"):
        store.queue.groups(after=cursor, owner=owner), store.queue.history(before=ids[0], owner=owner)
        store.queue.numbers(owner), store.queue.history(state="failed", owner=owner), store.queue.repeats(owner)
        store.queue.waiting_in(ids[0], after=store.queue.task_cursor(ids[0]), owner=owner)
        next(store.queue.in_line(owner), None)
    store.queue.sizes(ids)
    assert len(asked) > 12
    for sql in asked:
        plan = [row["detail"] for row in store.database.read(f"EXPLAIN QUERY PLAN {sql.replace('-Inf', '-9e999')}")]
        slow = [
            step
            for step in plan
            if step.startswith("SCAN") and not any(of in step for of in ("totals", "json_each", "line", "VIRTUAL"))
        ]
        sorts = [step for step in plan if "TEMP B-TREE" in step and "repeats" not in sql and "totals" not in sql]
        assert not slow and not sorts, (sql, plan)
