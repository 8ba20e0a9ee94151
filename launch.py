#!/usr/bin/env python3
"""The one door: makes ``.venv`` on the first start, then hands over to ``fooocus_lite`` inside it.

Standard library only, and readable by every Python 3, so that an old one is told so in a sentence
instead of a syntax error. ``python3 launch.py test`` adds the test tools and runs every test.
"""

import contextlib
import os
import subprocess
import sys

OLDEST, NEWEST = (3, 10), (3, 13)
ROOT = os.path.dirname(os.path.abspath(__file__))


def version_problem(version, is_64bit):
    """One sentence when this Python cannot run the app, else ``""``."""
    shown = ".".join(str(number) for number in tuple(version)[:2])
    where = "install Python 3.12 from https://www.python.org/downloads"
    if tuple(version)[:2] < OLDEST:
        return "Python {} is too old: {} and start again.".format(shown, where)
    if tuple(version)[:2] > NEWEST:
        return "Python {} is too new: {} beside it, and start with that one.".format(shown, where)
    if not is_64bit:
        return "This Python is a 32-bit one: {} (64-bit) and start again.".format(where)
    return ""


def hand_over(command):
    """Become the environment's Python; on Windows, which cannot, wait for it."""
    if os.name != "nt":
        os.execv(command[0], command)
    process = subprocess.Popen(command)
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # the child gets the same Ctrl-C and ends in its own way
            return process.wait()


def help_without_environment():
    """Answer ``--help`` before anything is installed; an exit code, or ``None`` when that is not possible."""
    try:
        from fooocus_lite.cli import main as cli_main
    except ImportError:
        return None
    return cli_main(["--help"])


def main(arguments):
    """Set up what is missing, then run; returns an exit code."""
    problem = version_problem(sys.version_info, sys.maxsize > 2**32)
    if problem:
        sys.stderr.write(problem + "\n")
        return 2
    sys.path.insert(0, ROOT)
    from fooocus_lite import environment

    place = environment.Place(ROOT)
    is_test = arguments[:1] == ["test"]
    if arguments in (["--help"], ["-h"]) and not environment.is_ready(place, tools=False):
        code = help_without_environment()
        if code is not None:
            return code
    try:
        environment.ensure_environment(place, tools=is_test)
    except environment.Problem as exc:
        environment.say(str(exc))
        return 2
    except KeyboardInterrupt:
        environment.say("\nStopped. Start again to go on where it stopped.")
        return 130
    python = str(place.python)
    if is_test:
        return hand_over([python, os.path.join(ROOT, "tests", "run.py")] + arguments[1:])
    return hand_over([python, "-m", "fooocus_lite"] + arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
