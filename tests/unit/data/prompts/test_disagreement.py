"""How far people will disagree about a prompt, by prompts like it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.agreement import disagreement
from labeling.records import Ranking
from pipeline.data.prompts.disagreement import Judged, expected_disagreement, label_entropy
from pipeline.data.prompts.uncertainty import most_informative
from pipeline.data.rows import Message

POEMS = ["Write a poem about autumn leaves", "Write a poem about the sea", "Write a poem about a lost glove"]
SUMS = ["Compute the sum of 12 and 30", "Compute the sum of 7 and 8", "Compute the sum of 99 and 1"]


def prompt(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def of_votes(*tables: list[int]) -> Ranking:
    rows = [{"annotator": f"{number}", "ranks": ranks} for number, ranks in enumerate(tables)]
    return {"id": "r", "prompt": "?", "responses": ["a", "b", "c"][: len(tables[0])], "rankings": rows}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("tables", "share", "comparisons"),
    [
        (([1, 2], [1, 2]), 0.0, 1),
        (([1, 2], [2, 1]), 1.0, 1),
        (([1, 2], [1, 1]), 0.5, 1),
        (([1, 1], [1, 1]), 0.5, 1),
        (([1, 2], [1, 2], [2, 1]), 2 / 3, 3),
        (([1, 2, 3], [1, 3, 2]), 1 / 3, 3),
    ],
)
def test_it_is_the_share_of_two_annotators_with_different_choices(
    tables: tuple[list[int], ...], share: float, comparisons: int
) -> None:
    assert disagreement(of_votes(*tables)) == (pytest.approx(share), comparisons)


def test_one_annotator_tells_nothing() -> None:
    found = disagreement(of_votes([1, 2, 3]))
    assert math.isnan(found.share)
    assert found.comparisons == 0


def test_prompts_like_the_disputed_ones_are_expected_to_be_disputed() -> None:
    judged = [Judged(prompt(text), 0.5) for text in POEMS] + [Judged(prompt(text), 0.0) for text in SUMS]
    asked = [prompt("Write a poem about a bird"), prompt("Compute the sum of 5 and 6"), prompt("Wherefore, dragon?")]
    poem, total, other = expected_disagreement(asked, judged, 0)
    assert total < 0.15 < 0.35 < poem
    assert other == pytest.approx(0.25, abs=0.05)  # like none: the mean


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_it_stays_between_the_least_and_the_most_disagreement(shares: list[float]) -> None:
    judged = [Judged(prompt(f"Prompt {number} on topic {number % 2}"), share) for number, share in enumerate(shares)]
    found = expected_disagreement([prompt("Prompt on topic 1"), prompt("Prompt 0")], judged, 0)
    assert ((found >= min(shares) - 1e-9) & (found <= max(shares) + 1e-9)).all()


@given(st.floats(0.001, 0.999))
def test_the_entropy_is_that_of_one_person_s_choice(p: float) -> None:
    bits = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    assert label_entropy(np.array([2 * p * (1 - p)]))[0] == pytest.approx(bits, abs=1e-6)


def test_the_entropy_is_finite_at_its_ends() -> None:
    assert label_entropy(np.array([0.0, 0.5, 1.0])).tolist() == pytest.approx([0, 1, 1], abs=1e-6)


def test_what_people_would_not_agree_on_comes_last() -> None:
    """Of two prompts that the model is as unsure about, the one on which people agree tells more."""
    open_, rather = [0.0, 0.0], [0.0, 1.0]
    found = most_informative([open_, open_, rather], 3, 2, [0.9, 0.1, 0.1])
    assert [one.prompt for one in found] == [1, 2, 0]
    assert [one.information for one in found] == pytest.approx([0.9, 0.74, 0.1], abs=0.01)
    assert [one.label_entropy for one in found] == [0.1, 0.1, 0.9]
