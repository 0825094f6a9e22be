"""Logs of a model in use: what was asked and answered, and what somebody made of it: another answer, or a thumb."""

from dataclasses import replace

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.columns import (
    answer_in,
    asked_in,
    asked_turns,
    is_blank,
    name_in,
    named,
    only,
    prompt_column,
    prompt_in,
)
from pipeline.data.formats.comparisons import content_id
from pipeline.data.formats.conversations import Row, Turns, turns_in, turns_of_row
from pipeline.data.formats.fields import text_in
from pipeline.data.formats.labels import JUDGES, MARKED_BAD, Single, has_label, is_thumb, thumb_in
from pipeline.data.rows import Message, Origin, Ranking, Ranks

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
THUMBS = ("feedback", "thumb", "thumbs", "rating", "label")
COLUMNS = (("prompt", "response", "edited_response"), ("prompt", "response", "feedback"))
LOG = "log"
"""The annotator where the log does not say who it was."""

_UNJUDGED = "the answer was neither corrected nor marked as good or bad"


def log(row: Row) -> list[Turns]:
    """The person's edit as the answer, or else the model's where its thumb is up. Raises LeftOut for the rest."""
    field, asked, answer = _exchange(row)
    edit, thumb = _edit(row), _thumb(row)
    if edit is None and thumb is not True:
        raise LeftOut(field, "assistant", _UNJUDGED if thumb is None else MARKED_BAD)
    said = Message(role="assistant", content=answer if edit is None else edit)
    turns = turns_of_row(row, field, [*asked, said], "id")
    editor = name_in(row, JUDGES, "")
    return [replace(turns, origin=Origin(**turns.origin, corrected_by=editor)) if edit and editor else turns]


def judged_log(row: Row) -> list[Ranking | Single]:
    """The edit ranked above the answer that it replaced, or else the answer with its thumb. Raises LeftOut."""
    field, asked, answer = _exchange(row)
    prompt, judge = prompt_in(row, asked, field), name_in(row, JUDGES, LOG)
    edit, thumb = _edit(row), _thumb(row)
    if edit is not None and edit.split() != answer.split():
        responses, ranks = [edit, answer], Ranks(annotator=judge, ranks=[1, 2])
        identity = name_in(row, ("id",), content_id(prompt, responses))
        return [Ranking(id=identity, prompt=prompt, responses=responses, rankings=[ranks])]
    if thumb is None:
        raise LeftOut(field, "assistant", _UNJUDGED)
    return [Single(prompt=prompt, response=answer, good=thumb, annotator=judge)]


def is_log(row: Row) -> bool:
    """Whether the row has an answer to a prompt and a column for somebody's edit of it or for a thumb."""
    edits, answers = named(row, EDITS), named(row, MODELS_ANSWER)
    if has_label(row) and not edits:
        return False
    conversation = isinstance(row.get("messages"), list)
    if not (conversation or (asked_in(row) and answers)):
        return False
    # the label of a whole conversation may be anything, its topic for one
    thumbs = [key for key in named(row, THUMBS) if is_thumb(row[key]) and (answers or key.lower() != "label")]
    return bool(edits or thumbs)


def _exchange(row: Row) -> tuple[str, list[Message], str]:
    """The field, what was asked and what the model answered. Raises BadRow.

    `messages` may end with the answer, where no other column has it.
    """
    answered = only(row, MODELS_ANSWER)
    if isinstance(row.get("messages"), list):
        turns = turns_in(row["messages"], "messages")
        if answered:
            return f"messages + {answered}", turns, answer_in(row, answered)
        if turns[-1]["role"] != "assistant":
            raise BadRow("messages", None, "there is no answer, neither in a column nor in the last message")
        return "messages", turns[:-1], turns[-1]["content"]
    asked = prompt_column(row)
    if not asked or not answered:
        raise BadRow(None, None, "a column is missing: prompt + response")
    return f"{asked} + {answered}", asked_turns(row, asked), answer_in(row, answered)


def _edit(row: Row) -> str | None:
    edited = only(row, EDITS)
    return None if edited is None or is_blank(row[edited]) else text_in(row[edited], edited, "assistant")


def _thumb(row: Row) -> bool | None:
    """What the thumbs say, of which there may be several in a row. Raises BadRow if they disagree."""
    keys = named(row, THUMBS)
    keys = [key for key in keys if is_thumb(row[key])] or keys[:1]  # `feedback` beside a thumb may be a comment
    said = {thumb_in(row[key], key) for key in keys} - {None}
    if len(said) > 1:
        raise BadRow(" + ".join(keys), None, "the thumbs disagree")
    return said.pop() if said else None
