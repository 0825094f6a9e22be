"""What happens around the maths: batches, seeds, stops, what is watched, and the user's own reward functions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.nodes.learning import RewardSource
from pipeline.errors import RequestError
from tests.lazily import lazily

with lazily():
    import torch

    from pipeline.ppo.diagnostics import correlation, distinct_share, explained_variance, repetition
    from pipeline.ppo.health import Health, HealthLimits
    from pipeline.ppo.rollouts import Rollouts, batches, next_prompts, sampling_seed
    from pipeline.ppo.samples import Samples
    from pipeline.ppo.sources import (
        FunctionScorer,
        WeightedScorer,
        combination,
        combine_scores,
        function_file,
        sources_by_role,
    )


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_every_answer_is_learned_from_once_an_epoch(count: int, size: int, micro: int, key: int):
    """A permutation, whatever divides what."""
    found = batches(count, size, [1] * count, micro, str(key), pass_cost=9)
    assert sorted(i for batch in found for rows in batch for i in rows) == list(range(count))
    assert all(len(rows) <= micro for batch in found for rows in batch)


def test_every_epoch_has_a_fresh_permutation():
    """Rule 17 (S)."""
    orders = [batches(64, 64, [1] * 64, 64, f"0 0 {epoch}", pass_cost=9) for epoch in range(3)]
    flat = [
        [i for batch in batches(64, 8, [1] * 64, 8, f"0 0 {epoch}", pass_cost=9) for rows in batch for i in rows]
        for epoch in range(3)
    ]
    assert len({tuple(order) for order in flat}) == 3
    assert orders[0] == orders[1]  # one batch of rows of equal length is the same batch in any order


def test_micro_batches_hold_rows_of_similar_length():
    lengths = [9, 1, 8, 2, 7, 3]
    ((first, second, third),) = batches(6, 6, lengths, 2, "x", pass_cost=99)
    assert [lengths[i] for i in first + second + third] == sorted(lengths)


@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 8))
def test_prompts_are_used_equally_often(count: int, number: int, calls: int):
    """The cursor goes on where it was: every epoch holds every prompt once, in an order of its own."""
    seen = [i for call in range(calls) for i in next_prompts(count, call * number, number, "0")]
    for epoch in range(len(seen) // count):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_every_iteration_draws_anew_from_prompts_in_one_order():
    """Rule 19 (S): an answer has random numbers of its own; how many processes draw does not matter.

    Two processes are compared with one in `tests/stages/test_distributed.py`.
    """
    assert len({sampling_seed(seed, iteration) for seed in range(4) for iteration in range(5)}) == 20
    assert sampling_seed(0, 3) == sampling_seed(0, 3)
    assert next_prompts(10, 5, 20, "0 prompts") == next_prompts(10, 5, 20, "0 prompts")


WELL = {"kl": 1.0, "stopped": 0.9, "distinct": 1.0, "reward": 0.5}


def after(*seen: dict[str, float]) -> Health:
    health, limits = Health(), HealthLimits(kl=10.0, stopped=0.2, distinct=0.1, patience=2)
    for policy, one in enumerate(seen):
        health = health.after(policy, one, limits)
    return health


def test_a_run_goes_on_while_answers_are_healthy():
    assert after(WELL, WELL, WELL) == Health(good=2, bad=0, first_stopped=0.9)


@pytest.mark.parametrize(
    ("change", "word"), [({"kl": 11.0}, "KL"), ({"stopped": 0.17}, "end by themselves"), ({"distinct": 0.05}, "differ")]
)
def test_a_run_ends_after_patience_and_knows_its_last_good_policy(change: dict[str, float], word: str):
    once = after(WELL, WELL, WELL | change)
    assert once.fault is None
    assert once.good == 1
    assert after(WELL, WELL, WELL | change, WELL).good == 3  # a single slip is forgiven
    ended = after(WELL, WELL, WELL | change, WELL | change)
    assert ended.good == 1
    assert word in (ended.fault or "")


@pytest.mark.parametrize("name", ["kl", "reward"])
def test_what_is_not_finite_ends_a_run_at_once(name: str):
    ended = after(WELL, WELL | {name: math.nan})
    assert (ended.good, ended.fault) == (0, f"{name} not finite")


def test_correlation_is_pearsons():
    assert correlation([1, 2, 3], [2, 4, 7]) == pytest.approx(0.99339927)
    assert correlation([0.1, 0.1, 0.1], [1, 2, 3]) == correlation([1, 2, 3], [0.1] * 3) == 0
    assert correlation([5.0], [1]) == correlation([1, math.nan, 2], [1, 2, 3]) == 0


def test_explained_variance_is_1_for_a_prophet_and_0_for_a_constant():
    returns = torch.tensor([1.0, 2.0, 4.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(torch.full((3,), 9.0), returns) == pytest.approx(0)


def test_repetition_is_the_share_of_trigrams_seen_before():
    assert repetition([[1, 2, 3, 4]]) == 0
    assert repetition([[1, 1, 1, 1, 1]]) == pytest.approx(2 / 3)
    assert distinct_share([[1], [1], [2], [3]]) == 0.75


class Answer(NamedTuple):
    text: str
    ids: list[int]
    stopped: bool


PROMPTS = [[{"role": "user", "content": f"q{i}"}] for i in range(3)]
ANSWERS = [Answer(text, [1], True) for text in ("a", "bb", "ccc")]


def scorer(tmp_path: Path, body: str) -> FunctionScorer:
    (tmp_path / "own.py").write_text(f"def reward(prompts, answers):\n    {body}\n")
    return FunctionScorer(f"{tmp_path / 'own.py'}:reward")


def test_a_reward_function_sees_prompts_and_answers(tmp_path: Path):
    found = scorer(tmp_path, "return [len(a) + len(p[-1]['content']) for p, a in zip(prompts, answers)]")
    assert found.score(PROMPTS, ANSWERS) == [3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('missing')", ("failed", "KeyError", "missing")),
        ("return [1.0, float('nan'), 0.0]", ("nan", "'bb'", "'q1'")),
        ("return [1.0, float('inf'), 0.0]", ("inf", "'bb'")),
        ("return [1.0, 2.0]", ("2 scores for 3 answers",)),
        ("return ['good', 'bad', 'good']", ("failed", "ValueError")),
        ("return None", ("failed", "TypeError")),
    ],
)
def test_a_reward_function_that_fails_is_one_clear_message(tmp_path: Path, body: str, words: tuple[str, ...]):
    with pytest.raises(RequestError) as error:
        scorer(tmp_path, body).score(PROMPTS, ANSWERS)
    assert all(word in str(error.value) for word in ("own.py:reward", *words))


@pytest.mark.parametrize("text", ["def other(): pass", "import nowhere_at_all", "def reward(:"])
def test_code_without_the_function_is_refused(tmp_path: Path, text: str):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(RequestError, match=r"own\.py"):
        FunctionScorer(f"{tmp_path / 'own.py'}:reward")


def test_a_module_is_found_without_running_it():
    file, name = function_file("tests.unit.ppo.test_running:anything") or (None, None)
    assert (file, name) == (Path(__file__), "anything")
    assert function_file("reward@latest") is None
    assert function_file("some/folder") is None
    with pytest.raises(RequestError, match="no module"):
        function_file("no_such_module_here:reward")


def test_every_source_is_an_input_of_its_own():
    given = [RewardSource("reward"), RewardSource("a.py:f"), RewardSource("reward@x"), RewardSource("b.c:f")]
    assert dict(zip(("reward", "function", "reward2", "function2"), given, strict=True)) == sources_by_role(given)


def test_rewards_add_up_with_their_weights(tmp_path: Path):
    class Constant:
        def score(self, prompts: Any, answers: Any) -> list[float]:
            return [2.0] * len(answers)

    lengths = scorer(tmp_path, "return [len(a) for a in answers]")
    total, means = combine_scores(
        [WeightedScorer("one", Constant(), 0.5), WeightedScorer("two", lengths, -1.0)],
        PROMPTS,
        ANSWERS,
        combination("sum", 1.0),
    )
    assert total == [0.0, -1.0, -2.0]
    assert means == {"one": 2.0, "two": 2.0}


def test_an_ensemble_gives_its_mean_its_worst_score_or_its_mean_less_its_variance():
    scores = [1.0, 2.0, 6.0]
    assert combination("sum", 1.0)(scores) == 9
    assert combination("worst", 1.0)(scores) == 1
    assert combination("mean", 1.0)(scores) == 3
    assert combination("cautious", 0.5)(scores) == pytest.approx(3 - 0.5 * (4 + 1 + 9) / 3)
    assert combination("cautious", 7.0)([2.0, 2.0]) == 2  # where all agree, nothing is subtracted


def test_samples_of_a_resumed_run_are_those_of_an_unbroken_one(tmp_path: Path):
    """Whatever line ends an answer holds, wherever a kill cut the file: what came after the checkpoint goes alone."""
    one = torch.zeros(1, 2)
    rollouts = Rollouts([], [], one, one, one, one, one, one, torch.zeros(1))
    texts = {1: "a\u2028}\x85\nb", 2: "\ud800", 3: "c"}

    def write(samples: Samples, step: int) -> None:
        samples.write(step, 4, [[{"role": "user", "content": "q\u2029}"}]], [Written(texts[step])], rollouts)

    whole = Samples(tmp_path / "whole.jsonl")
    for step in texts:
        write(whole, step)
    expected = (tmp_path / "whole.jsonl").read_bytes()
    path = tmp_path / "samples.jsonl"
    for cut in range(expected.index(b"\n", expected.index(b"\n") + 1) + 1, len(expected) + 1):
        path.write_bytes(expected[:cut])
        resumed = Samples(path)
        resumed.keep(2)
        write(resumed, 3)
        assert path.read_bytes() == expected


class Written(NamedTuple):
    text: str
    stopped: bool = True
