"""What people type: every subcommand. The one module that wires the parts together and prints.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fooocus_lite import __version__
from fooocus_lite.commands.model_options import add_models
from fooocus_lite.commands.options import SERVER_ONLY, add_debug, add_json, add_settings, add_shared
from fooocus_lite.commands.recipe_options import add_recipe, recipe_of
from fooocus_lite.commands.user_options import add_users
from fooocus_lite.errors import FooocusError
from fooocus_lite.settings import SETTINGS, Settings, app_root, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fooocus_lite.foreground import Job
    from fooocus_lite.library import Library

COMMANDS = {
    "serve": "start the page and the interface for programs (what happens without a command)",
    "generate": "draw pictures from words; prints one path per picture",
    "sheet": "draw a prompt in several styles, samplers or modes; prints the path of all of them as one picture",
    "replay": "draw a saved picture again, pixel for pixel",
    "styles": "list the styles",
    "presets": "list the presets, what they need and what of them cannot be done here",
    "import-fooocus": "take over styles, presets, word lists, languages, favourites and pictures of a Fooocus folder",
    "loras": "list the LoRAs: what they are for, and the words that make them show",
    "wildcards": "list the word lists that __name__ in a prompt takes a word from",
    "models": "list models and what goes with them; download, check and remove them",
    "read": "print the settings in a picture, whichever program made it",
    "users": "list, add and remove the people who may use the server, their API keys and limits",
    "settings": "print every setting, its value and where that comes from",
    "doctor": "look at this machine, and say what is missing and how to mend it",
    "bench": "measure this machine; prints a table",
    "test": "run every test",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed on the way, 2 not started, 130 stopped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has no ✓ must not end the program
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        arguments.insert(0, "serve")
    if arguments[0] == "test":
        return run_tests(arguments[1:])
    options = make_parser().parse_args(arguments)
    if not options.debug:
        sys.excepthook = _in_one_sentence
    try:
        return options.run(options)
    except FooocusError as exc:
        if options.debug:
            logging.getLogger(__name__).exception("what happened")
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `… | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def _in_one_sentence(kind: type[BaseException], exc: BaseException, _trace: object) -> None:
    print(f"Something went wrong inside Fooocus Lite ({kind.__name__}: {exc}).", file=sys.stderr)
    print("Run the same with --debug and report what it prints.", file=sys.stderr)


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="fooocus-lite", description="Words in, pictures out, on your own machine.")
    parser.add_argument("--version", action="version", version=f"Fooocus Lite {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    made = {name: _add_command(commands, name) for name in COMMANDS}
    for name, command in made.items():
        add_settings(command, () if name in ("serve", "settings", "doctor") else SERVER_ONLY)
    _add_generate(made["generate"])
    _add_sheet(made["sheet"])
    made["replay"].add_argument("path", metavar="PATH", type=Path, help="a PNG, JPEG or WebP that Fooocus Lite saved")
    made["read"].add_argument("path", metavar="IMAGE", type=Path, help="a PNG, JPEG, WebP or text file; - = piped")
    for name in ("generate", "replay"):
        made[name].add_argument(
            "--out", metavar="DIR", type=Path, help="put the pictures here; else into output_dir, by day"
        )
    made["import-fooocus"].add_argument("path", metavar="PATH", type=Path, help="the folder that holds Fooocus")
    for name in COMMANDS:
        if name not in ("serve", "test"):
            add_json(made[name])
    add_models(made["models"], add_shared)
    add_users(made["users"], add_shared)
    made["bench"].add_argument("--only", metavar="NAME", action="append", help="one part only (repeatable)")
    return parser


def _add_command(commands: Any, name: str) -> argparse.ArgumentParser:
    run: Callable[[argparse.Namespace], int] = globals().get(f"run_{name.replace('-', '_')}", run_serve)
    command: argparse.ArgumentParser = commands.add_parser(name, help=COMMANDS[name], description=COMMANDS[name])
    command.set_defaults(run=run)
    add_debug(command)
    return command


def _add_sheet(command: argparse.ArgumentParser) -> None:
    add_recipe(command, left_out=("count", "index", "wildcard_order"))
    command.add_argument(
        "--every", metavar="style|sampler|mode", action="append", help="what varies; style when left out (repeatable)"
    )
    command.add_argument("--all", action="store_true", help="every style; else those that the model has learned")
    command.add_argument("--out", metavar="FILE", type=Path, help="put the sheet here, a .jpg; else into output_dir")


def _add_generate(command: argparse.ArgumentParser) -> None:
    add_recipe(command)
    command.add_argument("--dry-run", action="store_true", help="print what would be drawn, and draw nothing")


def _settings_of(options: argparse.Namespace) -> Settings:
    settings = load_settings({name: getattr(options, name, None) for name in SETTINGS})
    level = "DEBUG" if options.debug else settings.log_level.upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    for noisy in ("httpx", "httpcore", "asyncio", "uvicorn.error", "multipart", "PIL", "mcp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return settings


def run_generate(options: argparse.Namespace) -> int:
    """`generate`."""
    from fooocus_lite.foreground import make_jobs
    from fooocus_lite.teller import plan_text

    settings = _quiet(options)
    library = _library(settings)
    _complain(library)
    jobs = make_jobs(recipe_of(options, library), library)
    if options.dry_run:
        for job in jobs:
            print(plan_text(job, as_json=options.json))
        return 0
    return _draw(jobs, library, settings, options)


def _library(settings: Settings) -> Library:
    """What there is now, files that came since the last time among it."""
    from fooocus_lite.library import load_library
    from fooocus_lite.model_scan import scan_models

    scan_models(settings)
    return load_library(settings)


def _complain(library: Library) -> None:
    from fooocus_lite.untrusted import printable

    for problem in library.problems:  # they quote files that may come from anybody
        print(printable(problem), file=sys.stderr)


def _quiet(options: argparse.Namespace) -> Settings:
    """Settings of a command that prints its own progress: the log's diary would only be in the way."""
    settings = _settings_of(options)
    if not options.debug and settings.sources["log_level"] == "default":
        logging.getLogger().setLevel(logging.ERROR)
    return settings


def _draw(jobs: Sequence[Job], library: Library, settings: Settings, options: argparse.Namespace) -> int:
    from fooocus_lite.commands.draw import draw_jobs
    from fooocus_lite.teller import Teller

    folder = Path(os.path.abspath(options.out)) if options.out else None
    teller = Teller(len(jobs), as_json=options.json, debug=options.debug)
    return 0 if len(draw_jobs(jobs, library, settings, teller, folder)) == len(jobs) else 1


def run_sheet(options: argparse.Namespace) -> int:
    """`sheet`."""
    from fooocus_lite.commands.draw import draw_sheet
    from fooocus_lite.sheets import parse_varies
    from fooocus_lite.teller import Teller

    settings = _quiet(options)
    library = _library(settings)
    wanted = options.styles or ("all" if options.all else "fitting")
    teller = Teller(0, as_json=options.json, debug=options.debug, tells_paths=False)
    varies = parse_varies(options.every or ["style"])
    recipe = recipe_of(options, library)
    said = draw_sheet(recipe, wanted, library, settings, teller, out=options.out, varies=varies)
    print(json.dumps(said.to_dict(), ensure_ascii=False) if options.json else said.path)
    return 0 if said.is_whole else 1


def run_replay(options: argparse.Namespace) -> int:
    """`replay`."""
    from fooocus_lite.foreground import make_replay

    settings = _quiet(options)
    library = _library(settings)
    return _draw([make_replay(options.path, library)], library, settings, options)


def run_styles(options: argparse.Namespace) -> int:
    """`styles`."""
    from fooocus_lite.commands.library import styles_text

    return _show_library(options, styles_text)


def run_presets(options: argparse.Namespace) -> int:
    """`presets`."""
    from fooocus_lite.commands.library import presets_text

    return _show_library(options, presets_text)


def run_loras(options: argparse.Namespace) -> int:
    """`loras`."""
    from fooocus_lite.commands.library import loras_text

    return _show_library(options, loras_text)


def run_wildcards(options: argparse.Namespace) -> int:
    """`wildcards`."""
    from fooocus_lite.commands.library import wildcards_text

    return _show_library(options, wildcards_text)


def run_import_fooocus(options: argparse.Namespace) -> int:
    """`import-fooocus`."""
    from fooocus_lite.commands.library import import_text

    print(import_text(options.path, _quiet(options), as_json=options.json))
    return 0


def run_models(options: argparse.Namespace) -> int:
    """`models`."""
    from fooocus_lite.commands.models import run

    code, text = run(options, _quiet(options))
    if text:
        print(text)
    return code


def run_read(options: argparse.Namespace) -> int:
    """`read`."""
    from fooocus_lite.commands.read import read

    print(read(options.path, _quiet(options), as_json=options.json))
    return 0


def run_users(options: argparse.Namespace) -> int:
    """`users`."""
    from fooocus_lite.commands.users import run

    print(run(options, _quiet(options)))
    return 0


def _show_library(options: argparse.Namespace, text_of: Callable[..., str]) -> int:

    library = _library(_quiet(options))
    _complain(library)
    print(text_of(library, as_json=options.json))
    return 0


def run_settings(options: argparse.Namespace) -> int:
    """`settings`."""
    from fooocus_lite.commands.settings import settings_text

    print(settings_text(_settings_of(options), as_json=options.json))
    return 0


def run_doctor(options: argparse.Namespace) -> int:
    """`doctor`: exit code 1 when something must be mended."""
    from fooocus_lite.doctor import examine

    findings = examine(_quiet(options))
    if options.json:
        print(json.dumps([finding.to_dict() for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            print(f"{finding.mark} {finding.name:<12} {finding.text}")
            if finding.hint:
                print(f"{'':<15}→ {finding.hint}")
    return 1 if any(finding.state == "problem" for finding in findings) else 0


def run_bench(options: argparse.Namespace) -> int:
    """`bench`."""
    from fooocus_lite.bench import measure

    report = measure(_quiet(options), only=options.only, say=lambda text: print(text, file=sys.stderr, flush=True))
    print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) if options.json else report.as_markdown())
    return 0 if report.all_within else 1


def run_tests(arguments: Sequence[str]) -> int:
    """`test`: launch.py makes the environment with the test tools, and runs them."""
    launcher = app_root() / "launch.py"
    if not launcher.is_file():
        print("The tests are in the repository only: clone it and run `python3 launch.py test`.", file=sys.stderr)
        return 2
    return subprocess.call([sys.executable, str(launcher), "test", *arguments])


def run_serve(options: argparse.Namespace) -> int:
    """`serve`."""
    from fooocus_lite.commands.access import welcome
    from fooocus_lite.dispatcher import Dispatcher
    from fooocus_lite.library import LiveLibrary
    from fooocus_lite.listen import address_of, open_browser_when_ready, open_socket, serve_until_stopped
    from fooocus_lite.model_scan import ModelScan
    from fooocus_lite.store import open_store
    from fooocus_lite.supply import Supply
    from fooocus_lite.users import Users
    from fooocus_lite.web.app import create_app
    from fooocus_lite.workers import make_fleet

    settings = _settings_of(options)
    _stop_on_signals()
    app = None
    scan = ModelScan(settings)
    library = LiveLibrary(settings, asked=scan.wake)
    users = Users(settings)
    store = open_store(settings.data_dir, users.limits_of, output_dir=settings.output_dir)
    try:
        listening = open_socket(settings.host, settings.port)
        address = address_of(listening)
        store.lock.tell(address)
        fleet = make_fleet(settings, library)
        supply = Supply(store, settings, library)
        dispatcher = Dispatcher(store, fleet.runners, library=library, output_dir=settings.output_dir, supply=supply)
        for warning in (*store.warnings, *library().problems):
            logging.getLogger(__name__).warning("%s", warning)
        print(*welcome(address, settings, users), sep="\n", flush=True)
        if settings.open_browser:
            open_browser_when_ready(address)
        supply.start()
        dispatcher.start()
        fleet.start(dispatcher)
        scan.start()
        try:
            app = create_app(settings, library, store, dispatcher, supply, users)
            serve_until_stopped(app, listening, say_goodbye=store.log.close)
        except KeyboardInterrupt:
            pass  # the usual way to end a server
        finally:
            scan.close()
            dispatcher.close()
            fleet.close()
            supply.close()
    finally:
        store.close()
    print("Fooocus Lite has ended; what was waiting is kept.", flush=True)
    if app is not None and app.state.page.is_abandoned:
        # A thread is deep inside an import: Python's own farewell would meet it half-way. All that is ours is closed.
        logging.shutdown()
        os._exit(0)
    return 0


def _stop_on_signals() -> None:
    """A polite kill, or a closed terminal, ends the server as Ctrl-C does."""

    def stop(number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
