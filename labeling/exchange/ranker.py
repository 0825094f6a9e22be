"""Converts the order of items from Label Studio's Ranker to ranks. Pure functions."""

from collections.abc import Mapping
from typing import Any

from labeling.exchange.columns import Columns
from labeling.exchange.reading import Unusable

_UNSORTED = "_"  # the column of items without a bucket


def ranked_items(items: object, value: object, field: str, columns: Columns) -> tuple[list[str], list[int]]:
    """The items' texts and their ranks, in the items' order. Raises Unusable."""
    found = items if isinstance(items, list) and all(isinstance(item, Mapping) for item in items) else []
    texts = {str(item["id"]): text for item in found if "id" in item and (text := _text(item)) is not None}
    if not found or len(texts) < len(found):
        raise Unusable(f"data.{field}", "must be a list of items, each with its own id, and a body, html or title")
    ranker = value.get("ranker", value) if isinstance(value, Mapping) else None
    if not isinstance(ranker, Mapping) or not all(isinstance(ids, list) for ids in ranker.values()):
        raise Unusable("result", "a ranker's value must be lists of ids", value)
    order = _order({name: [str(id_) for id_ in ids] for name, ids in ranker.items()}, columns)
    ranks: dict[str, int] = {}
    for tie in order:
        ranks |= dict.fromkeys(tie, len(ranks) + 1)
    if sum(map(len, order)) != len(texts) or ranks.keys() != texts.keys():
        raise Unusable("result", "does not rank each of the items once", sorted(ranks))
    return list(texts.values()), [ranks[name] for name in texts]


def _order(ranker: Mapping[str, list[str]], columns: Columns) -> list[list[str]]:
    """The items from best to worst, grouped by ties."""
    buckets, option = columns.buckets, columns.options.buckets
    filled = {name: ids for name, ids in ranker.items() if ids}
    if not buckets:
        if len(ranker) > 1:
            names = ",".join(ranker)
            raise Unusable("result", f"has buckets: give their order, best first: {option} {names}")
        return [[name] for ids in filled.values() for name in ids]
    if unknown := sorted(filled.keys() - set(buckets)):
        named = "items in no bucket" if unknown == [_UNSORTED] else f"the bucket {', '.join(unknown)}"
        raise Unusable("result", f"has {named}, which {option} does not name")
    return [filled[name] for name in buckets if name in filled]


def _text(item: Mapping[str, Any]) -> str | None:
    return next((item[key] for key in ("body", "html", "title") if isinstance(item.get(key), str)), None)
