"""What a review of a draft says: accepted, corrected or rejected, and the text as the annotator left it. Pure.

The page shows the draft twice: as a reader sees it, and in a field in which it can be changed. What stands in that
field counts, whichever button was pressed: an edit is never lost, and a correction that changes nothing is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labeling.backend import Verdict
from labeling.questions import COMMENT, CORRECTION, REVIEW, VERDICTS, Raw, comment_in, plain_values


@dataclass(frozen=True)
class Review:
    """What one answer says about a draft; without a verdict it is a discarded one, whose comment is the reason."""

    verdict: Verdict | None
    text: str = ""
    comment: str = ""


def raw_review(verdict: Verdict, text: str | None, comment: str = "") -> Raw:
    """What the page would send; `text` is what stands in the field, None for one that was emptied."""
    raw: Raw = {REVIEW: {"value": verdict}}
    if text is not None:
        raw[CORRECTION] = {"value": text}
    return raw | ({COMMENT: {"value": comment}} if comment else {})


def read_review(draft: str, raw: Mapping[str, Any] | None, discarded: bool = False) -> Review:
    """What an answer's raw values say about a draft.

    An accepted draft that was changed is a corrected one. A corrected one that was not changed is accepted; one whose
    text was deleted is rejected, since there is nothing to learn from.

    Raises ValueError if a submitted answer has no verdict.
    """
    values = plain_values(raw)
    comment = comment_in(values)
    if discarded:
        return Review(None, comment=comment)
    said = values.get(REVIEW)
    if said not in VERDICTS:
        raise ValueError(f"a submitted review says {dict(raw or {})}")
    verdict: Verdict = said
    text = _as_written(values.get(CORRECTION) or "")
    if not text:
        return Review("reject" if verdict == "correct" else verdict, draft, comment)
    changed = text != _as_written(draft)
    if verdict != "reject":
        verdict = "correct" if changed else "accept"
    return Review(verdict, text if changed else draft, comment)


def _as_written(text: str) -> str:
    """A text without what a browser's field makes of spaces and line ends by itself."""
    return text.replace("\r\n", "\n").replace("\u00a0", " ").strip()
