"""Single marked answers: good or bad (KTO) or with a score; and their pooling into votes per prompt."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from labeling.codes import canonical, is_number, mark_of_word
from labeling.exchange.columns import plain
from labeling.records import ranks_from_scores
from labeling.votes import Cause, Vote, normalized_text, prompt_key
from pipeline.data.faults import LeftOut
from pipeline.data.formats.coded import Coded, mark_in
from pipeline.data.formats.columns import answer_turn, asked_turns, history_in, is_blank, prompt_in
from pipeline.data.formats.conversations import Row, Turns, in_order, turns_in, turns_of_row
from pipeline.data.formats.flags import marked_turns
from pipeline.data.formats.judgement import Marked, annotator_in, response_in, when_in
from pipeline.data.formats.pairs import answered
from pipeline.data.formats.watching import note

POOLED_ANNOTATOR = "label"
"""The annotator name of votes pooled from the marks of several or unnamed people."""

MARKED_BAD = "the answer was marked as bad"
_UNMARKED = "the answer is marked neither as good nor as bad"

CONVERSATION_COLUMNS = ("messages", "conversations", "conversation")

LABELS = ("label", "kto_tag", "desirable", "is_desirable")
"""Columns with KTO's marks."""

PlaceT = TypeVar("PlaceT")


def kto(row: Row) -> list[Turns]:
    """A prompt, its completion and a label, or whole messages with a label. Only good answers are demonstrations.

    Raises LeftOut for the rest.
    """
    column = label_column(row) or "label"
    note(row, "judgement", column)
    _check_marked_good(row, column)
    whole = _conversation(row)
    if whole:
        note(row, "turns", whole)
        return [turns_of_row(row, whole, turns_in(marked_turns(row, whole), whole), "id")]
    asked = [*history_in(row), *asked_turns(row, "prompt")]
    return [answered(row, "prompt + completion", asked, [answer_turn(row, "completion")])]


def kto_mark(row: Row) -> list[Marked]:
    """prompt, completion and label, or whole messages with a label, as a marked answer."""
    column = label_column(row) or "label"
    good = mark_in(row, column)
    if good is None:
        raise LeftOut(column, None, _UNMARKED)
    note(row, "judgement", column)
    annotator, when = annotator_in(row, (column,)), when_in(row)
    whole = _conversation(row)
    if whole:
        note(row, "prompt", whole)
        *asked, last = in_order(turns_in(row[whole], whole), whole, "assistant")
        prompt = prompt_in(row, asked, whole)
        return [Marked(prompt, last["content"], good, annotator, when)]
    note(row, "prompt", "prompt")
    note(row, "answer", "completion")
    prompt = prompt_in(row, asked_turns(row, "prompt"), "prompt")
    return [Marked(prompt, response_in(row.get("completion"), "completion"), good, annotator, when)]


def codes_of(row: Row) -> list[Coded]:
    """The label."""
    column = label_column(row)
    return [Coded((column,), row[column], "thumb", column)] if column else []


def has_label(row: Row) -> bool:
    """Whether a completion, or a whole conversation, has a label that can be a thumb."""
    column = label_column(row)
    if column is None or not is_thumb(row[column]):
        return False
    if _conversation(row):  # the label of a whole conversation may be its topic
        return not is_blank(row[column])
    return row.keys() >= {"prompt", "completion"}


def _conversation(row: Row) -> str | None:
    return next((key for key in CONVERSATION_COLUMNS if isinstance(row.get(key), list)), None)


def label_column(row: Row) -> str | None:
    """The column in which the answer is marked, or None."""
    found = [key for key in row if plain(key) in LABELS]
    return next((key for name in LABELS for key in found if plain(key) == name), None)


def is_thumb(value: object) -> bool:
    """Whether the value can mean good or bad, or is empty; 0, 1 and -1 can."""
    if not isinstance(value, str | int | float) and value is not None:
        return False
    word = canonical(value)
    return not word or word in ("0", "1", "-1") or mark_of_word(word) is not None


def is_mark(value: object) -> bool:
    """Whether the value can be a thumb or a score, or is empty."""
    return is_thumb(value) or (isinstance(value, str | int | float) and is_number(canonical(value)))


class Grouped(NamedTuple, Generic[PlaceT]):
    """The votes pooled from marked answers, each with the places of its marks, and the marks that do not count."""

    votes: list[tuple[Vote, list[PlaceT]]]
    left_out: list[tuple[PlaceT, Marked, Cause | None]]  # without a cause: there is no other answer to compare

    def counted(self, marks: Sequence[tuple[PlaceT, Marked]]) -> list[Marked]:
        """Those of the grouped marks that no other mark by the same person on the same answer replaces."""
        replaced = {id(marked) for _, marked, cause in self.left_out if cause}
        return [marked for _, marked in marks if id(marked) not in replaced]


class _Mark(NamedTuple, Generic[PlaceT]):
    place: PlaceT
    marked: Marked


def group_marks(marks: Sequence[tuple[PlaceT, Marked]]) -> Grouped[PlaceT]:
    """Votes on the answers to each prompt: one by each named annotator who marked two of them, and one of all others.

    In the common vote, an answer's score is the mean of its marks: 5 up and 1 down beat 1 up and 5 down, and equal
    means are a tie. Of different marks by one annotator on one answer the latest counts.
    """
    prompts: dict[str, list[_Mark[PlaceT]]] = defaultdict(list)
    for place, marked in marks:
        prompts[prompt_key(marked.prompt)].append(_Mark(place, marked))
    grouped: Grouped[PlaceT] = Grouped([], [])
    for several in prompts.values():
        _group(_latest(several, grouped), grouped)
    return grouped


def _latest(marks: Sequence[_Mark[PlaceT]], grouped: Grouped[PlaceT]) -> list[_Mark[PlaceT]]:
    """The latest mark of each annotator on each answer, and all unnamed marks."""
    counted: dict[tuple[str, str], _Mark[PlaceT]] = {}
    for number, mark in enumerate(marks):
        name = mark.marked.annotator
        key = (normalized_text(name) if name is not None else f"\n{number}", normalized_text(mark.marked.response))
        before = counted.get(key)
        counted[key] = mark
        if before is None:
            continue
        earlier = before
        if mark.marked.when and mark.marked.when < before.marked.when:
            earlier, counted[key] = mark, before
        same = before.marked.score == mark.marked.score
        grouped.left_out.append((earlier.place, earlier.marked, "duplicate" if same else "superseded"))
    return list(counted.values())


def _group(marks: Sequence[_Mark[PlaceT]], grouped: Grouped[PlaceT]) -> None:
    """The votes on one prompt."""
    people: dict[str, list[_Mark[PlaceT]]] = defaultdict(list)
    for mark in marks:
        if mark.marked.annotator is not None:
            people[normalized_text(mark.marked.annotator)].append(mark)
    voters = [own for own in people.values() if len(own) > 1]
    grouped.votes.extend((_vote(own, own[0].marked.annotator), [one.place for one in own]) for own in voters)
    others = [
        mark
        for mark in marks
        if mark.marked.annotator is None or len(people[normalized_text(mark.marked.annotator)]) < 2
    ]
    if len({normalized_text(mark.marked.response) for mark in others}) > 1:
        grouped.votes.append((_vote(others, POOLED_ANNOTATOR), [one.place for one in others]))
    else:
        grouped.left_out.extend((mark.place, mark.marked, None) for mark in others)


def _vote(marks: Sequence[_Mark[PlaceT]], annotator: str | None) -> Vote:
    """A vote on all marked answers: the highest mean mark is best, equal means are a tie."""
    scores: dict[str, list[float]] = defaultdict(list)
    texts: dict[str, str] = {}
    for mark in marks:
        key = normalized_text(mark.marked.response)
        texts.setdefault(key, mark.marked.response)
        scores[key].append(mark.marked.score)
    means = [sum(own) / len(own) for own in scores.values()]
    ranks = ranks_from_scores(means, tie_width=1e-9)
    return Vote(None, marks[0].marked.prompt, list(texts.values()), ranks, annotator)


def _check_marked_good(row: Mapping[str, object], column: str) -> None:
    """Raise LeftOut unless the column marks the answer as good."""
    good = mark_in(row, column)
    if not good:
        raise LeftOut(column, "assistant", _UNMARKED if good is None else MARKED_BAD)
