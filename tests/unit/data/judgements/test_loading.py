"""From judgement files to rankings: votes on one prompt are one record, and nothing goes without a word."""

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.agreement import agreement_metrics
from pipeline.data.judgements.loading import Loaded, LoadingOptions, load_judgements
from pipeline.data.judgements.pooling import preferences_from_pairs, preferences_from_rankings
from pipeline.data.ledger import Ledger
from pipeline.errors import RequestError
from tests.examples import at_most

ANSWERS = ["it is one", "it is two", "it is three"]
PEOPLE = {"ann": [1, 2, 3], "ben": [1, 3, 2], "cem": [2, 1, 3]}


def lines(folder: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def numbers(ledger: Ledger) -> tuple[int, int, int, int]:
    return ledger.read, ledger.kept, ledger.dropped, ledger.duplicates


def one(question: int, *people: str, **change: Any) -> dict[str, Any]:
    rankings = [{"annotator": name, "ranks": PEOPLE[name]} for name in people]
    return {
        "id": f"t{question}",
        "prompt": f"question {question}",
        "responses": ANSWERS,
        "rankings": rankings,
        **change,
    }


def judged(loaded: Loaded) -> set[tuple[str, str, str, float]]:
    """(prompt, chosen, rejected, margin) of all pairs, however they were given."""
    if loaded.kind == "rankings":
        rows = preferences_from_rankings(loaded.rankings).rows
    else:
        rows = preferences_from_pairs(loaded.pairs).rows
    return {
        (
            row["prompt"][-1]["content"],
            row["chosen"][-1]["content"],
            row["rejected"][-1]["content"],
            round(row["margin"], 2),
        )
        for row in rows
    }


POOLED = [one(question, *PEOPLE) for question in range(4)]
PER_ROW = [one(question, name) for question, name in product(range(4), PEOPLE)]


@at_most(15)
@given(seed=st.integers(0, 999), files=st.integers(1, 3))
def test_votes_are_one_record_however_they_arrive(
    tmp_path_factory: pytest.TempPathFactory, seed: int, files: int
) -> None:
    """In any order of rows and of responses, in one file or several, with spaces and other case."""
    folder, draw = tmp_path_factory.mktemp("votes"), random.Random(seed)
    whole = load_judgements(lines(folder / "whole", *POOLED))
    rows = []
    for row in draw.sample(PER_ROW, len(PER_ROW)):
        order = draw.sample(range(3), 3)
        ranks = row["rankings"][0]["ranks"]
        name = row["rankings"][0]["annotator"]
        moved = {
            "responses": [draw.choice(["{}", " {}", "{}\n"]).format(ANSWERS[slot]) for slot in order],
            "rankings": [{"annotator": draw.choice([name, name.upper()]), "ranks": [ranks[slot] for slot in order]}],
            "prompt": draw.choice([row["prompt"], row["prompt"].title() + " "]),
        }
        rows.append({**row, **moved, **({} if draw.random() < 0.5 else {"id": None})})
    for number in range(files):
        lines(folder / "split", *rows[number::files], name=f"{number}.jsonl")
    split = load_judgements(folder / "split")
    assert agreement_metrics(split.rankings) == pytest.approx(agreement_metrics(whole.rankings))
    assert len(split.rankings) == 4
    plain = {tuple(str(text).strip().lower() for text in row) for row in judged(split)}
    assert plain == {tuple(str(text).strip().lower() for text in row) for row in judged(whole)}


def sides(question: int, winner: str, **more: Any) -> dict[str, Any]:
    return {"prompt": f"q{question}", "response_a": "good", "response_b": "bad", "winner": winner, **more}


@pytest.mark.parametrize("column", ["annotator", "judge", "worker_id", None])
def test_two_of_three_make_a_majority_and_one_row(tmp_path: Path, column: str | None) -> None:
    """The judge in a column under any name, or in none: 40 rows, not 120, and never both directions."""
    votes = [
        sides(question, winner, **({column: name} if column else {}))
        for question in range(5)
        for name, winner in (("x", "model_a"), ("y", "model_a"), ("z", "model_b"))
    ]
    loaded = load_judgements(lines(tmp_path, *votes))
    assert judged(loaded) == {(f"q{question}", "good", "bad", 0.33) for question in range(5)}
    assert numbers(loaded.ledger) == (15, 15, 0, 0)
    assert any("without an annotator" in remark for remark in loaded.remarks) == (column is None)


def test_a_vote_is_a_duplicate_only_if_person_and_content_are_equal(tmp_path: Path) -> None:
    again = {**one(1, "ann"), "rankings": [{"annotator": "ann", "ranks": [3, 2, 1]}]}
    loaded = load_judgements(lines(tmp_path, one(1, "ann"), one(1, "ben"), one(1, "ann"), again))
    assert numbers(loaded.ledger) == (4, 2, 2, 1)
    assert [entry.step for entry in loaded.ledger.entries] == ["duplicate", "superseded"]
    assert {row["annotator"]: row["ranks"] for row in loaded.rankings[0]["rankings"]} == {
        "ann": [3, 2, 1],
        "ben": [1, 3, 2],
    }
    assert any("later vote counts" in remark for remark in loaded.remarks)


def test_the_later_time_counts_in_any_order(tmp_path: Path) -> None:
    times = [sides(1, "a", judge="x", created_at="2026-02-01"), sides(1, "b", judge="x", created_at="2026-01-01")]
    assert {row[1] for row in judged(load_judgements(lines(tmp_path, *times)))} == {"good"}
    assert {row[1] for row in judged(load_judgements(lines(tmp_path, *times[::-1])))} == {"good"}
    plain = [{key: value for key, value in row.items() if key != "created_at"} for row in times]
    assert {row[1] for row in judged(load_judgements(lines(tmp_path, *plain)))} == {"bad"}


def test_a_row_with_several_votes_stays_where_one_of_them_counts(tmp_path: Path) -> None:
    loaded = load_judgements(lines(tmp_path, one(1, "ann", "ben"), one(1, "ben", "cem"), one(1, "cem", "ben")))
    assert numbers(loaded.ledger) == (4, 2, 2, 2)  # a vote of the second row, and the third row
    assert len(loaded.rankings[0]["rankings"]) == 3


def test_partial_rankings_are_used(tmp_path: Path) -> None:
    """Another subset by each worker, a missing rank, an absent answer."""
    rows = [
        {**one(1), "responses": ANSWERS[:2], "rankings": [{"annotator": "ann", "ranks": [1, 2]}]},
        {**one(1), "responses": ANSWERS[1:], "rankings": [{"annotator": "ben", "ranks": [1, 2]}]},
        {**one(2), "rankings": [{"annotator": "ann", "ranks": [1, None, 2]}]},
        {**one(3), "responses": [*ANSWERS[:2], None], "rankings": [{"annotator": "ann", "ranks": [1, 2, 3]}]},
    ]
    loaded = load_judgements(lines(tmp_path, *rows))
    assert {row[:3] for row in judged(loaded)} == {
        ("question 1", "it is one", "it is two"),
        ("question 1", "it is two", "it is three"),
        ("question 2", "it is one", "it is three"),
        ("question 3", "it is one", "it is two"),
    }
    assert all("" not in row["responses"] for row in loaded.rankings)
    kept = load_judgements(lines(tmp_path, {**one(1, "ann"), "responses": ["", "b", "c"]}))
    assert kept.rankings[0]["responses"][0] == ""  # people did judge an empty answer


@pytest.mark.parametrize("name", [None, "", "row"])
def test_rankings_without_names_are_votes_of_their_own(tmp_path: Path, name: str | None) -> None:
    """Beside the rankings there may be a column that names the person."""
    column = {"judge": "ann"} if name == "row" else {}
    rows = [{**one(1), **column, "rankings": [{"annotator": None, "ranks": [1, 2, 3]}]}] * 2
    loaded = load_judgements(lines(tmp_path, *rows))
    people = [row["annotator"] for row in loaded.rankings[0]["rankings"]]
    assert people == (["ann"] if column else ["unnamed 1", "unnamed 2"])


def test_rows_that_cannot_be_used_cost_themselves(tmp_path: Path) -> None:
    bad = {**one(9), "rankings": [{"annotator": "x", "ranks": [0, 1, 2]}]}
    file = lines(tmp_path, *POOLED, bad, {**one(8), "rankings": []})
    loaded = load_judgements(file)
    assert numbers(loaded.ledger) == (6, 4, 2, 0)
    with pytest.raises(RequestError, match=r"rows\.jsonl, line 5: field rankings\[0\]\.ranks\[0\], role 'x'.*\n.*\n.*"):
        load_judgements(file, LoadingOptions(on_bad_row="error"))
    with pytest.raises(RequestError, match=r"labeling\.max_bad_fraction=0\.1 allows") as caught:
        load_judgements(file, LoadingOptions(max_bad_fraction=0.1))
    assert "(labeling.format)" in str(caught.value)


def test_pairs_without_names_are_pooled_and_stay_pairs(tmp_path: Path) -> None:
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    turned = {"prompt": "P ", "chosen": "b", "rejected": "a"}
    loaded = load_judgements(lines(tmp_path, pair, pair, turned, {**turned, "prompt": "q"}, {**pair, "prompt": "q"}))
    assert (loaded.kind, numbers(loaded.ledger)) == ("preferences", (5, 5, 0, 0))
    assert "Pairs of answers that other rows also compare, pooled with these: 3" in loaded.remarks
    assert judged(loaded) == {("p", "a", "b", 0.33)}


def test_pairs_with_names_are_votes(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b", "annotator": name} for name in ("x", "y", "X")]
    loaded = load_judgements(lines(tmp_path, *rows, {**rows[0], "chosen": "b", "rejected": "a", "annotator": "z"}))
    assert (loaded.kind, numbers(loaded.ledger)) == ("rankings", (4, 3, 1, 1))
    assert judged(loaded) == {("p", "a", "b", 0.33)}


def test_pairs_are_votes_beside_rankings_where_they_can_be(tmp_path: Path) -> None:
    ranked = lines(tmp_path, one(1, "ann"), name="a.jsonl")
    pair = {"prompt": "question 1", "chosen": ANSWERS[1], "rejected": ANSWERS[0]}
    loaded = load_judgements([ranked, lines(tmp_path, pair, name="b.jsonl")])
    assert loaded.kind == "rankings"
    assert ("question 1", "it is one", "it is two", 1.0) not in judged(loaded)
    strong = lines(tmp_path, {**pair, "margin": 0.5}, name="b.jsonl")
    with pytest.raises(RequestError, match=r"both rankings and preference pairs\. Name files of one kind"):
        load_judgements([ranked, strong])


def test_codes_are_read_over_all_files(tmp_path: Path) -> None:
    """One file has only 1, the other only 2: together they are clear, each alone is ambiguous."""
    one_file, two = (lines(tmp_path, sides(side, str(side)), name=f"{side}.jsonl") for side in (1, 2))
    assert {row[:2] for row in judged(load_judgements([one_file, two]))} == {("q1", "good"), ("q2", "bad")}
    with pytest.raises(RequestError, match=r"1\.jsonl: column winner has the values '1' \(1 times\)"):
        load_judgements(one_file)
    assert judged(load_judgements(one_file, LoadingOptions(codes={"1": "second"}))) == {("q1", "bad", "good", 1.0)}


def test_a_rare_word_costs_its_row_and_a_frequent_one_the_file(tmp_path: Path) -> None:
    rows = [sides(question, "a") for question in range(30)]
    loaded = load_judgements(lines(tmp_path, *rows, sides(99, "perhaps")))
    assert numbers(loaded.ledger) == (31, 30, 1, 0)
    assert numbers(load_judgements(lines(tmp_path, *rows, sides(99, "3"))).ledger) == (31, 30, 1, 0)
    with pytest.raises(RequestError, match=r"'not decided' \(2 times\)"):  # ties, perhaps
        load_judgements(lines(tmp_path, *rows, sides(99, "not decided"), sides(98, "not decided")))
    with pytest.raises(RequestError, match=r"'perhaps' \(9 times\).*\{perhaps: second\}"):
        load_judgements(lines(tmp_path, *rows, *[sides(99, "perhaps")] * 9))
    coded = [sides(question, str(1 + question % 2)) for question in range(30)]
    with pytest.raises(RequestError, match=r"'3' \(1 times\)"):  # among numbers, each changes what the others mean
        load_judgements(lines(tmp_path, *coded, sides(99, "3")))


def test_wrong_and_unused_meanings_are_named(tmp_path: Path) -> None:
    file = lines(tmp_path, sides(1, "a"))
    with pytest.raises(RequestError, match=r"labeling\.codes: '1' cannot mean 'frist'\. Did you mean first\?"):
        load_judgements(file, LoadingOptions(codes={"1": "frist"}))
    assert load_judgements(file, LoadingOptions(codes={"7": "tie"})).remarks[0].startswith("labeling.codes names 7")


def test_columns_and_formats_are_named_as_for_data(tmp_path: Path) -> None:
    row = {"Frage": "p", "links": "a", "rechts": "b", "wer": "ann", "besser": "left"}
    file = lines(tmp_path, row)
    with pytest.raises(RequestError, match=r"labeling\.format=auto\|"):
        load_judgements(file)
    columns = {"prompt": "Frage", "response_a": "links", "response_b": "rechts", "winner": "besser", "annotator": "wer"}
    loaded = load_judgements(file, LoadingOptions(columns=columns))
    assert judged(loaded) == {("p", "a", "b", 1.0)}
    assert loaded.rankings[0]["rankings"][0]["annotator"] == "ann"
    with pytest.raises(RequestError, match=r"There is no format 'ranking'\. Did you mean rankings\?"):
        load_judgements(file, LoadingOptions("ranking"))


@pytest.mark.parametrize("scores", [False, True])
def test_tables_are_read_as_they_are(tmp_path: Path, scores: bool) -> None:
    head = "prompt,annotator,response_1,{0}_1,response_2,{0}_2\n".format("score" if scores else "rank")
    file = tmp_path / "wide.csv"
    file.write_text(head + "p,ann,a,1,b,2\np,ben,b,2,a,1\np,cem,a,2,b,2\n")
    expected = ("p", "b", "a", 0.67) if scores else ("p", "a", "b", 0.67)
    loaded = load_judgements(file)
    assert judged(loaded) == {expected}
    assert numbers(loaded.ledger) == (3, 3, 0, 0)
    assert "read as wide: prompt from `prompt`" in loaded.remarks[0]


def test_responses_that_are_numbers_are_said_once_with_a_count(tmp_path: Path) -> None:
    row = {**one(1, "ann", "ben"), "responses": [True, 3, "x"]}
    loaded = load_judgements(lines(tmp_path, row))
    assert loaded.rankings[0]["responses"] == ["true", "3", "x"]
    assert any(remark.startswith("2 responses are numbers") for remark in loaded.remarks)


def test_marked_answers_count_each_for_itself(tmp_path: Path) -> None:
    def marked(prompt: str, answer: str, label: object) -> dict[str, Any]:
        return {"prompt": prompt, "completion": answer, "label": label}

    pair = [marked("q", "good", True), marked("q", "bad", False), marked("q", "bad", False)]
    rows = [*pair, marked("alone", "good", True), marked("q", "odd", None), marked("q", "worse", "no")]
    loaded = load_judgements(lines(tmp_path, *rows), LoadingOptions(max_bad_fraction=0.5))
    assert (loaded.kind, len(loaded.rankings)) == ("rankings", 1)
    assert loaded.rankings[0]["responses"] == ["good", "bad", "worse"]
    assert any(remark.startswith("Marks without an annotator: 5.") for remark in loaded.remarks)
    assert numbers(loaded.ledger) == (6, 4, 2, 0)
    assert [entry.place.line for entry in loaded.ledger.entries] == [5, 4]


def test_labels_are_no_answers(tmp_path: Path) -> None:
    """`chosen: response_a` is read as the answer that it names; A and B without their answers are refused."""
    sides_ = {"response_a": "good", "response_b": "bad"}
    for chosen, rejected in (("response_a", "response_b"), ("A", "B"), ("model_a", "model_b"), ("good", "bad")):
        rows = [{"prompt": "p", **sides_, "chosen": chosen, "rejected": rejected}]
        assert judged(load_judgements(lines(tmp_path, *rows))) == {("p", "good", "bad", 1.0)}
        turned = [{**rows[0], "chosen": rejected, "rejected": chosen}]
        assert judged(load_judgements(lines(tmp_path, *turned))) == {("p", "bad", "good", 1.0)}
    labels = lines(tmp_path, *({"prompt": f"p{n}", "chosen": "A", "rejected": "B"} for n in range(10)))
    with pytest.raises(
        RequestError, match=r"answers are 'A', 'B': these look like labels.*labeling\.format=preferences"
    ):
        load_judgements(labels)
    assert len(judged(load_judgements(labels, LoadingOptions("preferences")))) == 10


def test_equal_texts_are_ties(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": "same", "rejected": other} for other in ("same", " same\n")]
    loaded = load_judgements(lines(tmp_path, *rows, {"prompt": "q", "chosen": "a", "rejected": "b"}))
    assert numbers(loaded.ledger) == (3, 3, 0, 0)
    assert preferences_from_pairs(loaded.pairs).counts["pairs"] == 1


def test_orders_and_exports_of_platforms_are_read_as_they_are(tmp_path: Path) -> None:
    asked = {"id": "1", "prompt": "q", "response_a": "a", "response_b": "b", "response_c": "c", "annotator": "ann"}
    (ordered,) = load_judgements(lines(tmp_path, {**asked, "ranking": "B > A = C"})).rankings
    assert ordered["rankings"] == [{"annotator": "ann", "ranks": [2, 1, 2]}]
    fields = {"prompt": "q", "response_a": "a", "response_b": "b"}
    answers = [{"user_id": "u1", "value": "response_a"}, {"user_id": "u2", "value": "response_b"}]
    record = {"fields": fields, "responses": {"better": answers}}
    other = {"fields": {**fields, "prompt": "p"}, "responses": {"better": answers}}
    exported, _ = load_judgements(lines(tmp_path, record, other)).rankings
    assert [row["ranks"] for row in exported["rankings"]] == [[1, 2], [2, 1]]
