"""A review of a draft: its raw values, their meaning, and no lost edit."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.argilla.page import FIELDS, fields_of, record_of
from labeling.backend import Verdict
from labeling.guidelines import shipped
from labeling.questions import VERDICTS, options_of, question_of, question_settings, responses_per_task
from labeling.records import Task
from labeling.reviews import Review, raw_review, read_review

DRAFT = "Turn it off.\n\nThen turn it on again."

verdicts = st.sampled_from(get_args(Verdict))
texts = st.text().map(str.strip).filter(lambda text: bool(text) and "\r" not in text and "\u00a0" not in text)


def task(*responses: str) -> Task:
    return {"id": "t", "prompt": [{"role": "user", "content": "Why?"}], "responses": list(responses)}


@given(texts, verdicts, st.text().map(str.strip))
def test_a_verdict_on_an_unchanged_draft_comes_back_and_a_correction_that_changes_nothing_is_none(
    draft: str, verdict: Verdict, comment: str
) -> None:
    meant = "accept" if verdict == "correct" else verdict
    assert read_review(draft, raw_review(verdict, draft, comment)) == Review(meant, draft, comment)


@given(texts, texts, verdicts)
def test_no_edit_is_lost_whichever_button_was_pressed(draft: str, edited: str, verdict: Verdict) -> None:
    said = read_review(draft, raw_review(verdict, edited))
    assert said.text == edited
    assert (said.verdict == "reject") == (verdict == "reject")
    if draft != edited and verdict != "reject":
        assert said.verdict == "correct"


@pytest.mark.parametrize("field", [DRAFT + "\n", DRAFT.replace("\n", "\r\n"), DRAFT.replace(" ", "\u00a0")])
def test_what_a_browser_makes_of_spaces_and_line_ends_is_no_correction(field: str) -> None:
    assert read_review(DRAFT, raw_review("accept", field)) == Review("accept", DRAFT)


@pytest.mark.parametrize("field", [None, "", " \n"])
def test_an_emptied_field_has_nothing_to_learn_from_unless_the_draft_is_accepted(field: str | None) -> None:
    assert read_review(DRAFT, raw_review("accept", field)) == Review("accept", DRAFT)
    assert read_review(DRAFT, raw_review("correct", field)) == Review("reject", DRAFT)
    assert read_review(DRAFT, raw_review("reject", field)) == Review("reject", DRAFT)


def test_raw_values_have_the_shape_of_the_page() -> None:
    assert raw_review("correct", "Better.", "It was wrong.") == {
        "review": {"value": "correct"},
        "correction": {"value": "Better."},
        "comment": {"value": "It was wrong."},
    }


@pytest.mark.parametrize("raw", [None, {}, {"comment": {"value": "garbled"}}, {"review": None}])
def test_a_discarded_draft_has_a_reason_and_no_verdict(raw: dict[str, dict[str, str]] | None) -> None:
    assert read_review(DRAFT, raw, discarded=True) == Review(
        None, comment="garbled" if raw and "comment" in raw else ""
    )


@pytest.mark.parametrize("raw", [None, {}, {"review": {"value": "maybe"}}, {"correction": {"value": "Better."}}])
def test_a_submitted_review_without_a_verdict_is_refused(raw: dict[str, dict[str, str]] | None) -> None:
    with pytest.raises(ValueError, match="a submitted review has"):
        read_review(DRAFT, raw)


def test_a_review_is_about_one_draft_and_is_told_from_the_other_questions() -> None:
    settings = question_settings("review", 1)
    assert question_of(settings) == ("review", 1)
    assert [asked["name"] for asked in settings if asked["required"]] == ["review"]
    assert responses_per_task("review", [task("one"), task("another")]) == 1
    with pytest.raises(ValueError, match="one draft, but the tasks have 2"):
        responses_per_task("review", [task("one", "two")])


def test_a_record_shows_the_draft_and_fills_the_field_for_corrections_with_it() -> None:
    record = record_of(task("**Turn** it off."), correction="id-of-the-question")
    assert "<strong>Turn</strong> it off." in record["fields"]["answers"]
    assert "Answer A" not in record["fields"]["answers"]
    assert record["suggestions"] == [{"question_id": "id-of-the-question", "value": "**Turn** it off."}]
    assert "suggestions" not in record_of(task("one", "two"))  # they would influence annotators


def test_a_draft_is_called_a_draft() -> None:
    assert [field["title"] for field in fields_of("review")] == ["Prompt", "Draft"]
    assert options_of(fields_of("review")) == options_of(fields_of("ranking")) == options_of(FIELDS)


def test_guidelines_ship_for_reviews_and_fit_into_argilla() -> None:
    text = shipped("review").read_text(encoding="utf-8")
    assert 1_000 < len(text) <= 10_000
    for word in ("discard", "comment", *VERDICTS.values()):
        assert word.lower() in text.lower()
