"""The true scorer: how good an answer is, from 0 to 1. Known only to the evaluation and simulated annotators.

    score = correctness x (0.5 + 0.25 x brevity + 0.25 x manners)     halved if the answer was cut off

- *correctness* is 1 for the right remedy on the right thing and less for anything else. Of several pieces of
  advice it is the mean: listing all remedies pays no better than guessing.
- *brevity* is 5 / (5 + words too many), those beyond the advice and two distinct courtesies. What repeats
  itself, or is no sentence of this world, is too many.
- *manners* are 1 with a courtesy, 0.5 without, 0 with any rudeness.

So the worst right answer is better than the best wrong one, and each fault costs something.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.playground.grammar import CLOSINGS, EVASIONS, LEADS, OPENINGS, Manner
from pipeline.playground.world import REMEDIES, THINGS, Case, parse

RIGHT, WRONG_THING, WRONG_REMEDY, ALL_WRONG, EVASIVE = 1.0, 0.4, 0.2, 0.1, 0.1
WORDS_THAT_HALVE = 5  # brevity, when they are too many
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
    """What an answer says, as far as this world understands it."""

    advice: tuple[str, ...]  # remedies and evasions, each once
    courtesies: int  # distinct ones
    rudenesses: int
    extra_words: int
    finished: bool


def read(answer: str) -> Reading:
    """Sort the sentences of an answer. What repeats another, or is none of this world's, is extra words."""
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
    """How many words a sentence has besides the remedies that it adds and one of the usual ways to begin."""
    rest = sentence.lower()
    for remedy in remedies:
        rest = rest.replace(remedy, "", 1)
    if remedies:
        rest = rest.removesuffix(".")
        rest = "" if rest in _LEADS else rest
    return len(rest.split())


def correctness(case: Case, reading: Reading) -> float:
    """The mean worth of the advice given; nothing if there is none."""
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
    """How good the answer to this question is. `finished` is False where generation was cut off."""
    case = parse(prompt)
    if case is None:
        raise ValueError(f"Nobody in the playground would ask {prompt!r}: it has no true score.")
    reading = read(answer)
    score = correctness(case, reading) * (0.5 + 0.25 * brevity(reading) + 0.25 * manners(reading))
    return score if finished and reading.finished else score / 2


def is_perfect(prompt: str, answer: str, *, finished: bool = True) -> bool:
    """Right, to the point, polite, and at its end."""
    return true_score(prompt, answer, finished=finished) == 1.0
