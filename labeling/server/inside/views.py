"""Limits annotators to their own answers: some of Argilla's endpoints show those of others.

`GET /records/{id}` returns all responses and all metadata, two endpoints return the names of all annotators who have
answered, and a search accepts filters and sort keys on hidden metadata, which can reveal its values. Owners and admins
see everything, as in Argilla.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from argilla_server.api.handlers.v1.datasets.datasets import _filter_metadata_properties_by_policy as visible
from argilla_server.api.policies.v1 import RecordPolicy, is_authorized
from argilla_server.api.routes import api_v1
from argilla_server.api.schemas.v1.records import MetadataFilterScope, SearchRecordsQuery
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import Dataset, Record, User
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.attributes import set_committed_value

from .routes import route

Endpoint = Callable[..., Awaitable[Any]]


def show_only_own_answers() -> None:
    """Wrap the endpoints that show other annotators' data."""
    for method, path, wrap in ENDPOINTS:
        dependant = route(api_v1, method, path).dependant
        dependant.call = wrap(dependant.call)


def _after(reduce: Callable[[Any, User], Awaitable[Any]]) -> Callable[[Endpoint], Endpoint]:
    """Return a wrapper that reduces an endpoint's result for annotators."""

    def wrap(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def answer(*, current_user: User, **given: Any) -> Any:
            found = await endpoint(current_user=current_user, **given)
            return await reduce(found, current_user) if current_user.is_annotator else found

        return answer

    return wrap


async def _own_record(record: Record, user: User) -> Record:
    await record.dataset.awaitable_attrs.metadata_properties
    names = [
        name for name in record.metadata_ or {} if await is_authorized(user, RecordPolicy.get_metadata(record, name))
    ]
    # committed values, so that SQLAlchemy never writes the reduced ones
    set_committed_value(record, "metadata_", {name: record.metadata_[name] for name in names})
    set_committed_value(record, "responses", [given for given in record.responses if given.user_id == user.id])
    return record


async def _own_progress(progress: Any, user: User) -> Any:
    """Keep the counts of a dataset's progress, and remove the names of other people."""
    progress.users = [person for person in progress.users if person.username == user.username]
    return progress


def _with_visible_metadata(endpoint: Endpoint) -> Endpoint:
    """Return a wrapper that refuses a search by hidden metadata, with the message for missing metadata."""

    @functools.wraps(endpoint)
    async def answer(*, current_user: User, **given: Any) -> Any:
        if current_user.is_annotator and (names := _metadata(given["body"])):
            options = [selectinload(Dataset.metadata_properties)]
            dataset = await Dataset.get_or_raise(given["db"], given["dataset_id"], options=options)
            there = {each.name for each in await visible(current_user, dataset.metadata_properties)}
            if hidden := sorted(names - there):
                raise UnprocessableEntityError(
                    f"MetadataProperty not found filtering by name={hidden[0]}, dataset_id={dataset.id}"
                )
        return await endpoint(current_user=current_user, **given)

    return answer


def _metadata(query: SearchRecordsQuery) -> set[str]:
    """Return the names of the metadata that a query filters or sorts by."""
    parts = [*((query.filters and query.filters.and_) or []), *(query.sort or [])]
    return {part.scope.metadata_property for part in parts if isinstance(part.scope, MetadataFilterScope)}


ENDPOINTS: list[tuple[str, str, Callable[[Endpoint], Endpoint]]] = [
    ("GET", "/records/{record_id}", _after(_own_record)),
    ("GET", "/datasets/{dataset_id}/progress", _after(_own_progress)),
    ("GET", "/datasets/{dataset_id}/users/progress", _after(_own_progress)),
    ("POST", "/me/datasets/{dataset_id}/records/search", _with_visible_metadata),
]
