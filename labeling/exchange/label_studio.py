"""Label Studio's JSON export: tasks with annotations of the tags Ranker, Pairwise or Choices. Pure.

Ranker     value.ranker = {name: [ids in order]}, best first, of a list of items with an id each. Without buckets a
           Ranker has no ties. With buckets, items in one bucket are tied; the order of the buckets is not in the export
           and must be given.
Pairwise   value.selected = "left" or "right", about the two names in `to_name`; it has no ties either. A project with
           ties has a Choices tag beside it.
Choices    value.choices = [choice], about two responses; the meanings of choices are settled over the whole file.

Annotators are `annotator<id>`: exports may hold e-mail addresses, and rankings hold pseudonyms. Text areas are
comments. Cancelled annotations are skipped tasks; drafts and predictions are not rankings. JSON-MIN and CSV
exports have a flat row per annotation. Sources: labelstud.io, "Label Studio task format", tags Ranker, List, Pairwise.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from labeling.codes import canonical, choice_of_word
from labeling.exchange.cells import annotator_in, is_absent, prompt_in, response_in
from labeling.exchange.choices import RANKS_OF, settle_verdicts, verdict_word
from labeling.exchange.columns import CONTEXT_NAMES, SYSTEMS, TABLE_PROMPT_NAMES, Columns, first_of, numbered_responses
from labeling.exchange.ranker import ranked_items
from labeling.exchange.reading import Reading, Row, Rows, Unusable, listed, refuse
from labeling.exchange.times import times_in
from labeling.votes import Vote

NUMBERED = "annotator"  # prefix of an account's number
UNDECIDED = "the verdict is neither a preference nor a tie"


class _Given(NamedTuple):
    """One annotation that counts, with its task."""

    place: object
    task: Row
    annotation: Mapping[str, Any]
    results: list[Mapping[str, Any]]

    def value(self, kind: str) -> Any:
        """The first value of a tag, or None."""
        return next((result.get("value") for result in self.results if result.get("type") == kind), None)


def is_task(row: object) -> bool:
    """Whether a row is a task of the JSON export."""
    return isinstance(row, Mapping) and isinstance(row.get("data"), Mapping)


def is_flat(row: Mapping[str, Any]) -> bool:
    """Whether a row is a line of JSON-MIN or of the CSV export."""
    return row.keys() >= {"annotator", "annotation_id"}


def read_label_studio(rows: Rows, columns: Columns, reading: Reading) -> None:
    """Add the votes of tasks; tasks without annotations have none. Raises LabelingError if choices are unclear."""
    given = _with_one_tag_each([one for place, task in rows for one in _annotations(place, task, reading)], columns)
    words = [verdict_word(one.value("choices")) for one in given]
    alone = [
        word for one, word in zip(given, words, strict=True) if not one.value("ranker") and not one.value("pairwise")
    ]
    meanings: Mapping[str, str] = settle_verdicts(alone, columns, "choices")
    times = times_in([one.annotation.get("updated_at") or one.annotation.get("created_at") for one in given])
    for index, (one, word) in enumerate(zip(given, words, strict=True)):
        if meanings.get(word) == "none" and not one.value("ranker") and not one.value("pairwise"):
            reading.leave_out(one.place, "choices", UNDECIDED, one.task)
            continue
        reading.rows += 1
        try:
            texts, ranks = _ranked(one, word, meanings, columns, reading)
            reading.votes.append(_vote(one, columns, texts, ranks, times[index] if times else "", reading))
        except Unusable as fault:
            reading.add_bad(one.place, fault, one.task)
    reading.note("annotators", "completed_by")
    fields = dict.fromkeys(f"data.{name}" for one in given for name in one.task["data"])
    read = {name for names in reading.columns.values() for name in names}
    reading.unread = tuple(name for name in fields if name not in read)


def _with_one_tag_each(given: list[_Given], columns: Columns) -> list[_Given]:
    """The annotations with the results of one tag per kind: the tag `columns.choice`, or the only one.

    Of several Choices tags the one with words for sides and ties counts. Raises LabelingError if several remain.
    """
    kept: set[tuple[str, str]] = set()
    for kind in ("ranker", "pairwise", "choices"):
        results = [result for one in given for result in one.results if result.get("type") == kind]
        names = list(dict.fromkeys(str(result.get("from_name", "")) for result in results))
        if columns.choice in names:
            names = [columns.choice]
        elif kind == "choices" and len(names) > 1:
            names = [name for name in names if _has_choice_words(results, name, columns)]
        if len(names) > 1:
            refuse(
                f"Several tags {kind} hold results: {listed(names)}. Name the one to read: {columns.options.choice}."
            )
        kept |= {(kind, name) for name in names}
    return [
        one._replace(
            results=[
                result
                for result in one.results
                if result.get("type") == "textarea" or (result.get("type"), str(result.get("from_name", ""))) in kept
            ]
        )
        for one in given
    ]


def _has_choice_words(results: list[Mapping[str, Any]], name: str, columns: Columns) -> bool:
    """Whether all choices under a name are words for a side or a tie, or have a given meaning."""
    words = {verdict_word(result.get("value")) for result in results if str(result.get("from_name", "")) == name}
    given = {canonical(word) for word in (*columns.codes, columns.tie)}
    return all(word in given or choice_of_word(word) for word in words)


def _annotations(place: object, task: Row, reading: Reading) -> list[_Given]:
    annotations = task.get("annotations", []) if is_task(task) else None
    if not isinstance(annotations, list):
        reading.rows += 1
        field = "annotations" if is_task(task) else "data"
        reading.add_bad(place, Unusable(field, "a task needs `data` and a list of `annotations`"), task)
        return []
    found = []
    for index, annotation in enumerate(annotations):
        if not isinstance(annotation, Mapping) or not isinstance(annotation.get("result"), list):
            reading.rows += 1
            fault = Unusable("annotations", "must be objects with a list 'result'", f"annotations[{index}]")
            reading.add_bad(place, fault, task)
        elif annotation.get("was_cancelled"):
            reading.leave_out(place, "was_cancelled", "the annotator skipped the task", task)
        elif not annotation["result"]:
            reading.leave_out(place, "result", "the annotation is empty", task)
        else:
            results = [result for result in annotation["result"] if isinstance(result, Mapping)]
            found.append(_Given(place, task, annotation, results))
    return found


def _vote(one: _Given, columns: Columns, texts: list[str], ranks: list[int], when: str, reading: Reading) -> Vote:
    data = one.task["data"]
    prompt = columns.prompt or first_of(data, TABLE_PROMPT_NAMES) or "prompt"
    annotator = annotator_in(one.annotation.get("completed_by"), NUMBERED)
    if annotator is None:
        raise Unusable("completed_by", "does not name the annotator")
    about, system = first_of(data, CONTEXT_NAMES), first_of(data, SYSTEMS)
    extra = None if about in (None, prompt) else data[about]
    reading.note("prompt", *(f"data.{name}" for name in (system, prompt, about) if name in data))
    name = data.get(columns.id) if columns.id else one.task.get("id")
    comment = _comment(one)
    return Vote(
        one.place,
        prompt_in(data.get(prompt), f"data.{prompt}", extra, data[system] if system else None),
        texts,
        ranks,
        annotator,
        None if is_absent(name) else str(name),
        when,
        {"comment": comment} if comment else {},
    )


def _ranked(
    one: _Given, word: str, meanings: Mapping[str, str], columns: Columns, reading: Reading
) -> tuple[list[str], list[int]]:
    """Responses and ranks of one annotation. Raises Unusable."""
    data = one.task["data"]
    if (order := one.value("ranker")) is not None:
        field = columns.responses[0] if columns.responses else "items"
        reading.note("responses", f"data.{field}")
        reading.note("ranks", "ranker")
        return ranked_items(data.get(field), order, field, columns)
    verdict = _verdict(one, word, meanings, columns)
    names = _pair(one, columns)
    found = [response_in(data.get(name), name, reading) for name in names]
    texts = [text for text in found if text is not None]
    if len(texts) != 2 or len(names) != 2:
        found_names = " and ".join(names)
        option = columns.options.responses
        raise Unusable("data", f"two responses are needed, found {found_names}: name them, left one first: {option}")
    reading.note("responses", *(f"data.{name}" for name in names))
    reading.note("verdicts", *(kind for kind in ("pairwise", "choices") if one.value(kind) is not None))
    return texts, RANKS_OF[verdict]


def _verdict(one: _Given, word: str, meanings: Mapping[str, str], columns: Columns) -> str:
    """first, second or tie; a Choices result beside the pair counts only as a tie."""
    selected = one.value("pairwise")
    if selected is None:
        verdict = meanings.get(word, "none")
        if verdict == "none":
            hint = "" if columns.tie else f" (if a choice means a tie, name it: {columns.options.tie})"
            raise Unusable("result", f"has neither a ranker nor a pairwise result nor a choice{hint}")
        return verdict
    given = {canonical(value): meaning for value, meaning in columns.codes.items()}
    is_tie = word and (word == canonical(columns.tie) or given.get(word, choice_of_word(word)) == "tie")
    side = selected.get("selected") if isinstance(selected, Mapping) else None
    verdict = "tie" if is_tie else {"left": "first", "right": "second"}.get(str(side), "")
    if not verdict:
        raise Unusable("result", "a pairwise value must say left or right in 'selected'", side)
    return verdict


def _pair(one: _Given, columns: Columns) -> list[str]:
    """The names of the two responses: from the option, the tag, or the template's usual names."""
    if columns.responses:
        return list(columns.responses)
    targets = next((str(result.get("to_name", "")) for result in one.results if result.get("type") == "pairwise"), "")
    return targets.split(",") if targets.count(",") == 1 else list(numbered_responses(one.task["data"]).values())


def _comment(one: _Given) -> str:
    values = [result.get("value") for result in one.results if result.get("type") == "textarea"]
    texts = [value.get("text", "") for value in values if isinstance(value, Mapping)]
    return "\n".join(str(line) for text in texts for line in ([text] if isinstance(text, str) else text))
