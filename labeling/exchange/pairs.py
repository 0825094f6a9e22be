"""Reads tables with two responses and a verdict: `response_a`, `response_b`, `preference`. Pure functions."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from labeling.codes import canonical, choice_of_word
from labeling.exchange.cells import is_absent, response_in
from labeling.exchange.choices import RANKS_OF, settle_verdicts, verdict_word
from labeling.exchange.columns import Columns, first_of, numbered_responses, plain
from labeling.exchange.frame import Frame, check_names, frame_of, note_unread
from labeling.exchange.label_studio import NUMBERED, UNDECIDED, is_flat
from labeling.exchange.reading import Reading, Row, Rows, Unusable, listed, names_in, refuse
from labeling.flags import TRUE
from labeling.votes import Vote, normalized_text

NO_VERDICT = "the verdict is missing"

_VERDICTS = (
    *("preference", "preferred", "winner", "choice", "chosen", "verdict", "better", "best", "comparison", "pairwise"),
    *("selected", "selection", "judgement", "judgment", "vote", "label"),
)
_CLEAR = ("winner", "preference", "preferred", "verdict", "better", "choice", "overall_preference", "human_preference")
_TIES = ("tie", "is_tie", "tied", "status")
_TIED = ("tie", "tied")
_FLAGGED = (*_TIED, *TRUE)  # in a column of ties only
_LOOSELY = re.compile(r"(?:^|_)(?:pref|preference|preferred|prefer|winner|better|verdict)(?:_|$)")


def is_pair(row: Mapping[str, Any]) -> bool:
    """Whether a row has two numbered responses and a verdict; Label Studio's flat exports have it in any column."""
    return len(numbered_responses(row)) == 2 and bool(_candidates([(None, row)]))


def has_clear_verdict(row: Mapping[str, Any]) -> bool:
    """Whether a verdict column names the better of two responses in words; then scores beside it do not matter."""
    responses = tuple(numbered_responses(row).values())
    column = first_of(row, _CLEAR) if len(responses) == 2 else None
    return column is not None and bool(choice_of_word(_word(row, column, None, [responses, *_models(row, responses)])))


def read_pairs(rows: Rows, columns: Columns, reading: Reading) -> None:
    """Add the votes on two responses each. Raises LabelingError if columns or verdicts are unclear.

    A verdict may also be the text of a response, or the name in `model_a` or `model_b`.
    """
    names = names_in(rows)
    responses = columns.responses or tuple(numbered_responses(names).values())
    choice = columns.choice or _the_one(_candidates(rows), columns.options.choice)
    if len(responses) != 2:
        refuse(
            f"Two responses are needed beside a verdict. Name them: {columns.options.responses}. The columns are "
            f"{', '.join(names)}."
        )
    check_names(names, {columns.options.choice: (choice,), columns.options.responses: responses})
    reading.note("responses", *responses)
    frame = frame_of(rows, columns, reading, NUMBERED if is_flat(rows[0][1]) else "")
    named = [(*responses,), *_models(names, responses)]
    tie = first_of(names, _TIES)
    words = [_word(row, choice, tie, named) for _, row in rows]
    meanings = settle_verdicts(words, columns, choice)
    reading.note("verdicts", choice, tie)
    reading.note("models", *(name for pair in named[1:] for name in pair))
    for index, ((place, row), word) in enumerate(zip(rows, words, strict=True)):
        meaning = meanings.get(word, "none")
        if meaning == "none":
            reading.leave_out(place, choice, UNDECIDED if word else NO_VERDICT, row)
            continue
        reading.rows += 1
        try:
            reading.votes.append(_vote(index, place, row, responses, RANKS_OF[meaning], frame, reading))
        except Unusable as fault:
            reading.add_bad(place, fault, row)
    note_unread(reading, names, frame)


def _vote(
    index: int, place: object, row: Row, responses: tuple[str, ...], ranks: list[int], frame: Frame, reading: Reading
) -> Vote:
    texts = [response_in(row.get(name), name, reading) for name in responses]
    if None in texts:
        raise Unusable(responses[texts.index(None)], "is empty, so the responses cannot be compared")
    return frame.vote(index, place, row, [text for text in texts if text is not None], ranks)


def _candidates(rows: Rows) -> list[str]:
    """The columns that may hold the verdict: the clearest names, or else all columns of words for sides."""
    names = names_in(rows)
    texts = numbered_responses(names).values()
    exact = [name for name in names if plain(name) in _VERDICTS]
    loose = [name for name in names if _LOOSELY.search(plain(name))]
    speaking = [name for name in (exact or loose or names) if name not in texts and _has_choice_words(rows, name)]
    if exact or loose:
        return speaking if len(exact or loose) > 1 and speaking else exact or loose
    return speaking if is_flat(rows[0][1]) else []


def _has_choice_words(rows: Rows, name: str) -> bool:
    """Whether all values in a column are words for a side or a tie."""
    words = {word for _, row in rows if (word := verdict_word(row.get(name)))}
    return bool(words) and all(choice_of_word(canonical(word)) for word in words)


def _the_one(names: list[str], option: str) -> str:
    if len(names) != 1:
        found = f"Several columns could hold it: {listed(names)}." if names else ""
        refuse(f"Which column names the better response? {found} Name it: {option}.")
    return names[0]


def _models(names: Iterable[str], responses: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The columns with the models' names beside the two responses."""
    slots = [plain(name).rpartition("_")[2] or plain(name)[-1] for name in responses]
    spelled = {plain(name): name for name in names}
    pairs = [tuple(spelled.get(form.format(slot), "") for slot in slots) for form in ("model_{}", "model{}")]
    return [pair for pair in pairs if all(pair)]


def _word(row: Row, choice: str, tie: str | None, named: Iterable[tuple[str, ...]]) -> str:
    """The verdict of a row in one word; a tie column takes precedence."""
    if tie and canonical(row.get(tie)) in (_TIED if plain(tie) == "status" else _FLAGGED):
        return "tie"
    return _side(row, row.get(choice), named) or verdict_word(row.get(choice))


def _side(row: Row, verdict: object, named: Iterable[tuple[str, ...]]) -> str | None:
    """`a` or `b` if the verdict equals the value of exactly one of two columns; else None."""
    if is_absent(verdict) or not isinstance(verdict, str):
        return None
    for pair in named:
        same = [normalized_text(str(row.get(name))) == normalized_text(verdict) for name in pair]
        if same.count(True) == 1:
            return "ab"[same.index(True)]
    return None
