"""Turns Argilla's filters, sort keys and queries into SQL conditions on `records` (with SQLite's JSON functions)."""

import shlex
from typing import Any, TypeAlias

import sqlalchemy as sa
from argilla_server.enums import ResponseStatusFilter, SortOrder
from argilla_server.models import Question, Record, Response, Suggestion
from argilla_server.search_engine import (
    AndFilter,
    MetadataFilterScope,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SuggestionFilterScope,
    TermsFilter,
)

Condition: TypeAlias = Any  # sa.ColumnElement[bool]; the type checker's environment has no SQLAlchemy


def condition(filter: Any) -> Condition:
    """Return a filter as a condition on a record. Raises ValueError (HTTP 422) for an unknown filter."""
    if isinstance(filter, AndFilter):
        return sa.and_(sa.true(), *[condition(part) for part in filter.filters])
    scope = filter.scope
    if isinstance(scope, RecordFilterScope):
        return _meets(getattr(Record, scope.property), filter)
    if isinstance(scope, MetadataFilterScope):
        return _any_value(Record.metadata_, _path(scope.metadata_property), filter)
    if isinstance(scope, SuggestionFilterScope):
        return _suggestion(filter, scope)
    if isinstance(scope, ResponseFilterScope) and scope.question:
        answered = _response(scope).where(_any_value(Response.values, f"{_path(scope.question)}.value", filter))
        return answered.exists()
    if isinstance(scope, ResponseFilterScope) and scope.property == "status" and isinstance(filter, TermsFilter):
        return _response_status(filter, scope)
    raise ValueError(f"This server cannot filter by {scope}")


def ordering(key: Any) -> Any:
    """Return a sort key as an SQL ordering; records without a value come last, in both directions.

    Raises ValueError for an unknown key.
    """
    scope = key.scope
    if isinstance(scope, RecordFilterScope):
        column: Any = getattr(Record, scope.property)
    elif isinstance(scope, MetadataFilterScope):
        column = sa.func.json_extract(Record.metadata_, _path(scope.metadata_property))
    elif isinstance(scope, SuggestionFilterScope):
        value = sa.func.json_extract(Suggestion.value, "$")
        field = value if scope.property == "value" else getattr(Suggestion, scope.property)
        column = sa.select(field).select_from(Suggestion).join(Question).where(_suggested(scope)).correlate(Record)
        column = column.limit(1).scalar_subquery()
    elif isinstance(scope, ResponseFilterScope) and scope.question:
        value = sa.func.json_extract(Response.values, f"{_path(scope.question)}.value")
        column = _response(scope).with_only_columns(sa.func.avg(value)).scalar_subquery()
    else:
        raise ValueError(f"This server cannot sort by {scope}")
    return (column.desc() if key.order == SortOrder.desc else column.asc()).nulls_last()


def text_condition(query: Any) -> Condition:
    """Return the condition that every term occurs in the fields, or in the named field; one with - must not occur."""
    text, field = (query, None) if isinstance(query, str) else (query.q, query.field)
    path = _path(field) if field else "$"
    terms = [(term.removeprefix("-"), term.startswith("-") and len(term) > 1) for term in _terms(text)]
    return sa.and_(sa.true(), *[~_occurs(term, path) if negated else _occurs(term, path) for term, negated in terms])


def _terms(text: str) -> list[str]:
    try:
        return shlex.split(text.replace("'", r"\'"))
    except ValueError:  # an unpaired quotation mark
        return text.replace('"', " ").split()


def _occurs(term: str, path: str) -> Condition:
    leaf = sa.func.json_tree(Record.fields, path).table_valued("atom", "type", "key").alias()
    found = (
        sa.select(sa.literal(1))
        .select_from(leaf)
        .where(leaf.c.type == "text", leaf.c.atom.icontains(term, autoescape=True))
    )
    return found.where(sa.func.coalesce(leaf.c.key, "") != "role").exists()  # roles of a chat are not text


def _response(scope: ResponseFilterScope) -> sa.Select[Any]:
    """Select the record's responses, or only that of the requesting user."""
    responses = sa.select(Response.id).where(Response.record_id == Record.id).correlate(Record)
    return responses.where(Response.user_id == scope.user.id) if scope.user else responses


def _response_status(filter: TermsFilter, scope: ResponseFilterScope) -> Condition:
    """Return a condition on the response's status; pending means no response of this user, not even a draft."""
    statuses = [status for status in filter.values if status != ResponseStatusFilter.pending]
    given = _response(scope).where(Response.status.in_(statuses)).exists()
    if len(statuses) == len(filter.values):
        return given
    pending = ~_response(scope).exists()
    return sa.or_(pending, given) if statuses else pending


def _suggested(scope: SuggestionFilterScope) -> Condition:
    return sa.and_(Suggestion.record_id == Record.id, Question.name == scope.question)


def _suggestion(filter: Any, scope: SuggestionFilterScope) -> Condition:
    if scope.property == "value":
        meets = _any_value(Suggestion.value, "$", filter)
    else:
        meets = _meets(getattr(Suggestion, scope.property), filter)
    found = sa.select(Suggestion.id).join(Question).where(_suggested(scope), meets)
    return found.correlate(Record).exists()


def _any_value(column: Any, path: str, filter: Any) -> Condition:
    """Return the condition that the value at a JSON path, or a value of the list there, meets the filter."""
    value = sa.func.json_each(column, path).table_valued("value").alias()
    return sa.select(sa.literal(1)).select_from(value).where(_meets(value.c.value, filter)).exists()


def _meets(column: Any, filter: Any) -> Condition:
    if isinstance(filter, TermsFilter):
        as_text = sa.cast(column, sa.Text)
        return as_text.in_([str(value) for value in filter.values])
    if isinstance(filter, RangeFilter):
        bounds = [column >= filter.ge] if filter.ge is not None else []
        bounds += [column <= filter.le] if filter.le is not None else []
        return sa.and_(sa.true(), *bounds)
    raise ValueError(f"This server cannot filter by {type(filter).__name__}")


def _path(name: str) -> str:
    """Return the JSON path of a key, in double quotes for SQLite."""
    return f'$."{name}"'
