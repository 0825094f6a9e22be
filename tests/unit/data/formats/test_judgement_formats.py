"""Formats of judgements: pairs and rankings, what is read and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.faults import BadRow
from pipeline.data.formats.detection import detect
from pipeline.data.formats.table import PREFERENCES, RANKINGS
from pipeline.data.rows import prompt_id
from tests.unit.data.formats.test_formats import HH, ROWS, A, S, U, demonstration, hh_pair, preference, said
from tests.unit.data.raw_rows import ranking_of


def ranking(row: dict[str, Any]) -> Any:
    return ranking_of("rankings", row)


def test_pairs_that_share_a_beginning() -> None:
    begin = said((S, "s"), (U, "q1"), (A, "a1"), (U, "q2"))
    pair = preference({"chosen": [*begin, *said((A, "yes"))], "rejected": [*begin, *said((A, "no"))]})
    assert pair == {
        "prompt": begin,
        "chosen": said((A, "yes")),
        "rejected": said((A, "no")),
        "margin": 1.0,
        "group": prompt_id(begin),
    }


@pytest.mark.parametrize("prompt", ["q", said((U, "q"))])
def test_pairs_with_a_prompt_of_their_own(prompt: Any) -> None:
    expected = {
        "prompt": said((U, "q")),
        "chosen": said((A, "a")),
        "rejected": said((A, "b")),
        "margin": 0.5,
        "group": "g",
    }
    told = {"prompt": prompt, "margin": 0.5, "group": "g"}
    assert preference({**told, "chosen": "a", "rejected": "b"}) == expected
    assert preference({**told, "chosen": said((A, "a")), "rejected": said((A, "b"))}) == expected
    assert preference({**told, "chosen": said((U, "q"), (A, "a")), "rejected": said((U, "q"), (A, "b"))}) == expected


def test_pairs_whose_prompt_has_another_name() -> None:
    row = {"system": "s", "question": "q", "input": None, "chosen": "a", "rejected": "b"}
    assert detect([row], (*RANKINGS, *PREFERENCES), Path("f")).name == "preferences"
    assert preference(row)["prompt"] == said((S, "s"), (U, "q"))


def test_pairs_of_transcripts() -> None:
    pair = hh_pair({"chosen": HH + " because", "rejected": HH + " go away"})
    assert pair["prompt"] == said((U, "hi"), (A, "hello"), (U, "why?"))
    assert (pair["chosen"], pair["rejected"]) == (said((A, "because")), said((A, "go away")))


RANKED: dict[str, Any] = {
    "id": "r1",
    "prompt": "q",
    "responses": ["a", "", "c"],
    "rankings": [{"annotator": "ann", "ranks": [1, 3, 1]}],
    "passage": "1234",
}


def test_a_ranking_keeps_what_the_contract_names() -> None:
    assert ranking(RANKED) == {key: RANKED[key] for key in ("id", "prompt", "responses", "rankings")}


def test_a_ranking_with_input_joins_it_as_alpaca_does() -> None:
    assert ranking({**RANKED, "input": "about"})["prompt"] == "q\n\nabout"
    assert ranking({**RANKED, "prompt": " ", "input": "about"})["prompt"] == "about"
    assert ranking({**RANKED, "prompt": said((U, "q")), "input": "about"})["prompt"] == said((U, "q\n\nabout"))


def test_a_ranking_without_an_id_is_named_by_its_content() -> None:
    nameless = {key: value for key, value in RANKED.items() if key != "id"}
    other = {**nameless, "responses": ["a", "b", "c"]}
    assert ranking(nameless)["id"] == ranking(dict(nameless))["id"] != ranking(other)["id"]


@pytest.mark.parametrize(
    ("change", "field", "role", "reason"),
    [
        ({"responses": ["a"]}, "responses", None, "at least two responses"),
        ({"responses": "ab"}, "responses", None, "found text"),
        ({"responses": ["a", None, None]}, "responses", None, "at least two responses"),
        ({"responses": ["a", {}, "c"]}, "responses[1]", A, "found an object"),
        ({"rankings": []}, "rankings", None, "no annotator has ranked it"),
        (
            {"rankings": [{"annotator": "x", "ranks": [1, 2]}]},
            "rankings[0].ranks",
            "x",
            "as many ranks as responses",
        ),
        (
            {"rankings": [{"annotator": "x", "ranks": [0, 1, 2]}]},
            "rankings[0].ranks[0]",
            "x",
            "from 1, found 0",
        ),
        ({"rankings": [{"annotator": "x", "ranks": [1, 2.5, 2]}]}, "rankings[0].ranks[1]", "x", "found 2.5"),
        (
            {"rankings": [{"annotator": "x", "ranks": [1, 2, True]}]},
            "rankings[0].ranks[2]",
            "x",
            "found true or false",
        ),
        (
            {"rankings": [{"annotator": "x", "ranks": [1, 2, 3]}] * 2},
            "rankings[1].annotator",
            "x",
            "only once",
        ),
        ({"rankings": [[1, 2, 3]]}, "rankings[0]", None, "an object is expected, found a list"),
        ({"prompt": None}, "prompt", U, "found nothing"),
        ({"prompt": "", "input": ""}, "prompt", U, "empty"),
        ({"prompt": said((U, "q"), (A, "a"))}, "prompt[1]", A, "the last turn must be the user's"),
    ],
)
def test_faults_of_rankings(change: dict[str, Any], field: str, role: str | None, reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        ranking({**RANKED, **change})
    assert (caught.value.field, caught.value.role) == (field, role)
    assert reason in caught.value.reason


def test_rows_survive_json() -> None:
    for name, row in ROWS.values():
        found = demonstration(name, row)
        assert json.loads(json.dumps(found)) == found
