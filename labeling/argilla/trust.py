"""The annotators on an Argilla server who are not to be relied on, from all answers to this project's data sets."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any, cast

import httpx

from labeling.argilla.answers import name_of
from labeling.argilla.client import PAGE
from labeling.backend import AnnotatorAnswer, Comparison
from labeling.pace import paces, reading_seconds
from labeling.questions import LETTERS, question_of, read_values
from labeling.records import Ranking, Ranks, Task
from labeling.server.accounts import checked
from labeling.server.copied import COUNTED
from labeling.suspects import Suspect, standings, suspects


def suspects_by_workspace(client: httpx.Client) -> dict[str, list[Suspect]]:
    """Workspace -> the suspects of all its data sets of rankings, sorted by name; without workspaces that have none.

    Needs an owner's client. Repeats and gold records count like other tasks: the server does not know them.
    """
    spaces = {place["id"]: place["name"] for place in checked(client.get("/me/workspaces"))["items"]}
    names = {user["id"]: user["username"] for user in checked(client.get("/users"))["items"]}
    rankings: dict[str, list[Ranking]] = defaultdict(list)
    answers: dict[str, list[AnnotatorAnswer]] = defaultdict(list)
    reading: dict[str, dict[str, float]] = defaultdict(dict)
    for dataset in checked(client.get("/me/datasets"))["items"]:
        space = spaces.get(dataset["workspace_id"], "?")
        try:
            question, size = question_of(checked(client.get(f"/datasets/{dataset['id']}/questions"))["items"])
        except ValueError:
            continue  # a data set of another project
        if question == "review":
            continue
        for record in _records(client, dataset["id"]):
            task = _task(record)
            given = list(_answers(record, task["id"], question, size, names))
            answers[space] += given
            reading[space][task["id"]] = reading_seconds(task)
            rows = [Ranks(annotator=one["annotator"], ranks=one["ranks"]) for one in given if one["ranks"]]
            responses = list(LETTERS[:size])  # their texts do not matter here
            rankings[space].append(Ranking(id=task["id"], prompt="", responses=responses, rankings=rows))
    found = {name: suspects(standings(rankings[name]), paces(answers[name], reading[name])) for name in rankings}
    return {name: named for name, named in sorted(found.items()) if named}


def _records(client: httpx.Client, dataset: str) -> Iterator[dict[str, Any]]:
    offset, total = 0, 1
    while offset < total:
        page = checked(
            client.get(f"/datasets/{dataset}/records", params={"offset": offset, "limit": PAGE, "include": "responses"})
        )
        yield from page["items"]
        offset, total = offset + PAGE, page["total"]


def _task(record: Mapping[str, Any]) -> Task:
    """Return the task with the plain texts of its fields; all responses stand in one field."""
    prompt = [{"role": turn["role"], "content": _plain(turn["content"])} for turn in record["fields"]["prompt"]]
    name = str(record["external_id"] or record["id"])
    return cast(Task, {"id": name, "prompt": prompt, "responses": [_plain(record["fields"]["answers"])]})


def _answers(
    record: Mapping[str, Any], task: str, question: Comparison, size: int, names: Mapping[str, str]
) -> Iterator[AnnotatorAnswer]:
    """Yield the submitted and discarded answers to a record; an unreadable one is the business of `collect`."""
    for response in record["responses"] or ():
        if response["status"] in COUNTED:
            try:
                values = read_values(question, size, response["values"], response["status"] == "discarded")
            except ValueError:
                continue
            yield AnnotatorAnswer(
                task=task,
                annotator=name_of(response, names),
                status=response["status"],
                ranks=values.ranks,
                comment=values.comment,
                answered=response["inserted_at"],
            )


def _plain(html: str) -> str:
    """Return the text of a field's HTML (`labeling.argilla.page`), to measure how long it takes to read."""
    return unescape(re.sub(r"<[^>]*>", "", html))
