"""Writes answers of a given quality: right or wrong, short or rambling, polite, plain or rude.

An answer has one piece of advice, sometimes with courtesy or rudeness before or after it, and sometimes with
rambling sentences. The faults are drawn independently. Good answers are neither the longest nor the shortest:
courtesy adds words, and an evasive answer is short.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pipeline.playground.world import THINGS, TROUBLES, Case, World


class Advice(Enum):
    """The kind of advice in an answer."""

    RIGHT = "right"
    WRONG_THING = "wrong thing"
    WRONG_REMEDY = "wrong remedy"
    EVASIVE = "evasive"


class Manner(Enum):
    """The tone of the answer."""

    POLITE = "polite"
    PLAIN = "plain"
    RUDE = "rude"


LEADS = ("{Remedy}.", "You should {remedy}.", "Just {remedy}.")
EVASIONS = ("Ask somebody else.", "That is hard to say.", "Who can tell?")
OPENINGS = {
    Manner.POLITE: ("Gladly!", "With pleasure!", "Thank you for asking!"),
    Manner.RUDE: ("Not you again!", "What a silly question!", "Any fool knows this!"),
}
CLOSINGS = {
    Manner.POLITE: ("I hope it helps!", "All the best to you!"),
    Manner.RUDE: ("Now go away!", "Do not bother me again!"),
}
RAMBLINGS = (
    "My aunt once had a {thing} like that.",
    "It was a long winter that year.",
    "A {thing} is a curious thing, I always say.",
    "But where was I?",
    "The weather has been strange of late.",
    "I bought my first {thing} at the fair.",
)


@dataclass(frozen=True)
class Quality:
    """The quality that an answer is written with."""

    advice: Advice = Advice.RIGHT
    rambling: int = 0
    manner: Manner = Manner.POLITE

    @property
    def perfect(self) -> bool:
        return self == PERFECT


PERFECT = Quality()


@dataclass(frozen=True)
class Mixture:
    """How often each quality occurs in a set of answers: weights in the order of the enums."""

    advice: tuple[float, float, float, float]
    rambling: tuple[float, float, float]  # no, one or two rambling sentences
    manner: tuple[float, float, float]

    def draw(self, rng: random.Random) -> Quality:
        return Quality(
            advice=rng.choices(tuple(Advice), self.advice)[0],
            rambling=rng.choices(range(len(self.rambling)), self.rambling)[0],
            manner=rng.choices(tuple(Manner), self.manner)[0],
        )


def answer(case: Case, quality: Quality, world: World, rng: random.Random) -> str:
    """Return an answer of this quality. Even a wrong answer never contains the remedy of a held-out combination."""
    sentences = [_advice(case, quality.advice, world, rng)]
    for rambling in rng.sample(RAMBLINGS, quality.rambling):
        sentences.insert(rng.randint(0, len(sentences)), rambling.format(thing=case.thing))
    if quality.manner in OPENINGS:
        place = rng.choice(("before", "behind", "both"))
        if place != "behind":
            sentences.insert(0, rng.choice(OPENINGS[quality.manner]))
        if place != "before":
            sentences.append(rng.choice(CLOSINGS[quality.manner]))
    return " ".join(sentences)


def advise(remedy: str, rng: random.Random) -> str:
    """Return a sentence that recommends the remedy."""
    return rng.choice(LEADS).format(remedy=remedy, Remedy=remedy[0].upper() + remedy[1:])


def _advice(case: Case, advice: Advice, world: World, rng: random.Random) -> str:
    match advice:
        case Advice.RIGHT:
            return advise(case.remedy, rng)
        case Advice.WRONG_THING:
            other_things = [Case(thing, case.trouble) for thing in THINGS]
            return advise(_other(other_things, case, world, rng).remedy, rng)
        case Advice.WRONG_REMEDY:
            other_troubles = [Case(case.thing, trouble) for trouble in TROUBLES]
            return advise(_other(other_troubles, case, world, rng).remedy, rng)
        case Advice.EVASIVE:
            return rng.choice(EVASIONS)


def _other(candidates: Sequence[Case], case: Case, world: World, rng: random.Random) -> Case:
    return rng.choice([other for other in candidates if other != case and other not in world.held_out])
