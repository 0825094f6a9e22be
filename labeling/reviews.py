"""Reviews of drafts: accepted, corrected or rejected, and the annotator's text. Pure functions.

The page shows the draft twice: rendered, and in a field for changes. The text of that field counts with any button: an
edit is never lost, and a correction without a change is an acceptance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labeling.backend import Verdict
from labeling.questions import COMMENT, CORRECTION, REVIEW, VERDICTS, Raw, comment_in, plain_values


@dataclass(frozen=True)
class Review:
    """The review in one answer. Without a verdict it is discarded, and its comment is the reason."""

    verdict: Verdict | None
    text: str = ""
    comment: str = ""


def raw_review(verdict: Verdict, text: str | None, comment: str = "") -> Raw:
    """The raw values that the page sends; `text` is the text of the field, None for an emptied field."""
    raw: Raw = {REVIEW: {"value": verdict}}
    if text is not None:
        raw[CORRECTION] = {"value": text}
    return raw | ({COMMENT: {"value": comment}} if comment else {})


def read_review(draft: str, raw: Mapping[str, Any] | None, discarded: bool = False) -> Review:
    """The review in an answer's raw values.

    An accepted draft with changes counts as corrected. A corrected draft without changes counts as accepted; with an
    emptied text it counts as rejected. Raises ValueError if a submitted answer has no verdict.
    """
    values = plain_values(raw)
    comment = comment_in(values)
    if discarded:
        return Review(None, comment=comment)
    stored = values.get(REVIEW)
    if stored not in VERDICTS:
        raise ValueError(f"a submitted review has the values {dict(raw or {})}")
    verdict: Verdict = stored
    text = _without_browser_changes(values.get(CORRECTION) or "")
    if not text:
        return Review("reject" if verdict == "correct" else verdict, draft, comment)
    changed = text != _without_browser_changes(draft)
    if verdict != "reject":
        verdict = "correct" if changed else "accept"
    return Review(verdict, text if changed else draft, comment)


def _without_browser_changes(text: str) -> str:
    """A text without a browser's own changes to spaces and line ends."""
    return text.replace("\r\n", "\n").replace("\u00a0", " ").strip()
