"""A person on Argilla's page in a real browser: their ranks arrive exactly, ties included."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.backend import without_times
from labeling.guidelines import shipped
from labeling.server import Connection
from tests.labeling.asking import Place, make

pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install -e .[test]")

from playwright.sync_api import Browser, expect

from tests.labeling.browser import CHROMIUM, AnnotatorPage, chromium, opened

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

DRAFT = """Turn it off at the wall  (not at the lamp).

- Wait for *two* minutes.
- Turn it on again.

    sudo lamp --restart

It should glow < 5 s later."""
HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"


@pytest.fixture
def place(argilla_server: Connection, argilla_home: Path) -> Place:
    return Place(argilla_server, argilla_home)


@pytest.fixture(params=[1440, 1024, 390])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all people of this module, since its start takes longer than some of their tests."""
    with chromium() as started:
        yield started


@pytest.fixture
def person(place: Place, browser: Browser, width: int) -> Iterator[AnnotatorPage]:
    """An annotator with an open page; `signed_in` opens a dataset."""
    with opened(browser, width) as page:
        yield AnnotatorPage(page, place.connection.url)


def signed_in(person: AnnotatorPage, place: Place) -> AnnotatorPage:
    place.backend.add_annotators([place.person("ann")], place.workspace)
    invitation = (place.home / "invitations" / f"{place.person('ann')}.txt").read_text()
    person.sign_in(place.person("ann"), invitation.split("Password")[1].split()[0])
    person.open(place.workspace)
    return person


@pytest.mark.parametrize("width", [1440, 1024], indirect=True)
def test_ranks_by_keyboard_and_by_mouse_arrive_with_their_tie_and_comment(place: Place, person: AnnotatorPage) -> None:
    asked = place.round(tasks=make(1, words=120))
    place.backend.publish(asked)
    signed_in(person, place)
    person.rank_by_keyboard(("C", 1), ("B", 3))
    person.drag("A", 1)
    person.drag("D", 4)
    person.comment("A and C say the same.")
    person.press("Submit")
    assert without_times(place.backend.answers(asked)) == [
        {
            "task": "t0000",
            "annotator": place.person("ann"),
            "status": "submitted",
            "ranks": [1, 3, 1, 4],
            "comment": "A and C say the same.",
        }
    ]


@pytest.mark.parametrize("width", [1440], indirect=True)
def test_a_discard_arrives_with_its_reason_and_a_draft_does_not(place: Place, person: AnnotatorPage) -> None:
    asked = place.round(tasks=make(2))
    place.backend.publish(asked)
    signed_in(person, place)
    person.comment("not in English")
    person.press("Discard")
    person.page.wait_for_selector("text=Question 1?")
    person.rank_by_keyboard(("A", 1))
    person.press("Save as draft")
    (answer,) = place.backend.answers(asked)
    assert (answer["status"], answer["ranks"], answer["comment"]) == ("discarded", None, "not in English")


@pytest.mark.parametrize("width", [1440], indirect=True)
def test_a_pair_is_answered_with_one_key(place: Place, person: AnnotatorPage) -> None:
    asked = place.round("pairwise", make(1, 2))
    place.backend.publish(asked)
    signed_in(person, place)
    person.page.wait_for_timeout(500)  # until the page has set its focus
    person.page.keyboard.press("4")
    person.press("Submit")
    (answer,) = place.backend.answers(asked)
    assert (answer["ranks"], answer["both_bad"]) == ([1, 1], True)


@pytest.mark.parametrize("width", [1440, 1024], indirect=True)
def test_answers_stand_side_by_side_and_the_guidelines_can_be_read(place: Place, person: AnnotatorPage) -> None:
    tasks = make(1, words=150)
    tasks[0]["responses"][1] = "**bold**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nif x < 1:\n\n    pass\n```"
    asked = place.round(tasks=tasks)
    asked = type(asked)(asked.workspace, "ranking", shipped("ranking").read_text(encoding="utf-8"), asked.queues)
    place.backend.publish(asked)
    page = signed_in(person, place).page
    first, second = (page.get_by_text(f"Answer {letter}", exact=True).first.bounding_box() for letter in "AB")
    assert first is not None
    assert second is not None
    assert abs(first["y"] - second["y"]) < 2
    assert second["x"] - first["x"] > 200
    for shown in ("strong:has-text('bold')", "td:has-text('2')", "pre:has-text('if x < 1:')"):
        assert page.locator(f".markdown-render {shown}").count() == 1
    person.open_guidelines()
    page.get_by_text("Equally good answers get the same rank.", exact=True).locator("visible=true").wait_for()


@pytest.mark.parametrize("width", [1440, 1024], indirect=True)
def test_a_draft_is_accepted_with_two_keys_and_corrected_by_changing_it(place: Place, person: AnnotatorPage) -> None:
    tasks = make(2, 1)
    tasks[0]["responses"], tasks[1]["responses"] = [DRAFT], [DRAFT]
    asked = place.round("review", tasks)
    asked = type(asked)(asked.workspace, "review", shipped("review").read_text(encoding="utf-8"), asked.queues)
    place.backend.publish(asked)
    page = signed_in(person, place).page
    assert person.draft == DRAFT
    page.wait_for_timeout(500)  # until the page has set its focus
    page.keyboard.press("1")
    person.press_key("Enter")
    page.wait_for_selector("text=Question 1?")
    page.wait_for_timeout(500)
    page.keyboard.press("2")
    person.correct("\n\nAsk again if it stays dark.")
    page.keyboard.press("Escape")
    person.press_key("Enter")
    answers = place.backend.answers(asked)
    assert [(answer["verdict"], answer["text"]) for answer in answers] == [
        ("accept", DRAFT),
        ("correct", f"{DRAFT}\n\nAsk again if it stays dark."),
    ]


@pytest.mark.parametrize("width", [1440], indirect=True)
def test_what_a_model_wrote_cannot_run_in_the_annotators_browser(place: Place, person: AnnotatorPage) -> None:
    tasks = make(1)
    tasks[0]["responses"][2] = HOSTILE
    tasks[0]["prompt"] = [{"role": "user", "content": HOSTILE}]
    asked = place.round(tasks=tasks)
    place.backend.publish(asked)
    page = signed_in(person, place).page
    page.wait_for_timeout(500)
    assert page.get_by_text("document.title = 'taken'").count() == 2  # shown, in prompt and answer
    assert page.title() != "taken"
    assert page.locator(".markdown-render img, .markdown-render script, iframe").count() == 0


@pytest.mark.parametrize("width", [1440], indirect=True)
def test_the_page_of_queues_links_nowhere_else(place: Place, person: AnnotatorPage) -> None:
    place.backend.publish(place.round("pairwise", make(1, 2)))
    page = signed_in(person, place).page
    page.goto(f"{place.connection.url}/datasets")
    page.get_by_text(place.workspace, exact=True).first.wait_for()
    expect(page.locator(".home__sidebar")).to_be_hidden()  # Argilla's guides and demo
    links = page.locator("a[href]:visible").evaluate_all("all => all.map(each => each.href)")
    assert [link for link in links if not link.startswith(place.connection.url)] == []


def test_the_prompt_comes_first_and_the_form_is_in_sight_for_each_task(place: Place, person: AnnotatorPage) -> None:
    tasks = make(3, 2, words=400)
    tasks[0]["responses"][0] = "\n".join("  " * level + f"- level {level}." for level in range(14))
    tasks[0]["responses"][1] = "שלום"
    asked = place.round("pairwise", tasks)
    place.backend.publish(asked)
    page = signed_in(person, place).page
    page.wait_for_timeout(500)  # until the page has set its focus
    for number in range(2):
        expect(page.get_by_text(f"Question {number}?")).to_be_in_viewport()
        for button in ("Discard", "Submit"):
            expect(page.get_by_role("button", name=button)).to_be_in_viewport(ratio=1)
        if number == 0:
            assert page.get_by_text("level 13.").count() == 1
            assert page.get_by_text("שלום").evaluate("each => getComputedStyle(each).direction") == "rtl"
        page.locator(".record__content").evaluate("each => each.scrollTo(0, each.scrollHeight)")
        page.keyboard.press("1")
        person.press("Submit")
        page.wait_for_selector(f"text=Question {number + 1}?")
    expect(page.locator(".my-progress__share")).to_contain_text("2")


@pytest.mark.parametrize("width", [1440], indirect=True)
def test_backspace_asks_before_it_discards(place: Place, person: AnnotatorPage) -> None:
    asked = place.round("pairwise", make(2, 2))
    place.backend.publish(asked)
    page = signed_in(person, place).page
    page.wait_for_timeout(500)  # until the page has set its focus
    asking: list[str] = []
    page.once("dialog", lambda dialog: asking.append(dialog.message) or dialog.dismiss())
    page.keyboard.press("Backspace")
    page.wait_for_timeout(500)
    assert asking == ["Discard this task? It then counts as answered by you."]
    assert place.backend.answers(asked) == []
    person.comment("whom?")
    page.keyboard.press("Backspace")  # deletes a letter
    page.keyboard.press("Escape")
    page.once("dialog", lambda dialog: dialog.accept())
    person.press_key("Backspace")
    (answer,) = place.backend.answers(asked)
    assert (answer["status"], answer["comment"]) == ("discarded", "whom")
