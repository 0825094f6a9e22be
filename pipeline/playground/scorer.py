"""The true score of an answer, from 0 to 1. Only the evaluation and the simulated annotators use it.

    score = correctness x (0.5 + 0.25 x brevity + 0.25 x manners)     halved if the answer was cut off

- *correctness* is 1 for the right remedy on the right thing and less for anything else. For several pieces of
  advice it is their mean, so listing all remedies scores no better than guessing.
- *brevity* is 5 / (5 + extra words). Extra words are all words beyond the advice and two distinct courtesies;
  repeated sentences and sentences from outside this world count as extra words.
- *manners* are 1 with a courtesy, 0.5 without, 0 with any rudeness.

So the worst right answer scores higher than the best wrong one, and each fault lowers the score.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.playground.grammar import CLOSINGS, EVASIONS, LEADS, OPENINGS, Manner
from pipeline.playground.world import REMEDIES, THINGS, Case, parse

RIGHT, WRONG_THING, WRONG_REMEDY, ALL_WRONG, EVASIVE = 1.0, 0.4, 0.2, 0.1, 0.1
WORDS_THAT_HALVE = 5  # this many extra words halve the brevity
COURTESIES_ALLOWED = 2

_COURTESIES = {*OPENINGS[Manner.POLITE], *CLOSINGS[Manner.POLITE]}
_RUDENESSES = {*OPENINGS[Manner.RUDE], *CLOSINGS[Manner.RUDE]}
_SENTENCE = re.compile(r"[^.!?]*[.!?]|[^.!?]+$")
_LEADS = tuple(lead.partition("{")[0].lower() for lead in LEADS)


def _remedy_pattern(trouble: str) -> str:
    return REMEDIES[trouble].format(thing=f"(?:{'|'.join(THINGS)})")


_REMEDY = re.compile("|".join(rf"\b{_remedy_pattern(trouble)}\b" for trouble in REMEDIES), re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """The parts of an answer that this world recognizes."""

    advice: tuple[str, ...]  # remedies and evasions, each once
    courtesies: int  # distinct ones
    rudenesses: int
    extra_words: int
    finished: bool


def read(answer: str) -> Reading:
    """Sort the sentences of an answer. Repeated sentences and those from outside this world count as extra words."""
    advice: list[str] = []
    heard: set[str] = set()
    courtesies = rudenesses = extra = 0
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(" ".join(answer.split()))]
    for sentence in sentences:
        new = sentence not in heard
        heard.add(sentence)
        remedies = [match.lower() for match in _REMEDY.findall(sentence)]
        if sentence in _RUDENESSES:
            rudenesses += 1
        elif sentence in _COURTESIES and new and courtesies < COURTESIES_ALLOWED:
            courtesies += 1
        elif sentence in EVASIONS and new:
            advice.append(sentence)
        else:
            added = [remedy for remedy in dict.fromkeys(remedies) if remedy not in advice]
            advice += added
            extra += _words_beyond(sentence, added)
    return Reading(
        advice=tuple(advice),
        courtesies=courtesies,
        rudenesses=rudenesses,
        extra_words=extra,
        finished=bool(sentences) and sentences[-1][-1:] in (".", "!", "?"),
    )


def _words_beyond(sentence: str, remedies: list[str]) -> int:
    """Count the words of a sentence, without the remedies that it adds and one of the usual openings of advice."""
    rest = sentence.lower()
    for remedy in remedies:
        rest = rest.replace(remedy, "", 1)
    if remedies:
        rest = rest.removesuffix(".")
        rest = "" if rest in _LEADS else rest
    return len(rest.split())


def correctness(case: Case, reading: Reading) -> float:
    """Return the mean worth of the advice in the answer; 0 without advice."""
    if not reading.advice:
        return 0.0
    return sum(_worth(case, advice) for advice in reading.advice) / len(reading.advice)


def _worth(case: Case, advice: str) -> float:
    if advice in EVASIONS:
        return EVASIVE
    if advice == case.remedy:
        return RIGHT
    if re.fullmatch(_remedy_pattern(case.trouble), advice):
        return WRONG_THING
    return WRONG_REMEDY if case.thing in advice.split() else ALL_WRONG


def brevity(reading: Reading) -> float:
    return WORDS_THAT_HALVE / (WORDS_THAT_HALVE + reading.extra_words)


def manners(reading: Reading) -> float:
    if reading.rudenesses:
        return 0.0
    return 1.0 if reading.courtesies else 0.5


def true_score(prompt: str, answer: str, *, finished: bool = True) -> float:
    """Return the score of an answer to this question, from 0 to 1. `finished` is False if generation was cut off.

    Raises `ValueError` for a prompt that is not a question of the playground.
    """
    case = parse(prompt)
    if case is None:
        raise ValueError(f"Nobody in the playground would ask {prompt!r}: it has no true score.")
    reading = read(answer)
    score = correctness(case, reading) * (0.5 + 0.25 * brevity(reading) + 0.25 * manners(reading))
    return score if finished and reading.finished else score / 2


def is_perfect(prompt: str, answer: str, *, finished: bool = True) -> bool:
    """Return whether the answer is right, short, polite and complete: a true score of 1."""
    return true_score(prompt, answer, finished=finished) == 1.0
