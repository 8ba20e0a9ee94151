"""A real page in a real browser that is open during a soak, and reloaded now and then."""

from __future__ import annotations

import os
from typing import Any

from tests.run import VARIABLE, installed_browser

PATIENCE_MS = 300_000


class RealPage:
    """One tab; lives and is used in one thread. What breaks in its scripts is counted."""

    def __init__(self) -> None:
        from playwright.sync_api import sync_playwright

        path = os.environ.get(VARIABLE, installed_browser() or "playwright")
        where = {} if path == "playwright" else {"executable_path": path}
        no_sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        self._playwright = sync_playwright().start()
        self._browser: Any = self._playwright.chromium.launch(args=no_sandbox, **where)
        self._page: Any = self._browser.new_page()
        self._page.set_default_timeout(PATIENCE_MS)
        self.errors: list[str] = []
        self.loads = 0
        self._page.on("pageerror", lambda error: self.errors.append(str(error)))

    def load(self, address: str) -> None:
        """Open it, or reload it: a server that was killed is at another port."""
        self._page.goto(address)
        self._page.get_by_role("button", name="Generate", exact=True).wait_for()
        self.loads += 1

    def close(self) -> None:
        """Close the browser."""
        self._browser.close()
        self._playwright.stop()
