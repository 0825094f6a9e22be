"""Import of a dataset that was made with Argilla's own client, from a real server."""

import json
import warnings
from pathlib import Path

import pytest

from labeling.__main__ import main
from labeling.argilla.backend import ArgillaBackend
from labeling.argilla.client import Client
from labeling.backend import LabelingError, Queue, Round
from labeling.exchange import Columns, read
from labeling.exchange.argilla_datasets import import_dataset
from labeling.records import Task
from labeling.server import Connection, accounts

WORKSPACE = "somebody"
OPTIONS = ["response-1", "response-2", "response-3"]
FIELDS = ("first", "second", "third")
COLUMNS = Columns(prompt="instruction", responses=FIELDS, comment="why")


@pytest.fixture(scope="module")
def dataset(argilla_server: Connection, argilla_home: Path):
    """Three records made by Argilla's client, answered by two people in the format that Argilla's page sends."""
    import argilla as rg

    accounts.add_annotators(argilla_server, ["ann", "bob"], WORKSPACE, argilla_home)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = rg.Argilla(argilla_server.url, argilla_server.api_key)
        settings = rg.Settings(
            fields=[rg.TextField("instruction"), *(rg.TextField(name) for name in FIELDS), rg.ChatField("chat")],
            questions=[
                rg.RankingQuestion("order", values=OPTIONS),
                rg.RankingQuestion("tone", values=OPTIONS, required=False),
                rg.TextQuestion("why", required=False),
            ],
        )
        made = rg.Dataset("theirs", WORKSPACE, settings, client).create()
        made.records.log(
            [
                rg.Record(
                    id=f"r{number}",
                    fields={
                        "instruction": f"question {number}",
                        **{name: f"{name} {number}" for name in FIELDS},
                        "chat": [{"role": "user", "content": f"turn {number}"}],
                    },
                )
                for number in range(3)
            ]
        )
    answer(argilla_server, "ann", "r0", "submitted", (3, 1, 1), "ties")  # 3, 1, 1 is not the order of the options
    answer(argilla_server, "bob", "r0", "submitted", (2, 3, 1))
    answer(argilla_server, "ann", "r1", "submitted", (2, 2, 2))
    answer(argilla_server, "bob", "r1", "discarded")
    answer(argilla_server, "ann", "r2", "draft", (1, 2, 3))
    return made


def answer(server: Connection, name: str, record: str, status: str, ranks=(), comment: str = "") -> None:
    client = Client(accounts.key_of(server, name))
    found = client.dataset(client.workspaces()[WORKSPACE], "theirs")
    records = {row["external_id"]: row["id"] for row in client.own_records(found)}
    values = {}
    if ranks:  # in the order of the options, not of the ranks
        values["order"] = {"value": [{"value": o, "rank": r} for o, r in zip(OPTIONS, ranks, strict=True)]}
    if comment:
        values["why"] = {"value": comment}
    item = {"record_id": records[record], "status": status, "values": values}
    sent = client.post("/me/responses/bulk", "answer", {"items": [item]})["items"]
    client.close()
    assert sent[0]["error"] is None


def test_ranks_and_ties_come_exactly_and_only_submitted_ones(argilla_server, dataset):
    found = import_dataset(argilla_server, WORKSPACE, "theirs", "order", COLUMNS)
    by_id = {ranking["id"]: ranking for ranking in found.rankings}
    assert set(by_id) == {"r0", "r1"}
    assert by_id["r0"]["prompt"] == "question 0"
    assert by_id["r0"]["responses"] == ["first 0", "second 0", "third 0"]
    assert sorted(by_id["r0"]["rankings"], key=lambda row: row["annotator"]) == [
        {"annotator": "ann", "ranks": [3, 1, 1], "comment": "ties"},
        {"annotator": "bob", "ranks": [2, 3, 1]},
    ]
    assert by_id["r1"]["rankings"] == [{"annotator": "ann", "ranks": [2, 2, 2]}]
    assert sorted(fault.reason for fault in found.left_out) == [
        "the annotator discarded the record",
        "the answer is a draft",
    ]


def test_a_chat_is_a_prompt_of_messages_and_fields_follow_the_mapping(argilla_server, dataset):
    columns = Columns(prompt="chat", responses=("third", "first", "second"))
    rankings = import_dataset(argilla_server, WORKSPACE, "theirs", "order", columns).rankings
    first = next(ranking for ranking in rankings if ranking["id"] == "r0")
    assert first["prompt"] == [{"role": "user", "content": "turn 0"}]
    assert first["responses"] == ["third 0", "first 0", "second 0"]


def test_the_command_writes_what_the_server_says(argilla_server, argilla_home, dataset, tmp_path, capsys, monkeypatch):
    target = tmp_path / "rankings.jsonl"
    fields = ["--question", "order", "--prompt-field", "instruction", "--response-fields", ",".join(FIELDS)]
    arguments = ["import", "--dataset", "theirs", "--workspace", WORKSPACE, "--to", str(target), *fields]
    assert main([*arguments, "--home", str(argilla_home)]) == 0
    assert {row["id"] for row in map(json.loads, target.read_text().splitlines())} == {"r0", "r1"}
    said = capsys.readouterr().out
    assert "1 x the annotator discarded the record" in said
    assert "1 x the answer is a draft" in said
    assert "3 rankings of 2 prompts by 2 annotators" in said
    monkeypatch.setenv("ARGILLA_API_URL", argilla_server.url)
    monkeypatch.setenv("ARGILLA_API_KEY", argilla_server.api_key)
    assert main([*arguments, "--overwrite"]) == 0
    monkeypatch.setenv("ARGILLA_API_KEY", "wrong")
    assert main([*arguments, "--overwrite"]) == 2
    assert len(target.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("workspace", "name", "question", "columns", "messages"),
    [
        ("none", "theirs", "order", COLUMNS, ["no workspace 'none'", WORKSPACE]),
        (WORKSPACE, "none", "order", COLUMNS, ["no dataset 'none'", "'theirs'"]),
        (WORKSPACE, "theirs", None, COLUMNS, ["--question: name one", "'order', 'tone'"]),
        (WORKSPACE, "theirs", "why", COLUMNS, ["'why' is not a ranking question"]),
        (WORKSPACE, "theirs", "order", Columns(), ["--response-fields", "'response-1'", "no field 'prompt'"]),
        (WORKSPACE, "theirs", "tone", COLUMNS, ["has no rankings", "the answer is a draft"]),
        (WORKSPACE, "theirs", "order", Columns(prompt="instruction", responses=("first", "x", "y")), ["'x'", "'y'"]),
    ],
)
def test_what_is_not_there_is_said_with_what_is(argilla_server, dataset, workspace, name, question, columns, messages):
    with pytest.raises(LabelingError) as caught:
        import_dataset(argilla_server, workspace, name, question, columns)
    assert caught.value.fault == "request"
    for message in messages:
        assert message in str(caught.value)


def test_a_round_of_this_project_is_left_to_collect(argilla_server, argilla_home):
    """Its page shows HTML, from which the responses cannot be restored exactly."""
    task: Task = {"id": "t", "prompt": [{"role": "user", "content": "Hi?"}], "responses": ["a", "b"]}
    asked = Round(WORKSPACE, "ranking", "Rank.", [Queue("ours", [task], overlap=1)])
    ArgillaBackend(argilla_server, home=argilla_home).publish(asked)
    with pytest.raises(LabelingError, match="stage=collect"):
        import_dataset(argilla_server, WORKSPACE, "ours", None)


def test_an_annotators_key_is_not_enough(argilla_server, dataset):
    with pytest.raises(LabelingError, match="owner") as caught:
        import_dataset(accounts.key_of(argilla_server, "ann"), WORKSPACE, "theirs", "order", COLUMNS)
    assert caught.value.fault == "request"


def test_what_argillas_client_writes_to_disk_is_refused(dataset, tmp_path):
    """The file has lost the ranks, as this test shows: ann ranked the first response last."""
    path = tmp_path / "theirs.json"
    dataset.records(with_responses=True).to_json(path)
    kept = {row["id"]: row["responses"] for row in json.loads(path.read_text())}
    assert OPTIONS in [response["value"] for response in kept["r0"]["order"]]
    with pytest.raises(LabelingError, match=r"lost the ranks.*--dataset"):
        read(path)
