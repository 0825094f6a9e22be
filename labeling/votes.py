"""Pools votes on one prompt into one ranking, from any number of files, named or not, in any order. Pure functions.

A *vote* is one annotator's judgement of the answers to one prompt. Votes belong together if they have the same prompt
and set of responses; whitespace, letter case and the order of the responses do not matter. Texts and names keep their
first spelling.
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
"""The prefix of names for votes without an annotator; such a name is not a person."""

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

Cause = Literal["duplicate", "superseded", "unusable"]


@dataclass(frozen=True, slots=True)
class Vote:
    """One annotator's judgement of the answers to one prompt.

    `ranks` has one rank per response: from 1, lower is better, equal ranks are ties, None for an unranked response. It
    is None as a whole for a prompt without rankings. `place` is where the vote was read. `when` is a text that sorts by
    time, empty without a time. `details` holds the optional keys of `Ranks`.
    """

    place: object
    prompt: str | list[Message]
    responses: Sequence[str]
    ranks: Sequence[int | None] | None
    annotator: str | None = None
    id: str | None = None
    when: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


class LeftOutVote(NamedTuple):
    """A vote that does not count, and the reason."""

    vote: Vote
    cause: Cause
    reason: str


class Pooled(NamedTuple):
    """Rankings in the order of first occurrence, the votes that do not count, and remarks for the user."""

    rankings: list[Ranking]
    left_out: list[LeftOutVote]
    remarks: list[str]


@dataclass
class _Record:
    """One prompt with one set of responses, in their first spelling, and all votes on it."""

    prompt: str | list[Message]
    responses: list[str]
    keys: list[str]
    ids: dict[str, None] = field(default_factory=dict)
    votes: list[Vote] = field(default_factory=list)  # with ranks in the order of `responses`


def pool(votes: Iterable[Vote]) -> Pooled:
    """One ranking for each prompt and set of responses, with the ranks of all its annotators.

    A vote is a duplicate only if annotator and ranks equal an earlier one's. Of different votes by one annotator on one
    record the latest counts, by `when` or else by order. Unnamed votes count separately. A vote with unranked responses
    counts for the ranked ones, as a record of its own. An e-mail address as annotator becomes a pseudonym.

    A record keeps its first id. Without an id, or if ids do not identify prompts (for example if each file counts from
    0), its id is a hash of its content.
    """
    records: dict[str, _Record] = {}
    spellings: dict[str, str] = {}
    left_out: list[LeftOutVote] = []
    addresses = 0
    for vote in votes:
        if vote.annotator is not None and _ADDRESS.search(vote.annotator):
            addresses += 1
            vote = replace(vote, annotator=public_name(vote.annotator))
        spellings.setdefault(normalized_text(vote.annotator or ""), vote.annotator or "")
        fault = _fault(vote)
        if fault:
            left_out.append(LeftOutVote(vote, "unusable", fault))
        else:
            _add_vote(_ranked_part(vote), records)
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
    return f"annotator-{hashlib.sha256(normalized_text(annotator).encode()).hexdigest()[:8]}"


def is_unnamed(annotator: str | None) -> bool:
    """Whether an annotator is unnamed: empty, or a name made by `pool`."""
    return (
        not annotator
        or not annotator.strip()
        or re.fullmatch(rf"{UNNAMED} \d+", normalized_text(annotator)) is not None
    )


def normalized_text(text: str) -> str:
    """A text normalized for matching: whitespace, letter case and Unicode composition make no difference."""
    return unicodedata.normalize("NFC", " ".join(text.split()).casefold())


def content_id(prompt: str | list[Message], responses: Sequence[str]) -> str:
    """An id for a record without one: a hash of prompt and responses."""
    return hashlib.sha256(json.dumps([prompt, list(responses)]).encode()).hexdigest()[:16]


def prompt_key(prompt: str | list[Message]) -> str:
    """A key of a prompt that ignores whitespace and letter case; text counts as one user turn."""
    turns = [Message(role="user", content=prompt)] if isinstance(prompt, str) else prompt
    return json.dumps([[turn["role"], normalized_text(turn["content"])] for turn in turns])


def _fault(vote: Vote) -> str:
    """The reason why a vote is unusable, or an empty text."""
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
    """The vote without its unranked responses."""
    if vote.ranks is None or None not in vote.ranks:
        return vote
    kept = [slot for slot, rank in enumerate(vote.ranks) if rank is not None]
    return replace(
        vote, responses=[vote.responses[slot] for slot in kept], ranks=[cast(int, vote.ranks[slot]) for slot in kept]
    )


def _response_keys(responses: Sequence[str]) -> list[str]:
    """The matching key of each response.

    Responses of one vote that differ only in letter case or whitespace get different keys; equal texts are numbered.
    """
    loose, exact = [normalized_text(text) for text in responses], [" ".join(text.split()) for text in responses]
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


def _add_vote(vote: Vote, records: dict[str, _Record]) -> None:
    keys = _response_keys(vote.responses)
    identity = json.dumps([prompt_key(vote.prompt), sorted(keys)])
    record = records.setdefault(identity, _Record(vote.prompt, list(vote.responses), keys))
    if vote.id:
        record.ids.setdefault(vote.id)
    if vote.ranks is not None:
        place_of = {key: slot for slot, key in enumerate(keys)}
        record.votes.append(replace(vote, ranks=[vote.ranks[place_of[key]] for key in record.keys]))


def _names(records: Mapping[str, _Record]) -> tuple[dict[str, str], list[str]]:
    """(a unique name for each record, remarks on the ids)."""
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
        f"{len(ambiguous):,} ids stand for several prompts ({shown}): these prompts are identified by their texts"
    ]


def _counted(votes: Sequence[Vote]) -> tuple[list[Vote], list[LeftOutVote]]:
    """(the latest vote of each annotator and all unnamed votes, in order of the first vote; the other votes)."""
    latest: dict[str, Vote] = {}
    out: list[LeftOutVote] = []
    for number, vote in enumerate(votes):
        person = f"\n{number}" if is_unnamed(vote.annotator) else normalized_text(str(vote.annotator))
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
    """Ranks without gaps: 1, 3, 3 becomes the equivalent 1, 2, 2."""
    known = cast(Sequence[int], ranks or ())
    levels = sorted(set(known))
    return [levels.index(rank) for rank in known]


def _ranks(vote: Vote, number: int, spellings: dict[str, str]) -> Ranks:
    if vote.annotator is None or is_unnamed(vote.annotator):
        name = f"{UNNAMED} {number}"
    else:
        name = spellings[normalized_text(vote.annotator)]
    row = Ranks(annotator=name, ranks=list(cast(Sequence[int], vote.ranks)))
    return cast(Ranks, {**row, **vote.details})


def _remarks(rankings: Sequence[Ranking], left_out: Sequence[LeftOutVote], addresses: int) -> list[str]:
    unnamed = sum(is_unnamed(row["annotator"]) for ranking in rankings for row in ranking["rankings"])
    superseded = sum(one.cause == "superseded" for one in left_out)
    duplicates = sum(one.cause == "duplicate" for one in left_out)
    counts = (
        (addresses, "Votes with an e-mail address as annotator, replaced by a pseudonym"),
        (unnamed, "Votes without an annotator, each counted separately"),
        (superseded, "Votes that the same annotator changed later: the later vote counts"),
        (duplicates, "Votes that the same annotator gave twice: they count once"),
    )
    return [f"{text}: {count:,}" for count, text in counts if count]
