"""Any small app behind a protocol of ours, in a thread: for tests of how connections are treated."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from fooocus_lite.listen import open_socket


@contextmanager
def serving(app: Any, protocol: type, **options: Any) -> Generator[int]:
    """The port at which ``app`` answers; ``options`` are more of uvicorn's."""
    listening = open_socket("127.0.0.1", 47_000)
    config = uvicorn.Config(
        app, http=protocol, log_config=None, lifespan="off", **{"timeout_graceful_shutdown": 1, **options}
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
