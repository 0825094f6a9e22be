"""Rankings as tables: *wide* has a row per prompt and annotator, *long* one per prompt, annotator and response. Pure.

    wide   id, prompt, messages, annotator, comment, both_bad, guidelines, responses, response_1, rank_1, response_2, …
    long   id, prompt, messages, annotator, comment, both_bad, guidelines, slot, response, rank

`prompt` can be read by people. Where the prompt is a list of messages, it is the last turn's text, and `messages` holds
them all as JSON; then `messages` is what counts. `responses` is their number, `slot` a response's place, from 1. A
prompt that nobody has ranked has no annotator and no ranks. `prompt`, `annotator`, responses and ranks are needed, the
rest may be absent: then rows about the same prompt and responses belong together. `input` is joined to the prompt.

Spreadsheets run what begins with = + - @ (or a tab, or a line break) as a formula. So such a text is written with an
apostrophe before it, which spreadsheets understand, and read without; texts that begin with apostrophes and then one of
these get one more, so that every text comes back as it was.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from labeling.exchange.columns import Columns
from labeling.exchange.faults import Faults
from labeling.exchange.judgements import Judgement, judgements_of, prompt_in, ranks_row
from labeling.records import Message, Ranking, Ranks

_FORMULA = "[=+\\-@\t\r\n＝＋－＠]"
_DELIMITERS = ",;\t"
_TASK = ("id", "prompt", "messages", "annotator", "comment", "both_bad", "guidelines")
_LARGEST_CELL = 2**31 - 1

Row = Mapping[str, str]


def neutralised(text: str) -> str:
    """The text as a cell that no spreadsheet runs."""
    return f"'{text}" if re.match(f"'*{_FORMULA}", text) else text


def restored(cell: str) -> str:
    """The text that `neutralised` was given."""
    return cell[1:] if re.match(f"'+{_FORMULA}", cell) else cell


def read_table(text: str, faults: Faults) -> tuple[list[str], list[tuple[str, Row]]]:
    """Header, and (place, row) for all rows that are not empty. Commas, semicolons or tabs; rows count from 1."""
    delimiter = max(_DELIMITERS, key=text.partition("\n")[0].count)
    csv.field_size_limit(_LARGEST_CELL)  # a conversation may be long
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        faults.add("row 1 or later", "quotes", f"not a table ({error}); a text with quotes must be quoted as a whole")
        return [], []
    header = [name.strip() for name in lines[0]] if lines else []
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        faults.add("row 1", ", ".join(repeated), "this column occurs twice")
    rows: list[tuple[str, Row]] = []
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) > len(header):
            faults.add(f"row {number}", "row", f"has {len(cells)} cells, but the header has {len(header)}")
        elif any(cells):
            padded = cells + [""] * (len(header) - len(cells))
            rows.append((f"row {number}", dict(zip(header, map(restored, padded), strict=True))))
    return header, rows


def read_wide(text: str, columns: Columns, faults: Faults) -> Iterator[Judgement]:
    header, rows = read_table(text, faults)
    numbers = [number for number in range(1, len(header)) if f"response_{number}" in header]
    responses = columns.responses or tuple(f"response_{number}" for number in numbers)
    ranks = columns.ranks or tuple(f"rank_{number}" for number in numbers)
    if len(responses) != len(ranks) or len(responses) < 2:
        faults.add("row 1", "header", f"has {len(responses)} columns of responses and {len(ranks)} of ranks")
        return
    if not _has(header, (*_needed(columns), *responses, *ranks), faults):
        return
    for place, row in rows:
        size = _size(place, row, responses, ranks, faults)
        given = _said(place, row, columns, [row[name] for name in ranks[:size]], ranks, faults)
        prompt = _prompt(place, row, columns, faults)
        if prompt is not None and given is not _FAULTY:
            texts = [row[name] for name in responses[:size]]
            yield Judgement(place, row.get(columns.id or "id") or None, prompt, texts, given)


def _size(place: str, row: Row, responses: Sequence[str], ranks: Sequence[str], faults: Faults) -> int:
    """How many responses a wide row has: what it says, else up to the last cell with a text or a rank."""
    pairs = list(zip(responses, ranks, strict=True))
    seen = max((index + 1 for index, (text, rank) in enumerate(pairs) if row[text] or row[rank].strip()), default=0)
    said = row.get("responses", "").strip() if "responses" not in responses else ""
    if said and not (said.isdecimal() and seen <= int(said) <= len(pairs)):
        faults.add(place, "responses", f"says {said!r}, but {seen} of {len(pairs)} are filled")
        return seen
    return int(said) if said else seen


@dataclass
class _Task:
    """One prompt of a long table, while it is read: slot -> text, and each annotator's rows."""

    place: str
    name: str | None
    prompt: str | list[Message]
    texts: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[tuple[str, str, Row]]] = field(default_factory=dict)  # annotator -> (place, slot, row)


def read_long(text: str, columns: Columns, faults: Faults) -> Iterator[Judgement]:
    """Without the column `slot`, a response is known by its text, and each text may occur once."""
    header, rows = read_table(text, faults)
    response, rank = (*columns.responses, "response")[0], (*columns.ranks, "rank")[0]
    if not _has(header, (*_needed(columns), response, rank), faults):
        return
    tasks: dict[str, _Task] = {}
    for place, row in rows:
        prompt = _prompt(place, row, columns, faults)
        if prompt is None:
            continue
        name, said = row.get(columns.id or "id") or None, row[response]
        slot = row["slot"].strip() if "slot" in header else said
        task = tasks.setdefault(name or json.dumps(prompt), _Task(place, name, prompt))
        if "slot" in header and not slot.isdecimal():
            faults.add(place, "slot", f"must be a whole number from 1, found {slot!r}")
        elif task.prompt != prompt:
            faults.add(place, "id", f"{name!r} has another prompt at {task.place}")
        elif task.texts.setdefault(slot, said) != said:
            faults.add(place, response, f"slot {slot} has another text at an earlier row")
        else:
            task.rows.setdefault(row[columns.annotator or "annotator"], []).append((place, slot, row))
    for task in tasks.values():
        yield from _long_task(task, columns, rank, "slot" in header, faults)


def _long_task(task: _Task, columns: Columns, rank: str, numbered: bool, faults: Faults) -> Iterator[Judgement]:
    slots = sorted(task.texts, key=int) if numbered else list(task.texts)
    for rows in task.rows.values():
        by_slot = {slot: row for _, slot, row in rows}
        place, _, row = rows[0]
        if len(by_slot) < len(rows):
            reason = "a response occurs twice" if numbered else "a text occurs twice: give a column `slot`, too"
            faults.add(place, "response", f"{reason} for annotator {row[columns.annotator or 'annotator']!r}")
        elif missing := [slot for slot in slots if slot not in by_slot]:
            where = f"slot {missing[0]}" if numbered else repr(missing[0][:60])
            faults.add(place, rank, f"no rank for {where}, which others have ranked")
        else:
            cells = [by_slot[slot][rank] for slot in slots]
            given = _said(place, row, columns, cells, (rank,), faults)
            if given is not _FAULTY:
                yield Judgement(place, task.name, task.prompt, [task.texts[slot] for slot in slots], given)


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
    writer.writerows([neutralised(row.get(name, "")) for name in header] for row in rows)
    return text.getvalue()


_FAULTY = Ranks(annotator="", ranks=[])  # stands for ranks that could not be read


def _needed(columns: Columns) -> tuple[str, ...]:
    return columns.prompt or "prompt", columns.annotator or "annotator"


def _has(header: Sequence[str], names: Sequence[str], faults: Faults) -> bool:
    """Whether the columns are there; each that is missing goes to `faults`."""
    missing = [name for name in names if name not in header]
    for name in missing:
        faults.add("row 1", name, f"there is no such column; there are {', '.join(header)}")
    return not missing


def _prompt(place: str, row: Row, columns: Columns, faults: Faults) -> str | list[Message] | None:
    messages = row.get("messages", "")
    if columns.prompt or not messages:
        return prompt_in(row[columns.prompt or "prompt"], place, columns.prompt or "prompt", faults, row.get("input"))
    try:
        turns = json.loads(messages)
    except json.JSONDecodeError as error:
        faults.add(place, "messages", f"not valid JSON ({error.msg} at character {error.pos + 1})")
        return None
    return prompt_in(turns, place, "messages", faults)


def _said(
    place: str, row: Row, columns: Columns, cells: Sequence[str], names: Sequence[str], faults: Faults
) -> Ranks | None:
    """What a row says; None where nobody has ranked, `_FAULTY` where it cannot be read."""
    annotator = row[columns.annotator or "annotator"]
    before = len(faults)
    if not annotator and not any(cell.strip() for cell in cells):
        return None
    if not annotator:
        faults.add(place, columns.annotator or "annotator", "is empty")
    ranks = [_rank(cell) for cell in cells]
    for index, (cell, rank) in enumerate(zip(cells, ranks, strict=True)):
        if rank is None:
            name = names[index] if len(names) > 1 else f"{names[0]} of response {index + 1}"
            faults.add(place, name, f"a rank is a whole number from 1, found {cell!r}")
    both_bad = row.get("both_bad", "").strip().lower()
    if both_bad not in ("", "true", "false"):
        faults.add(place, "both_bad", f"must be true, false or empty, found {both_bad!r}")
    if len(faults) > before:
        return _FAULTY
    comment = row.get(columns.comment or "comment", "")
    return ranks_row(annotator, ranks, comment, both_bad == "true", row.get("guidelines", ""))


def _rank(cell: str) -> int | None:
    """A whole number from 1; spreadsheets like to write 2.0."""
    match = re.fullmatch(r"\s*([0-9]{1,9})(?:\.0*)?\s*", cell)
    return int(match[1]) if match and int(match[1]) >= 1 else None
