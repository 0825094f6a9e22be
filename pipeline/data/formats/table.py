"""The table of known formats: needed columns, detection and conversion of each.

Longer than other modules because it is one declarative table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats import (
    arena,
    comparisons,
    demonstrations,
    exchanged,
    exports,
    labels,
    lists,
    logs,
    openwebui,
    pairs,
    prompts,
    rankings,
    scored,
    sides,
    transcripts,
    trees,
)
from pipeline.data.formats.coded import CodesOf, no_codes
from pipeline.data.formats.conversations import Row, Turns, in_order, opened
from pipeline.data.formats.flags import UNLEARNED
from pipeline.data.formats.judgement import Judgement
from pipeline.data.formats.turn_order import repair_order
from pipeline.data.rows import Demonstration, Message, Prompt, is_learned

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Format(Generic[T_co]):
    """A format: its name, the kind of its rows, the alternative sets of needed columns, its test and its conversion.

    `advice` ends the error for such a file where another kind is expected. `codes_of` names a row's coded cells;
    `convert` gets rows with the meanings of their codes (`coded.with_meanings`).
    """

    name: str
    kind: str
    columns: tuple[tuple[str, ...], ...]
    matches: Callable[[Row], bool]
    convert: Callable[[Row], Sequence[T_co]]
    advice: str = "Name another file."
    codes_of: CodesOf = no_codes

    @property
    def needs(self) -> str:
        """The columns in words."""
        return " or ".join(" + ".join(columns) for columns in self.columns)


def demonstrations_in(row: Row, format: Format[Turns], mend: bool) -> list[tuple[Demonstration, bool]]:
    """(demonstration, whether the order of its turns was repaired), for each demonstration of a row. Raises BadRow.

    With `mend`, the order of turns is repaired if possible; a fault is always that of the original row.
    """
    return [_demonstration(turns, mend) for turns in format.convert(row)]


def judgements_in(row: Row, format: Format[Judgement]) -> Sequence[Judgement]:
    """The votes, pairs or single marked answers of a row whose codes are settled. Raises BadRow."""
    return format.convert(row)


def _demonstration(turns: Turns, mend: bool) -> tuple[Demonstration, bool]:
    ordered, was_repaired = _ordered(turns, mend)
    if not any(map(is_learned, ordered)):
        raise LeftOut(turns.field, "assistant", UNLEARNED)
    return Demonstration(**turns.origin, messages=opened(ordered, turns.system, turns.tools)), was_repaired


def _ordered(turns: Turns, mend: bool) -> tuple[list[Message], bool]:
    try:
        return in_order(turns.messages, turns.field, last="assistant"), False
    except BadRow as fault:
        if not mend:
            raise
        try:
            return in_order(repair_order(turns.messages), turns.field, last="assistant"), True
        except BadRow:
            raise fault from None


def _but_not(matches: Callable[[Row], bool], *others: Callable[[Row], bool]) -> Callable[[Row], bool]:
    """A test for rows that match `matches` and none of the others."""
    return lambda row: matches(row) and not any(other(row) for other in others)


def _any_of(*several: Callable[[Row], bool]) -> Callable[[Row], bool]:
    return lambda row: any(matches(row) for matches in several)


_EXCHANGED = {
    "wide": (("prompt", "response_1", "rank_1", "response_2", "rank_2"),),
    "long": (("prompt", "response", "rank"),),
    "lists": (("prompt", "responses", "ranks"), ("prompt", "responses", "scores")),
    "order": (("prompt", "response_a", "response_b", "response_c", "ranking"),),
    "label-studio": (("data", "annotations"),),
    "label-studio-flat": (("prompt", "items", "annotation_id"),),
    "pairs": (("Input.prompt", "Input.response_a", "Input.response_b", "Answer.preference"),),
}
_OPENAI = (("input", "preferred_output", "non_preferred_output"),)
_SWIFT = (("messages", "rejected_response"), ("messages", "rejected_messages"))

DEMONSTRATIONS: tuple[Format[Turns], ...] = (
    Format(
        "alpaca",
        "demonstrations",
        (("instruction", "output"),),
        _but_not(pairs.has_alpaca, logs.is_log),
        demonstrations.alpaca,
    ),
    Format(
        "sharegpt",
        "demonstrations",
        (("conversations",),),
        _but_not(demonstrations.has_sharegpt, labels.has_label),
        demonstrations.sharegpt,
    ),
    Format(
        "messages",
        "demonstrations",
        (("messages",),),
        _but_not(
            demonstrations.has_conversation,
            demonstrations.has_turns(("conversations",), "from"),
            labels.has_label,
            logs.is_log,
        ),
        demonstrations.messages,
    ),
    Format(
        "prompt_completion",
        "demonstrations",
        pairs.COMMON_PAIRS,
        _but_not(
            pairs.has_prompt_and_answer,
            pairs.has_options,
            demonstrations.has_openorca,
            demonstrations.has_pubmedqa,
            transcripts.has_transcript,
            labels.has_label,
            logs.is_log,
        ),
        pairs.prompt_completion,
    ),
    Format("hh", "demonstrations", (("text",), ("chosen",)), transcripts.has_transcript, transcripts.hh),
    Format(
        "openorca",
        "demonstrations",
        (("system_prompt", "question", "response"),),
        _but_not(demonstrations.has_openorca, logs.is_log),
        demonstrations.openorca,
    ),
    Format(
        "pubmedqa",
        "demonstrations",
        (("QUESTION", "CONTEXTS", "LONG_ANSWER"),),
        demonstrations.has_pubmedqa,
        demonstrations.pubmedqa,
    ),
    Format("prodigy", "demonstrations", (("prompt", "options", "accept"),), pairs.has_options, pairs.prodigy),
    Format("gemini", "demonstrations", (("contents",),), exports.has_contents, exports.gemini),
    Format("chatgpt", "demonstrations", (("mapping",),), exports.has_mapping, exports.chatgpt),
    Format("oasst", "demonstrations", (("prompt", "replies"),), trees.has_tree, trees.best_path),
    Format(
        "kto",
        "demonstrations",
        (("prompt", "completion", "label"), ("messages", "label")),
        _but_not(labels.has_label, logs.is_log),
        labels.kto,
        codes_of=labels.codes_of,
    ),
    Format("log", "demonstrations", logs.COLUMNS, logs.is_log, logs.log, codes_of=logs.thumbs_of),
)

_PUBLISHED: tuple[Format[Judgement], ...] = (
    Format(
        "openwebui", "rankings", openwebui.COLUMNS, openwebui.is_feedback, openwebui.feedback, "", openwebui.codes_of
    ),
    Format("arena", "preferences", arena.COLUMNS[:1], arena.has_battle, arena.battle, "", arena.codes_of),
    Format("arena_turns", "preferences", arena.COLUMNS[1:], arena.has_turn_lists, arena.turn_lists),
    Format(
        "openai", "preferences", _OPENAI, comparisons.has_openai_pair, comparisons.openai_pair, "", comparisons.codes_of
    ),
    Format(
        "swift", "preferences", _SWIFT, comparisons.has_swift_pair, comparisons.swift_pair, "", comparisons.codes_of
    ),
    Format("prodigy", "rankings", (("prompt", "options", "accept"),), lists.has_options, lists.accepted_option),
)
"""Judgements recognised by columns of their own."""

_is_published = _any_of(*(one.matches for one in _PUBLISHED))


def _exchanged(form: str) -> Format[Judgement]:
    return Format(
        form,
        "rankings",
        _EXCHANGED[form],
        lambda row: exchanged.exchanged_form(row) == form and not _is_published(row),
        partial(exchanged.votes_of_one, form=form),
    )


EXCHANGED: tuple[Format[Judgement], ...] = tuple(map(_exchanged, exchanged.FORMS))
"""Formats that are read with all of their rows at once: `exchanged.read_exchanged`."""

_is_elsewhere = _any_of(_is_published, lambda row: exchanged.exchanged_form(row) is not None)

RANKINGS: tuple[Format[Judgement], ...] = (
    Format(
        "rankings",
        "rankings",
        (("prompt", "responses", "rankings"),),
        rankings.has_ranking,
        rankings.ranking,
    ),
    Format("oasst", "rankings", (("prompt", "replies"),), trees.has_tree, trees.tree_rankings),
    Format(
        "pandalm",
        "rankings",
        sides.COLUMNS,
        _but_not(sides.has_two_sides, _is_elsewhere),
        sides.side_by_side,
        codes_of=sides.codes_of,
    ),
    Format(
        "answers",
        "rankings",
        lists.COLUMNS,
        _but_not(lists.has_answers_in_list, rankings.has_ranking, comparisons.has_pair, _is_elsewhere),
        lists.answers_in_list,
    ),
)

MARKED: tuple[Format[Judgement], ...] = (
    Format(
        "kto",
        "rankings",
        (("prompt", "completion", "label"), ("messages", "label")),
        _but_not(labels.has_label, logs.is_log, _is_elsewhere),
        labels.kto_mark,
        codes_of=labels.codes_of,
    ),
    Format(
        "log",
        "rankings",
        logs.COLUMNS,
        _but_not(logs.is_log, _is_elsewhere),
        logs.judged_log,
        codes_of=logs.scores_of,
    ),
    Format(
        "scores",
        "rankings",
        scored.COLUMNS,
        _but_not(scored.has_score, labels.has_label, logs.is_log, comparisons.has_pair, _is_elsewhere),
        scored.scored_answer,
    ),
)

PREFERENCES: tuple[Format[Judgement], ...] = (
    Format(
        "preferences",
        "preferences",
        (("prompt", "chosen", "rejected"),),
        _but_not(comparisons.has_pair, _is_elsewhere),
        comparisons.preference,
        codes_of=comparisons.codes_of,
    ),
    Format(
        "hh",
        "preferences",
        (("chosen", "rejected"),),
        transcripts.has_two_transcripts,
        comparisons.hh_pair,
        codes_of=comparisons.codes_of,
    ),
)

JUDGEMENTS: tuple[Format[Judgement], ...] = (*RANKINGS, *EXCHANGED, *MARKED, *PREFERENCES, *_PUBLISHED)

PROMPTS: tuple[Format[Prompt], ...] = (
    Format("prompts", "prompts", (("prompt",), ("question",)), prompts.has_prompt_alone, prompts.prompt),
)

TEXTS: tuple[Format[str], ...] = (
    Format("text", "texts", (("text",),), prompts.has_text_alone, prompts.plain_text, prompts.PLAIN_TEXT),
)

MESSAGES: tuple[Format[str], ...] = (
    Format(
        "oasst",
        "single messages of trees",
        (("message_id", "parent_id", "text"),),
        trees.is_single_message,
        prompts.plain_text,
        trees.SINGLE_MESSAGES,
    ),
)
