"""`fooocus-lite serve`: everything wired together, from the first line in the terminal to the last."""

from __future__ import annotations

import logging
import os
import signal

from fooocus_lite.commands.access import welcome
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.listen import address_of, open_browser_when_ready, open_socket, serve_until_stopped
from fooocus_lite.live_library import LiveLibrary
from fooocus_lite.model_scan import ModelScan
from fooocus_lite.settings import Settings
from fooocus_lite.store import open_store
from fooocus_lite.supply import Supply
from fooocus_lite.users import Users
from fooocus_lite.web.app import create_app
from fooocus_lite.workers import make_fleet


def serve(settings: Settings) -> int:
    """Run the server until somebody ends it; the exit code."""
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
        dispatcher = Dispatcher(
            store, fleet.runners, library=library.lately, output_dir=settings.output_dir, supply=supply
        )
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
