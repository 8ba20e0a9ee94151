"""What more than one folder of tests needs: a real server, shared by the tests that do not end it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.server import Server, fill_models, until

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script: every process that the tests start and interrupt would be deaf too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def web_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the servers of the tests draw with."""
    return fill_models(tmp_path_factory.mktemp("web-models"))


@pytest.fixture(scope="session")
def web_server(web_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``python -m fooocus_lite serve`` with its page built, in folders of its own."""
    running = Server(tmp_path_factory.mktemp("web-server"), web_models).start()
    until(lambda: running.get("/healthz")[1]["page"] != "starting", "the page")
    assert running.get("/healthz")[1]["page"] == "ready", running.log
    yield running
    running.end()


@pytest.fixture
def quiet_server(web_server: Server) -> Iterator[Server]:
    """The shared server with nothing in line, before and after."""
    _empty(web_server)
    yield web_server
    _empty(web_server)


def _empty(server: Server) -> None:
    server.post("/v1/clear")
    server.post("/v1/stop")
    until(lambda: not server.get("/v1/tasks?state=running")[1]["tasks"], "an idle worker")
