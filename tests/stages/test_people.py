"""The chain and people in a real Argilla: it publishes once, waits with status 3, and continues with the answers."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.argilla.submitting import submit_rankings
from labeling.records import Ranking, stable_random
from labeling.server import accounts, running
from labeling.server.home import Home
from labeling.server.supervisor import stop
from pipeline.data.rows import read_jsonl
from pipeline.people.annotators import People
from pipeline.people.rounds import read_round
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store
from tests.conftest import configured
from tests.stages.conftest import Chain

pytestmark = pytest.mark.slow

SAMPLE = ("sample.prompts=16", "sample.answers=3")
PEOPLE = ("labeling=embedded", "labeling.annotators=[ann,bob]", *SAMPLE)


@pytest.fixture
def alone(argilla_environment: Path, chain: Chain, tmp_path: Path) -> Iterator[Chain]:
    """A new project with answers to rank, and with people who rank them on a new server."""
    new = chain.beside(tmp_path / "outputs", chain.make("sample", *SAMPLE))
    yield new
    stop(Home(home(new)))


@pytest.fixture(scope="module")
def outputs_of_people(argilla_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for projects whose people work on one server, since its start takes longer than most of the tests."""
    folder = tmp_path_factory.mktemp("people")
    yield folder
    stop(Home(folder / ".argilla"))


@pytest.fixture
def asked(outputs_of_people: Path, chain: Chain) -> Iterator[Chain]:
    """A new project with answers to rank, on a server that knows nobody yet."""
    number = len([path for path in outputs_of_people.iterdir() if not path.name.startswith(".")])
    new = chain.beside(outputs_of_people, chain.make("sample", *SAMPLE), project=f"people{number}")
    yield new
    connection = running(home(new))
    assert connection
    with connection.client() as client:
        for user in accounts.annotators(connection):
            assert client.delete(f"/users/{user['id']}").is_success
    for invitation in (home(new) / "invitations").iterdir():
        invitation.unlink()


def home(chain: Chain) -> Path:
    return chain.outputs / ".argilla"


def newest(chain: Chain, stage: str) -> Artifact:
    store = Store(chain.outputs, chain.project)
    return store.open(*store.resolve(stage))


def answer(chain: Chain, name: str, share: float = 1.0) -> dict[str, list[int]]:
    """One person ranks a share of all tasks over the API with their own key; return task -> ranks."""
    connection = running(home(chain))
    assert connection
    people = People(configured(chain.outputs, *PEOPLE).labeling, chain.project, print)
    given: dict[str, list[int]] = {}
    for queue in read_round(newest(chain, "publish"), people).queues:
        tasks = queue.tasks[: round(share * len(queue.tasks))]
        ranks = {
            task["id"]: stable_random(name, task["id"]).choices([1, 2, 3], k=len(task["responses"])) for task in tasks
        }
        submit_rankings(accounts.key_of(connection, name), queue.name, chain.project, ranks)
        given |= ranks
    return given


def ranks_in(collected: Artifact) -> dict[tuple[str, str], list[int]]:
    rows: list[Ranking] = read_jsonl(collected.file("rankings.jsonl"))  # type: ignore[assignment]
    return {(one["annotator"], row["id"]): one["ranks"] for row in rows for one in row["rankings"]}


def test_the_chain_waits_for_people_goes_on_with_what_they_said_and_never_asks_twice(
    alone: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    assert alone.run("stage=preferences", *PEOPLE) == 3
    said = capsys.readouterr().out
    assert "Waiting for people · project playground · exit status 3" in said
    assert "0 of 32 rankings · 0 of 16 prompts complete · overlap 2" in said
    assert "ann 0 (not started)   bob 0 (not started)" in said
    assert "Continue    python -m pipeline" in said
    assert "collect.accept=partial" not in said  # before the first answer
    assert not (alone.outputs / "playground" / "collect").exists()  # no artifact
    assert (home(alone) / "invitations" / "ann.txt").stat().st_mode & 0o077 == 0

    by_ann = answer(alone, "ann")
    by_bob = answer(alone, "bob", share=0.5)
    assert alone.run("stage=preferences", *PEOPLE) == 3
    said = capsys.readouterr().out
    assert "ann 16   bob 8" in said
    assert "collect.accept=partial   (" in said
    by_bob |= answer(alone, "bob")

    assert alone.run("stage=preferences", *PEOPLE) == 0
    collected = newest(alone, "collect")
    expected = {("ann", task): ranks for task, ranks in by_ann.items()} | {("bob", t): r for t, r in by_bob.items()}
    assert ranks_in(collected) == expected
    assert collected.metrics["complete"] == 1
    assert "simulated" not in collected.metrics

    stop(Home(home(alone)))  # the test does not need the server after this
    capsys.readouterr()
    assert alone.run("stage=preferences", "sft.learning_rate=2e-3", *PEOPLE) == 0
    said = capsys.readouterr().out
    assert "nobody is asked again" in said
    assert f"answers of sft {collected.inputs['publish'].inputs['sample'].inputs['sft'].version[:4]}" in said
    assert running(home(alone)) is None
    assert newest(alone, "preferences").inputs["rankings"].version == collected.version


def test_what_is_there_can_be_taken_and_the_rest_later(asked: Chain) -> None:
    few = (*PEOPLE, "preferences.pool=net")  # one of two votes is not a majority: few pairs would be left
    assert asked.run("stage=collect", *PEOPLE) == 3
    answer(asked, "ann")
    answer(asked, "bob", share=0.5)
    assert asked.run("stage=preferences", "collect.accept=partial", *few) == 0
    partial = newest(asked, "collect")
    assert partial.metrics["complete"] == 0
    assert {name for name, _ in ranks_in(partial)} == {"ann", "bob"}
    assert asked.run("stage=preferences", *few) == 3  # incomplete: the chain still waits by default
    answer(asked, "bob")
    assert asked.run("stage=preferences", *few) == 0
    whole = newest(asked, "collect")
    assert ranks_in(partial).items() < ranks_in(whole).items()


def test_the_work_of_the_others_counts_where_one_named_person_never_came(
    asked: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (*PEOPLE, "labeling.calibration=4")
    assert asked.run("stage=collect", *settings) == 3
    by_ann = answer(asked, "ann")
    capsys.readouterr()
    assert asked.run("stage=collect", *settings) == 3
    assert "collect.accept=partial   (16 prompts" in capsys.readouterr().out
    assert asked.run("stage=preferences", "collect.accept=partial", *settings) == 0
    assert "without bob, who gave no answer" in capsys.readouterr().out.replace("\n", " ")
    expected = {("ann", task): ranks for task, ranks in by_ann.items()}
    assert (ranks_in(newest(asked, "collect")), newest(asked, "collect").metrics["complete"]) == (expected, 0)
    alone = ("labeling.annotators=[ann]", "labeling.overlap=1", *settings[2:])  # the other way: bob is not named
    assert asked.run("stage=collect", "labeling=embedded", *alone) == 0
    assert (ranks_in(newest(asked, "collect")), newest(asked, "collect").metrics["complete"]) == (expected, 1)


def test_a_person_added_to_a_complete_round_is_invited_and_what_they_add_counts(
    asked: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (*PEOPLE, "labeling.calibration=4")
    assert asked.run("stage=collect", *settings) == 3
    answer(asked, "ann")
    answer(asked, "bob")
    assert asked.run("stage=preferences", *settings) == 0
    first = newest(asked, "collect")
    added = ("labeling=embedded", "labeling.annotators=[ann,bob,cleo]", *settings[2:])
    capsys.readouterr()
    assert asked.run("stage=preferences", *added) == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "invitations (private) for cleo" in said
    assert "left to answer: cleo 4" in said
    assert newest(asked, "preferences").inputs["rankings"].version == first.version
    assert (home(asked) / "invitations" / "cleo.txt").exists()

    assert asked.run("stage=collect", *added) == 0  # it does not wait for the one who was added
    assert newest(asked, "collect").version == first.version
    connection = running(home(asked))
    assert connection
    people = People(configured(asked.outputs, *added).labeling, asked.project, print)
    (queue, _) = read_round(newest(asked, "publish"), people).queues
    ranks = {task["id"]: [1, 2, 3] for task in queue.tasks[:1]}
    submit_rankings(accounts.key_of(connection, "cleo"), queue.name, asked.project, ranks)
    capsys.readouterr()
    assert asked.run("stage=preferences", *added, "collect.accept=partial") == 0
    assert "left to answer: cleo 3" in capsys.readouterr().out
    second = newest(asked, "collect")
    assert (second.metrics["complete"], second.metrics["annotators"]) == (1, 3)
    assert ranks_in(second) == ranks_in(first) | {("cleo", task): given for task, given in ranks.items()}
    assert asked.run("stage=collect", *added, "labeling.overlap=3") == 3  # more answers to each task are waited for
    capsys.readouterr()
    assert asked.run("stage=collect", "labeling=embedded", "labeling.annotators=[ann,cleo]", *settings[2:]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"not in labeling.annotators: bob {len(ranks_in(first)) // 2}. Their answers count" in said
    assert "users remove NAME" in said
    assert """'preferences.exclude=["bob"]'""" in said


def test_waiting_goes_on_by_itself_when_people_are_done(asked: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.people.waiting.POLL", 0.2)
    assert asked.run("stage=publish", *PEOPLE) == 0
    assert asked.run("stage=collect", *PEOPLE) == 3
    later = threading.Timer(2, lambda: (answer(asked, "ann"), answer(asked, "bob")))
    later.start()
    assert asked.run("stage=collect", "collect.wait=true", *PEOPLE) == 0
    later.join()


def test_a_server_that_was_killed_or_lost_everything_gets_tasks_and_answers_back(
    alone: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    """`kill -9` loses nothing; after a loss of all data, `publish` has the tasks, and the project the answers."""
    assert alone.run("stage=collect", *PEOPLE) == 3
    by_ann = answer(alone, "ann")
    state = Home(home(alone)).state()
    assert state
    os.kill(state.pid, signal.SIGKILL)
    time.sleep(0.5)
    answer_after_restart(alone, by_ann)
    assert alone.run("stage=collect", *PEOPLE) == 0
    whole = ranks_in(newest(alone, "collect"))
    assert {task: ranks for (name, task), ranks in whole.items() if name == "ann"} == by_ann

    stop(Home(home(alone)))
    home(alone).rename(home(alone).with_name("lost"))
    capsys.readouterr()
    assert alone.run("stage=collect", *PEOPLE) == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "was lost on the server: 32 answers (ann 16, bob 16) put back" in said
    assert "invitations (private) for ann, bob" in said
    assert ranks_in(newest(alone, "collect")) == whole
    file = alone.outputs / "playground" / ".answers" / f"playground-{newest(alone, 'publish').version[:6]}.jsonl"
    assert len(read_jsonl(file)) == 32


def answer_after_restart(chain: Chain, by_ann: dict[str, list[int]]) -> None:
    """Bob answers after the supervisor has restarted the server; all of Ann's answers are still there."""
    for _ in range(300):
        if running(home(chain)):
            break
        time.sleep(0.1)
    connection = running(home(chain))
    assert connection
    assert answer(chain, "ann") == by_ann  # submits nothing new
    answer(chain, "bob")


def test_simulated_annotators_rank_through_the_server_as_they_do_without(alone: Chain) -> None:
    settings = ("sample.prompts=6", "labeling.calibration=2", "labeling.repeats=1", "labeling.noise=0")
    assert alone.run("stage=collect", "labeling=simulated", *settings) == 0
    without = newest(alone, "collect")
    assert without.metrics["consistency"] == 1  # an annotator without errors gives the same ranks twice
    (without.path / "manifest.json").unlink()  # so that it is made again with the same version
    assert alone.run("stage=collect", "labeling=embedded", *settings) == 0
    through = newest(alone, "collect")
    assert through.version == without.version
    assert through.file("rankings.jsonl").read_bytes() == (without.path / "rankings.jsonl").read_bytes()
    assert through.metrics == without.metrics
    assert running(home(alone)) is None  # it ended with the command


def test_one_line_leaves_an_annotator_out_and_asks_nobody(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    before = chain.make("preferences")
    after = chain.make("preferences", "preferences.exclude=[simulated2]")
    assert (before.metrics["annotators"], after.metrics["annotators"]) == (3, 2)
    assert after.inputs["rankings"].version == before.inputs["rankings"].version
    assert chain.run("stage=preferences", "preferences.exclude=[simulated9]") == 2
    assert "nobody is called 'simulated9'. Did you mean 'simulated" in capsys.readouterr().err.replace("\n", " ")


def test_wrong_pairs_on_purpose_are_in_training_alone(chain: Chain) -> None:
    right, wrong = chain.make("preferences"), chain.make("preferences", "preferences.noise=0.25")
    parts = [
        {name: read_jsonl(made.file(f"{name}.jsonl")) for name in ("train", "test", "judge")} for made in (right, wrong)
    ]
    assert parts[0]["test"] == parts[1]["test"]
    assert parts[0]["judge"] == parts[1]["judge"]
    turned = sum(a["chosen"] == b["rejected"] for a, b in zip(parts[0]["train"], parts[1]["train"], strict=True))
    assert turned == wrong.metrics["swapped"] == round(0.25 * len(parts[0]["train"]))
    assert "swapped" not in right.metrics
    assert "WRONG on purpose" in wrong.file("log.txt").read_text()
