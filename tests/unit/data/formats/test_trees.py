"""Trees of OpenAssistant: the best path through them, and a ranking wherever answers were ranked."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.votes import Vote
from pipeline.data.faults import BadRow
from pipeline.data.formats.conversations import in_order
from pipeline.data.formats.detection import detect
from pipeline.data.formats.table import DEMONSTRATIONS, JUDGEMENTS
from pipeline.data.formats.trees import best_path, tree_rankings
from pipeline.errors import RequestError
from tests.places import REAL
from tests.unit.data.raw_rows import A, U, demonstration, said

TREES = REAL / "sft" / "oasst_trees.jsonl"


def node(text: str, *replies: dict[str, Any], role: str = A, **fields: Any) -> dict[str, Any]:
    return {"message_id": f"id of {text}", "text": text, "role": role, "replies": list(replies), **fields}


def tree(*replies: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"message_tree_id": "t", "prompt": node("q", *replies, role="prompter", **fields)}


BRANCHING = tree(
    node("second", node("deep", role="prompter"), rank=1),
    node("gone", rank=0, deleted=True),
    node("spam", review_result=False),
    node("first", node("more?", node("yes", rank=None), node("no"), role="prompter"), rank=0, review_result=True),
    node("unranked"),
)


def test_the_best_path_follows_ranks_and_leaves_out_what_was_rejected() -> None:
    expected = said((U, "q"), (A, "first"), (U, "more?"), (A, "yes"))
    assert demonstration("oasst", BRANCHING) == {"id": "t", "messages": expected}


def test_the_path_ends_with_an_answer() -> None:
    row = tree(node("a", node("and?", role="prompter")))
    assert demonstration("oasst", row)["messages"] == said((U, "q"), (A, "a"))


def test_every_set_of_ranked_answers_is_a_ranking() -> None:
    deep = node("more?", node("x", rank=1), node("y", rank=0), role="prompter")
    row = tree(node("a", deep, rank=2), node("b", rank=0), node("c"))
    top, below = tree_rankings(row)
    assert top == Vote(None, said((U, "q")), ["a", "b"], [3, 1], "oasst", "id of q")
    assert below.prompt == said((U, "q"), (A, "a"), (U, "more?"))
    assert (below.responses, below.ranks) == (["x", "y"], [2, 1])


@pytest.mark.parametrize(
    ("convert", "row", "field", "reason"),
    [
        (best_path, tree(), "prompt.replies", "all answers were deleted"),
        (best_path, tree(node("a"), deleted=True), "prompt", "was deleted or rejected"),
        (best_path, tree(node("a", deleted=True)), "prompt.replies", "all answers were deleted"),
        (best_path, tree(node("a", rank="0"), node("b")), "prompt.replies[0].rank", "a whole number from 0"),
        (best_path, tree(node("a", role="critic")), "prompt.replies[0].role", "unknown role"),
        (tree_rankings, tree(node("a", rank=0), node("b")), "prompt.replies", "no message has two ranked answers"),
        (tree_rankings, tree(node("a", rank=0), node(" ", rank=1)), "prompt.replies[1].text", "the text is empty"),
    ],
)
def test_trees_that_cannot_be_used(convert: Any, row: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        convert(row)
    assert caught.value.field == field
    assert reason in caught.value.reason


def test_single_messages_of_trees_are_told_from_trees() -> None:
    row = {"message_id": "m", "parent_id": None, "text": "q", "role": "prompter", "lang": "en"}
    for formats in (DEMONSTRATIONS, JUDGEMENTS):
        with pytest.raises(RequestError, match=r"It holds single messages of trees .* Give the file of trees"):
            detect([row], formats, Path("f"))


@st.composite
def trees(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    """A message with replies below it; ranks, deleted and rejected ones here and there."""
    role = (U, A)[depth % 2]
    replies = draw(st.lists(trees(depth + 1), max_size=3 if depth < 3 else 0)) if depth < 4 else []
    rank = draw(st.none() | st.integers(0, 3)) if role == A else None
    text = draw(st.text("abc", min_size=1, max_size=3))
    return node(text, *replies, role=role, rank=rank, deleted=depth > 0 and draw(st.integers(0, 5)) == 0)


def ranked_sets(message: dict[str, Any]) -> int:
    replies = [reply for reply in message["replies"] if not reply["deleted"]]
    return (sum(reply["rank"] is not None for reply in replies) > 1) + sum(map(ranked_sets, replies))


@settings(deadline=None)
@given(root=trees())
def test_paths_are_in_order_and_no_ranking_is_lost(root: dict[str, Any]) -> None:
    row = {"prompt": root}
    if any(not reply["deleted"] for reply in root["replies"]):
        (turns,) = best_path(row)
        assert in_order(turns.messages, "prompt", last="assistant") == turns.messages
    if ranked_sets(root):
        rankings = tree_rankings(row)
        assert len(rankings) == ranked_sets(root)
        assert all(one.ranks and None not in one.ranks and len(one.responses) >= 2 for one in rankings)


@pytest.mark.skipif(not TREES.is_file(), reason=f"the real file is not there: {TREES}")
def test_real_trees_lose_no_ranking() -> None:
    rows = [json.loads(line) for line in TREES.read_text().splitlines()]

    def complete(message: dict[str, Any]) -> dict[str, Any]:
        return {**message, "rank": message.get("rank"), "replies": [complete(reply) for reply in message["replies"]]}

    assert sum(len(tree_rankings(row)) for row in rows) == sum(ranked_sets(complete(row["prompt"])) for row in rows)
    assert all(best_path(row)[0].messages[-1]["role"] == A for row in rows)
