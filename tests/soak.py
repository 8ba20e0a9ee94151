"""A soak: ``python -m tests.soak --pictures 2000`` draws so many while everything is killed at random.

Prints what it found as JSON; ends with 1 if a picture is lost, is there twice, or is not the one that was asked for.
`docs/soak.md` tells what it does and what the last long run found. A short one runs with the other tests.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from tests.faults.server import Server, fill_models
from tests.soak_checks import check, memory
from tests.soak_story import Follower, Story


def soak(
    folder: Path, models: Path, *, pictures: int, seed: int, server_kills: int, worker_kills: int
) -> dict[str, Any]:
    """Run one and tell what is wrong (every number under ``wrong`` must be 0) and what there is."""
    started = time.monotonic()
    server = Server(folder, models).start()
    follower = Follower(server, random.Random(seed + 1))
    story = Story(server, pictures=pictures, seed=seed, server_kills=server_kills, worker_kills=worker_kills)
    follower.start()
    try:
        story.run()
        follower.end()
        story.end()
    finally:
        if server.process and server.process.poll() is None:
            server.kill()
    told = check(server.data, server.outputs, story.promises)
    told["wrong"] |= {
        "told twice to a page": len(follower.told_twice),
        "streams without a snapshot": follower.without_snapshot,
        "tracebacks in the log": story.tracebacks,
    }
    return told | {
        "pictures": pictures, "seed": seed, "done": dict(story.promises.done), "doubts": dict(story.promises.doubts),
        "page loads": follower.connections, "server memory": memory(story.samples),
        "minutes": round((time.monotonic() - started) / 60, 1), "day": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
    }  # fmt: skip


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Draw while everything is killed.")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server-kills", type=int, help="one in 100 pictures when left out")
    parser.add_argument("--worker-kills", type=int, help="one in 50 pictures when left out")
    parser.add_argument("--folder", type=Path, help="keep everything here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = options.folder or Path(scratch)
        (folder / "models").mkdir(parents=True)
        told = soak(
            folder,
            fill_models(folder / "models"),
            pictures=options.pictures,
            seed=options.seed,
            server_kills=options.pictures // 100 if options.server_kills is None else options.server_kills,
            worker_kills=options.pictures // 50 if options.worker_kills is None else options.worker_kills,
        )
    print(json.dumps(told, indent=2))
    return 1 if any(told["wrong"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
