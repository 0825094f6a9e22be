"""People's judgements out of users' files: votes on one prompt are one ranking, however they arrive.

All files of a request are held whole: their codes are settled first, over all rows, then rows become votes, and votes
are pooled. Nothing goes without an entry in the ledger.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, cast

from labeling.codes import canonical, choice_of_word
from labeling.exchange.reading import Fault
from labeling.exchange.times import times_in
from labeling.exchange.uncounted import REJECTED, uncounted
from labeling.votes import Cause, Vote, pool
from pipeline.data.faults import BadRow, LeftOut, Place
from pipeline.data.formats.coded import Codes, Meanings, check_meanings, with_meanings
from pipeline.data.formats.columns import with_columns
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.detection import AUTO
from pipeline.data.formats.exchanged import read_exchanged
from pipeline.data.formats.judged import Judgement, Marked, Pair, WrittenNumber
from pipeline.data.formats.labels import group_marks
from pipeline.data.formats.nested import unnested
from pipeline.data.formats.readings import Reading
from pipeline.data.formats.table import EXCHANGED, JUDGEMENTS, MARKED, Format, judgements_in
from pipeline.data.formats.watching import WatchedRow
from pipeline.data.judgements.account import Account
from pipeline.data.judgements.pairs import as_preference, as_vote, is_vote, latest_pairs, pair_key
from pipeline.data.ledger import Ledger, OnBadRow, Step, check_bad_fraction
from pipeline.data.loading import rows_with_format
from pipeline.data.reading.files import BrokenRow, Paths, RawRow, find_files, listed_files
from pipeline.data.rows import Preference, Ranking
from pipeline.errors import RequestError

T = TypeVar("T", Vote, Marked, Pair)

UNPAIRED = "no other answer to the same prompt was marked"

_STEPS: Mapping[Cause, Step] = {"duplicate": "duplicate", "superseded": "superseded", "unusable": "format"}
_REASONS: Mapping[Cause, str] = {
    "duplicate": "the same person gave the same answer before",
    "superseded": "the same person answered again later",
}
_ENOUGH = 10  # pairs in which equal words are no coincidence
_NUMBERS = "{:,} responses are numbers or true/false, not texts: they are read as texts"
_REASONING = "{:,} pairs come with reasoning: of judged answers the words alone are compared and learned"
_UNREAD_TIMES = "{}: its times cannot be read: of several answers by one person the later row counts"


@dataclass(frozen=True)
class Manner:
    """How judgement files are to be read: the options of `labeling`."""

    format: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)
    on_bad_row: OnBadRow = "drop"
    max_bad_fraction: float = 0.2


class Loaded(NamedTuple):
    """Rankings, or else ready-made pairs; the ledger; and what a person should know."""

    kind: Literal["rankings", "preferences"]
    rankings: list[Ranking]
    pairs: list[Preference]
    ledger: Ledger
    readings: list[str]  # how each file was read
    remarks: list[str]


class _File(NamedTuple):
    path: Path
    rows: list[RawRow | BrokenRow]
    format: Format[Judgement]


def load_judgements(paths: Paths, manner: Manner = Manner()) -> Loaded:
    """People's judgements, pooled over all files.

    Raises RequestError if a file cannot be read, its format or its codes cannot be told, too many rows are malformed,
    or some files hold rankings and others pairs that cannot be votes.
    """
    check_meanings(manner.codes, "labeling.codes")
    account = Account(manner.on_bad_row)
    files = [_file(path, manner) for path in find_files(paths)]
    meanings = _meanings(files, manner, account)
    rowwise = [file for file in files if file.format not in EXCHANGED]
    readings: dict[str, Reading] = {}
    found = [one for file in rowwise for one in _judgements(file, manner, meanings, account, readings)]
    told: list[str] = []
    for name, reading in readings.items():
        names = listed_files([file.path for file in rowwise if file.format.name == name])
        told += [f"{names}: {text}" for text in reading.sentences(meanings)]
    for form in EXCHANGED:
        found += _exchanged([file for file in files if file.format is form], form.name, manner, account)
    account.remarks += [*_numbers_remark(found), *_reasoning_remark(found)]
    if manner.format == AUTO:
        _check_answers([one for _, one in found if isinstance(one, Pair)], _named(files))
    votes, marks, pairs = _of(Vote, found), _of(Marked, found), _of(Pair, found)
    if _are_votes(pairs, bool(votes or marks), paths):
        votes, pairs = [*votes, *((place, as_vote(pair)) for place, pair in pairs)], []
    rows = _pairs(pairs, account)
    rankings = _pooled(votes, marks, account)
    check_bad_fraction(account.ledger, manner.max_bad_fraction, "labeling")
    kind: Literal["rankings", "preferences"] = "preferences" if rows else "rankings"
    return Loaded(kind, rankings, rows, account.ledger, told, account.remarks)


def _file(path: Path, manner: Manner) -> _File:
    rows, chosen = rows_with_format(path, manner.format, JUDGEMENTS, manner.columns, unnested)
    return _File(path, list(rows), chosen)


def _meanings(files: Sequence[_File], manner: Manner, account: Account) -> Meanings:
    """What the codes of all files mean: each column is read as a whole, in however many files it stands."""
    codes = Codes(manner.codes)
    for file in files:
        codes.add(_renamed(file, manner), file.format.codes_of)
    meanings = codes.settle(_named(files))
    whole = any(file.format in EXCHANGED for file in files)  # these settle their codes themselves
    if not whole and (unused := codes.unused()):
        account.remarks.append(f"labeling.codes names {', '.join(unused)}: no column of codes holds it")
    return meanings


def _renamed(file: _File, manner: Manner) -> Iterable[Row]:
    for raw in file.rows:
        if isinstance(raw, RawRow):
            try:
                yield with_columns(raw.fields, manner.columns)
            except BadRow:  # entered when the row is read
                continue


def _judgements(
    file: _File, manner: Manner, meanings: Meanings, account: Account, readings: dict[str, Reading]
) -> list[tuple[Place, Judgement]]:
    """What the rows of a file hold, with their places; the others go into the ledger.

    `readings` takes how the rows of each format were read.
    """
    found: list[tuple[Place, Judgement]] = []
    reading = readings.setdefault(file.format.name, Reading(file.format.name))
    for raw in file.rows:
        account.saw(raw)
        try:
            if isinstance(raw, BrokenRow):
                raise raw.fault
            row = with_columns(raw.fields, manner.columns)
            watched = WatchedRow(with_meanings(row, file.format.codes_of, meanings))
            _check_counts(watched, file.format)
            found += [(raw.place, one) for one in judgements_in(watched, file.format)]
            reading.add(watched)
        except BadRow as fault:
            account.drop(raw.place, fault, "cleaning" if isinstance(fault, LeftOut) else "format")
    times = times_in([one.when for _, one in found])
    if times is None:
        account.remarks.append(_UNREAD_TIMES.format(file.path))
    sortable = times or [""] * len(found)
    return [(place, replace(one, when=when)) for (place, one), when in zip(found, sortable, strict=True)]


def _check_counts(row: WatchedRow, form: Format[Judgement]) -> None:
    """Raise LeftOut where the row says that it does not count; of a single answer `rejected` is a mark."""
    if left_out := uncounted(row, but=(REJECTED,) if form in MARKED else ()):
        raise LeftOut(left_out.field, None, left_out.reason)


def _exchanged(files: Sequence[_File], form: str, manner: Manner, account: Account) -> list[tuple[Place, Judgement]]:
    """The votes of files that are read as a whole, together; rows that cannot be used go into the ledger."""
    rows: list[tuple[object, Row]] = []
    for raw in (raw for file in files for raw in file.rows):
        account.saw(raw)
        try:
            if isinstance(raw, BrokenRow):
                raise raw.fault
            rows.append((raw.place, with_columns(raw.fields, manner.columns)))
        except BadRow as fault:
            account.drop(raw.place, fault, "format")
    if not rows:
        return []
    reading = read_exchanged(rows, form, {str(k): v for k, v in manner.codes.items()}, _named(files))
    names = listed_files([file.path for file in files])
    account.remarks += [f"{names}: {str(reading)[:1].lower()}{str(reading)[1:]}", *reading.remarks]
    used = [cast(Place, vote.place) for vote in reading.votes]
    bad = [_part(fault, "format") for fault in reading.bad]
    left_out = [_part(fault, "cleaning") for fault in reading.left_out]
    account.drop_parts([*used, *(place for place, _, _ in (*bad, *left_out))], [*bad, *left_out])
    return [(place, vote) for place, vote in zip(used, reading.votes, strict=True)]


def _part(fault: Fault, step: Step) -> tuple[Place, BadRow, Step]:
    return cast(Place, fault.place), BadRow(fault.field, None, fault.reason), step


def _named(files: Sequence[_File]) -> str:
    return str(files[0].path) if len(files) == 1 else f"{files[0].path} and {len(files) - 1:,} more files"


def _of(kind: type[T], found: Iterable[tuple[Place, Judgement]]) -> list[tuple[Place, T]]:
    return [(place, one) for place, one in found if isinstance(one, kind)]


def _numbers_remark(found: Iterable[tuple[Place, Judgement]]) -> list[str]:
    """How many answers stood there as numbers; those of a row with several votes count once."""
    texts: dict[tuple[Place, int], object] = {}
    for place, one in found:
        if isinstance(one, Pair):
            answers: Sequence[object] = [turn["content"] for turn in (*one.chosen, *one.rejected)]
        else:
            answers = one.responses if isinstance(one, Vote) else [one.response]
        texts |= {(place, slot): text for slot, text in enumerate(answers)}
    count = sum(isinstance(text, WrittenNumber) for text in texts.values())
    return [_NUMBERS.format(count)] if count else []


def _check_answers(pairs: Sequence[Pair], where: str) -> None:
    """Raise RequestError where all answers in pairs are words such as A and B: labels, and no answers to learn."""
    texts = {turn["content"] for pair in pairs for turn in (*pair.chosen, *pair.rejected)}
    labels = {text for text in texts if choice_of_word(canonical(text)) or canonical(text) in ("0", "1", "2")}
    if len(pairs) >= _ENOUGH and labels == texts:
        raise RequestError(
            f"{where}: all chosen and rejected answers are {', '.join(map(repr, sorted(texts)))}: labels, it seems, of "
            "answers in other columns. Map these: labeling.columns.response_a=…, labeling.columns.response_b=…, "
            "labeling.columns.winner=…. If they are the answers: labeling.format=preferences."
        )


def _reasoning_remark(found: Iterable[tuple[Place, Judgement]]) -> list[str]:
    pairs = (one for _, one in found if isinstance(one, Pair))
    count = sum(any(turn.get("reasoning_content") for turn in (*pair.chosen, *pair.rejected)) for pair in pairs)
    return [_REASONING.format(count)] if count else []


def _are_votes(pairs: Sequence[tuple[Place, Pair]], beside_votes: bool, paths: Paths) -> bool:
    """Whether pairs are to be pooled as votes: where people are named, or other files hold votes.

    Raises RequestError where files hold votes and pairs that cannot be votes.
    """
    named = any(pair.annotator is not None for _, pair in pairs)
    possible = all(is_vote(pair) for _, pair in pairs)
    if beside_votes and pairs and not possible:
        raise RequestError(f"{paths} hold both rankings and preference pairs. Name files of one kind.")
    return bool(pairs) and possible and (named or beside_votes)


def _pairs(pairs: Sequence[tuple[Place, Pair]], account: Account) -> list[Preference]:
    """Pairs as rows; of several by one person on the same answers the latest."""
    kept, out = latest_pairs(pairs)
    account.drop_parts([place for place, _ in pairs], [_uncounted(place, cause) for place, cause in out])
    repeated = len(kept) - len({pair_key(pair) for pair in kept})
    if repeated:
        account.remarks.append(f"Pairs of two answers that other rows compare, too, and that are pooled: {repeated:,}")
    return [as_preference(pair) for pair in kept]


def _pooled(
    votes: Sequence[tuple[Place, Vote]], marks: Sequence[tuple[Place, Marked]], account: Account
) -> list[Ranking]:
    """One ranking for each prompt and set of answers; votes and marks that do not count are entered."""
    grouped = group_marks(marks)
    unnamed = sum(mark.annotator is None for _, mark in marks)
    if unnamed:
        account.remarks.append(
            f"Marks without an annotator, each of which counts, and whose mean ranks answers: {unnamed:,}"
        )
    for place, _, cause in grouped.left_out:
        account.drop(*(_uncounted(place, cause) if cause else (place, BadRow(None, None, UNPAIRED), "unpaired")))
    own = [replace(vote, place=place) for place, vote in votes]
    pooled = pool([*own, *(replace(vote, place=places[0]) for vote, places in grouped.votes)])
    out = [_uncounted(cast(Place, one.vote.place), one.cause, one.reason) for one in pooled.left_out]
    account.drop_parts([place for place, _ in votes], out)
    account.remarks += pooled.remarks
    return pooled.rankings


def _uncounted(place: Place, cause: Cause, reason: str = "") -> tuple[Place, BadRow, Step]:
    return place, BadRow(None, None, reason or _REASONS[cause]), _STEPS[cause]
