"""Shapes in which people have verdicts on two responses: each function writes the same votes to a file."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from labeling.votes import Vote
from tests.unit.data.judgements.ranking_shapes import lines, long, scores, shuffled, table, wide


def verdict(v: Vote, first: str, second: str, tie: str) -> str:
    left, right = v.ranks or (1, 1)
    return tie if left == right else first if left < right else second


def sides(v: Vote, first: str, second: str) -> dict[str, str]:
    return {first: v.responses[0], second: v.responses[1]}


def pairs(rows: Sequence[Vote], path: Path) -> None:
    table(
        [
            {"prompt": v.prompt, "reviewer": v.annotator, **sides(v, "response_a", "response_b"),
             "preference": verdict(v, "A", "B", "tie")}
            for v in rows
        ],
        path,
    )  # fmt: skip


def pairs_of_models(rows: Sequence[Vote], path: Path) -> None:
    lines(
        [
            {"question": v.prompt, "user_id": v.annotator, "model_a": "one", "model_b": "other",
             **sides(v, "answer_a", "answer_b"),
             "winner": verdict(v, "one", "other", "Both are good")}
            for v in rows
        ],
        path,
    )  # fmt: skip


def mturk(rows: Sequence[Vote], path: Path) -> None:
    """With a rejected assignment of the opposite verdict."""
    good = [(v, "Approved") for v in rows]
    bad = [(replace(rows[0], ranks=list(reversed(rows[0].ranks or ())), annotator="spam"), "Rejected")]
    table(
        [
            {"HITId": f"h{n}", "WorkerId": v.annotator, "SubmitTime": "Thu Jan 01 10:00:00 PST 2026", 
             "AssignmentStatus": status, "Input.prompt": v.prompt, **sides(v, "Input.response_a", "Input.response_b"),
             "Answer.preference.label": verdict(v, "Response A", "Response B", "Tie")}
            for n, (v, status) in enumerate(good + bad)
        ],
        path,
    )  # fmt: skip


def mturk_buttons(rows: Sequence[Vote], path: Path) -> None:
    table(
        [
            {"WorkerId": v.annotator, "Input.prompt": v.prompt, **sides(v, "Input.response_1", "Input.response_2"),
             **{f"Answer.better.{one}": str(verdict(v, "1", "2", "tie") == one).lower() for one in ("1", "2", "tie")}}
            for v in rows
        ],
        path,
    )  # fmt: skip


def mturk_task_answers(rows: Sequence[Vote], path: Path) -> None:
    """Crowd forms write all answers into one cell, as JSON."""
    chosen = [verdict(v, "a", "b", "tie") for v in rows]
    answers = [[{"better": {one: one == word for one in ("a", "b", "tie")}, "note": "fine"}] for word in chosen]
    table(
        [
            {"WorkerId": v.annotator, "Input.prompt": v.prompt, **sides(v, "Input.response_a", "Input.response_b"),
             "Answer.taskAnswers": json.dumps(answer)}
            for v, answer in zip(rows, answers, strict=True)
        ],
        path,
    )  # fmt: skip


def potato(rows: Sequence[Vote], path: Path) -> None:
    table(
        [
            {"user": v.annotator, "instance_id": n, "prompt": v.prompt, **sides(v, "response_1", "response_2"),
             **{f"preference:::{one}": "1" if verdict(v, "A", "B", "tie") == one else "" for one in ("A", "B", "tie")}}
            for n, v in enumerate(rows)
        ],
        path,
    )  # fmt: skip


def label_studio_choices(rows: Sequence[Vote], path: Path) -> None:
    tasks = []
    for n, v in enumerate(rows):
        choice = {"type": "choices", "value": {"choices": [verdict(v, "Left is better", "Right is better", "Tie")]}}
        data = {"prompt": v.prompt, **sides(v, "answer1", "answer2")}
        tasks.append({"id": n, "data": data, "annotations": [{"completed_by": v.annotator, "result": [choice]}]})
    path.write_text(json.dumps(tasks))


def label_studio_flat(rows: Sequence[Vote], path: Path) -> None:
    table(
        [
            {"annotation_id": n, "annotator": v.annotator, **sides(v, "answer1", "answer2"), "id": n,
             "lead_time": 1.2, "prompt": v.prompt, "pw": verdict(v, "left", "right", "tie")}
            for n, v in enumerate(rows)
        ],
        path,
    )  # fmt: skip


def argilla_records(rows: Sequence[Vote], path: Path) -> None:
    lines(
        [
            {"id": n, "fields": {"prompt": v.prompt, **sides(v, "response_1", "response_2")},
             "responses": {"better": [{"value": verdict(v, "response 1", "response 2", "tie"),
                                       "user_id": v.annotator}]}}
            for n, v in enumerate(rows)
        ],
        path,
    )  # fmt: skip


PAIR_SHAPES = (
    wide, scores, shuffled, long, pairs, pairs_of_models, mturk, mturk_buttons, mturk_task_answers, potato,
    label_studio_choices, label_studio_flat, argilla_records,
)  # fmt: skip
