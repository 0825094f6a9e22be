"""Refuses rows with pictures, sound or films: no model here takes them, and without them the texts are incomplete."""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.data.faults import BadRow

MEDIA = frozenset(
    f"{kind}{more}"
    for kind in ("image", "img", "picture", "photo", "video", "audio")
    for more in ("", "s", "_url", "_urls", "_path", "_paths", "_file", "_files", "_base64", "_b64", "_bytes")
)
"""Columns with media or their names."""

_REASON = "pictures, sound and films cannot be used: only rows of text alone"
_PLACE = re.compile(
    r"<image>(?!.*</image>)|^\s*<(?:video|audio)>(?!.*</)|(?<!</)<(?:video|audio)>\s*\Z"
    r"|<(?:image|img)[_-]?\d+>|<\|(?:image|video|audio|vision)(?:_\w+)?\|>|<img>[^<>\n]{1,500}</img>"
    r"|\bdata:(?:image|video|audio)/[\w.+-]{1,40};base64,",
    re.DOTALL,
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)


def check_media(row: Mapping[str, Any]) -> None:
    """Raise BadRow if a column of the row holds pictures, sound or films."""
    if MEDIA.isdisjoint(map(str.lower, row)):
        return
    for key, value in row.items():
        if key.lower() in MEDIA and value and not isinstance(value, bool | int | float):
            raise BadRow(key, None, _REASON)


def check_text(text: str, field: str, role: str) -> str:
    """The text. Raises BadRow if a user text holds a media placeholder such as `<image>` outside of code."""
    if role == "user" and ("<" in text or ";base64," in text) and _PLACE.search(_CODE.sub("", text)):
        raise BadRow(field, role, _REASON)
    return text
