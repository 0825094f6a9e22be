"""Reads and writes the contract's rankings: one JSON object per line, or a JSON array of them. Pure functions."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from labeling.exchange.cells import annotator_in, is_absent, prompt_in, rank_in, response_in
from labeling.exchange.columns import TIMES, Columns, annotator_columns, first_of
from labeling.exchange.reading import Reading, Row, Rows, Unusable, names_in
from labeling.exchange.times import times_in
from labeling.records import Message, Ranking, Ranks
from labeling.votes import Vote

_PROMPT = ("system", "prompt", "input")


def is_ranking(row: Mapping[str, Any]) -> bool:
    """Whether a row has the contract's format."""
    return row.keys() >= {"responses", "rankings"}


def read_rankings(rows: Rows, columns: Columns, reading: Reading) -> None:
    """Add the votes of rankings. An empty response was judged; a null response is absent."""
    names = names_in(rows)
    time = first_of(names, TIMES)
    times = times_in([row.get(time) for _, row in rows]) if time else None
    for index, (place, row) in enumerate(rows):
        try:
            listing = _listing(place, row, reading)
            given = row.get("rankings")
            if not isinstance(given, list):
                raise Unusable("rankings", "must be a list", given)
        except Unusable as fault:
            reading.rows += 1
            reading.add_bad(place, fault, row)
            continue
        when = times[index] if times else ""
        if not given:
            reading.votes.append(listing.vote(None, None, "", {}))
        for number, given_ranks in enumerate(given):
            reading.rows += 1
            try:
                reading.votes.append(_vote(listing, given_ranks, f"rankings[{number}]", when))
            except Unusable as fault:
                reading.add_bad(place, fault, row)
    _note_columns(names, time if times else None, reading)


def judgements_of(rankings: Iterable[Ranking]) -> Iterator[tuple[Ranking, Ranks | None]]:
    """Each ranking with each annotator's ranks, or once with None if it has no ranks."""
    for ranking in rankings:
        if not ranking["rankings"]:
            yield ranking, None
        for given in ranking["rankings"]:
            yield ranking, given


def rankings_text(rankings: Iterable[Ranking]) -> str:
    """Rankings as JSON lines. A lone surrogate, which UTF-8 cannot hold, is written as its JSON escape."""
    text = "".join(json.dumps(ranking, ensure_ascii=False) + "\n" for ranking in rankings)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _note_columns(names: Sequence[str], time: str | None, reading: Reading) -> None:
    read = [name for name in _PROMPT if name in names]
    reading.note("prompt", *read)
    reading.note("responses", "responses")
    reading.note("ranks", "rankings")
    named = any(vote.annotator for vote in reading.votes)
    reading.note("annotators", next(iter(annotator_columns(names)), "rankings.annotator") if named else None)
    reading.note("times", time)
    known = {"id", *(name for found in reading.columns.values() for name in found)}
    reading.unread = tuple(name for name in names if name not in known)


class _Listing(NamedTuple):
    """A prompt and its responses; an absent response is None."""

    place: object
    id: str | None
    prompt: str | list[Message]
    texts: Sequence[str | None]
    annotator: str | None  # of the whole row, for ranks without a name

    def vote(
        self, ranks: Sequence[int | None] | None, annotator: str | None, when: str, given_ranks: Mapping[str, Any]
    ) -> Vote:
        """One annotator's vote, without absent responses."""
        there = [slot for slot, text in enumerate(self.texts) if text is not None]
        texts = [text for text in self.texts if text is not None]
        kept = None if ranks is None else [ranks[slot] for slot in there]
        return Vote(self.place, self.prompt, texts, kept, annotator, self.id, when, given_ranks)


def _listing(place: object, row: Row, reading: Reading) -> _Listing:
    name, texts = row.get("id"), row.get("responses")
    if not is_absent(name) and not isinstance(name, str | int):
        raise Unusable("id", "must be text", name)
    prompt = prompt_in(row.get("prompt"), "prompt", row.get("input"), row.get("system"))
    if not isinstance(texts, list) or len(texts) < 2:
        raise Unusable("responses", "must be a list of two texts or more", texts)
    fields = [f"responses[{slot}]" for slot in range(len(texts))]
    responses = [
        text if isinstance(text, str) else response_in(text, field, reading)
        for text, field in zip(texts, fields, strict=True)
    ]
    column = next(iter(annotator_columns(row)), None)
    annotator = annotator_in(row[column]) if column else None
    return _Listing(place, None if is_absent(name) else str(name), prompt, responses, annotator)


def _vote(listing: _Listing, given_ranks: object, field: str, when: str) -> Vote:
    if not isinstance(given_ranks, Mapping):
        raise Unusable(field, "must be a JSON object", given_ranks)
    ranks = given_ranks.get("ranks")
    if not isinstance(ranks, list) or len(ranks) != len(listing.texts):
        raise Unusable("ranks", "must be a list with a rank for each response", ranks)
    name = next(iter(annotator_columns(given_ranks)), None)
    annotator = listing.annotator if name is None else annotator_in(given_ranks[name])
    return listing.vote([rank_in(rank, "ranks") for rank in ranks], annotator, when, _details_in(given_ranks))


def _details_in(given_ranks: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, kind, what in (("comment", str, "text"), ("both_bad", bool, "true or false"), ("guidelines", str, "text")):
        if given_ranks.get(key) is not None and not isinstance(given_ranks[key], kind):
            raise Unusable(key, f"must be {what}", given_ranks[key])
        if given_ranks.get(key):
            kept[key] = given_ranks[key]
    return kept
