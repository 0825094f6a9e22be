"""Every meaning of a row counts: where one thing in it changes, what is read of it changes too, or the row is refused.

What may change without consequence is named, path by path: nothing else is read past.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from pipeline.data.faults import BadRow
from pipeline.data.formats.conversations import ROLES
from pipeline.data.formats.detection import format_named
from pipeline.data.formats.remarks import remarks_on
from pipeline.data.formats.table import DEMONSTRATIONS, demonstrations_in
from pipeline.data.formats.watching import WatchedRow
from tests.unit.data.raw_rows import A, S, U

Path = tuple[str | int, ...]
Case = tuple[str, dict[str, Any], set[str]]

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": "1"}}}
TURNS: list[dict[str, Any]] = [
    {"role": S, "content": "s"},
    {"role": U, "content": "q"},
    {"role": A, "content": "no", "weight": 0},
    {"role": U, "content": [{"type": "text", "text": "again"}, {"type": "text", "text": "please"}]},
    {"role": A, "content": "yes", "tool_calls": [CALL], "reasoning_content": "since", "weight": 1},
    {"role": "tool", "content": "r"},
    {"role": A, "content": "done"},
]
SHAREGPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}, {"from": "human", "value": "r"}]
SHAREGPT += [{"from": "gpt", "value": "b"}]
NODES = {
    "1": {"parent": None, "message": {"author": {"role": U}, "content": {"content_type": "text", "parts": ["q", "r"]}}},
    "2": {"parent": "1", "message": {"author": {"role": A}, "content": {"content_type": "text", "parts": ["a"]}}},
    "3": {"parent": "1", "message": {"author": {"role": A}, "content": {"content_type": "text", "parts": ["b"]}}},
}
BLOCKS = [
    {"role": U, "content": [{"type": "text", "text": "q"}]},
    {
        "role": A,
        "content": [{"type": "thinking", "thinking": "t"}, {"type": "tool_use", "name": "f", "input": {"x": 1}}],
    },
    {"role": U, "content": [{"type": "tool_result", "content": "r"}, {"type": "tool_result", "content": "s"}]},
    {"role": A, "content": "a"},
]
GEMINI = [
    {"role": U, "parts": [{"text": "q"}, {"text": "r"}]},
    {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x": 1}}}]},
    {"role": U, "parts": [{"functionResponse": {"name": "f", "response": {"y": 2}}}]},
    {"role": "model", "parts": [{"text": "t", "thought": True}, {"text": "a"}]},
]
OPTIONS = [{"id": "a", "text": "good"}, {"id": "b", "text": "bad"}]
# a format, a row, and the places that may change without consequence; `*` is any index, `**` all that is within
CASES: list[Case] = [
    (
        "messages",
        {"messages": TURNS, "tools": [{"name": "f", "d": "g"}]},
        {"messages.*.tool_calls.*.id", "messages.*.tool_calls.*.type"},
    ),
    ("messages", {"system": "s", "messages": BLOCKS}, set()),
    ("messages", {"conversation": [{"user": "q", "assistant": "a"}, {"user": "r", "assistant": "b"}]}, set()),
    (
        "sharegpt",
        {"conversations": SHAREGPT, "loss_mask": [0, 0, 0, 1], "system": "s", "id": "7"},
        {"loss_mask.0", "loss_mask.2"},  # the user's turns are never learned
    ),
    (
        "alpaca",
        {"instruction": "i", "input": "x", "output": "o", "history": [["q", "a"], ["r", "b"]], "system": "s"},
        set(),
    ),
    ("prompt_completion", {"prompt": "q", "context": "x", "response": "a", "reasoning": "since"}, set()),
    ("prompt_completion", {"input": {"messages": TURNS[:2]}, "output": {"role": A, "content": "a"}}, set()),
    ("prompt_completion", {"inputs": "q", "targets": "a"}, set()),
    ("prodigy", {"prompt": "q", "options": OPTIONS, "accept": ["a"], "answer": "accept"}, {"options", "options.1.**"}),
    ("openorca", {"system_prompt": "s", "question": "q", "response": "a"}, set()),
    ("pubmedqa", {"QUESTION": "q", "CONTEXTS": ["x", "y"], "LONG_ANSWER": "a"}, set()),
    ("hh", {"text": "\n\nHuman: q\n\nAssistant: a"}, set()),
    (
        "gemini",
        {"systemInstruction": {"parts": [{"text": "s"}]}, "contents": GEMINI},
        {"contents.2.parts.0.functionResponse.name"},
    ),
    ("chatgpt", {"mapping": NODES, "current_node": "2"}, {"mapping.3.**"}),
]


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place in a row, from outside in."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*at, key)
        yield from paths(value[key], (*at, key))


def mutants(value: Any) -> Iterator[Any]:
    """The value with another meaning."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield 1 - value
    elif isinstance(value, str) and value in ROLES:
        yield from (role for role in (U, A, S) if ROLES[role] != ROLES[value])
    elif isinstance(value, str):
        yield value + " changed"
        yield ""
        yield 0.5
    elif isinstance(value, list) and len(value) > 1:
        yield value[::-1]
        yield value[:-1]
    if value is not None:
        yield None


def read(name: str, row: dict[str, Any]) -> Any:
    """The reading of a row with its remarks; None if the row is refused."""
    watched = WatchedRow(row)
    try:
        found = demonstrations_in(watched, format_named(name, DEMONSTRATIONS), mend=False)
    except BadRow:
        return None
    return found, remarks_on(watched), row.keys() - watched.read


def changed(row: dict[str, Any], path: Path, value: Any, key: str | None = None) -> dict[str, Any]:
    """The row with another value at a place, or, with a key, with another key for it."""
    copy = deepcopy(row)
    inside: Any = copy
    for step in path[:-1]:
        inside = inside[step]
    if key is None:
        inside[path[-1]] = value
    else:
        inside[key] = inside.pop(path[-1])
    return copy


def is_named(path: Path, names: set[str]) -> bool:
    """Whether the place may change without consequence."""
    written = ".".join("*" if isinstance(step, int) else step for step in path), ".".join(map(str, path))
    within = [name.removesuffix("**") for name in names if name.endswith("**")]
    return not names.isdisjoint(written) or any(f"{written[1]}.".startswith(name) for name in within)


def has_default(path: Path, mutant: object) -> bool:
    """Whether the default equals this value: a part without a type is text, a turn without a weight is learned."""
    return path[-1] in ("type", "weight") and mutant is None


@pytest.mark.parametrize(("name", "row", "silent"), CASES, ids=[f"{name}-{'-'.join(row)}" for name, row, _ in CASES])
def test_another_meaning_is_read_as_another_or_refused(name: str, row: dict[str, Any], silent: set[str]) -> None:
    before = read(name, row)
    assert before is not None
    for path in paths(row):
        if is_named(path, silent):
            continue
        value: Any = row
        for step in path:
            value = value[step]
        for mutant in mutants(value):
            if has_default(path, mutant):
                continue
            assert read(name, changed(row, path, mutant)) != before, f"{path}: {value!r} -> {mutant!r}"
        if isinstance(path[-1], str) and not (has_default(path, None) and value == "text"):
            assert read(name, changed(row, path, None, f"x{path[-1]}")) != before, f"{path}: another key"
