"""Simulated annotators of known noise and bias, for the demo and for tests.

Thurstone's model of comparative judgement (1927, case V): an annotator perceives each response's quality plus Gaussian
noise, and ranks the perceived values. Let two responses differ by ``gap`` in quality, let each be perceived with noise
of standard deviation s, and let perceived differences up to w count as ties. The perceived difference is Normal(gap, s
* sqrt(2)), hence, with F the standard normal's distribution function,

    P(better one preferred) = F((gap - w) / (s sqrt 2))        P(worse one preferred) = F((-gap - w) / (s sqrt 2))

and two annotators, independent given the responses, agree with the sum of the squares of the three outcomes'
probabilities. With w = 0 and a gap of 1:

    noise       0      0.25   0.5    1      2      4
    accuracy    1.00   1.00   0.92   0.76   0.64   0.57
    agreement   1.00   1.00   0.86   0.64   0.54   0.51

People agree on 65-73% of pairs of summaries (``users.md``): about noise = gap.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labeling.records import Message, Ranking, Ranks, Task, ranks_from_scores, stable_random

Quality = Callable[[list[Message], str], float]
"""(prompt, response) -> quality of the response; higher is better."""


@dataclass(frozen=True)
class SimulatedAnnotator:
    """One annotator.

    name: the pseudonym of the ranks.
    noise: standard deviation of the error in each perceived quality, in the units of quality; 0 never errs.
    tie_width: perceived qualities at most this far apart are ranked as a tie.
    length_bias: added to the perceived quality per doubling of a response's words; 0 is unbiased.
    sense: factor of the quality: 1 sees it, 0 sees none of it and answers at random, -1 prefers the worse.
    """

    name: str
    noise: float = 0.0
    tie_width: float = 0.0
    length_bias: float = 0.0
    sense: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for a noise or a tie width that is negative or not finite."""
        for field in ("noise", "tie_width"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"annotator {self.name!r}: {field} must be a finite number from 0, but is {value}")

    def perceive(self, task: Task, quality: Quality, seed: int) -> list[float]:
        """The perceived quality of each response, in the shown order.

        The error depends only on seed, annotator, task id and response text, not on other tasks, their order or the
        slot. So these annotators have no position bias.
        """

        def perceived(response: str) -> float:
            error = stable_random(seed, "perceive", self.name, task["id"], response).gauss(0.0, self.noise)
            seen = self.sense * quality(task["prompt"], response)
            return seen + self.length_bias * _doublings(response) + error

        return [perceived(response) for response in task["responses"]]

    def rank(self, task: Task, quality: Quality, seed: int) -> list[int]:
        """Ranks, one per response, in the shown order."""
        return ranks_from_scores(self.perceive(task, quality, seed), self.tie_width)


def _doublings(response: str) -> float:
    """The length in words on a log2 scale; an empty response counts as one word."""
    return math.log2(max(1, len(response.split())))


def assign(task_ids: Sequence[str], names: Sequence[str], overlap: int, seed: int) -> dict[str, list[str]]:
    """Task id -> its ``overlap`` annotators; loads differ by at most one task.

    Each task takes the annotators with the smallest load so far; a random order per task decides among equal loads, so
    that pairs of annotators vary. Independent of the order of the tasks.

    Raises ValueError if ``overlap`` is below 1 or above the number of annotators, or if two share a name.
    """
    if len(set(names)) < len(names):
        raise ValueError(f"two annotators have the same name: {sorted(names)}")
    if not 1 <= overlap <= len(names):
        raise ValueError(f"overlap must be between 1 and the number of annotators, {len(names)}, but is {overlap}")
    load: Counter[str] = Counter()
    assigned = {}
    for task_id in sorted(task_ids):
        drawn = sorted(names)
        stable_random(seed, "assign", task_id).shuffle(drawn)
        chosen = sorted(drawn, key=lambda name: load[name])[:overlap]
        load.update(chosen)
        assigned[task_id] = sorted(chosen)
    return assigned


def annotate(
    tasks: Sequence[Task],
    annotators: Sequence[SimulatedAnnotator],
    overlap: int,
    seed: int,
    quality: Quality,
    most: int | None = None,
) -> list[Ranking]:
    """Each task ranked by ``overlap`` of the annotators (see ``assign``), in the tasks' order.

    With ``most``, one annotator more ranks it while some pair has as many votes on each side, up to ``most`` of them.
    Raises ValueError as ``assign`` does.
    """
    from labeling.server.inside.opinions import are_settled  # loads httpx

    by_name = {annotator.name: annotator for annotator in annotators}
    names = [annotator.name for annotator in annotators]
    assigned = assign([task["id"] for task in tasks], names, overlap, seed)
    ranked: list[Ranking] = []
    for task in tasks:
        own = assigned[task["id"]]
        ranks = {name: by_name[name].rank(task, quality, seed) for name in own}
        while most is not None and len(ranks) < most and not are_settled(list(ranks.values())):
            name = stable_random(seed, "more", task["id"], len(ranks)).choice(sorted(set(names) - set(ranks)))
            ranks[name] = by_name[name].rank(task, quality, seed)
        rows: list[Ranks] = [{"annotator": name, "ranks": ranks[name]} for name in sorted(ranks)]
        ranked.append({"id": task["id"], "prompt": task["prompt"], "responses": task["responses"], "rankings": rows})
    return ranked
