"""Rounds on a real Argilla: people's answers come back exactly and once, also after killed processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labeling.argilla.backend import ArgillaBackend
from labeling.argilla.page import FIELDS
from labeling.argilla.submitting import submit_rankings
from labeling.backend import LabelingError, Queue, Round, progress, without_times
from labeling.records import Sample, make_tasks
from labeling.server import Connection, accounts, serving
from tests.labeling.asking import Place, make
from tests.labeling.conftest import SessionServer

TIED = {"t0000": [1, 1, 3, 4], "t0001": [1, 1, 2, 3], "t0002": [4, 2, 2, 2]}


@pytest.fixture
def place(argilla_server: Connection, argilla_home: Path) -> Place:
    return Place(argilla_server, argilla_home)


def test_ranks_come_back_exactly_with_ties_comments_and_names(place: Place) -> None:
    asked = place.round()
    assert place.backend.publish(asked) == 3
    place.annotator("ann", asked).submit(TIED, comments={"t0001": "A and B say the same."})
    answers = place.backend.answers(asked)
    assert without_times(answers) == [
        {
            "task": task,
            "annotator": place.person("ann"),
            "status": "submitted",
            "ranks": ranks,
            "comment": "A and B say the same." if task == "t0001" else "",
        }
        for task, ranks in sorted(TIED.items())
    ]
    assert progress(asked, answers).done


def test_answers_have_the_time_at_which_they_were_first_given(place: Place) -> None:
    asked = place.round(tasks=make(1))
    place.backend.publish(asked)
    before = datetime.now(UTC).replace(tzinfo=None)
    ann = place.annotator("ann", asked)
    ann.submit({"t0000": [1, 2, 3, 4]})
    after = datetime.now(UTC).replace(tzinfo=None)
    (given,) = place.backend.answers(asked)
    assert before <= datetime.fromisoformat(given["answered"]) <= after
    assert given != without_times([given])[0]


def test_what_is_stored_has_the_shape_of_the_page(place: Place) -> None:
    asked = place.round()
    place.backend.publish(asked)
    place.annotator("ann", asked).submit({"t0000": [2, 1, 1, 4]})
    dataset = place.owner.dataset(place.owner.workspaces()[place.workspace], asked.queues[0].name)
    assert dataset is not None
    stored = [record["responses"] for record in place.owner.records(dataset) if record["responses"]]
    assert stored[0][0]["values"]["ranking"]["value"] == [
        {"value": "A", "rank": 2},
        {"value": "B", "rank": 1},
        {"value": "C", "rank": 1},
        {"value": "D", "rank": 4},
    ]


def test_a_pairs_four_outcomes_come_back(place: Place) -> None:
    asked = place.round("pairwise", make(4, 2))
    place.backend.publish(asked)
    ranks = {"t0000": [1, 2], "t0001": [2, 1], "t0002": [1, 1], "t0003": [1, 1]}
    place.annotator("ann", asked).submit(ranks, both_bad=["t0003"])
    answers = place.backend.answers(asked)
    assert {answer["task"]: answer["ranks"] for answer in answers} == ranks
    assert [answer["both_bad"] for answer in answers] == [False, False, False, True]


def test_ratings_come_back_with_the_ranks_that_follow(place: Place) -> None:
    asked = place.round("rating")
    place.backend.publish(asked)
    place.annotator("ann", asked).submit({"t0000": [1, 3, 1, 4]})
    (answer,) = place.backend.answers(asked)
    assert (answer["ratings"], answer["ranks"]) == ([5, 4, 5, 3], [1, 3, 1, 4])


@pytest.mark.parametrize("size", [2, 10])
def test_the_fewest_and_the_most_responses_can_be_ranked(place: Place, size: int) -> None:
    asked = place.round(tasks=make(1, size))
    place.backend.publish(asked)
    place.annotator("ann", asked).submit({"t0000": list(range(size, 0, -1))})
    assert place.backend.answers(asked)[0]["ranks"] == list(range(size, 0, -1))


def test_publishing_again_doubles_nothing_and_keeps_the_answers(place: Place) -> None:
    asked = place.round()
    assert [place.backend.publish(asked) for _ in range(2)] == [3, 0]
    place.annotator("ann", asked).submit(TIED)
    before = place.backend.answers(asked)
    assert place.backend.publish(asked) == 0
    assert place.backend.answers(asked) == before
    more = place.round(tasks=make(5))
    assert place.backend.publish(more) == 2
    assert place.backend.answers(more) == before


def test_drafts_do_not_count_and_discarded_ones_do_with_their_reason(place: Place) -> None:
    asked = place.round()
    place.backend.publish(asked)
    annotator = place.annotator("ann", asked)
    annotator.draft({"t0000": [1, 2, 3, 4]})
    annotator.discard({"t0001": "not in English"})
    answers = place.backend.answers(asked)
    assert [(answer["task"], answer["status"], answer["ranks"], answer["comment"]) for answer in answers] == [
        ("t0001", "discarded", None, "not in English")
    ]
    assert (progress(asked, answers).answers, progress(asked, answers).complete) == (1, 1)


def test_a_killed_submitter_goes_on_where_it_was(place: Place) -> None:
    asked = place.round()
    place.backend.publish(asked)
    key, queue = place.key("ann"), asked.queues[0].name
    submit_rankings(key, queue, place.workspace, {"t0000": [1, 2, 3, 4]})
    steps: list[int] = []
    submit_rankings(key, queue, place.workspace, TIED, advance=steps.append)
    assert sum(steps) == 3
    ranks = {answer["task"]: answer["ranks"] for answer in place.backend.answers(asked)}
    assert ranks == TIED | {"t0000": [1, 2, 3, 4]}


def test_a_task_leaves_the_others_queue_when_it_is_complete_and_returns_with_a_higher_overlap(place: Place) -> None:
    asked = place.round(overlap=1)
    place.backend.publish(asked)
    place.annotator("ann", asked).submit(TIED)
    assert place.annotator("bob", asked).pending() == []
    raised = place.round(overlap=2)
    assert place.backend.publish(raised) == 0
    deadline = time.monotonic() + 20
    while not (pending := place.annotator("bob", asked).pending()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sorted(pending) == sorted(TIED)
    assert place.annotator("ann", asked).pending() == []
    assert not progress(raised, place.backend.answers(raised)).done


def test_conversations_of_many_turns_are_shown_as_a_chat(place: Place) -> None:
    tasks = make(1)
    tasks[0]["prompt"] = [
        {"role": "system", "content": "Be **brief**."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "<b>What?</b>"},
    ]
    asked = place.round(tasks=tasks)
    place.backend.publish(asked)
    annotator = place.annotator("ann", asked)
    (shown,) = annotator._client.own_records(annotator._dataset)
    assert [turn["role"] for turn in shown["fields"]["prompt"]] == ["system", "user", "assistant", "user"]
    contents = " ".join(turn["content"] for turn in shown["fields"]["prompt"])
    for piece in ("<strong>brief</strong>", "(empty)", "&lt;b&gt;What?&lt;/b&gt;"):
        assert piece in contents


def test_nothing_that_an_annotator_can_read_tells_who_wrote_an_answer(place: Place) -> None:
    samples: list[Sample] = [
        {
            "id": f"s{number}",
            "prompt": [{"role": "user", "content": "Why?"}],
            "answers": [{"text": f"because {name}", "policy": f"policy-{name}-91b"} for name in ("x", "y")],
        }
        for number in range(3)
    ]
    tasks, slots = make_tasks(samples, seed=0)
    assert "policy-x-91b" in json.dumps(slots)
    asked = place.round(tasks=tasks)
    place.backend.publish(asked)
    annotator = place.annotator("ann", asked)
    annotator.submit({"s0": [1, 2]})
    client, dataset = annotator._client, annotator._dataset["id"]
    records = list(client.own_records(annotator._dataset))
    seen = json.dumps(
        [
            records,
            client.get("/me", "read"),
            client.get("/me/datasets", "read"),
            client.get(f"/datasets/{dataset}", "read"),
            *[client.get(f"/datasets/{dataset}/{part}", "read") for part in ("fields", "questions", "progress")],
            client.get(f"/me/datasets/{dataset}/metadata-properties", "read"),
            *[client.get(f"/records/{record['id']}", "read") for record in records],
        ]
    )
    assert "because x" in seen
    assert "policy-" not in seen
    assert not any(record.get("metadata") for record in records)
    with pytest.raises(LabelingError, match="Use an owner's key"):
        list(client.records(annotator._dataset))  # nor the answers of others


def test_several_queues_are_one_round(place: Place) -> None:
    tasks = make(4)
    everybody, rest = Queue(f"{place.workspace}-all", tasks[:1], 2), Queue(f"{place.workspace}-rest", tasks[1:], 1)
    asked = Round(place.workspace, "ranking", "Rank them.", [everybody, rest])
    assert place.backend.publish(asked) == 4
    for queue in asked.queues:
        ranks = {task["id"]: [1, 2, 3, 4] for task in queue.tasks}
        submit_rankings(place.key("ann"), queue.name, place.workspace, ranks)
    so_far = progress(asked, place.backend.answers(asked))
    assert (so_far.answers, so_far.wanted, so_far.complete, so_far.done) == (4, 5, 3, False)


def test_an_account_deleted_by_hand_is_told_and_its_tasks_are_opened_again(place: Place) -> None:
    asked = place.round()
    place.backend.publish(asked)
    place.annotator("ann", asked).submit(TIED)
    bob = place.annotator("bob", asked)
    assert bob.pending() == []
    users = place.owner.get("/users", "list")["items"]
    (ann,) = [user["id"] for user in users if user["username"] == place.person("ann")]
    with place.connection.client() as http:
        assert http.delete(f"/users/{ann}").is_success
    assert place.backend.answers(asked) == []
    assert len(place.said) == 1
    assert place.said[0].startswith("3 of 3 tasks")
    assert "account was deleted" in place.said[0]
    assert place.backend.publish(asked) == 0
    assert sorted(place.annotator("bob", asked).pending()) == sorted(TIED)


def test_a_dataset_whose_making_was_interrupted_is_completed(place: Place) -> None:
    asked = place.round()
    workspace = place.owner.post("/workspaces", "make", {"name": place.workspace})["id"]
    body = {"name": asked.queues[0].name, "workspace_id": workspace, "guidelines": "old"}
    dataset = place.owner.post("/datasets", "make", body)
    place.owner.post(f"/datasets/{dataset['id']}/fields", "make", FIELDS[0])
    assert place.backend.publish(asked) == 3
    place.annotator("ann", asked).submit(TIED)
    assert len(place.backend.answers(asked)) == 3
    assert place.owner.get(f"/datasets/{dataset['id']}", "read")["guidelines"] == "Rank them."


PUBLISH = """
import json, sys
from labeling.argilla.backend import ArgillaBackend
from labeling.backend import Queue, Round
from labeling.server import Connection

given = json.load(sys.stdin)
asked = Round(given["workspace"], "ranking", "Rank them.", [Queue(given["name"], given["tasks"], 1)])
ArgillaBackend(Connection(given["url"], given["key"])).publish(asked)
"""


def test_an_upload_that_is_killed_half_way_is_completed_by_the_next(place: Place) -> None:
    tasks = make(1_000, words=100)
    asked = place.round(tasks=tasks)
    given = {
        "workspace": place.workspace,
        "name": asked.queues[0].name,
        "tasks": tasks,
        "url": place.connection.url,
        "key": place.connection.api_key,
    }
    process = subprocess.Popen([sys.executable, "-c", PUBLISH], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    with process.stdin as pipe:
        json.dump(given, pipe)
    owner, there = place.owner, 0
    while not there and process.poll() is None:
        workspace = owner.workspaces().get(place.workspace)
        dataset = workspace and owner.dataset(workspace, asked.queues[0].name)
        if dataset and dataset["status"] == "ready":
            there = owner.get(f"/datasets/{dataset['id']}/progress", "count")["total"]
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 0 < there < 1_000
    added = place.backend.publish(asked)
    assert 0 < added < 1_000
    assert place.backend.publish(asked) == 0
    dataset = owner.dataset(owner.workspaces()[place.workspace], asked.queues[0].name)
    assert dataset is not None
    assert sorted(record["external_id"] for record in owner.records(dataset)) == [task["id"] for task in tasks]
    remove(place, asked)


def test_the_adapter_prints_nothing(place: Place) -> None:
    tasks = make(2)
    given = {
        "workspace": place.workspace,
        "name": f"{place.workspace}-round",
        "tasks": tasks,
        "url": place.connection.url,
        "key": place.connection.api_key,
    }
    code = "import logging\n" + PUBLISH + "logging.getLogger().info('quiet')\nassert not logging.root.handlers\n"
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], input=json.dumps(given), text=True, capture_output=True
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "argilla" not in done.stderr.lower().replace("labeling/argilla", "")
    assert place.connection.api_key not in done.stderr


def test_ranks_survive_a_restart_and_kill_9_of_the_server(place: Place, argilla: SessionServer) -> None:
    asked = place.round()
    place.backend.publish(asked)
    key = place.key("ann")
    submit_rankings(key, asked.queues[0].name, place.workspace, TIED)
    before = place.backend.answers(asked)
    assert {answer["task"]: answer["ranks"] for answer in before} == TIED
    argilla.restart()
    assert ArgillaBackend(argilla.connection).answers(asked) == before
    submit_rankings(
        accounts.key_of(argilla.connection, place.person("ann")),
        asked.queues[0].name,
        place.workspace,
        {"t0002": [1, 2, 3, 4]},  # already submitted: unchanged
    )
    os.kill(argilla.pid, signal.SIGKILL)
    argilla.restart()
    backend = ArgillaBackend(argilla.connection)
    assert backend.answers(asked) == before
    assert backend.publish(asked) == 0


def test_a_server_that_lost_its_data_gets_the_round_back(
    place: Place, argilla_environment: Path, tmp_path: Path
) -> None:
    asked = place.round()
    assert place.backend.publish(asked) == 3
    with serving(tmp_path / "new", say=print) as connection:
        fresh = Place(connection, tmp_path / "new", place.workspace)
        with pytest.raises(LabelingError, match="missing parts are restored") as error:
            fresh.backend.answers(asked)
        assert error.value.fault == "request"
        assert fresh.backend.publish(asked) == 3
        fresh.annotator("ann", asked).submit(TIED)
        assert {answer["task"]: answer["ranks"] for answer in fresh.backend.answers(asked)} == TIED


def test_a_server_that_dies_while_it_is_given_tasks_loses_none(
    place: Place, argilla: SessionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.argilla.client.CONNECT_RETRIES", 0)
    asked = place.round(tasks=make(1_000, words=100))
    raised: list[BaseException] = []

    def upload() -> None:
        try:
            place.backend.publish(asked)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=upload)
    thread.start()
    owner, there = place.owner, 0
    while not there:
        workspace = owner.workspaces().get(place.workspace)
        dataset = workspace and owner.dataset(workspace, asked.queues[0].name)
        if dataset and dataset["status"] == "ready":
            there = owner.get(f"/datasets/{dataset['id']}/progress", "count")["total"]
    os.kill(argilla.pid, signal.SIGKILL)
    thread.join()
    (error,) = raised
    assert isinstance(error, LabelingError)
    assert error.fault == "service"
    argilla.restart()
    backend = ArgillaBackend(argilla.connection)
    added = backend.publish(asked)
    assert 0 < added < 1_000
    assert backend.publish(asked) == 0
    remove(place, asked)


def remove(place: Place, asked: Round) -> None:
    """Delete a large round: later tests ask the server for the state of all that it has."""
    dataset = place.owner.dataset(place.owner.workspaces()[place.workspace], asked.queues[0].name)
    assert dataset is not None
    with place.connection.client() as client:
        assert client.delete(f"/datasets/{dataset['id']}").is_success
