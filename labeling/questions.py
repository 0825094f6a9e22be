"""The questions for annotators in Argilla: their settings and the meaning of their answers. Pure functions.

    ranking    2 to 10 responses, each gets a rank; equal ranks are ties
    pairwise   2 responses: one is better, both are equally good, or both are bad
    rating     2 to 10 responses, 1 to 5 stars each; ranks follow from the stars
    review     1 response, a draft: it is accepted, corrected or rejected (see `labeling.reviews`)

Responses to compare are called A, B, C … on the page, so that a response's place is not mistaken for its rank. *Raw*
values have the format that Argilla's page stores and sends: a ranking is a list in the order of the options, with the
rank beside each one. Its Python client loses these ranks (argilla issue 5677), hence the raw format everywhere.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labeling.backend import Comparison, Question, Queue, Verdict
from labeling.records import Task, compare, ranks_from_scores

LETTERS = "ABCDEFGHIJ"
STARS = 5
COMMENT = "comment"
OUTCOMES = {
    "first": "A is better",
    "second": "B is better",
    "tie": "Equally good",
    "both_bad": "Both are bad",
}
REVIEW = "review"
CORRECTION = "correction"
VERDICTS: dict[Verdict, str] = {
    "accept": "Accept",
    "correct": "Accept my correction",
    "reject": "Reject",
}

Raw = dict[str, dict[str, Any]]
"""Question name -> {"value": stored value}."""


@dataclass(frozen=True)
class AnswerValues:
    """The values of one answer. Without ranks it is discarded, and its comment is the reason."""

    ranks: list[int] | None
    comment: str = ""
    both_bad: bool | None = None  # pairwise only
    ratings: list[int] | None = None  # rating only


def responses_per_task(question: Question, tasks: Sequence[Task]) -> int:
    """The number of responses per task: equal for all, since a dataset's question has fixed options.

    Raises ValueError if they differ (see `split_by_size`) or do not fit the question.
    """
    sizes = {len(task["responses"]) for task in tasks}
    if len(sizes) != 1:
        raise ValueError(f"the tasks of one queue have {sorted(sizes)} responses; they need the same number")
    size = sizes.pop()
    if question == "review":
        if size != 1:
            raise ValueError(f"a review is about one draft, but the tasks have {size} responses")
        return size
    if question == "pairwise" and size != 2:
        raise ValueError(f"pairwise questions are about 2 responses, but the tasks have {size}")
    if not 2 <= size <= len(LETTERS):
        raise ValueError(f"{question} questions are about 2 to {len(LETTERS)} responses, but the tasks have {size}")
    return size


def split_by_size(queue: Queue) -> list[Queue]:
    """Queues with one number of responses each, the largest first, which keeps the queue's name."""
    by_size: dict[int, list[Task]] = defaultdict(list)
    for task in queue.tasks:
        by_size[len(task["responses"])].append(task)
    most_first = sorted(by_size, key=lambda size: (-len(by_size[size]), -size))
    return [
        Queue(queue.name if place == 0 else f"{queue.name}-of-{size}", by_size[size], queue.overlap, queue.most)
        for place, size in enumerate(most_first)
    ]


def question_settings(question: Question, size: int) -> list[dict[str, Any]]:
    """The questions of a dataset with `size` responses per task, for Argilla's REST API."""
    letters = LETTERS[:size]
    comment = _question(
        COMMENT, "Comment (optional; if you discard: why?)", {"type": "text", "use_markdown": False}, required=False
    )
    match question:
        case "ranking":
            title = "Rank the answers: 1 is best. Equally good answers get the same rank"
            options = [{"value": letter, "text": f"Answer {letter}"} for letter in letters]
            questions = [_question("ranking", title, {"type": "ranking", "options": options})]
        case "pairwise":
            options = [{"value": value, "text": text} for value, text in OUTCOMES.items()]
            questions = [
                _question("pairwise", "Which answer is better?", {"type": "label_selection", "options": options})
            ]
        case "rating":
            stars = {"type": "rating", "options": [{"value": star + 1} for star in range(STARS)]}
            titles = {letter: f"Answer {letter}: 1 is bad, {STARS} is very good" for letter in letters}
            questions = [_question(_rating_name(letter), title, stars) for letter, title in titles.items()]
        case "review":
            options = [{"value": value, "text": text} for value, text in VERDICTS.items()]
            correction: dict[str, Any] = {"type": "text", "use_markdown": False}
            questions = [
                _question(
                    REVIEW, "Is this draft good enough to learn from?", {"type": "label_selection", "options": options}
                ),
                _question(CORRECTION, "Corrected answer: change the draft here", correction, required=False),
            ]
    return [*questions, comment]


def _question(name: str, title: str, settings: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "title": title, "required": required, "settings": settings}


def options_of(settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, tuple[Any, ...]]]:
    """The names, types and options of questions: answers are comparable if these are equal."""
    return sorted(
        (
            question["name"],
            question["settings"]["type"],
            tuple(option["value"] for option in question["settings"].get("options") or ()),
        )
        for question in settings
    )


def question_of(settings: Sequence[Mapping[str, Any]]) -> tuple[Question, int]:
    """(kind of question, number of responses) of a dataset's questions.

    Raises ValueError for questions that this project does not use.
    """
    given = options_of(settings)
    several = range(2, len(LETTERS) + 1)
    kinds: dict[Question, Sequence[int]] = {"ranking": several, "pairwise": [2], "rating": several, "review": [1]}
    for question, sizes in kinds.items():
        for size in sizes:
            if options_of(question_settings(question, size)) == given:
                return question, size
    raise ValueError(f"these are not this project's questions: {', '.join(name for name, _, _ in given)}")


def raw_values(question: Comparison, ranks: Sequence[int], comment: str = "", both_bad: bool = False) -> Raw:
    """The raw values that the page sends for these ranks. A rating has five steps: later ranks also get one star."""
    raw: Raw
    match question:
        case "ranking":
            options = [{"value": letter, "rank": rank} for letter, rank in zip(LETTERS, ranks, strict=False)]
            raw = {"ranking": {"value": options}}
        case "pairwise":
            better = {1: "first", -1: "second", 0: "both_bad" if both_bad else "tie"}[compare(ranks, 0, 1)]
            raw = {"pairwise": {"value": better}}
        case "rating":
            steps = {rank: step for step, rank in enumerate(sorted(set(ranks)))}
            raw = {
                _rating_name(letter): {"value": max(1, STARS - steps[rank])}
                for letter, rank in zip(LETTERS, ranks, strict=False)
            }
    return raw | ({COMMENT: {"value": comment}} if comment else {})


def discarded_values(reason: str) -> Raw:
    return {COMMENT: {"value": reason}} if reason else {}


def read_values(
    question: Comparison, size: int, raw: Mapping[str, Any] | None, discarded: bool = False
) -> AnswerValues:
    """The values of an answer from its raw values. Ranks stay as given: 1, 1, 3, 4 and 1, 1, 2, 3 are both valid.

    Raises ValueError if a submitted answer does not fit the question.
    """
    values = plain_values(raw)
    comment = comment_in(values)
    if discarded:
        return AnswerValues(None, comment)
    letters = LETTERS[:size]
    try:
        match question:
            case "ranking":
                by_letter = {option["value"]: option["rank"] for option in values["ranking"]}
                return AnswerValues([_whole(by_letter[letter]) for letter in letters], comment)
            case "pairwise":
                ranks = {"first": [1, 2], "second": [2, 1], "tie": [1, 1], "both_bad": [1, 1]}[values["pairwise"]]
                return AnswerValues(ranks, comment, both_bad=values["pairwise"] == "both_bad")
            case "rating":
                stars = [_whole(values[_rating_name(letter)]) for letter in letters]
                return AnswerValues(ranks_from_scores(stars), comment, ratings=stars)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a submitted {question} of {size} responses has the values {dict(raw or {})}") from error


def plain_values(raw: Mapping[str, Any] | None) -> dict[str, Any]:
    """Question name -> stored value, without unanswered questions."""
    return {name: given["value"] for name, given in (raw or {}).items() if given is not None}


def comment_in(values: Mapping[str, Any]) -> str:
    return str(values.get(COMMENT) or "").strip()


def _whole(number: object) -> int:
    if type(number) is not int or number < 1:
        raise TypeError(f"not a whole number from 1 upwards: {number!r}")
    return number


def _rating_name(letter: str) -> str:
    return f"rating_{letter}"
