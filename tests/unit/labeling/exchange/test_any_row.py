"""Any row is a vote, a fault or left out, and no error but a request's is raised."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.backend import LabelingError
from labeling.exchange import FORMS, form_of, read_rows
from labeling.votes import pool
from tests.examples import at_most

KEYS = ("id", "content", "value", "rank", "ranks", "annotator", "ranker", "choices", "q")
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["1", "2.0", "a", "B", "tie", "", " ", "nan", "[1, 2]", '{"a": 1}', "a > b", "x@y.zz", "2026-01"]),
    st.lists(st.integers(0, 3) | st.text(max_size=3) | st.none(), max_size=3),
    st.dictionaries(st.sampled_from(KEYS), st.text(max_size=2) | st.integers(0, 3), max_size=2),
)  # fmt: skip
NAMES = (
    "id", "prompt", "input", "messages", "system", "annotator", "user", "email", "submitted_at", "comment", "both_bad",
    "guidelines", "slot", "response", "rank", "score", "response_1", "response_2", "response_3", "rank_1", "rank_2",
    "rank_3", "score_1", "score_2", "responses", "ranks", "scores", "ranking", "rankings", "preference", "tie",
    "model_1", "model_2", "data", "annotations", "annotation_id", "Input.prompt", "Answer.preference",
    "AssignmentStatus", "Answer.better.a", "fields", "label_annotations", "q:::A", "q.responses", "q.responses.users",
    "q.responses.status",
)  # fmt: skip
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), CELLS, max_size=12), min_size=1, max_size=4)

WIDE = ("response_1", "rank_1", "response_2", "rank_2")
SHAPED = {
    "wide": WIDE,
    "lists": ("responses", "ranks"),
    "pairs": ("response_1", "response_2", "preference"),
    "order": ("response_1", "response_2", "response_3", "ranking"),
}


@pytest.mark.parametrize("form", FORMS)
@at_most(20)
@given(ROWS)
def test_any_row_in_any_format_is_read_or_refused(form, rows):
    for row in rows:
        form_of(row)
    with contextlib.suppress(LabelingError):
        reading = read_rows(list(enumerate(rows)), form)
        pool(reading.votes)
        assert str(reading)


@pytest.mark.parametrize("form", SHAPED)
@at_most(20)
@given(st.data())
def test_each_row_is_a_vote_a_fault_or_left_out(form, data):
    needed = st.fixed_dictionaries(dict.fromkeys(("prompt", "annotator", *SHAPED[form]), CELLS))
    rows = data.draw(st.lists(needed, min_size=1, max_size=5))
    with contextlib.suppress(LabelingError):
        reading = read_rows(list(enumerate(rows)), form)
        places = [one.place for part in (reading.votes, reading.bad, reading.left_out) for one in part]
        assert sorted(places) == list(range(len(rows)))
