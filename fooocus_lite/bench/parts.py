"""The measurements, one function a part; each yields rows of the table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from fooocus_lite.attention_weights import parse_weights
from fooocus_lite.bench import downloading
from fooocus_lite.bench.base import REST_S, ROUNDS, Bench, ratio_row
from fooocus_lite.bench.children import AppServer, BareLoop, child_environment
from fooocus_lite.bench.heads import TENSORS, write_heads
from fooocus_lite.bench.line import LONG, SHORT
from fooocus_lite.bench.report import Row
from fooocus_lite.bench.samples import write_samples
from fooocus_lite.library import load_library
from fooocus_lite.metadata import read_file
from fooocus_lite.model_index import read_index
from fooocus_lite.model_scan import scan_models
from fooocus_lite.plan import Plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import Settings, app_root, load_settings
from fooocus_lite.store import Store, open_store
from fooocus_lite.wording import make_wording

START_ROUNDS = 3
QUEUE_ROUNDS = 200
LOADING_ROUNDS = 3
_LOADING = "loading a checkpoint ÷ reading its bytes"
FEW, MANY = 10, 10_000
PROMPT_CHARS, WILDCARDS = 2000, 20
MB = 1_000_000
HEADS = 200


def measure_pictures(bench: Bench) -> Iterator[Row]:
    """A picture, and the first preview, through the app and in the bare loop, in turns."""
    app: list[float] = []
    bare: list[float] = []
    app_preview: list[float] = []
    bare_preview: list[float] = []
    with (
        AppServer(bench.settings, bench.folder / "pictures", threads=bench.threads) as server,
        BareLoop(bench.settings, bench.plan, threads=bench.threads) as loop,
    ):
        server.wait_for_page()
        for number in range(ROUNDS + 1):
            words = f"{bench.plan.texts[0]}, number {number}"
            time.sleep(REST_S)
            app.append(server.draw(bench.recipe(seed=number)))
            time.sleep(REST_S)
            bare.append(loop.ask("picture", number))
            time.sleep(REST_S)
            app_preview.append(_app_preview(server, bench.recipe(prompt=words, seed=number)))
            time.sleep(REST_S)
            bare_preview.append(loop.ask("first_preview", f"{words} again"))
            bench.say(f"  round {number} of {ROUNDS}: {app[-1]:.2f} s and {bare[-1]:.2f} s")
        memory = psutil.Process(server.process.pid).memory_info().rss
        has_torch = _has_torch(server.process.pid)
    del app[0], bare[0], app_preview[0], bare_preview[0]  # the first ones load the model
    steps = f"{bench.plan.width}×{bench.plan.height}, {bench.plan.steps} steps, previews on"
    yield ratio_row("picture: app ÷ bare loop", 1.05, app, bare, f"HTTP request → file on disk, {steps}")
    yield ratio_row(
        "click → first preview", 1.3, app_preview, bare_preview, "new words, warm; ÷ encoding + one step + one preview"
    )
    yield Row("server memory after that", memory / MB, 400, "resident, with the page built", "MB")
    yield Row("torch in the server", float(has_torch), 0, "libraries mapped into the process", "")


def _app_preview(server: AppServer, recipe: dict[str, Any]) -> float:
    """Seconds from the request to the preview on the page's own stream; then the picture is skipped."""
    with server.following("/v1/events") as messages:
        next(messages)
        started = time.perf_counter()
        task = server.submit(recipe)
        seconds = 0.0
        for _, data in messages:
            message = json.loads(data)
            if message["type"] == "preview" and not seconds:
                seconds = time.perf_counter() - started
                server.ask("DELETE", f"/v1/tasks/{task}")
            if message["type"] == "task" and message["task"]["state"] in ("cancelled", "finished", "failed"):
                return seconds
    raise RuntimeError("the stream ended before a preview")


def _has_torch(pid: int) -> bool:
    return any("torch" in Path(part.path).name for part in psutil.Process(pid).memory_maps())


def measure_words(bench: Bench) -> Iterator[Row]:
    """From a long prompt as typed to the weighted pieces that are encoded."""
    library = load_library(bench.settings)
    names = list(library.word_lists)
    tags = [f"__{name}__ and [[one, (two:1.3), three [four]]]" for name in (names * WILDCARDS)[:WILDCARDS]]
    prompt = ", ".join(tags) + "\n(masterpiece:1.2), <lora:none:0.5> "
    prompt += "more words " * ((PROMPT_CHARS - len(prompt)) // 11)
    seconds: list[float] = []
    for seed in range(QUEUE_ROUNDS):
        recipe = Recipe(prompt=prompt, seed=seed, index=seed)
        started = time.perf_counter()
        wording = make_wording(recipe, library)
        pieces = [parse_weights(line) for line in wording.lines]
        seconds.append(time.perf_counter() - started)
        assert len(pieces) == 2
    how = f"{len(prompt):,} characters, {WILDCARDS} wildcards of {len(names)} lists, {WILDCARDS} arrays"
    yield Row("words of a long prompt", median(seconds) * 1000, 2, how, "ms")


def measure_queue(bench: Bench) -> Iterator[Row]:
    """Submit and claim with few and with many tasks in line."""
    seconds: dict[int, list[float]] = {SHORT: [], LONG: []}
    stores = {size: open_store(bench.folder / f"queue-{size}") for size in seconds}
    for size, store in stores.items():
        store.queue.submit([Recipe(prompt=f"number {number}", seed=number) for number in range(size)])
    for _ in range(QUEUE_ROUNDS):
        for size, store in stores.items():
            started = time.perf_counter()
            store.queue.submit([Recipe(prompt="one more", seed=1)])
            task = store.queue.claim("bench")
            seconds[size].append(time.perf_counter() - started)
            assert task is not None
            store.queue.cancel(task.id)
    for store in stores.values():
        store.close()
    yield ratio_row(
        f"submit + claim: {LONG:,} ÷ {SHORT} in line", 1.5, seconds[LONG], seconds[SHORT], "written to disk"
    )


def measure_start(bench: Bench) -> Iterator[Row]:
    """How soon the interface and the page are there, against Gradio's import alone."""
    page: list[float] = []
    gradio: list[float] = []
    answers: list[float] = []
    early = 0
    for number in range(START_ROUNDS + 1):
        with AppServer(bench.settings, bench.folder / f"start-{number}", threads=bench.threads) as server:
            answers.append(server.first_answer_s)
            early += server.page_at_first_answer == "starting"
            page.append(server.wait_for_page())
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import gradio"], env=child_environment(bench.threads), check=True)
        gradio.append(time.perf_counter() - started)
        bench.say(f"  round {number} of {START_ROUNDS}: {page[-1]:.2f} s and {gradio[-1]:.2f} s")
    del page[0], gradio[0]  # the first ones read from a cold disk
    yield ratio_row("page ÷ `import gradio`", 1.5, page, gradio, "from the start of the process")
    late = START_ROUNDS + 1 - early
    how = f"starts in which /healthz waited for Gradio; it answered after {median(answers):.2f} s"
    yield Row("late /healthz", late, 0, how, "")


def measure_counts(bench: Bench) -> Iterator[Row]:
    """Things that must not happen at all."""
    with BareLoop(bench.settings, bench.plan, threads=bench.threads) as loop:
        yield Row("host syncs outside previews", loop.ask("host_reads"), 0, f"in {bench.plan.steps} steps", "")
        runs, reads, moves = loop.ask("second_task")
        yield Row("text encoder runs, same words again", runs, 0, "in the second task", "")
        how = f"{reads} readings of a model, {moves} moves of a part of one"
        yield Row("model read or moved again", reads + moves, 0, f"in the second task: {how}", "")


def measure_reading(bench: Bench) -> Iterator[Row]:
    """The settings in pictures of every known program, read one after the other, names looked up."""
    library = load_library(bench.settings)
    paths = write_samples(bench.folder / "reading")
    read_file(paths[0], library)  # the first one imports
    started = time.process_time()  # of one core, whatever else the machine does
    for number in range(MANY):
        read_file(paths[number % len(paths)], library)
    seconds = time.process_time() - started
    how = f"{MANY / seconds:,.0f} a second on one core; {len(paths)} files in five schemes, in the system's cache"
    yield Row("reading a picture's settings", seconds / MANY * 1e6, 2_000, how, "µs")


def measure_loading(bench: Bench) -> Iterator[Row]:
    """A checkpoint of full size from the system's cache to a model that is ready, ÷ reading its bytes."""
    path, seconds = bench.folder / "sd15.safetensors", dict[str, list[float]]()
    need = 3_000_000_000
    if shutil.disk_usage(bench.folder).free < need or psutil.virtual_memory().available < 3 * need:
        yield Row(_LOADING, None, 1.3, "needs 3 GB of disk and 9 GB of memory")
        return
    command = [sys.executable, "-m", "fooocus_lite.engine.full_size", "sd15", str(path), "--measure"]
    command += ["--device", bench.settings.device, "--families", str(app_root() / "models" / "families")]
    for number in range(LOADING_ROUNDS):  # a process each: one that had the model before has its memory still
        done = subprocess.run(command, env=child_environment(bench.threads), stdout=subprocess.PIPE, check=True)
        for name, value in json.loads(done.stdout).items():
            seconds.setdefault(name, []).append(value)
        bench.say(f"  round {number + 1} of {LOADING_ROUNDS}: {seconds['load'][-1]:.2f} s")
    path.unlink()
    yield ratio_row(_LOADING, 1.3, seconds["load"], seconds["read"], "SD 1.5, 2.1 GB in fp16, page cache warm")


def measure_bytes(bench: Bench) -> Iterator[Row]:
    """What an answer and a message weigh after few and after many tasks."""
    found: dict[int, tuple[int, int]] = {}
    for size in (FEW, MANY):
        folder = bench.folder / f"bytes-{size}"
        _make_history(folder / "data", size, bench.plan)
        with AppServer(bench.settings, folder, threads=bench.threads) as server:
            listing = len(server.ask("GET", f"/v1/tasks?limit={FEW}"))
            with server.following("/v1/events") as messages:
                next(messages)
                task = server.submit(bench.recipe())
                update = len(next(messages)[1])
                server.ask("DELETE", f"/v1/tasks/{task}")
        found[size] = (listing, update)
    for index, name in enumerate((f"bytes of GET /v1/tasks?limit={FEW}", "bytes of one queue update")):
        few, many = found[FEW][index], found[MANY][index]
        yield Row(f"{name}: {MANY:,} ÷ {FEW} past", many / few, 1.05, f"{many:,} ÷ {few:,} bytes")


def _make_history(data_dir: Path, size: int, plan: Plan) -> None:
    """A queue with ``size`` ended tasks."""
    store: Store = open_store(data_dir)
    values: dict[str, Any] = {"prompt": plan.texts[0], "width": plan.width, "height": plan.height, "steps": plan.steps}
    store.queue.submit([Recipe(**values, seed=1_000_000 + number) for number in range(size)])
    store.queue.clear_waiting()
    store.close()


def measure_downloads(bench: Bench) -> Iterator[Row]:
    """A verified download, of this machine from itself."""
    absent = downloading.missing_tools()
    if absent is not None:
        yield absent
        return
    pairs = list(downloading.download_seconds(bench.settings, bench.folder / "downloads", ROUNDS + 1))[1:]
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    what = f"{downloading.SIZE_BYTES / MB:.0f} MB, written and flushed; ÷ read and hashed only"
    yield ratio_row("verified download ÷ curl through sha256sum", 1.25, ours, theirs, what)


def measure_library(bench: Bench) -> Iterator[Row]:
    """Reading many styles and presets, and how often they are read again while nothing changes."""
    folder = bench.folder / "library"
    settings = _make_library(folder, styles=1_000, presets=100)
    library = load_library(settings)
    seconds: list[float] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        load_library(settings)
        seconds.append(time.perf_counter() - started)
    again = sum(library.refreshed() is not library for _ in range(ROUNDS))
    assert len(library.styles) >= 1_000 and len(library.presets) >= 100 and not library.problems
    how = "from the disk's cache; half of them in Fooocus's form"
    yield Row("1,000 styles and 100 presets read", median(seconds) * 1000, 150, how, "ms")
    yield Row("read again without a change", again, 0, f"in {ROUNDS} looks", "")


def measure_scan(bench: Bench) -> Iterator[Row]:
    """Finding out what checkpoints are, and looking again when nothing changed."""
    folder = bench.folder / "scan"
    write_heads(folder / "models" / "checkpoints", HEADS)
    settings = load_settings(env={}, root=folder)
    seconds: list[float] = []
    for _ in range(2):
        started = time.process_time()
        scan_models(settings)
        seconds.append((time.process_time() - started) / HEADS * 1000)
    assert sum(one.facts.family == "sdxl" for one in read_index(settings).found.values()) == HEADS
    yield Row(
        "a checkpoint is told by its head",
        seconds[0],
        5,
        f"of a core; {HEADS} files with {TENSORS:,} tensors each",
        "ms",
    )
    yield Row("a checkpoint is looked at again", seconds[1], 0.5, "of a core; nothing changed, nothing is opened", "ms")


def _make_library(folder: Path, *, styles: int, presets: int) -> Settings:
    """A root and a Fooocus folder with half of the styles and presets each."""
    fooocus = folder / "Fooocus"
    for place, inner in ((folder, "styles"), (fooocus, "sdxl_styles")):
        (place / inner).mkdir(parents=True)
        (place / "presets").mkdir()
        names = [f"Style {number} of {inner}" for number in range(styles // 2)]
        rows = [{"name": name, "prompt": f"{{prompt}}, {name}", "negative_prompt": "blurry"} for name in names]
        (place / inner / "many.json").write_text(json.dumps(rows), encoding="utf-8")
        for number in range(presets // 2):
            ours = {"recipe": {"steps": 9, "styles": names[:3]}}
            theirs = {"default_model": "x.safetensors", "default_cfg_scale": 4.0, "default_styles": names[:3]}
            text = json.dumps(ours if place is folder else theirs)
            (place / "presets" / f"{inner}-{number}.json").write_text(text, encoding="utf-8")
    return load_settings({"legacy_folder": str(fooocus), "preset": "styles-0"}, env={}, root=folder)
