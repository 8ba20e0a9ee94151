"""What more than one folder of tests needs: a real server, shared by the tests that do not end it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.server import Server, fill_models, until

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script: every process that the tests start and interrupt would be deaf too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


#: One after the other, however many processes run the tests: each of them starts a cluster on the whole machine.
WITH_RAY = ("tests/deeds/test_ray.py", "tests/browser/test_workers.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's tests come last: Playwright leaves a running event loop in its thread, where others start one."""
    items.sort(key=lambda item: "/browser/" in item.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several processes, a file's tests stay in one and in order: they share a server, weights or a cluster."""
    from xdist.scheduler import LoadScopeScheduling  # needed by `python3 launch.py test` alone

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return "Ray" if path in WITH_RAY else path

    config.option.loadscopereorder = False
    return ByFile(config, log)


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
