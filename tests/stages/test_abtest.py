"""The blind A/B test: with simulated annotators, and with people on a real server, to its end or stopped early."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labeling.argilla.submitting import Annotator
from labeling.server import accounts, running
from labeling.server.home import Home
from labeling.server.supervisor import stop
from pipeline.data.rows import read_jsonl
from pipeline.store.artifact import Artifact
from tests.stages.conftest import Chain

pytestmark = pytest.mark.slow

ARMS = ("evaluate.policies=[base,sft]", "abtest.between=[base,sft]")
PEOPLE = ("labeling=embedded", "labeling.annotators=[ann,bob]", "data.world.test_prompts=60", *ARMS)
KEY = "sft/against/base"


def test_simulated_annotators_without_errors_agree_with_the_true_scorer(chain: Chain) -> None:
    made = chain.make("abtest", *ARMS, "labeling.noise=0")
    rows = {
        row["id"]: row["answers"] for row in read_jsonl(made.inputs["blind"].inputs["evaluation"].file("answers.jsonl"))
    }
    given = read_jsonl(made.file("verdicts.jsonl"))
    assert 0 < len(given) == made.metrics["prompts"] <= 12
    assert made.metrics["simulated"] == made.metrics["ended"] == made.metrics["complete"] == 1
    for verdict in given:
        answers = rows[verdict["prompt"]]
        assert (verdict["first"], verdict["second"]) == ("sft", "base")
        if all(answer["stopped"] for answer in answers.values()):  # annotators do not see where an answer was cut off
            gap = answers["sft"]["score"] - answers["base"]["score"]
            assert verdict["outcome"] == (gap > 0) + (gap == 0) / 2
    counted = [made.metrics[f"{KEY}/{name}"] for name in ("wins", "ties", "losses")]
    assert counted == [sum(verdict["outcome"] == value for verdict in given) for value in (1, 0.5, 0)]
    low, rate, high = (made.metrics[f"{KEY}/{name}"] for name in ("win_rate_low", "win_rate", "win_rate_high"))
    assert made.metrics[f"{KEY}/any_look_low"] <= low <= rate <= high <= made.metrics[f"{KEY}/any_look_high"]


def test_three_policies_are_compared_pair_by_pair(chain: Chain) -> None:
    three = ("evaluate.policies=[base,sft,dpo]", "abtest.between=[base,sft,dpo]", "abtest.prompts=5")
    made = chain.make("abtest", *three)
    rates = {name for name in made.metrics if name.endswith("/win_rate")}
    assert rates == {f"{pair}/win_rate" for pair in ("sft/against/base", "dpo/against/base", "dpo/against/sft")}
    assert made.inputs["blind"].metrics["tasks"] <= 15


def test_the_report_shows_what_people_prefer_beside_the_true_scorer(chain: Chain) -> None:
    made = chain.make("compare", *ARMS, "compare.inputs.abtest=abtest")
    html = made.file("report.html").read_text()
    assert "Which answers people prefer" in html
    assert "SFT against Base" in html
    assert made.metrics[f"people/{KEY}/win_rate"] == made.inputs["abtest"].metrics[f"{KEY}/win_rate"]


def test_a_test_of_another_evaluation_is_refused(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    made = chain.make("abtest", *ARMS)
    evaluation = made.inputs["blind"].inputs["evaluation"].reference
    pinned = f"compare.inputs.abtest={made.reference}"
    assert chain.run("stage=compare", *ARMS, "evaluate.seed=5", pinned) == 2
    assert f"compare.inputs.evaluation={evaluation}" in capsys.readouterr().err.replace("\n", "")
    assert chain.run("stage=compare", *ARMS, "evaluate.seed=5", pinned, f"compare.inputs.evaluation={evaluation}") == 0


# -- people


@pytest.fixture(scope="module")
def asked(argilla_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """A chain with people who judge on a server of its own."""
    chain = Chain(tmp_path_factory.mktemp("outputs"))
    yield chain
    stop(Home(chain.outputs / ".argilla"))


def newest(chain: Chain, stage: str) -> Artifact:
    return chain.store.open(*chain.store.resolve(stage))


def judge(
    chain: Chain, name: str, tasks: list[str], better: Callable[[list[str]], int | None], bad: set[str] | None = None
) -> None:
    """One person judges these tasks over the API, by the policies in the slots that nobody but the test knows."""
    connection = running(chain.outputs / ".argilla")
    assert connection
    blind = newest(chain, "blind")
    slots = json.loads(blind.file("slots.json").read_text())
    ranks = {}
    for task in tasks:
        place = better([slot["policy"] for slot in slots[task]])
        ranks[task] = [1, 1] if place is None else [1, 2] if place == 0 else [2, 1]
    dataset = f"playground-abtest-{blind.inputs['evaluation'].version[:6]}"
    with Annotator(accounts.key_of(connection, name), dataset, "playground") as annotator:
        annotator.submit(ranks, both_bad=bad or set())


def prefers_sft(policies: list[str]) -> int:
    return policies.index("sft")


def test_people_judge_blind_and_a_clear_difference_ends_the_test_early(
    asked: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked.run("stage=abtest", *PEOPLE) == 3
    said = capsys.readouterr().out
    assert "about 790 judged prompts tell a win rate of 55% from 50% in four tests of five" in " ".join(said.split())
    tasks = [row["id"] for row in read_jsonl(newest(asked, "blind").file("tasks.jsonl"))]
    count = len(tasks)
    assert count > 30
    assert f"0 of {count} judgements · 0 of {count} pairs of answers complete · overlap 1" in said
    judge(asked, "ann", tasks[:6], prefers_sft)
    assert asked.run("stage=abtest", *PEOPLE) == 3  # six wins are no proof at every look
    assert "abtest.accept=partial   (6 judged pairs; sft against base 1.00 [0.17" in capsys.readouterr().out
    judge(asked, "bob", tasks[6:30], prefers_sft)
    assert asked.run("stage=abtest", "abtest.accept=complete", *PEOPLE) == 3
    capsys.readouterr()
    assert asked.run("stage=abtest", *PEOPLE) == 0
    made = newest(asked, "abtest")
    assert (made.metrics["complete"], made.metrics["ended"]) == (1, 0)
    assert (made.metrics[f"{KEY}/wins"], made.metrics["annotators"]) == (30, 2)
    assert 0.1 < made.metrics["left_slot"] < 0.9  # sides are shuffled
    assert f"{KEY}/sign_test" not in made.metrics  # for one look at the planned end
    assert "People prefer sft to base: sft wins 1.00 [" in capsys.readouterr().out


def test_people_may_tie_and_find_both_bad_and_nobody_is_asked_twice(
    asked: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    few = (*PEOPLE, "abtest.seed=1", "abtest.prompts=8")
    assert asked.run("stage=abtest", *few) == 3
    tasks = [row["id"] for row in read_jsonl(newest(asked, "blind").file("tasks.jsonl"))]
    assert len(tasks) == 8
    judge(asked, "ann", tasks[:3], prefers_sft)
    judge(asked, "ann", tasks[3:6], lambda policies: policies.index("base"))
    judge(asked, "bob", tasks[6:], lambda policies: None, bad={tasks[7]})
    capsys.readouterr()
    assert asked.run("stage=compare", "compare.inputs.abtest=abtest", *few) == 0
    made = newest(asked, "abtest")
    assert [made.metrics[f"{KEY}/{name}"] for name in ("wins", "ties", "losses", "both_bad")] == [3, 2, 3, 1]
    assert made.metrics["ended"] == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "sft and base cannot be told apart: sft wins 0.50 [" in said
    more = (*PEOPLE, "abtest.seed=1", "abtest.prompts=12")
    assert asked.run("stage=abtest", *more) == 3
    assert "8 of 12 judgements" in capsys.readouterr().out
