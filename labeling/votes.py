"""Votes on one prompt are one record, however they arrive: in one file or many, named or not, in any order. Pure.

A *vote* is one person's judgement of the answers to one prompt. Votes belong together if they are about one prompt and
the same set of responses; whitespace and letter case do not matter, nor does the order of the responses. Texts and
names are kept as they were written first.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, cast

from labeling.records import Message, Ranking, Ranks

UNNAMED = "unnamed"
"""Begins the name that a vote gets where the file names no annotator: such a name is no person."""

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

Cause = Literal["duplicate", "superseded", "unusable"]


@dataclass(frozen=True)
class Vote:
    """One person's judgement of the answers to one prompt.

    `ranks` has one rank per response: from 1, lower is better, equal ranks are ties, None where the person
    did not rank that response. It is None as a whole where a prompt is listed without rankings. `place` says where
    the vote was read. `when` is a time as text that sorts by time, empty where the file has none. `said` holds what
    else belongs to the vote: the optional keys of `Ranks`.
    """

    place: object
    prompt: str | list[Message]
    responses: Sequence[str]
    ranks: Sequence[int | None] | None
    annotator: str | None = None
    id: str | None = None
    when: str = ""
    said: Mapping[str, Any] = field(default_factory=dict)


class LeftOutVote(NamedTuple):
    """A vote that does not count, and why."""

    vote: Vote
    cause: Cause
    reason: str


class Pooled(NamedTuple):
    """Rankings in the order in which they first occur, the votes that do not count, and what a person should know."""

    rankings: list[Ranking]
    left_out: list[LeftOutVote]
    remarks: list[str]


@dataclass
class _Record:
    """One prompt with one set of responses, as they were written first, and everybody's vote on it."""

    prompt: str | list[Message]
    responses: list[str]
    keys: list[str]
    ids: dict[str, None] = field(default_factory=dict)
    votes: list[Vote] = field(default_factory=list)  # with ranks in this record's order of responses


def pool(votes: Iterable[Vote]) -> Pooled:
    """One ranking for each prompt and set of responses, with the ranks of everyone who voted on it.

    A vote is a duplicate only if annotator and ranks are equal to an earlier one's. Of different votes by one person on
    one record the latest counts, by `when` or else by the order. Votes without an annotator are a vote each. A vote
    that leaves responses unranked counts for those that it ranks, as a record of its own. An annotator who is named by
    an e-mail address gets a pseudonym.

    A record keeps the first id that it was given; where ids do not tell prompts apart (each file counts from 0, say),
    and where there are none, it is named by its content.
    """
    records: dict[str, _Record] = {}
    spellings: dict[str, str] = {}
    left_out: list[LeftOutVote] = []
    addresses = 0
    for vote in votes:
        if vote.annotator is not None and _ADDRESS.search(vote.annotator):
            addresses += 1
            vote = replace(vote, annotator=public_name(vote.annotator))
        spellings.setdefault(squeezed(vote.annotator or ""), vote.annotator or "")
        fault = _fault(vote)
        if fault:
            left_out.append(LeftOutVote(vote, "unusable", fault))
        else:
            _enter(_ranked_part(vote), records)
    names, remarks = _names(records)
    rankings = []
    for key, record in records.items():
        counted, out = _counted(record.votes)
        left_out += out
        rows = [_ranks(vote, number, spellings) for number, vote in enumerate(counted, start=1)]
        rankings.append(Ranking(id=names[key], prompt=record.prompt, responses=record.responses, rankings=rows))
    return Pooled(rankings, left_out, [*remarks, *_remarks(rankings, left_out, addresses)])


def public_name(annotator: str) -> str:
    """The name that rankings show: the annotator's own, or a pseudonym in place of an e-mail address."""
    if not _ADDRESS.search(annotator):
        return annotator
    return f"annotator-{hashlib.sha256(squeezed(annotator).encode()).hexdigest()[:8]}"


def is_unnamed(annotator: str | None) -> bool:
    """Whether it is no person's name: empty, or one that `pool` made."""
    return not annotator or not annotator.strip() or re.fullmatch(rf"{UNNAMED} \d+", squeezed(annotator)) is not None


def squeezed(text: str) -> str:
    """What a text is matched by: whitespace, letter case and Unicode's two ways to write é make no difference."""
    return unicodedata.normalize("NFC", " ".join(text.split()).casefold())


def content_id(prompt: str | list[Message], responses: Sequence[str]) -> str:
    """An id for a record that has none: a hash of what it is about."""
    return hashlib.sha256(json.dumps([prompt, list(responses)]).encode()).hexdigest()[:16]


def prompt_key(prompt: str | list[Message]) -> str:
    """What two prompts share that are the same but for whitespace and letter case; text is one user's turn."""
    turns = [Message(role="user", content=prompt)] if isinstance(prompt, str) else prompt
    return json.dumps([[turn["role"], squeezed(turn["content"])] for turn in turns])


def _fault(vote: Vote) -> str:
    """Why the vote cannot be used, or nothing."""
    if len(vote.responses) < 2:
        return f"two responses or more are needed to rank, found {len(vote.responses)}"
    if vote.ranks is None:
        return ""
    if len(vote.ranks) != len(vote.responses):
        return f"there are {len(vote.ranks)} ranks for {len(vote.responses)} responses"
    if any(rank is not None and (type(rank) is not int or rank < 1) for rank in vote.ranks):
        return "a rank must be a whole number from 1"
    if sum(rank is not None for rank in vote.ranks) < 2:
        return "fewer than two of the responses are ranked"
    return ""


def _ranked_part(vote: Vote) -> Vote:
    """The vote without the responses of which it says nothing."""
    if vote.ranks is None or None not in vote.ranks:
        return vote
    kept = [slot for slot, rank in enumerate(vote.ranks) if rank is not None]
    return replace(
        vote, responses=[vote.responses[slot] for slot in kept], ranks=[cast(int, vote.ranks[slot]) for slot in kept]
    )


def _keys(responses: Sequence[str]) -> list[str]:
    """What each response is matched by.

    Those of one vote that differ in letter case alone, or in whitespace alone, stay apart; equal texts are told apart
    by their order.
    """
    loose, exact = [squeezed(text) for text in responses], [" ".join(text.split()) for text in responses]
    alike, same = Counter(loose), Counter(exact)
    keys = [
        key if alike[key] == 1 else strict if same[strict] == 1 else text
        for key, strict, text in zip(loose, exact, responses, strict=True)
    ]
    seen: Counter[str] = Counter()
    numbered = []
    for key in keys:
        numbered.append(f"{seen[key]} {key}")
        seen[key] += 1
    return numbered


def _enter(vote: Vote, records: dict[str, _Record]) -> None:
    keys = _keys(vote.responses)
    identity = json.dumps([prompt_key(vote.prompt), sorted(keys)])
    record = records.setdefault(identity, _Record(vote.prompt, list(vote.responses), keys))
    if vote.id:
        record.ids.setdefault(vote.id)
    if vote.ranks is not None:
        place_of = {key: slot for slot, key in enumerate(keys)}
        record.votes.append(replace(vote, ranks=[vote.ranks[place_of[key]] for key in record.keys]))


def _names(records: Mapping[str, _Record]) -> tuple[dict[str, str], list[str]]:
    """A name for each record, all different, and remarks on the ids."""
    prompts: dict[str, set[str]] = defaultdict(set)
    for record in records.values():
        for name in record.ids:
            prompts[name].add(prompt_key(record.prompt))
    ambiguous = {name for name, about in prompts.items() if len(about) > 1}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key, record in records.items():
        own = next((name for name in record.ids if name not in ambiguous), None)
        name = own or content_id(record.prompt, record.responses)
        if name in taken:  # another set of responses to the same prompt
            name = f"{name}-{content_id(record.prompt, record.responses)[:6]}"
        taken.add(name)
        names[key] = name
    if not ambiguous:
        return names, []
    shown = ", ".join(repr(name) for name in sorted(ambiguous)[:3])
    return names, [
        f"{len(ambiguous):,} ids stand for several prompts ({shown}): these prompts are told apart by their texts"
    ]


def _counted(votes: Sequence[Vote]) -> tuple[list[Vote], list[LeftOutVote]]:
    """One vote of each named person, the latest, in the order in which people first voted; and the others."""
    latest: dict[str, Vote] = {}
    out: list[LeftOutVote] = []
    for number, vote in enumerate(votes):
        person = f"\n{number}" if is_unnamed(vote.annotator) else squeezed(str(vote.annotator))
        before = latest.get(person)
        if before is None:
            latest[person] = vote
            continue
        earlier, later = (vote, before) if vote.when and vote.when < before.when else (before, vote)
        latest[person] = later
        if _order(before.ranks) == _order(vote.ranks):
            out.append(LeftOutVote(earlier, "duplicate", "the same person gave the same answer before"))
        else:
            out.append(LeftOutVote(earlier, "superseded", "the same person answered again later"))
    return list(latest.values()), out


def _order(ranks: Sequence[int | None] | None) -> list[int]:
    """Ranks without gaps: 1, 3, 3 and 1, 2, 2 say the same."""
    known = cast(Sequence[int], ranks or ())
    levels = sorted(set(known))
    return [levels.index(rank) for rank in known]


def _ranks(vote: Vote, number: int, spellings: dict[str, str]) -> Ranks:
    if vote.annotator is None or is_unnamed(vote.annotator):
        name = f"{UNNAMED} {number}"
    else:
        name = spellings[squeezed(vote.annotator)]
    row = Ranks(annotator=name, ranks=list(cast(Sequence[int], vote.ranks)))
    return cast(Ranks, {**row, **vote.said})


def _remarks(rankings: Sequence[Ranking], left_out: Sequence[LeftOutVote], addresses: int) -> list[str]:
    unnamed = sum(is_unnamed(row["annotator"]) for ranking in rankings for row in ranking["rankings"])
    superseded = sum(one.cause == "superseded" for one in left_out)
    duplicates = sum(one.cause == "duplicate" for one in left_out)
    told = (
        (addresses, "Votes with an e-mail address as annotator, in whose place a pseudonym stands"),
        (unnamed, "Votes without an annotator, each of which counts as a vote of its own"),
        (superseded, "Votes that the same annotator changed later: the later one counts"),
        (duplicates, "Votes that the same annotator gave twice: they count once"),
    )
    return [f"{text}: {count:,}" for count, text in told if count]
