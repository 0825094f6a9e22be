"""The columns common to all tables of judgements: prompt, annotator, time, comment. Pure functions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labeling.exchange.cells import annotator_in, flag_in, is_absent, messages_in, prompt_in
from labeling.exchange.columns import (
    CONTEXT_NAMES,
    IDS,
    SYSTEMS,
    TABLE_PROMPT_NAMES,
    TIMES,
    Columns,
    Options,
    annotator_columns,
    first_of,
    plain,
)
from labeling.exchange.reading import Reading, Row, Rows, listed, names_in, refuse
from labeling.exchange.times import times_in
from labeling.records import Message
from labeling.votes import Vote

UNREAD_TIMES = "The times in `{}` cannot be read, so the later row counts where one person answered several times"


@dataclass(frozen=True)
class Frame:
    """The columns by role; None if the table has no such column. `times` has one text per row."""

    prompt: str
    messages: str | None
    extra: str | None
    system: str | None
    id: str | None
    annotator: str | None
    comment: str | None
    both_bad: str | None
    guidelines: str | None
    times: Sequence[str] = field(default_factory=tuple)
    prefix: str = ""

    def vote(self, index: int, place: object, row: Row, texts: Sequence[str], ranks: Sequence[int | None]) -> Vote:
        """The vote of one row; without ranks if the row has neither annotator nor ranks. Raises Unusable."""
        annotator = self.annotator_of(row)
        given = None if annotator is None and not any(ranks) else list(ranks)
        when = self.times[index] if self.times else ""
        return Vote(
            place, self.prompt_of(row), list(texts), given, annotator, self.id_of(row), when, self.details_in(row)
        )

    def prompt_of(self, row: Row) -> str | list[Message]:
        """The prompt. Raises Unusable."""
        extra, system = (row.get(name) if name else None for name in (self.extra, self.system))
        if self.messages and not is_absent(row.get(self.messages)):
            return prompt_in(messages_in(row[self.messages], self.messages), self.messages, extra, system)
        value = row.get(self.prompt)
        if isinstance(value, str) and re.match(r"\s*\[\s*\{\s*\"", value):
            value = messages_in(value, self.prompt)
        return prompt_in(value, self.prompt, extra, system)

    def annotator_of(self, row: Row) -> str | None:
        """The annotator's name, or None."""
        return annotator_in(row.get(self.annotator), self.prefix) if self.annotator else None

    def id_of(self, row: Row) -> str | None:
        """The id as text, or None."""
        value = row.get(self.id) if self.id else None
        if is_absent(value):
            return None
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    def details_in(self, row: Row) -> dict[str, Any]:
        """The further details of a vote: comment, guidelines, both_bad. Raises Unusable."""
        texts = {"comment": self.comment, "guidelines": self.guidelines}
        details: dict[str, Any] = {
            key: str(row[name]) for key, name in texts.items() if name and not is_absent(row.get(name))
        }
        if self.both_bad and flag_in(row.get(self.both_bad), self.both_bad):
            details["both_bad"] = True
        return details


def frame_of(rows: Rows, columns: Columns, reading: Reading, prefix: str = "") -> Frame:
    """The frame of these rows, noted in `reading`. Raises LabelingError if the prompt's column is unclear."""
    names = names_in(rows)
    options = columns.options
    named = {options.id: columns.id, options.prompt: columns.prompt, options.annotator: columns.annotator}
    check_names(names, {option: (name,) for option, name in {**named, options.comment: columns.comment}.items()})
    messages = first_of(names, ("messages",)) if not columns.prompt else None
    prompt = columns.prompt or _prompt_column(names, options) or messages
    if prompt is None:
        refuse(f"There is no column for the prompt. Name it: {options.prompt}. The columns are {', '.join(names)}.")
    annotators = (
        [columns.annotator] if columns.annotator else annotator_columns(name for name in names if name != prompt)
    )
    extra = first_of((name for name in names if name != prompt), CONTEXT_NAMES)
    system = first_of(names, SYSTEMS)
    id_, comment = columns.id or first_of(names, IDS), columns.comment or first_of(names, ("comment", "comments"))
    reading.note("prompt", *(name for name in (system, messages or prompt, extra) if name))
    reading.note("annotators", *annotators[:1])
    reading.note("ids", id_)
    reading.note("comments", comment)
    return Frame(
        prompt=prompt,
        messages=messages,
        extra=extra,
        system=system,
        id=id_,
        annotator=annotators[0] if annotators else None,
        comment=comment,
        both_bad=first_of(names, ("both_bad",)),
        guidelines=first_of(names, ("guidelines",)),
        times=_times(rows, names, reading),
        prefix=prefix,
    )


def check_names(names: Sequence[str], given: Mapping[str, Sequence[str | None]]) -> None:
    """Raise LabelingError if an option names a missing column."""
    for option, wanted in given.items():
        for name in (name for name in wanted if name is not None and name not in names):
            refuse(f"{option}: there is no column '{name}'; the columns are {', '.join(names)}.")


def note_unread(reading: Reading, names: Sequence[str], frame: Frame) -> None:
    """Note the columns that were not read."""
    known = {name for found in reading.columns.values() for name in found}
    known |= {name for name in (frame.prompt, frame.both_bad, frame.guidelines) if name}
    reading.unread = tuple(name for name in names if name not in known)


def _prompt_column(names: Sequence[str], options: Options) -> str | None:
    found = [name for name in names if plain(name) in TABLE_PROMPT_NAMES]
    if len(found) > 1:
        refuse(f"Several columns may hold the prompt: {listed(found)}. Name the one: {options.prompt}.")
    return found[0] if found else first_of(names, ("input",))


def _times(rows: Rows, names: Sequence[str], reading: Reading) -> Sequence[str]:
    column = first_of(names, TIMES)
    if column is None:
        return ()
    times = times_in([row.get(column) for _, row in rows])
    if times is None:
        reading.tallies[UNREAD_TIMES.replace("{}", column)] += 1
        return ()
    reading.note("times", column)
    return times
