"""Shapes in which people have rankings: each function writes the same votes to a file, in its own way."""

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from labeling.votes import Vote

Shape = Callable[[Sequence[Vote], Path], None]
PEOPLE = ("ann", "ben", "cem")


def votes(size: int) -> list[Vote]:
    """Three people's ranks of `size` responses to each of six prompts."""
    draw = random.Random(size)
    return [
        Vote(
            f"{number} {person}",
            f"Question {number}: how tall is it?",
            [f"Tower {number} is {number}{slot} metres tall." for slot in range(size)],
            draw.sample(range(1, size + 1), size),
            person,
        )
        for number in range(6)
        for person in PEOPLE
    ]


def table(rows: Sequence[dict], path: Path, delimiter: str = ",") -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def lines(rows: Sequence[dict], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def numbered(vote: Vote, response: str, rank: str, values: Sequence[object] | None = None) -> dict:
    """`response_1`, `rank_1`, `response_2`, …"""
    cells: dict[str, object] = {}
    for slot, (text, value) in enumerate(zip(vote.responses, values or vote.ranks or (), strict=True)):
        keys = {"number": slot + 1, "index": slot, "letter": "abcd"[slot], "capital": "ABCD"[slot]}
        cells |= {response.format(**keys): text, rank.format(**keys): value}
    return cells


def wide(rows: Sequence[Vote], path: Path) -> None:
    table(
        [
            {"prompt": v.prompt, "annotator": v.annotator, **numbered(v, "response_{number}", "rank_{number}")}
            for v in rows
        ],
        path,
    )


def wide_letters(rows: Sequence[Vote], path: Path) -> None:
    cells = [numbered(v, "Answer {capital}", "Rank {capital}") for v in rows]
    table(
        [{"Question": v.prompt, "Worker ID": v.annotator, **row} for v, row in zip(rows, cells, strict=True)], path, ";"
    )


def wide_json(rows: Sequence[Vote], path: Path) -> None:
    lines(
        [
            {"instruction": v.prompt, "rater": v.annotator, **numbered(v, "output{number}", "rank{number}")}
            for v in rows
        ],
        path,
    )


def wide_floats(rows: Sequence[Vote], path: Path) -> None:
    ranks = [[f"{rank}.0" for rank in v.ranks or ()] for v in rows]
    cells = [
        numbered(v, "completion_{index}", "completion_{index}_rank", given)
        for v, given in zip(rows, ranks, strict=True)
    ]
    table(
        [{"query": v.prompt, "evaluator_name": v.annotator, **row} for v, row in zip(rows, cells, strict=True)],
        path,
        "\t",
    )


def scores(rows: Sequence[Vote], path: Path) -> None:
    """Higher is better: 10 for rank 1, 7.5 for rank 2, …"""
    points = [[12.5 - 2.5 * rank for rank in v.ranks or ()] for v in rows]
    cells = [numbered(v, "response_{letter}", "score_{letter}", given) for v, given in zip(rows, points, strict=True)]
    table([{"prompt": v.prompt, "labeler": v.annotator, **row} for v, row in zip(rows, cells, strict=True)], path)


def shuffled(rows: Sequence[Vote], path: Path) -> None:
    """Each row with its responses in another order, the rows in any order, no ids."""
    draw = random.Random(3)
    turned = []
    for v in draw.sample(rows, len(rows)):
        order = draw.sample(range(len(v.responses)), len(v.responses))
        turned.append(replace(v, responses=[v.responses[k] for k in order], ranks=[v.ranks[k] for k in order]))
    wide(turned, path)


def whitespace(rows: Sequence[Vote], path: Path) -> None:
    draw = random.Random(4)
    ends = ["", " ", "\n", "\t"]
    noisy = [
        replace(
            v,
            prompt=f"{draw.choice(ends)}{v.prompt.upper() if draw.random() < 0.5 else v.prompt}{draw.choice(ends)}",
            responses=[text + draw.choice(ends) for text in v.responses],
            annotator=str(v.annotator) + draw.choice(["", " "]),
        )
        for v in rows
    ]
    wide(noisy, path)


def resubmitted(rows: Sequence[Vote], path: Path) -> None:
    """Everybody gave another answer an hour before, which stands behind the later one."""
    earlier = [replace(v, ranks=list(reversed(v.ranks or ()))) for v in rows]
    given = [
        (v, time) for v, time in (*((v, "2026-01-01T10:00") for v in rows), *((v, "2026-01-01 09:00") for v in earlier))
    ]
    table(
        [
            {
                "prompt": v.prompt,
                "annotator": v.annotator,
                "submitted_at": time,
                **numbered(v, "response_{number}", "rank_{number}"),
            }
            for v, time in given
        ],
        path,
    )


def contract_rows(rows: Sequence[Vote], path: Path) -> None:
    given = [{"annotator": v.annotator, "ranks": v.ranks} for v in rows]
    lines(
        [{"prompt": v.prompt, "responses": v.responses, "rankings": [one]} for v, one in zip(rows, given, strict=True)],
        path,
    )


def contract_rows_with_a_name(rows: Sequence[Vote], path: Path) -> None:
    """The annotator stands beside the rankings."""
    lines(
        [
            {"prompt": v.prompt, "responses": v.responses, "rater": v.annotator, "rankings": [{"ranks": v.ranks}]}
            for v in rows
        ],
        path,
    )


def orders(rows: Sequence[Vote], path: Path) -> None:
    """B > A = C"""
    cells = [numbered(v, "response_{letter}", "unused_{letter}") for v in rows]
    texts = [{name: cell for name, cell in row.items() if not name.startswith("unused")} for row in cells]
    written = [
        " > ".join(
            " = ".join("ABCD"[slot] for slot, rank in enumerate(v.ranks or ()) if rank == level)
            for level in sorted(set(v.ranks or ()))
        )
        for v in rows
    ]
    table(
        [
            {"prompt": v.prompt, "annotator": v.annotator, **row, "ranking": order}
            for v, row, order in zip(rows, texts, written, strict=True)
        ],
        path,
    )


def file_per_annotator(rows: Sequence[Vote], path: Path) -> None:
    """Ids that count from 0 in each file, and each file begins elsewhere."""
    path.mkdir()
    for shift, person in enumerate(sorted({str(v.annotator) for v in rows})):
        own = [v for v in rows if v.annotator == person]
        turned = own[shift:] + own[:shift]
        given = [{"id": str(n), "prompt": v.prompt, "responses": v.responses} for n, v in enumerate(turned)]
        ranked = [
            {**row, "rankings": [{"annotator": person, "ranks": v.ranks}]} for row, v in zip(given, turned, strict=True)
        ]
        lines(ranked, path / f"{person}.jsonl")


def lists(rows: Sequence[Vote], path: Path) -> None:
    lines([{"prompt": v.prompt, "judge": v.annotator, "responses": v.responses, "ranks": v.ranks} for v in rows], path)


def lists_in_cells(rows: Sequence[Vote], path: Path) -> None:
    table(
        [
            {
                "prompt": v.prompt,
                "judge": v.annotator,
                "responses": json.dumps(v.responses),
                "ranks": json.dumps(v.ranks),
            }
            for v in rows
        ],
        path,
    )


def long(rows: Sequence[Vote], path: Path) -> None:
    cells = [(v, text, rank) for v in rows for text, rank in zip(v.responses, v.ranks or (), strict=True)]
    random.Random(2).shuffle(cells)
    table([{"prompt": v.prompt, "user": v.annotator, "response": text, "rank": rank} for v, text, rank in cells], path)


def long_scores(rows: Sequence[Vote], path: Path) -> None:
    """Each row has an id of its own."""
    cells = [(v, text, 10 - rank) for v in rows for text, rank in zip(v.responses, v.ranks or (), strict=True)]
    table(
        [
            {"id": number, "question": v.prompt, "coder": v.annotator, "answer": text, "rating": score}
            for number, (v, text, score) in enumerate(cells)
        ],
        path,
    )


def argilla_flat(rows: Sequence[Vote], path: Path) -> None:
    """A record for each prompt, an entry for each person, with the ranks beside the options."""
    records: dict[tuple, list[Vote]] = {}
    for v in rows:
        records.setdefault((v.prompt, *v.responses), []).append(v)
    flat = []
    for (prompt, *responses), given in records.items():
        fields = {f"response-{slot}": text for slot, text in enumerate(responses, start=1)}
        answers = [
            [{"value": name, "rank": rank} for name, rank in zip(fields, v.ranks or (), strict=True)] for v in given
        ]
        question = {"order.responses": answers, "order.responses.users": [v.annotator for v in given]}
        flat.append({"prompt": prompt, **fields, **question, "order.responses.status": ["submitted"] * len(given)})
    lines(flat, path)


def argilla_first_version(rows: Sequence[Vote], path: Path) -> None:
    """A column for each question, in which ranks and options are two lists."""
    lines(
        [
            {
                "prompt": v.prompt,
                **{f"response-{slot}": text for slot, text in enumerate(v.responses, start=1)},
                "order": [
                    {
                        "user_id": v.annotator,
                        "value": {"rank": v.ranks, "value": [f"response-{n + 1}" for n in range(len(v.responses))]},
                        "status": "submitted",
                    }
                ],
                "order-suggestion": None,
            }
            for v in rows
        ],
        path,
    )


def label_studio_copied(rows: Sequence[Vote], path: Path) -> None:
    """A task for each annotation: the same data under another id."""
    tasks = []
    for number, v in enumerate(rows):
        items = [{"id": f"m{slot}", "body": text} for slot, text in enumerate(v.responses)]
        order = sorted(zip(v.ranks or (), items, strict=True), key=lambda pair: pair[0])
        groups = {f"b{rank}": [item["id"] for one, item in order if one == rank] for rank, _ in order}
        bucketed = len(groups) < len(items)
        value = groups if bucketed else {"rank": [item["id"] for _, item in order]}
        result = [{"type": "ranker", "value": {"ranker": value}}]
        annotation = {"completed_by": {"id": v.annotator}, "result": result, "was_cancelled": False}
        tasks.append({"id": number, "data": {"prompt": v.prompt, "items": items}, "annotations": [annotation]})
    path.write_text(json.dumps(tasks))


LONG_SHAPES = (
    wide, wide_letters, wide_json, wide_floats, scores, shuffled, whitespace, resubmitted, contract_rows,
    contract_rows_with_a_name, file_per_annotator, orders, lists, lists_in_cells, long, long_scores, argilla_flat,
    argilla_first_version, label_studio_copied,
)  # fmt: skip
