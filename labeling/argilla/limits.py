"""Argilla's limits on a round, checked before anything is sent."""

from labeling.backend import LabelingError, Round
from labeling.questions import responses_per_task

MAX_GUIDELINES = 10_000
MAX_NAME = 200


def check(asked: Round) -> None:
    """Raise `LabelingError` (request) if Argilla cannot hold this round."""
    if not 1 <= len(asked.guidelines) <= MAX_GUIDELINES:
        raise LabelingError(
            f"Argilla takes guidelines of 1 to {MAX_GUIDELINES:,} characters, but these have "
            f"{len(asked.guidelines):,}. Shorten them, or link to the rest.",
            fault="request",
        )
    for queue in asked.queues:
        if not 1 <= len(queue.name) <= MAX_NAME:
            raise LabelingError(f"Argilla's names have 1 to {MAX_NAME} characters: {queue.name!r}", fault="request")
        if queue.overlap < 1:
            raise LabelingError(f"Queue '{queue.name}': overlap must be at least 1", fault="request")
        if queue.most is not None and (queue.most <= queue.overlap or asked.question == "review"):
            raise LabelingError(f"Queue '{queue.name}': most must be above overlap, and is for comparisons", "request")
        try:
            responses_per_task(asked.question, queue.tasks)
        except ValueError as error:
            raise LabelingError(f"Queue '{queue.name}': {error}", fault="request") from None
