"""The contract's rankings: converts a raw row to one vote per annotator or raises BadRow."""

from dataclasses import replace

from labeling.votes import Vote
from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.columns import is_blank, turns_about
from pipeline.data.formats.conversations import Row, in_order, joined
from pipeline.data.formats.fields import list_in, name_of, object_in
from pipeline.data.formats.judgement import annotator_in, is_absent, response_in, vote_of
from pipeline.data.formats.transcripts import prompt_turns
from pipeline.data.formats.watching import note
from pipeline.data.rows import Message


def ranking(row: Row) -> list[Vote]:
    """The contract's rankings; `input` is joined to the prompt.

    An empty response is kept, since annotators judged it. A null response is absent, and so is its rank.
    """
    prompt = _ranked_prompt(row)
    given = list_in(row.get("responses"), "responses")
    texts = ["" if is_absent(text) else response_in(text, f"responses[{index}]") for index, text in enumerate(given)]
    absent = {index for index, text in enumerate(given) if is_absent(text)}
    if len(given) - len(absent) < 2:
        raise BadRow("responses", None, "at least two responses are needed to rank")
    note(row, "prompt", "prompt", "input")
    note(row, "answer", "responses")
    note(row, "judgement", "rankings")
    judged = row.get("rankings")
    if judged == []:
        raise LeftOut("rankings", None, "no annotator has ranked it yet")
    person = annotator_in(row)
    entries = enumerate(list_in(judged, "rankings"))
    rankings = [_ranks(one, f"rankings[{index}]", len(given), person) for index, one in entries]
    _check_annotators([name for name, _ in rankings])
    vote = vote_of(row, prompt, texts, None)
    return [
        replace(vote, ranks=[None if slot in absent else rank for slot, rank in enumerate(ranks)], annotator=name)
        for name, ranks in rankings
    ]


def has_ranking(row: Row) -> bool:
    return row.keys() >= {"responses", "rankings"}


def _ranked_prompt(row: Row) -> str | list[Message]:
    asked, extra = row.get("prompt"), row.get("input")
    if isinstance(asked, str) and is_blank(extra) and (turns := prompt_turns(asked, "prompt")):
        return in_order(turns, "prompt", last="user")
    if not isinstance(asked, list):
        return joined(asked, extra, "prompt")
    return in_order(turns_about(asked, "prompt", extra), "prompt", last="user")


def _ranks(value: object, field: str, responses: int, person: str | None) -> tuple[str | None, list[int | None]]:
    """(the annotator, from the ranking or from the row, if named, and the ranks). Raises BadRow."""
    given = object_in(value, field)
    annotator = annotator_in(given) or person
    ranks = list_in(given.get("ranks"), f"{field}.ranks")
    if len(ranks) != responses:
        raise BadRow(f"{field}.ranks", annotator, "there must be as many ranks as responses")
    return annotator, [_rank(rank, f"{field}.ranks[{index}]", annotator) for index, rank in enumerate(ranks)]


def _rank(value: object, field: str, role: str | None = None) -> int | None:
    """A rank, or None if absent; data frames write 2.0. Raises BadRow."""
    if is_absent(value):
        return None
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if type(whole) is not int or whole < 1:
        found = value if type(value) in (int, float) else name_of(value)
        raise BadRow(field, role, f"a rank must be a whole number from 1, found {found}")
    return whole


def _check_annotators(names: list[str | None]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name is None:
            continue
        if name in seen:
            raise BadRow(f"rankings[{index}].annotator", name, "an annotator may rank a row only once")
        seen.add(name)
