"""Answers that a model has drafted: which of them are worth anybody's time, and what reviews make of them. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from labeling.backend import Answer, Verdict
from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.faults import BadRow, Place
from pipeline.data.ledger import Ledger
from pipeline.data.rows import Message, prompt_id

REASONS = {
    "refused": "the endpoint refused the prompt",
    "empty": "the draft is empty",
    "cut": "the draft was cut off before its end",
    "same": "the same draft to the same prompt",
    "rejected": "rejected by a majority",
    "tie": "a tie between those who rejected and those who did not",
    "discarded": "discarded by everybody",
}


class Written(NamedTuple):
    """What a model has written: the text, whether it came to its end by itself, whether it was asked at all."""

    text: str
    stopped: bool
    refused: bool = False


class Draft(TypedDict):
    """A drafted answer, and who wrote it: a policy's reference, or the name of a model."""

    id: str
    prompt: list[Message]
    draft: str
    writer: str


class Reviewed(TypedDict):
    """A demonstration that was drafted. `reviewed_by` are all who gave a verdict; nobody, for an unreviewed one."""

    messages: list[Message]
    id: str
    writer: str
    verdict: str  # accept, correct or unreviewed
    corrected_by: NotRequired[str]
    reviewed_by: list[str]


class Said(TypedDict):
    """What one person said about a draft: with a verdict, or discarded."""

    annotator: str
    verdict: NotRequired[Verdict]
    text: NotRequired[str]  # where they changed it
    comment: NotRequired[str]


class Rejected(Draft):
    """A draft that nobody learns from, why, and what was said about it."""

    reason: str
    reviews: list[Said]


def usable_drafts(
    prompts: Sequence[list[Message]], written: Sequence[Written], writer: str, clean: Cleaner, file: Path
) -> tuple[list[Draft], Ledger]:
    """The drafts that are whole, clean and new, and the ledger of the others; `file` has the prompts, one a line."""
    ledger, drafts = Ledger(), dict[str, Draft]()
    ledger.saw(len(prompts))
    for line, (prompt, answer) in enumerate(zip(prompts, written, strict=True), start=1):
        try:
            *asked, drafted = _cleaned(prompt, answer, clean)
            name = prompt_id([*asked, drafted])
            if name in drafts:
                raise BadRow(None, "assistant", REASONS["same"])
        except BadRow as fault:
            ledger.drop(Place(file, line), fault, answer.text, "cleaning")
        else:
            drafts[name] = Draft(id=name, prompt=asked, draft=drafted["content"], writer=writer)
    return list(drafts.values()), ledger


def _cleaned(prompt: Sequence[Message], answer: Written, clean: Cleaner) -> list[Message]:
    """Prompt and answer by the same rules as all demonstrations. Raises BadRow where there is nothing to review."""
    if answer.refused:
        raise BadRow(None, "user", REASONS["refused"])
    if not answer.text.strip():
        raise BadRow(None, "assistant", REASONS["empty"])
    if not answer.stopped:
        raise BadRow(None, "assistant", REASONS["cut"])
    cleaned = clean([*prompt, Message(role="assistant", content=answer.text.strip())])
    if cleaned.dropped:
        raise BadRow(cleaned.field, cleaned.role, cleaned.dropped)
    return cleaned.messages


def unreviewed(draft: Draft) -> Reviewed:
    """A draft as a demonstration that nobody has looked at."""
    return _demonstration(draft, draft["draft"], "unreviewed", [])


def pooled(drafts: Iterable[Draft], answers: Iterable[Answer]) -> tuple[list[Reviewed], list[Rejected]]:
    """Drafts to learn from, and those that were rejected; one about which nobody has said anything is neither.

    The majority of verdicts decides, an accepted and a corrected one being on the same side, and a tie rejects;
    discarded answers have no vote. Where anybody corrected, a correction is taken rather than the draft: that of the
    corrector whose name comes first in the alphabet.
    """
    said: dict[str, list[Answer]] = defaultdict(list)
    for answer in sorted(answers, key=lambda answer: answer["annotator"]):
        said[answer["task"]].append(answer)
    kept, rejected = list[Reviewed](), list[Rejected]()
    for draft in drafts:
        given = said.get(draft["id"])
        if given and (reason := _why_rejected(given)):
            reviews = [_said(draft, answer) for answer in given]
            rejected.append(Rejected(**draft, reason=reason, reviews=reviews))
        elif given:
            kept.append(_accepted(draft, given))
    return kept, rejected


def _why_rejected(answers: Sequence[Answer]) -> str | None:
    verdicts = [answer["verdict"] for answer in answers if "verdict" in answer]
    against = verdicts.count("reject")
    if not verdicts:
        return REASONS["discarded"]
    if 2 * against == len(verdicts):
        return REASONS["tie"]
    return REASONS["rejected"] if 2 * against > len(verdicts) else None


def _accepted(draft: Draft, answers: Sequence[Answer]) -> Reviewed:
    reviewers = [answer["annotator"] for answer in answers if "verdict" in answer]
    for answer in answers:
        if answer.get("verdict") == "correct":
            row = _demonstration(draft, answer["text"], "correct", reviewers)
            row["corrected_by"] = answer["annotator"]
            return row
    return _demonstration(draft, draft["draft"], "accept", reviewers)


def _demonstration(draft: Draft, text: str, verdict: str, reviewers: list[str]) -> Reviewed:
    messages = [*draft["prompt"], Message(role="assistant", content=text)]
    return Reviewed(messages=messages, id=draft["id"], writer=draft["writer"], verdict=verdict, reviewed_by=reviewers)


def _said(draft: Draft, answer: Answer) -> Said:
    said = Said(annotator=answer["annotator"])
    if "verdict" in answer:
        said["verdict"] = answer["verdict"]
    if answer.get("text", draft["draft"]) != draft["draft"]:
        said["text"] = answer["text"]
    if answer["comment"]:
        said["comment"] = answer["comment"]
    return said
