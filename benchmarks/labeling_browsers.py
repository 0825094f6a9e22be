"""Real browsers on the annotator's page, all working at once: sixteen people judge pairs by keyboard.

    python benchmarks/labeling_browsers.py [--browsers 16] [--seconds 60] [--overlap 2..4] [--records 2000]

Every person has a browser context of their own, signs in by the form, opens the project's queue, and answers one record
after the other with two keys. Two records are for all of them; of the others some need two answers and some more, since
a third of the answers is random. The browsers, which take most of the time, share this machine's cores with the server.
It ends with status 1 if a browser shows no record while some are open, an answer of the server has a status of 400 or
more, or an answer is lost or doubled.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from labeling_server import RANDOM, completed, milliseconds, password_of, published, tasks, wrong
from playwright.async_api import Browser, Page, Response, async_playwright
from playwright.async_api import Error as BrowserError
from rich.console import Console
from rich.table import Table

from labeling.argilla.backend import ArgillaBackend
from labeling.overlap import Overlap, overlap_of
from labeling.server import Connection, accounts, serving

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # only this machine
]
WORKSPACE, CALIBRATION = "browsers", 2
PATIENCE = 120_000  # milliseconds until a browser counts as stuck
FOCUS = 300  # milliseconds until the page listens to keys
SHOWN = ".record__content"


@dataclass
class Person:
    """What one browser did: the seconds from each submission to the next record, and what went wrong."""

    name: str
    opened: float = float("nan")  # seconds from signing in to the first record
    accepted: int = 0
    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def note_fault(self, answer: Response) -> None:
        if answer.status >= 400:
            self.faults.append(f"{answer.status} {answer.url}")


async def signed_in(browser: Browser, owner: Connection, home: Path, person: Person) -> Page:
    """Sign in by the form and open the project's queue; returns the page with its first record."""
    page = await (await browser.new_context(viewport={"width": 1280, "height": 800})).new_page()
    page.set_default_timeout(PATIENCE)
    page.on("response", person.note_fault)
    start = time.perf_counter()
    await page.goto(f"{owner.url}/sign-in")
    fields = page.locator("form input")
    await fields.nth(0).fill(person.name)
    await fields.nth(1).fill(password_of(home, person.name))
    await page.keyboard.press("Enter")
    await page.wait_for_url(lambda url: "sign-in" not in url)
    await page.get_by_text(WORKSPACE, exact=True).first.click()
    await page.wait_for_selector(".questions-form")
    await page.wait_for_selector(SHOWN)
    person.opened = time.perf_counter() - start
    return page


async def work(page: Page, person: Person, end: float) -> None:
    """Answer records until the time has come, or none is left."""
    while time.perf_counter() < end:
        before = await page.locator(SHOWN).first.inner_text()
        draw = Random() if Random().random() < RANDOM else Random(before)
        await page.wait_for_timeout(FOCUS)
        start = time.perf_counter()
        async with page.expect_response(lambda answer: "/responses" in answer.url) as sent:
            await page.keyboard.press(draw.choice("12"))
            await page.keyboard.press("Enter")
        if not (await sent.value).ok:
            return  # noted as a fault
        person.accepted += 1
        await page.wait_for_function(
            "before => document.querySelector('.record__content')?.innerText !== before", arg=before
        )
        person.seconds.append(time.perf_counter() - start)
        if not await page.locator(SHOWN).count():
            person.faults.append(f"{person.name}'s page is empty")
            return


async def whole(
    browser: Browser, owner: Connection, home: Path, person: Person, begin: asyncio.Barrier, seconds: float
) -> None:
    """One person's visit, from signing in to the end of the time; all begin to work at once."""
    try:
        page = await signed_in(browser, owner, home, person)
    except BrowserError as error:
        person.faults.append(f"{person.name} sees no record: {str(error).splitlines()[0]}")
        await begin.wait()
        return
    await begin.wait()
    try:
        await work(page, person, time.perf_counter() + seconds)
    except BrowserError as error:
        person.faults.append(f"{person.name} is stuck: {str(error).splitlines()[0]}")


async def visits(owner: Connection, home: Path, people: list[Person], seconds: float) -> None:
    begin = asyncio.Barrier(len(people))
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        await asyncio.gather(*(whole(browser, owner, home, person, begin, seconds) for person in people))
        await browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browsers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0, help="of work without pause")
    parser.add_argument("--overlap", type=overlap_of, default=Overlap(2, 4), help="as labeling.overlap (%(default)s)")
    parser.add_argument("--records", type=int, default=2000)
    given = parser.parse_args()
    if CHROMIUM is None:
        parser.error("no Chromium here: apt-get install chromium")
    table = Table("what", "measured", box=None)
    people = [Person(f"person{number}") for number in range(given.browsers)]
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "home", say=print) as owner:
        home = Path(folder) / "home"
        pairs = tasks(given.records)
        for task in pairs:
            del task["responses"][2:]
        asked = published(WORKSPACE, "pairwise", pairs, CALIBRATION, given.overlap, given.browsers)
        backend = ArgillaBackend(owner, home=home)
        backend.publish(asked)
        accounts.add_annotators(owner, [person.name for person in people], WORKSPACE, home)
        asyncio.run(visits(owner, home, people, given.seconds))
        answers = backend.answers(asked)
        submitted = {person.name: person.accepted for person in people}
        faults = wrong(asked, answers, submitted, completed(owner), table)
    faults += [fault for person in people for fault in person.faults]
    faults += [f"{person.name} submitted nothing" for person in people if not person.accepted]
    opened = [person.opened for person in people]
    took = [seconds for person in people for seconds in person.seconds] or [0.0, 0.0]
    table.add_row(f"{given.browsers} browsers sign in and open the queue at once", milliseconds(opened))
    table.add_row("  answers of each", ", ".join(f"{person.accepted:,}" for person in people))
    table.add_row("  from a key to the next record", milliseconds(took))
    console = Console()
    console.print(table)
    for fault in dict.fromkeys(faults):
        console.print(f"{faults.count(fault):,} times: {fault}", style="red", markup=False)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
