"""Two answers side by side: PandaLM's own file, and a winner in one column."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.faults import BadRow
from pipeline.data.formats.comparisons import ranking
from pipeline.data.formats.detection import detect
from pipeline.data.formats.sides import side_by_side
from pipeline.data.formats.table import JUDGEMENTS
from tests.unit.raw_rows import S, U, said

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "rankings"
ROW: dict[str, Any] = {"instruction": "i", "input": "x", "response1": "a", "response2": "b"}
WON = {"prompt": "q", "response_a": "a", "response_b": "b"}


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real files are not there: {REAL}")
def test_the_published_file_says_what_its_neutral_twin_says() -> None:
    published = json.loads((REAL / "pandalm_source_format.json").read_text())
    neutral = [json.loads(line) for line in (REAL / "pandalm_neutral.jsonl").read_text().splitlines()]
    assert [side_by_side(row) for row in published] == [ranking(row) for row in neutral]


def test_each_annotator_has_a_say() -> None:
    row = {**ROW, "annotator1": 0, "annotator_2": "2", "annotator3": 1.0, "annotator4": None, "annotator5": ""}
    (found,) = side_by_side(row)
    assert found["prompt"] == "i\n\nx"
    assert [(said["annotator"], said["ranks"]) for said in found["rankings"]] == [
        ("annotator1", [1, 1]),
        ("annotator_2", [2, 1]),
        ("annotator3", [1, 2]),
    ]


@pytest.mark.parametrize(
    ("winner", "ranks"),
    [
        *((first, [1, 2]) for first in ("model_a", "A", "1", 1, "response_a", "Response 1", "assistant_a")),
        *((second, [2, 1]) for second in ("model_b", "b", "2", 2, 2.0, "output_b")),
        *((tie, [1, 1]) for tie in ("tie", "Tie (bothbad)", "both", "equal")),
    ],
)
def test_a_winner_in_one_column(winner: Any, ranks: list[int]) -> None:
    row = {**WON, "winner": winner, "annotator": "ann", "system": "s"}
    assert detect([row], JUDGEMENTS, Path("f")).name == "pandalm"
    (found,) = side_by_side(row)
    assert found["prompt"] == said((S, "s"), (U, "q"))
    assert found["rankings"] == [{"annotator": "ann", "ranks": ranks}]


def test_the_same_judgement_has_the_same_id() -> None:
    row = {**WON, "winner": "tie"}
    assert side_by_side(row)[0]["id"] == side_by_side(dict(row))[0]["id"]
    assert side_by_side({**row, "id": "mine"})[0]["id"] == "mine"
    assert side_by_side({**row, "idx": 3})[0]["id"] == "pandalm-3"


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({**WON, "winner": 0}, "winner", "use 1 or A for the first"),
        ({**WON, "winner": True}, "winner", "use 1 or A for the first"),
        ({**ROW, "annotator1": 3}, "annotator1", "use 1 or A for the first"),
        ({**ROW, "annotator1": None}, None, "nobody said which"),
        ({**WON, "winner": ""}, None, "nobody said which"),
        ({**WON, "response_b": None, "winner": 1}, "response_b", "found nothing"),
        ({"prompt": "q", "response_a": "a", "winner": 1}, None, "a column is missing"),
    ],
)
def test_faults_of_judgements_side_by_side(row: dict[str, Any], field: str | None, reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        side_by_side(row)
    assert caught.value.field == field
    assert reason in caught.value.reason
