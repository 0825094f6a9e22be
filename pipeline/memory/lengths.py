"""The longest rows of a file in tokens, counted without a model: the batch that holds them needs the most memory."""

import heapq
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

COUNTED = 32  # longest lines of a file whose tokens are counted
ANSWERS = ("chosen", "rejected", "answer")
PER_TURN = 8  # tokens that a chat template adds to a turn, about
CHARACTERS_PER_TOKEN = 3  # without a tokenizer; English has about 4, code and other languages fewer


class Lengths(NamedTuple):
    """Tokens of the longest row."""

    row: int  # with its answer, if it has one
    prompt: int  # the longest prompt
    predicted: int  # most tokens of a row's answers
    answers: int  # most answers to one prompt that are compared with each other; 1 where none are


def longest_rows(file: Path, tokenizer: Path | None) -> Lengths | None:
    """Return the longest of a file's rows: conversations, pairs or prompts; None if there are none, or of another kind.

    `tokenizer` is a tokenizer.json, without which tokens follow from the number of characters. Faults of the rows are
    reported by the stage that reads them.
    """
    count = _counter(tokenizer)
    try:
        with file.open(encoding="utf-8") as lines:
            longest = [json.loads(line) for line in heapq.nlargest(COUNTED, lines, key=len) if line.strip()]
        rows, prompts, predicted = zip(*(_tokens(row, count) for row in longest), strict=True)
        return Lengths(max(rows), max(prompts), max(predicted), _answers(file, longest))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _counter(tokenizer: Path | None) -> Callable[[str], int]:
    if tokenizer is None:
        return lambda text: math.ceil(len(text) / CHARACTERS_PER_TOKEN)
    from tokenizers import Tokenizer

    try:
        words = Tokenizer.from_file(str(tokenizer))
    except Exception:  # the library raises no class of its own; the stage reports it when it loads the tokenizer
        return _counter(None)
    return lambda text: len(words.encode(text, add_special_tokens=False).ids)


def _tokens(row: Mapping[str, Any], count: Callable[[str], int]) -> tuple[int, int, int]:
    """Return the tokens of a row with its longest answer, of its prompt, and of its answers."""

    def length(turns: Sequence[Mapping[str, Any]]) -> int:
        return sum(count(str(turn["content"])) + PER_TURN for turn in turns)

    if "messages" in row:
        turns = row["messages"]
        return length(turns), length(turns[:-1]), length([turn for turn in turns if turn["role"] == "assistant"])
    prompt = length(row["prompt"])
    answer = max((length(row[name]) for name in ANSWERS if isinstance(row.get(name), list)), default=0)
    return prompt + answer, prompt, answer


def _answers(file: Path, some: Sequence[Mapping[str, Any]]) -> int:
    """Return the most answers in one ranking, from its pairs; 1 for files without pairs."""
    if "chosen" not in some[0]:
        return 1
    found: dict[int, set[int]] = {}  # hashes: the texts of a million pairs would take gigabytes
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            ranking = found.setdefault(hash(json.dumps([row.get("group"), row["prompt"]])), set())
            ranking |= {hash(json.dumps(row[side])) for side in ("chosen", "rejected")}
    return max(map(len, found.values()))
