"""Two answers side by side, and which of them each person found better (PandaLM's published judgements)."""

import re

from pipeline.data.faults import BadRow
from pipeline.data.formats.columns import asked_turns, is_blank, name_in, named, only, prompt_column, prompt_in
from pipeline.data.formats.comparisons import content_id
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.fields import any_text_in
from pipeline.data.formats.labels import JUDGES
from pipeline.data.rows import Ranking, Ranks

COLUMNS = (("prompt", "response1", "response2", "annotator1"), ("prompt", "response_a", "response_b", "winner"))
WINNERS = ("winner", "preference", "preferred")

_KINDS = ("response", "answer", "output", "completion")
_NUMBERS = ("1", "2"), ("a", "b")
_ANNOTATOR = re.compile(r"annotator_?\d+", re.IGNORECASE)
_BETTER = re.compile(rf"(?:(?:model|assistant|{'|'.join(_KINDS)})[_ ]?)?([12ab])(?:\.0)?", re.IGNORECASE)
_TIES = ("tie", "both", "equal", "draw", "neither", "both_bad", "bothbad", "tie (bothbad)")


def side_by_side(row: Row) -> list[Ranking]:
    """A prompt and two answers, judged in columns `annotator1`, `annotator2`, … or in one column `winner`.

    0 or tie, 1 or A for the first, 2 or B for the second; who said nothing has no say. The id is the row's, or made of
    PandaLM's `idx`, or of the content. Raises BadRow.
    """
    asked, sides = prompt_column(row), _sides(row)
    if asked is None or sides is None:
        raise BadRow(None, None, "a column is missing: prompt + response1 + response2")
    turns = prompt_in(row, asked_turns(row, asked), asked)
    prompt = turns[0]["content"] if len(turns) == 1 else turns
    responses = [any_text_in(row[side], side, "assistant") for side in sides]
    rankings = [Ranks(annotator=judge, ranks=ranks) for judge, ranks in _judgements(row)]
    if not rankings:
        raise BadRow(None, None, "nobody said which of the two answers is better")
    made = f"pandalm-{row['idx']}" if type(row.get("idx")) is int else content_id(prompt, responses)
    return [Ranking(id=name_in(row, ("id",), made), prompt=prompt, responses=responses, rankings=rankings)]


def has_two_sides(row: Row) -> bool:
    return _sides(row) is not None and bool(_judges(row) or named(row, WINNERS))


def _sides(row: Row) -> tuple[str, str] | None:
    """The columns of the first and of the second answer."""
    plain = {key.lower().replace("_", ""): key for key in row}
    pairs = [(f"{kind}{first}", f"{kind}{second}") for kind in _KINDS for first, second in _NUMBERS]
    found = [(plain[first], plain[second]) for first, second in pairs if first in plain and second in plain]
    return found[0] if found else None


def _judges(row: Row) -> list[str]:
    return [key for key in row if _ANNOTATOR.fullmatch(key)]


def _judgements(row: Row) -> list[tuple[str, list[int]]]:
    """Who judged, and the ranks of both answers. Raises BadRow."""
    judges = _judges(row)
    if judges:
        return [(key, _ranks(row[key], key, zero_is_tie=True)) for key in judges if not is_blank(row[key])]
    winner = only(row, WINNERS)
    if winner is None or is_blank(row[winner]):
        return []
    return [(name_in(row, JUDGES, winner.lower()), _ranks(row[winner], winner, zero_is_tie=False))]


def _ranks(value: object, field: str, zero_is_tie: bool) -> list[int]:
    """PandaLM's annotators write 0 for a tie; in other files it may as well be the first answer's index."""
    word = str(value).strip().lower() if type(value) in (str, int, float) else ""
    better = _BETTER.fullmatch(word)
    if better:
        return [1, 2] if better[1] in "1a" else [2, 1]
    if word in _TIES or (zero_is_tie and word in ("0", "0.0")):
        return [1, 1]
    raise BadRow(field, None, "use 1 or A for the first answer, 2 or B for the second, tie for neither")
