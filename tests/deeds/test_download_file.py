"""One file from a source that does everything a source can do wrong, over real sockets."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fooocus_lite.download_file import FileProgress, Tries, fetch_file
from fooocus_lite.errors import BadValue, CorruptModel, DownloadFailed, FooocusError
from fooocus_lite.http_streams import Halt, Halted, Patience, retry_after_s
from fooocus_lite.model_files import ModelFile
from fooocus_lite.part_file import note_path, part_path
from fooocus_lite.settings import Settings, load_settings
from tests.deeds.conftest import until
from tests.fake_hub import HTML, TOKEN, Cut, FakeHub, Length, NoRange, Other, Redirect, Stall, Status, random_bytes

REPO, NAME = "painter/brush", "model.safetensors"
DATA = random_bytes(3_000_000)
QUICK = Patience(stall_s=0.3, tries=3, first_wait_s=0.01, longest_wait_s=0.02)
HEAD = b"\x02" + b"\0" * 7 + b"{}"  # of a safetensors file without tensors
NO_RANGE_ASKED = [None]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as running:
        running.put(REPO, NAME, DATA)
        yield running


@pytest.fixture(autouse=True)
def nobodys_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))


@pytest.fixture
def settings(hub: FakeHub, tmp_path: Path) -> Settings:
    return load_settings({"models_dir": str(tmp_path / "models"), "hub_endpoint": hub.address}, env={}, root=tmp_path)


@pytest.fixture
def place(settings: Settings) -> Path:
    return settings.models_dir / "brush" / NAME


@pytest.fixture
def on_hub(place: Path) -> ModelFile:
    return ModelFile(str(place), repo=REPO, path_in_repo=NAME)


Fetch = Callable[..., list[FileProgress]]


@pytest.fixture
def fetch(settings: Settings) -> Fetch:
    def run(file: ModelFile, patience: Patience = QUICK, halt: Halt | None = None) -> list[FileProgress]:
        told: list[FileProgress] = []
        fetch_file(file, settings, Tries(halt or Halt(), patience, told.append))
        return told

    return run


def is_alone(place: Path) -> bool:
    """Nothing but the file is left."""
    return [path.name for path in place.parent.iterdir()] == [place.name]


def ranges(hub: FakeHub) -> list[str | None]:
    return [seen.headers.get("range") for seen in hub.gets(NAME)]


def test_a_file_of_the_hub_comes_whole(fetch: Fetch, on_hub: ModelFile, place: Path, hub: FakeHub) -> None:
    told = fetch(on_hub)
    assert place.read_bytes() == DATA and is_alone(place)
    assert told[-1] == FileProgress(len(DATA), len(DATA), "checking")
    assert ranges(hub) == NO_RANGE_ASKED


def test_what_is_there_is_not_fetched_again(fetch: Fetch, on_hub: ModelFile, hub: FakeHub) -> None:
    fetch(on_hub)
    hub.seen.clear()
    fetch(on_hub)
    assert hub.seen == []


def test_the_hub_is_not_asked_for_what_the_catalog_says(fetch: Fetch, place: Path, hub: FakeHub) -> None:
    sha256 = hashlib.sha256(DATA).hexdigest()
    fetch(ModelFile(str(place), repo=REPO, path_in_repo=NAME, size_bytes=len(DATA), sha256=sha256))
    assert place.read_bytes() == DATA and not hub.asked("paths-info")


def test_a_small_file_is_verified_by_the_hash_of_git(fetch: Fetch, settings: Settings, hub: FakeHub) -> None:
    hub.put(REPO, "config.json", b"{}", is_lfs=False)
    config = settings.models_dir / "config.json"
    fetch(ModelFile(str(config), repo=REPO, path_in_repo="config.json"))
    assert config.read_bytes() == b"{}"
    config.unlink()
    hub.next("config.json", Other(b"[]"))
    with pytest.raises(CorruptModel, match="not what was published"):
        fetch(ModelFile(str(config), repo=REPO, path_in_repo="config.json"))
    assert not config.exists()


@pytest.mark.parametrize("answer", [Cut(1_100_000), Stall(1_100_000), Length(1_100_000)], ids=repr)
def test_a_broken_connection_goes_on_where_it_broke(
    fetch: Fetch, place: Path, hub: FakeHub, answer: Cut | Stall | Length
) -> None:
    url = hub.put_url(NAME, HEAD + DATA, etag='"one"')
    size = len(DATA) + 10
    if isinstance(answer, Length):
        answer = Length(size + 5)  # promised more: the end comes as a break
        with pytest.raises(DownloadFailed, match="were published"):
            hub.next(NAME, answer)
            fetch(ModelFile(str(place), url=url, size_bytes=size))
        return
    hub.next(NAME, answer)
    told = fetch(ModelFile(str(place), url=url))
    assert place.stat().st_size == size and is_alone(place)
    assert ranges(hub) == [None, "bytes=1100000-"]
    assert hub.gets(NAME)[1].headers["if-range"] == '"one"'
    assert sum(seen.sent for seen in hub.gets(NAME)) == size
    assert any("Trying again" in moment.note for moment in told)


def test_no_answer_at_all_is_noticed(fetch: Fetch, on_hub: ModelFile, place: Path, hub: FakeHub) -> None:
    hub.next(NAME, Stall(-1))
    told = fetch(on_hub)
    assert place.read_bytes() == DATA
    assert [moment.note for moment in told if moment.note] == [
        "localhost has sent nothing for 0.3 seconds. Trying again in 1 s."
    ]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_source_is_asked_again(fetch: Fetch, on_hub: ModelFile, place: Path, hub: FakeHub, status: int) -> None:
    hub.next(NAME, Status(status, {"Retry-After": "0"}), Status(status))
    fetch(on_hub)
    assert place.read_bytes() == DATA and len(hub.gets(NAME)) == 3


def test_a_busy_hub_is_asked_again(fetch: Fetch, on_hub: ModelFile, place: Path, hub: FakeHub) -> None:
    hub.next(f"{REPO} paths-info", Status(503), Status(429))
    fetch(on_hub)
    assert place.read_bytes() == DATA and len(hub.asked("paths-info")) == 3


def test_patience_ends_in_a_sentence(fetch: Fetch, on_hub: ModelFile, place: Path, hub: FakeHub) -> None:
    hub.next(NAME, Cut(1_000_000), *[Status(503)] * 9)
    with pytest.raises(DownloadFailed) as failed:
        fetch(on_hub)
    assert failed.value.problem == "localhost is busy (503 Service Unavailable). It was tried 3 times in a row."
    assert part_path(place).read_bytes() == DATA[:1_000_000]
    assert len(hub.gets(NAME)) == 3  # the cut one counts, for nothing came after it


def test_a_source_that_asks_for_hours_is_not_waited_for(fetch: Fetch, on_hub: ModelFile, hub: FakeHub) -> None:
    hub.next(NAME, Status(429, {"Retry-After": "7200"}))
    with pytest.raises(DownloadFailed, match="left alone for 120 minutes"):
        fetch(on_hub)


def test_retry_after_is_read_in_both_forms() -> None:
    assert retry_after_s("12") == 12
    assert retry_after_s("Fri, 31 Dec 1999 23:59:59 GMT") == 0
    assert (retry_after_s("Wed, 01 Jan 2200 00:00:00 GMT") or 0) > 1e9
    assert retry_after_s("soon") is None and retry_after_s("") is None


def test_a_file_that_changed_is_begun_anew(fetch: Fetch, place: Path, hub: FakeHub) -> None:
    url = hub.put_url(NAME, HEAD + DATA, etag='"one"')
    hub.next(NAME, Cut(1_000_000), Status(401))
    with pytest.raises(DownloadFailed):
        fetch(ModelFile(str(place), url=url))
    newer = HEAD + random_bytes(2_500_000, seed=1)
    hub.put_url(NAME, newer, etag='"two"')
    told = fetch(ModelFile(str(place), url=url))
    assert place.read_bytes() == newer
    assert "The file changed at its source: starting over." in [moment.note for moment in told]


def test_a_source_without_range_sends_everything_again(
    fetch: Fetch, on_hub: ModelFile, place: Path, hub: FakeHub
) -> None:
    hub.next(NAME, Cut(1_000_000), NoRange())
    fetch(on_hub)
    assert place.read_bytes() == DATA


@pytest.mark.parametrize("damage", ["changed", "too long", "note gone", "note is nonsense", "other address"])
def test_a_damaged_part_is_not_used(fetch: Fetch, on_hub: ModelFile, place: Path, hub: FakeHub, damage: str) -> None:
    hub.next(NAME, Cut(1_000_000), Status(404))
    with pytest.raises(DownloadFailed):
        fetch(on_hub)
    part, note = part_path(place), note_path(place)
    if damage == "changed":
        part.write_bytes(b"?" + part.read_bytes()[1:])
    elif damage == "too long":
        part.write_bytes(DATA + b"?")
    elif damage == "note gone":
        note.unlink()
    elif damage == "note is nonsense":
        note.write_text("[1, 2")
    else:
        note.write_text(note.read_text().replace("painter", "printer"))
    fetch(on_hub)
    assert place.read_bytes() == DATA and is_alone(place)


def test_a_whole_part_is_only_checked(fetch: Fetch, on_hub: ModelFile, place: Path, hub: FakeHub) -> None:
    hub.next(NAME, Cut(1_000_000), Status(404))
    with pytest.raises(DownloadFailed):
        fetch(on_hub)
    part_path(place).write_bytes(DATA)
    hub.seen.clear()
    fetch(on_hub)
    assert place.read_bytes() == DATA and hub.gets(NAME) == []


def test_a_whole_part_of_an_address_is_taken(fetch: Fetch, place: Path, hub: FakeHub) -> None:
    file = ModelFile(str(place), url=hub.put_url(NAME, HEAD + DATA))
    hub.next(NAME, Cut(1_000_000), Status(400))
    with pytest.raises(DownloadFailed):
        fetch(file)
    part_path(place).write_bytes(HEAD + DATA)
    hub.seen.clear()
    fetch(file)
    assert place.stat().st_size == len(HEAD + DATA) and [seen.sent for seen in hub.gets(NAME)] == [0]


@pytest.mark.parametrize(
    "answer, sentence",
    [
        (Other(DATA[:-1] + b"?"), "is not what was published"),
        (Other(DATA[:-1]), "has 2,999,999 bytes of this file; 3,000,000 were published"),
        (HTML, "sends a web page instead of the file"),
        (Status(404), "does not have this file any more"),
        (Status(400), "refuses the download (400 Bad Request)"),
        (Status(200, {"Content-Encoding": "gzip"}, b"x"), "sends the file packed"),
        (Redirect("ftp://127.0.0.1/x"), "not safe"),
        (Redirect("/files/round"), "sends us from one address to the next"),
    ],
    ids=repr,
)
def test_what_is_not_the_file_is_not_installed(
    fetch: Fetch, on_hub: ModelFile, place: Path, hub: FakeHub, answer: Status, sentence: str
) -> None:
    hub.next(NAME, answer)
    hub.next("round", *[Redirect("/files/round")] * 20)
    with pytest.raises(FooocusError) as failed:
        fetch(on_hub)
    assert sentence in failed.value.problem and failed.value.hint
    assert not place.exists()
    fetch(on_hub)
    assert place.read_bytes() == DATA


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf"])
@pytest.mark.parametrize("data", [b"", b"<!doctype html>", b"\xff" * 100, b"\0" * 20], ids=repr)
def test_what_nobody_published_a_hash_of_must_look_right(
    fetch: Fetch, settings: Settings, hub: FakeHub, name: str, data: bytes
) -> None:
    place = settings.models_dir / name
    with pytest.raises(CorruptModel, match="cannot be used: it"):
        fetch(ModelFile(str(place), url=hub.put_url(name, data)))
    assert not place.exists()


def test_a_gated_repository_says_how_it_opens(
    fetch: Fetch, on_hub: ModelFile, place: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add(REPO)
    with pytest.raises(DownloadFailed) as failed:
        fetch(on_hub)
    assert failed.value.code == "needs_licence" and "HF_TOKEN" in failed.value.hint
    assert f"https://huggingface.co/{REPO}" in failed.value.hint
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DownloadFailed) as failed:
        fetch(on_hub)
    assert "Accept the licence" in failed.value.hint and "hf_wrong" not in str(failed.value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch(on_hub)
    assert place.read_bytes() == DATA


def test_the_token_goes_to_the_hub_and_nowhere_else(
    fetch: Fetch, on_hub: ModelFile, settings: Settings, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch(on_hub)
    fetch(ModelFile(str(settings.models_dir / "x.bin"), url=hub.put_url("x.bin", b"x")))
    with_token = [seen.path.split("?")[0] for seen in hub.seen if TOKEN in str(seen.headers)]
    assert with_token == [f"/api/models/{REPO}/paths-info/main", f"/{REPO}/resolve/main/{NAME}"]
    assert not [
        path for path in settings.models_dir.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()
    ]


def test_nothing_listens(fetch: Fetch, settings: Settings) -> None:
    with FakeHub() as gone:
        url = gone.put_url("x.bin", b"x")
    with pytest.raises(DownloadFailed, match=r"127.0.0.1 cannot be reached. It was tried 3 times"):
        fetch(ModelFile(str(settings.models_dir / "x.bin"), url=url))


@pytest.mark.parametrize("where", ["../x.bin", "/etc/x.bin", "a/../../x.bin", "", "a\nb.bin"])
def test_nothing_is_written_elsewhere(fetch: Fetch, settings: Settings, hub: FakeHub, where: str) -> None:
    with pytest.raises(BadValue, match="outside the models folder"):
        fetch(ModelFile(str(settings.models_dir / where), url=hub.put_url("x.bin", b"x")))
    assert hub.seen == []


@pytest.mark.parametrize("repo, path", [("../x", "y"), ("a/b/c", "y"), ("a/b", "../y"), ("a/b", "/y"), ("a/b", "y\\z")])
def test_no_trick_reaches_the_hub(fetch: Fetch, place: Path, hub: FakeHub, repo: str, path: str) -> None:
    with pytest.raises(BadValue):
        fetch(ModelFile(str(place), repo=repo, path_in_repo=path))
    assert hub.seen == []


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "//x/y", "https://", "http://[x/y", "http://x/a b"])
def test_only_http_is_followed(fetch: Fetch, place: Path, url: str) -> None:
    with pytest.raises(BadValue, match="not an address"):
        fetch(ModelFile(str(place), url=url))


def test_a_loop_of_links_is_one_sentence(fetch: Fetch, on_hub: ModelFile, place: Path) -> None:
    place.parent.parent.mkdir()
    place.parent.symlink_to(place.parent)
    with pytest.raises(FooocusError) as failed:
        fetch(on_hub)
    assert failed.value.code == "not_writable" and str(place.parent) in failed.value.problem


def test_offline_touches_no_network(on_hub: ModelFile, hub: FakeHub, tmp_path: Path) -> None:
    settings = load_settings(
        {"models_dir": str(tmp_path / "models"), "hub_endpoint": hub.address, "offline": True}, env={}, root=tmp_path
    )
    with pytest.raises(DownloadFailed) as failed:
        fetch_file(on_hub, settings, Tries(Halt(), QUICK, lambda _: None))
    assert failed.value.code == "offline" and hub.seen == []


def test_a_proxy_of_the_environment_is_used(
    fetch: Fetch, settings: Settings, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", hub.address)
    monkeypatch.delenv("NO_PROXY", raising=False)
    place = settings.models_dir / "x.bin"
    with pytest.raises(DownloadFailed, match=r"far-away.example does not have the file \(404"):
        fetch(ModelFile(str(place), url="http://far-away.example/files/x.bin"))
    assert [seen.path for seen in hub.seen] == ["http://far-away.example/files/x.bin"]


@pytest.mark.parametrize("after", [-1, 1_000_000])
def test_a_halt_ends_a_read_that_waits(
    settings: Settings, on_hub: ModelFile, place: Path, hub: FakeHub, after: int
) -> None:
    hub.next(NAME, Stall(after))
    halt, ended = Halt(), threading.Event()

    def run() -> None:
        with pytest.raises(Halted):
            fetch_file(on_hub, settings, Tries(halt, Patience(stall_s=3600), lambda _: None))
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: hub.gets(NAME) and hub.gets(NAME)[0].sent >= after, "the stall")
    until(lambda: after < 0 or part_path(place).exists(), "the part")
    halt.set()
    thread.join(60)  # far less than the hour that the read would wait
    assert ended.is_set()
    assert not place.exists()


def test_two_at_once_fetch_it_once(settings: Settings, on_hub: ModelFile, place: Path, hub: FakeHub) -> None:
    hub.next(NAME, Stall(1_000_000))
    halts, notes = [Halt(), Halt()], [list[str](), list[str]()]

    def run(index: int) -> None:
        patience = Patience(stall_s=2, first_wait_s=0.01)
        fetch_file(on_hub, settings, Tries(halts[index], patience, lambda at: notes[index].append(at.note)))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    threads[0].start()
    until(lambda: hub.gets(NAME), "the first one's request")
    threads[1].start()
    for thread in threads:
        thread.join()
    assert place.read_bytes() == DATA and is_alone(place)
    assert sum(seen.sent for seen in hub.gets(NAME)) == len(DATA)
    assert "Another program is downloading the same file." in notes[1]
