"""Tables of rankings: missing values, scores, annotators and times, and the remarks on them."""

import json

import pytest

from labeling.__main__ import main
from labeling.backend import LabelingError
from labeling.exchange import UNMAPPED, Columns, annotator_columns, read
from labeling.exchange.columns import Options
from labeling.exchange.forms import read_rows
from labeling.exchange.outcome import Outcome
from labeling.exchange.times import times_in


def imported(tmp_path, *lines: str, columns: Columns = UNMAPPED, form: str | None = None) -> Outcome:
    path = tmp_path / "in.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read(path, form, columns)


def ranks_in(outcome: Outcome) -> list[tuple[str, list[str], list[int]]]:
    """(annotator, responses, ranks) of all votes."""
    return [
        (row["annotator"], ranking["responses"], row["ranks"])
        for ranking in outcome.rankings
        for row in ranking["rankings"]
    ]


FOUR = "prompt,annotator,response_1,rank_1,response_2,rank_2,response_3,rank_3,response_4,rank_4"


def test_a_missing_rank_leaves_the_others(tmp_path):
    outcome = imported(tmp_path, FOUR, "Q,ann,w,1,x,2,y,3,z,4", "Q,ben,w,2,x,1,y,,z,4")
    assert ranks_in(outcome) == [("ann", ["w", "x", "y", "z"], [1, 2, 3, 4]), ("ben", ["w", "x", "z"], [2, 1, 4])]
    assert outcome.remarks == ["Responses without a rank beside ranked ones, not compared: 1"]


@pytest.mark.parametrize(
    ("rows", "ranks"),
    [
        (["Q,ann,w,1,x,2,y,,z,", "Q,ben,w,2,x,,y,1,z,"], [[1, 2, 3, 3], [2, 3, 1, 3]]),
        (["Q,ann,w,1,x,,y,,z,", "Q,ben,w,,x,,y,1,z,"], [[1, 2, 2, 2], [2, 2, 1, 2]]),
    ],
)
def test_where_every_row_ranks_the_best_k_the_rest_is_worse_and_tied(tmp_path, rows, ranks):
    outcome = imported(tmp_path, FOUR, *rows)
    assert [row for _, _, row in ranks_in(outcome)] == ranks
    assert "the others count as worse and tied" in outcome.remarks[0]


def test_one_row_that_is_no_top_k_makes_the_unranked_unknown(tmp_path):
    outcome = imported(tmp_path, FOUR, "Q,ann,w,1,x,2,y,,z,", "Q,ben,w,2,x,3,y,,z,")
    assert [row for _, _, row in ranks_in(outcome)] == [[1, 2], [2, 3]]


def test_an_empty_response_is_absent_even_if_it_is_ranked(tmp_path):
    outcome = imported(tmp_path, FOUR, "Q,ann,w,1,,2,y,3,z,4", "P,ann,w,2,x,1,  ,,z,3")
    assert [row[1:] for row in ranks_in(outcome)] == [(["w", "y", "z"], [1, 3, 4]), (["w", "x", "z"], [2, 1, 3])]
    assert outcome.remarks == ["Responses that are ranked but empty, and count as absent: 1"]


def test_another_subset_for_each_worker_is_read(tmp_path):
    outcome = imported(tmp_path, FOUR, "Q,ann,w,1,x,2,,,,", "Q,ben,y,2,x,1,,,,", "Q,cem,x,1,w,2,,,,")
    assert ranks_in(outcome) == [
        ("ann", ["w", "x"], [1, 2]),
        ("cem", ["w", "x"], [2, 1]),
        ("ben", ["y", "x"], [2, 1]),
    ]


def test_rows_that_are_not_ranked_yet_are_no_faults(tmp_path):
    outcome = imported(tmp_path, FOUR, "Q,ann,w,1,x,2,y,3,z,4", *(f"P{n},ann,w,,x,,y,,z," for n in range(9)))
    assert len(outcome.rankings) == 1
    assert (len(outcome.bad), len(outcome.left_out)) == (0, 9)


TWO = "prompt,annotator,response_1,{0}_1,response_2,{0}_2"


@pytest.mark.parametrize("word", ["score", "Rating", "stars", "grade", "points", "elo"])
def test_columns_that_are_called_scores_are_scores_higher_is_better(tmp_path, word):
    outcome = imported(tmp_path, TWO.format(word), "Q,ann,x,1,y,2", "P,ann,x,4.5,y,4.5")
    assert [row for _, _, row in ranks_in(outcome)] == [[2, 1], [1, 1]]
    assert f"scores (higher is better) from `{word}_1`, `{word}_2`" in outcome.sentences[0]


MINE = Columns(responses=("response_1", "response_2"), ranks=("mine_1", "mine_2"))


@pytest.mark.parametrize("cells", ["Q,ann,x,0,y,1", "Q,ann,x,4.5,y,2", "Q,ann,x,100,y,1", "Q,ann,x,3,y,3"])
def test_values_that_can_be_no_ranks_are_refused_with_both_options(tmp_path, cells):
    with pytest.raises(
        LabelingError, match=r"`mine_1`, `mine_2` ranks .* or scores .*values are .*--ranks or --scores"
    ):
        imported(tmp_path, TWO.format("mine"), cells, columns=MINE, form="wide")


@pytest.mark.parametrize(("option", "ranks"), [([], [1, 2]), (["--ranks"], [1, 2]), (["--scores"], [2, 1])])
def test_the_options_settle_what_the_values_are(tmp_path, option, ranks):
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text(TWO.format("mine") + "\nQ,ann,x,1,y,2\n")
    fields = ["--response-fields", "response_1,response_2", "--rank-fields", "mine_1,mine_2", "--format", "wide"]
    assert main(["import", str(source), "--to", str(target), *fields, *option]) == 0
    assert json.loads(target.read_text())["rankings"][0]["ranks"] == ranks


def test_scores_that_are_named_as_rank_fields_are_read_by_their_name(tmp_path):
    columns = Columns(ranks=("score_1", "score_2"))
    assert ranks_in(imported(tmp_path, TWO.format("score"), "Q,ann,x,1,y,2", columns=columns, form="wide"))[0][2] == [
        2,
        1,
    ]


def test_two_kinds_of_scores_beside_each_response_are_refused(tmp_path):
    header = "prompt,annotator,response_1,score_1,rating_1,response_2,score_2,rating_2"
    with pytest.raises(LabelingError, match=r"`score_1`, `score_2`; `rating_1`, `rating_2`.*--rank-fields"):
        imported(tmp_path, header, "Q,ann,x,1,2,y,2,1")


@pytest.mark.parametrize(
    "name",
    ["annotator", "Annotator ID", "LABELER", "labeller_name", "rater", "judge", "reviewer-id", "coder", "evaluator",
     "WorkerId", "worker", "participant", "user", "userId", "completed_by", "Email", "e-mail", "username"],
)  # fmt: skip
def test_the_annotator_stands_under_any_usual_name(tmp_path, name):
    outcome = imported(tmp_path, TWO.format("rank").replace("annotator", name), "Q,7,x,1,y,2", "Q,8,x,1,y,2")
    assert [row[0] for row in ranks_in(outcome)] == ["7", "8"]
    assert f"annotators from `{name}`" in outcome.sentences[0]


def test_of_several_columns_of_annotators_the_clearest_is_read_and_the_others_are_named(tmp_path):
    header = TWO.format("rank").replace("annotator", "email,annotator_id")
    outcome = imported(tmp_path, header, "Q,a@b.org,7,x,1,y,2")
    assert ranks_in(outcome)[0][0] == "7"
    assert outcome.sentences[0].endswith("not read: `email`")
    assert annotator_columns(["user", "annotator"]) == ["annotator", "user"]


@pytest.mark.parametrize("name", ["annotator1", "model_user_prompt", "users", "worker_comment", "prompt"])
def test_other_names_are_no_annotators(name):
    assert annotator_columns([name]) == []


def test_an_e_mail_address_becomes_a_pseudonym_that_is_the_same_for_each_address(tmp_path):
    rows = ["Q,ann@example.org,x,1,y,2", "P,Ann@Example.org ,x,1,y,2", "P,ben@example.org,x,2,y,1"]
    outcome = imported(tmp_path, TWO.format("rank"), *rows)
    first, second, third = (row[0] for row in ranks_in(outcome))
    assert first == second != third
    assert first.startswith("annotator-")
    assert "example" not in json.dumps(outcome.rankings).lower()
    assert any("pseudonym" in remark for remark in outcome.remarks)


@pytest.mark.parametrize("name", ["", "nan", "None", "anonymous"])
def test_rows_without_an_annotator_are_a_vote_each(tmp_path, name):
    outcome = imported(tmp_path, TWO.format("rank"), *[f"Q,{name},x,1,y,2"] * 3)
    assert len(ranks_in(outcome)) == 3
    assert outcome.remarks == ["Votes without an annotator, each counted separately: 3"]


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ("2026-01-01T10:00", "2026-01-01T10:05"),
        ("2026-01-01 10:00", "2026-01-01T10:05:00Z"),
        ("2026-01-01T12:00:00+02:00", "2026-01-01T10:30:00Z"),
        ("1767261600", "1767261700"),
        ("1767261600000", "1767261600001"),
        ("999999999", "1000000000"),
        ("Thu Jan 01 10:00:00 PST 2026", "Thu Jan 01 18:00:01 UTC 2026"),
        ("2/28/2026 9:00", "3/1/2026 8:00"),
        ("28.2.2026 9:00", "1.3.2026 8:00"),
        ("2/28/2026 9:00:00 AM", "2/28/2026 1:00:00 PM"),
    ],
)
def test_the_later_answer_counts_in_every_time_format(tmp_path, early, late):
    header = TWO.format("rank") + ",Timestamp"
    outcome = imported(tmp_path, header, f"Q,ann,x,2,y,1,{late}", f"Q,ann,x,1,y,2,{early}")
    assert ranks_in(outcome) == [("ann", ["x", "y"], [2, 1])]
    assert (len(outcome.bad), len(outcome.left_out), len(outcome.repeated)) == (0, 0, 1)
    assert outcome.remarks == ["Votes that the same annotator changed later: the later vote counts: 1"]


def test_times_that_the_file_does_not_settle_are_not_used(tmp_path):
    header = TWO.format("rank") + ",submitted"
    outcome = imported(tmp_path, header, "Q,ann,x,2,y,1,3/2/2026", "Q,ann,x,1,y,2,2/3/2026")
    assert ranks_in(outcome)[0][2] == [1, 2]
    assert "The times in `submitted` cannot be read" in outcome.remarks[0]
    assert times_in(["12.5", "3"]) is None
    assert times_in(["2026-01-01", "soon"]) is None


def test_columns_that_are_not_read_are_named(tmp_path):
    outcome = imported(tmp_path, TWO.format("rank") + ",model_1,model_2", "Q,ann,x,1,y,2,m,n")
    assert outcome.sentences == [
        "Read as wide: prompt from `prompt`, responses from `response_1`, `response_2`, ranks from `rank_1`, `rank_2`, "
        "annotators from `annotator`; not read: `model_1`, `model_2`"
    ]


def test_several_columns_that_may_be_the_prompt_are_refused(tmp_path):
    header = TWO.format("rank").replace("prompt", "question,instruction")
    with pytest.raises(LabelingError, match=r"`question`, `instruction`.*--prompt-field"):
        imported(tmp_path, header, "Q,I,ann,x,1,y,2")


def test_a_system_prompt_is_a_turn_before_the_prompt(tmp_path):
    outcome = imported(tmp_path, TWO.format("rank") + ",system", "Q,ann,x,1,y,2,Be brief.")
    assert outcome.rankings[0]["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q"},
    ]


def test_cells_may_be_numbers_and_null(tmp_path):
    rows = [
        {"prompt": "Q", "user": 3.0, "response_1": True, "rank_1": 1, "response_2": 7, "rank_2": 2.0},
        {"prompt": "Q", "user": 4, "response_1": "true", "rank_1": "2", "response_2": "7", "rank_2": "1"},
        {"prompt": "P", "user": 4, "response_1": "a", "rank_1": float("nan"), "response_2": None, "rank_2": None},
    ]
    reading = read_rows(list(enumerate(rows)), "wide")
    assert [(vote.annotator, vote.responses, vote.ranks) for vote in reading.votes] == [
        ("3", ["true", "7"], [1, 2]),
        ("4", ["true", "7"], [2, 1]),
    ]
    assert reading.remarks == ["Responses that are a number, true or false, read as text: 2"]
    assert [fault.place for fault in reading.left_out] == [2]


def test_errors_name_the_options_of_the_caller(tmp_path):
    rows = [(1, {"prompt": "Q", "question": "R", "response_1": "a", "rank_1": 1, "response_2": "b", "rank_2": 2})]
    with pytest.raises(LabelingError, match=r"Name the one: labeling\.columns\.prompt"):
        read_rows(rows, "wide", Columns(options=Options(prompt="labeling.columns.prompt")))


@pytest.mark.parametrize(
    ("name", "cell", "tied"),
    [("tie", "true", True), ("is_tie", "1", True), ("tied", "0", False), ("tie", "", False), ("status", "Tie", True),
     ("status", "1", False), ("status", "done", False)],
)  # fmt: skip
def test_a_column_that_tells_of_a_tie_comes_before_the_verdict(tmp_path, name, cell, tied):
    outcome = imported(tmp_path, f"prompt,user,response_a,response_b,preference,{name}", f"Q,ann,x,y,A,{cell}")
    assert ranks_in(outcome)[0][2] == ([1, 1] if tied else [1, 2])


@pytest.mark.parametrize("verdicts", ["01", "012", "123", "0", "1", "-3 0 3"])
def test_verdicts_in_numbers_are_refused_with_the_values_and_the_option(tmp_path, verdicts):
    values = verdicts.split() if " " in verdicts else list(verdicts)
    rows = [f"Q{n},ann,x,y,{value}" for n, value in enumerate(values)]
    with pytest.raises(LabelingError, match=rf"`preference`.*'{values[-1]}' \(1 times\).*--choices '"):
        imported(tmp_path, "prompt,user,response_a,response_b,preference", *rows)


def test_given_meanings_of_verdicts_are_obeyed(tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    rows = [f"Q{n},ann,x,y,{n}" for n in range(3)]
    source.write_text("\n".join(["prompt,user,response_a,response_b,preference", *rows]))
    options = ["--choices", "0=second,1=first,2=tie"]
    assert main(["import", str(source), "--to", str(target), *options]) == 0
    found = [json.loads(line)["rankings"][0]["ranks"] for line in target.read_text().splitlines()]
    assert found == [[2, 1], [1, 2], [1, 1]]


@pytest.mark.parametrize("wrong", ["0", "0=left", "=first", ""])
def test_meanings_that_are_none_are_refused(tmp_path, wrong):
    assert main(["import", "in.csv", "--to", "out.jsonl", "--choices", wrong]) == 2


def test_several_columns_with_verdicts_are_refused_with_the_option(tmp_path):
    header = "prompt,user,response_a,response_b,pref_style,pref_overall"
    with pytest.raises(LabelingError, match=r"`pref_style`, `pref_overall`.*--choice-field"):
        imported(tmp_path, header, "Q,ann,x,y,A,B")
    outcome = imported(tmp_path, header, "Q,ann,x,y,A,B", columns=Columns(choice="pref_overall"))
    assert ranks_in(outcome)[0][2] == [2, 1]


def test_several_files_are_pooled_and_faults_name_theirs(tmp_path, capsys):
    for person in ("ann", "ben"):
        rows = [f"Q{n},{person},x,1,y,{'?' if n == 5 else 2}" for n in range(6)]
        (tmp_path / f"{person}.csv").write_text("\n".join([TWO.format("rank"), *rows]) + "\n")
    target = tmp_path / "out" / "all.jsonl"
    assert main(["import", str(tmp_path), "--to", str(target)]) == 0
    assert [len(json.loads(line)["rankings"]) for line in target.read_text().splitlines()] == [2] * 5
    said = capsys.readouterr().out
    assert "2 x a rank is a whole number from 1: " in said
    assert "ann.csv, row 7, rank_2 ('?')" in said
    assert "ben.csv, row 7, rank_2 ('?')" in said
    assert "10 rankings of 5 prompts by 2 annotators" in said


def test_what_an_import_writes_is_not_read_by_the_next_one(tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "all.jsonl"
    source.write_text(TWO.format("rank") + "\nQ,,x,1,y,2\n")
    assert main(["import", str(tmp_path), "--to", str(target)]) == 2
    (tmp_path / "old.ledger.jsonl").write_text("{}")
    assert len(read([tmp_path, source]).rankings[0]["rankings"]) == 1
