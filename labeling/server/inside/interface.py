"""Checks at every start that the installed Argilla has all names that our code relies on, with a clear message."""

import inspect
from collections.abc import Iterator
from typing import Any

VERSION = "2.8.0"

ENGINE = {
    "close", "compute_metrics_for", "configure_metadata_property", "create_index", "delete_index",
    "delete_record_response", "delete_record_suggestion", "delete_records", "get_dataset_progress",
    "get_dataset_user_progress", "index_records", "info", "new_instance", "partial_record_update", "ping", "search",
    "similarity_search", "update_record_response", "update_record_suggestion",
}  # fmt: skip


class Mismatch(Exception):
    """The installed Argilla differs from the one that our code was written for."""


def check(engine: type) -> None:
    """Raise `Mismatch` that names every difference."""
    faults = [*_faults_of_version(), *_faults_of_engines(engine), *_faults_of_queues(), *_faults_of_routes()]
    faults += [*_faults_of_functions(), *_faults_of_columns()]
    if faults:
        raise Mismatch(f"the installed argilla-server is not the one this was written for: {'; '.join(faults)}.")


def _faults_of_version() -> Iterator[str]:
    from argilla_server import _version

    if _version.__version__ != VERSION:
        yield f"its version is {_version.__version__}, not {VERSION}"


def _faults_of_engines(engine: type) -> Iterator[str]:
    from argilla_server.search_engine import SearchEngine

    abstract = set(SearchEngine.__abstractmethods__)
    if abstract != ENGINE:
        yield f"its search engines have other methods ({', '.join(sorted(abstract ^ ENGINE))})"
    if missing := set(getattr(engine, "__abstractmethods__", ())):
        yield f"ours lacks {', '.join(sorted(missing))}"


def _faults_of_queues() -> Iterator[str]:
    from argilla_server.api.handlers.v1 import jobs
    from argilla_server.jobs import queues

    for queue in ("DEFAULT_QUEUE", "HIGH_QUEUE"):
        if not _takes(getattr(getattr(queues, queue, None), "enqueue_call", None), "func", "args", "kwargs"):
            yield f"{queue} cannot be queued to"
    if not callable(getattr(getattr(queues, "REDIS_CONNECTION", None), "ping", None)):
        yield "its Redis connection cannot be pinged"
    if not hasattr(jobs, "Job"):
        yield "its job handler does not fetch jobs"


def _faults_of_routes() -> Iterator[str]:
    from argilla_server.api.routes import api_v1

    from . import answers, logins, views
    from .queues import ENDPOINTS as OF_QUEUES
    from .routes import has_route

    wrapped = ((method, path) for method, path, _ in (*views.ENDPOINTS, *OF_QUEUES))
    ours = [answers.CREATE, logins.ENDPOINT, *wrapped]
    yield from (f"it has no {' '.join(endpoint)}" for endpoint in ours if not has_route(api_v1, *endpoint))


def _faults_of_functions() -> Iterator[str]:
    from argilla_server.contexts import datasets, distribution
    from argilla_server.models import database as models
    from argilla_server.webhooks.v1 import records, responses

    from .answers import STATUS

    for module, name in ((records, "build_record_event"), (responses, "build_response_event"), (models, "TypeAdapter")):
        if not callable(getattr(module, name, None)):
            yield f"{module.__name__} has no {name}"
    for name in ("update_response", "upsert_response", "delete_response"):
        if not _takes(getattr(datasets, name, None), "db", "search_engine"):
            yield f"its {name} takes other arguments"
    if not _takes(getattr(distribution, STATUS, None), "db", "record"):
        yield f"its {STATUS} takes other arguments"


def _faults_of_columns() -> Iterator[str]:
    from argilla_server.models import Dataset, Record, Response

    columns = {
        Record: ("fields", "metadata_", "status", "external_id", "dataset_id", "inserted_at", "updated_at"),
        Response: ("values", "status", "record_id", "user_id"),
        Dataset: ("distribution", "metadata_", "workspace_id"),
    }
    for model, names in columns.items():
        yield from (f"{model.__name__} has no {name}" for name in names if not hasattr(model, name))


def _takes(function: Any, *names: str) -> bool:
    return callable(function) and set(names) <= set(inspect.signature(function).parameters)
