"""Codes of votes and marks: words speak for themselves, numbers only where no other reading is in use."""

from collections import Counter

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from labeling.codes import UnsettledCodes, canonical, settle_choices, settle_marks


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((1, "1"), (1.0, "1"), ("1", "1"), (" 1 ", "1"), ("+1", "1"), ("1.50", "1.5"), (-0.0, "0"), (True, "true")),
        *((" Model  A ", "model a"), (None, ""), (float("nan"), ""), ("👍🏽", "👍")),
    ],
)
def test_one_value_has_one_spelling(value: object, expected: str) -> None:
    assert canonical(value) == expected


@pytest.mark.parametrize(
    "seen",
    [
        *({"0": 3, "1": 2}, {"0": 1, "1": 2, "2": 3}, {"1": 1, "2": 1, "3": 1}, {"1": 9}, {"2": 9}, {"-1": 1, "1": 1}),
        *({str(step): 1 for step in range(1, 8)}, {str(step): 1 for step in range(-3, 4)}, {"1": 1, "2": 1, "a": 1}),
        *({"a": 5, "c": 1}, {"gpt-4": 3, "llama": 2}, {"not a": 1}, {"a is worse": 1}, {"none": 1}, {"a or b": 2}),
    ],
)
def test_choices_that_are_not_clear_are_refused_with_a_line_that_settles_them(seen: dict[str, int]) -> None:
    with pytest.raises(UnsettledCodes) as caught:
        settle_choices(seen, {})
    assert all(f"{value!r} ({count:,} times)" in caught.value.values() for value, count in seen.items())
    line = caught.value.line("labeling.codes")
    assert line[0] == line[-1] == "'"
    given = OverridesParser.create().parse_override(line[1:-1]).value()
    named = {canonical(value): str(meaning) for value, meaning in given.items()}
    assert set(settle_choices(seen, named)) >= set(seen)


def test_the_example_of_a_scale_goes_from_one_answer_to_the_other() -> None:
    with pytest.raises(UnsettledCodes) as caught:
        settle_choices({"1": 1, "2": 1, "3": 1, "6": 1}, {})
    assert caught.value.line("labeling.codes") == "'labeling.codes={1: first, 2: first, 3: first, 6: second}'"


def test_what_no_shell_takes_is_given_in_a_file() -> None:
    with pytest.raises(UnsettledCodes) as caught:
        settle_marks({"好": 2}, {})
    assert caught.value.line("data.codes") == 'data: {codes: {"好": good}} in an experiment file'


@given(
    st.dictionaries(st.sampled_from(["a", "b", "tie", "1", "2", "0", "model_a", "3"]), st.integers(1, 9), min_size=1)
)
def test_counts_and_order_change_nothing(seen: dict[str, int]) -> None:
    def outcome(counts: dict[str, int]) -> object:
        try:
            return settle_choices(counts, {})
        except UnsettledCodes as error:
            return sorted(error.unsettled)

    assert outcome(seen) == outcome(dict(reversed(list(Counter({**seen, next(iter(seen)): 7}).items()))))


@given(st.lists(st.sampled_from(["first", "second", "tie", "none"]), min_size=3, max_size=3))
def test_given_meanings_count_before_all_others(meanings: list[str]) -> None:
    given_codes = dict(zip(["0", "1", "a"], meanings, strict=True))
    assert settle_choices({"0": 1, "1": 1, "a": 2, "b": 1}, given_codes) == {**given_codes, "b": "second"}


def test_thumbs_are_words_or_both_numbers_of_a_pair() -> None:
    assert settle_marks({"0": 1, "1": 1}, {}) == {"0": 0.0, "1": 1.0}
    assert settle_marks({"-1": 1, "1": 1}, {}) == {"-1": 0.0, "1": 1.0}
    assert settle_marks({"true": 1, "not helpful": 1}, {}) == {"true": 1.0, "not helpful": 0.0}
    for seen in ({"1": 1}, {"0": 1}, {"1": 1, "5": 1}, {"-1": 1, "0": 1, "1": 1}, {"meh": 1}):
        with pytest.raises(UnsettledCodes):
            settle_marks(seen, {})


def test_scores_are_the_numbers_that_they_are() -> None:
    assert settle_marks({"1": 1, "5": 1, "4.5": 1}, {}, scores=True) == {"1": 1.0, "5": 5.0, "4.5": 4.5}
    with pytest.raises(UnsettledCodes):
        settle_marks({"good": 1, "3": 1}, {}, scores=True)
    assert settle_marks({"good": 1, "3": 1}, {"3": "bad"}, scores=True) == {"good": 1.0, "3": 0.0}
