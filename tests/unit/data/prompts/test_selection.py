"""Which prompts are asked: rare topics and deep conversations are not lost, and odd prompts break nothing."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.prompts.selection import _shares, choose_prompts
from pipeline.data.rows import Message, conversation_hash

COMMON, RARE = 8, 12


def conversation(*questions: str) -> list[Message]:
    turns: list[Message] = [{"role": "user", "content": questions[0]}]
    for question in questions[1:]:
        turns += [{"role": "assistant", "content": "I see."}, {"role": "user", "content": question}]
    return turns


def question(topic: int, draw: random.Random) -> str:
    """Six words of the topic's own thirty, four that all topics share."""
    own = [f"topic{topic}word{draw.randrange(30)}" for _ in range(6)]
    return " ".join(own + [f"shared{draw.randrange(50)}" for _ in range(4)])


def planted(seed: int) -> tuple[list[list[Message]], list[int]]:
    """1,660 prompts and their topics; as in many files, the rare topics (5 prompts of each) come last."""
    draw = random.Random(seed)
    topics = [topic for topic in range(COMMON) for _ in range(200)]
    topics += [topic for topic in range(COMMON, COMMON + RARE) for _ in range(5)]
    return [conversation(question(topic, draw)) for topic in topics], topics


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rare_topics_are_covered_where_the_first_n_and_a_random_draw_miss_them(seed):
    prompts, topics = planted(seed)
    count = 60

    def covered(indexes) -> float:
        return len({topics[index] for index in indexes} - set(range(COMMON))) / RARE

    chosen = covered(choose_prompts(prompts, count, seed))
    drawn = [covered(random.Random(trial).sample(range(len(prompts)), count)) for trial in range(100)]
    assert covered(range(count)) == 0
    assert chosen >= 0.75
    assert chosen / (sum(drawn) / len(drawn)) > 3


def test_common_topics_are_covered_too():
    prompts, topics = planted(0)
    assert {topics[index] for index in choose_prompts(prompts, 60, 0)} >= set(range(COMMON))


def test_each_turn_depth_gets_its_share_and_at_least_one():
    draw = random.Random(0)
    depths = [1] * 700 + [2] * 200 + [3] * 99 + [7]
    prompts = [conversation(*(question(0, draw) for _ in range(depth))) for depth in depths]
    chosen = Counter(depths[index] for index in choose_prompts(prompts, 50, 0))
    assert chosen[7] == 1
    assert [chosen[depth] for depth in (1, 2, 3)] == pytest.approx([35, 10, 5], abs=1)


def test_a_system_turn_is_no_turn_of_the_user():
    system: list[Message] = [{"role": "system", "content": "Be brief."}]
    prompts = [conversation(f"question {index}") for index in range(20)]
    prompts += [system + conversation(f"query {index}") for index in range(20)]
    prompts.append(conversation("first", "second"))
    assert 40 in choose_prompts(prompts, 2, 0)


@given(st.dictionaries(st.integers(0, 9), st.integers(1, 300), min_size=1), st.data())
def test_shares_add_up_stay_within_the_strata_and_are_proportional(sizes, data):
    total = sum(sizes.values())
    count = data.draw(st.integers(0, total))
    shares = _shares(sizes, count)
    assert sum(shares.values()) == count
    assert all(shares[stratum] <= size for stratum, size in sizes.items())
    if count >= len(sizes):
        assert all(shares[stratum] >= 1 for stratum in sizes)
        assert all(abs(shares[s] - count * size / total) <= len(sizes) for s, size in sizes.items())


@given(
    st.lists(st.sampled_from(["", " ", "!", "?", "a", "a b", "b", "猫は好き", "犬", "\U0001f600"]), max_size=12),
    st.data(),
)
def test_odd_prompts_break_nothing_and_repetitions_come_last(texts, data):
    prompts = [conversation(text) for text in texts]
    count = data.draw(st.integers(0, len(texts) + 1))
    chosen = choose_prompts(prompts, count, 0)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, len(prompts))
    distinct = len({conversation_hash(prompt) for prompt in prompts})
    assert len({conversation_hash(prompts[index]) for index in chosen}) == min(count, distinct)


@pytest.mark.parametrize("text", ["", "!!!", "the same"])
def test_prompts_that_are_all_alike_but_for_what_is_not_clustered(text):
    prompts: list[list[Message]] = [
        [{"role": "system", "content": f"system {index}"}, {"role": "user", "content": text}] for index in range(30)
    ]
    assert len(choose_prompts(prompts, 7, 0)) == 7


def test_as_many_as_there_are_keeps_the_order():
    prompts = [conversation(text) for text in ("b", "a", "a", "c")]
    assert choose_prompts(prompts, 4, 0) == choose_prompts(prompts, 9, 0) == [0, 1, 2, 3]
    assert choose_prompts(prompts, 3, 0) == [0, 1, 3]
    assert choose_prompts([], 3, 0) == []
    assert choose_prompts(prompts, 0, 0) == []


def test_the_choice_depends_on_the_seed_alone():
    prompts, _ = planted(0)
    assert choose_prompts(prompts, 40, 0) == choose_prompts(prompts, 40, 0)
    assert choose_prompts(prompts, 40, 0) != choose_prompts(prompts, 40, 1)
