"""The outcome of an import: rankings, dropped rows with reasons, and remarks for the user."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from labeling.backend import LabelingError
from labeling.exchange.reading import Fault, Reading, refuse
from labeling.records import Ranking
from labeling.votes import LeftOutVote, Pooled, pool

OnBadRow = Literal["drop", "error"]
MAX_BAD_FRACTION = 0.2

_EXAMPLES = 3  # places shown per reason
_EXCERPT = 200  # characters per row of the ledger


class Place(NamedTuple):
    """The place of a row: the file, and the row as the file's format names it."""

    file: str
    row: str

    def __str__(self) -> str:
        return f"{self.file}, {self.row}"


@dataclass(frozen=True)
class Outcome:
    """Rankings, sentences on their reading, dropped rows, and remarks.

    `bad` and `left_out` are rows as in `Reading`; `repeated` are repeated votes of one annotator.
    """

    rankings: list[Ranking]
    sentences: list[str]
    bad: list[Fault]
    left_out: list[Fault]
    repeated: list[Fault]
    remarks: list[str]

    def ledger(self) -> Iterator[str]:
        """One JSON line per dropped row."""
        for step, faults in (("format", self.bad), ("left out", self.left_out), ("repeated", self.repeated)):
            for fault in faults:
                file, row = fault.place if isinstance(fault.place, Place) else ("", str(fault.place))
                line = {"file": file, "row": row, "step": step, "field": fault.field, "reason": fault.reason}
                yield json.dumps({**line, "excerpt": _excerpt(fault.row)}) + "\n"


def pooled_outcome(source: str, readings: Sequence[Reading], on_bad_row: OnBadRow, max_bad_fraction: float) -> Outcome:
    """The votes of all readings, pooled.

    Raises LabelingError (request) without rankings, with more bad rows than allowed, or with any bad row if none is
    allowed.
    """
    pooled = pool(vote for reading in readings for vote in reading.votes)
    bad = [fault for reading in readings for fault in reading.bad] + _votes_out(pooled, unusable=True)
    rows = sum(reading.rows for reading in readings)
    voted = any(ranking["rankings"] for ranking in pooled.rankings)
    sentences = list(dict.fromkeys(map(str, readings)))
    if not voted and not bad:
        left = "".join(
            f"\n{line}" for line in reason_lines([fault for reading in readings for fault in reading.left_out])
        )
        refuse(f"{source} has no rankings: no row has ranks, scores or a verdict. {'. '.join(sentences)}.{left}")
    fraction = len(bad) / max(rows, 1)
    if not voted or fraction > max_bad_fraction or (bad and on_bad_row == "error"):
        limit = f", more than --max-bad-fraction {max_bad_fraction:g} allows" if fraction > max_bad_fraction else ""
        head = f"{source}: {len(bad):,} of {rows:,} rows ({fraction:.0%}) cannot be used{limit}; nothing was written."
        hint = "Correct these rows. If they are misread, name the format and the columns: --format, --prompt-field, …"
        raise LabelingError("\n".join([head, *sentences, *reason_lines(bad), hint]), fault="request")
    left_out = [fault for reading in readings for fault in reading.left_out]
    repeated = _votes_out(pooled, unusable=False)
    remarks = list(dict.fromkeys([*(line for reading in readings for line in reading.remarks), *pooled.remarks]))
    return Outcome(pooled.rankings, sentences, bad, left_out, repeated, remarks)


def reason_lines(faults: Sequence[Fault]) -> list[str]:
    """One line per reason, the most frequent first, with its count and a few examples."""
    files = {fault.place.file for fault in faults if isinstance(fault.place, Place)}
    by_reason: dict[str, list[Fault]] = {}
    for fault in faults:
        by_reason.setdefault(fault.reason, []).append(fault)
    lines = []
    for reason, found in sorted(by_reason.items(), key=lambda kind: -len(kind[1])):
        examples = "; ".join(_example(fault, len(files) > 1) for fault in found[:_EXAMPLES])
        lines.append(f"  {len(found):,} x {reason}: {examples}{'; …' if len(found) > _EXAMPLES else ''}")
    return lines


def _votes_out(pooled: Pooled, unusable: bool) -> list[Fault]:
    field = "ranks" if unusable else "annotator"
    return [
        Fault(out.vote.place, field, out.reason, "", _as_row(out))
        for out in pooled.left_out
        if (out.cause == "unusable") == unusable
    ]


def _as_row(out: LeftOutVote) -> dict[str, object]:
    vote = out.vote
    return {"prompt": vote.prompt, "annotator": vote.annotator, "ranks": vote.ranks, "responses": vote.responses}


def _example(fault: Fault, with_file: bool) -> str:
    place = fault.place.row if isinstance(fault.place, Place) and not with_file else fault.place
    return f"{place}, {fault.field}" + (f" ({fault.found!r})" if fault.found else "")


def _excerpt(row: object) -> str:
    return json.dumps(row, ensure_ascii=False, default=str)[:_EXCERPT]
