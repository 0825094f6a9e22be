"""OpenAssistant's trees: each message with its replies; replies of the assistant are ranked by people."""

import math
from collections.abc import Iterator
from typing import Any

from labeling.votes import Vote
from pipeline.data.faults import BadRow
from pipeline.data.formats.conversations import Row, Turns, in_order, turn_in, turns_of_row
from pipeline.data.formats.fields import list_in, object_in, text_in
from pipeline.data.rows import Message

Node = dict[str, Any]

SINGLE_MESSAGES = "Give the file of trees, in which the replies lie within the message they answer (*.trees.jsonl)."
ANNOTATOR = "oasst"
"""The annotator name for the export's ranks, which pool many people's judgements."""


def best_path(row: Row) -> list[Turns]:
    """The conversation that follows the best reply at each turn, up to the last assistant turn.

    The best reply has the lowest rank; without ranks it is the first. Deleted and rejected messages are skipped. Raises
    BadRow, also if no answer is left.
    """
    node, field = _root(row)
    turns = [_message(node, field)]
    while replies := _replies(node, field):
        node, field = min(replies, key=lambda reply: _rank(*reply))
        turns.append(_message(node, field))
    while turns and turns[-1]["role"] != "assistant":
        turns.pop()
    if not turns:
        raise BadRow("prompt.replies", None, "all answers were deleted or rejected")
    named = {"id": row.get("message_tree_id")}
    return [turns_of_row(named, "prompt", turns, "id")]


def tree_rankings(row: Row) -> list[Vote]:
    """One vote for each message with at least two ranked answers. Raises BadRow if there are none."""
    node, field = _root(row)
    rankings: list[Vote] = []
    waiting = [(node, field, [_message(node, field)])]
    while waiting:
        node, field, path = waiting.pop()
        replies = _replies(node, field)
        rankings += _ranking(node, field, path, replies)
        waiting += [(*reply, [*path, _message(*reply)]) for reply in reversed(replies)]
    if not rankings:
        raise BadRow("prompt.replies", None, "no message has two ranked answers")
    return rankings


def has_tree(row: Row) -> bool:
    return isinstance(row.get("prompt"), dict) and "replies" in row["prompt"]


def is_single_message(row: Row) -> bool:
    """Whether the row is one message of a flat export."""
    return row.keys() >= {"message_id", "parent_id", "text"}


def _root(row: Row) -> tuple[Node, str]:
    node = object_in(row.get("prompt"), "prompt")
    if not _is_usable(node):
        raise BadRow("prompt", None, "the prompt was deleted or rejected in review")
    return node, "prompt"


def _is_usable(node: Node) -> bool:
    return not node.get("deleted") and node.get("review_result") is not False


def _replies(node: Node, field: str) -> list[tuple[Node, str]]:
    """The replies that were neither deleted nor rejected, each with its place in the row."""
    if not node.get("replies"):
        return []
    given = enumerate(list_in(node["replies"], f"{field}.replies"))
    replies = [(object_in(reply, f"{field}.replies[{index}]"), f"{field}.replies[{index}]") for index, reply in given]
    return [(reply, place) for reply, place in replies if _is_usable(reply)]


def _message(node: Node, field: str) -> Message:
    return turn_in(node, field, "role", "text")


def _rank(node: Node, field: str) -> float:
    """The rank of a reply: 0 for the best one, infinity without a rank."""
    rank = node.get("rank")
    if rank is None:
        return math.inf
    if type(rank) is not int or rank < 0:
        raise BadRow(f"{field}.rank", None, "a rank in a tree must be a whole number from 0")
    return rank


def _ranking(node: Node, field: str, path: list[Message], replies: list[tuple[Node, str]]) -> Iterator[Vote]:
    ranks = [_rank(*reply) for reply in replies]
    answers = [(_message(*reply), int(rank)) for reply, rank in zip(replies, ranks, strict=True) if rank < math.inf]
    answers = [(turn, rank) for turn, rank in answers if turn["role"] == "assistant"]
    if len(answers) < 2:
        return
    name = node.get("message_id")
    yield Vote(
        place=None,
        prompt=in_order(path, field, last="user"),
        responses=[turn["content"] for turn, _ in answers],
        ranks=[rank + 1 for _, rank in answers],
        annotator=ANNOTATOR,
        id=None if name is None else text_in(name, f"{field}.message_id"),
    )
