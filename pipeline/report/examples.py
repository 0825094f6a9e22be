"""Chooses the answers to show: some with the largest differences between policies, in both directions, some by chance.

The choice is deterministic, so the same evaluation always shows the same answers and flattering ones cannot be picked.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluation.comparison import Comparison, Policy, Row


@dataclass(frozen=True)
class ShownAnswer:
    policy: Policy
    text: str
    remarks: Sequence[str]


@dataclass(frozen=True)
class Example:
    """One prompt with every policy's answer, and the reason for showing it."""

    why: str
    prompt: Sequence[Row]
    reference: str
    answers: Sequence[ShownAnswer]


def choose(seen: Comparison, count: int) -> list[Example]:
    """Choose up to `count` examples: a third with the largest gains of the arms, a third with the largest losses.

    The rest, at least a third, is chosen by a hash of the prompt.
    """
    by_chance = sorted(seen.rows, key=_hash)
    ordered = sorted(by_chance, key=lambda row: _gap(seen, row, worst=False), reverse=True)
    up = [row for row in ordered[: count // 3] if _gap(seen, row, worst=False) > 0]
    ordered = sorted(by_chance, key=lambda row: _gap(seen, row, worst=True))
    down = [row for row in ordered[: count // 3] if _gap(seen, row, worst=True) < 0 and row not in up]
    rest = [row for row in by_chance if row not in up and row not in down]
    gained, lost = _words(seen)
    chosen = [*((row, gained) for row in up), *((row, lost) for row in down)]
    chosen += [(row, "Drawn by chance") for row in rest[: count - len(chosen)]]
    return [_example(seen, row, why) for row, why in chosen]


def _hash(row: Row) -> str:
    name = row.get("id") or repr(row["prompt"])
    return hashlib.sha256(str(name).encode()).hexdigest()


def _key(seen: Comparison) -> str:
    """Return the key to compare policies by: the score, or the length if no score is known."""
    return "score" if all("score" in answer for row in seen.rows for answer in row["answers"].values()) else "tokens"


def _words(seen: Comparison) -> tuple[str, str]:
    arms = " or ".join(policy.label for policy in _compared(seen))
    against = f" against {seen.baseline.label}" if seen.baseline else ""
    if _key(seen) == "score":
        return f"Where {arms} gains most{against}", f"Where {arms} loses most{against}"
    return f"Where {arms} grows longest{against}", f"Where {arms} grows shortest{against}"


def _compared(seen: Comparison) -> list[Policy]:
    return seen.arms or seen.challengers


def _gap(seen: Comparison, row: Row, *, worst: bool) -> float:
    """Return the difference of the best (or worst) arm from the baseline on one prompt."""
    if not seen.baseline or seen.baseline.name not in row["answers"]:
        return 0.0
    key, answers = _key(seen), row["answers"]
    reference = answers[seen.baseline.name].get(key, 0)
    gaps = [answers[arm.name].get(key, 0) - reference for arm in _compared(seen) if arm.name in answers]
    return float((min if worst else max)(gaps, default=0.0))


def _example(seen: Comparison, row: Row, why: str) -> Example:
    given = row["answers"]
    answers = [
        ShownAnswer(p, given[p.name]["text"], _remarks(p, given[p.name])) for p in seen.policies if p.name in given
    ]
    return Example(why, row["prompt"], row.get("reference") or "", answers)


def _remarks(policy: Policy, answer: Row) -> list[str]:
    written = {"score": "score {:.2f}", "tokens": "{} tokens"}
    if not policy.is_baseline:  # its distance from itself is 0
        written["kl"] = "log-ratio {:+.1f}"
    remarks = [form.format(answer[key]) for key, form in written.items() if answer.get(key) is not None]
    return remarks if answer.get("stopped", True) else [*remarks, "cut off at the limit"]
