"""Logs of a deployed model: prompt, answer, and user feedback: an edited answer, a thumb or stars."""

from dataclasses import replace

from labeling.codes import canonical
from labeling.exchange.columns import plain, scale_of
from labeling.votes import Vote
from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.coded import Coded, Kind, Mark, mark_in
from pipeline.data.formats.columns import (
    answer_turn,
    asked_in,
    asked_turns,
    history_in,
    is_blank,
    named,
    only,
    prompt_column,
    prompt_in,
)
from pipeline.data.formats.conversations import Row, Turns, turns_in, turns_of_row
from pipeline.data.formats.fields import text_in
from pipeline.data.formats.flags import marked_turns
from pipeline.data.formats.judgement import Marked, annotator_in, vote_of, when_in
from pipeline.data.formats.labels import MARKED_BAD, has_label, is_mark, is_thumb
from pipeline.data.formats.pairs import answered
from pipeline.data.formats.watching import note
from pipeline.data.rows import Message, Origin

MODELS_ANSWER = ("response", "output", "completion", "model_output", "answer")
EDITS = (
    "edited_response",
    "edit",
    "corrected",
    "corrected_response",
    "correction",
    "human_edit",
    "final_response",
)
RATINGS = ("rating", "stars", "star_rating", "star", "user_rating", "human_rating", "thumb_rating", "thumbs_rating")
"""Columns that judge the answer, with any value."""

THUMBS = (
    *(
        "feedback",
        "thumb",
        "thumbs",
        *RATINGS,
        "label",
        "kto_tag",
        "desirable",
        "is_desirable",
        "accepted",
        "is_accepted",
    ),
    *("helpful", "is_helpful", "liked", "user_feedback", "approved", "is_approved", "is_good", "thumbs_up", "thumb_up"),
    *("upvoted", "reaction", "vote"),
)
DOWNS = ("thumbs_down", "thumb_down", "downvoted", "disliked", "is_bad", "is_rejected")
"""Columns in which true means a bad answer."""

_DOWN = (("true", "bad"), ("1", "bad"), ("false", "good"), ("0", "good"))
_JUDGING = frozenset(
    (
        *("accepted", "rejected", "accept", "reject", "approved", "disapproved", "good", "bad", "helpful", "unhelpful"),
        *("not helpful", "desirable", "undesirable", "thumbs up", "thumbs down", "thumb up", "thumb down", "liked"),
        *("disliked", "like", "dislike", "upvote", "downvote", "upvoted", "downvoted", "👍", "👎"),
        *("correct", "incorrect"),
    )
)
"""Words that judge an answer in a column of any name."""

COLUMNS = (("prompt", "response", "edited_response"), ("prompt", "response", "feedback"))

_LONGEST = 40  # characters of a word that judges
_UNJUDGED = "the answer was neither corrected nor marked as good or bad"


def log(row: Row) -> list[Turns]:
    """The user's edit as the answer, or else the model's answer if it is marked as good. Raises LeftOut otherwise."""
    field, asked, answer = _exchange(row)
    edit, mark = _edit(row), _mark(row)
    if edit is None and not mark:
        raise LeftOut(field, "assistant", _UNJUDGED if mark is None else MARKED_BAD)
    if edit is None:
        return [answered(row, field, [*history_in(row), *asked], [answer], "id")]
    turns = turns_of_row(row, field, [*history_in(row), *asked, Message(role="assistant", content=edit)], "id")
    editor = annotator_in(row, _read_columns(row))
    return [replace(turns, origin=Origin(**turns.origin, corrected_by=editor)) if editor else turns]


def judged_log(row: Row) -> list[Vote | Marked]:
    """The edit ranked above the model's answer, or else the answer with its mark. Raises LeftOut without either."""
    field, asked, turn = _exchange(row)
    answer = turn["content"]
    prompt, annotator = prompt_in(row, asked, field), annotator_in(row, _read_columns(row))
    edit, mark = _edit(row), _mark(row)
    if edit is not None and edit.split() != answer.split():
        return [vote_of(row, prompt, [edit, answer], [1, 2], annotator)]
    if mark is None:
        raise LeftOut(field, "assistant", _UNJUDGED)
    return [Marked(prompt, answer, mark, annotator, when_in(row))]


def thumbs_of(row: Row) -> list[Coded]:
    """The marks of the row, each to be settled as good or bad."""
    return [_coded(row, key, "thumb") for key in _mark_columns(row)]


def scores_of(row: Row) -> list[Coded]:
    """The marks of the row; ratings and stars may be numbers: higher is better."""
    kinds: dict[str, Kind] = {key: "score" if scale_of(key) == "scores" else "thumb" for key in _mark_columns(row)}
    return [_coded(row, key, kind) for key, kind in kinds.items()]


def _coded(row: Row, key: str, kind: Kind) -> Coded:
    return Coded((key,), row[key], kind, key, _DOWN if plain(key) in DOWNS else ())


def is_log(row: Row) -> bool:
    """Whether the row has a prompt, an answer, and a column for an edit or a mark."""
    edits, answers = named(row, EDITS), named(row, MODELS_ANSWER)
    if has_label(row) and not edits:
        return False
    conversation = isinstance(row.get("messages"), list)
    if not (conversation or (asked_in(row) and answers)):
        return False
    # the label of a whole conversation may be its topic
    marks = [key for key in _named_marks(row) if _may_be_mark(row, key) and (answers or key.lower() != "label")]
    return bool(edits or marks or _judging_columns(row))


def _may_be_mark(row: Row, key: str) -> bool:
    """Whether a column can be a mark. A `label` or a `vote` may be a class, so only thumbs count there."""
    value, name = row[key], plain(key)
    if name in RATINGS:
        return is_mark(value) or (isinstance(value, str) and len(value) <= _LONGEST)
    return is_thumb(value) if name in ("label", "vote", *DOWNS) else is_mark(value)


def _named_marks(row: Row) -> list[str]:
    """The columns that are named like marks, non-blank ones first."""
    return named(row, (*THUMBS, *DOWNS))


def _judging_columns(row: Row) -> list[str]:
    """The columns of other names in which a word judges the answer: `status: rejected`."""
    known = {*_read_columns(row), *named(row, ("input", "context", "system", "system_prompt", "chosen", "rejected"))}
    return [key for key, value in row.items() if key not in known and _is_judging_word(value)]


def _is_judging_word(value: object) -> bool:
    if not isinstance(value, str):
        return isinstance(value, Mark)  # settled already
    return len(value) <= _LONGEST and " ".join(canonical(value).replace("_", " ").replace("-", " ").split()) in _JUDGING


def _mark_columns(row: Row) -> list[str]:
    """The columns that hold marks, of which there may be several; `feedback` may be a comment."""
    keys = _named_marks(row)
    found = [key for key in keys if _may_be_mark(row, key)]
    return found or _judging_columns(row) or ([] if named(row, EDITS) else keys[:1])


def _read_columns(row: Row) -> list[str]:
    """Columns that are read as something other than the annotator's name."""
    return [*named(row, EDITS), *named(row, MODELS_ANSWER), *_named_marks(row), *asked_in(row)]


def _exchange(row: Row) -> tuple[str, list[Message], Message]:
    """(the field, the prompt's turns, the model's answer), each turn with its flags. Raises BadRow.

    `messages` may end with the answer if no other column has it.
    """
    column = only(row, MODELS_ANSWER)
    if isinstance(row.get("messages"), list):
        note(row, "prompt", "messages")
        turns = turns_in(marked_turns(row, "messages"), "messages")
        if column:
            return f"messages + {column}", turns, answer_turn(row, column)
        if turns[-1]["role"] != "assistant":
            raise BadRow("messages", None, "the answer is missing: neither in a column nor in the last message")
        return "messages", turns[:-1], turns[-1]
    asked = prompt_column(row)
    if not asked or not column:
        raise BadRow(None, None, "a column is missing: prompt + response")
    note(row, "prompt", asked)
    return f"{asked} + {column}", asked_turns(row, asked), answer_turn(row, column)


def _edit(row: Row) -> str | None:
    edited = only(row, EDITS)
    return None if edited is None or is_blank(row[edited]) else text_in(row[edited], edited, "assistant")


def _mark(row: Row) -> float | None:
    """The mark that all mark columns of the row agree on, or None. Raises BadRow if they disagree."""
    keys = _mark_columns(row)
    note(row, "judgement", *keys)
    marks = {mark for key in keys if (mark := mark_in(row, key)) is not None}
    if len(marks) > 1:
        raise BadRow(" + ".join(keys), None, "the marks disagree")
    return marks.pop() if marks else None
