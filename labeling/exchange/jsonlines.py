"""The contract's rankings: one JSON object a line, or a JSON array of them. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from labeling.exchange.faults import Faults
from labeling.exchange.judgements import Judgement, prompt_in, ranks_row
from labeling.records import Ranking, Ranks


def read_rankings(rows: Iterable[tuple[str, Any]], faults: Faults) -> Iterator[Judgement]:
    """(place, object) -> judgements."""
    for place, row in rows:
        if not isinstance(row, Mapping):
            faults.add(place, "row", "must be a JSON object")
            continue
        before = len(faults)
        name, prompt = row.get("id"), prompt_in(row.get("prompt"), place, "prompt", faults, row.get("input"))
        if name is not None and not (isinstance(name, str) and name):
            faults.add(place, "id", "must be text that is not empty")
        responses = row.get("responses")
        if not isinstance(responses, list) or not all(isinstance(text, str) for text in responses):
            faults.add(place, "responses", "must be a list of texts")
        given = row.get("rankings")
        if not isinstance(given, list):
            faults.add(place, "rankings", "must be a list")
        if len(faults) > before or prompt is None or not isinstance(responses, list) or not isinstance(given, list):
            continue
        if not given:
            yield Judgement(place, name, prompt, responses, None)
        for index, said in enumerate(given):
            ranks = _ranks_in(said, place, f"rankings[{index}]", faults)
            if ranks is not None:
                yield Judgement(place, name, prompt, responses, ranks)


def _ranks_in(said: object, place: str, field: str, faults: Faults) -> Ranks | None:
    if not isinstance(said, Mapping):
        faults.add(place, field, "must be a JSON object")
        return None
    annotator, ranks = said.get("annotator"), said.get("ranks")
    before = len(faults)
    if not isinstance(annotator, str) or not annotator:
        faults.add(place, f"{field}.annotator", "must be text that is not empty")
    if not isinstance(ranks, list):
        faults.add(place, f"{field}.ranks", "must be a list of whole numbers")
    for key, kind, what in (("comment", str, "text"), ("both_bad", bool, "true or false"), ("guidelines", str, "text")):
        if said.get(key) is not None and not isinstance(said[key], kind):
            faults.add(place, f"{field}.{key}", f"must be {what}")
    if len(faults) > before or not isinstance(annotator, str) or not isinstance(ranks, list):
        return None
    return ranks_row(
        annotator, ranks, said.get("comment") or "", bool(said.get("both_bad")), said.get("guidelines") or ""
    )


def rankings_text(rankings: Iterable[Ranking]) -> str:
    """Rankings as JSON lines. Half a surrogate pair, which UTF-8 cannot hold, stays as its JSON escape."""
    text = "".join(json.dumps(ranking, ensure_ascii=False) + "\n" for ranking in rankings)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
