"""The records of labeling: tasks for annotators and the rankings they return.

A *task* is shown to annotators: a prompt and answers to rank, without the source of an answer. A *ranking* is the
contract's row: the task with each annotator's ranks. The policy of the answer in each slot is in the *slot map*, beside
the tasks and never in them.
"""

import json
import random
from collections.abc import Iterable, Sequence
from typing import NotRequired, TypedDict


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str
    train: NotRequired[bool]  # false for an answer that is only context
    reasoning_content: NotRequired[str]  # the reasoning before an answer


class SampledAnswer(TypedDict):
    """An answer and the policy that wrote it."""

    text: str
    policy: str


class Sample(TypedDict):
    """A prompt and the answers sampled for it; ``id`` is unique among the samples."""

    id: str
    prompt: list[Message]
    answers: list[SampledAnswer]


class Task(TypedDict):
    """The view of an annotator: ``responses`` in the shown order."""

    id: str
    prompt: list[Message]
    responses: list[str]


class Slot(TypedDict):
    """The source of the response in one slot: its index among the sample's answers, and its policy."""

    answer: int
    policy: str


SlotMap = dict[str, list[Slot]]
"""Task id -> one ``Slot`` for each of the task's responses, in the shown order."""


class Ranks(TypedDict):
    """One annotator's ranks, one per response: they start at 1, lower is better, equal ranks are ties."""

    annotator: str
    ranks: list[int]
    comment: NotRequired[str]
    both_bad: NotRequired[bool]  # a tie of two bad responses
    guidelines: NotRequired[str]  # version of the annotator's guidelines


class Ranking(TypedDict):
    """The contract's row: a task and the ranks of all its annotators. Annotators are pseudonyms."""

    id: str
    prompt: str | list[Message]
    responses: list[str]
    rankings: list[Ranks]


def stable_random(*key: str | int) -> random.Random:
    """A generator that depends only on ``key``, not on the process, the order of calls or other keys.

    The key becomes JSON first, so that ("a", "bc") and ("ab", "c") differ; ``Random`` hashes strings by SHA-512.
    """
    return random.Random(json.dumps(key))


def make_tasks(samples: Iterable[Sample], seed: int) -> tuple[list[Task], SlotMap]:
    """(tasks for annotators in the samples' order, the slot map to the policies).

    The slots are shuffled per task, from the seed and the task's id: people prefer the first response, and that must
    not favour a policy. A sample with fewer than two answers gets no task.

    Raises ValueError if two samples have the same id, since the slot map could not tell them apart.
    """
    tasks: list[Task] = []
    slot_map: SlotMap = {}
    for sample in samples:
        answers = sample["answers"]
        if len(answers) < 2:
            continue
        if sample["id"] in slot_map:
            raise ValueError(f"two samples have the id {sample['id']!r}")
        order = list(range(len(answers)))
        stable_random(seed, "slots", sample["id"]).shuffle(order)
        responses = [answers[index]["text"] for index in order]
        tasks.append({"id": sample["id"], "prompt": sample["prompt"], "responses": responses})
        slot_map[sample["id"]] = [{"answer": index, "policy": answers[index]["policy"]} for index in order]
    return tasks, slot_map


def ranks_from_scores(scores: Sequence[float], tie_width: float = 0.0) -> list[int]:
    """Ranks, one per score, the highest score first; scores at most ``tie_width`` apart are tied.

    Closeness is not transitive (0.0, 0.9, 1.8 at width 1), but ties are. So each tie is anchored at its best score:
    scores within ``tie_width`` below it join the tie, and a chain of small steps never ties distant scores. Ranks are
    competition ranks (1, 1, 3): a rank is one more than the number of better responses.

    Raises ValueError for a negative ``tie_width`` and for scores that are NaN, which have no order.
    """
    if not tie_width >= 0:
        raise ValueError(f"tie_width must not be negative, but is {tie_width}")
    if any(score != score for score in scores):
        raise ValueError(f"scores with NaN have no order: {list(scores)}")
    ranks = [0] * len(scores)
    best, rank = float("nan"), 1
    for position, slot in enumerate(sorted(range(len(scores)), key=lambda slot: -scores[slot]), start=1):
        if position == 1 or best - scores[slot] > tie_width:
            best, rank = scores[slot], position
        ranks[slot] = rank
    return ranks


def compare(ranks: Sequence[int], first: int, second: int) -> int:
    """1 if slot ``first`` is ranked better than slot ``second``, -1 if worse, 0 for a tie."""
    return (ranks[first] < ranks[second]) - (ranks[first] > ranks[second])


def check_ranking(ranking: Ranking) -> None:
    """Raise ValueError, naming ranking and annotator, unless the ranks follow the contract.

    It requires at least two responses, a whole rank from 1 upwards for each, and each annotator once.
    """
    where = f"ranking {ranking['id']!r}"
    slots = len(ranking["responses"])
    if slots < 2:
        raise ValueError(f"{where}: needs two responses or more, but has {slots}")
    seen: set[str] = set()
    for row in ranking["rankings"]:
        annotator, ranks = row["annotator"], row["ranks"]
        if annotator in seen:
            raise ValueError(f"{where}: annotator {annotator!r} occurs twice")
        seen.add(annotator)
        if len(ranks) != slots:
            raise ValueError(f"{where}: annotator {annotator!r} gave {len(ranks)} ranks for {slots} responses")
        if any(type(rank) is not int or rank < 1 for rank in ranks):
            raise ValueError(f"{where}: annotator {annotator!r} gave {ranks}; ranks are whole numbers from 1 upwards")
