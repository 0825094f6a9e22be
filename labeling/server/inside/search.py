"""A search engine for Argilla on its own SQL tables, which is enough for thousands of records.

It gives the results of Argilla's Elasticsearch engine, with three differences.

*Order of the pending queue* (`pending`). Argilla shuffles it for each annotator, so overlap fills slowly: with 800
records, two annotators rarely answer the same one. Here, records that need few answers more come first.

*Text* matches parts of words, not only whole words: every term of the query must occur; "in quotes" is a phrase, and a
term with a leading minus must not occur.

*Similarity* search is refused.
"""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from argilla_server.enums import MetadataPropertyType
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import Dataset, MetadataProperty, Record, Response, User
from argilla_server.search_engine import (
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    TermsMetrics,
)

from . import pending
from .conditions import condition, ordering, text_condition


@SearchEngine.register("sql")
class SqlSearchEngine(SearchEngine):
    """A search engine that writes nothing, since the tables are the index."""

    @classmethod
    async def new_instance(cls) -> "SqlSearchEngine":
        return cls()

    async def close(self) -> None: ...

    async def ping(self) -> bool:
        return True

    async def info(self) -> dict[str, str]:
        return {"name": "sql", "version": sa.__version__}

    async def create_index(self, dataset: Dataset) -> None: ...

    async def delete_index(self, dataset: Dataset) -> None: ...

    async def configure_metadata_property(self, dataset: Dataset, metadata_property: MetadataProperty) -> None: ...

    async def index_records(self, dataset: Dataset, records: Any) -> None: ...

    async def partial_record_update(self, record: Record, **update: Any) -> None: ...

    async def delete_records(self, dataset: Dataset, records: Any) -> None: ...

    async def update_record_response(self, response: Response) -> None: ...

    async def delete_record_response(self, response: Response) -> None: ...

    async def update_record_suggestion(self, suggestion: Any) -> None: ...

    async def delete_record_suggestion(self, suggestion: Any) -> None: ...

    async def get_dataset_progress(self, dataset: Dataset) -> dict[str, int]:
        """Return the number of records in `total` and by status; empty for a draft."""
        if dataset.is_draft:
            return {}
        return await _counts(dataset, sa.select(Record.status).where(Record.dataset_id == dataset.id))

    async def get_dataset_user_progress(self, dataset: Dataset, user: User) -> dict[str, int]:
        """Return the number of one user's answers in `total` and by status; empty for a draft."""
        if dataset.is_draft:
            return {}
        mine = sa.select(Response.status).join(Record).where(Record.dataset_id == dataset.id)
        return await _counts(dataset, mine.where(Response.user_id == user.id))

    async def search(
        self,
        dataset: Dataset,
        query: Any = None,
        filter: Any = None,
        sort: Any = None,
        offset: int = 0,
        limit: int = 100,
        user_id: UUID | None = None,
    ) -> SearchResponses:
        """Return the ids of a page of records that match query and filter, and their total number.

        `user_id` is the requesting user; with a filter for pending records, the page is leased to that user.
        """
        where = [Record.dataset_id == dataset.id]
        if query is not None:
            where.append(text_condition(query))
        if filter is not None:
            where.append(condition(filter))
        db, person = _session(dataset), user_id if not sort and pending.is_asked(filter) else None
        if person:
            found = await pending.page(db, dataset, where, f"{query} {filter}", person, offset, limit)
        else:
            order = [*[ordering(key) for key in sort or []], *pending.PUBLISHED]
            found = await db.scalars(sa.select(Record.id).where(*where).order_by(*order).offset(offset).limit(limit))
        if person and query is None and pending.is_all_that_is_asked(filter):
            total = (await pending.counts(db, [dataset.id], person))[dataset.id]
        else:
            total = await db.scalar(sa.select(sa.func.count()).select_from(Record).where(*where))
        return SearchResponses(items=[SearchResponseItem(record_id=record) for record in found], total=total)

    async def similarity_search(self, *arguments: Any, **options: Any) -> SearchResponses:
        raise UnprocessableEntityError(
            "This server has no similarity search; Argilla with Elasticsearch or OpenSearch has."
        )

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> Any:
        """Return the count of each term, or the smallest and the largest number."""
        path = f'$."{metadata_property.name}"'
        if metadata_property.type == MetadataPropertyType.terms:
            value = sa.func.json_each(Record.metadata_, path).table_valued("value").alias("term")
            terms = sa.select(sa.cast(value.c.value, sa.Text)).select_from(Record).join(value, sa.true())
            terms = terms.where(Record.dataset_id == metadata_property.dataset_id, value.c.value.is_not(None))
            counts = await _counts(metadata_property, terms)
            total = counts.pop("total")
            values = [TermsMetrics.TermCount(term=term, count=count) for term, count in counts.items()]
            return TermsMetrics(total=total, values=values)
        number = sa.func.json_extract(Record.metadata_, path)
        extent = sa.select(sa.func.min(number), sa.func.max(number))
        extent = extent.where(Record.dataset_id == metadata_property.dataset_id)
        least, most = (await _session(metadata_property).execute(extent)).one()
        whole = metadata_property.type == MetadataPropertyType.integer
        return (IntegerMetadataMetrics if whole else FloatMetadataMetrics)(min=least, max=most)


def _session(of: Any) -> Any:
    """Return the request's session, which has loaded this object: a second one would need a second connection."""
    return of.current_async_session


async def _counts(of: Any, values: Any) -> dict[str, int]:
    """Return `total` and the count of each value in a column, most frequent first; uses the session of `of`."""
    column = values.subquery().c[0]
    rows = sa.select(column, sa.func.count()).group_by(column).order_by(sa.func.count().desc(), column)
    counts = {getattr(value, "value", value): count for value, count in await _session(of).execute(rows)}
    return {"total": sum(counts.values()), **counts}
