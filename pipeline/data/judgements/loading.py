"""Reads judgements from users' files; all votes on one prompt become one ranking.

All files of a request are held in memory: first the codes of all rows are settled, then rows become votes, then votes
are pooled. Every dropped row has an entry in the ledger.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from pipeline.data.formats.judgement import Judgement, Marked, Pair, WrittenNumber
from pipeline.data.formats.labels import Grouped, group_marks
from pipeline.data.formats.nested import unnested
from pipeline.data.formats.readings import Reading
from pipeline.data.formats.table import EXCHANGED, JUDGEMENTS, MARKED, Format, judgements_in
from pipeline.data.formats.watching import WatchedRow
from pipeline.data.judgements.account import Account
from pipeline.data.judgements.marked import good_or_bad
from pipeline.data.judgements.pairs import as_preference, as_vote, is_vote, latest_pairs, pair_key
from pipeline.data.ledger import Ledger, OnBadRow, Step, check_bad_fraction
from pipeline.data.loading import rows_with_format
from pipeline.data.reading.files import BrokenRow, Paths, RawRow, find_files, listed_files
from pipeline.data.rows import Preference, Ranking
from pipeline.errors import RequestError

JudgementT = TypeVar("JudgementT", Vote, Marked, Pair)
T = TypeVar("T")

UNPAIRED = "no other answer to the same prompt was marked"

_STEPS: Mapping[Cause, Step] = {"duplicate": "duplicate", "superseded": "superseded", "unusable": "format"}
_REASONS: Mapping[Cause, str] = {
    "duplicate": "the same person gave the same answer before",
    "superseded": "the same person answered again later",
}
_MIN_PAIRS_OF_LABELS = 10  # in fewer pairs, label-like answers may be a coincidence
_NUMBERS = "{:,} responses are numbers or true/false instead of text: they are read as text"
_REASONING = "{:,} pairs come with reasoning: only the answers themselves are compared and learned"
_UNREAD_TIMES = "{}: its times cannot be read, so the later row counts where one person answered several times"


@dataclass(frozen=True)
class LoadingOptions:
    """How to read judgement files: the options of `labeling`."""

    format: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)
    on_bad_row: OnBadRow = "drop"
    max_bad_fraction: float = 0.2


class Loaded(NamedTuple):
    """Rankings or ready-made pairs, answers that were marked one by one, the ledger, and remarks for the user."""

    kind: Literal["rankings", "preferences"]
    rankings: list[Ranking]
    pairs: list[Preference]
    ledger: Ledger
    readings: list[str]  # how each file was read, in sentences
    remarks: list[str]
    marks: Sequence[Marked] = ()  # as good or bad, with the annotators' public names; they also make up rankings


class _File(NamedTuple):
    path: Path
    rows: list[RawRow | BrokenRow]
    format: Format[Judgement]


def load_judgements(paths: Paths, options: LoadingOptions = LoadingOptions()) -> Loaded:
    """All judgements, pooled over all files.

    Raises RequestError if a file cannot be read, its format or codes are unclear, too many rows are malformed, or some
    files hold rankings and others pairs that cannot be votes.
    """
    check_meanings(options.codes, "labeling.codes")
    account = Account(options.on_bad_row)
    files = [_file(path, options) for path in find_files(paths)]
    meanings = _meanings(files, options, account)
    rowwise = [file for file in files if file.format not in EXCHANGED]
    readings: dict[str, Reading] = {}
    found = [one for file in rowwise for one in _judgements(file, options, meanings, account, readings)]
    sentences: list[str] = []
    for name, reading in readings.items():
        names = listed_files([file.path for file in rowwise if file.format.name == name])
        sentences += [f"{names}: {text}" for text in reading.sentences(meanings)]
    for form in EXCHANGED:
        found += _exchanged_votes([file for file in files if file.format is form], form.name, options, account)
    account.remarks += [*_numbers_remark(found), *_reasoning_remark(found)]
    if options.format == AUTO:
        _check_answers([one for _, one in found if isinstance(one, Pair)], _names_of_files(files))
    votes, marks, pairs = _only(Vote, found), _only(Marked, found), _only(Pair, found)
    if _can_pool_as_votes(pairs, bool(votes or marks), paths):
        votes, pairs = [*votes, *((place, as_vote(pair)) for place, pair in pairs)], []
    rows = _preference_rows(pairs, account)
    grouped = group_marks(marks)
    rankings = _pooled_rankings(votes, marks, grouped, account)
    thumbs = good_or_bad(grouped.counted(marks))
    check_bad_fraction(account.ledger, options.max_bad_fraction, "labeling", used=bool(thumbs))
    kind: Literal["rankings", "preferences"] = "preferences" if rows else "rankings"
    return Loaded(kind, rankings, rows, account.ledger, sentences, account.remarks, thumbs)


def _file(path: Path, options: LoadingOptions) -> _File:
    rows, chosen = rows_with_format(path, options.format, JUDGEMENTS, options.columns, unnested)
    return _File(path, list(rows), chosen)


def _meanings(files: Sequence[_File], options: LoadingOptions, account: Account) -> Meanings:
    """The meanings of all codes. A column is settled over all files that have it."""
    codes = Codes(options.codes)
    for file in files:
        codes.add(_renamed(file, options), file.format.codes_of)
    meanings = codes.settle(_names_of_files(files))
    has_exchanged = any(file.format in EXCHANGED for file in files)  # these settle their codes themselves
    if not has_exchanged and (unused := codes.unused()):
        account.remarks.append(f"labeling.codes names {', '.join(unused)}, which occurs in no column of codes")
    return meanings


def _renamed(file: _File, options: LoadingOptions) -> Iterable[Row]:
    for raw in file.rows:
        if isinstance(raw, RawRow):
            try:
                yield with_columns(raw.fields, options.columns)
            except BadRow:  # recorded when the row is read
                continue


def _judgements(
    file: _File, options: LoadingOptions, meanings: Meanings, account: Account, readings: dict[str, Reading]
) -> list[tuple[Place, Judgement]]:
    """The judgements of a file with their places; unusable rows go into the ledger.

    `readings` collects how the rows of each format were read.
    """
    found: list[tuple[Place, Judgement]] = []
    reading = readings.setdefault(file.format.name, Reading(file.format.name))
    for raw in taken(file.rows):
        account.count_read(raw)
        try:
            if isinstance(raw, BrokenRow):
                raise raw.fault
            row = with_columns(raw.fields, options.columns)
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
    return [
        (place, one if one.when == when else replace(one, when=when))
        for (place, one), when in zip(found, sortable, strict=True)
    ]


def taken(rows: list[T]) -> Iterator[T]:
    """Yield the rows and remove them from the list: what is made of them takes their place in memory."""
    rows.reverse()
    while rows:
        yield rows.pop()


def _check_counts(row: WatchedRow, form: Format[Judgement]) -> None:
    """Raise LeftOut if a column marks the row as not counting; for a single answer `rejected` is a mark instead."""
    if left_out := uncounted(row, but=(REJECTED,) if form in MARKED else ()):
        raise LeftOut(left_out.field, None, left_out.reason)


def _exchanged_votes(
    files: Sequence[_File], form: str, options: LoadingOptions, account: Account
) -> list[tuple[Place, Judgement]]:
    """The votes of files whose format is read over all rows at once; unusable rows go into the ledger."""
    rows: list[tuple[object, Row]] = []
    for raw in (raw for file in files for raw in taken(file.rows)):
        account.count_read(raw)
        try:
            if isinstance(raw, BrokenRow):
                raise raw.fault
            rows.append((raw.place, with_columns(raw.fields, options.columns)))
        except BadRow as fault:
            account.drop(raw.place, fault, "format")
    if not rows:
        return []
    reading = read_exchanged(rows, form, {str(k): v for k, v in options.codes.items()}, _names_of_files(files))
    names = listed_files([file.path for file in files])
    account.remarks += [f"{names}: {str(reading)[:1].lower()}{str(reading)[1:]}", *reading.remarks]
    used = [cast(Place, vote.place) for vote in reading.votes]
    bad = [_ledger_entry(fault, "format") for fault in reading.bad]
    left_out = [_ledger_entry(fault, "cleaning") for fault in reading.left_out]
    account.drop_parts([*used, *(place for place, _, _ in (*bad, *left_out))], [*bad, *left_out])
    return [(place, vote) for place, vote in zip(used, reading.votes, strict=True)]


def _ledger_entry(fault: Fault, step: Step) -> tuple[Place, BadRow, Step]:
    return cast(Place, fault.place), BadRow(fault.field, None, fault.reason), step


def _names_of_files(files: Sequence[_File]) -> str:
    return str(files[0].path) if len(files) == 1 else f"{files[0].path} and {len(files) - 1:,} more files"


def _only(kind: type[JudgementT], found: Iterable[tuple[Place, Judgement]]) -> list[tuple[Place, JudgementT]]:
    return [(place, one) for place, one in found if isinstance(one, kind)]


def _numbers_remark(found: Iterable[tuple[Place, Judgement]]) -> list[str]:
    """A remark on answers written as numbers, if there are any; a row with several votes counts once."""
    numbers: set[tuple[Place, int]] = set()
    for place, one in found:
        if isinstance(one, Pair):
            answers: Sequence[object] = [turn["content"] for turn in (*one.chosen, *one.rejected)]
        else:
            answers = one.responses if isinstance(one, Vote) else [one.response]
        numbers |= {(place, slot) for slot, text in enumerate(answers) if isinstance(text, WrittenNumber)}
    return [_NUMBERS.format(len(numbers))] if numbers else []


def _check_answers(pairs: Sequence[Pair], where: str) -> None:
    """Raise RequestError if all answers of the pairs are labels such as A and B instead of texts."""
    texts = {turn["content"] for pair in pairs[:_MIN_PAIRS_OF_LABELS] for turn in (*pair.chosen, *pair.rejected)}
    if len(pairs) < _MIN_PAIRS_OF_LABELS or not all(map(_is_label, texts)):
        return
    texts |= {turn["content"] for pair in pairs for turn in (*pair.chosen, *pair.rejected)}
    if all(map(_is_label, texts)):
        raise RequestError(
            f"{where}: all chosen and rejected answers are {', '.join(map(repr, sorted(texts)))}: these look like "
            "labels of answers in other columns. Map these: labeling.columns.response_a=…, "
            "labeling.columns.response_b=…, labeling.columns.winner=…. If they are the answers: "
            "labeling.format=preferences."
        )


def _is_label(text: str) -> bool:
    return bool(choice_of_word(canonical(text))) or canonical(text) in ("0", "1", "2")


def _reasoning_remark(found: Iterable[tuple[Place, Judgement]]) -> list[str]:
    pairs = (one for _, one in found if isinstance(one, Pair))
    count = sum(any(turn.get("reasoning_content") for turn in (*pair.chosen, *pair.rejected)) for pair in pairs)
    return [_REASONING.format(count)] if count else []


def _can_pool_as_votes(pairs: Sequence[tuple[Place, Pair]], beside_votes: bool, paths: Paths) -> bool:
    """Whether to pool pairs as votes: if annotators are named, or other files hold votes.

    Raises RequestError if files hold both votes and pairs that cannot be votes.
    """
    named = any(pair.annotator is not None for _, pair in pairs)
    possible = all(is_vote(pair) for _, pair in pairs)
    if beside_votes and pairs and not possible:
        raise RequestError(f"{paths} hold both rankings and preference pairs. Name files of one kind.")
    return bool(pairs) and possible and (named or beside_votes)


def _preference_rows(pairs: Sequence[tuple[Place, Pair]], account: Account) -> list[Preference]:
    """Pairs as preference rows; of several by one annotator on the same answers the latest counts."""
    kept, out = latest_pairs(pairs)
    account.drop_parts([place for place, _ in pairs], [_entry(place, cause) for place, cause in out])
    repeated = len(kept) - len({pair_key(pair) for pair in kept})
    if repeated:
        account.remarks.append(f"Pairs of answers that other rows also compare, pooled with these: {repeated:,}")
    return [as_preference(pair) for pair in kept]


def _pooled_rankings(
    votes: Sequence[tuple[Place, Vote]],
    marks: Sequence[tuple[Place, Marked]],
    grouped: Grouped[Place],
    account: Account,
) -> list[Ranking]:
    """One ranking for each prompt and set of answers; votes and marks that do not count go into the ledger."""
    unnamed = sum(mark.annotator is None for _, mark in marks)
    if unnamed:
        account.remarks.append(
            f"Marks without an annotator: {unnamed:,}. Each counts, and their mean ranks the answers"
        )
    for place, _, cause in grouped.left_out:
        account.drop(*(_entry(place, cause) if cause else (place, BadRow(None, None, UNPAIRED), "unpaired")))
    own = [replace(vote, place=place) for place, vote in votes]
    pooled = pool([*own, *(replace(vote, place=places[0]) for vote, places in grouped.votes)])
    out = [_entry(cast(Place, one.vote.place), one.cause, one.reason) for one in pooled.left_out]
    account.drop_parts([place for place, _ in votes], out)
    account.remarks += pooled.remarks
    return pooled.rankings


def _entry(place: Place, cause: Cause, reason: str = "") -> tuple[Place, BadRow, Step]:
    return place, BadRow(None, None, reason or _REASONS[cause]), _STEPS[cause]
