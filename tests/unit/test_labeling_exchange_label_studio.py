"""Label Studio's JSON export, in the shapes that its documentation and its editor's source give."""

import json

import pytest

from labeling.backend import LabelingError
from labeling.exchange import Columns, read
from labeling.exchange.columns import AS_THEY_ARE

ITEMS = [
    {"id": "llm_1", "title": "LLM 1", "body": "one"},
    {"id": "llm_2", "title": "LLM 2", "body": "two"},
    {"id": "llm_3", "title": "LLM 3", "html": "<b>three</b>"},
]


def ranker(columns: dict) -> dict:
    return {"id": "x", "from_name": "rank", "to_name": "answers", "type": "ranker", "value": {"ranker": columns}}


def pairwise(selected: str, to_name: str = "answer1,answer2") -> dict:
    return {"from_name": "comparison", "to_name": to_name, "type": "pairwise", "value": {"selected": selected}}


def annotation(*results: dict, by: object = 10, **more: object) -> dict:
    return {
        "id": 1001,
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "completed_by": by,
        **more,
    }


def textarea(*lines: str) -> dict:
    return {"from_name": "why", "to_name": "prompt", "type": "textarea", "value": {"text": list(lines)}}


def choice(name: str) -> dict:
    return {"from_name": "equal", "to_name": "answer1", "type": "choices", "value": {"choices": [name]}}


def imported(tmp_path, data: dict, *annotations: dict, columns: Columns = AS_THEY_ARE):
    path = tmp_path / "export.json"
    task = {
        "id": 7,
        "data": {"prompt": "Why?", **data},
        "annotations": list(annotations),
        "predictions": [{"result": []}],
    }
    path.write_text(json.dumps([task, {"id": 8, "data": {}, "annotations": []}]))
    return read(path, columns=columns)


def test_a_ranker_gives_ranks_in_the_order_of_the_items(tmp_path):
    first = annotation(ranker({"rank": ["llm_2", "llm_3", "llm_1"]}), textarea("clear", "short"))
    other = annotation(ranker({"rank": ["llm_1", "llm_2", "llm_3"]}), by={"id": 11, "email": "ann@example.org"})
    skipped = annotation(by=12, was_cancelled=True)
    (ranking,) = imported(tmp_path, {"items": ITEMS}, first, other, skipped)
    assert ranking == {
        "id": "7",
        "prompt": "Why?",
        "responses": ["one", "two", "<b>three</b>"],
        "rankings": [
            {"annotator": "annotator10", "ranks": [3, 1, 2], "comment": "clear\nshort"},
            {"annotator": "annotator11", "ranks": [1, 2, 3]},
        ],
    }
    assert "example.org" not in json.dumps(ranking)


def test_buckets_are_ties_once_their_order_is_known(tmp_path):
    said = annotation(ranker({"bad": ["llm_2"], "good": ["llm_3", "llm_1"], "_": []}))
    with pytest.raises(LabelingError, match="say which are better, best first: --buckets bad,good,_"):
        imported(tmp_path, {"items": ITEMS}, said)
    (ranking,) = imported(tmp_path, {"items": ITEMS}, said, columns=Columns(buckets=("good", "bad")))
    assert ranking["rankings"][0]["ranks"] == [1, 3, 1]


def test_what_was_put_into_no_bucket_is_not_guessed(tmp_path):
    said = annotation(ranker({"_": ["llm_1"], "good": ["llm_3", "llm_2"]}))
    with pytest.raises(LabelingError, match=r"export\.json, entry 1, annotations\[0\]\.result: has items in no bucket"):
        imported(tmp_path, {"items": ITEMS}, said, columns=Columns(buckets=("good", "bad")))
    (ranking,) = imported(tmp_path, {"items": ITEMS}, said, columns=Columns(buckets=("good", "_")))
    assert ranking["rankings"][0]["ranks"] == [3, 1, 1]


PAIR = {"answer1": "left one", "answer2": "right one"}


def test_a_pair_is_left_or_right_in_the_order_of_the_tag(tmp_path):
    (ranking,) = imported(tmp_path, PAIR, annotation(pairwise("left")), annotation(pairwise("right"), by=11))
    assert ranking["responses"] == ["left one", "right one"]
    assert [row["ranks"] for row in ranking["rankings"]] == [[1, 2], [2, 1]]


def test_names_of_tags_are_mapped_to_fields(tmp_path):
    columns = Columns(responses=("answer1", "answer2"))
    said = annotation(pairwise("right", "txt-1,txt-2"))
    with pytest.raises(LabelingError, match=r"no two texts txt-1 and txt-2.*--response-fields"):
        imported(tmp_path, PAIR, said)
    (ranking,) = imported(tmp_path, PAIR, said, columns=columns)
    assert ranking["rankings"][0]["ranks"] == [2, 1]


def test_a_choice_beside_the_pair_says_a_tie(tmp_path):
    with pytest.raises(LabelingError, match=r"neither a ranker nor a pairwise result.*--tie"):
        imported(tmp_path, PAIR, annotation(choice("Equal")))
    (ranking,) = imported(tmp_path, PAIR, annotation(choice("Equal")), columns=Columns(tie="Equal"))
    assert ranking["rankings"][0]["ranks"] == [1, 1]


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        ({"items": ITEMS}, annotation(ranker({"rank": ["llm_1"]})), r"ranks \['llm_1'\], but the items are"),
        ({"items": ITEMS}, annotation(ranker({"rank": ["llm_1", "llm_1", "llm_2", "llm_3"]})), "but the items are"),
        ({"items": ["a", "b"]}, annotation(ranker({"rank": ["0", "1"]})), r"data\.items: must be a list of items"),
        ({"items": ITEMS}, annotation({"type": "ranker", "value": 3}), "must be lists of ids"),
        (PAIR, annotation(pairwise("both")), "must say left or right"),
        (PAIR, annotation(pairwise("left"), by=None), "completed_by: says nobody"),
        (PAIR, {"id": 1}, "must be an object with a list 'result'"),
        ({"prompt": 3, **PAIR}, annotation(pairwise("left")), r"data\.prompt: the prompt must be text"),
    ],
)
def test_annotations_that_cannot_be_read_are_refused(tmp_path, data, given, message):
    with pytest.raises(LabelingError, match=message):
        imported(tmp_path, data, given)


def test_the_flattened_export_is_refused_with_the_name_of_the_right_one(tmp_path):
    path = tmp_path / "min.json"
    path.write_text(json.dumps([{"id": 1, "prompt": "Why?", "rank": {"rank": ["a"]}, "annotator": 1}]))
    with pytest.raises(LabelingError, match="not JSON-MIN"):
        read(path, "label-studio")
