"""Answers that people marked as good or bad, one by one: rows for KTO, which needs no pairs.

Pure functions: marks in, rows out.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import NamedTuple

from labeling.votes import normalized_text, prompt_key, public_name
from pipeline.data.formats.judgement import Marked
from pipeline.data.judgements.pooling import Split
from pipeline.data.rows import MarkedAnswer, Message, as_messages
from pipeline.data.splits import split_by_prompt

THUMBS = ({0.0, 1.0}, {-1.0, 1.0})
"""Marks of bad and of good answers: `true` and `false`, or 1 and -1."""


def good_or_bad(marks: Sequence[Marked]) -> list[Marked]:
    """The marks with a score of 1 or 0 and public names; none at all where some are scores of a longer scale.

    No score of such a scale says by itself that an answer is good.
    """
    scores = {mark.score for mark in marks}
    if not any(scores <= two for two in THUMBS):
        return []
    named = [mark if mark.annotator is None else replace(mark, annotator=public_name(mark.annotator)) for mark in marks]
    return [replace(mark, score=float(mark.score > 0)) for mark in named]


class MarkedAnswers(NamedTuple):
    """Rows, one for each answer, and how many answers have as many good marks as bad ones."""

    rows: list[MarkedAnswer]
    ties: int


def marked_answers(marks: Sequence[Marked], without: Set[str] = frozenset()) -> MarkedAnswers:
    """Each answer once, good if more people marked it as good than as bad; `without` are annotators left out.

    Answers of one prompt are told apart as `labeling.votes` does: whitespace and letter case make no difference.
    """
    left_out = {normalized_text(name) for name in without}
    prompts: dict[str, list[Message]] = {}  # each as it was written first, so that it is never on two sides of a split
    texts: dict[tuple[str, str], str] = {}
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for mark in marks:
        if mark.annotator is None or normalized_text(mark.annotator) not in left_out:
            key = (prompt_key(mark.prompt), normalized_text(mark.response))
            prompts.setdefault(key[0], as_messages(mark.prompt))
            texts.setdefault(key, mark.response)
            scores[key].append(mark.score)
    means = {key: sum(own) / len(own) for key, own in scores.items()}
    rows = [_row(prompts[key[0]], texts[key], mean > 0.5) for key, mean in means.items() if mean != 0.5]
    return MarkedAnswers(rows, len(means) - len(rows))


def _row(prompt: list[Message], response: str, good: bool) -> MarkedAnswer:
    return {"prompt": prompt, "answer": [{"role": "assistant", "content": response}], "good": good}


def split_marked(
    rows: Sequence[MarkedAnswer], pairs: Split, test_fraction: float, seed: int
) -> dict[str, list[MarkedAnswer]]:
    """Rows to train and to test on, by prompt, as far as possible in the part that the pairs of the prompt are in.

    Prompts that the independent judge learns from are left out: what it judges has not been trained on them. Prompts
    without pairs are split by their hash.
    """
    parts: Mapping[str, str] = {
        prompt_key(row["prompt"]): name for name, part in pairs._asdict().items() for row in part
    }
    placed: dict[str, list[MarkedAnswer]] = {"train": [], "test": [], "judge": [], "judge_test": [], "": []}
    for row in rows:
        placed[parts.get(prompt_key(row["prompt"]), "")].append(row)
    alone = placed[""]
    fractions = {"train": 1 - test_fraction, "test": test_fraction}
    several = len({prompt_key(row["prompt"]) for row in alone}) > 1
    halves = split_by_prompt(alone, fractions, seed) if several else {"train": alone, "test": []}
    return {name: placed[name] + halves[name] for name in fractions}
