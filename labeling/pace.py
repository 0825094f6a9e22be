"""How fast annotators answer, from the times of their answers, and whether the texts can be read that fast.

Pure functions. An answer's time is known, the time at which its task was opened is not: a task takes at most the time
since the same annotator's answer before. Gaps above `BREAK` are pauses; those below `BY_HAND` come from a program, such
as an import or a snapshot that was put back. Both are left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from labeling.backend import AnnotatorAnswer
from labeling.intervals import Estimate, median_interval, wilson
from labeling.records import Task

BREAK = 1800.0  # seconds between two answers from which on they are not one sitting
BY_HAND = 1.0  # fewest seconds between two answers of a person
CHARACTERS_PER_SECOND = 60.0  # 600 words a minute; people read about 238 (Brysbaert 2019)
MIN_TIMED = 10  # answers; with fewer, an annotator's pace is not assessed


class Pace(NamedTuple):
    """One annotator's seconds per task (the median), and how many of the timed answers came too fast."""

    seconds: Estimate
    reading: float  # median of the fewest seconds in which the texts of these tasks can be read
    too_fast: int
    timed: int

    def is_too_fast(self, z: float) -> bool:
        """Whether more than half of the answers are shown to come too fast, at z standard errors."""
        return self.timed >= MIN_TIMED and wilson(self.too_fast / self.timed, self.timed, z).low > 0.5

    def says(self) -> str:
        """The figures in words."""
        return (
            f"{self.too_fast:,} of {self.timed:,} answers; median {self.seconds.value:.0f} s, where reading takes "
            f"{self.reading:.0f} s or more"
        )


def reading_seconds(task: Task) -> float:
    """The fewest seconds in which a person can read the prompt and the responses."""
    texts = [*(turn["content"] for turn in task["prompt"]), *task["responses"]]
    return sum(map(len, texts)) / CHARACTERS_PER_SECOND


def paces(answers: Iterable[AnnotatorAnswer], reading: Mapping[str, float]) -> dict[str, Pace]:
    """Annotator -> pace, sorted by name; without annotators whose answers have no times.

    `reading` maps a task to the fewest seconds to read it. Discarded answers only mark the time from which the next
    task was open.
    """
    given: dict[str, list[tuple[datetime, AnnotatorAnswer]]] = defaultdict(list)
    for answer in answers:
        if when := answer.get("answered"):
            given[answer["annotator"]].append((datetime.fromisoformat(when), answer))
    found = {}
    for name, own in sorted(given.items()):
        ordered = sorted(own, key=lambda timed: timed[0])
        gaps = [
            (seconds, reading[answer["task"]])
            for (before, _), (after, answer) in pairwise(ordered)
            if BY_HAND <= (seconds := (after - before).total_seconds()) <= BREAK
            and answer["status"] == "submitted"
            and answer["task"] in reading
        ]
        if gaps:
            found[name] = Pace(
                median_interval([seconds for seconds, _ in gaps]),
                median(least for _, least in gaps),
                sum(seconds < least for seconds, least in gaps),
                len(gaps),
            )
    return found
