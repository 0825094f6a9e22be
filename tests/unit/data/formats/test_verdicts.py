"""Verdicts on two answers: words in many spellings, and files that ask about more than two."""

import json
from pathlib import Path
from typing import Any

import pytest

from labeling.codes import choice_of_word
from labeling.exchange import files
from labeling.flags import FALSE, TRUE
from pipeline.data.judgements.loading import Loaded, load_judgements
from pipeline.errors import RequestError


def load(folder: Path, *rows: dict[str, Any]) -> Loaded:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_judgements(path)


@pytest.mark.parametrize(
    ("first", "second", "tie"),
    [
        ("strongly prefer a", "slightly prefer response b", "neutral"),
        ("i prefer the first", "i prefer the second", "no clear preference"),
        ("favors a", "favours b", "both responses are good"),
        ("antwort a", "antwort b", "unentschieden"),
        ("réponse 1", "réponse 2", "égalité"),
        ("[[a]]", "[[b]]", "[[c]]"),
        ("a>b", "a<b", "a~b"),
    ],
)
def test_verdicts_in_words(first: str, second: str, tie: str) -> None:
    assert [choice_of_word(word) for word in (first, second, tie)] == ["first", "second", "tie"]


@pytest.mark.parametrize("word", ["prefer", "prefer c", "c", "antwort", "a or b", "strongly"])
def test_other_words_say_nothing_by_themselves(word: str) -> None:
    assert choice_of_word(word) is None


@pytest.mark.parametrize("slots", ["abc", "1234", "012"])
@pytest.mark.parametrize("verdict", ["winner", "best", "preference"])
def test_a_verdict_on_more_than_two_answers_is_refused(tmp_path: Path, slots: str, verdict: str) -> None:
    """Of a file in which only the first two ever win, too: the third one lost, and nothing would tell."""
    answers = {f"response_{slot}": f"text {slot}" for slot in slots}
    rows = [{"prompt": f"q{n}", **answers, verdict: f"response_{slots[n % 2]}"} for n in range(6)]
    with pytest.raises(RequestError, match=r"more than two answers.*rank_1"):
        load(tmp_path, *rows)


def test_a_third_answer_that_is_blank_is_none(tmp_path: Path) -> None:
    row = {"prompt": "q", "response_a": "one", "response_b": "two", "response_c": "", "winner": "b"}
    assert [vote["ranks"] for vote in load(tmp_path, row).rankings[0]["rankings"]] == [[2, 1]]


TRANSCRIPT = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: how?\n\nAssistant:"
TURNS = [("user", "hi"), ("assistant", "hello"), ("user", "how?")]


@pytest.mark.parametrize(
    "judged",
    [
        {"responses": ["one", "two"], "rankings": [{"annotator": "a", "ranks": [1, 2]}]},
        {"response_1": "one", "response_2": "two", "rank_1": 1, "rank_2": 2},
        {"responses": ["one", "two"], "ranks": [1, 2]},
        {"response_a": "one", "response_b": "two", "winner": "a"},
    ],
)
def test_prompts_that_are_transcripts_are_turns_beside_every_judgement(tmp_path: Path, judged: dict[str, Any]) -> None:
    (ranking,) = load(tmp_path, {"prompt": TRANSCRIPT, **judged}).rankings
    assert [(turn["role"], turn["content"]) for turn in ranking["prompt"]] == TURNS  # type: ignore[index]


@pytest.mark.parametrize("scores", [(1, 5), (5, 1), (3, 3)])
@pytest.mark.parametrize(("winner", "ranks"), [("A", [1, 2]), ("model_b", [2, 1]), ("tie", [1, 1]), ("x", [1, 2])])
def test_a_verdict_in_words_comes_before_scores(
    tmp_path: Path, scores: tuple[int, int], winner: str, ranks: list[int]
) -> None:
    """Both by the pipeline and by labeling import; `x` is the name of the first model."""
    row = {"prompt": "q", "response_a": "one", "response_b": "two", "model_a": "x", "model_b": "y", "winner": winner}
    row |= {"score_a": scores[0], "score_b": scores[1]}  # type: ignore[dict-item]
    loaded = load(tmp_path, row)
    imported = files.read(tmp_path / "rows.jsonl")
    assert [vote["ranks"] for vote in loaded.rankings[0]["rankings"]] == [ranks]
    assert [vote["ranks"] for vote in imported.rankings[0]["rankings"]] == [ranks]


@pytest.mark.parametrize("column", ["swapped", "is_flipped", "Reversed"])
@pytest.mark.parametrize(("no", "yes"), [(False, True), *zip(FALSE, TRUE, strict=True)])
def test_a_verdict_on_answers_in_another_order_is_refused(tmp_path: Path, column: str, no: object, yes: object) -> None:
    row = {"prompt": "q", "response_a": "one", "response_b": "two", "winner": "a"}
    assert load(tmp_path, row | {column: no}).rankings
    with pytest.raises(RequestError, match="shown in another order"):
        load(tmp_path, row | {column: yes})


def test_a_rank_below_zero_is_no_best_one(tmp_path: Path) -> None:
    answers = [{"answer": "one", "rank": 1}, {"answer": "two", "rank": 2}, {"answer": "three", "rank": -1}]
    with pytest.raises(RequestError, match="a rank is 0 or more"):
        load(tmp_path, {"prompt": "q", "answers": answers})


def battle(**verdict: object) -> dict[str, Any]:
    asked = {"role": "user", "content": "q"}
    one, two = ([asked, {"role": "assistant", "content": text}] for text in ("one", "two"))
    return {"conversation_a": one, "conversation_b": two, **verdict}


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        (battle(preference="A"), ("one", 1.0)),
        (battle(verdict="B"), ("two", 1.0)),
        (battle(winner="model_a", is_tie=True), ("one", 0.0)),
        (battle(winner="model_b", is_tie=False), ("two", 1.0)),
        (battle(winner_model_a=0, winner_model_b=1, winner_tie=0), ("two", 1.0)),
        (battle(winner_model_a=0, winner_model_b=0, winner_tie=1), ("one", 0.0)),
    ],
)
def test_whole_conversations_with_any_verdict(tmp_path: Path, row: dict[str, Any], outcome: tuple[str, float]) -> None:
    (pair,) = load(tmp_path, row).pairs
    assert (pair["chosen"][0]["content"], pair["margin"]) == outcome


def test_long_tables_of_several_files_are_a_vote_each(tmp_path: Path) -> None:
    """One file per annotator, and no name in them; the second one ranks two of three responses."""
    for name, order in (("x", "abc"), ("y", "ba"), ("z", "cba")):
        lines = [f"{slot},q,text {text},{slot + 1}" for slot, text in enumerate(order)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["id,prompt,response,rank", *lines]) + "\n")
    loaded = load_judgements(tmp_path)
    orders = {
        tuple(text for _, text in sorted(zip(row["ranks"], one["responses"], strict=True)))
        for one in loaded.rankings
        for row in one["rankings"]
    }
    assert orders == {tuple(f"text {text}" for text in order) for order in ("abc", "ba", "cba")}
    assert loaded.ledger.dropped == 0


@pytest.mark.parametrize("named", [True, False])
def test_ids_that_count_the_answers_to_each_prompt_make_no_votes(tmp_path: Path, named: bool) -> None:
    """Two annotators' rows one after the other: by their ids, the best answers of both would be a tie."""
    rows = [
        {"id": place, "prompt": f"q{n}", "response": text, "rank": place + 1, **({"rater": name} if named else {})}
        for n in range(3)
        for name, order in (("ann", ("one", "two")), ("bob", ("two", "one")))
        for place, text in enumerate(order)
    ]
    if not named:
        with pytest.raises(RequestError, match="a column with the annotator is needed"):
            load(tmp_path, *rows)
        return
    for ranking in load(tmp_path, *rows).rankings:
        assert {
            row["annotator"]: dict(zip(ranking["responses"], row["ranks"], strict=True)) for row in ranking["rankings"]
        } == {
            "ann": {"one": 1, "two": 2},
            "bob": {"one": 2, "two": 1},
        }
