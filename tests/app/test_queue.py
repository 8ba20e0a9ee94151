"""The queue over HTTP, as the page, a program and the Python client use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.client import Client
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import Failed
from tests.app.client import ask, follow
from tests.app.light import LightServer
from tests.deeds.conftest import until

DEEP = '{"fooocus_lite_queue":1,"tasks":' + "[" * 100_000


@pytest.fixture
def client(server: LightServer) -> Client:
    return Client(server.address)


def test_batches_are_one_row_and_move_as_one(server: LightServer, client: Client) -> None:
    a, b, c = server.submit("first", count=4), server.submit("second", count=2), server.submit("third")
    assert [(group.batch_id, group.waiting) for group in client.line()] == [(a[0], 4), (b[0], 2), (c[0], 1)]
    assert client.move(batch_id=c[0], to="first") == 1
    assert client.move([a[3], a[0]], before=b[1]) == 2
    assert server.line() == [*c, a[1], a[2], b[0], a[3], a[0], b[1]]
    assert [picture.index for picture in client.waiting(a[0])] == [2, 3, 4, 1]
    assert client.move(batch_id=b[0], after=a[0]) == 2
    assert server.line() == [*c, a[1], a[2], a[3], a[0], *b]
    assert client.queue().batches == 3 and client.queue().waiting == 7
    assert client.cancel_waiting(batch_id=a[0]) == 4 and client.cancel_waiting([b[0]]) == 1
    assert server.line() == [*c, b[1]]
    assert [picture.state for picture in client.history("cancelled")] == ["cancelled"] * 5


@pytest.mark.parametrize(
    "body, status, words",
    [
        ({"to": "first"}, 422, "It must be said which pictures."),
        ({"ids": [], "to": "first"}, 422, "It must be said which pictures."),
        ({"ids": ["a"], "batch_id": "b", "to": "first"}, 422, "It must be said which pictures."),
        ({"ids": ["a"]}, 422, "It must be said where to move it."),
        ({"ids": ["a"], "to": "first", "before": "b"}, 422, "It must be said where to move it."),
        ({"ids": ["a"], "to": "middle"}, 422, "to cannot be 'middle'."),
        ({"ids": ["a"], "before": "a"}, 422, "A picture cannot be moved before or after itself."),
        ({"ids": ["a"], "to": "first"}, 404, "There is no task 'a'."),
        ({"batch_id": "b", "to": "first"}, 404, "There is no batch 'b'."),
        ({"ids": "a", "to": "first"}, 422, "ids cannot be 'a'."),
        ({"ids": [1], "to": "first"}, 422, "ids cannot be '1'."),
        ({"ids": ["a"] * 10_001, "to": "first"}, 422, "ids cannot be"),
        ({"ids": ["a"], "to": "first", "jump": 1}, 422, "There is no field 'jump'."),
    ],
)
def test_moves_that_cannot_be_are_refused_in_a_sentence(
    server: LightServer, body: dict[str, Any], status: int, words: str
) -> None:
    answered, said = server.ask("POST", "/v1/queue/move", body)
    assert answered == status and said["problem"].startswith(words) and said["hint"]


def test_an_edit_decides_anew_what_follows_from_it_and_nothing_else(server: LightServer, client: Client) -> None:
    (task_id,) = server.submit("a star", steps=7, guidance_scale=3.5)
    assert client.edit(task_id, 0, model="large") == 1
    recipe = client.task(task_id).recipe
    assert (recipe.model, recipe.width, recipe.steps, recipe.guidance_scale) == ("large", 128, 7, 3.5)
    assert client.edit(task_id, prompt="a moon", steps=None, width=192) == 2
    recipe = client.task(task_id).recipe
    assert (recipe.prompt, recipe.width, recipe.height, recipe.seed) == ("a moon", 192, 128, 1)
    assert recipe.steps != 7 and recipe.count == 1
    task = client.task(task_id)
    assert (task.revision, task.position) == (2, 1)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"steps": 900}, "steps cannot be 900."),
        ({"model": "nobody's"}, "There is no model"),
        ({"styles": ["nobody's"]}, "There is no style"),
        ({"width": 7}, "width cannot be 7."),
        ({"count": 2}, "A waiting picture is one picture."),
        ({"prompt": "a\n---\nb"}, "A waiting picture has one prompt."),
        ({"colour": "red"}, "There is no field 'colour'."),
        ({"seed": True}, "seed cannot be True."),
    ],
)
def test_an_edit_goes_through_the_checks_of_a_submit(
    server: LightServer, client: Client, changes: dict[str, Any], words: str
) -> None:
    (task_id,) = server.submit()
    before = client.task(task_id)
    with pytest.raises(FooocusError) as refused:
        client.edit(task_id, 0, **changes)
    assert refused.value.problem.startswith(words) and refused.value.hint
    assert client.task(task_id) == before


def test_an_edit_that_comes_too_late_is_refused(server: LightServer, client: Client) -> None:
    first, second = server.submit(count=2)
    client.edit(first, 0, steps=9)
    for task_id, words in ((first, "changed by somebody else meanwhile"), (second, "was cancelled, so it cannot")):
        server.store.queue.cancel(second)
        with pytest.raises(FooocusError, match=words) as refused:
            client.edit(task_id, 0, steps=3)
        assert refused.value.code == "conflict"
    sheet = server.ask("POST", "/v1/sheets", {"recipe": {"prompt": "x"}, "varies": ["sampler"]})[1]
    with pytest.raises(FooocusError, match="belongs to a contact sheet"):
        client.edit(sheet["id"], 0, steps=3)


def test_a_batch_is_edited_at_once_and_says_what_stayed(server: LightServer, client: Client) -> None:
    ids = server.submit("a star", count=3)
    assert client.edit_all(batch_id=ids[0], prompt="a moon") == {}
    tasks = [client.task(task_id) for task_id in ids]
    assert [(task.recipe.prompt, task.recipe.seed, task.revision) for task in tasks] == [
        ("a moon", n, 1) for n in (1, 2, 3)
    ]
    client.edit(ids[1], 1, steps=9)
    server.store.queue.cancel(ids[2])
    status, said = server.ask(
        "POST", "/v1/queue/edit", {"ids": ids, "revisions": [1, 1, 1], "recipe": {"prompt": "a sun"}}
    )
    assert (status, said["edited"], [one["id"] for one in said["stayed"]]) == (200, 1, [ids[2], ids[1]])
    assert "was cancelled" in said["stayed"][0]["error"]["problem"]
    assert "somebody else" in said["stayed"][1]["error"]["problem"]
    assert [client.task(task_id).recipe.prompt for task_id in ids] == ["a sun", "a moon", "a moon"]
    for wish in ({"batch_id": ids[0]}, {"ids": ids}):
        wrong = wish | {"revisions": [], "recipe": {"prompt": "a sun"}}
        assert server.ask("POST", "/v1/queue/edit", wrong)[0] == 422, "no revisions for a batch, nor too few"
    assert client.edit_all(ids[:2], seed=None) == {}
    assert len({client.task(task_id).recipe.seed for task_id in ids[:2]} - {1, 2}) == 2, "each has a new seed"


@pytest.mark.parametrize(
    "wish, words",
    [
        ({"recipe": {"seed": 7}}, "Several pictures cannot have one seed."),
        ({"recipe": {"steps": 900}}, "steps cannot be 900."),
        ({"recipe": {"model": "nobody's"}}, "There is no model"),
        ({"recipe": {"steps": 9}, "revisions": [0]}, "There are not as many revisions as ids."),
        ({"recipe": {"steps": 9}, "revisions": [0, -1]}, "revisions cannot be"),
    ],
)
def test_an_edit_of_several_that_is_refused_changes_none(
    server: LightServer, client: Client, wish: dict[str, Any], words: str
) -> None:
    ids = server.submit(count=2)
    before = [client.task(task_id) for task_id in ids]
    status, said = server.ask("POST", "/v1/queue/edit", {"ids": ids} | wish)
    assert status in (400, 422) and said["problem"].startswith(words) and said["hint"]
    assert [client.task(task_id) for task_id in ids] == before


def test_copies_stand_behind_their_originals_as_a_batch_of_their_own(server: LightServer, client: Client) -> None:
    a, b = server.submit("first", count=2), server.submit("second")
    (same,) = server.ask("POST", f"/v1/tasks/{a[0]}/duplicate")[1]["ids"]
    assert server.line() == [a[0], same, a[1], *b]
    assert client.task(same).recipe == client.task(a[0]).recipe
    copies = client.duplicate(batch_id=a[0], new_seed=True)
    assert server.line() == [a[0], same, a[1], *copies, *b]
    seeds = [client.task(task_id).recipe.seed for task_id in copies]
    assert len({*seeds, 1, 2}) == 4
    server.store.queue.cancel(a[0])
    (copy,) = client.duplicate([a[0]])
    assert server.line()[-1] == copy, "of what has ended at the end"
    with pytest.raises(FooocusError, match="There is no task 'x'"):
        client.duplicate(["x"])


def test_what_is_exported_comes_back_the_same(server: LightServer, client: Client) -> None:
    server.submit("first\nsecond line", count=3, negative_prompt='"quotes" \\ ★ 😀')
    server.submit("# no comment")
    sheet = server.ask("POST", "/v1/sheets", {"recipe": {"prompt": "x"}, "varies": ["sampler"]})[1]["id"]
    client.move(server.line()[:1], to="last")
    before = [task.recipe for task in server.store.queue.in_line()]
    groups = [(group.waiting, group.first.label) for group in client.line()]
    text = client.export_queue()
    assert [json.loads(line.rstrip(",")) for line in text.splitlines()[1:-1]], "one task a line"
    prompts = client.export_queue("text")
    client.cancel_waiting(server.line())
    assert len(client.import_queue(text)) == len(before)
    assert [task.recipe for task in server.store.queue.in_line()] == before
    assert [(group.waiting, group.first.label) for group in client.line()] == groups
    again = next(group.batch_id for group in client.line() if group.first.label)
    labels = [cell["label"] for cell in server.ask("GET", f"/v1/sheets/{sheet}")[1]["cells"]]
    assert [cell["label"] for cell in server.ask("GET", f"/v1/sheets/{again}")[1]["cells"]] == labels
    client.cancel_waiting(server.line())
    ids = client.import_queue(prompts, steps=3, seed=5)
    words = ["first second line"] * 2 + ["# no comment"] + ["x"] * len(labels) + ["first second line"]
    assert [client.task(task_id).recipe.prompt for task_id in ids] == words
    assert client.task(ids[0]).recipe.steps == 3


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "There is no prompt in this file."),
        ("# only\n\n  # comments\n---", "There is no prompt in this file."),
        ("fine\n" + "x" * 20_001, "Line 2: prompt has 20,001 characters."),
        ("fine\n\n# c\n" + "[[" + ",".join("ab" * 10) + "]]" * 3 + "\n<lora:" + "n" * 30_000, "Line 5: "),
        ('{"a": 1}', "This is no queue of Fooocus Lite"),
        ('{"fooocus_lite_queue": 2, "tasks": []}', "This is no queue of Fooocus Lite: fooocus_lite_queue is 2."),
        ('{"fooocus_lite_queue": true, "tasks": []}', "This is no queue of Fooocus Lite"),
        ('{"fooocus_lite_queue": 1, "tasks": {}}', "The file has no list of tasks."),
        ('{"fooocus_lite_queue": 1,\n "tasks": [\n{"recipe": }]}', "The file cannot be read in line 3:"),
        (DEEP, "The file cannot be read: it holds settings that are nested too deeply."),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {"steps": NaN}}]}', "The file cannot be read"),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {"seed": ' + "9" * 5000 + "}}]}", "The file cannot be read"),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {"seed": 1e400}}]}', "Task 1: seed cannot be inf."),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {}}, {"recipe": []}]}', "Task 2: "),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {}}, 7]}', "Task 2: there is no recipe."),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {}, "batch": [1]}]}', "Task 1: batch cannot be this list."),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {}, "label": ""}]}', "Task 1: label cannot be ''."),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {}, "varies": {}}]}', "Task 1: varies cannot be an object."),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {}, "id": 1}]}', "Task 1: there is no field 'id'."),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {"count": 2}, "label": "a"}]}', "Task 1: a cell of"),
        ('{"fooocus_lite_queue": 1, "tasks": [{"recipe": {"model": "x"}}]}', "Task 1: There is no model"),
        ("\n".join("ab" for _ in range(20_001)), "Line 20001: that is one too many."),
    ],
)
def test_a_file_that_cannot_be_is_refused_as_a_whole_and_the_place_is_named(
    server: LightServer, client: Client, text: str, words: str
) -> None:
    with pytest.raises(FooocusError) as refused:
        client.import_queue(text)
    assert refused.value.problem.startswith(words), refused.value.problem
    assert refused.value.hint and refused.value.code in ("bad_json", "bad_value", "unknown_name")
    assert server.line() == []


def test_bodies_of_an_import_that_are_none(server: LightServer) -> None:
    for body, words in ((b"{", "The body is not readable JSON."), (b'{"tex": 1}', "text is missing."), (b"[]", "")):
        status, _, said = ask(server.address, "POST", "/v1/queue/import", body)
        assert status in (400, 422) and json.loads(said)["problem"].startswith(words)
    status, said = server.ask("POST", "/v1/queue/import", {"text": "a", "recipe": {"steps": 0}})
    assert (status, said["problem"]) == (422, "steps cannot be 0.")
    status, _, said = ask(server.address, "POST", "/v1/queue/import", b'{"text": "' + b"a" * 33_000_000 + b'"}')
    assert (status, json.loads(said)["code"]) == (413, "too_large") and "picture" not in json.loads(said)["hint"]
    assert server.line() == []


def test_a_batch_of_ten_thousand_is_one_row_and_no_page_is_large(server: LightServer, client: Client) -> None:
    prompts = (f"a very long prompt about number {n} " + "★" * 300 for n in range(10_000))
    tasks = [{"batch": 1, "recipe": {"prompt": prompt}} for prompt in prompts]
    ids = client.import_queue(json.dumps({"fooocus_lite_queue": 1, "tasks": tasks}))
    assert len(ids) == 10_000 and server.line() == ids
    assert [(group.waiting, group.first.of) for group in client.line()] == [(10_000, 10_000)]
    pages, path = list[str](), f"/v1/queue/batches/{ids[0]}?limit=200"
    after = ""
    for _ in range(5):
        _, _, body = ask(server.address, "GET", path + after)
        assert len(body) <= 20_000
        page = json.loads(body)
        pages += [row["id"] for row in page["tasks"]]
        after = f"&after={page['next']}"
    assert pages == ids[: len(pages)] and len(pages) > 50
    client.move(ids[9000:9500], to="first")
    assert server.line() == [*ids[9000:9500], *ids[:9000], *ids[9500:]]
    assert client.cancel_waiting(batch_id=ids[0]) == 10_000


def test_pages_of_many_batches_stay_small(server: LightServer) -> None:
    for n in range(150):
        server.submit(f"{n} " + "★" * 200, styles=[])
    found, after = list[str](), ""
    while True:
        _, _, body = ask(server.address, "GET", f"/v1/queue?limit=200{after}")
        assert len(body) <= 20_000
        page = json.loads(body)
        found += [group["batch_id"] for group in page["groups"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == server.line() and page["batches"] == 150


def test_every_open_page_hears_of_a_pause_and_of_a_move(server: LightServer, client: Client) -> None:
    a, b = server.submit("first"), server.submit("second")
    messages = follow(server.address, "/v1/events")

    def next_line() -> dict[str, Any]:
        return next(said for event in messages if (said := json.loads(event["data"]))["type"] in ("snapshot", "line"))

    before = next_line()
    assert (before["paused"], before["repeats"]) == (False, [])
    client.pause()
    paused = next_line()
    assert paused["paused"] and paused["version"] > before["version"]
    client.move(b, to="first")
    assert [row["id"] for row in next_line()["rows"]] == [*b, *a]
    client.repeat("again", times=2)
    assert next_line()["repeats"][0]["words"] == "again"
    messages.close()


def test_rounds_follow_each_other_one_ahead_until_there_were_so_many(tmp_path: Path) -> None:
    server = LightServer(tmp_path, is_drawing=True)
    try:
        client = Client(server.address)
        repeat = client.repeat("a star", times=4, count=2, seed=7, steps=2)
        assert (repeat.times, repeat.state) == (4, "on")
        until(lambda: not client.repeats(), "the last round")
        done = list(client.history())
        assert sorted(one.seed or 0 for one in done) == list(range(7, 15))
        assert {one.state for one in done} == {"finished"} and len({one.batch_id for one in done}) == 4

        client.pause()
        forever = client.repeat("a moon", count=2)
        assert (forever.times, forever.rounds, forever.begun) == (None, 1, 0)
        client.resume()
        until(lambda: client.repeats()[0].rounds > 5, "some rounds")
        client.end_repeat(forever.id)
        until(lambda: client.queue().waiting == 0 and not server.store.queue.running(), "the end of what was begun")
        moons = [one for one in client.history() if one.words == "a moon"]
        assert len({one.seed for one in moons}) == len(moons), "new seeds each time"
        assert {one.state for one in moons} <= {"finished", "cancelled"}
        with pytest.raises(FooocusError, match="There is no repeat"):
            client.end_repeat(forever.id)
    finally:
        server.close()


def test_a_picture_that_fails_stops_its_repeat_and_says_why(tmp_path: Path) -> None:
    server = LightServer(tmp_path, is_drawing=True)
    try:
        client = Client(server.address)
        client.repeat("fail", count=2)
        until(lambda: client.repeats() and client.repeats()[0].state == "stopped", "the failure")
        (stopped,) = client.repeats()
        assert stopped.error and stopped.error.problem
        until(lambda: client.queue().waiting == 0, "the round that was ahead")
        rounds = stopped.rounds
        assert rounds <= 3
        client.end_repeat(stopped.id)
        assert client.repeats() == []
        failed = next(one for one in client.history("failed"))
        assert failed.error and failed.took is not None
    finally:
        server.close()


def test_what_is_taken_out_of_the_line_is_not_asked_for_again(server: LightServer, client: Client) -> None:
    repeat = client.repeat("a star")
    assert repeat.batch_id and client.cancel_waiting(batch_id=repeat.batch_id) == 1
    until(lambda: not client.repeats(), "the end of the repeat")
    client.repeat("a moon")
    server.ask("POST", "/v1/clear")
    assert client.repeats() == [] and server.line() == []
    for _ in range(20):
        client.repeat("more")
    with pytest.raises(FooocusError, match="20 recipes are repeated already"):
        client.repeat("one too many")
    for times in (0, -1, 10**9, 1.5, "x"):
        assert server.ask("POST", "/v1/repeats", {"recipe": {}, "times": times})[0] == 422


def test_history_has_reasons_and_times(server: LightServer, client: Client) -> None:
    (task_id,) = server.submit()
    server.store.queue.claim("w")
    server.store.queue.end(task_id, Failed(code="worker_died", problem="It died.", hint="Press Retry."))
    (row,) = server.ask("GET", "/v1/history")[1]["tasks"]
    assert row["error"]["problem"] == "It died." and row["took"] >= 0 and row["finished_at"] >= row["created_at"]
    for state in ("waiting", "running"):
        status, said = server.ask("GET", f"/v1/history?state={state}")
        assert (status, said["field"]) == (422, "state") and "Allowed: finished" in said["hint"]
    ids = server.submit(count=100)
    client.cancel_waiting(batch_id=ids[0])
    assert len(list(client.history())) == 101
