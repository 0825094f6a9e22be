"""One scored answer per row: HelpSteer 2, and any prompt and response with a rating, a score or points."""

from labeling.exchange.columns import PROMPT_NAMES, plain, scale_of
from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.columns import asked_in, asked_turns, is_blank, named, only, prompt_column, prompt_in
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.judgement import Marked, annotator_in, number_in, response_in, when_in
from pipeline.data.formats.logs import MODELS_ANSWER, THUMBS
from pipeline.data.formats.watching import note

COLUMNS = (("prompt", "response", "score"), ("prompt", "response", "helpfulness"))


def scored_answer(row: Row) -> list[Marked]:
    """A prompt, an answer and a score: higher is better. Raises LeftOut for an answer without a score."""
    asked, answered, column = prompt_column(row), only(row, MODELS_ANSWER), _score_column(row)
    if asked is None or answered is None or column is None:
        raise BadRow(None, None, "a column is missing: prompt + response + score")
    score = number_in(row[column], column)
    if score is None:
        raise LeftOut(column, "assistant", "the answer has no score")
    note(row, "prompt", asked)
    note(row, "answer", answered)
    note(row, "judgement", column)
    prompt = prompt_in(row, asked_turns(row, asked), asked)
    annotator = annotator_in(row, (*PROMPT_NAMES, answered, column))
    return [Marked(prompt, response_in(row[answered], answered), score, annotator, when_in(row))]


def has_score(row: Row) -> bool:
    """Whether the row has a prompt, an answer and its score."""
    return bool(asked_in(row)) and bool(named(row, MODELS_ANSWER)) and _score_column(row) is not None


def _score_column(row: Row) -> str | None:
    """HelpSteer's `helpfulness`, or the one column whose name is a word for scores."""
    if "helpfulness" in row and _may_be_score(row["helpfulness"]):
        return "helpfulness"
    found = [key for key in row if scale_of(key) == "scores" and plain(key) not in THUMBS and _may_be_score(row[key])]
    return found[0] if len(found) == 1 else None


def _may_be_score(value: object) -> bool:
    try:
        number_in(value, "")
    except BadRow:
        return False
    return is_blank(value) or not isinstance(value, bool)
