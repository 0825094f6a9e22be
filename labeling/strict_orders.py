"""Rankings with ties as strict orders, in arrays: what `labeling.plackett_luce` computes with. Pure functions."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, permutations
from math import lcm
from typing import NamedTuple

import numpy as np

from labeling.reliability import Floats, Ints

ALL_ORDERS = 4  # most tied answers that take turns in all their orders: 24


class Ranked(NamedTuple):
    """One annotator's ranks of two or more answers to a prompt: lower is better, equal ranks are ties.

    Prompts and answers are numbers from 0; an answer belongs to one prompt. Annotators of one name share a precision;
    `person` tells them apart (unnamed ones).
    """

    prompt: int
    annotator: str
    person: str
    answers: Sequence[int]
    ranks: Sequence[float]


class Orders(NamedTuple):
    """The rankings of all prompts with as many answers, as strict orders.

    `answers` has the answers of each prompt [prompts, answers]. All other fields are of the orders: the row of the
    prompt, the annotator, the `places` of the ranked answers in that row [orders, answers], 1 where an answer is
    `present` and 0 behind the last one, the `signs`: 1 from the best answer down and -1 from the worst one up, the
    share of its ranking, and 1 if several people ranked the prompt.
    """

    answers: Ints
    prompts: Ints
    annotators: Ints
    places: Ints
    present: Floats
    signs: Floats
    shares: Floats
    several: Floats


def strict_orders(rankings: Iterable[Ranked], names: Sequence[str]) -> list[Orders]:
    """The orders of all prompts, one group for each number of answers; `names` are the annotators by their numbers."""
    of_prompts: dict[int, list[Ranked]] = defaultdict(list)
    for ranked in rankings:
        of_prompts[ranked.prompt].append(ranked)
    by_size: dict[int, list[tuple[list[int], list[Ranked]]]] = defaultdict(list)
    for own in of_prompts.values():
        answers = sorted({answer for ranked in own for answer in ranked.answers})
        by_size[len(answers)].append((answers, own))
    number = {name: place for place, name in enumerate(names)}
    return [_group(size, given, number) for size, given in sorted(by_size.items())]


def _group(size: int, given: Sequence[tuple[list[int], list[Ranked]]], number: Mapping[str, int]) -> Orders:
    """The orders of prompts, each with its answers and its rankings."""
    rows = [
        (row, number[ranked.annotator], places, sign, share, len({one.person for one in own}) > 1)
        for row, (answers, own) in enumerate(given)
        for ranked in own
        for places, sign, share in _orders(ranked, answers)
    ]
    prompts, annotators, places, signs, shares, several = zip(*rows, strict=True)
    return Orders(
        answers=np.array([answers for answers, _ in given]),
        prompts=np.array(prompts),
        annotators=np.array(annotators),
        places=np.array([[*some, *[0] * (size - len(some))] for some in places]),
        present=np.array([[1.0] * len(some) + [0.0] * (size - len(some)) for some in places]),
        signs=np.array(signs),
        shares=np.array(shares),
        several=np.array(several, dtype=np.float64),
    )


def _orders(ranked: Ranked, answers: Sequence[int]) -> Iterator[tuple[list[int], float, float]]:
    """(places among `answers`, sign, share) of each strict order, from the best down and from the worst up.

    Tied answers take turns: each has each of their places equally often.
    """
    place = {answer: slot for slot, answer in enumerate(answers)}
    in_order = sorted(zip(ranked.ranks, [place[answer] for answer in ranked.answers], strict=True))
    levels = [_turns([slot for _, slot in tied]) for _, tied in groupby(in_order, key=lambda one: one[0])]
    turns = lcm(*map(len, levels))
    for turn in range(turns):
        order = [slot for own in levels for slot in own[turn % len(own)]]
        yield order, 1.0, 0.5 / turns
        yield order[::-1], -1.0, 0.5 / turns


def _turns(tied: Sequence[int]) -> list[Sequence[int]]:
    """Orders of tied answers: all of them up to four answers, else one that starts with each answer.

    What counts is which answers are left behind each place. Beyond four there are too many orders; those that start
    with each answer leave each answer equally often, but only neighbours together.
    """
    if len(tied) <= ALL_ORDERS:
        return list(permutations(tied))
    return [[*tied[first:], *tied[:first]] for first in range(len(tied))]
