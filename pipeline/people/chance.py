"""Figures about each annotator of the rankings, and a remark about annotators who seem to answer at random."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from labeling.chance import against_chance, at_chance
from labeling.records import Ranking
from pipeline.files import write_atomically

SHOWN = 5  # most names in one remark


def write_annotators(rankings: Sequence[Ranking], folder: Path, say: Callable[[str], None]) -> dict[str, float]:
    """Write `annotators.json` and report the annotators who agree with the others no more than by chance.

    Returns their number as the metric `annotators_at_chance`; no metric if agreement cannot be measured.
    """
    known = against_chance(rankings)
    judged = Counter(row["annotator"] for ranking in rankings for row in ranking["rankings"])
    about = {name: {"rankings": judged[name], **one._asdict()} for name, one in known.items()}
    write_atomically(folder / "annotators.json", json.dumps(about, indent=2, ensure_ascii=False))
    blind = at_chance(known)
    if blind:
        shown = "; ".join(
            f"{name} {known[name].agreement:.2f} of {known[name].comparisons:,} comparisons, where chance gives "
            f"{known[name].chance:.2f}"
            for name in blind[:SHOWN]
        )
        more = f"; {len(blind) - SHOWN} more in annotators.json" if len(blind) > SHOWN else ""
        say(
            f"{'one annotator agrees' if len(blind) == 1 else f'{len(blind)} annotators agree'} with the others no "
            f"more than chance: {shown}{more}. Leave such votes out with "
            f"'preferences.exclude={json.dumps(blind, ensure_ascii=False)}'"
        )
    return {"annotators_at_chance": len(blind)} if known else {}
