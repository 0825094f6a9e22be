"""An annotator on Argilla's page: headless Chromium, used like a person does, by keyboard and by mouse."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECOND_DIGIT = 400  # milliseconds; the page waits 300 for a rank's second digit
HAND = 300  # milliseconds between the end of a mouse move and the release
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # only this machine
]


class AnnotatorPage:
    """One person's browser. Answers have the names A, B, C …, as on the page."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def sign_in(self, name: str, password: str) -> None:
        self.page.goto(f"{self.url}/sign-in")
        fields = self.page.locator("form input")
        fields.nth(0).fill(name)
        fields.nth(1).fill(password)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(lambda url: "sign-in" not in url)

    def open(self, project: str) -> None:
        self.page.get_by_text(project, exact=True).first.click()
        self.page.wait_for_selector(".questions-form")

    def open_guidelines(self) -> None:
        self.page.locator("button:visible", has_text="Guidelines").click()

    def rank_by_keyboard(self, *ranks: tuple[str, int]) -> None:
        """Give these answers these ranks with the number keys."""
        for letter, rank in ranks:
            self._unranked(letter).focus()
            self.page.keyboard.press(str(rank))
            self._slot(rank).locator(f"[id='{letter}']").wait_for()
            self.page.wait_for_timeout(SECOND_DIGIT)

    def drag(self, letter: str, rank: int) -> None:
        """Drag an answer to a rank with the mouse."""
        self._unranked(letter).locator("svg").hover()
        self.page.mouse.down()
        for _ in range(3):  # the ranks on the page move during the drag
            target = self._slot(rank).bounding_box()
            assert target is not None
            x, y = target["x"] + target["width"] * 0.7, target["y"] + target["height"] / 2
            self.page.mouse.move(x, y, steps=10)
            self.page.wait_for_timeout(HAND)
        self.page.mouse.up()
        self._slot(rank).locator(f"[id='{letter}']").wait_for()

    def comment(self, text: str) -> None:
        self.page.locator(".questions-form [contenteditable]").click()
        self.page.keyboard.type(text)

    @property
    def draft(self) -> str:
        """Return the text in the field for corrections."""
        return self._correction.inner_text()

    def correct(self, addition: str) -> None:
        """Add text at the end of the field for corrections."""
        self._correction.click()
        self.page.keyboard.press("Control+End")
        self.page.keyboard.type(addition)

    def press_key(self, key: str) -> None:
        """Press a key that sends the answer, and wait until the server has it."""
        with self.page.expect_response(lambda response: "/responses" in response.url) as sent:
            self.page.keyboard.press(key)
        assert sent.value.ok, sent.value.text()

    @property
    def _correction(self) -> Locator:
        return self.page.locator(".questions-form [contenteditable]").first

    def press(self, button: str) -> None:
        """Press Submit, Discard or Save as draft, and wait until the server has the answer."""
        with self.page.expect_response(lambda response: "/responses" in response.url) as sent:
            self.page.get_by_role("button", name=button).click()
        assert sent.value.ok, sent.value.text()

    def _unranked(self, letter: str) -> Locator:
        return self.page.locator(f".draggable__questions-container [id='{letter}']")

    def _slot(self, rank: int) -> Locator:
        return self.page.locator(".draggable__slot-box").nth(rank - 1)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser, which can only reach this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, width: int = 1440, height: int = 900) -> Iterator[Page]:
    """Open a page with a profile of its own: it has no cookies, storage or cache of others."""
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        context.set_default_timeout(20_000)
        yield context.new_page()
