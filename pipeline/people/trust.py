"""The file of figures about each annotator, and the remark that names those not to be relied on."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from labeling.pace import Pace
from labeling.records import Ranking
from labeling.report.lines import annotator_lines
from labeling.suspects import Reason, Suspect, exclusion, sentence
from labeling.trust import Table, suspects_in, trust
from pipeline.files import write_atomically
from pipeline.store.artifact import Artifact

ANNOTATORS = "annotators.json"
METRICS: Mapping[Reason, str] = {
    "chance": "annotators_at_chance",
    "inverse": "annotators_inverse",
    "fast": "annotators_fast",
}


def write_annotators(
    about: Table,
    rankings: Sequence[Ranking],
    folder: Path,
    say: Callable[[str], None],
    *,
    paces: Mapping[str, Pace] = {},
    known: Sequence[Suspect] = (),
    title: str = "",
) -> dict[str, float]:
    """Write `annotators.json` with `about` and the measures of `labeling.trust`, and report suspects.

    `known` are suspects found before. With a `title`, the table is shown, too. Returns the number of suspects for each
    reason that can be assessed, as metrics.
    """
    table, suspects, assessed = trust(rankings, paces, known)
    names = sorted({*about, *table})
    rows = {name: {**about.get(name, {}), **table.get(name, {})} for name in names}
    write_atomically(folder / ANNOTATORS, json.dumps(rows, indent=2, ensure_ascii=False))
    if title and rows:
        say("\n   ".join(annotator_lines(rows, title)))
    if suspects:
        say(f"{sentence(suspects)} Leave them out with {exclusion(suspects)}")
    counted = Counter(one.reason for one in suspects)
    measured = {"chance": assessed, "inverse": assessed, "fast": bool(paces or known)}
    return {metric: float(counted[reason]) for reason, metric in METRICS.items() if measured[reason]}


def read_suspects(artifact: Artifact) -> list[Suspect]:
    """Return the suspects in an artifact of `collect` or `preferences`; empty for rankings from a file."""
    file = artifact.path / ANNOTATORS
    if artifact.is_external or not file.is_file():
        return []
    return suspects_in(json.loads(file.read_text(encoding="utf-8")))
