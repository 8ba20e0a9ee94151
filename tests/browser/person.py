"""What a person does on the page, by the names that a person reads."""

from __future__ import annotations

import base64
import io
import re
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import BrowserContext, Locator, Page, Request, expect

READ_BYTES = """async (img) => {
  const bytes = new Uint8Array(await (await fetch(img.src)).arrayBuffer());
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return [btoa(text), img.naturalWidth, img.naturalHeight];
}"""


class Person:
    """A browser with its own memory (drafts, theme), looking at one or more tabs."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context = context
        self.address = address
        self.troubles: list[str] = []
        self.page = self.new_tab()

    def new_tab(self) -> Page:
        page = self.context.new_page()
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self._hear("error", str(error)))
        page.on("request", self._watch)
        return page

    def _hear(self, kind: str, text: str) -> None:
        # A refused request is what some stories ask for; the browser reports it on its own.
        if kind == "error" and not re.search(r"the server responded with a status of 4(09|22)", text):
            self.troubles.append(text)

    def _watch(self, request: Request) -> None:
        host = urlsplit(request.url).netloc
        if host and host != urlsplit(self.address).netloc:
            self.troubles.append(f"asked {request.url}")

    def move_to(self, address: str) -> None:
        """The program is somewhere else now: look at it there, in a new tab."""
        self.page.close()
        self.address = address
        self.page = self.new_tab()
        self.open()

    def open(self, page: Page | None = None) -> None:
        page = page or self.page
        page.goto(self.address)
        self.wait_until_alive(page)

    def wait_until_alive(self, page: Page | None = None) -> None:
        """The forms are filled and the program is heard."""
        page = page or self.page
        expect(page.locator("html[data-form=ready]")).to_be_attached()
        expect(page.get_by_text("Reconnecting…")).not_to_be_attached()

    @property
    def stage(self) -> Locator:
        return self.page.get_by_role("region", name="Stage")

    @property
    def queue(self) -> Locator:
        return self.page.get_by_role("treegrid", name="Queue").get_by_role("row")

    @property
    def gallery(self) -> Locator:
        return self.page.get_by_role("region", name="Gallery")

    @property
    def prompt(self) -> Locator:
        return self.page.get_by_role("textbox", name="Prompt", exact=True)

    @property
    def alert(self) -> Locator:
        return self.page.get_by_role("alert")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def open_advanced(self, tab: str = "Settings") -> None:
        toggle = self.button("Advanced")
        if toggle.get_attribute("aria-expanded") == "false":
            toggle.click()
        self.page.get_by_role("tab", name=tab).click()

    def set_steps(self, steps: int) -> None:
        self.open_advanced()
        self.page.get_by_label("number input for Steps").fill(str(steps))

    def set_seed(self, seed: int) -> None:
        self.page.get_by_role("textbox", name="Seed").fill(str(seed))
        expect(self.page.get_by_role("checkbox", name="Random")).not_to_be_checked()

    def choose_style(self, name: str) -> None:
        box = self.page.get_by_role("combobox", name="Styles")
        box.click()
        box.fill(name)
        self.page.get_by_role("option", name=name, exact=True).click()
        box.press("Escape")

    def generate(self, prompt: str | None = None) -> None:
        if prompt is not None:
            self.prompt.fill(prompt)
        self.button("Generate").click()

    def see_picture(self, prompt: str) -> Image.Image:
        """The finished picture on the stage, decoded from the bytes that the browser shows."""
        return self.bytes_of(self.stage.get_by_role("img", name=prompt, exact=True))

    def bytes_of(self, img: Locator) -> Image.Image:
        expect(img).to_be_visible()
        expect(img).to_have_js_property("complete", True)
        encoded, width, height = img.evaluate(READ_BYTES)
        picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert picture.size == (width, height)
        return picture
