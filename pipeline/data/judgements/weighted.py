"""Pairs from votes that count by how reliable their annotators are. Pure functions.

Rankings of three answers or more take the model of Plackett and Luce with a precision of each annotator
(`labeling.plackett_luce`), pairs and choices that of Dawid and Skene (`labeling.reliability`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from labeling.plackett_luce import crowd_plackett_luce
from labeling.records import Ranking
from labeling.reliability import Floats, Votes, as_votes, reliabilities, sigmoid, weights_of
from labeling.strict_orders import Ranked
from labeling.votes import UNNAMED, is_unnamed, prompt_key
from pipeline.data.judgements.choosing import PollKey
from pipeline.data.judgements.polls import Outcome, Poll, UnweightedPool, person_of, text_keys

Bools = NDArray[np.bool_]
Key = TypeVar("Key", str, tuple[str, str])

Pool = UnweightedPool | Literal["weighted"]
"""With `weighted`, more than half of the votes' weights, by the reliability of their annotators."""

MIN_PROBABILITY = 0.6  # that a weighted pair is in the right order; below, it is as good as open, and a tie


class Opinion(NamedTuple):
    """One person's ranks of the different answers to a prompt, by the keys of the prompt and of the answers."""

    prompt: str
    person: str
    ranks: Mapping[str, float]


def opinions_in(rankings: Iterable[Ranking]) -> list[Opinion]:
    """All opinions on two answers or more. Of a person's opinions on the same answers the last one counts.

    The same text in several slots has the mean of their ranks.
    """
    last: dict[tuple[str, str, frozenset[str]], Opinion] = {}
    for ranking in rankings:
        prompt, keys = prompt_key(ranking["prompt"]), text_keys(ranking["responses"])
        for row in ranking["rankings"]:
            slots: dict[str, list[int]] = defaultdict(list)
            for key, rank in zip(keys, row["ranks"], strict=True):
                slots[key].append(rank)
            ranks = {key: sum(own) / len(own) for key, own in slots.items()}
            person = person_of(row["annotator"], ranking)
            if len(ranks) > 1:
                last[prompt, person, frozenset(ranks)] = Opinion(prompt, person, ranks)
    return list(last.values())


def weighted_outcomes(polls: Mapping[PollKey, Poll], opinions: Sequence[Opinion]) -> list[Outcome]:
    """The outcome of each poll if votes count by the reliability of their annotators, estimated from all of them.

    An annotator who is rather wrong counts for the other answer, and one at chance next to nothing. The chosen answer
    is the better one with a probability of at least `MIN_PROBABILITY`, and ties do not have more than half of all
    weights; otherwise the pair is a tie. A row has `label_noise`, the probability that its order is wrong.

    Where each prompt has one opinion, nothing tells about annotators: their votes count alike.
    """
    people: dict[str, set[str]] = defaultdict(set)
    for one in opinions:
        people[one.prompt].add(one.person)
    if any(len(own) > 1 for own in people.values()) and any(len(one.ranks) > 2 for one in opinions):
        return outcomes_by_rankings(polls, opinions)
    return outcomes_by_votes(list(polls.values()))


def outcomes_by_rankings(polls: Mapping[PollKey, Poll], opinions: Sequence[Opinion]) -> list[Outcome]:
    """The outcomes by Plackett and Luce's model of all rankings; the lead is P(first better) - P(second better).

    The weight of a vote is the size of its annotator's precision.
    """
    numbers = _numbers((one.prompt, key) for one in opinions for key in one.ranks)
    fit = crowd_plackett_luce(_ranked(opinions, numbers))
    judged = [number for number, poll in enumerate(polls.values()) if poll.votes]
    keys = list(polls)
    first, second = (
        np.array([numbers[keys[number][0], keys[number][side]] for number in judged], dtype=np.intp) for side in (1, 2)
    )
    shares = np.full(len(polls), 0.5)
    shares[judged] = fit.probabilities(first, second)
    votes = votes_on(list(polls.values()))
    weights = np.abs([fit.precisions[name] for name in votes.names])[votes.annotators]
    tied = _sums(votes, weights * (votes.signs == 0), len(polls))
    decided = 2 * tied <= _sums(votes, weights, len(polls)) * (1 + 1e-9)
    return _outcomes(list(polls.values()), 2 * shares - 1, shares, decided)


def _ranked(opinions: Sequence[Opinion], numbers: Mapping[tuple[str, str], int]) -> list[Ranked]:
    """The opinions with numbers for prompts and answers."""
    prompts = _numbers(one.prompt for one in opinions)
    return [
        Ranked(
            prompts[one.prompt],
            _name(one.person),
            one.person,
            [numbers[one.prompt, key] for key in one.ranks],
            list(one.ranks.values()),
        )
        for one in opinions
    ]


def _numbers(keys: Iterable[Key]) -> dict[Key, int]:
    """Keys -> their numbers in alphabetical order: whatever the order of the slots, the sums are the same."""
    return {key: number for number, key in enumerate(sorted(set(keys)))}


def outcomes_by_votes(polls: Sequence[Poll]) -> list[Outcome]:
    """The outcomes by Dawid and Skene's model of votes on single pairs; the lead is in shares of weights.

    A vote's weight is the logarithm of the odds that it is right. The chosen answer has more than half of all weights,
    those of ties among them: with equal weights the pairs are the majority's, as long as a vote is right in
    `MIN_PROBABILITY` of cases. Ties tell nothing about an annotator. Pairs that are hard are hard for all, which the
    model does not know: its probabilities are too sure (`benchmarks/annotators.py`).
    """
    votes = votes_on(polls)
    weights = weights_of(reliabilities(votes))[votes.annotators]
    leads = _sums(votes, weights * votes.signs, len(polls))
    sizes = _sums(votes, np.abs(weights), len(polls))
    strict = _sums(votes, np.abs(weights * votes.signs), len(polls))  # on both sides, without ties
    shares = np.divide(leads, sizes, out=np.zeros(len(polls)), where=sizes > 0)
    return _outcomes(polls, shares, sigmoid(leads), np.abs(leads) + strict > sizes * (1 + 1e-9))


def votes_on(polls: Sequence[Poll]) -> Votes:
    """The votes on all polls. Who judged the same two texts in several slots has one vote."""
    return as_votes(
        (number, person.partition("\n")[0], int(np.sign(sum(own))))
        for number, poll in enumerate(polls)
        for person, own in poll.votes.items()
    )


def _name(person: str) -> str:
    """The annotator whose precision it is. All unnamed annotators are one, since they cannot be told apart."""
    name = person.partition("\n")[0]
    return UNNAMED if is_unnamed(name) else name


def _sums(votes: Votes, values: Floats, polls: int) -> Floats:
    """The sum of the values [votes] over the votes on each poll [polls]."""
    return np.bincount(votes.pairs, values, polls).astype(np.float64)


def _outcomes(polls: Sequence[Poll], leads: Floats, first_better: Floats, decided: Bools) -> list[Outcome]:
    """Outcomes by leads, by the probability that the first answer is the better one, and by whether votes decide."""
    sure = np.maximum(first_better, 1 - first_better)
    kept = decided & (sure >= MIN_PROBABILITY)
    return [
        Outcome({**poll.row(lead), "label_noise": 1 - probability} if keep else None, lead)
        for poll, lead, probability, keep in zip(polls, leads.tolist(), sure.tolist(), kept.tolist(), strict=True)
    ]
