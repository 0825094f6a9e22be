"""Common names of columns in foreign files and datasets, and which names are equivalent. Pure functions.

Names are compared in one spelling (`plain`): `WorkerId`, `worker id` and `worker_id` are equal.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

Scale = Literal["ranks", "scores"]

ANNOTATOR_NAMES = (
    "annotator",
    "labeler",
    "labeller",
    "rater",
    "judge",
    "reviewer",
    "coder",
    "evaluator",
    "assessor",
    "grader",
    "scorer",
    "ranker",
    "voter",
    "turker",
    "crowdworker",
    "crowd_worker",
    "respondent",
    "contributor",
    "expert",
    "worker",
    "participant",
    "person",
    "who",
    "user",
)
"""Columns of annotators, the clearest name first; each also with a suffix such as `_id` or `_name`."""

PROMPT_NAMES = ("prompt", "instruction", "question", "query")
TABLE_PROMPT_NAMES = (*PROMPT_NAMES, "problem", "user_prompt", "prompt_text")  # whose other columns hold rankings
CONTEXT_NAMES = ("input", "context")
SYSTEMS = ("system", "system_prompt")
IDS = ("id", "prompt_id", "task_id", "question_id", "record_id", "example_id", "item_id", "hitid", "hit_id")
TIMES = (
    *("submitted", "submitted_at", "submit_time", "submission_time", "submitted_on", "updated_at"),
    *("last_updated", "last_updated_at", "last_modified", "modified_at", "completed_at"),
    *("completion_time", "finished_at", "end_time", "end_date", "recorded_date", "annotated_at", "labeled_at"),
    *("rated_at", "ranked_at", "judged_at", "voted_at", "answered_at", "reviewed_at", "annotation_time", "timestamp"),
    *("time_stamp", "tstamp", "ts", "created_at", "created_on", "inserted_at", "saved_at", "logged_at"),
    *("time", "datetime", "date_time", "date", "updated", "modified", "completed", "created"),
)
"""Columns of times of judgements, the clearest name first."""

_MORE_ANNOTATOR_NAMES = (
    *("annotated_by", "labeled_by", "rated_by", "ranked_by", "judged_by", "reviewed_by", "submitted_by"),
    *("completed_by", "graded_by", "scored_by", "assessed_by", "evaluated_by", "voted_by", "answered_by"),
)
_ADDRESSES = ("email", "e_mail", "email_address", "username", "user_name")
_SUFFIX = r"(?:_?(?:id|name|email|no|nr|number|code))?"

_ANSWER = "response|answer|output|completion|candidate|generation|reply|option"
_RANK = "rank|ranking"
_SCORE = "score|rating|stars|star|grade|points|point|elo|likert|quality|reward|rewards|upvotes"
_OF_ANSWERS = frozenset(
    (
        *_RANK.split("|"),
        *_SCORE.split("|"),
        *(
            "ratings",
            "scores",
            "ranks",
            "overall",
            "final",
            "total",
            "mean",
            "average",
            "avg",
            "median",
            "human",
            "user",
        ),
        *("annotator", "rater", "judge", "labeler", "worker", "reviewer", "expert", "crowd", "people", "response"),
        *(
            "answer",
            "output",
            "completion",
            "candidate",
            "generation",
            "reply",
            "option",
            "model",
            "text",
            "helpfulness",
        ),
        *("helpful", "preference", "preferred", "value", "thumb", "thumbs", "feedback", "pm", "gpt", "fine", "grained"),
        *("of", "the", "for", "by", "a", "b", "c", "d", "e", "f", "g", "h", "raw", "scaled", "normalized", "weighted"),
    )
)
"""Words allowed beside a word for ranks or scores, if the rank or score is that of a whole answer."""

_SLOT = r"(?:_?(?P<number>\d{1,2})|_(?P<letter>[a-h]))"
_RESPONSE = re.compile(rf"(?:model_)?(?P<word>{_ANSWER}){_SLOT}(?:_text)?")
_JUDGED = (
    re.compile(rf"(?:(?:{_ANSWER})_)?(?P<word>{_RANK}|{_SCORE})(?:_(?:of|for))?(?:_(?:{_ANSWER}|model))?{_SLOT}"),
    re.compile(rf"(?:(?:{_ANSWER}|model)_?)?(?P<number>\d{{1,2}})_(?P<word>{_RANK}|{_SCORE})"),
    re.compile(rf"(?:(?:{_ANSWER}|model)_)?(?P<letter>[a-h])_(?P<word>{_RANK}|{_SCORE})"),
)


@dataclass(frozen=True)
class Options:
    """The user's options for the fields of `Columns`, for errors that ask for one."""

    id: str = "--id-field"
    prompt: str = "--prompt-field"
    responses: str = "--response-fields"
    ranks: str = "--rank-fields"
    scale: str = "--ranks or --scores"
    annotator: str = "--annotator-field"
    comment: str = "--comment-field"
    choice: str = "--choice-field"
    codes: str = "--choices"
    buckets: str = "--buckets"
    tie: str = "--tie"


@dataclass(frozen=True)
class Columns:
    """The mapping of fields; by default each format's own names apply.

    responses, ranks: one name per response, in one order. scale: whether the ranks are ranks or scores. choice: the
    column of two answers' verdicts, and codes: what its values mean (first, second, tie). buckets: of Label Studio's
    Ranker, best first. tie: the choice in Label Studio that means that both responses are equal. comment: in Argilla
    the name of a question.
    """

    id: str | None = None
    prompt: str | None = None
    responses: tuple[str, ...] = ()
    ranks: tuple[str, ...] = ()
    scale: Scale | None = None
    annotator: str | None = None
    comment: str | None = None
    choice: str | None = None
    codes: Mapping[str, str] = field(default_factory=dict)
    buckets: tuple[str, ...] = ()
    tie: str | None = None
    options: Options = Options()


UNMAPPED = Columns()


@lru_cache(maxsize=4096)  # the same few names, for every row
def plain(name: str) -> str:
    """The spelling in which names are compared: lower case, words joined by one underscore."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\W_]+", "_", words.lower()).strip("_")


def first_of(names: Iterable[str], wanted: Iterable[str]) -> str | None:
    """The first of the wanted names that is present, in its original spelling."""
    spelled = {plain(name): name for name in reversed(list(names))}
    return next((spelled[name] for name in wanted if name in spelled), None)


def annotator_columns(names: Iterable[str]) -> list[str]:
    """The columns of annotators, the clearest name first."""
    return list(_annotator_columns(tuple(names)))


@lru_cache(maxsize=4096)  # the same few columns, for every row
def _annotator_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    order = [rf"{name}{_SUFFIX}" for name in ANNOTATOR_NAMES] + list(_MORE_ANNOTATOR_NAMES) + list(_ADDRESSES)
    found = []
    for name in names:
        spelled = plain(name)
        place = next((place for place, pattern in enumerate(order) if re.fullmatch(pattern, spelled)), None)
        if place is not None:
            found.append((place, spelled.endswith("email"), name))
    return tuple(name for *_, name in sorted(found, key=lambda one: one[:2]))


def scale_of(name: str) -> Scale | None:
    """Whether a column's name is a word for ranks or for scores of an answer as a whole; None for any other name.

    `toxicity_score`, `confidence_score` and `search_rank` are neither: more may be worse, or mean something else.
    """
    words = set(re.findall(r"[a-z]+", plain(name)))
    if not words <= _OF_ANSWERS:
        return None
    ranks, scores = words & set(_RANK.split("|")), words & set(_SCORE.split("|"))
    if bool(ranks) == bool(scores):
        return None
    return "ranks" if ranks else "scores"


def numbered_responses(names: Iterable[str]) -> dict[str, str]:
    """Slot -> column of the responses `response_1`, `answerA`, …; the largest such family."""
    families: dict[str, dict[str, str]] = {}
    for name in names:
        if match := _RESPONSE.fullmatch(plain(name)):
            families.setdefault(match["word"], {})[_slot(match)] = name
    return max(families.values(), key=len, default={})


def numbered_judgements(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Word (`rank`, `score`, `rating`, …) -> slot -> column."""
    families: dict[str, dict[str, str]] = {}
    for name in names:
        match = next((found for pattern in _JUDGED if (found := pattern.fullmatch(plain(name)))), None)
        if match:
            families.setdefault(match["word"], {})[_slot(match)] = name
    return families


def _slot(match: re.Match[str]) -> str:
    found = match.groupdict()
    return str(int(found["number"])) if found.get("number") else str(found["letter"])
