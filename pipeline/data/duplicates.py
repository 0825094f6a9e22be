"""Exact duplicates: rows that say the same, whitespace aside."""

import hashlib
import json
from typing import cast

from pipeline.data.rows import Demonstration, Preference, Ranking, as_messages, content_hash

DataRow = Demonstration | Preference | Ranking


def row_hash(row: DataRow) -> str:
    """What makes a row a duplicate of another.

    For a demonstration the conversation; for a preference prompt, chosen and rejected; for a ranking also its
    id and what was said, so that two people's judgements of equal answers both count.
    """
    if "messages" in row:
        return content_hash(cast(Demonstration, row)["messages"])
    if "chosen" in row:
        pair = cast(Preference, row)
        return content_hash(pair["prompt"], pair["chosen"], pair["rejected"])
    asked = content_hash(as_messages(row["prompt"]))
    judged = json.dumps([row["id"], asked, row["responses"], row["rankings"]])
    return hashlib.sha256(judged.encode()).hexdigest()
