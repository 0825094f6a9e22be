"""Reads one answer as Argilla stores it. Pure functions."""

from collections.abc import Mapping
from typing import Any, cast

from labeling.backend import AnnotatorAnswer, LabelingError, Question
from labeling.questions import read_values
from labeling.records import Task
from labeling.reviews import read_review


def answer_of(question: Question, task: Task, response: Mapping[str, Any], annotator: str) -> AnnotatorAnswer:
    """Return a submitted or discarded response as an answer. Raises `LabelingError` if it does not fit the question."""
    try:
        values = _answer_values(question, task, response)
    except ValueError as error:
        raise LabelingError(f"Task '{task['id']}', annotator '{annotator}': {error}", fault="request") from None
    answer = {"task": task["id"], "annotator": annotator, "status": response["status"], "ranks": None, **values}
    if response.get("inserted_at"):
        answer["answered"] = response["inserted_at"]
    return cast(AnnotatorAnswer, answer)


def name_of(response: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return the name of a response's annotator; `names` maps an account's id. A deleted account keeps a part of it."""
    return names.get(response["user_id"]) or f"deleted-{str(response['user_id'])[:8]}"


def _answer_values(question: Question, task: Task, response: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a response by the names of `AnnotatorAnswer`, only those of its question."""
    discarded = response["status"] == "discarded"
    if question == "review":
        review = read_review(task["responses"][0], response["values"], discarded)
        verdict = {"verdict": review.verdict, "text": review.text} if review.verdict else {}
        return {"comment": review.comment, **verdict}
    values = read_values(question, len(task["responses"]), response["values"], discarded)
    return {name: value for name, value in vars(values).items() if value is not None}
