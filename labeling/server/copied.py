"""The answers in a snapshot, and which of them count. Pure functions.

Nothing is removed from a snapshot. An answer that the server has no more, although it has the task, is marked: it was
withdrawn, its account was deleted, or the server lost it. It counts nowhere while the server is without it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, cast

CHECKSUM = "task"  # the metadata of a record that was published by this project


class Copy(TypedDict):
    """One line of a snapshot: an answer in the format of Argilla's page."""

    task: str
    checksum: str  # of the task, as published
    annotator: str
    status: str  # submitted, discarded or draft
    values: Mapping[str, Any] | None
    inserted: str  # ISO times of the server that took the answer first
    updated: str
    gone: NotRequired[bool]  # the server has the task, and this answer no more


FIELDS = tuple(name for name in Copy.__annotations__ if name != "gone")  # in this order in each line
COUNTED = ("submitted", "discarded")  # statuses; a draft is no answer


def counts(copy: Copy) -> bool:
    """Whether a copy is an answer for every reader: not a draft, and not gone from the server."""
    return copy["status"] in COUNTED and not copy.get("gone")


def answers_in(records: Iterable[Mapping[str, Any]], names: Mapping[str, str], before: Iterable[Copy]) -> list[Copy]:
    """Return the answers to a queue's records (see `copies_of`), and those of `before` that are gone, marked.

    `before` is the snapshot, read before the records: an answer that another process adds meanwhile is not gone.
    """
    there: list[Copy] = []
    tasks: dict[str, str] = {}
    for record in records:
        tasks[record["external_id"]] = str((record["metadata"] or {}).get(CHECKSUM))
        there += copies_of(record, names)
    known = {(copy["task"], copy["annotator"]) for copy in there}
    lost = [copy for copy in before if (copy["task"], copy["annotator"]) not in known]
    return [*there, *(marked(copy, True) for copy in lost if tasks.get(copy["task"]) == copy["checksum"])]


def marked(copy: Copy, gone: bool) -> Copy:
    """The copy with or without the mark that it is gone."""
    bare = {key: value for key, value in copy.items() if key != "gone"}
    return cast(Copy, {**bare, "gone": True} if gone else bare)


def copies_of(record: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Copy]:
    """Yield the answers to a record (as Argilla's API returns it, with responses); `names` maps an account's id."""
    checksum = str((record["metadata"] or {}).get(CHECKSUM) or "")
    for response in record["responses"] if checksum else ():
        if name := names.get(response["user_id"]):
            yield Copy(
                task=record["external_id"],
                checksum=checksum,
                annotator=name,
                status=response["status"],
                values=response["values"],
                inserted=response["inserted_at"],
                updated=response["updated_at"],
            )


def merged(before: Iterable[Copy], now: Iterable[Copy]) -> list[Copy]:
    """Return one answer for each task and annotator: the later one, and of equal ones the first, with its times."""
    found = {(copy["task"], copy["annotator"]): copy for copy in before}
    for copy in now:
        old = found.get((copy["task"], copy["annotator"]))
        if old and _content(old) == _content(copy):
            copy = marked(old, copy.get("gone", False))
        elif old and not old.get("gone") and old["updated"] > copy["updated"]:
            copy = old
        found[copy["task"], copy["annotator"]] = copy
    return [found[key] for key in sorted(found)]


def _content(copy: Copy) -> tuple[Any, ...]:
    return copy["checksum"], copy["status"], copy["values"]


def summary(copies: Sequence[Copy]) -> str:
    """Return the number of answers and their annotators: "3 answers (ann 2, bob 1)"."""
    given = Counter(copy["annotator"] for copy in copies)
    return f"{len(copies):,} answers ({', '.join(f'{name} {number:,}' for name, number in sorted(given.items()))})"
