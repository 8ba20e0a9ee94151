"""The first real model, as somebody meets it: chosen, fetched in the background, killed half-way, drawn with."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.big_model import LICENCE, REPO, WEIGHTS, put_big_model, write_offer
from tests.browser.conftest import PHONE
from tests.browser.person import Person
from tests.fake_hub import FakeHub, Slow, Stall, Status
from tests.faults.server import Server, assert_red_circle, is_shipped, until

CIRCLE, STAR = "a red circle on a white background", "a blue star on a yellow background"


@pytest.fixture
def hub(web_models: Path) -> Iterator[FakeHub]:
    """It offers a copy of the starter's files as the big model."""
    with FakeHub() as running:
        put_big_model(running, web_models / "starter")
        yield running
    for path in sorted((web_models / "big").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


@pytest.fixture
def offering(hub: FakeHub, tmp_path: Path, start: Callable[..., Server]) -> Callable[[], Server]:
    """Starts a server, in the same folders each time, that knows of the offer."""
    write_offer(hub, tmp_path / "data")
    return lambda: start(hub_endpoint=hub.address)


def choose_preset(person: Person, label: str) -> None:
    person.page.get_by_role("combobox", name="Preset").click()
    person.page.get_by_role("option", name=label, exact=True).click()


def shape(person: Person) -> Locator:
    return person.page.get_by_role("combobox", name="Shape")


def offer_huge(data: Path, hub: FakeHub) -> None:
    """A model of a larger size than anybody downloads by mistake, beside the big one."""
    entries = json.loads((data / "catalog.json").read_text())
    file = {"repo": REPO, "path": "huge.safetensors", "size": 12_000_000_000}
    entries.append(
        entries[0]
        | {"name": "huge", "label": "Huge one", "path": "huge", "files": [file], "native_size": 512}
        | {"min_size": 256, "max_size": 1024, "defaults": {"steps": 4}}
    )
    (data / "catalog.json").write_text(json.dumps(entries))
    (data / "presets" / "huge.json").write_text(json.dumps({"label": "The huge model", "recipe": {"model": "huge"}}))


def row(person: Person) -> Locator:
    """The big model in the list of the Models tab."""
    return person.page.locator("#fl-models").get_by_role("listitem").filter(has_text="Big one")


def test_a_picture_waits_for_its_model_over_a_kill_and_finishes_by_itself(
    offering: Callable[[], Server], hub: FakeHub, come: Callable[..., Person]
) -> None:
    total = sum(len(stored.data) for stored in hub.files[REPO].values())
    hub.next(WEIGHTS, Stall(total * 37 // 100 + 1))
    hub.always = Slow(1.0)  # however long all this takes, it stands at 37 %
    server = offering()
    person = come(server=server)

    choose_preset(person, "Default")
    notice = person.page.get_by_role("status").filter(has_text="Big one is being downloaded")
    expect(notice).to_contain_text(f"{total / 1e6:.0f} MB")
    expect(notice).to_contain_text("free on the disk")
    expect(notice.get_by_role("link", name="Open licence")).to_have_attribute("href", LICENCE)
    expect(person.page.get_by_text("not here")).to_have_count(0)  # nobody has to get anything by hand
    person.generate(CIRCLE)
    waiting = person.queue.filter(has_text=CIRCLE)
    expect(waiting).to_contain_text(re.compile(r"waits for Big one: 14 of \d+ MB"))

    choose_preset(person, "Starter")  # which draws meanwhile
    person.set_steps(6)
    person.generate(STAR)
    person.see_picture(STAR)
    expect(person.queue).to_have_count(1)
    expect(waiting).to_contain_text("waits for Big one")
    expect(person.page.get_by_role("button", name=re.compile("Downloads: Big one"))).to_contain_text("37 %")
    person.open_advanced("Models")
    bar = row(person).get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "37")
    expect(row(person).get_by_role("button", name="Pause: Big one")).to_be_visible()

    person.page.close()
    server.kill()
    hub.always = None
    server = offering()
    person.move_to(server.address)
    person.see_picture(CIRCLE)  # nobody asked again
    expect(person.queue).to_have_count(0)
    first, *_, last = hub.gets(WEIGHTS)
    assert "range" not in first.headers and "if-range" in last.headers
    begin = int(last.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert begin >= first.sent and begin + last.sent == len(hub.files[REPO][WEIGHTS].data)  # nothing came twice
    person.open_advanced("Models")
    here = person.page.get_by_role("list", name="On this computer").get_by_role("listitem")
    expect(here.filter(has_text="Big one")).to_be_visible()

    tasks = {task["recipe"]["prompt"]: task for task in server.get("/v1/tasks?state=finished")[1]["tasks"]}
    assert (tasks[CIRCLE]["recipe"]["model"], tasks[CIRCLE]["attempt"]) == ("big", 1)
    for path, stored in hub.files[REPO].items():
        assert hashlib.sha256((server.models / "big" / path).read_bytes()).hexdigest() == stored.sha256
    assert not list((server.models / "big").rglob("*.part*"))
    if is_shipped():
        assert_red_circle(person.see_picture(CIRCLE).convert("RGB"))


def test_a_download_that_fails_says_why_and_can_be_tried_again(
    offering: Callable[[], Server], hub: FakeHub, come: Callable[..., Person]
) -> None:
    hub.always = Status(404)
    server = offering()
    person = come(server=server)
    (task_id,) = server.submit(CIRCLE, model="big", steps=4)
    (failed,) = server.wait(task_id)
    assert failed["state"] == "failed"
    expect(person.alert).to_contain_text(failed["error"]["problem"])
    person.open_advanced("Models")
    (download,) = server.get("/v1/downloads")[1]["downloads"]
    assert failed["error"]["problem"] == f"Big one could not be downloaded: {download['problem']}"
    expect(row(person)).to_contain_text(download["problem"])
    hub.always = None
    row(person).get_by_role("button", name="Retry: Big one").click()
    here = person.page.get_by_role("list", name="On this computer").get_by_role("listitem")
    expect(here.filter(has_text="Big one")).to_be_visible()
    person.alert.get_by_role("button", name="Try again").click()
    person.see_picture(CIRCLE)


def test_a_download_is_paused_resumed_and_cancelled(
    offering: Callable[[], Server], hub: FakeHub, come: Callable[..., Person]
) -> None:
    hub.next(WEIGHTS, Stall(10_000_000))
    hub.always = Slow(1.0)
    server = offering()
    person = come(server=server)
    person.open_advanced("Models")
    row(person).get_by_role("button", name="Download: Big one").click()
    until(lambda: hub.gets(WEIGHTS) and hub.gets(WEIGHTS)[0].sent == 10_000_000, "ten megabytes")
    (task_id,) = server.submit(CIRCLE, model="big", steps=4)
    row(person).get_by_role("button", name="Pause: Big one").click()
    expect(row(person)).to_contain_text("paused at")
    expect(person.queue).to_contain_text("waits for Big one: paused at")
    row(person).get_by_role("button", name="Resume: Big one").click()
    until(lambda: any(seen.headers.get("range", "") >= "bytes=10000000-" for seen in hub.gets(WEIGHTS)), "the rest")
    row(person).get_by_role("button", name="Cancel: Big one").click()
    expect(row(person).get_by_role("button", name="Download: Big one")).to_be_visible()
    expect(person.alert).to_contain_text("The download of Big one was cancelled.")
    expect(person.queue).to_have_count(0)
    assert server.task(task_id)["error"]["code"] == "missing_model"
    until(lambda: not list((server.models / "big").rglob("*.part")), "what was half there to go")


def test_a_large_download_waits_for_a_yes_and_its_model_brings_its_shapes(
    offering: Callable[[], Server], hub: FakeHub, tmp_path: Path, come: Callable[..., Person]
) -> None:
    offer_huge(tmp_path / "data", hub)
    hub.always = Slow(1.0)
    server = offering()
    server.submit(CIRCLE, model="big")  # something else is on its way, and waited for
    until(lambda: server.get("/v1/downloads")[1]["downloads"], "the other download")
    until(lambda: server.post("/v1/plan", {"prompt": CIRCLE})[1]["memory"], "a worker that knows its memory")
    person = come(PHONE, server=server)
    choose_preset(person, "The huge model")
    question = person.page.get_by_role("status").filter(has_text="Huge one is not on this computer yet.")
    expect(question).to_contain_text("Nothing is downloaded before you press Download 12.0 GB or Generate.")
    expect(question).to_contain_text(re.compile("this computer's memory|graphics card"))
    expect(shape(person)).to_have_value("1:1 · 512×512")
    choose_preset(person, "Starter")
    expect(question).to_have_count(0)
    expect(shape(person)).to_have_value("1:1 · 128×128")

    person.open_advanced("Models")
    person.page.get_by_role("list", name="Not downloaded yet").get_by_role(
        "button", name=re.compile("^Huge one")
    ).click()
    expect(question).to_be_visible()
    box = question.bounding_box()
    assert box and box["y"] >= 0  # its first words are on the screen, though the sheet is open
    expect(shape(person)).to_have_value("1:1 · 512×512")  # what the starter draws, it would refuse
    assert [one["name"] for one in server.get("/v1/downloads")[1]["downloads"]] == ["big"]
    question.get_by_role("button", name="Download 12.0 GB").click()
    expect(question).to_have_count(0)
    until(lambda: "huge" in [one["name"] for one in server.get("/v1/downloads")[1]["downloads"]], "the download")
