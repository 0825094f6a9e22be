"""Splits by prompt: complete, disjoint, repeatable, near the fractions and never empty."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.rows import Demonstration, Message, Preference, Prompt, Ranking, prompt_id
from pipeline.data.splits import split_by_prompt, split_key
from pipeline.errors import RequestError

FRACTIONS = {"train": 0.8, "dev": 0.1, "test": 0.1}


def asked(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def answered(text: str) -> list[Message]:
    return [Message(role="assistant", content=text)]


def rows_of(prompts: list[int]) -> list[Demonstration]:
    return [
        Demonstration(messages=[*asked(f"question {prompt}"), *answered(f"answer {index}")])
        for index, prompt in enumerate(prompts)
    ]


def keys(rows: list[Demonstration]) -> set[str]:
    return {split_key(row) for row in rows}


PROMPTS = st.lists(st.integers(0, 12), max_size=60).filter(lambda prompts: len(set(prompts)) >= 3)
SHARES = st.lists(st.integers(1, 20), min_size=1, max_size=3)


@settings(deadline=None)
@given(PROMPTS, SHARES, st.integers(0, 99))
def test_complete_disjoint_and_never_empty(prompts: list[int], weights: list[int], seed: int) -> None:
    rows = rows_of(prompts)
    fractions = {f"split{index}": weight / sum(weights) for index, weight in enumerate(weights)}
    splits = split_by_prompt(rows, {**fractions, "none": 0.0}, seed)
    texts = [row["messages"][1]["content"] for part in splits.values() for row in part]
    assert sorted(texts) == sorted(row["messages"][1]["content"] for row in rows)
    assert sum(len(keys(part)) for part in splits.values()) == len(keys(rows))
    assert all(splits[name] for name in fractions)
    assert splits["none"] == []


@settings(deadline=None)
@given(PROMPTS, st.integers(0, 99), st.randoms(use_true_random=False))
def test_a_prompt_stays_where_it_is_in_any_order(prompts: list[int], seed: int, shuffler: random.Random) -> None:
    rows = rows_of(prompts)
    before = split_by_prompt(rows, FRACTIONS, seed)
    shuffler.shuffle(rows)
    after = split_by_prompt(rows, FRACTIONS, seed)
    assert {name: keys(part) for name, part in before.items()} == {name: keys(part) for name, part in after.items()}


def test_sizes_are_near_the_fractions_and_the_order_is_kept() -> None:
    rows = rows_of(list(range(1000)))
    splits = split_by_prompt(rows, FRACTIONS, seed=0)
    assert {name: len(part) for name, part in splits.items()} == {"train": 800, "dev": 100, "test": 100}
    assert all(part == [row for row in rows if row in part] for part in (splits["dev"], splits["test"]))


def test_the_seed_decides() -> None:
    rows = rows_of(list(range(50)))
    assert split_by_prompt(rows, FRACTIONS, seed=1) == split_by_prompt(rows, FRACTIONS, seed=1)
    assert split_by_prompt(rows, FRACTIONS, seed=1) != split_by_prompt(rows, FRACTIONS, seed=2)


def test_what_counts_as_the_prompt() -> None:
    name = prompt_id(asked("q"))
    long = Demonstration(messages=[*asked("q"), *answered("a"), *asked("more"), *answered("b")])
    pair = Preference(prompt=asked("q"), chosen=answered("a"), rejected=answered("b"), margin=1.0, group="r1")
    ranking = Ranking(id="r1", prompt="q", responses=["a", "b"], rankings=[])
    assert {split_key(row) for row in (long, pair, ranking, Prompt(prompt=asked(" q\n")))} == {name}
    assert split_key(Prompt(prompt=asked("Q"))) != name


def test_prompt_ids_are_the_same_for_ever() -> None:
    assert prompt_id(asked("Who are you?")) == PINNED
    assert prompt_id([Message(role="system", content="Who are you?")]) != PINNED


PINNED = "b2c43784873463e0"


def test_fewer_prompts_than_splits() -> None:
    with pytest.raises(
        RequestError,
        match=r"2 different prompts \(5 rows\) cannot fill 3 splits \(train, dev, test\)\. Bring",
    ):
        split_by_prompt(rows_of([1, 1, 1, 2, 2]), FRACTIONS, seed=0)


@pytest.mark.parametrize("fractions", [{"a": 0.5}, {"a": 1.2, "b": -0.2}, {"a": float("nan")}, {}])
def test_fractions_that_are_no_shares_of_a_whole(fractions: dict[str, float]) -> None:
    with pytest.raises(RequestError, match="must be 0 or more and sum to 1, found"):
        split_by_prompt(rows_of([1, 2, 3]), fractions, seed=0)
