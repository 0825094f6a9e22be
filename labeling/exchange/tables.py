"""Rankings as tables. Pure functions.

*wide* has a row per prompt and annotator, *long* one per prompt, annotator and response.

    wide   id, prompt, messages, annotator, comment, both_bad, guidelines, responses, response_1, rank_1, response_2, …
    long   id, prompt, messages, annotator, comment, both_bad, guidelines, slot, response, rank

`prompt` is for people to read. If the prompt is a list of messages, it is the last turn's text, and `messages`, which
takes precedence, holds all messages as JSON. `responses` is their number, `slot` a response's place, from 1. A prompt
without rankings has neither annotator nor ranks. `prompt`, responses and ranks are needed, the rest is optional.
`wide` and `long` read them.

Spreadsheets run a text that begins with = + - @ (or a tab, or a line break) as a formula. So such a text is written
with an apostrophe in front, which spreadsheets understand, and read without it. Texts that begin with apostrophes and
one of these characters get one more, so that every text is read back unchanged.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from labeling.exchange.jsonlines import judgements_of
from labeling.exchange.reading import BadRows, Unusable, refuse
from labeling.records import Ranking, Ranks

_FORMULA = "[=+\\-@\t\r\n＝＋－＠]"
_DELIMITERS = ",;\t"
_TASK = ("id", "prompt", "messages", "annotator", "comment", "both_bad", "guidelines")
_LARGEST_CELL = 2**31 - 1


def escape_formula(text: str) -> str:
    """The text as a cell that spreadsheets do not run."""
    return f"'{text}" if re.match(f"'*{_FORMULA}", text) else text


def unescape_formula(cell: str) -> str:
    """The original text of a cell written by `escape_formula`."""
    return cell[1:] if re.match(f"'+{_FORMULA}", cell) else cell


def read_table(text: str) -> tuple[list[tuple[str, dict[str, str]]], BadRows]:
    """((place, row) of the non-empty rows, the rows that do not fit the header). Rows count from 1.

    Cells are separated by commas, semicolons or tabs. Raises LabelingError if the text is not a table.
    """
    delimiter = max(_DELIMITERS, key=text.partition("\n")[0].count)
    csv.field_size_limit(_LARGEST_CELL)  # a conversation may be long
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        refuse(f"The table is broken ({error}): a text with quotes must be quoted as a whole.")
    header = [name.strip() for name in lines[0]] if lines else []
    if repeated := sorted({name for name in header if name and header.count(name) > 1}):
        refuse(f"Row 1: the column {', '.join(repeated)} occurs twice. Rename one of them.")
    rows: list[tuple[str, dict[str, str]]] = []
    bad: BadRows = []
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) > len(header):
            fault = Unusable("row", f"has more cells than the header, which has {len(header)}", len(cells))
            bad.append((f"row {number}", fault, cells))
        elif any(cells):
            padded = cells + [""] * (len(header) - len(cells))
            row = dict(zip(header, map(unescape_formula, padded), strict=True))
            row.pop("", None)  # a data frame's unnamed row numbers
            rows.append((f"row {number}", row))
    return rows, bad


def write_wide(rankings: Sequence[Ranking]) -> str:
    most = max((len(ranking["responses"]) for ranking in rankings), default=2)
    pairs = [f"{kind}_{number}" for number in range(1, most + 1) for kind in ("response", "rank")]
    rows = []
    for ranking, given in judgements_of(rankings):
        ranks: Sequence[int | str] = given["ranks"] if given else [""] * len(ranking["responses"])
        row = {**_task_cells(ranking, given), "responses": str(len(ranking["responses"]))}
        for number, (text, rank) in enumerate(zip(ranking["responses"], ranks, strict=True), start=1):
            row |= {f"response_{number}": text, f"rank_{number}": str(rank)}
        rows.append(row)
    return _table((*_TASK, "responses", *pairs), rows)


def write_long(rankings: Sequence[Ranking]) -> str:
    rows = []
    for ranking, given in judgements_of(rankings):
        for slot, text in enumerate(ranking["responses"]):
            rank = str(given["ranks"][slot]) if given else ""
            rows.append({**_task_cells(ranking, given), "slot": str(slot + 1), "response": text, "rank": rank})
    return _table((*_TASK, "slot", "response", "rank"), rows)


def _task_cells(ranking: Ranking, given: Ranks | None) -> dict[str, str]:
    prompt = ranking["prompt"]
    cells = {"id": ranking["id"], "prompt": prompt if isinstance(prompt, str) else prompt[-1]["content"]}
    if not isinstance(prompt, str):
        cells["messages"] = json.dumps(prompt, ensure_ascii=False)
    if given is not None:
        cells |= {"annotator": given["annotator"], "comment": given.get("comment", "")}
        cells |= {"both_bad": "true" if given.get("both_bad") else "", "guidelines": given.get("guidelines", "")}
    return cells


def _table(header: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([escape_formula(row.get(name, "")) for name in header] for row in rows)
    return text.getvalue()
