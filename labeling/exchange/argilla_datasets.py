"""Imports rankings from a foreign dataset on an Argilla server, with exact ranks from its tables.

Argilla's client loses ranks (argilla issue 5677), so only its connection is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labeling.argilla.client import Client
from labeling.argilla.page import CHECKSUM
from labeling.backend import LabelingError
from labeling.exchange.cells import prompt_in, rank_in, response_in
from labeling.exchange.columns import UNMAPPED, Columns
from labeling.exchange.outcome import MAX_BAD_FRACTION, OnBadRow, Outcome, pooled_outcome
from labeling.exchange.reading import Reading, Unusable
from labeling.server import Connection
from labeling.votes import Vote

_COMMENT = "comment"
_UNSUBMITTED = {"discarded": "the annotator discarded the record", "draft": "the answer is a draft"}


@dataclass(frozen=True)
class _Mapping:
    """The names of the question, of each option's field, in order, and of the fields of prompt and comment."""

    question: str
    responses: Mapping[str, str]  # option -> field
    prompt: str
    comment: str


def import_dataset(
    connection: Connection,
    workspace: str,
    name: str,
    question: str | None,
    columns: Columns = UNMAPPED,
    on_bad_row: OnBadRow = "drop",
    max_bad_fraction: float = MAX_BAD_FRACTION,
) -> Outcome:
    """All submitted answers to one ranking question. Needs an owner's key. Raises `LabelingError`."""
    client = Client(connection)
    try:
        dataset = _dataset(client, workspace, name)
        mapping = _mapping(client, dataset, question, columns)
        users = client.get("/users", "list the accounts (whose names stand beside the answers)")["items"]
        names = {user["id"]: user["username"] for user in users}
        records = list(client.records(dataset))
    finally:
        client.close()
    reading = Reading("a dataset on Argilla")
    reading.note("prompt", mapping.prompt)
    reading.note("responses", *mapping.responses.values())
    reading.note("ranks", mapping.question)
    for record in records:
        _add_record(record, mapping, names, reading)
    return pooled_outcome(f"Dataset '{name}' at {connection.url}", [reading], on_bad_row, max_bad_fraction)


def _dataset(client: Client, workspace: str, name: str) -> dict[str, Any]:
    spaces = client.workspaces()
    if workspace not in spaces:
        raise _refused(f"There is no workspace '{workspace}' at {client.url}; there are {_listed(spaces)}.")
    dataset = client.dataset(spaces[workspace], name)
    if dataset is None:
        there = client.get("/me/datasets", "list the datasets", workspace_id=spaces[workspace])["items"]
        names = _listed(found["name"] for found in there)
        raise _refused(f"There is no dataset '{name}' in workspace '{workspace}' at {client.url}; there are {names}.")
    return dataset


def _mapping(client: Client, dataset: Mapping[str, Any], question: str | None, columns: Columns) -> _Mapping:
    """The mapping of fields. Raises `LabelingError` with all faults at once."""
    path, doing = f"/datasets/{dataset['id']}", f"read the settings of dataset '{dataset['name']}'"
    metadata = client.get(f"/me{path}/metadata-properties", doing)["items"]
    if any(part["name"] == CHECKSUM for part in metadata):
        raise _refused(
            f"Dataset '{dataset['name']}' was published by this project: `python -m pipeline stage=collect` reads it."
        )
    fields = [field["name"] for field in client.get(f"{path}/fields", doing)["items"]]
    questions = client.get(f"{path}/questions", doing)["items"]
    rankings = {asked["name"]: asked for asked in questions if asked["settings"]["type"] == "ranking"}
    chosen = question or (next(iter(rankings)) if len(rankings) == 1 else None)
    faults = []
    if chosen not in rankings:
        problem = f"--question: '{question}' is not a ranking question" if question else "--question: name one"
        faults.append(f"{problem}; the ranking questions are {_listed(rankings)}")
    options = [str(option["value"]) for option in rankings[chosen]["settings"]["options"]] if chosen in rankings else []
    responses = columns.responses or tuple(option for option in options if option in fields)
    prompt = columns.prompt or "prompt"
    if len(responses) != len(options):
        faults.append(f"--response-fields: name a field for each option, in the order {_listed(options)}")
    for option, name in (("--prompt-field", prompt), *(("--response-fields", name) for name in responses)):
        if name not in fields:
            faults.append(f"{option}: there is no field '{name}'; the fields are {_listed(fields)}")
    if columns.comment and columns.comment not in {asked["name"] for asked in questions}:
        faults.append(f"--comment-field: there is no question '{columns.comment}'")
    if faults or chosen is None:
        raise _refused("\n".join([f"Dataset '{dataset['name']}' at {client.url} needs another mapping.", *faults]))
    return _Mapping(chosen, dict(zip(options, responses, strict=True)), prompt, columns.comment or _COMMENT)


def _add_record(record: Mapping[str, Any], mapping: _Mapping, names: Mapping[str, str], reading: Reading) -> None:
    name = str(record["external_id"] or record["id"])
    place, fields = f"record {name}", record["fields"]
    for response in record["responses"] or ():
        if response["status"] in _UNSUBMITTED:
            reading.leave_out(place, "status", _UNSUBMITTED[response["status"]], fields)
        elif mapping.question in (response["values"] or {}):
            reading.rows += 1
            try:
                reading.votes.append(_vote(place, name, fields, response, mapping, names, reading))
            except Unusable as fault:
                reading.add_bad(place, fault, fields)


def _vote(
    place: str,
    name: str,
    fields: Mapping[str, Any],
    response: Mapping[str, Any],
    mapping: _Mapping,
    names: Mapping[str, str],
    reading: Reading,
) -> Vote:
    given = {option["value"]: option.get("rank") for option in response["values"][mapping.question]["value"]}
    texts, ranks = [], []
    for option, field in mapping.responses.items():
        text = response_in(fields.get(field), field, reading)
        if text is not None:
            texts.append(text)
            ranks.append(rank_in(given.get(option), mapping.question))
    comment = (response["values"].get(mapping.comment) or {}).get("value")
    return Vote(
        place,
        prompt_in(fields.get(mapping.prompt), mapping.prompt),
        texts,
        ranks,
        names.get(response["user_id"]) or f"deleted-{str(response['user_id'])[:8]}",
        name,
        details={"comment": comment} if isinstance(comment, str) and comment else {},
    )


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _refused(message: str) -> LabelingError:
    return LabelingError(message, fault="request")
