"""Rankings to preference rows: what people preferred, by majority, with a margin.

Pure functions: rankings or ready-made pairs in, rows and counts out.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from labeling.records import Ranking, check_ranking, compare
from pipeline.data.rows import Message, Preference, as_messages, prompt_id


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


def split_by_prompt(
    rows: Sequence[Preference], test_share: float, seed: int
) -> tuple[list[Preference], list[Preference]]:
    """Training rows and test rows, in the given order, with no prompt and no group on both sides.

    Split by prompt, not by row or ranking: a model that saw one pair of a prompt has seen the prompt. Rows that share a
    prompt or a group stay together, at any remove; ``test_share`` is a share of these clusters, rounded. Which ones
    depends on the seed and the set of rows, not on their order.

    Raises ValueError for a share outside [0, 1).
    """
    if not 0 <= test_share < 1:
        raise ValueError(f"test_share must be in [0, 1), but is {test_share}")
    clusters = _clusters(rows)
    names = sorted(set(clusters))
    test = set(random.Random(seed).sample(names, round(test_share * len(names))))
    sides: dict[bool, list[Preference]] = {False: [], True: []}
    for row, cluster in zip(rows, clusters, strict=True):
        sides[cluster in test].append(row)
    return sides[False], sides[True]


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
