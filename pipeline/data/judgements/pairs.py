"""Ready-made pairs as votes and as preference rows, and their duplicates by one annotator. Pure functions."""

import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

from labeling.votes import Cause, Vote, normalized_text, prompt_key
from pipeline.data.formats.judgement import Pair
from pipeline.data.rows import Preference, prompt_id

PlaceT = TypeVar("PlaceT")


def is_vote(pair: Pair) -> bool:
    """Whether the pair only tells which of two single-turn answers is better, or that they are equal."""
    single = all([turn["role"] for turn in answer] == ["assistant"] for answer in (pair.chosen, pair.rejected))
    return single and pair.margin in (None, 0)


def as_vote(pair: Pair) -> Vote:
    """The pair as a vote without a place."""
    responses = [pair.chosen[0]["content"], pair.rejected[0]["content"]]
    ranks = [1, 1] if pair.margin == 0 else [1, 2]
    return Vote(None, pair.prompt, responses, ranks, pair.annotator, pair.id or pair.group, pair.when)


def as_preference(pair: Pair) -> Preference:
    """The pair as a row: a pair without a margin counts as 1; pairs of one prompt form a group."""
    return Preference(
        prompt=pair.prompt,
        chosen=pair.chosen,
        rejected=pair.rejected,
        margin=1.0 if pair.margin is None else pair.margin,
        group=pair.group or prompt_id(pair.prompt),
    )


def latest_pairs(pairs: Sequence[tuple[PlaceT, Pair]]) -> tuple[list[Pair], list[tuple[PlaceT, Cause]]]:
    """(the latest pair of each named annotator on two answers and all unnamed pairs, the places of the other pairs)."""
    kept: dict[int | tuple[str, bytes], tuple[PlaceT, Pair]] = {}
    out: list[tuple[PlaceT, Cause]] = []
    for number, (place, pair) in enumerate(pairs):
        key = number if pair.annotator is None else (normalized_text(pair.annotator), pair_key(pair))
        before = kept.get(key)
        kept[key] = (place, pair)
        if before is None:
            continue
        earlier = before
        if pair.when and pair.when < before[1].when:
            earlier, kept[key] = kept[key], before
        same = (pair.chosen, pair.margin) == (before[1].chosen, before[1].margin)
        out.append((earlier[0], "duplicate" if same else "superseded"))
    return [pair for _, pair in kept.values()], out


def pair_key(pair: Pair) -> bytes:
    """A key shared by all pairs of the same two answers to one prompt, whichever was chosen."""
    answers = sorted(prompt_key(list(turns)) for turns in (pair.chosen, pair.rejected))
    return digest(prompt_key(pair.prompt), *answers)


def digest(*texts: str) -> bytes:
    """A hash of texts that takes the place of their keys: those of a million pairs would take gigabytes."""
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=16).digest()
