"""Selects a model's drafted answers for review and pools the reviews. Pure functions."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from labeling.backend import AnnotatorAnswer, Verdict
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
    "discarded": "discarded by all reviewers",
}


class Generated(NamedTuple):
    """A generated text, whether it ended by itself, and whether the endpoint refused the prompt.

    Where they are known, `tokens` are those of prompt and text, `read` those of the prompt, `ids` those of the text,
    and `logprobs` their log-probabilities.
    """

    text: str
    stopped: bool
    refused: bool = False
    tokens: int = 0
    read: int | None = None
    ids: list[int] | None = None
    logprobs: list[float] | None = None


class Draft(TypedDict):
    """A drafted answer; `writer` is a policy's reference or a model's name."""

    id: str
    prompt: list[Message]
    draft: str
    writer: str


class Reviewed(TypedDict):
    """A demonstration that was drafted. `reviewed_by` lists all annotators with a verdict; empty if unreviewed."""

    messages: list[Message]
    id: str
    writer: str
    verdict: str  # accept, correct or unreviewed
    corrected_by: NotRequired[str]
    reviewed_by: list[str]


class Review(TypedDict):
    """One annotator's review of a draft; without a verdict it was discarded."""

    annotator: str
    verdict: NotRequired[Verdict]
    text: NotRequired[str]  # if they changed it
    comment: NotRequired[str]


class Rejected(Draft):
    """A rejected draft, the reason and its reviews."""

    reason: str
    reviews: list[Review]


def usable_drafts(
    prompts: Sequence[list[Message]], written: Sequence[Generated], writer: str, clean: Cleaner, file: Path
) -> tuple[list[Draft], Ledger]:
    """(drafts that are complete, clean and new, the ledger of the others); `file` has the prompts, one per line."""
    ledger, drafts = Ledger(), dict[str, Draft]()
    ledger.count_read(len(prompts))
    for line, (prompt, answer) in enumerate(zip(prompts, written, strict=True), start=1):
        try:
            *cleaned_prompt, drafted = _cleaned(prompt, answer, clean)
            name = prompt_id([*cleaned_prompt, drafted])
            if name in drafts:
                raise BadRow(None, "assistant", REASONS["same"])
        except BadRow as fault:
            ledger.drop(Place(file, line), fault, answer.text, "cleaning")
        else:
            drafts[name] = Draft(id=name, prompt=cleaned_prompt, draft=drafted["content"], writer=writer)
    return list(drafts.values()), ledger


def _cleaned(prompt: Sequence[Message], answer: Generated, clean: Cleaner) -> list[Message]:
    """Prompt and answer, cleaned by the rules for demonstrations. Raises BadRow if there is nothing to review."""
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


def as_unreviewed(draft: Draft) -> Reviewed:
    """A draft as a demonstration without a review."""
    return _demonstration(draft, draft["draft"], "unreviewed", [])


def pool_reviews(drafts: Iterable[Draft], answers: Iterable[AnnotatorAnswer]) -> tuple[list[Reviewed], list[Rejected]]:
    """(drafts to learn from, rejected drafts); a draft without reviews is in neither.

    The majority of verdicts decides: accepting and correcting count as one side, a tie rejects, discarded answers do
    not count. If a reviewer corrected an accepted draft, the correction is taken: the one by the alphabetically first
    name.
    """
    by_draft: dict[str, list[AnnotatorAnswer]] = defaultdict(list)
    for answer in sorted(answers, key=lambda answer: answer["annotator"]):
        by_draft[answer["task"]].append(answer)
    kept, rejected = list[Reviewed](), list[Rejected]()
    for draft in drafts:
        given = by_draft.get(draft["id"])
        if given and (reason := _rejection_reason(given)):
            reviews = [_review(draft, answer) for answer in given]
            rejected.append(Rejected(**draft, reason=reason, reviews=reviews))
        elif given:
            kept.append(_as_reviewed(draft, given))
    return kept, rejected


def _rejection_reason(answers: Sequence[AnnotatorAnswer]) -> str | None:
    verdicts = [answer["verdict"] for answer in answers if "verdict" in answer]
    against = verdicts.count("reject")
    if not verdicts:
        return REASONS["discarded"]
    if 2 * against == len(verdicts):
        return REASONS["tie"]
    return REASONS["rejected"] if 2 * against > len(verdicts) else None


def _as_reviewed(draft: Draft, answers: Sequence[AnnotatorAnswer]) -> Reviewed:
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


def _review(draft: Draft, answer: AnnotatorAnswer) -> Review:
    review = Review(annotator=answer["annotator"])
    if "verdict" in answer:
        review["verdict"] = answer["verdict"]
    if answer.get("text", draft["draft"]) != draft["draft"]:
        review["text"] = answer["text"]
    if answer["comment"]:
        review["comment"] = answer["comment"]
    return review
