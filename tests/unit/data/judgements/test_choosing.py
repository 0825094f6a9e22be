"""Which pairs of a ranking are used, and pairs that contradict each other."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.records import Ranking
from pipeline.__main__ import main
from pipeline.data.judgements.pooling import preferences_from_rankings
from pipeline.store.artifacts import Store
from tests.unit.data.judgements.test_pooling import ranking, rankings, texts


def chosen(given: list[Ranking], pairs: str) -> list[str]:
    return sorted("".join(texts(row)) for row in preferences_from_rankings(given, "majority", pairs).rows)  # type: ignore[arg-type]


def test_neighbours_and_the_ends_of_one_order() -> None:
    row = ranking(list("abcd"), [1, 2, 3, 4], [1, 2, 3, 4])
    assert chosen([row], "all") == ["ab", "ac", "ad", "bc", "bd", "cd"]
    assert chosen([row], "adjacent") == ["ab", "bc", "cd"]
    assert chosen([row], "best_worst") == ["ad"]
    found = preferences_from_rankings([row], "majority", "adjacent")
    assert (found.counts["pairs"], found.counts["ties"], found.unused) == (3, 0, 3)


def test_tied_answers_share_a_place() -> None:
    """b and c tie: both are neighbours of a and of d; two share the last place."""
    assert chosen([ranking(list("abcd"), [1, 2, 2, 4])], "adjacent") == ["ab", "ac", "bd", "cd"]
    assert chosen([ranking(list("abc"), [1, 2, 2])], "best_worst") == ["ab", "ac"]
    assert chosen([ranking(list("abc"), [1, 1, 1])], "best_worst") == []


def test_the_order_is_that_of_the_mean_ranks_of_all_annotators() -> None:
    row = ranking(list("abc"), [1, 2, 3], [1, 2, 3], [2, 3, 1])  # mean ranks 4/3, 7/3, 7/3
    assert chosen([row], "adjacent") == ["ab", "ac"]
    row = ranking(list("abc"), [1, 2, 3], [1, 3, 2], [2, 1, 3])  # 4/3, 2, 8/3
    assert chosen([row], "adjacent") == ["ab", "bc"]


def test_rankings_of_one_prompt_with_other_answers_have_orders_of_their_own() -> None:
    given = [ranking(list("abc"), [1, 2, 3]), ranking(list("cde"), [1, 2, 3], name="r1")]
    assert chosen(given, "best_worst") == ["ac", "ce"]


@given(st.lists(rankings(), max_size=3))
def test_choosing_leaves_rows_as_they_are_and_ties_as_many(given_rankings: list[Ranking]) -> None:
    given_rankings = [{**row, "id": str(number)} for number, row in enumerate(given_rankings)]
    everything = preferences_from_rankings(given_rankings)
    for pairs in ("adjacent", "best_worst"):
        found = preferences_from_rankings(given_rankings, "majority", pairs)  # type: ignore[arg-type]
        assert all(row in everything.rows for row in found.rows)
        assert found.counts["ties"] == everything.counts["ties"]
        assert len(found.rows) + found.unused == len(everything.rows)
        assert found.cycles == everything.cycles


@given(rankings())
def test_of_two_answers_every_choice_is_their_pair(row: Ranking) -> None:
    two = {
        **row,
        "responses": row["responses"][:2],
        "rankings": [{**one, "ranks": one["ranks"][:2]} for one in row["rankings"]],
    }
    assert chosen([two], "adjacent") == chosen([two], "best_worst") == chosen([two], "all")  # type: ignore[list-item]


def test_a_cycle_is_counted_once_for_its_prompt() -> None:
    """Condorcet's: each of a over b, b over c and c over a has two of three votes."""
    cycle = ranking(list("abc"), [1, 2, 3], [3, 1, 2], [2, 3, 1])
    assert chosen([cycle], "all") == ["ab", "bc", "ca"]
    assert preferences_from_rankings([cycle]).cycles == 1
    assert chosen([cycle], "adjacent") == chosen([cycle], "best_worst") == []
    plain = ranking(list("abc"), [1, 2, 3], name="r1", prompt="another")
    assert preferences_from_rankings([cycle, plain]).cycles == 1
    assert preferences_from_rankings([plain]).cycles == preferences_from_rankings([]).cycles == 0


def test_a_longer_cycle_is_found_over_several_rankings() -> None:
    pairs = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")]
    given = [ranking(list(pair), [1, 2], name=str(number)) for number, pair in enumerate(pairs)]
    assert preferences_from_rankings(given).cycles == 1
    assert preferences_from_rankings(given[:3]).cycles == 0


def request(tmp_path: Path, rows: list[object]) -> list[str]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outputs = f"outputs={tmp_path / 'outputs'}"
    return ["stage=preferences", outputs, "tracking=off", "labeling=file", f"labeling.path={file}"]


def test_the_stage_chooses_counts_and_speaks_of_cycles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cycle = [[1, 2, 3], [3, 1, 2], [2, 3, 1]]
    rows = [
        ranking(list("abc"), *(cycle if i < 2 else [[1, 2, 3]] * 3), name=f"{i}", prompt=f"q{i}") for i in range(40)
    ]
    asked = request(tmp_path, rows)
    store = Store(tmp_path / "outputs", "playground")
    found = {}
    for more in ((), ("preferences.pairs=adjacent",), ("preferences.pairs=all",)):
        assert main([*asked, *more]) == 0
        found[more] = store.open(*store.resolve("preferences"))
    plain, adjacent, spelled = found.values()
    assert "2 prompts have a cycle: answer a beats b, b beats c, and c beats a." in " ".join(
        capsys.readouterr().out.split()
    )
    assert (plain.metrics["pairs"], plain.metrics["cycles"]) == (120, 2)
    assert (adjacent.metrics["pairs"], adjacent.metrics["unused"]) == (38 * 2, 38 + 2 * 3)
    assert spelled.version == plain.version  # the default, spelled out


@pytest.mark.parametrize("option", ["preferences.pool=weighted", "preferences.pairs=adjacent"])
def test_pairs_without_annotators_are_refused_where_rankings_are_needed(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[object] = [{"prompt": f"q{i}", "chosen": "yes", "rejected": "no", "margin": 0.5} for i in range(20)]
    assert main([*request(tmp_path, rows), option]) == 2
    assert f"{option}: " in " ".join(capsys.readouterr().err.split())
