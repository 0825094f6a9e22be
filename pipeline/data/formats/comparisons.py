"""One function per format that judgements come in: a raw row in, a ranking or a pair out, or BadRow."""

import hashlib
import json

from pipeline.data.faults import BadRow
from pipeline.data.formats.columns import asked_turns, prompt_column, prompt_in, turns_about
from pipeline.data.formats.conversations import Row, in_order, joined, text_or_turns
from pipeline.data.formats.fields import any_text_in, list_in, name_of, object_in, text_in
from pipeline.data.formats.transcripts import has_two_transcripts, transcript
from pipeline.data.rows import Message, Preference, Ranking, Ranks, content_hash, prompt_id

_SIDES = ("chosen", "rejected")


def ranking(row: Row) -> list[Ranking]:
    """The contract's rankings; `input` is joined to the prompt.

    A row without an id is named by its content. An empty response is kept: people did judge it.
    """
    prompt = _ranked_prompt(row)
    answers = enumerate(list_in(row.get("responses"), "responses"))
    responses = [any_text_in(text, f"responses[{index}]") for index, text in answers]
    if len(responses) < 2:
        raise BadRow("responses", None, "at least two responses are needed to rank")
    judged = enumerate(list_in(row.get("rankings"), "rankings"))
    rankings = [_ranks(said, f"rankings[{index}]", len(responses)) for index, said in judged]
    _check_annotators(rankings)
    name = row.get("id")
    identity = content_id(prompt, responses) if name is None else text_in(name, "id")
    return [Ranking(id=identity, prompt=prompt, responses=responses, rankings=rankings)]


def preference(row: Row) -> list[Preference]:
    """chosen and rejected as text or messages after a prompt, or as whole conversations that begin alike."""
    asked = prompt_column(row)
    prompt = [] if asked is None or row[asked] is None else prompt_in(row, asked_turns(row, asked), asked)
    chosen, rejected = (_whole(prompt, row.get(field), field) for field in _SIDES)
    pair = _pair(chosen, rejected, row)
    if not all(turn in pair["prompt"] for turn in prompt):
        raise BadRow("prompt", None, "chosen and rejected begin with another prompt")
    return [pair]


def hh_pair(row: Row) -> list[Preference]:
    """chosen and rejected as two transcripts that begin alike."""
    chosen, rejected = (in_order(transcript(row.get(field), field), field, "assistant") for field in _SIDES)
    return [_pair(chosen, rejected, row)]


def has_ranking(row: Row) -> bool:
    return row.keys() >= {"responses", "rankings"}


def has_pair(row: Row) -> bool:
    return row.keys() >= {"chosen", "rejected"} and not has_two_transcripts(row)


def content_id(prompt: str | list[Message], responses: list[str]) -> str:
    """A name for a ranking that has none: the same for the same prompt and responses."""
    return hashlib.sha256(json.dumps([prompt, responses]).encode()).hexdigest()[:16]


def _ranked_prompt(row: Row) -> str | list[Message]:
    asked, extra = row.get("prompt"), row.get("input")
    if not isinstance(asked, list):
        return joined(asked, extra, "prompt")
    return in_order(turns_about(asked, "prompt", extra), "prompt", last="user")


def _ranks(said: object, field: str, responses: int) -> Ranks:
    given = object_in(said, field)
    annotator = text_in(given.get("annotator"), f"{field}.annotator")
    ranks = list_in(given.get("ranks"), f"{field}.ranks")
    if len(ranks) != responses:
        raise BadRow(f"{field}.ranks", annotator, "there must be as many ranks as responses")
    for index, rank in enumerate(ranks):
        if type(rank) is not int or rank < 1:
            found = rank if type(rank) in (int, float) else name_of(rank)
            reason = f"a rank must be a whole number from 1, found {found}"
            raise BadRow(f"{field}.ranks[{index}]", annotator, reason)
    return Ranks(annotator=annotator, ranks=ranks)


def _check_annotators(rankings: list[Ranks]) -> None:
    seen: set[str] = set()
    for index, said in enumerate(rankings):
        if said["annotator"] in seen:
            raise BadRow(f"rankings[{index}].annotator", said["annotator"], "an annotator may rank a row only once")
        seen.add(said["annotator"])


def _whole(prompt: list[Message], value: object, field: str) -> list[Message]:
    """The answer as a whole conversation: it may hold its prompt already, as lists of messages often do."""
    answer = text_or_turns(value, field, "assistant")
    if answer[0]["role"] != "assistant":
        return in_order(answer, field, "assistant")
    if not prompt:
        raise BadRow("prompt", None, "there is no prompt, neither in a column nor in chosen and rejected")
    return in_order([*prompt, *answer], f"prompt + {field}", "assistant")


def _pair(chosen: list[Message], rejected: list[Message], row: Row) -> Preference:
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    prompt = chosen[:shared]
    if content_hash(chosen) == content_hash(rejected):
        raise BadRow("rejected", None, "chosen and rejected say the same")
    if not prompt or prompt[-1]["role"] != "user":
        raise BadRow("rejected", None, "chosen and rejected must differ in an answer to one prompt")
    return Preference(
        prompt=prompt,
        chosen=chosen[shared:],
        rejected=rejected[shared:],
        margin=_margin(row.get("margin")),
        group=text_in(row["group"], "group") if row.get("group") is not None else prompt_id(prompt),
    )


def _margin(value: object) -> float:
    """How clearly the chosen answer won; one vote, if the row does not say."""
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadRow("margin", None, "the margin must be a number from 0 to 1")
    return float(value)
