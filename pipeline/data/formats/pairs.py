"""Formats with a prompt and its answer side by side, under common names."""

from typing import cast

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.columns import ANSWER_KEYS, asked_in, asked_turns, history_in, named, prompt_column, within
from pipeline.data.formats.contents import ARGUMENTS, calls_in
from pipeline.data.formats.conversations import Row, Turns, text_or_turns, turns_of_row
from pipeline.data.formats.fields import any_text_in, list_in, object_in, text_in
from pipeline.data.formats.thoughts import REASONING
from pipeline.data.formats.transcripts import is_waiting, without_end
from pipeline.data.formats.watching import note, peek
from pipeline.data.rows import Message

COMMON_PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("instruction", "response"),
    ("query", "response"),
    ("input", "output"),
)
PAIRS_OF_NAMES = (
    ("inputs", "targets"),
    ("inputs", "outputs"),
    ("problem", "solution"),
    ("problem", "answer"),
    ("question", "solution"),
    ("user", "assistant"),
    ("human", "assistant"),
    ("human", "bot"),
    ("user", "bot"),
)
"""Names that mean a prompt and its answer if both are present and no common pair is."""

_OUTPUTS = ("messages", "message", "choices", "output", "answer", "response", "completion", "text", "content")
_VERDICTS = ("accept", "reject", "ignore")


def prompt_completion(row: Row) -> list[Turns]:
    """A prompt and its answer as text or as messages, in columns of common names; `context` is joined to the prompt.

    An answer that is a list of messages may begin with its prompt.
    """
    pairs = _pairs(row)
    if not pairs:
        raise BadRow(None, None, f"a column is missing: {' or '.join(map(' + '.join, COMMON_PAIRS))}")
    if len(pairs) > 1 and not _are_equal_pairs(row, pairs):
        names = " or ".join(map(" + ".join, pairs))
        raise BadRow(names, None, "several columns could be the prompt and its answer: keep one of each")
    asked, answer_key = pairs[0]
    _check_verdict(row)
    note(row, "answer", answer_key)
    prompt, answer = [*history_in(row), *asked_turns(row, asked)], answer_turns(row[answer_key], answer_key)
    if answer[0]["role"] == "assistant":
        return [answered(row, f"{asked} + {answer_key}", prompt, answer)]
    if not all(turn in answer for turn in prompt):
        raise BadRow(answer_key, None, "the answer begins with another prompt")
    return [turns_of_row(row, answer_key, answer)]


def prodigy(row: Row) -> list[Turns]:
    """A prompt, options, and the ids of the accepted options. Raises LeftOut if there are none."""
    asked = prompt_column(row) or "text"
    note(row, "answer", "options", "accept")
    _check_verdict(row)
    if "answer" in row and not _is_label(row, "answer"):
        raise BadRow("answer", None, f"the verdict is not one of {', '.join(_VERDICTS)}")
    accepted = row.get("accept")
    accepted = accepted if isinstance(accepted, list) else [accepted] if accepted is not None else []
    options = [object_in(one, f"options[{index}]") for index, one in enumerate(list_in(row.get("options"), "options"))]
    unknown = [one for one in accepted if one not in [option.get("id") for option in options]]
    if unknown:
        raise BadRow("accept", None, "an option is accepted that is not among the options")
    chosen = [(index, option) for index, option in enumerate(options) if option.get("id") in accepted]
    if not chosen:
        raise LeftOut("accept", "assistant", "no option was accepted")
    answers = [(f"options[{index}].text", option.get("text")) for index, option in chosen]
    return [
        answered(row, f"{asked} + options", asked_turns(row, asked), answer_turns(text, at)) for at, text in answers
    ]


def has_prompt_and_answer(row: Row) -> bool:
    """Whether one column may be the prompt and one its answer; `chosen` beside `messages` only repeats the answer."""
    return any(answered.lower() != "chosen" or "messages" not in row for _, answered in _pairs(row))


def has_options(row: Row) -> bool:
    """Whether the row has Prodigy's options, some of which may be accepted."""
    options = row.get("options")
    listed = isinstance(options, list) and any(isinstance(one, dict) and "text" in one for one in options)
    return listed and not row.keys().isdisjoint(("accept", "answer"))


def _are_equal_pairs(row: Row, pairs: list[tuple[str, str]]) -> bool:
    """Whether all pairs have one prompt and equal answers: `chosen` often repeats the `response`."""
    asked, answers = zip(*pairs, strict=True)
    return len(set(asked)) == 1 and all(row[key] == row[answers[0]] for key in answers)


def has_alpaca(row: Row) -> bool:
    return row.keys() >= {"instruction", "output"}


def _pairs(row: Row) -> list[tuple[str, str]]:
    """All candidate columns of prompt and answer; `instruction` and `output` together belong to Alpaca."""
    taken = ("instruction", "output", "input") if has_alpaca(row) else ()
    pairs = _answered_by(row, asked_in(row), named(row, ANSWER_KEYS), taken)
    others = (_answered_by(row, named(row, (asked,)), named(row, (answer,)), taken) for asked, answer in PAIRS_OF_NAMES)
    return pairs or next(filter(None, others), [])


def _answered_by(row: Row, asked: list[str], answers: list[str], taken: tuple[str, ...]) -> list[tuple[str, str]]:
    answers = [key for key in answers if key not in taken and not _is_label(row, key)]
    return [(one, other) for one in asked for other in answers if one not in taken]


def _is_label(row: Row, key: str) -> bool:
    """Whether a cell names another column (`chosen: response_a`) or is Prodigy's verdict: neither is an answer."""
    value = peek(row, key)
    if key.lower() not in ("answer", "chosen") or not isinstance(value, str) or len(value) > 40:
        return False
    word = value.strip().lower()
    return word in _VERDICTS or any(word == other.lower() for other in row if other != key)


def _check_verdict(row: Row) -> None:
    """Check Prodigy's verdict in `answer`. Raises LeftOut unless it is "accept"."""
    verdict = peek(row, "answer")
    if isinstance(verdict, str) and verdict.strip().lower() in _VERDICTS:
        note(row, "judgement", "answer")
        word = row["answer"].strip().lower()
        if word != _VERDICTS[0]:
            raise LeftOut("answer", None, f"the annotator's verdict is {word}")


def answered(row: Row, field: str, prompt: list[Message], answer: list[Message], *origin: str) -> Turns:
    """The prompt and its answer, with the reasoning of another column. Raises BadRow.

    `origin` as in `turns_of_row`.
    """
    asked = row.get(field.split(" + ")[0])
    if isinstance(asked, str) and is_waiting(asked):  # the answer continues the transcript
        answer = [_with(turn, content=text_in(without_end(turn["content"]), field, "assistant")) for turn in answer]
    thoughts = [key for key in named(row, REASONING) if isinstance(peek(row, key), str) and peek(row, key).strip()]
    if thoughts and "reasoning_content" not in answer[-1]:
        note(row, "answer", *thoughts)
        if len(thoughts) > 1:
            raise BadRow(" or ".join(thoughts), None, "several columns could be the reasoning: keep one of them")
        reasoning = any_text_in(row[thoughts[0]], thoughts[0], "assistant").strip()
        answer = [*answer[:-1], _with(answer[-1], reasoning_content=reasoning)]
    return turns_of_row(row, field, [*prompt, *answer], *origin)


def answer_turns(value: object, field: str) -> list[Message]:
    """An answer as text, as messages, or in an object that holds these. Raises BadRow.

    An answer may be a list of tool calls (xLAM). SQuAD's `answers` are an object with several right texts: the first is
    taken.
    """
    if isinstance(value, list) and value and all(map(_is_call, value)):
        return [Message(role="assistant", content="\n".join(calls_in({"tool_calls": value}, field, "assistant")))]
    if isinstance(value, dict):
        if isinstance(value.get("text"), list):
            if len(set(map(str, value["text"]))) > 1 and not {"score", "scores"}.isdisjoint(value):
                raise BadRow(field, "assistant", "several answers with scores: keep the one to learn")
            first = list_in(value.get("text"), f"{field}.text")[0]
            return [Message(role="assistant", content=text_in(first, f"{field}.text[0]", "assistant"))]
        value = within(value, _OUTPUTS, field)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and "message" in value[0]:
            value = value[0]["message"]  # one of OpenAI's choices
        if isinstance(value, dict):
            value = [value]
    return text_or_turns(value, field, "assistant")


def _is_call(value: object) -> bool:
    """Whether the value is a tool call and not a turn."""
    return isinstance(value, dict) and "name" in value and not value.keys().isdisjoint(ARGUMENTS)


def _with(turn: Message, **others: str) -> Message:
    return cast(Message, {**turn, **others})
