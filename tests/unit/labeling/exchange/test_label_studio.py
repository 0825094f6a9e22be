"""Label Studio's exports, in the shapes that its documentation and its editor's source give."""

import csv
import json

import pytest

from labeling.backend import LabelingError
from labeling.exchange import UNMAPPED, Columns, read

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


def imported(tmp_path, data: dict, *annotations: dict, columns: Columns = UNMAPPED):
    path = tmp_path / "export.json"
    task = {
        "id": 7,
        "data": {"prompt": "Why?", **data},
        "annotations": list(annotations),
        "predictions": [{"result": []}],
    }
    path.write_text(json.dumps([task, {"id": 8, "data": {}, "annotations": []}]))
    return read(path, columns=columns).rankings


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
    with pytest.raises(LabelingError, match="give their order, best first: --buckets bad,good,_"):
        imported(tmp_path, {"items": ITEMS}, said)
    (ranking,) = imported(tmp_path, {"items": ITEMS}, said, columns=Columns(buckets=("good", "bad")))
    assert ranking["rankings"][0]["ranks"] == [1, 3, 1]


def test_what_was_put_into_no_bucket_is_not_guessed(tmp_path):
    said = annotation(ranker({"_": ["llm_1"], "good": ["llm_3", "llm_2"]}))
    with pytest.raises(LabelingError, match=r"has items in no bucket.*entry 1, result"):
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
    with pytest.raises(LabelingError, match=r"two responses are needed, found txt-1 and txt-2.*--response-fields"):
        imported(tmp_path, PAIR, said)
    (ranking,) = imported(tmp_path, PAIR, said, columns=columns)
    assert ranking["rankings"][0]["ranks"] == [2, 1]


@pytest.mark.parametrize("word", ["Equal", "Tie", "Both are good", "=="])
def test_a_choice_beside_the_pair_is_a_tie_if_its_word_or_the_option_says_so(tmp_path, word):
    columns = Columns(tie="==") if word == "==" else UNMAPPED
    (ranking,) = imported(tmp_path, PAIR, annotation(pairwise("left"), choice(word)), columns=columns)
    assert ranking["rankings"][0]["ranks"] == [1, 1]


def test_choices_between_two_answers_are_settled_over_the_whole_file(tmp_path):
    said = [annotation(choice(word), by=by) for by, word in enumerate(["Left is better", "B", "tie", "left"])]
    (ranking,) = imported(tmp_path, PAIR, *said)
    assert [row["ranks"] for row in ranking["rankings"]] == [[1, 2], [2, 1], [1, 1], [1, 2]]


def test_choices_that_are_no_words_for_a_side_are_refused_with_the_option_that_settles_them(tmp_path):
    said = [annotation(choice(word), by=by) for by, word in enumerate(["good", "bad"])]
    with pytest.raises(
        LabelingError, match=r"'good' \(1 times\).*--choices 'bad=…,good=…', each one of first, second, tie, none"
    ):
        imported(tmp_path, PAIR, *said)
    columns = Columns(codes={"good": "first", "bad": "second"})
    (ranking,) = imported(tmp_path, PAIR, *said, columns=columns)
    assert [row["ranks"] for row in ranking["rankings"]] == [[1, 2], [2, 1]]


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        ({"items": ITEMS}, annotation(ranker({"rank": ["llm_1"]})), r"does not rank each of the items once: .*llm_1"),
        (
            {"items": ITEMS},
            annotation(ranker({"rank": ["llm_1", "llm_1", "llm_2", "llm_3"]})),
            "does not rank each of the items once",
        ),
        ({"items": ["a", "b"]}, annotation(ranker({"rank": ["0", "1"]})), r"must be a list of items.*data\.items"),
        ({"items": ITEMS}, annotation({"type": "ranker", "value": 3}), "must be lists of ids"),
        (PAIR, annotation(pairwise("both")), "must say left or right"),
        (PAIR, annotation(pairwise("left"), by=None), "does not name the annotator"),
        (PAIR, {"id": 1}, "must be objects with a list 'result'"),
        (
            {"prompt": 3, **PAIR},
            annotation(pairwise("left")),
            r"the prompt must be text, or a list of messages: entry 1, data\.prompt",
        ),
    ],
)
def test_annotations_that_cannot_be_read_are_refused(tmp_path, data, given, message):
    with pytest.raises(LabelingError, match=message):
        imported(tmp_path, data, given)


def named(result: dict, name: str) -> dict:
    return {**result, "from_name": name}


def test_of_several_tags_of_one_kind_one_must_be_named(tmp_path):
    """Two questions about the same pair: which is more helpful, which is safer."""
    said = annotation(named(pairwise("left"), "helpful"), named(pairwise("right"), "safe"))
    with pytest.raises(LabelingError, match=r"Several tags pairwise .*`helpful`, `safe`.*--choice-field"):
        imported(tmp_path, PAIR, said)
    for name, ranks in (("helpful", [1, 2]), ("safe", [2, 1])):
        (ranking,) = imported(tmp_path, PAIR, said, columns=Columns(choice=name))
        assert ranking["rankings"][0]["ranks"] == ranks


def test_choices_about_other_things_are_not_taken_for_the_verdict(tmp_path):
    for order in (1, -1):
        said = [named(choice("unsafe"), "safety"), named(choice("Right"), "better")][::order]
        (ranking,) = imported(tmp_path, PAIR, annotation(*said))
        assert ranking["rankings"][0]["ranks"] == [2, 1]
    both = annotation(named(choice("A"), "helpful"), named(choice("B"), "harmless"))
    with pytest.raises(LabelingError, match="Several tags choices"):
        imported(tmp_path, PAIR, both)


def test_what_a_task_is_about_is_joined_and_what_is_not_read_is_named(tmp_path):
    path = tmp_path / "export.json"
    data = {"prompt": "Why?", "context": "A text.", "model1": "m", **PAIR}
    path.write_text(json.dumps([{"id": 7, "data": data, "annotations": [annotation(pairwise("left"))]}]))
    outcome = read(path)
    assert outcome.rankings[0]["prompt"] == "Why?\n\nA text."
    assert outcome.sentences == [
        "Read as label-studio: prompt from `data.prompt`, `data.context`, responses from `data.answer1`, "
        "`data.answer2`, verdicts from `pairwise`, annotators from `completed_by`; not read: `data.model1`"
    ]


def test_an_annotation_without_results_is_no_fault(tmp_path):
    (ranking,) = imported(tmp_path, PAIR, annotation(by=9), annotation(pairwise("left")))
    assert len(ranking["rankings"]) == 1


def flat(number: int, **more: object) -> dict:
    """A line of JSON-MIN."""
    meta = {"id": number, "annotator": 1, "annotation_id": number, "created_at": "2026", "lead_time": 1.0}
    return {"prompt": f"Why {number}?", **meta, **more}


def test_the_flat_export_of_pairs_is_read(tmp_path):
    rows = [flat(n, answer1="one", answer2="two", pw=side) for n, side in enumerate(["left", "right"])]
    path = tmp_path / "min.json"
    path.write_text(json.dumps(rows))
    first, second = read(path).rankings
    assert first["rankings"] == [{"annotator": "annotator1", "ranks": [1, 2]}]
    assert second["rankings"] == [{"annotator": "annotator1", "ranks": [2, 1]}]


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_the_flat_export_of_a_ranker_is_read(tmp_path, suffix):
    row = flat(1, items=ITEMS, order={"rank": ["llm_2", "llm_3", "llm_1"]})
    path = tmp_path / f"min.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps([row]))
    else:
        cells = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in row.items()}
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, cells)
            writer.writeheader()
            writer.writerow(cells)
    (ranking,) = read(path).rankings
    assert ranking["rankings"] == [{"annotator": "annotator1", "ranks": [3, 1, 2]}]


def test_of_several_flat_rankers_one_must_be_named(tmp_path):
    orders = {"helpful": {"rank": ["llm_2", "llm_3", "llm_1"]}, "safe": {"rank": ["llm_1", "llm_2", "llm_3"]}}
    path = tmp_path / "min.json"
    path.write_text(json.dumps([flat(1, items=ITEMS, **orders)]))
    with pytest.raises(LabelingError, match="`helpful`, `safe`"):
        read(path)
    (ranking,) = read(path, columns=Columns(choice="safe")).rankings
    assert ranking["rankings"][0]["ranks"] == [1, 2, 3]


def test_tasks_that_were_copied_are_one_record(tmp_path):
    """The same task under another id, with its answers turned round: three people, and one of them twice."""
    turned = {"answer1": PAIR["answer2"], "answer2": PAIR["answer1"]}
    tasks = [
        {"id": 1, "data": {"prompt": "Why?", **PAIR}, "annotations": [annotation(pairwise("left"), by=1)]},
        {"id": 2, "data": {"prompt": "Why? ", **PAIR}, "annotations": [annotation(pairwise("left"), by=2)]},
        {"id": 3, "data": {"prompt": "Why?", **turned}, "annotations": [annotation(pairwise("left"), by=3)]},
        {"id": 4, "data": {"prompt": "Why?", **PAIR}, "annotations": [annotation(pairwise("left"), by=1)]},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    outcome = read(path)
    (ranking,) = outcome.rankings
    assert [row["ranks"] for row in ranking["rankings"]] == [[1, 2], [1, 2], [2, 1]]
    assert len(outcome.repeated) == 1


def test_of_two_annotations_by_one_person_the_later_one_counts(tmp_path):
    late = annotation(pairwise("right"), created_at="2026-01-02T00:00:00Z")
    early = annotation(pairwise("left"), created_at="2026-01-01T00:00:00Z")
    (ranking,) = imported(tmp_path, PAIR, late, early)
    assert [row["ranks"] for row in ranking["rankings"]] == [[2, 1]]
