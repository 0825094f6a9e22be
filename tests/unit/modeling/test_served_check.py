"""What a comparison of a server with a policy can tell: ranks of drawn tokens, and where answers part."""

import random
import statistics
from collections.abc import Sequence

import pytest

from pipeline.data.synthetic.drafts import Generated
from pipeline.modeling.answering import Answer
from pipeline.modeling.served_check import DRAWS, LENGTH, MAX_Z, Measured, agreement, ranks, shares_of

NAMES = [f"t{i}" for i in range(400)]
FLAT = [1.0] * 2 + [0.0] * 398
STEEP = [1 / (i + 1) for i in range(400)]
WORDS = ["", "a", "b", "c", "d"]


def chances(weights: Sequence[float], temperature: float = 1.0, top_k: int = 400) -> list[float]:
    raised = [w ** (1 / temperature) if w and i < top_k else 0.0 for i, w in enumerate(weights)]
    return [w / sum(raised) for w in raised]


def z(weights: Sequence[float], drawn_from: Sequence[float], seed: int) -> float:
    drawn = random.Random(seed).choices(NAMES, drawn_from, k=DRAWS)
    return ranks([shares_of(chances(weights), NAMES)] * 16, drawn).z


@pytest.mark.parametrize("weights", [FLAT, STEEP])
def test_right_draws_have_standard_errors_of_one(weights: list[float]) -> None:
    found = [z(weights, chances(weights), seed) for seed in range(200)]
    assert max(map(abs, found)) < MAX_Z
    assert statistics.mean(found) == pytest.approx(0, abs=0.25)
    assert statistics.stdev(found) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    ("weights", "drawn_from"),
    [
        (FLAT, [1.0] + [0.0] * 399),  # always the first of two equal ones
        (STEEP, chances(STEEP, 0.5)),
        (STEEP, chances(STEEP, top_k=50)),
    ],
)
def test_draws_that_are_too_probable_are_seen(weights: list[float], drawn_from: list[float]) -> None:
    assert all(z(weights, drawn_from, seed) < -MAX_Z for seed in range(20))


def test_draws_that_are_too_improbable_or_impossible_are_seen() -> None:
    assert all(z(STEEP, chances(STEEP, 3.0), seed) > MAX_Z for seed in range(20))
    assert z(FLAT, [0.0] * 399 + [1.0], 0) > MAX_Z


def test_where_nothing_is_open_nothing_can_be_told() -> None:
    sure = shares_of([1.0] + [0.0] * 399, NAMES)
    assert ranks([sure], ["t0"] * 8) == (0.0, 0.0)


def test_tokens_of_one_text_are_counted_together() -> None:
    assert shares_of([0.2, 0.5, 0.3], ["a", "b", "a"]) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (Generated("a b c", stopped=True), (4, 0, 0)),
        (Generated(" a b c", stopped=True), (4, 0, 0)),  # a space more
        (Generated("a b c", stopped=False), (3, 1, 0)),  # it went on after the end
        (Generated("a b c d", stopped=True), (3, 1, 0)),
        (Generated("a b", stopped=True), (2, 1, 0)),  # it ended early
        (Generated("a d", stopped=True), (1, 1, 0)),
        (Generated("d", stopped=True), (0, 1, 0)),
    ],
)
def test_answers_part_at_the_first_other_token(theirs: Generated, expected: tuple[int, int, int]) -> None:
    measured = Measured([Answer("a b c", [1, 2, 3, 0], True)], [[1.0] * 4], [0], [[]])
    assert agreement(measured, [theirs], text, LENGTH) == expected
    unsure = measured._replace(leads=[[0.1] * 4])
    assert agreement(unsure, [theirs], text, LENGTH) == (0, 0, expected[1])


def test_an_answer_of_the_greatest_length_may_be_called_cut() -> None:
    """`transformers serve` calls an answer cut whose last possible token is the one that ends it."""
    ids = [1] * (LENGTH - 1) + [0]
    measured = Measured([Answer(text(ids), ids, True)], [[1.0] * LENGTH], [0], [[]])
    assert agreement(measured, [Generated(text(ids), stopped=False)], text, LENGTH) == (LENGTH, 0, 0)


def text(ids: Sequence[int]) -> str:
    return " ".join(filter(None, (WORDS[i] for i in ids)))
