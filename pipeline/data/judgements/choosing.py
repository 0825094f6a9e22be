"""Chooses among the pairs of a ranking, and finds pairs that contradict each other. Pure functions."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from typing import Literal

import numpy as np

PollKey = tuple[str, str, str]
"""The keys of a prompt and of two answers to it."""

PairChoice = Literal["all", "adjacent", "best_worst"]
"""Which pairs of a ranking are used: all, those of neighbours in its order, or those of its best and worst answers."""


def chosen_polls(leads: Mapping[PollKey, float], sets: Iterable[Set[PollKey]], choice: PairChoice) -> set[PollKey]:
    """The pairs to use, of each set of answers that people ranked together; `leads` are in [-1, 1] for the first.

    The order of a set's answers is that of their summed leads, which is the order of their mean ranks (Borda's). Equal
    answers share a place. Which answer of a chosen pair is better is decided by the votes on this pair alone.
    """
    if choice == "all":
        return set(leads)
    return {key for keys in sets for key in _chosen(leads, keys, choice)}


def _chosen(leads: Mapping[PollKey, float], keys: Set[PollKey], choice: PairChoice) -> list[PollKey]:
    totals: dict[str, float] = defaultdict(float)
    for prompt, first, second in sorted(keys):
        lead = leads[prompt, first, second]
        totals[first] += lead
        totals[second] -= lead
    levels = sorted({round(total, 9) for total in totals.values()})
    places = {text: levels.index(round(total, 9)) for text, total in totals.items()}
    apart = 1 if choice == "adjacent" else max(len(levels) - 1, 1)
    return [key for key in keys if abs(places[key[1]] - places[key[2]]) == apart]


def prompts_with_cycles(leads: Mapping[PollKey, float]) -> int:
    """The number of prompts with a Condorcet cycle: a beats b, b beats c, and c beats a, directly or over more answers.

    `leads` are those of decided pairs. Answers of one cycle reach each other along "beats", so they are strongly
    connected.
    """
    answers = sorted({(prompt, text) for prompt, *texts in leads for text in texts})
    place = {answer: number for number, answer in enumerate(answers)}
    beats = [
        (place[prompt, first], place[prompt, second])[:: 1 if lead > 0 else -1]
        for (prompt, first, second), lead in leads.items()
    ]
    if not beats:
        return 0
    from scipy.sparse import coo_array  # the import takes half a second
    from scipy.sparse.csgraph import connected_components

    better, worse = np.array(beats).T
    graph = coo_array((np.ones(len(beats)), (better, worse)), shape=(len(answers), len(answers)))
    _, parts = connected_components(graph, directed=True, connection="strong")
    sizes = np.bincount(parts)
    return len({prompt for (prompt, _), part in zip(answers, parts, strict=True) if sizes[part] > 1})
