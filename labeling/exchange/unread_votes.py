"""Converts responses with ranks or scores beside them to votes; shared by all tables of judgements. Pure functions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from labeling.exchange.cells import is_absent, number_in, rank_in, response_in
from labeling.exchange.columns import Columns, Scale, scale_of
from labeling.exchange.frame import Frame
from labeling.exchange.reading import Reading, Row, Rows, Unusable, listed, refuse
from labeling.records import ranks_from_scores
from labeling.votes import Vote

EMPTY = "Responses that are ranked but empty, and count as absent: {}"
UNRANKED = "Responses without a rank beside ranked ones, not compared: {}"
TOP = "Every row ranks only its best {} responses: the others count as worse and tied"
NO_RANKS = "ranks none of the responses"

Cell = tuple[str, object]
"""A column's name and the cell's value."""


class UnreadVote(NamedTuple):
    """One annotator's unread cells beside the responses to one prompt.

    `number` is the index of the row, `more` are further rows of the same vote.
    """

    number: int
    place: object
    row: Row
    responses: Sequence[Cell]
    judgements: Sequence[Cell]
    more: Rows = ()


def add_votes(
    judged: Sequence[UnreadVote], names: Sequence[str], frame: Frame, columns: Columns, reading: Reading
) -> None:
    """Read all judgements and add them as votes or as faults; `names` are the columns of ranks or scores.

    Raises LabelingError if it is unclear whether these are ranks or scores.
    """
    scale = settle_scale(judged, names, columns)
    reading.note("ranks" if scale == "ranks" else "scores (higher is better)", *names)
    reading.rows += len(judged)
    votes = []
    for one in judged:
        try:
            vote = _vote(one, scale, frame, reading)
        except Unusable as fault:
            reading.add_bad(one.place, fault, one.row)
            add_all_bad(one.more, fault, reading)
            continue
        if vote.ranks is not None and not any(vote.ranks):
            reading.leave_out(one.place, names[0], NO_RANKS, one.row)
        else:
            votes.append(vote)
    reading.votes += with_the_rest_below(votes, reading) if scale == "ranks" else votes
    unranked = sum(vote.ranks.count(None) for vote in reading.votes if vote.ranks)
    if unranked:
        reading.tallies[UNRANKED] += unranked


def add_all_bad(rows: Rows, fault: Unusable, reading: Reading) -> None:
    """Count rows that are unusable for one reason."""
    reading.rows += len(rows)
    for place, row in rows:
        reading.add_bad(place, fault, row)


def settle_scale(judged: Sequence[UnreadVote], names: Sequence[str], columns: Columns) -> Scale:
    """Ranks or scores, by option, by the columns' names, or else ranks if all values can be ranks.

    Raises LabelingError with the observed values otherwise.
    """
    if columns.scale:
        return columns.scale
    kinds = {kind for kind in map(scale_of, names) if kind}
    if len(kinds) == 1:
        return kinds.pop()
    impossible = sorted({value for one in judged for value in _numbers(one) if not _can_be_rank(value, one)})
    if kinds or impossible:
        seen = sorted({value for one in judged for value in _numbers(one)})
        values = ", ".join(f"{value:g}" for value in seen[:12]) + (" …" if len(seen) > 12 else "")
        refuse(
            f"Are {listed(names)} ranks (1 is best) or scores (the highest is best)? The values are {values}. "
            f"Give {columns.options.scale}."
        )
    return "ranks"


def with_the_rest_below(votes: Sequence[Vote], reading: Reading) -> list[Vote]:
    """The votes; if each of them ranks exactly 1 to k of more than k responses, the rest is tied at k + 1."""
    ranked = [vote for vote in votes if vote.ranks is not None]
    sizes = {sum(rank is not None for rank in vote.ranks or ()) for vote in ranked}
    best = next(iter(sizes)) if len(sizes) == 1 else 0
    top = set(range(1, best + 1))
    if not top or not all(None in (vote.ranks or ()) and {*(vote.ranks or ())} == {None, *top} for vote in ranked):
        return list(votes)
    reading.tallies[TOP.replace("{}", str(best))] += 1
    return [
        vote if vote.ranks is None else replace(vote, ranks=[rank or best + 1 for rank in vote.ranks]) for vote in votes
    ]


def _vote(one: UnreadVote, scale: Scale, frame: Frame, reading: Reading) -> Vote:
    texts: list[str] = []
    kept: list[Cell] = []
    for (field, cell), judgement in zip(one.responses, one.judgements, strict=True):
        text = response_in(cell, field, reading)
        if text is not None:
            texts.append(text)
            kept.append(judgement)
        elif not is_absent(judgement[1]):
            reading.tallies[EMPTY] += 1
    return frame.vote(one.number, one.place, one.row, texts, _ranks(kept, scale))


def _ranks(cells: Sequence[Cell], scale: Scale) -> list[int | None]:
    if scale == "ranks":
        return [rank_in(cell, field) for field, cell in cells]
    scores = [number_in(cell, field) for field, cell in cells]
    ranks = iter(ranks_from_scores([score for score in scores if score is not None]))
    return [None if score is None else next(ranks) for score in scores]


def _numbers(one: UnreadVote) -> list[float]:
    """The numbers beside the responses; other values are reported when the row is read."""
    found = []
    for field, cell in one.judgements:
        try:
            number = number_in(cell, field)
        except Unusable:
            continue
        if number is not None:
            found.append(number)
    return found


def _can_be_rank(value: float, one: UnreadVote) -> bool:
    return value.is_integer() and 1 <= value <= len(one.judgements)
