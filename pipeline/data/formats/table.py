"""The formats that are understood, one entry each: what is needed, how to tell it, and what becomes of a row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats import (
    comparisons,
    demonstrations,
    exports,
    labels,
    logs,
    pairs,
    prompts,
    sides,
    transcripts,
    trees,
)
from pipeline.data.formats.conversations import Row, Turns, in_order, opened
from pipeline.data.formats.flags import UNLEARNED
from pipeline.data.formats.labels import Single
from pipeline.data.formats.mending import mended
from pipeline.data.rows import Demonstration, Message, Preference, Prompt, Ranking, is_learned

Judgement = Ranking | Preference | Single
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Format(Generic[T_co]):
    """A format: its name, what its rows become, the sets of columns of which it needs one, how to tell it.

    `advice` is for those who gave such a file where another kind is wanted.
    """

    name: str
    kind: str
    columns: tuple[tuple[str, ...], ...]
    matches: Callable[[Row], bool]
    convert: Callable[[Row], list[T_co]]
    advice: str = "Name another file."

    @property
    def needs(self) -> str:
        """The columns in words."""
        return " or ".join(" + ".join(columns) for columns in self.columns)


def demonstrations_in(row: Row, format: Format[Turns], mend: bool) -> list[tuple[Demonstration, bool]]:
    """The demonstrations of a row, each with whether the order of its turns was mended. Raises BadRow.

    With `mend`, turns out of order are mended where they can be; the fault is that of the row as it stands.
    """
    return [_demonstration(turns, mend) for turns in format.convert(row)]


def judgements_in(row: Row, format: Format[Judgement]) -> list[Judgement]:
    """The rankings, pairs or single marked answers of a row; `labels.group_singles` ranks the latter. Raises BadRow."""
    return format.convert(row)


def _demonstration(turns: Turns, mend: bool) -> tuple[Demonstration, bool]:
    ordered, needed_mending = _ordered(turns, mend)
    if not any(map(is_learned, ordered)):
        raise LeftOut(turns.field, "assistant", UNLEARNED)
    return Demonstration(**turns.origin, messages=opened(ordered, turns.system, turns.tools)), needed_mending


def _ordered(turns: Turns, mend: bool) -> tuple[list[Message], bool]:
    try:
        return in_order(turns.messages, turns.field, last="assistant"), False
    except BadRow as fault:
        if not mend:
            raise
        try:
            return in_order(mended(turns.messages), turns.field, last="assistant"), True
        except BadRow:
            raise fault from None


def _but_not(matches: Callable[[Row], bool], *others: Callable[[Row], bool]) -> Callable[[Row], bool]:
    """A looser test, for rows that meet none of the stricter ones."""
    return lambda row: matches(row) and not any(other(row) for other in others)


_has_label_alone = _but_not(labels.has_label, logs.is_log)

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
        demonstrations.has_sharegpt,
        demonstrations.sharegpt,
    ),
    Format(
        "messages",
        "demonstrations",
        (("messages",),),
        _but_not(demonstrations.has_conversation, logs.is_log),
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
        (("prompt", "completion", "label"),),
        _but_not(labels.has_label, logs.is_log),
        labels.kto,
    ),
    Format("log", "demonstrations", logs.COLUMNS, logs.is_log, logs.log),
)

RANKINGS: tuple[Format[Ranking], ...] = (
    Format(
        "rankings",
        "rankings",
        (("prompt", "responses", "rankings"),),
        comparisons.has_ranking,
        comparisons.ranking,
    ),
    Format("oasst", "rankings", (("prompt", "replies"),), trees.has_tree, trees.tree_rankings),
    Format("pandalm", "rankings", sides.COLUMNS, sides.has_two_sides, sides.side_by_side),
)

MARKED: tuple[Format[Ranking | Single], ...] = (
    Format[Single](
        "kto",
        "rankings",
        (("prompt", "completion", "label"),),
        _but_not(labels.has_label, logs.is_log),
        labels.kto_single,
    ),
    Format("log", "rankings", logs.COLUMNS, logs.is_log, logs.judged_log),
)

PREFERENCES: tuple[Format[Preference], ...] = (
    Format(
        "preferences",
        "preferences",
        (("prompt", "chosen", "rejected"),),
        comparisons.has_pair,
        comparisons.preference,
    ),
    Format("hh", "preferences", (("chosen", "rejected"),), transcripts.has_two_transcripts, comparisons.hh_pair),
)

JUDGEMENTS: tuple[Format[Judgement], ...] = (*RANKINGS, *MARKED, *PREFERENCES)

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
