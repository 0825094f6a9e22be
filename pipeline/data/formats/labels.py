"""Single answers that people marked as good or bad (KTO), and rankings of those that one prompt has."""

from collections.abc import Sequence
from typing import TypedDict

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.columns import answer_in, asked_turns, is_blank, name_in, prompt_in
from pipeline.data.formats.conversations import Row, Turns, turns_of_row
from pipeline.data.rows import Message, Ranking, Ranks, content_hash, prompt_id

JUDGES = ("annotator", "editor", "user")
EVERYBODY = "label"
"""The annotator of answers that several people, or nobody by name, marked."""

MARKED_BAD = "the answer was marked as bad"

_UP = ("true", "up", "thumb_up", "thumbs_up", "good", "like", "positive", "yes", "👍", "1", "+1")
_DOWN = ("false", "down", "thumb_down", "thumbs_down", "bad", "dislike", "negative", "no", "👎", "0", "-1")
_THUMBS = {**dict.fromkeys(_UP, True), **dict.fromkeys(_DOWN, False)}
_LOOKS_OF_EMOJI = "\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # drawn in colour; tones of skin


class Single(TypedDict):
    """An answer that somebody marked as good or bad, beside no other."""

    prompt: list[Message]
    response: str
    good: bool
    annotator: str


def kto(row: Row) -> list[Turns]:
    """prompt, completion and label; only what is marked as good is a demonstration. Raises LeftOut for the rest."""
    marked = _single(row)
    if not marked["good"]:
        raise LeftOut("label", "assistant", MARKED_BAD)
    answer = Message(role="assistant", content=marked["response"])
    return [turns_of_row(row, "prompt + completion", [*asked_turns(row, "prompt"), answer])]


def kto_single(row: Row) -> list[Single]:
    """prompt, completion and label as a marked answer."""
    return [_single(row)]


def has_label(row: Row) -> bool:
    return row.keys() >= {"prompt", "completion", "label"} and is_thumb(row["label"])


def is_thumb(value: object) -> bool:
    """Whether the value says good or bad, or nothing at all."""
    return is_blank(value) or _thumb(value) is not None


def thumb_in(value: object, field: str) -> bool | None:
    """True for a thumb up, False for one down, None where there is none. Raises BadRow for anything else."""
    if is_blank(value):
        return None
    thumb = _thumb(value)
    if thumb is None:
        raise BadRow(field, None, "a thumb must be up or down, true or false, 1 or 0")
    return thumb


def group_singles(singles: Sequence[Single]) -> tuple[list[Ranking], list[int]]:
    """Rankings of the answers to one prompt, and the positions of those answers that none has.

    A prompt that has both a good answer and another, bad one becomes a ranking of all its answers, in which the good
    ones share rank 1 and the bad ones rank 2. Its annotator is the one who marked them all, or else "label".
    """
    groups: dict[str, list[int]] = {}
    for position, single in enumerate(singles):
        groups.setdefault(content_hash(single["prompt"]), []).append(position)
    rankings: list[Ranking] = []
    unpaired: list[int] = []
    for positions in groups.values():
        group = [singles[position] for position in positions]
        if _differ(group):
            rankings.append(_ranking(group))
        else:
            unpaired += positions
    return rankings, sorted(unpaired)


def _single(row: Row) -> Single:
    good = thumb_in(row.get("label"), "label")
    if good is None:
        raise BadRow("label", None, "the answer is marked neither as good nor as bad")
    return Single(
        prompt=prompt_in(row, asked_turns(row, "prompt"), "prompt"),
        response=answer_in(row, "completion"),
        good=good,
        annotator=name_in(row, JUDGES, EVERYBODY),
    )


def _thumb(value: object) -> bool | None:
    if not isinstance(value, str | int | float):
        return None
    word = str(value).strip().rstrip(_LOOKS_OF_EMOJI).removesuffix(".0")
    return _THUMBS.get(word.lower().replace(" ", "_"))


def _differ(group: Sequence[Single]) -> bool:
    """Whether some answer is good and another one bad; the same answer marked by two people is no pair."""
    good = {single["response"] for single in group if single["good"]}
    bad = {single["response"] for single in group if not single["good"]}
    return bool(good and bad) and len(good | bad) > 1


def _ranking(group: Sequence[Single]) -> Ranking:
    judges = {single["annotator"] for single in group}
    ranks = [1 if single["good"] else 2 for single in group]
    return Ranking(
        id=prompt_id(group[0]["prompt"]),
        prompt=group[0]["prompt"],
        responses=[single["response"] for single in group],
        rankings=[Ranks(annotator=judges.pop() if len(judges) == 1 else EVERYBODY, ranks=ranks)],
    )
