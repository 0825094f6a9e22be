"""Judgements: what one annotator said about one prompt; many of them are rankings. Pure."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labeling.exchange.faults import Faults
from labeling.records import Message, Ranking, Ranks, check_ranking


@dataclass(frozen=True)
class Judgement:
    """`given` is None where a prompt is listed that nobody has ranked. `place` says where it was read."""

    place: str
    id: str | None
    prompt: str | list[Message]
    responses: list[str]
    given: Ranks | None


def merge(judgements: Iterable[Judgement], faults: Faults) -> list[Ranking]:
    """Rankings in the order in which they first occur; what does not fit goes to `faults`.

    Judgements of one id must be about one prompt and the same responses. Those without an id belong together if they
    are; their id is a hash of these.
    """
    rankings: dict[str, Ranking] = {}
    first: dict[str, str] = {}
    for judgement in judgements:
        name = judgement.id or content_id(judgement.prompt, judgement.responses)
        if name not in rankings:
            first[name] = judgement.place
            rankings[name] = Ranking(id=name, prompt=judgement.prompt, responses=judgement.responses, rankings=[])
        ranking = rankings[name]
        if (judgement.prompt, judgement.responses) != (ranking["prompt"], ranking["responses"]):
            reason = f"{name!r} has another prompt or other responses (or in another order) at {first[name]}"
            faults.add(judgement.place, "id", reason)
        elif judgement.given is not None:
            _add(ranking, judgement.given, judgement.place, faults)
        elif len(judgement.responses) < 2:
            faults.add(
                judgement.place, "responses", f"two or more are needed to rank, found {len(judgement.responses)}"
            )
    return list(rankings.values())


def _add(ranking: Ranking, given: Ranks, place: str, faults: Faults) -> None:
    if any(row["annotator"] == given["annotator"] for row in ranking["rankings"]):
        faults.add(place, "annotator", f"{given['annotator']!r} has ranked {ranking['id']!r} already")
        return
    try:
        check_ranking({**ranking, "rankings": [given]})
    except ValueError as error:
        faults.add(place, "ranks", str(error))
    else:
        ranking["rankings"].append(given)


def judgements_of(rankings: Iterable[Ranking]) -> Iterator[tuple[Ranking, Ranks | None]]:
    """Each ranking with each of its annotators' ranks; once with None where nobody has ranked it."""
    for ranking in rankings:
        if not ranking["rankings"]:
            yield ranking, None
        for given in ranking["rankings"]:
            yield ranking, given


def ranks_row(
    annotator: str, ranks: Sequence[Any], comment: str = "", both_bad: bool = False, guidelines: str = ""
) -> Ranks:
    """One annotator's ranks, with what else was said; what is empty is left out. `merge` checks the ranks."""
    row = Ranks(annotator=annotator, ranks=list(ranks))
    if comment:
        row["comment"] = comment
    if both_bad:
        row["both_bad"] = True
    if guidelines:
        row["guidelines"] = guidelines
    return row


def prompt_in(
    value: object, place: str, field: str, faults: Faults, extra: object = None
) -> str | list[Message] | None:
    """A prompt as text or as turns with role and content; None where it is neither, which goes to `faults`.

    `extra` is the text that an instruction is about, often called `input`: it is joined to the prompt's text, as the
    pipeline does where it reads rankings. Either may be blank.
    """
    if extra is not None and not isinstance(extra, str):
        faults.add(place, "input", "must be text")
    elif isinstance(value, str):
        if said := [text for text in (value, extra or "") if text.strip()]:
            return "\n\n".join(said)
        faults.add(place, field, "the prompt is empty")
    elif not isinstance(value, list) or not value:
        faults.add(place, field, "the prompt must be text, or a list of messages")
    elif all(_is_message(turn) for turn in value):
        turns = [Message(role=turn["role"], content=turn["content"]) for turn in value]
        if extra and extra.strip():
            turns[-1]["content"] = "\n\n".join(text for text in (turns[-1]["content"], extra) if text.strip())
        return turns
    else:
        faults.add(place, field, "each message needs 'role' and 'content', both text")
    return None


def content_id(prompt: str | list[Message], responses: Sequence[str]) -> str:
    """An id for a task that has none: a hash of what it is about."""
    return hashlib.sha256(json.dumps([prompt, list(responses)]).encode()).hexdigest()[:16]


def _is_message(turn: object) -> bool:
    return isinstance(turn, Mapping) and all(isinstance(turn.get(key), str) for key in ("role", "content"))
