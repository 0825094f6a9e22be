"""Splits rows with nested votes into plain rows.

Votes on two answers, or on a list of answers, may be in a list of objects with an annotator each, in a list of words,
or in an object keyed by name. WebGPT's comparisons and OpenAI's summaries nest their parts in objects.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from labeling.codes import canonical, choice_of_word
from labeling.exchange.cells import opened
from labeling.exchange.columns import annotator_columns, first_of, plain
from labeling.exchange.uncounted import status_columns, uncounted
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.sides import VERDICTS, sides_of

_LISTS = (
    *("annotations", "votes", "judgements", "judgments", "preferences", "verdicts", "evaluations", "ratings", "labels"),
    *("responses_by_annotator", "annotators", "individual_annotations"),
)
_RANKED = ("responses", "answers", "completions", "outputs", "candidates", "generations")
_RANKS = ("ranks", "scores")


def unnested(row: Row) -> list[tuple[str, Row]]:
    """The plain rows of a row, each with its place within the row; a plain row itself, with an empty place."""
    if "question" in row and isinstance(row["question"], dict) and "full_text" in row["question"]:
        return [("", {**row, "question": row["question"]["full_text"]})]
    if isinstance(row.get("summaries"), list) and isinstance(row.get("info"), dict) and "choice" in row:
        return [("", _summaries(row))]
    if states := _states_of_rankings(row):
        return states
    column = _list_column(tuple(row))
    cell = opened(row[column]) if column else None
    votes = list(_votes(cell)) if isinstance(cell, list | dict) and _is_judged(row) else []
    if not votes:
        return [("", row)]
    of_all = {key for key in row if plain(key) in VERDICTS} | {column}
    shared = {key: value for key, value in row.items() if key not in of_all}
    return [(f"{column}{place}", {**shared, **vote}) for place, vote in votes]


@lru_cache(maxsize=4096)  # the same few columns, for every row
def _list_column(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if plain(name) in _LISTS), None)


def _states_of_rankings(row: Row) -> list[tuple[str, Row]]:
    """One row per ranking with its status columns, if a ranking of the contract's format is marked as not counting."""
    given = row.get("rankings")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        return []
    if not any(uncounted(one) for one in given):
        return []
    all_states = [{key: one[key] for key in status_columns(one)} for one in given]
    return [
        (f"rankings[{index}]", {**row, "rankings": [one], **states})
        for index, (one, states) in enumerate(zip(given, all_states, strict=True))
    ]


def _is_judged(row: Row) -> bool:
    """Whether the row has answers that its votes can be about."""
    return sides_of(row) is not None or any(isinstance(opened(row.get(key)), list) for key in _RANKED)


def _votes(cell: list[Any] | dict[str, Any]) -> Iterator[tuple[str, Row]]:
    """Each vote of the cell with its place; empty for any other cell."""
    if isinstance(cell, dict):
        if all(map(_is_choice_word, cell.values())) and not any(map(_is_choice_word, cell)):
            yield from ((f".{name}", {"annotator": name, "winner": word}) for name, word in cell.items())
        return
    if all(map(_is_choice_word, cell)):
        yield from ((f"[{index}]", {"winner": word}) for index, word in enumerate(cell))
        return
    if all(isinstance(one, dict) and _is_judged_vote(one) for one in cell):
        for index, one in enumerate(cell):
            yield f"[{index}]", {key: value for key, value in one.items() if plain(key) != "id"}


def _is_judged_vote(vote: dict[str, Any]) -> bool:
    """Whether an object holds a verdict or ranks, and an annotator."""
    verdict = first_of(vote, VERDICTS)
    judged = isinstance(vote.get(verdict), str | int | float) if verdict else False
    ranked = any(isinstance(vote.get(key), list) for key in _RANKS)
    return (judged or ranked) and bool(annotator_columns(vote))


def _is_choice_word(word: object) -> bool:
    return isinstance(word, str) and choice_of_word(canonical(word)) is not None


def _summaries(row: Row) -> Row:
    """OpenAI's comparisons of two summaries: the post or article, both summaries, and the index of the better one."""
    info, texts = row["info"], [one.get("text") if isinstance(one, dict) else one for one in row["summaries"]]
    plain_row = {key: value for key, value in row.items() if key not in ("info", "summaries", "choice")}
    answers = {f"response_{index}": text for index, text in enumerate(texts)}
    prompt = info.get("post") or info.get("article")
    return {**plain_row, "prompt": prompt, **answers, "better_response_id": row["choice"]}
