"""Creates a queue's dataset on an Argilla server, and completes one whose creation was interrupted."""

from collections.abc import Mapping
from typing import Any

from labeling.argilla.client import Client
from labeling.argilla.page import METADATA, fields_of
from labeling.backend import LabelingError, Queue, Round
from labeling.questions import CORRECTION, options_of, question_settings, responses_per_task


def complete_dataset(
    client: Client, asked: Round, queue: Queue, workspace_id: str, wanted: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the queue's dataset, which annotators see from now on; a new one gets the `wanted` settings.

    Raises `LabelingError` (request) for a dataset of that name with other fields or questions.
    """
    name = queue.name
    dataset = client.dataset(workspace_id, name)
    if dataset is None:
        body = {"name": name, "workspace_id": workspace_id, "allow_extra_metadata": False, **wanted}
        dataset = client.post("/datasets", f"make dataset '{name}'", body)
    parts = {
        "fields": fields_of(asked.question),
        "questions": question_settings(asked.question, responses_per_task(asked.question, queue.tasks)),
        "metadata-properties": METADATA,
    }
    for part, settings in parts.items():
        _set_up(client, dataset, part, settings)
    if dataset["status"] == "draft":
        client.put(f"/datasets/{dataset['id']}/publish", f"open dataset '{name}'")
    return dataset


def _set_up(client: Client, dataset: Mapping[str, Any], part: str, wanted: list[dict[str, Any]]) -> None:
    """Add missing parts of a dataset. Raises `LabelingError` if its parts differ from the wanted ones."""
    owner = "/me" if part == "metadata-properties" else ""
    doing = f"set up dataset '{dataset['name']}'"
    there = client.get(f"{owner}/datasets/{dataset['id']}/{part}", doing)["items"]
    names = {settings["name"] for settings in there}
    missing = [settings for settings in wanted if settings["name"] not in names]
    if dataset["status"] == "draft":
        for settings in missing:
            there.append(client.post(f"/datasets/{dataset['id']}/{part}", doing, settings))
    if options_of(there) != options_of(wanted):
        raise LabelingError(
            f"Dataset '{dataset['name']}' at {client.url} has other {part.replace('-', ' ')} than this round: "
            f"{', '.join(sorted(names))}. It is not changed. Rename or delete it there, or use another project.",
            fault="request",
        )


def correction_of(client: Client, dataset: Mapping[str, Any]) -> str:
    """Return the id of the question that is prefilled with the draft."""
    doing = f"read the questions of dataset '{dataset['name']}'"
    questions = client.get(f"/datasets/{dataset['id']}/questions", doing)["items"]
    return next(str(question["id"]) for question in questions if question["name"] == CORRECTION)
