"""Random annotators are found by comparison with the others, and no other annotator is."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from labeling.chance import against_chance, at_chance
from labeling.records import Ranking, Ranks
from pipeline.__main__ import main
from pipeline.store.artifacts import Store

Answer = Callable[[random.Random, Sequence[float]], list[int]]


def ranks_of(scores: Sequence[float]) -> list[int]:
    return [1 + sum(other > score for other in scores) for score in scores]


def careful(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return ranks_of([score + draw.gauss(0, 0.5) for score in truth])


def blind(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return draw.sample(range(1, len(truth) + 1), len(truth))


def by_slot(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return list(range(1, len(truth) + 1))


def turned(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return [len(truth) + 1 - rank for rank in careful(draw, truth)]


def always_tied(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return [1] * len(truth)


def rankings(people: dict[str, Answer], prompts: int, responses: int = 2, seed: int = 0) -> list[Ranking]:
    draw, made = random.Random(seed), []
    for number in range(prompts):
        truth = [draw.gauss(0, 1) for _ in range(responses)]
        rows = [Ranks(annotator=name, ranks=answer(draw, truth)) for name, answer in people.items()]
        texts = [f"{number} {slot}" for slot in range(responses)]
        made.append(Ranking(id=str(number), prompt=str(number), responses=texts, rankings=rows))
    return made


GOOD: dict[str, Answer] = dict.fromkeys(("ann", "ben", "cleo"), careful)


@pytest.mark.parametrize("spammer", [blind, by_slot, turned, always_tied])
@pytest.mark.parametrize("responses", [2, 4])
def test_only_a_spammer_is_named(spammer: Answer, responses: int) -> None:
    for seed in range(10):
        known = against_chance(rankings({**GOOD, "zed": spammer}, 400, responses, seed))
        assert at_chance(known) == ["zed"]


def test_two_spammers_among_six_are_named() -> None:
    six: dict[str, Answer] = {**GOOD, "dora": careful, "yan": blind, "zed": by_slot}
    assert at_chance(against_chance(rankings(six, 300))) == ["yan", "zed"]


def test_no_annotator_is_named_where_all_agree_or_none_do() -> None:
    for seed in range(20):
        assert at_chance(against_chance(rankings(GOOD, 100, seed=seed))) == []
        assert at_chance(against_chance(rankings(dict.fromkeys(GOOD, blind), 100, seed=seed))) == []


def test_few_answers_and_two_people_leave_open_who_is_at_fault() -> None:
    assert at_chance(against_chance(rankings({**GOOD, "zed": blind}, 19))) == []
    assert at_chance(against_chance(rankings({"ann": careful, "zed": blind}, 200))) == []


def test_the_order_of_responses_changes_nothing_even_where_the_better_one_is_always_first() -> None:
    """Files of chosen and rejected answers put what the majority chose first."""
    plain = rankings({**GOOD, "zed": blind}, 400)
    first = []
    for ranking in plain:
        votes = sum(row["ranks"][0] < row["ranks"][1] for row in ranking["rankings"])
        swap = votes < 2
        rows = [
            Ranks(annotator=r["annotator"], ranks=r["ranks"][::-1] if swap else r["ranks"]) for r in ranking["rankings"]
        ]
        first.append(Ranking(**{**ranking, "rankings": rows}))
    assert against_chance(plain)["zed"] == pytest.approx(against_chance(first)["zed"])
    assert at_chance(against_chance(first)) == ["zed"]


def test_agreement_is_counted_by_hand() -> None:
    """Three people, one pair: x and y choose the first, z the second."""
    given = [Ranking(id="r", prompt="?", responses=["a", "b"], rankings=[])]
    given[0]["rankings"] = [Ranks(annotator=n, ranks=r) for n, r in (("x", [1, 2]), ("y", [1, 2]), ("z", [2, 1]))]
    known = against_chance(given)
    assert {name: (one.agreement, one.chance, one.comparisons) for name, one in known.items()} == {
        "x": (0.5, 0.5, 2),
        "y": (0.5, 0.5, 2),
        "z": (0.0, 0.5, 2),
    }


def test_unnamed_votes_are_compared_with_and_are_not_annotators() -> None:
    given = rankings({"unnamed 1": careful, "unnamed 2": careful, "ann": careful}, 30)
    assert list(against_chance(given)) == ["ann"]
    assert against_chance(rankings({"ann": careful}, 30)) == {}


def test_a_file_s_spammer_is_named_with_the_line_that_leaves_the_votes_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ranked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rankings({**GOOD, "zed": blind}, 120, 3)))
    request = ["stage=preferences", f"outputs={tmp_path / 'outputs'}", "tracking=off", "labeling=file"]
    request += [f"labeling.path={file}"]

    def made(*more: str) -> tuple[float, list[str], str]:
        assert main([*request, *more]) == 0
        store = Store(tmp_path / "outputs", "playground")
        preferences = store.open(*store.resolve("preferences"))
        names = list(json.loads(preferences.file("annotators.json").read_text()))
        return preferences.metrics["annotators_at_chance"], names, " ".join(capsys.readouterr().out.split())

    count, names, said = made()
    assert (count, names) == (1, ["ann", "ben", "cleo", "zed"])
    assert "one annotator agrees with the others no more than chance: zed 0.54 of 1,080 comparisons" in said
    assert """'preferences.exclude=["zed"]'""" in said
    count, names, said = made('preferences.exclude=["zed"]')
    assert (count, names) == (0, ["ann", "ben", "cleo"])
    assert "no more than chance" not in said
