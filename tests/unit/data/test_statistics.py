"""The statistics in a report match the data."""

import random

import pytest

from pipeline.data.prompts.topics import topics_of
from pipeline.data.rows import Message
from pipeline.data.statistics import Reservoir, Statistics, distinct_share


def said(prompt: str, *answers: str) -> list[Message]:
    messages = []
    for answer in answers:
        messages += [Message(role="user", content=prompt), Message(role="assistant", content=answer)]
    return messages


def test_lengths_are_counted_in_bins_that_double() -> None:
    seen = Statistics(0, "tokens")
    for count in (1, 2, 3, 4, 7, 8):
        seen.add(said("why " * count, "so"), "mine", count)
    found = seen.lengths()
    assert found["prompts"]["counts"] == [0, 1, 2, 2, 1]
    assert found["prompts"]["median"] == 3.5
    assert found["answers"]["counts"] == [0, 6]
    assert found["conversations"] == {**found["prompts"], "unit": "tokens"}


def test_without_a_tokenizer_conversations_are_as_long_as_their_words() -> None:
    seen = Statistics(0)
    seen.add([Message(role="system", content="be brief"), *said("why so", "a b c", "d")], "mine")
    assert seen.metrics()["conversations/median_words"] == 2 + 2 + 3 + 2 + 1


def test_each_source_has_its_own_figures() -> None:
    seen = Statistics(0, "tokens")
    for _ in range(3):
        seen.add(said("one two", "three"), "short", 5)
    seen.add(said("one two three four", "five", "six seven"), "long", 50)
    assert seen.by_source()["short"] == {"rows": 3, "prompts": 2, "answers": 1, "conversations": 5}
    assert seen.by_source()["long"]["answers"] == 3
    metrics = seen.metrics()
    assert metrics["kept/short"] == 3
    assert metrics["answers_per_row"] == 5 / 4


@pytest.mark.parametrize(
    ("texts", "size", "share"), [(["a b a b"], 1, 0.5), (["a b", "A, b!"], 2, 0.5), ([""], 1, 0.0)]
)
def test_the_share_of_different_runs(texts: list[str], size: int, share: float) -> None:
    assert distinct_share(texts, size) == share


def test_a_sample_is_uniform_and_the_same_for_the_same_seed() -> None:
    means = []
    for seed in range(20):
        sample: Reservoir[int] = Reservoir(200, seed)
        for item in range(5000):
            sample.add(item)
        assert len(sample.items) == 200
        means.append(sum(sample.items) / 200)
    assert 2350 < sum(means) / len(means) < 2650
    again: Reservoir[int] = Reservoir(200, 19)
    for item in range(5000):
        again.add(item)
    assert sum(again.items) / 200 == means[-1]


def test_topics_are_found_and_named_by_their_own_words() -> None:
    draw = random.Random(0)
    about = {"kettle": "water boil steam lid", "bicycle": "chain wheel brake saddle", "garden": "soil seed weed hedge"}
    texts = [
        f"please tell me about the {thing} and its {' '.join(draw.sample(words.split(), 3))} number {number}"
        for thing, words in about.items()
        for number in range(40)
    ]
    found = topics_of(texts, 3, 0)
    assert [round(topic.share, 2) for topic in found] == [0.33, 0.33, 0.33]
    assert {next(thing for thing in about if thing in topic.terms) for topic in found} == set(about)
    assert all(thing in topic.examples[0] for topic in found for thing in about if thing in topic.terms)
    assert topics_of(texts[:3], 3, 0) == []


def test_an_empty_collection_has_figures_too() -> None:
    seen = Statistics(0)
    assert seen.metrics()["answers_per_row"] == 0
    assert seen.topics() == []
    assert seen.openings() == []
