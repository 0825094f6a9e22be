"""Statistics of conversations: lengths, turns, diversity, topics. Streaming, with constant memory.

Length histograms cover all rows, in bins that double; everything else uses seeded samples, so that a million rows cost
no more than ten thousand.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from pipeline.data.prompts.topics import Topic, topics_of
from pipeline.data.rows import Message, is_learned, opening
from pipeline.data.words import words_in

T = TypeVar("T")

QUANTILES = 10_000  # sampled rows for quantiles
DIVERSITY = 2_000  # sampled answers for distinct n-grams
TOPICS = 5_000  # sampled prompts for topics
MAX_SHOWN = 8  # openings, topics
LENGTHS = ("prompts", "answers", "conversations")


class Reservoir(Generic[T]):
    """A uniform sample of a stream (Vitter 1985, algorithm R); depends only on the stream and the seed."""

    def __init__(self, size: int, seed: int) -> None:
        self.items: list[T] = []
        self._size, self._seen, self._draw = size, 0, random.Random(seed)

    def add(self, item: T) -> None:
        self._seen += 1
        if len(self.items) < self._size:
            self.items.append(item)
        elif (place := self._draw.randrange(self._seen)) < self._size:
            self.items[place] = item


class Statistics:
    """Collects conversations. `unit` measures whole conversations: tokens if there is a tokenizer, else words."""

    def __init__(self, seed: int, unit: Literal["words", "tokens"] = "words") -> None:
        self.seed = seed
        self.units = {"prompts": "words", "answers": "words", "conversations": unit}
        self.rows: Counter[str] = Counter()  # of each source
        self.turns: Counter[int] = Counter()  # answers in a conversation -> rows
        self._bins: dict[str, Counter[int]] = defaultdict(Counter)
        self._lengths: Reservoir[tuple[str, tuple[int, ...]]] = Reservoir(QUANTILES, seed)
        self._answers: Reservoir[str] = Reservoir(DIVERSITY, seed)
        self._prompts: Reservoir[str] = Reservoir(TOPICS, seed)

    def add(self, messages: Sequence[Message], source: str, tokens: int = 0) -> None:
        """Add a conversation; `tokens` is its whole length if the unit is tokens."""
        prompt = "\n".join(turn["content"] for turn in opening(messages) if turn["role"] == "user")
        answers = [turn["content"] for turn in messages if is_learned(turn)]
        words = [len(turn["content"].split()) for turn in messages]
        answered = sum(count for count, turn in zip(words, messages, strict=True) if is_learned(turn))
        whole = tokens if self.units["conversations"] == "tokens" else sum(words)
        counts = (len(prompt.split()), answered, whole)
        self.rows[source] += 1
        self.turns[len(answers)] += 1
        for what, count in zip(LENGTHS, counts, strict=True):
            self._bins[what][count.bit_length()] += 1
        self._lengths.add((source, counts))
        self._answers.add(answers[-1])
        self._prompts.add(prompt)

    def lengths(self) -> dict[str, dict[str, Any]]:
        """Rows per bin and quantiles of the lengths of prompts, answers and conversations, each in its unit.

        Bin 0 holds length 0, bin k holds 2^(k-1) to 2^k - 1.
        """
        return {what: self._length(place, what) for place, what in enumerate(LENGTHS)}

    def by_source(self) -> dict[str, dict[str, float]]:
        """Source -> number of rows and median lengths."""
        found: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        for source, counts in self._lengths.items:
            found[source].append(counts)
        return {
            source: {"rows": rows, **dict(zip(LENGTHS, np.median(found[source], axis=0).tolist(), strict=True))}
            for source, rows in self.rows.items()
            if found[source]
        }

    def distinct(self) -> dict[int, float]:
        """n -> distinct n-grams as a share of all n-grams of the sampled answers, n = 1, 2, 3 (arXiv 1510.03055)."""
        return {size: distinct_share(self._answers.items, size) for size in (1, 2, 3)}

    def openings(self) -> list[tuple[str, float]]:
        """The first two words of prompts and their shares, the most frequent first."""
        begun = Counter(" ".join(words_in(prompt)[:2]) for prompt in self._prompts.items)
        return [(words, count / len(self._prompts.items)) for words, count in begun.most_common(MAX_SHOWN) if words]

    def topics(self) -> list[Topic]:
        """The topics of the sampled prompts."""
        return topics_of(self._prompts.items, MAX_SHOWN, self.seed)

    def metrics(self) -> dict[str, float]:
        """The figures for a manifest."""
        lengths, distinct = self.lengths(), self.distinct()
        return {
            **{f"{what}/median_{self.units[what]}": float(found["median"]) for what, found in lengths.items()},
            **{f"distinct_{size}": share for size, share in distinct.items()},
            **{f"kept/{source}": float(rows) for source, rows in self.rows.items() if len(self.rows) > 1},
            "answers_per_row": sum(turns * rows for turns, rows in self.turns.items()) / max(1, self.rows.total()),
        }

    def _length(self, place: int, what: str) -> dict[str, Any]:
        counts, bins = [one[place] for _, one in self._lengths.items], self._bins[what]
        median, high = np.quantile(counts, [0.5, 0.95]).tolist() if counts else (0, 0)
        return {
            "unit": self.units[what],
            "counts": [bins[k] for k in range(max(bins, default=0) + 1)],
            "median": median,
            "p95": high,
        }


def distinct_share(texts: Sequence[str], size: int) -> float:
    """Distinct n-grams of `size` words as a share of all; 0 without n-grams."""
    runs: list[tuple[str, ...]] = []
    for text in texts:
        words = words_in(text)
        runs += zip(*(words[start:] for start in range(size)), strict=False)
    return len(set(runs)) / len(runs) if runs else 0.0
