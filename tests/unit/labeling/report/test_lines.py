"""The table of annotators in the terminal: at most eight lines, suspects first, and as narrow as a terminal."""

import pytest

from labeling.report.lines import annotator_lines
from labeling.trust import Table, trust
from tests.unit.labeling.test_suspects import GOOD, Answer, blind, careful, rankings


def table(people: dict[str, Answer], prompts: int = 100) -> Table:
    return trust(rankings(people, prompts, 3), {}).table


@pytest.mark.parametrize("people", [1, 2, 6, 7, 40])
def test_there_are_at_most_eight_lines_of_at_most_100_columns(people: int) -> None:
    found = annotator_lines(table({f"annotator{k:02}": careful for k in range(people)}, 25), "annotators")
    assert len(found) == min(people, 6) + 1 + (people > 6)
    assert max(map(len, found)) <= 100
    assert (f"and {people - 6} more" in found[-1]) == (people > 6)


def test_suspects_come_first_with_the_reason() -> None:
    found = annotator_lines(table({**GOOD, "zed": blind}), "annotators")
    assert found[1].startswith("zed")
    assert found[1].endswith("is not distinguishable from chance")
    assert [line.split()[0] for line in found[2:]] == ["ann", "ben", "cleo"]


def test_what_nobody_has_is_no_column_and_what_one_lacks_is_a_dash() -> None:
    known = {"ann": {"submitted": 1200, "consistency": {"share": 0.5}}, "ben": {"submitted": 3}}
    assert annotator_lines(known, "SIMULATED annotators") == [
        "SIMULATED annotators  answers  repeats",
        "ann                   1,200    0.50",
        "ben                   3        —",
    ]


def test_a_reliability_of_few_prompts_is_not_shown() -> None:
    assert "reliability" not in annotator_lines(table(GOOD, 19), "annotators")[0]
    assert "reliability" in annotator_lines(table(GOOD, 20), "annotators")[0]


def test_names_stay_on_their_line() -> None:
    (_, line) = annotator_lines({"a\n" + "b" * 60: {"submitted": 1}}, "annotators")
    assert line.startswith("a " + "b" * 21 + "…")
