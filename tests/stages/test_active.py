"""Active choice on the tiny chain: people get the answers that a reward model is least sure of."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from pipeline.config import compose
from pipeline.data.rows import read_jsonl
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.stages.conftest import Chain
from tests.stages.rewards import SMALL, context
from tests.stages.small import TINY
from tests.stages.test_faults import assert_one_message

with lazily():
    from pipeline.modeling.answering import Answerer
    from pipeline.modeling.rewards.scoring import RewardModel

pytestmark = pytest.mark.slow

CHOICE = ("sample.choose=active", "sample.prompts=4", "sample.candidates=12", "sample.answers=3", "sample.drawn=5")


def entropy(gap: float) -> float:
    """Of the order of two answers whose scores are `gap` apart, in bits."""
    share = 1 / (1 + math.exp(-gap))
    return -share * math.log2(share) - (1 - share) * math.log2(1 - share)


def expected(sample: Artifact, reward: Artifact, folder: Path) -> dict[str, tuple[float, set[str]]]:
    """Prompt -> (uncertainty, texts of its most uncertain answers), from answers that are drawn again."""
    config = compose.load([*TINY, *CHOICE, f"sample.inputs.reward=reward@{reward.version}"]).sample
    answerer = Answerer(sample.inputs["sft"], context(folder), config.seed)
    asked = [row["prompt"] for row in read_jsonl(sample.inputs["data"].file("preference.jsonl"))]
    prompts = [prompt for prompt in asked if str(prompt) in candidates_of(sample, asked)]
    decoding = replace(config.decoding, max_new_tokens=int(sample.metrics["max_new_tokens"]))
    drawn = answerer.draw([p for p in prompts for _ in range(5)], decoding, "sample sft")
    model = RewardModel(reward, context(folder))
    found = {}
    for i, prompt in enumerate(prompts):
        own = {" ".join(answer.text.split()): answer for answer in reversed(drawn[5 * i : 5 * i + 5])}
        scores = dict(zip(own, model.score([prompt] * len(own), [*own.values()]), strict=True))
        sets = {
            tuple(some): sum(entropy((scores[a] - scores[b]) / model.normalization.scale) for a, b in pairs)
            / len(pairs)
            for some in combinations(own, min(3, len(own)))
            if (pairs := [*combinations(some, 2)])
        }
        best = max(sets, key=sets.__getitem__)
        found[str(prompt)] = sets[best], set(best)
    return found


def candidates_of(sample: Artifact, prompts: list[object]) -> set[str]:
    """The prompts that got answers, as without an active choice."""
    from pipeline.data.prompts.selection import choose_prompts

    return {str(prompts[i]) for i in choose_prompts(prompts, 12, sample.manifest["config"]["seed"])}  # type: ignore[arg-type]


def test_people_get_the_answers_whose_order_is_most_uncertain(chain: Chain, tmp_path: Path) -> None:
    reward = chain.make("reward", *SMALL)
    pinned = f"sample.inputs.reward=reward@{reward.version}"
    made = chain.make("sample", *CHOICE, pinned)
    rows = read_jsonl(made.file("answers.jsonl"))
    assert made.inputs["reward"].version == reward.version
    assert [row["place"] for row in rows] == [1, 2, 3, 4]
    everything = expected(made, reward, tmp_path)
    ranked = sorted(everything, key=lambda prompt: -everything[prompt][0])
    assert [str(row["prompt"]) for row in rows] == ranked[:4]
    for row in rows:
        uncertainty, texts = everything[str(row["prompt"])]
        assert row["uncertainty"] == pytest.approx(uncertainty, abs=1e-5)
        assert {" ".join(answer["text"].split()) for answer in row["answers"]} == texts
    means = [sum(everything[prompt][0] for prompt in some) / len(some) for some in (ranked[:4], ranked)]
    assert made.metrics["uncertainty"] == pytest.approx(means[0], abs=1e-5)
    assert made.metrics["uncertainty_of_candidates"] == pytest.approx(means[1], abs=1e-5)
    assert (made.metrics["candidates"], made.metrics["prompts"]) == (len(everything), 4)
    again = chain.beside(tmp_path / "again", *made.inputs.values()).make("sample", *CHOICE, pinned)
    assert again.version == made.version
    assert again.file("answers.jsonl").read_bytes() == made.file("answers.jsonl").read_bytes()


def test_rankings_of_chosen_answers_train_the_next_reward_model(chain: Chain) -> None:
    first = chain.make("reward", *SMALL)
    active = (*CHOICE, f"sample.inputs.reward=reward@{first.version}", "preferences.judge_fraction=0")
    second = chain.make("reward", *SMALL, *active, "preferences.test_fraction=0.3")
    assert second.version != first.version
    sample = chain.store.open(*chain.store.resolve("sample"))
    assert sample.inputs["reward"].version == first.version
    ranked = read_jsonl(chain.store.open(*chain.store.resolve("collect")).file("rankings.jsonl"))
    assert sorted(row["id"] for row in ranked) == sorted(row["id"] for row in read_jsonl(sample.file("answers.jsonl")))


def test_what_people_are_expected_to_disagree_about_is_taken_off(chain: Chain) -> None:
    first = chain.make("reward", *SMALL)
    active = (*CHOICE, f"sample.inputs.reward=reward@{first.version}")
    judged = read_jsonl(first.inputs["preferences"].file("disagreement.jsonl"))
    assert {row["comparisons"] for row in judged} <= {1, 3, 6}  # pairs of up to four answers, by two people
    ignoring = {row["id"]: row for row in read_jsonl(chain.make("sample", *active).file("answers.jsonl"))}
    rows = read_jsonl(chain.make("sample", *active, "sample.disagreement=avoid").file("answers.jsonl"))
    information = [row["uncertainty"] - row["label_entropy"] for row in rows]
    assert information == sorted(information, reverse=True)
    assert all(0 < row["label_entropy"] <= 1 for row in rows)
    both = [row for row in rows if row["id"] in ignoring]
    assert [row["uncertainty"] for row in both] == pytest.approx([ignoring[row["id"]]["uncertainty"] for row in both])


def test_one_opinion_on_each_prompt_leaves_the_uncertainty_alone(
    chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    first = chain.make("reward", *SMALL, "labeling.overlap=1")
    active = (*CHOICE, f"sample.inputs.reward=reward@{first.version}")
    plain = read_jsonl(chain.make("sample", *active).file("answers.jsonl"))
    capsys.readouterr()
    avoiding = read_jsonl(chain.make("sample", *active, "sample.disagreement=avoid").file("answers.jsonl"))
    assert "only the reward model's uncertainty counts" in " ".join(capsys.readouterr().out.split())
    assert avoiding == plain


def test_a_first_round_cannot_choose(chain: Chain) -> None:
    run = chain.ended("stage=sample", *CHOICE)
    assert_one_message(run, 2, "sample.choose=active", "sample.inputs.reward=reward@VERSION", "leave sample.choose out")
