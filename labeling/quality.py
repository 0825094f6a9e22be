"""Assesses annotators by tasks that all of them rank. Pure functions.

Three measures, since each finds faults that the others miss. *Consistency*: the same task in other slots gets the same
ranks (intra-annotator agreement: "stability", the weakest form of reliability, in Krippendorff, Content Analysis, 2004,
chapter 11; Abercrombie, Rieser and Hovy 2023, arXiv:2301.10684). Annotators who answer by slot or at random fail it.
*Accuracy*: tasks with known ranks get these ranks ("gold"; Snow et al. 2008, "Cheap and Fast - But is it Good?").
*Agreement* with the others' majority: `labeling.agreement`.
"""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple, TypedDict

from labeling.agreement import agreement_with_others
from labeling.backend import AnnotatorAnswer
from labeling.intervals import Estimate, wilson
from labeling.records import Message, Ranking, SlotMap, Task, check_ranking, compare, stable_random


class Repeat(TypedDict):
    """The original of a repeated task: its id, and for each slot of the repeat the response's slot in the original."""

    task: str
    slots: list[int]


class Checks(TypedDict):
    """The key to the mixed-in checks, as JSON; never shown to annotators."""

    repeats: dict[str, Repeat]  # id of a repeat -> its original
    gold: dict[str, list[int]]  # id of a gold task -> its known ranks, in the shown order


class CheckedQueue(NamedTuple):
    """The tasks for all annotators, in order; the slots of policies' answers (not of gold); the key to the checks."""

    tasks: list[Task]
    slot_map: SlotMap
    checks: Checks


def choose_calibration(tasks: Sequence[Task], count: int, seed: int) -> tuple[list[Task], list[Task]]:
    """(the `count` tasks for all annotators, all other tasks), both in the given order.

    The choice depends on the seed and each task's id, not on the order or the set of tasks; a larger `count` extends a
    smaller one.
    """
    drawn = sorted(tasks, key=lambda task: (stable_random(seed, "calibration", task["id"]).random(), task["id"]))
    chosen = {task["id"] for task in drawn[: max(count, 0)]}
    return [task for task in tasks if task["id"] in chosen], [task for task in tasks if task["id"] not in chosen]


def make_checks(
    tasks: Sequence[Task], slot_map: SlotMap, *, repeats: float, gold: Sequence[Ranking], seed: int
) -> CheckedQueue:
    """The given tasks with repeats and gold mixed in, indistinguishable for annotators.

    `repeats` is the share of repeated tasks (at least one task if above 0). Use tasks for all annotators, since an
    annotator must rank both. A repeat has its responses in another order and comes at least half the queue after its
    original, if the queue is answered in order. `gold` are rankings with one row of known ranks; their slots are
    shuffled, too, and their prompts become messages. New ids are hashes of 16 hexadecimal digits, like those of
    ordinary tasks.

    Raises ValueError for a share outside [0, 1], gold without exactly one row of valid ranks, and repeated gold.
    """
    if not 0 <= repeats <= 1:
        raise ValueError(f"repeats is a share of the tasks, between 0 and 1, but is {repeats}")
    queue = sorted(tasks, key=lambda task: task["id"])
    stable_random(seed, "queue").shuffle(queue)
    checks: Checks = {"repeats": {}, "gold": {}}
    slots = {task["id"]: slot_map[task["id"]] for task in tasks}
    again: list[Task] = []
    for task in queue[: max(repeats > 0, round(repeats * len(queue)))]:
        shown, order = _reslotted(task, "repeat", seed)
        checks["repeats"][shown["id"]] = {"task": task["id"], "slots": order}
        slots[shown["id"]] = [slot_map[task["id"]][slot] for slot in order]
        again.append(shown)
    head = max(len(queue) // 2, len(again))  # holds the originals; the repeats follow
    queue = queue[:head] + _interleaved(queue[head:], again, seed)
    known = [_gold_task(ranking, seed) for ranking in gold]
    checks["gold"] = {task["id"]: ranks for task, ranks in known}
    queue = _interleaved(queue, [task for task, _ in known], seed)
    if len({task["id"] for task in queue}) < len(queue):
        raise ValueError("two tasks or two gold rankings have the same id: give each a name of its own")
    return CheckedQueue(queue, slots, checks)


def _reslotted(task: Task, kind: str, seed: int) -> tuple[Task, list[int]]:
    """(the task under an opaque id with reordered responses, the original slot of each response)."""
    slots = list(range(len(task["responses"])))
    draw, order = stable_random(seed, kind, task["id"]), slots
    while order == slots and len(slots) > 1:
        order = draw.sample(slots, len(slots))
    name = hashlib.sha256(json.dumps([seed, kind, task["id"]]).encode()).hexdigest()[:16]
    return {"id": name, "prompt": task["prompt"], "responses": [task["responses"][slot] for slot in order]}, order


def _gold_task(ranking: Ranking, seed: int) -> tuple[Task, list[int]]:
    check_ranking(ranking)
    if len(ranking["rankings"]) != 1:
        raise ValueError(
            f"gold {ranking['id']!r}: needs the known ranks alone, one row in 'rankings', "
            f"but has {len(ranking['rankings'])}"
        )
    asked = ranking["prompt"]
    prompt = [Message(role="user", content=asked)] if isinstance(asked, str) else asked
    task, order = _reslotted({"id": ranking["id"], "prompt": prompt, "responses": ranking["responses"]}, "gold", seed)
    ranks = ranking["rankings"][0]["ranks"]
    return task, [ranks[slot] for slot in order]


def _interleaved(ours: Sequence[Task], others: Sequence[Task], seed: int) -> list[Task]:
    """Both lists merged at random, each in its own order."""
    from_others = [False] * len(ours) + [True] * len(others)
    stable_random(seed, "mixed", len(ours), len(others)).shuffle(from_others)
    left, right = iter(ours), iter(others)
    return [next(right if other else left) for other in from_others]


class Share(NamedTuple):
    """A share of `comparisons` pairs of responses, of so many tasks; NaN without comparisons."""

    share: float
    comparisons: int
    tasks: int = 0

    def interval(self) -> Estimate:
        """The share with its 95% interval, which counts tasks: the pairs of one task are not independent."""
        return wilson(self.share, self.tasks)


def share_of(tasks: Sequence[Sequence[bool]]) -> Share:
    """The share of pairs that hold, given for each task; each task has one pair or more."""
    held = [one for task in tasks for one in task]
    return Share(sum(held) / len(held), len(held), len(tasks))


@dataclass(frozen=True)
class AnnotatorQuality:
    """The measures of one annotator. With few comparisons they are unreliable."""

    submitted: int
    discarded: int
    consistency: Share  # with oneself, on repeats
    accuracy: Share  # on gold
    agreement: Share  # with the majority of the others


def annotator_quality(
    answers: Sequence[AnnotatorAnswer], rankings: Sequence[Ranking], checks: Checks
) -> dict[str, AnnotatorQuality]:
    """Annotator -> quality, sorted by name. `answers` are all of a round, `rankings` those without the checks."""
    counted = {status: Counter(a["annotator"] for a in answers if a["status"] == status) for status in _STATUSES}
    consistent, accurate = consistency(answers, checks["repeats"]), accuracy(answers, checks["gold"])
    others = agreement_with_others(rankings)
    nothing = Share(math.nan, 0)
    return {
        name: AnnotatorQuality(
            submitted=counted["submitted"][name],
            discarded=counted["discarded"][name],
            consistency=consistent.get(name, nothing),
            accuracy=accurate.get(name, nothing),
            agreement=Share(*others[name]) if name in others else nothing,
        )
        for name in sorted({answer["annotator"] for answer in answers} | set(others))
    }


def consistency(answers: Iterable[AnnotatorAnswer], repeats: Mapping[str, Repeat]) -> dict[str, Share]:
    """Annotator -> the share of pairs of responses in the same order both times, ties included.

    Chance gives 1/2 without ties. Only annotators who submitted a task and its repeat are compared.
    """
    given = _submitted(answers)
    pairs: defaultdict[str, list[list[bool]]] = defaultdict(list)
    for (name, task), ranks in given.items():
        repeat = repeats.get(task)
        before = given.get((name, repeat["task"])) if repeat else None
        if repeat and before:
            first = [before[slot] for slot in repeat["slots"]]
            pairs[name].append([compare(ranks, *pair) == compare(first, *pair) for pair in _pairs(ranks)])
    return _shares(pairs)


def accuracy(answers: Iterable[AnnotatorAnswer], gold: Mapping[str, Sequence[int]]) -> dict[str, Share]:
    """Annotator -> the share of pairs of responses in gold's order, among the pairs that gold orders.

    An annotator's tie counts as wrong. Pairs that gold ties are ignored: either order is acceptable.
    """
    pairs: defaultdict[str, list[list[bool]]] = defaultdict(list)
    for (name, task), ranks in _submitted(answers).items():
        known = gold.get(task, ())
        pairs[name].append(
            [compare(ranks, *pair) == compare(known, *pair) for pair in _pairs(known) if compare(known, *pair) != 0]
        )
    return _shares(pairs)


_STATUSES = ("submitted", "discarded")


def _submitted(answers: Iterable[AnnotatorAnswer]) -> dict[tuple[str, str], list[int]]:
    """(annotator, task) -> ranks."""
    return {(answer["annotator"], answer["task"]): answer["ranks"] for answer in answers if answer["ranks"] is not None}


def _pairs(ranks: Sequence[int]) -> Iterable[tuple[int, int]]:
    return combinations(range(len(ranks)), 2)


def _shares(pairs: Mapping[str, Sequence[Sequence[bool]]]) -> dict[str, Share]:
    shown = {name: [task for task in tasks if task] for name, tasks in sorted(pairs.items())}
    return {name: share_of(tasks) for name, tasks in shown.items() if tasks}
