"""Judgements that were there already: rows that say the same, whitespace aside."""

import hashlib
import json
from typing import cast

from pipeline.data.formats.table import Judgement
from pipeline.data.rows import Preference, as_messages, content_hash


def row_hash(row: Judgement) -> str:
    """What makes a judgement a duplicate of another.

    For a pair prompt, chosen and rejected; for a ranking, or an answer that somebody marked, also what was said and by
    whom, so that two people's judgements of equal answers both count.
    """
    if "chosen" in row:
        pair = cast(Preference, row)
        return content_hash(pair["prompt"], pair["chosen"], pair["rejected"])
    asked = content_hash(as_messages(row["prompt"]))
    return hashlib.sha256(json.dumps([asked, {**row, "prompt": None}], sort_keys=True).encode()).hexdigest()
