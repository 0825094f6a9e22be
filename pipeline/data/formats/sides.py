"""Formats with two answers side by side and verdicts in columns of codes.

The columns of published datasets settle their codes: PandaLM, HelpSteer 2 and 3, SHP, PKU-SafeRLHF.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from labeling.exchange.columns import first_of, plain
from labeling.flags import TRUE
from labeling.votes import Vote
from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.coded import Coded, choice_in
from pipeline.data.formats.columns import asked_turns, is_blank, prompt_column, prompt_in
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.judgement import annotator_in, id_in, is_absent, response_in, vote_of
from pipeline.data.formats.margins import tie_marks
from pipeline.data.formats.watching import note
from pipeline.data.rows import Message

COLUMNS = (("prompt", "response1", "response2", "annotator1"), ("prompt", "response_a", "response_b", "winner"))

_KINDS = ("response", "answer", "output", "completion", "generation", "candidate", "option", "text", "model_output")
_SLOTS = ("1", "2"), ("a", "b"), ("0", "1")
_SWAPPED = ("swapped", "is_swapped", "was_swapped", "swap", "flipped", "is_flipped", "reversed", "is_reversed")
_OTHER_ORDER = (
    "the answers were shown in another order, and it is unclear which order the verdict refers to: write the answers "
    "in that order, without this column"
)
_MORE = {"2": "03", "b": "c", "1": "2"}  # second answer's slot -> slots of further answers
_PAIRS = tuple((f"{kind}_{one}", f"{kind}_{two}") for kind in _KINDS for one, two in _SLOTS)
_PUBLISHED = (("human_ref_a", "human_ref_b"), ("left", "right"), ("left_response", "right_response"))
_MODELS = ("model_1", "model_2"), ("model_a", "model_b"), ("model_0", "model_1"), ("generator_1", "generator_2")
_PROMPT_FALLBACKS = ("history", "context", "messages", "conversations")  # of SHP and HelpSteer 3, without other prompts

_ANNOTATOR = re.compile(r"(?:annotator|rater|judge|labeler|worker|human|vote)_?\d+|annotator_?[a-h]")
VERDICTS = (
    *("winner", "preference", "preferred", "overall_preference", "preference_strength", "better_response_id"),
    *("better", "better_response", "best", "verdict", "judgement", "judgment", "choice", "selected", "selection"),
    *("chosen", "label", "labels", "vote", "answer_preference", "annotation", "result", "winning_response"),
    *("chosen_response", "preferred_response", "preferred_answer", "human_preference", "human_label", "gold_label"),
    *("pref", "gold", "comparison", "likert", "rating", "score"),
)
_ONE_HOT = ("winner_model_a", "winner_model_b", "winner_tie")
_RANKS = {"first": (1, 2), "second": (2, 1), "tie": (1, 1)}

_STRENGTHS = {str(number): "first" if number < 0 else "second" if number else "tie" for number in range(-3, 4)}
_SCALES = ("overall_preference", "preference_strength")  # HelpSteer 3 and 2: below 0 for the first answer
_INDEXES = ("better_response_id", "winner", "better", "better_response", "preferred")
_MAX_LABEL = 40  # characters
_SEVERAL = (
    "more than two answers: expected are two answers with a verdict, or a rank for each answer (rank_1, rank_2, …), or "
    "their order in a column `ranking` (B > A = C)"
)

_PANDALM = {"0": "tie", "1": "first", "2": "second"}
_SHP = {"1": "first", "0": "second"}


class Sides(NamedTuple):
    """The columns of the first and of the second answer."""

    first: str
    second: str


def side_by_side(row: Row) -> list[Vote]:
    """A prompt and two answers, judged in columns `annotator1`, `annotator2`, … or in one column such as `winner`.

    Annotators without a verdict are skipped. The id is the row's, or built from PandaLM's `idx`. Raises BadRow.
    """
    sides = sides_of(row)
    if sides is None:
        raise BadRow(None, None, "a column is missing: prompt + response1 + response2")
    if third := third_answer(row, sides):
        raise BadRow(third, None, _SEVERAL)
    check_order(row)
    asked = _prompt(row, sides)
    prompt = asked[0]["content"] if len(asked) == 1 else asked
    note(row, "answer", *sides)
    absent = [side for side in sides if is_absent(row[side])]
    if absent:
        raise BadRow(absent[0], "assistant", "the answer is missing")
    responses = [response_in(row[side], side) for side in sides]
    made = f"pandalm-{row['idx']}" if type(row.get("idx")) is int else None
    judged = [(annotator, choice) for annotator, choice in _verdicts(row, sides) if choice is not None]
    if not judged:
        raise LeftOut(None, None, "the verdict on the two answers is missing")
    vote = vote_of(row, prompt, responses, None, id=id_in(row) or made)
    return [replace(vote, ranks=list(_RANKS[choice]), annotator=annotator) for annotator, choice in judged]


def codes_of(row: Row) -> list[Coded]:
    """The verdicts of the row. Raises BadRow for a verdict by model name if both models are the same."""
    sides = sides_of(row)
    if sides is None or has_hot_verdict(row) or third_answer(row, sides):
        return []
    annotators = _annotator_columns(row)
    if annotators:
        known = _PANDALM if "idx" in row and sides_are(row, "response1", "response2") else {}
        about = f"{annotators[0].rstrip('0123456789')}1, 2, …" if annotators[0][-1].isdigit() else annotators[0]
        return [Coded((key,), row[key], "choice", about, tuple(known.items())) for key in annotators]
    column = verdict_column(row)
    return [coded_verdict(row, column, sides)] if column else []


def coded_verdict(row: Row, column: str, sides: Sides) -> Coded:
    """The verdict in a column. Raises BadRow if it names a model and both models are the same."""
    known = tuple(_known(row, column, sides).items())
    return Coded((column,), _named(row, column, sides), "choice", column, known)


def has_two_sides(row: Row) -> bool:
    """Whether the row has two answers to a prompt and a verdict column."""
    return sides_of(row) is not None and bool(_annotator_columns(row) or has_hot_verdict(row) or verdict_column(row))


def sides_of(row: Row) -> Sides | None:
    """The columns of the first and of the second answer, or None."""
    spelled = {plain(key).replace("_", ""): key for key in reversed(list(row))}
    for one, two in (*_PAIRS, *_PUBLISHED):
        first, second = spelled.get(one.replace("_", "")), spelled.get(two.replace("_", ""))
        if first is not None and second is not None:
            return Sides(first, second)
    return None


def third_answer(row: Row, sides: Sides) -> str | None:
    """The non-blank column of a third answer, or None."""
    return next((key for key in _further(tuple(row), sides) if not is_blank(row[key])), None)


@lru_cache(maxsize=4096)  # the same few columns, for every row
def _further(names: tuple[str, ...], sides: Sides) -> tuple[str, ...]:
    second = plain(sides.second).replace("_", "")
    others = {second[:-1] + slot for slot in _MORE.get(second[-1], "")}
    return tuple(name for name in names if plain(name).replace("_", "") in others)


def sides_are(row: Row, first: str, second: str) -> bool:
    """Whether the row has exactly these columns."""
    return first in row and second in row


def verdict_column(row: Row) -> str | None:
    """The column of one verdict, or None."""
    others = {*(sides_of(row) or ()), *(("chosen",) if "rejected" in row and not is_labelled(row) else ())}
    return first_of((key for key in row if key not in others and _is_code(row[key])), VERDICTS)


def is_labelled(row: Row) -> bool:
    """Whether `chosen` and `rejected` are only labels, such as A and B, of two other columns with answers."""
    sides = sides_of(row)
    labels = [row.get(key) for key in ("chosen", "rejected")]
    if sides is None or not all(isinstance(label, str | int) and len(str(label)) <= _MAX_LABEL for label in labels):
        return False
    return not {row[side] for side in sides if isinstance(row[side], str)} & set(labels)


def _prompt(row: Row, sides: Sides) -> list[Message]:
    asked = prompt_column({key: value for key, value in row.items() if key not in sides})
    asked = asked or next((key for key in _PROMPT_FALLBACKS if not is_blank(row.get(key))), None)
    if asked is None:
        raise BadRow(None, None, "a column is missing: prompt + response1 + response2")
    note(row, "prompt", asked)
    return prompt_in(row, asked_turns(row, asked), asked)


def _annotator_columns(row: Row) -> list[str]:
    return [key for key in row if _ANNOTATOR.fullmatch(plain(key)) and _is_code(row[key])]


def has_hot_verdict(row: Row) -> bool:
    """Whether the winner is one-hot: columns of 0 and 1, one per outcome."""
    return row.keys() >= set(_ONE_HOT[:2])


def _verdicts(row: Row, sides: Sides) -> list[tuple[str | None, str | None]]:
    """(annotator, verdict) of all verdicts of the row. Raises BadRow."""
    if has_hot_verdict(row):
        return [(annotator_in(row, sides), hot_verdict(row))]
    annotators = _annotator_columns(row)
    if annotators:
        note(row, "judgement", *annotators)
        return [(key, choice_in(row, key)) for key in annotators]
    column = verdict_column(row)
    if column is None:
        return []
    note(row, "judgement", column)
    _check_scores(row, choice := choice_in(row, column))
    beside = (*sides, column)
    return [(annotator_in(row, beside), with_ties(row, choice, beside))]


def hot_verdict(row: Row) -> str:
    """The one of the columns `winner_model_a`, `winner_model_b`, `winner_tie` that holds 1. Raises BadRow."""
    note(row, "judgement", *_ONE_HOT)
    hot = [name for name in _ONE_HOT if str(row.get(name)).strip().lower() in ("1", "1.0", "true")]
    if len(hot) != 1:
        raise BadRow(" + ".join(_ONE_HOT), None, "exactly one of these columns must hold 1")
    return ("first", "second", "tie")[_ONE_HOT.index(hot[0])]


def _named(row: Row, column: str, sides: Sides) -> object:
    """The verdict; `a` or `b` if it is the name of a column, the name of a model or the whole text of an answer."""
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        return value
    models = _models(row)
    for names in (sides, tuple(str(row[key]) for key in models)):
        found = [place for place, name in enumerate(names) if name.strip().casefold() == value.strip().casefold()]
        if len(found) > 1:
            raise BadRow(column, None, "both answers are by the model it names")
        if found:
            return "ab"[found[0]]
    texts = [row.get(side) for side in sides]
    if value in texts and texts[0] != texts[1]:
        return "ab"[texts.index(value)]
    return value


def _models(row: Row) -> Sequence[str]:
    """The columns with the names of the two models, or empty."""
    for one, two in _MODELS:
        first, second = first_of(row, (one,)), first_of(row, (two,))
        if first and second:
            return first, second
    return ()


def _known(row: Row, column: str, sides: Sides) -> dict[str, str]:
    """Code -> meaning for published datasets."""
    name = plain(column)
    if name == "labels" and sides_are(row, "human_ref_A", "human_ref_B"):
        return _SHP
    if name in _INDEXES:
        return {"0": "first", "1": "second"} if plain(sides.first)[-1] == "0" else {}  # the answers have these numbers
    return _STRENGTHS if name in _SCALES else {}


def with_ties(row: Row, choice: str | None, beside: Collection[str]) -> str | None:
    """The verdict, or a tie if another column marks one."""
    ties = tie_marks(row, beside) if choice is not None else []
    note(row, "judgement", *ties)
    return "tie" if any(row[key] is not None for key in ties) else choice


def check_order(row: Row) -> None:
    """Raise BadRow if a flag marks the answers as shown in another order: A may be either of them."""
    column = first_of(row, _SWAPPED)
    if column is not None and str(row[column]).strip().lower() in TRUE:
        raise BadRow(column, None, _OTHER_ORDER)


def _check_scores(row: Row, choice: str | None) -> None:
    """Raise BadRow where SHP's label and its scores disagree."""
    if not sides_are(row, "human_ref_A", "human_ref_B") or not {"score_A", "score_B"} <= row.keys():
        return
    first, second = row["score_A"], row["score_B"]
    numbers = isinstance(first, int | float) and isinstance(second, int | float)
    if numbers and choice is not None and first != second and (choice == "first") != (first > second):
        raise BadRow("labels", None, "the label and the scores disagree")


def _is_code(value: object) -> bool:
    """Whether a cell may hold a code: a word, a number or nothing."""
    return value is None or isinstance(value, str | int | float)
