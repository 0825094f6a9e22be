"""Turns rankings and ready-made pairs into preference rows, by majority, with a margin. Pure functions."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple, cast

import numpy as np

from labeling.records import Ranking, check_ranking
from labeling.votes import is_unnamed, normalized_text, prompt_key
from pipeline.data.deduplication.minhash import connected
from pipeline.data.formats.labels import POOLED_ANNOTATOR
from pipeline.data.judgements.choosing import PairChoice, PollKey, chosen_polls, prompts_with_cycles
from pipeline.data.judgements.pairs import digest
from pipeline.data.judgements.polls import (
    Outcome,
    Poll,
    UnweightedPool,
    add_votes,
    answer_turns,
    decides,
    outcome_of,
    pair_row,
)
from pipeline.data.judgements.weighted import Pool, opinions_in, weighted_outcomes
from pipeline.data.rows import Message, Preference, as_messages, prompt_id

MIN_ANNOTATORS_FOR_JUDGE_SPLIT = 6  # with fewer, the judge learns from the same annotators as the policies


class Preferences(NamedTuple):
    """Preference rows and counts: ``pairs``, ``ties`` and, for rankings, ``rankings`` and ``annotators``."""

    rows: list[Preference]
    counts: dict[str, int]
    cycles: int = 0  # prompts whose pairs contradict each other: a beats b, b beats c, c beats a
    unused: int = 0  # pairs with a majority that `pairs` does not choose


def preferences_from_rankings(
    rankings: Iterable[Ranking], pool: Pool = "majority", pairs: PairChoice = "all"
) -> Preferences:
    """A preference for each pair of responses to a prompt on which annotators reach a majority.

    Each annotator votes for one response of the pair, for the other, or for a tie. The chosen response has more than
    half of all votes, ties among them; its margin is (votes for - votes against) / votes, in (0, 1]. Otherwise the pair
    is a tie and gives no row: DPO and the reward model would learn a difference that most annotators did not see. With
    `pool="net"` more votes for than against are enough. With `pool="weighted"` votes count by the reliability of their
    annotators (``weighted.weighted_outcomes``). Each row has its ``label_noise``, from the votes
    (``polls.label_noise``) or by the model of annotators. `pairs` chooses among the pairs of a ranking
    (``choosing.chosen_polls``).

    Votes on the same two texts are pooled over all slots and rankings of the prompt: a pair and its mirror never come
    from one prompt, and identical responses form no pair. If an annotator ranked two responses in several rankings, the
    last one counts. The order of the slots does not matter. ``group`` is the id of the first ranking: pairs of one
    ranking share responses, so they are not independent.

    Raises ValueError, naming the ranking, if the ranks cannot be read (``labeling.records.check_ranking``).
    """
    polls: dict[PollKey, Poll] = {}
    spelled: dict[str, str | list[Message]] = {}
    people: set[str] = set()
    sets: dict[frozenset[PollKey], None] = {}
    rankings = list(rankings)
    for ranking in rankings:
        check_ranking(ranking)
        people.update(normalized_text(name) for name in people_in([ranking]))
        sets.setdefault(frozenset(add_votes(ranking, polls, spelled)))
    outcomes = _outcomes_of(polls, rankings, pool)
    decided = {key: outcome for key, outcome in outcomes.items() if outcome.row is not None}
    leads = {key: outcome.lead for key, outcome in outcomes.items()}
    used = chosen_polls(leads, sets, pairs)
    rows = [outcome.row for key, outcome in decided.items() if key in used and outcome.row is not None]
    ties, cycles = len(outcomes) - len(decided), prompts_with_cycles({key: leads[key] for key in decided})
    counts = {"pairs": len(rows), "ties": ties, "rankings": len(rankings), "annotators": len(people)}
    return Preferences(rows, counts, cycles, len(decided) - len(rows))


def _outcomes_of(polls: Mapping[PollKey, Poll], rankings: Sequence[Ranking], pool: Pool) -> dict[PollKey, Outcome]:
    if pool == "weighted":
        return dict(zip(polls, weighted_outcomes(polls, opinions_in(rankings)), strict=True))
    return {key: outcome_of(poll, pool) for key, poll in polls.items()}


def people_in(rankings: Iterable[Ranking]) -> set[str]:
    """The named annotators, without unnamed votes and without votes pooled from many marks."""
    names = {row["annotator"] for ranking in rankings for row in ranking["rankings"]}
    return {name for name in names if not is_unnamed(name) and name != POOLED_ANNOTATOR}


def preferences_from_pairs(pairs: Iterable[Mapping[str, Any]], pool: UnweightedPool = "majority") -> Preferences:
    """Ready-made pairs as preference rows; prompt and responses may be text or messages.

    ``margin`` defaults to 1.0 and ``group`` to the prompt's id. Pairs of the same two answers to a prompt are pooled:
    the margin is the mean of theirs, negative for pairs that chose the other answer, and one answer must have a
    majority, as in ``preferences_from_rankings``. Pairs of identical responses and of margin 0 are ties and give no
    row. Annotators are unknown, so annotators and rankings are not counted.

    Raises ValueError for a margin outside [0, 1].
    """
    pooled: dict[bytes, tuple[Preference, bytes, list[float]]] = {}
    spelled: dict[bytes, list[Message]] = {}  # each prompt in its first spelling
    for pair in pairs:
        margin = float(pair.get("margin", 1.0))
        if not 0 <= margin <= 1:
            raise ValueError(f"margin must be between 0 and 1, but is {margin} for prompt {pair['prompt']!r}")
        own = as_messages(pair["prompt"])
        prompt = spelled.setdefault(digest(prompt_key(own)), own)
        group = pair.get("group") or prompt_id(prompt)
        row = pair_row(prompt, answer_turns(pair["chosen"]), answer_turns(pair["rejected"]), margin, group)
        answers = [prompt_key(row["chosen"]), prompt_key(row["rejected"])]
        if answers[0] == answers[1]:  # they differ at most in whitespace or case
            answers = [json.dumps(row["chosen"]), json.dumps(row["rejected"])]
        key, first = digest(prompt_key(prompt), *sorted(answers)), digest(answers[0])
        _, chosen, margins = pooled.setdefault(key, (row, first, []))
        margins.append(margin if first == chosen else -margin)
    several = len(pooled)
    outcomes = (_outcome(row, margins, pool) for row, _, margins in map(pooled.pop, list(pooled)))
    rows = [row for row in outcomes if row is not None]
    return Preferences(rows, {"pairs": len(rows), "ties": several - len(rows)})


def _outcome(row: Preference, margins: Sequence[float], pool: UnweightedPool) -> Preference | None:
    """A pooled pair; None for a tie. A margin is negative if the pair chose the answer that `row` rejects."""
    if row["chosen"] == row["rejected"] or not decides(margins, pool):
        return None
    mean = sum(margins) / len(margins)
    chosen, rejected = (row["chosen"], row["rejected"]) if mean > 0 else (row["rejected"], row["chosen"])
    return pair_row(row["prompt"], chosen, rejected, abs(mean), row["group"])


class Split(NamedTuple):
    """Preference rows by purpose. No prompt and no group is in two of the lists."""

    train: list[Preference]
    test: list[Preference]
    judge: list[Preference]  # for training the independent judge
    judge_test: list[Preference]


def split_preferences(
    rows: Sequence[Preference],
    test_share: float,
    seed: int,
    *,
    judge_share: float = 0.0,
    judge_rows: Sequence[Preference] | None = None,
) -> Split:
    """Rows for training, for testing and for the judge, each in the given order.

    Split by prompt, not by row or ranking (arXiv 2203.02155): a model that saw one pair of a prompt has seen the
    prompt. Rows that share a prompt or a group, directly or through other rows, form a cluster and stay together. The
    shares are shares of clusters, rounded. The judge's own test part is ``test_share`` of its clusters, at least one if
    it has two. The choice depends on the seed and the set of rows, not on their order.

    ``judge_rows`` fill the judge's clusters if other annotators judged for it (``split_off_judge_annotators``); by
    default they are ``rows``.

    Raises ValueError for a share outside [0, 1).
    """
    for name, share in (("test_share", test_share), ("judge_share", judge_share)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} must be in [0, 1), but is {share}")
    judge_source = rows if judge_rows is None else judge_rows
    clusters = _clusters(rows if judge_rows is None else [*rows, *judge_rows])
    own, judges = clusters[: len(rows)], clusters[-len(judge_source) :] if judge_source else []
    names = sorted(set(clusters))
    test = set(random.Random(seed).sample(names, round(test_share * len(names))))
    eligible = sorted(set(judges) - test)
    count = min(len(eligible), round(judge_share * len(names)))
    judge = random.Random(f"judge {seed}").sample(eligible, count)
    judge_test = set(judge[: max(round(test_share * count), min(1, count - 1))])
    held_out, judge_train = test.union(judge), set(judge) - judge_test
    return Split(
        [row for row, cluster in zip(rows, own, strict=True) if cluster not in held_out],
        [row for row, cluster in zip(rows, own, strict=True) if cluster in test],
        [row for row, cluster in zip(judge_source, judges, strict=True) if cluster in judge_train],
        [row for row, cluster in zip(judge_source, judges, strict=True) if cluster in judge_test],
    )


class JudgeSplit(NamedTuple):
    """Rankings of two groups of annotators: most of them, and those who only teach the judge."""

    rankings: list[Ranking]
    judges: list[Ranking]
    annotators: list[str]  # those who teach the judge; empty if there are too few annotators


def split_off_judge_annotators(rankings: Sequence[Ranking], judge_share: float, seed: int) -> JudgeSplit:
    """Reserve a share of the annotators, at least two, for the judge alone.

    A judge that learned from the same annotators as a policy shares their quirks. No annotator's ranks are in both
    halves; unnamed votes are in the first half only. A ranking without votes of a half is left out of that half. With
    fewer than ``MIN_ANNOTATORS_FOR_JUDGE_SPLIT`` annotators, or with ``judge_share`` 0, both halves are all rankings,
    and only the prompts make the judge independent.
    """
    names = sorted(people_in(rankings))
    if len(names) < MIN_ANNOTATORS_FOR_JUDGE_SPLIT or not judge_share:
        return JudgeSplit(list(rankings), list(rankings), [])
    count = min(max(2, round(judge_share * len(names))), len(names) // 2)
    chosen = sorted(random.Random(f"annotators {seed}").sample(names, count))
    others = {row["annotator"] for ranking in rankings for row in ranking["rankings"]} - set(chosen)
    return JudgeSplit(rankings_by(rankings, others), rankings_by(rankings, set(chosen)), chosen)


def rankings_by(rankings: Iterable[Ranking], names: Set[str]) -> list[Ranking]:
    """The rankings with the ranks of these annotators only; rankings without any are left out."""
    own = ({**r, "rankings": [row for row in r["rankings"] if row["annotator"] in names]} for r in rankings)
    return [cast(Ranking, ranking) for ranking in own if ranking["rankings"]]


def _clusters(rows: Sequence[Preference]) -> list[str]:
    """The name of each row's cluster: alphabetically the first of its connected prompts and groups."""
    prompts = ["prompt " + prompt_id(row["prompt"]) for row in rows]
    groups = ["group " + row["group"] for row in rows]
    names = sorted({*prompts, *groups})
    place = {name: number for number, name in enumerate(names)}
    links = [np.fromiter((place[name] for name in side), np.int64, len(rows)) for side in (prompts, groups)]
    labels = connected(len(names), np.stack(links, axis=1)).tolist()
    first = dict(zip(labels[::-1], names[::-1], strict=True))  # of several, the last one put in stays
    return [first[labels[place[prompt]]] for prompt in prompts]
