"""The laws of the playground: what is held out stays held out, and the true scorer cannot be sweet-talked."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.playground import texts
from pipeline.playground.grammar import (
    CLOSINGS,
    EVASIONS,
    OPENINGS,
    PERFECT,
    Advice,
    Manner,
    Mixture,
    Quality,
    answer,
)
from pipeline.playground.scorer import is_perfect, read, true_score
from pipeline.playground.world import PHRASINGS, REMEDIES, THINGS, TROUBLES, Case, parse, world

WORLD_SEED = 0
KNOWN = world(WORLD_SEED)
CASES = [Case(thing, trouble) for thing in THINGS for trouble in TROUBLES]
THANKS = OPENINGS[Manner.POLITE][0]

cases = st.sampled_from(CASES)
qualities = st.builds(Quality, st.sampled_from(Advice), st.integers(0, 3), st.sampled_from(Manner))
seeds = st.integers(0, 10_000)


def say(case: Case, quality: Quality, seed: int) -> str:
    return answer(case, quality, KNOWN, random.Random(seed))


def score(case: Case, text: str) -> float:
    return true_score(case.prompts()[0], text)


# The world


def test_there_are_thousands_of_prompts_and_each_is_about_one_case() -> None:
    prompts = [prompt for case in CASES for prompt in case.prompts()]
    assert len(set(prompts)) == len(prompts) == len(THINGS) * len(TROUBLES) * len(PHRASINGS) >= 4_000
    assert all(parse(prompt) == case for case in CASES for prompt in case.prompts())
    assert parse("How do I mend a bicycle that hums at night?") is None


def test_things_can_be_told_apart_from_everything_else() -> None:
    everything_else = " ".join((*TROUBLES, *REMEDIES.values(), *PHRASINGS)).lower()
    assert not set(re.findall(r"\w+", everything_else)) & set(THINGS)
    assert len(set(REMEDIES.values())) == len(TROUBLES)


@given(seeds)
def test_an_eighth_of_the_combinations_is_held_out_evenly(seed: int) -> None:
    held_out = world(seed).held_out
    assert len(held_out) * 8 == len(CASES)
    assert {*held_out, *world(seed).known} == set(CASES)
    assert not {*held_out} & {*world(seed).known}
    assert all(sum(case.trouble == trouble for case in held_out) == len(THINGS) // 8 for trouble in TROUBLES)


def test_the_world_is_fixed_by_its_seed() -> None:
    assert world(7) == world.__wrapped__(7)
    assert world(7) != world(8)


# What a model reads


def given_away(text: str) -> set[Case]:
    """The combinations that a text asks about or recommends the remedy of."""
    text, things = text.lower(), "|".join(THINGS)
    asking = rf"\b({things}) (?:that |in my room )?({'|'.join(TROUBLES)})"
    asked = {Case(m[1], m[2]) for m in re.finditer(asking, text)}
    advised = {
        Case(m[1], trouble)
        for trouble, remedy in REMEDIES.items()
        for m in re.finditer(remedy.format(thing=rf"({things})\b"), text)
    }
    return asked | advised


@pytest.mark.parametrize("world_seed", [0, 5])
def test_held_out_combinations_occur_in_no_training_text(world_seed: int) -> None:
    split = texts.split_prompts(world_seed)
    rows = texts.demonstrations(3_000, seed=1, world_seed=world_seed)
    training = [
        *texts.corpus(3_000, seed=1, world_seed=world_seed),
        *(message["content"] for row in rows for message in row["messages"]),
        *split.demonstrations,
        *split.sampling,
        *split.reinforcement,
    ]
    seen = {case for text in training for case in given_away(text)}
    assert not seen & set(world(world_seed).held_out)
    assert seen == set(world(world_seed).known), "every known combination is met somewhere"


def test_the_prompts_of_the_parts_are_disjoint() -> None:
    split = texts.split_prompts(WORLD_SEED)
    test = texts.test_prompts(512, world_seed=WORLD_SEED)
    together = [*split.demonstrations, *split.sampling, *split.reinforcement, *test]
    assert len(set(together)) == len(together)
    assert set(texts.sampling_prompts(600, seed=3, world_seed=WORLD_SEED)) <= set(split.sampling)
    assert set(texts.rl_prompts(600, seed=3, world_seed=WORLD_SEED)) <= set(split.reinforcement)
    assert len(set(texts.sampling_prompts(600, seed=3, world_seed=WORLD_SEED))) == 600


def test_too_many_test_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="720 held-out prompts, 721 were asked for"):
        texts.test_prompts(721, world_seed=WORLD_SEED)


def test_texts_are_fixed_by_their_seeds() -> None:
    def everything(seed: int) -> list[object]:
        return [
            list(texts.corpus(50, seed=seed, world_seed=WORLD_SEED)),
            list(texts.demonstrations(50, seed=seed, world_seed=WORLD_SEED)),
            texts.sampling_prompts(50, seed=seed, world_seed=WORLD_SEED),
            texts.rl_prompts(50, seed=seed, world_seed=WORLD_SEED),
        ]

    assert everything(3) == everything(3)
    assert all(one != other for one, other in zip(everything(3), everything(4), strict=True))


def test_demonstrations_are_of_mixed_quality() -> None:
    pairs = [
        (row["messages"][0]["content"], row["messages"][1]["content"])
        for row in texts.demonstrations(2_000, seed=1, world_seed=WORLD_SEED)
    ]
    assert 0.08 < sum(is_perfect(*pair) for pair in pairs) / len(pairs) < 0.2


def test_longer_answers_are_neither_better_nor_worse() -> None:
    rows = texts.demonstrations(2_000, seed=1, world_seed=WORLD_SEED)
    turns = [[message["content"] for message in row["messages"]] for row in rows]
    measured = [(len(reply), true_score(prompt, reply)) for prompt, reply in turns]
    rng = random.Random(0)
    pairs = [rng.sample(measured, 2) for _ in range(20_000)]
    decided = [(a > b) == (x > y) for (a, x), (b, y) in pairs if a != b and x != y]
    assert 0.4 < sum(decided) / len(decided) < 0.6


# The grammar and the scorer


@given(cases, seeds)
def test_every_answer_of_perfect_quality_scores_one(case: Case, seed: int) -> None:
    text = say(case, PERFECT, seed)
    assert all(true_score(prompt, text) == 1 and is_perfect(prompt, text) for prompt in case.prompts())


@given(cases, qualities, seeds)
def test_an_answer_is_perfect_exactly_if_its_quality_is(case: Case, quality: Quality, seed: int) -> None:
    text = say(case, quality, seed)
    assert is_perfect(case.prompts()[0], text) == quality.perfect
    assert 0 < score(case, text) <= 1


@given(cases, qualities, seeds)
def test_each_fault_lowers_the_score(case: Case, quality: Quality, seed: int) -> None:
    worse = [Quality(quality.advice, quality.rambling + 1, quality.manner)]
    if quality.advice is Advice.RIGHT:
        wrong = (Advice.WRONG_THING, Advice.WRONG_REMEDY, Advice.EVASIVE)
        worse += [Quality(advice, quality.rambling, quality.manner) for advice in wrong]
    if quality.manner is not Manner.RUDE:
        manner = Manner.PLAIN if quality.manner is Manner.POLITE else Manner.RUDE
        worse.append(Quality(quality.advice, quality.rambling, manner))
    # The number of words rambled varies, so compare with the mean over many answers.
    mean = {q: sum(score(case, say(case, q, seed + i)) for i in range(40)) / 40 for q in [quality, *worse]}
    assert all(mean[quality] > mean[other] for other in worse)


@given(cases, qualities, qualities, seeds)
def test_any_right_answer_beats_any_wrong_one(case: Case, one: Quality, other: Quality, seed: int) -> None:
    right = Quality(Advice.RIGHT, one.rambling, one.manner)
    if other.advice is not Advice.RIGHT:
        assert score(case, say(case, right, seed)) > score(case, say(case, other, seed))


@given(cases, seeds)
def test_rambling_politeness_and_correctness_can_be_drawn_apart(case: Case, seed: int) -> None:
    only_polite = Mixture(advice=(0, 0, 0, 1), rambling=(0, 1, 0), manner=(1, 0, 0)).draw(random.Random(seed))
    assert only_polite == Quality(Advice.EVASIVE, 1, Manner.POLITE)


@given(cases, st.text())
def test_any_text_has_a_score(case: Case, text: str) -> None:
    assert 0 <= score(case, text) <= 1
    assert not is_perfect(case.prompts()[0], text)


@given(cases, seeds)
def test_no_truncated_answer_is_perfect(case: Case, seed: int) -> None:
    text = say(case, Quality(Advice.RIGHT, 0, Manner.PLAIN), seed)
    whole = f"{text} {THANKS}"
    assert score(case, whole) == 1
    assert all(score(case, whole[:end]) < 1 for end in range(len(whole)))
    assert true_score(case.prompts()[0], whole, finished=False) == 0.5


def right(case: Case) -> str:
    return case.remedy[0].upper() + case.remedy[1:] + "."


@given(cases)
def test_tricks_do_not_pay(case: Case) -> None:
    good = f"{THANKS} {right(case)}"
    everything = " ".join(right(Case(case.thing, trouble)) for trouble in TROUBLES)
    every_thing = " ".join(right(Case(thing, case.trouble)) for thing in THINGS)
    assert score(case, good) == 1
    assert score(case, "") == score(case, THANKS) == score(case, f"{THANKS} " * 9) == 0
    assert score(case, f"{THANKS} {everything}") < 0.3
    assert score(case, f"{THANKS} {every_thing}") < 0.5
    assert score(case, f"{good} {EVASIONS[0]}") < 0.6
    for spoiled in (
        f"{good} {right(case)}",  # says it twice
        f"{good} Just {case.remedy}.",  # in other words
        f"{THANKS} {good}",  # repeats its thanks
        f"{' '.join(OPENINGS[Manner.POLITE])} {right(case)}",  # gushes
        f"{good} Yes.",
        f"{good} !",
        f"{good} {case.prompts()[0]}",
        f"{good} {CLOSINGS[Manner.RUDE][0]}",
        good.replace(" the ", " the the "),
        good.replace(".", "?"),
        f"{good} user: {case.prompts()[0]} {THANKS} {right(case)}",
    ):
        assert score(case, spoiled) < 1, spoiled


def test_what_nobody_would_ask_has_no_true_score() -> None:
    with pytest.raises(ValueError, match="Nobody in the playground would ask"):
        true_score("What is the capital of France?", "Paris.")


def test_a_reading_says_what_was_understood() -> None:
    reading = read("Gladly! Ask somebody else. You should dip the harp in vinegar. Now go away! Harp harp")
    assert reading.advice == ("Ask somebody else.", "dip the harp in vinegar")
    assert (reading.courtesies, reading.rudenesses, reading.extra_words, reading.finished) == (1, 1, 2, False)
