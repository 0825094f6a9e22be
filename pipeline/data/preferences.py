"""Rankings to preference rows: what people preferred, by majority, with a margin.

Pure functions: rankings or ready-made pairs in, rows and counts out.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import combinations
from typing import Any, NamedTuple, cast

from labeling.records import Ranking, check_ranking, compare
from pipeline.data.rows import Message, Preference, as_messages, prompt_id

ENOUGH = 6  # annotators from which on some of them can be the judge's alone


class Preferences(NamedTuple):
    """Preference rows, and what they were made from: ``pairs``, ``ties`` and, of rankings, who gave how many."""

    rows: list[Preference]
    counts: dict[str, int]


def preferences_from_rankings(rankings: Iterable[Ranking]) -> Preferences:
    """A preference for each pair of a ranking's responses on which annotators have a majority.

    Each annotator votes for one response of the pair, for the other, or for a tie. The response with more votes is
    chosen, by the margin (votes for - votes against) / votes, in (0, 1]; ties count as votes, so they lower the margin
    and never turn a pair round. Equally many votes for both, and none at all, are a tie and give no row: DPO and the
    reward model would learn a difference that nobody saw.

    Identical responses never form a pair, and the votes on all slots with the same two texts are pooled: a pair and
    its mirror never come from one ranking. The rows do not depend on the order of the slots. ``group`` is the
    ranking's id: pairs of one ranking share responses, so they are no independent observations.

    Raises ValueError, naming the ranking, if the ranks cannot be read (``labeling.records.check_ranking``).
    """
    rows: list[Preference] = []
    counts = {"pairs": 0, "ties": 0, "rankings": 0}
    annotators: set[str] = set()
    for ranking in rankings:
        check_ranking(ranking)
        counts["rankings"] += 1
        annotators.update(row["annotator"] for row in ranking["rankings"])
        for (first, second), votes in sorted(_votes(ranking).items()):
            lead = sum(votes)
            if lead == 0:
                counts["ties"] += 1
                continue
            chosen, rejected = (first, second) if lead > 0 else (second, first)
            margin = abs(lead) / len(votes)
            rows.append(_row(as_messages(ranking["prompt"]), _answer(chosen), _answer(rejected), margin, ranking["id"]))
    return Preferences(rows, {**counts, "pairs": len(rows), "annotators": len(annotators)})


def _votes(ranking: Ranking) -> dict[tuple[str, str], list[int]]:
    """(text, other text), in alphabetical order -> the votes: 1 for the first, -1 for the second, 0 for a tie."""
    responses = ranking["responses"]
    votes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one, other in combinations(range(len(responses)), 2):
        if responses[one] == responses[other]:
            continue
        first, second = sorted((one, other), key=lambda slot: responses[slot])
        cast = [compare(row["ranks"], first, second) for row in ranking["rankings"]]
        votes[responses[first], responses[second]] += cast
    return votes


def preferences_from_pairs(pairs: Iterable[Mapping[str, Any]]) -> Preferences:
    """Ready-made pairs as preference rows; prompt and responses may be text or messages.

    What the pair says is kept: ``margin`` is 1.0 and ``group`` the prompt's id where they are absent. Pairs of
    identical responses and pairs of margin 0 are ties and give no row. Who judged the pairs is not known, so annotators
    and rankings are not counted.

    Raises ValueError for a margin outside [0, 1].
    """
    rows: list[Preference] = []
    ties = 0
    for pair in pairs:
        margin = float(pair.get("margin", 1.0))
        if not 0 <= margin <= 1:
            raise ValueError(f"margin must be between 0 and 1, but is {margin} for prompt {pair['prompt']!r}")
        prompt = as_messages(pair["prompt"])
        group = pair.get("group") or prompt_id(prompt)
        row = _row(prompt, _answer(pair["chosen"]), _answer(pair["rejected"]), margin, group)
        if margin == 0 or row["chosen"] == row["rejected"]:
            ties += 1
        else:
            rows.append(row)
    return Preferences(rows, {"pairs": len(rows), "ties": ties})


def _row(
    prompt: list[Message], chosen: list[Message], rejected: list[Message], margin: float, group: str
) -> Preference:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "margin": margin, "group": group}


def _answer(content: str | list[Message]) -> list[Message]:
    """An answer as messages: text is what the assistant said."""
    return [{"role": "assistant", "content": content}] if isinstance(content, str) else content


class Split(NamedTuple):
    """Preference rows by what they are for. No prompt and no group is in two of them."""

    train: list[Preference]
    test: list[Preference]
    judge: list[Preference]  # what the independent judge learns from
    judge_test: list[Preference]


def split_by_prompt(
    rows: Sequence[Preference],
    test_share: float,
    seed: int,
    *,
    judge_share: float = 0.0,
    judge_rows: Sequence[Preference] | None = None,
) -> Split:
    """Rows to train and to test on, and those set apart for the judge, each in the given order.

    Split by prompt, not by row or ranking (arXiv 2203.02155): a model that saw one pair of a prompt has seen the
    prompt. Rows that share a prompt or a group stay together, at any remove; the shares are shares of these clusters,
    rounded, and the judge's own test part is ``test_share`` of its clusters, at least one where it has two. Which ones
    depends on the seed and the set of rows, not on their order.

    ``judge_rows`` are what the judge's clusters are filled with, where other people judged for it (``apart``); the same
    rows if absent.

    Raises ValueError for a share outside [0, 1).
    """
    for name, share in (("test_share", test_share), ("judge_share", judge_share)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} must be in [0, 1), but is {share}")
    judged = rows if judge_rows is None else judge_rows
    clusters = _clusters([*rows, *judged])
    own, judges = clusters[: len(rows)], clusters[len(rows) :]
    names = sorted(set(clusters))
    test = set(random.Random(seed).sample(names, round(test_share * len(names))))
    eligible = sorted(set(judges) - test)
    count = min(len(eligible), round(judge_share * len(names)))
    judge = random.Random(f"judge {seed}").sample(eligible, count)
    judge_test = set(judge[: max(round(test_share * count), min(1, count - 1))])
    return Split(
        [row for row, cluster in zip(rows, own, strict=True) if cluster not in test.union(judge)],
        [row for row, cluster in zip(rows, own, strict=True) if cluster in test],
        [row for row, cluster in zip(judged, judges, strict=True) if cluster in set(judge) - judge_test],
        [row for row, cluster in zip(judged, judges, strict=True) if cluster in judge_test],
    )


class Apart(NamedTuple):
    """Rankings by two groups of people: what most of them said, and what those who only teach the judge said."""

    rankings: list[Ranking]
    judges: list[Ranking]
    annotators: list[str]  # who teaches the judge; none where there are too few people


def apart(rankings: Sequence[Ranking], judge_share: float, seed: int) -> Apart:
    """Where at least ``ENOUGH`` people ranked, a share of them (two at least) for the judge alone.

    A judge that learned from the very people whose tastes a policy was trained on shares their quirks. Nobody's ranks
    are in both halves; a ranking in which a half has no say is left out of it. With fewer people, or ``judge_share`` 0,
    both halves are all that was said, and other prompts alone make the judge independent.
    """
    names = sorted({row["annotator"] for ranking in rankings for row in ranking["rankings"]})
    if len(names) < ENOUGH or not judge_share:
        return Apart(list(rankings), list(rankings), [])
    count = min(max(2, round(judge_share * len(names))), len(names) // 2)
    chosen = sorted(random.Random(f"annotators {seed}").sample(names, count))
    return Apart(said_by(rankings, set(names) - set(chosen)), said_by(rankings, set(chosen)), chosen)


def said_by(rankings: Iterable[Ranking], names: Set[str]) -> list[Ranking]:
    """The rankings with the ranks of these annotators only, where there are any."""
    said = ({**r, "rankings": [row for row in r["rankings"] if row["annotator"] in names]} for r in rankings)
    return [cast(Ranking, ranking) for ranking in said if ranking["rankings"]]


def _clusters(rows: Sequence[Preference]) -> list[str]:
    """For each row, its cluster's name: the first in the alphabet of the prompts and groups that hang together."""
    leads_to: dict[str, str] = {}

    def name(node: str) -> str:
        while (above := leads_to.setdefault(node, node)) != node:
            leads_to[node] = leads_to[above]
            node = above
        return node

    prompts = ["prompt " + prompt_id(row["prompt"]) for row in rows]
    for row, prompt in zip(rows, prompts, strict=True):
        first, second = sorted((name(prompt), name("group " + row["group"])))
        leads_to[second] = first
    return [name(prompt) for prompt in prompts]
