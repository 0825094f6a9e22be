"""Label Studio's JSON export: tasks with annotations of the tags Ranker or Pairwise. Pure.

Ranker     value.ranker = {name: [ids in order]}, best first, of a list of items with an id each. Without buckets a
           Ranker cannot say ties. With buckets, items in one bucket are tied; which bucket is better, the export does
           not say, so it must be given.
Pairwise   value.selected = "left" or "right", about the two names in `to_name`; it cannot say ties either. A project
           that asks for them has a Choices tag beside it: the choice that means "equal" must be given.

Annotators are `annotator<id>`: exports may hold e-mail addresses, and rankings hold pseudonyms. Text areas are
comments. Cancelled annotations are skipped tasks; drafts and predictions are nobody's ranking. Sources: labelstud.io,
"Label Studio task format", tags Ranker, List and Pairwise.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from labeling.exchange.columns import Columns
from labeling.exchange.faults import Faults
from labeling.exchange.judgements import Judgement, prompt_in, ranks_row

_UNSORTED = "_"  # the column of what was put into no bucket


def looks_like(row: object) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("data"), Mapping)


def read_label_studio(rows: Iterable[tuple[str, Any]], columns: Columns, faults: Faults) -> Iterator[Judgement]:
    """(place, task) -> judgements. Tasks without annotations give none."""
    for place, task in rows:
        if not looks_like(task):
            faults.add(place, "data", "is missing: give the export named JSON (not JSON-MIN)")
            continue
        annotations = task.get("annotations", [])
        if not isinstance(annotations, list):
            faults.add(place, "annotations", "must be a list: give the export named JSON (not JSON-MIN)")
            continue
        field = columns.prompt or "prompt"
        prompt = prompt_in(task["data"].get(field), place, f"data.{field}", faults) if annotations else None
        for index, annotation in enumerate(annotations):
            where = f"annotations[{index}]"
            if not isinstance(annotation, Mapping) or not isinstance(annotation.get("result"), list):
                faults.add(place, where, "must be an object with a list 'result'")
            elif prompt is not None and not annotation.get("was_cancelled"):
                name = task["data"].get(columns.id) if columns.id else task.get("id")
                found = _judged(task["data"], annotation, columns, place, where, faults)
                annotator = _annotator(annotation.get("completed_by"))
                if annotator is None:
                    faults.add(place, f"{where}.completed_by", "says nobody")
                elif found is not None:
                    responses, ranks = found
                    given = ranks_row(annotator, ranks, _comment(annotation["result"]))
                    yield Judgement(place, None if name is None else str(name), prompt, responses, given)


def _judged(
    data: Mapping[str, Any], annotation: Mapping[str, Any], columns: Columns, place: str, where: str, faults: Faults
) -> tuple[list[str], list[int]] | None:
    """Responses and ranks of one annotation."""
    results = [result for result in annotation["result"] if isinstance(result, Mapping)]
    kinds = {kind: [result for result in results if result.get("type") == kind] for kind in ("ranker", "pairwise")}
    tied = [result for result in results if columns.tie and columns.tie in _value(result, "choices")]
    if kinds["ranker"]:
        return _ranked(data, kinds["ranker"][0].get("value"), columns, place, where, faults)
    if kinds["pairwise"] or tied:
        return _paired(data, (kinds["pairwise"] or tied)[0], bool(tied), columns, place, where, faults)
    hint = "" if columns.tie else " (if a choice says that both are equal, name it: --tie)"
    faults.add(place, f"{where}.result", f"has neither a ranker nor a pairwise result{hint}")
    return None


def _ranked(
    data: Mapping[str, Any], value: object, columns: Columns, place: str, where: str, faults: Faults
) -> tuple[list[str], list[int]] | None:
    field = columns.responses[0] if columns.responses else "items"
    items = data.get(field)
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        items = []
    texts = {str(item["id"]): _text(item) for item in items if "id" in item}
    ranker = value.get("ranker") if isinstance(value, Mapping) else None
    if not items or len(texts) < len(items) or any(text is None for text in texts.values()):
        faults.add(place, f"data.{field}", "must be a list of items, each with its own id, and a body, html or title")
        return None
    if not isinstance(ranker, Mapping) or not all(isinstance(ids, list) for ids in ranker.values()):
        faults.add(place, f"{where}.result", "a ranker's value must be lists of ids")
        return None
    order = _order({name: [str(id_) for id_ in ids] for name, ids in ranker.items()}, columns.buckets)
    if isinstance(order, str):
        faults.add(place, f"{where}.result", order)
        return None
    ranks: dict[str, int] = {}
    for tie in order:
        rank = len(ranks) + 1
        ranks |= dict.fromkeys(tie, rank)
    if sum(map(len, order)) != len(texts) or ranks.keys() != texts.keys():
        faults.add(place, f"{where}.result", f"ranks {sorted(ranks)}, but the items are {sorted(texts)}")
        return None
    return [str(text) for text in texts.values()], [ranks[name] for name in texts]


def _order(ranker: Mapping[str, list[str]], buckets: Sequence[str]) -> list[list[str]] | str:
    """The items from best to worst, tied ones together; or what is wrong."""
    filled = {name: ids for name, ids in ranker.items() if ids}
    if not buckets:
        if len(ranker) > 1:
            return (
                f"has the buckets {', '.join(ranker)}: say which are better, best first: --buckets {','.join(ranker)}"
            )
        return [[name] for ids in filled.values() for name in ids]
    if unknown := sorted(filled.keys() - set(buckets)):
        named = "items in no bucket" if unknown == [_UNSORTED] else f"the bucket {', '.join(unknown)}"
        return f"has {named}, which --buckets does not name"
    return [filled[name] for name in buckets if name in filled]


def _paired(
    data: Mapping[str, Any],
    result: Mapping[str, Any],
    tied: bool,
    columns: Columns,
    place: str,
    where: str,
    faults: Faults,
) -> tuple[list[str], list[int]] | None:
    names = list(columns.responses) or str(result.get("to_name", "")).split(",")
    if len(names) != 2 and tied:
        names = ["answer1", "answer2"]  # a Choices tag is about one of them; these are the template's names
    responses = [data.get(name) for name in names]
    if len(names) != 2 or not all(isinstance(text, str) for text in responses):
        faults.add(
            place, "data", f"has no two texts {' and '.join(names)}: name them, left one first: --response-fields"
        )
        return None
    ranks = {"left": [1, 2], "right": [2, 1]}.get(_value(result, "selected"))
    if tied:
        ranks = [1, 1]
    if ranks is None:
        faults.add(place, f"{where}.result", "a pairwise value must say left or right in 'selected'")
        return None
    return [str(text) for text in responses], ranks


def _annotator(completed_by: object) -> str | None:
    number = completed_by.get("id") if isinstance(completed_by, Mapping) else completed_by
    return f"annotator{number}" if isinstance(number, int | str) and number != "" else None


def _comment(results: Sequence[Any]) -> str:
    said = [
        _value(result, "text") for result in results if isinstance(result, Mapping) and result.get("type") == "textarea"
    ]
    return "\n".join(line for text in said for line in ([text] if isinstance(text, str) else text))


def _value(result: Mapping[str, Any], key: str) -> Any:
    value = result.get("value")
    return value.get(key, "") if isinstance(value, Mapping) else ""


def _text(item: Mapping[str, Any]) -> str | None:
    return next((item[key] for key in ("body", "html", "title") if isinstance(item.get(key), str)), None)
