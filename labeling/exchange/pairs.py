"""Tables with two responses and a verdict: `response_a`, `response_b`, `preference`. Pure."""

from collections.abc import Mapping
from typing import Any

from labeling.codes import canonical, choice_of_word
from labeling.exchange.cells import response_in
from labeling.exchange.choices import RANKS_OF, settled, verdict_word
from labeling.exchange.columns import Columns, first_of, numbered_responses
from labeling.exchange.frame import Frame, check_names, frame_of, note_unread
from labeling.exchange.label_studio import NUMBERED, UNDECIDED, is_flat
from labeling.exchange.reading import Reading, Row, Rows, Unusable, listed, names_in, refuse
from labeling.votes import Vote

VERDICTS = (
    "preference",
    "preferred",
    "winner",
    "choice",
    "verdict",
    "better",
    "comparison",
    "pairwise",
    "selected",
    "judgement",
    "judgment",
    "vote",
)


def is_pair(row: Mapping[str, Any]) -> bool:
    """Whether a row has two numbered responses and a verdict; in Label Studio's flat exports any column may hold it."""
    if len(numbered_responses(row)) != 2:
        return False
    return first_of(row, VERDICTS) is not None or (is_flat(row) and bool(_speaking([(None, row)])))


def read_pairs(rows: Rows, columns: Columns, reading: Reading) -> None:
    """Enter the votes of two responses each. Raises LabelingError if columns or verdicts are not clear."""
    names = names_in(rows)
    responses = columns.responses or tuple(numbered_responses(names).values())
    choice = columns.choice or first_of(names, VERDICTS) or _the_one(_speaking(rows), columns.options.choice)
    if len(responses) != 2:
        refuse(
            f"Two responses are needed beside a verdict. Name them: {columns.options.responses}. The columns are "
            f"{', '.join(names)}."
        )
    check_names(names, {columns.options.choice: (choice,), columns.options.responses: responses})
    reading.note("responses", *responses)
    frame = frame_of(rows, columns, reading, NUMBERED if is_flat(rows[0][1]) else "")
    meanings = settled((verdict_word(row.get(choice)) for _, row in rows), columns, choice)
    reading.note("verdicts", choice)
    for index, (place, row) in enumerate(rows):
        reading.rows += 1
        meaning = meanings.get(verdict_word(row.get(choice)), "none")
        try:
            if meaning == "none":
                reading.leave_out(place, choice, UNDECIDED, row)
            else:
                reading.votes.append(_vote(index, place, row, responses, RANKS_OF[meaning], frame, reading))
        except Unusable as fault:
            reading.enter_bad(place, fault, row)
    note_unread(reading, names, frame)


def _vote(
    index: int, place: object, row: Row, responses: tuple[str, ...], ranks: list[int], frame: Frame, reading: Reading
) -> Vote:
    texts = [response_in(row.get(name), name, reading) for name in responses]
    if None in texts:
        raise Unusable(responses[texts.index(None)], "is empty: an empty response is neither better nor worse")
    return frame.vote(reading, index, place, row, [text for text in texts if text is not None], ranks)


def _speaking(rows: Rows) -> list[str]:
    """The columns in which all values are words for a side or a tie."""
    found, texts = [], numbered_responses(names_in(rows)).values()
    for name in names_in(rows):
        words = {word for _, row in rows if (word := verdict_word(row.get(name)))}
        if words and all(choice_of_word(canonical(word)) for word in words) and name not in texts:
            found.append(name)
    return found


def _the_one(names: list[str], option: str) -> str:
    if len(names) != 1:
        found = f"Several columns could hold it: {listed(names)}." if names else ""
        refuse(f"Which column tells the better response? {found} Name it: {option}.")
    return names[0]
