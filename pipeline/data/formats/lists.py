"""All answers to a prompt in one list, with a rank or a score each: Nectar, UltraFeedback, distilabel, Prodigy.

Ranks: lower is better, starting at any number. Scores: higher is better. Equal values are ties. An answer without a
value is not compared.
"""

import json
from collections.abc import Sequence
from typing import Any

from labeling.exchange.columns import PROMPT_NAMES, first_of
from labeling.records import ranks_from_scores
from labeling.votes import Vote
from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.columns import asked_turns, named, only, prompt_column, prompt_in
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.fields import list_in, object_in
from pipeline.data.formats.judgement import annotator_in, is_absent, number_in, response_in, vote_of
from pipeline.data.formats.watching import note
from pipeline.data.reading.jsontext import parse_json
from pipeline.data.rows import Message

COLUMNS = (("prompt", "answers"), ("instruction", "completions"), ("instruction", "generations", "ratings"))

_LISTS = ("answers", "completions", "responses", "generations", "candidates", "outputs", "options")
_TEXTS = ("answer", "response", "completion", "text", "content", "generation", "output", "body")
_RANKS = ("rank", "ranks")
_SCORES = ("overall_score", "fine_grained_score", "score", "scores", "rating", "ratings", "reward", "rewards", "stars")


def answers_in_list(row: Row) -> list[Vote]:
    """A prompt, a list of answers, and a rank or a score within each or in a list beside them. Raises BadRow."""
    column = _list_column(row)
    if column is None:
        raise BadRow(None, None, "a column is missing: prompt + answers")
    answers = list_in(_opened(row.get(column)), column)
    texts = [_text(answer, f"{column}[{index}]") for index, answer in enumerate(answers)]
    scores = _inner(row, column, answers) if isinstance(answers[0], dict) else _beside(row, len(answers))
    known = [slot for slot, (text, score) in enumerate(zip(texts, scores, strict=True)) if None not in (text, score)]
    if len(known) < 2:
        raise BadRow(column, None, "fewer than two of the answers have a rank or a score")
    ranks = ranks_from_scores([scores[slot] or 0.0 for slot in known])
    responses = [texts[slot] or "" for slot in known]
    note(row, "answer", column)
    return [vote_of(row, _prompt(row), responses, ranks, annotator_in(row, (column,)))]


def accepted_option(row: Row) -> list[Vote]:
    """Prodigy's choice: the accepted options before all others. Raises LeftOut for a task that was not answered."""
    if row.get("answer", "accept") != "accept":
        raise LeftOut("answer", None, "the task was rejected or ignored")
    options = [object_in(one, f"options[{index}]") for index, one in enumerate(list_in(row.get("options"), "options"))]
    texts = [response_in(one.get("text"), f"options[{index}].text") for index, one in enumerate(options)]
    accepted = row.get("accept")
    names = [one.get("id") for one in options]
    if not isinstance(accepted, list) or not all(name in names for name in accepted):
        raise BadRow("accept", None, "it must be a list of the options' ids")
    if not accepted:
        raise LeftOut("accept", None, "no option was accepted")
    note(row, "answer", "options")
    note(row, "judgement", "accept", "answer")
    ranks = [1 if name in accepted else 2 for name in names]
    who = first_of(row, ("annotator_id", "session_id"))
    prompt = _prompt(row)
    return [vote_of(row, prompt, texts, ranks, annotator_in(row, ("answer",)) or (str(row[who]) if who else None))]


def has_answers_in_list(row: Row) -> bool:
    """Whether a row has a list of several answers, each with a rank or a score."""
    column = _list_column(row)
    if column is None or not (prompt_columns(row) or "text" in row) or has_options(row):
        return False
    answers = _opened(row[column])
    if isinstance(answers[0], dict):
        return _value_key(answers) is not None and any(key in answers[0] for key in _TEXTS)
    beside = only_list(row, len(answers))
    return beside is not None


def has_options(row: Row) -> bool:
    return isinstance(row.get("options"), list) and "accept" in row


def prompt_columns(row: Row) -> list[str]:
    """The columns that may hold the prompt."""
    return named(row, (*PROMPT_NAMES, "input"))


def only_list(row: Row, size: int) -> str | None:
    """The column with a number for each of the answers, or None."""
    found = [
        key
        for key in named(row, (*_RANKS, *_SCORES))
        if isinstance(values := _opened(row[key]), list) and len(values) == size and all(map(_is_number, values))
    ]
    return found[0] if found else None


def _list_column(row: Row) -> str | None:
    return next(
        (key for key in named(row, _LISTS) if isinstance(found := _opened(row[key]), list) and len(found) > 1), None
    )


def _opened(cell: object) -> Any:
    """The list in a cell that holds it as JSON text; other cells unchanged."""
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return cell
    try:
        return parse_json(cell)
    except json.JSONDecodeError:
        return cell


def _prompt(row: Row) -> list[Message]:
    asked = prompt_column(row) or only(row, ("text",))
    if asked is None:
        raise BadRow(None, None, "a column is missing: prompt")
    note(row, "prompt", asked)
    return prompt_in(row, asked_turns(row, asked), asked)


def _text(answer: object, field: str) -> str | None:
    """An answer's text; None if it is absent."""
    if isinstance(answer, dict) and "role" not in answer:
        key = next((name for name in _TEXTS if name in answer), None)
        if key is None:
            raise BadRow(field, None, "the answer has no text")
        answer, field = answer[key], f"{field}.{key}"
    return None if is_absent(answer) else response_in(answer, field)


def _value_key(answers: Sequence[Any]) -> str | None:
    """The key of the answers' rank or score, or `annotations` if these hold ratings; None without one."""
    keys = {key.replace("-", "_"): key for one in answers if isinstance(one, dict) for key in one}
    found = next((keys[name] for name in (*_RANKS, *_SCORES) if name in keys), None)
    return found or keys.get("annotations")


def _inner(row: Row, column: str, answers: Sequence[Any]) -> list[float | None]:
    """The scores inside the answers; ranks with reversed sign. Raises BadRow."""
    key = _value_key(answers)
    if key is None:
        raise BadRow(column, None, "the answers have neither ranks nor scores")
    values = [object_in(one, f"{column}[{index}]").get(key) for index, one in enumerate(answers)]
    note(row, "judgement", column)
    if key == "annotations":
        return [_mean_rating(value, f"{column}[{index}].annotations") for index, value in enumerate(values)]
    return [_score(value, f"{column}[{index}].{key}", key in _RANKS) for index, value in enumerate(values)]


def _beside(row: Row, size: int) -> list[float | None]:
    """The scores in a list beside the answers; ranks with reversed sign. Raises BadRow."""
    column = only_list(row, size)
    if column is None:
        raise BadRow(None, None, "there must be as many ranks or scores as answers")
    note(row, "judgement", column)
    return [
        _score(value, f"{column}[{index}]", column.lower() in _RANKS)
        for index, value in enumerate(_opened(row[column]))
    ]


def _score(value: object, field: str, rank: bool) -> float | None:
    number = number_in(value, field)
    if rank and number is not None and number < 0:
        raise BadRow(field, None, "a rank is 0 or more; leave a missing rank empty")
    return -number if rank and number is not None else number


def _mean_rating(value: object, field: str) -> float | None:
    """The mean of UltraFeedback's ratings of one answer, of which some may be missing (N/A)."""
    aspects = object_in(value, field)
    given = [(name, one.get("Rating", one.get("rating"))) for name, one in aspects.items() if isinstance(one, dict)]
    ratings = [number_in(rating, f"{field}.{name}") for name, rating in given if rating not in ("N/A", "n/a")]
    known = [rating for rating in ratings if rating is not None]
    return sum(known) / len(known) if known else None


def _is_number(value: object) -> bool:
    try:
        number_in(value, "")
    except BadRow:
        return False
    return True
