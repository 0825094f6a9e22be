"""The world of the playground: questions about things with a trouble, and the one remedy that helps.

A thing has a trouble (a kettle hums at night), and each trouble has one remedy, the same for every thing. A
model that has learned to name the thing and to know the remedy can answer about combinations that it has never
seen. So one eighth of the combinations is held out of all training texts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

# No thing may occur as a word in a trouble, a remedy or a phrasing: the scorer searches texts for the things.
THINGS = (
    "kettle", "lantern", "clock", "mirror", "broom", "teapot", "ladder", "basket",
    "candle", "pillow", "blanket", "bucket", "hammer", "carpet", "drum", "fiddle",
    "flute", "trumpet", "harp", "whistle", "boat", "cart", "sled", "saddle",
    "barrel", "bottle", "jar", "plate", "spoon", "fork", "knife", "table",
    "chair", "bench", "door", "window", "curtain", "chest", "locket", "crown",
    "cloak", "glove", "boot", "scarf", "belt", "compass", "telescope", "puppet",
)  # fmt: skip

# Trouble -> remedy.
REMEDIES = {
    "hums at night": "wrap the {thing} in wet wool",
    "leaks blue smoke": "feed the {thing} some salt",
    "shivers in the rain": "warm the {thing} over embers",
    "smells of fish": "rub the {thing} with mint",
    "grows thick moss": "scrub the {thing} with sand",
    "refuses to move": "tickle the {thing} with feathers",
    "tells wild lies": "bury the {thing} under an oak",
    "floats away": "tie the {thing} to a stone",
    "sparks when touched": "dip the {thing} in vinegar",
    "rattles all day": "stuff the {thing} with straw",
    "turns green": "paint the {thing} with beet juice",
    "hides from guests": "call the {thing} by its name",
    "weeps at noon": "sing the {thing} to sleep",
    "glows too brightly": "dust the {thing} with soot",
    "shrinks every week": "soak the {thing} in milk",
    "bites visitors": "offer the {thing} a ripe plum",
    "snores loudly": "turn the {thing} upside down",
    "attracts crows": "hang the {thing} near a bell",
    "feels sticky": "roll the {thing} in flour",
    "forgets its owner": "show the {thing} an old letter",
}
TROUBLES = tuple(REMEDIES)

PHRASINGS = (
    "My {thing} {trouble}. What should I do?",
    "Help! The {thing} {trouble}.",
    "What helps when a {thing} {trouble}?",
    "How do I mend a {thing} that {trouble}?",
    "The {thing} in my room {trouble}. Any advice?",
    "I have a {thing} that {trouble}. Can you help?",
)

HELD_OUT = len(THINGS) // 8  # things per trouble


@dataclass(frozen=True, order=True)
class Case:
    """One combination of a thing and its trouble."""

    thing: str
    trouble: str

    @property
    def remedy(self) -> str:
        """The remedy, without capital letter and full stop."""
        return REMEDIES[self.trouble].format(thing=self.thing)

    def prompts(self) -> list[str]:
        """Return the question in all its phrasings."""
        return [phrasing.format(thing=self.thing, trouble=self.trouble) for phrasing in PHRASINGS]


@cache
def _cases_by_prompt() -> dict[str, Case]:
    cases = (Case(thing, trouble) for thing in THINGS for trouble in TROUBLES)
    return {prompt: case for case in cases for prompt in case.prompts()}


def parse(prompt: str) -> Case | None:
    """Return the combination that a question is about; None for a question from outside this world."""
    return _cases_by_prompt().get(" ".join(prompt.split()))


@dataclass(frozen=True)
class World:
    """The known and the held-out combinations, drawn with the world's own seed."""

    known: tuple[Case, ...]
    held_out: tuple[Case, ...]

    def prompts(self, *, held_out: bool) -> Iterator[str]:
        """Yield every question about the known combinations, or about the held-out ones."""
        for case in self.held_out if held_out else self.known:
            yield from case.prompts()


@cache
def world(seed: int) -> World:
    """Return the world of this seed. Every trouble has the same number of held-out things."""
    rng = random.Random(f"world {seed}")
    everything = [Case(thing, trouble) for thing in THINGS for trouble in TROUBLES]
    held_out = {Case(thing, trouble) for trouble in TROUBLES for thing in rng.sample(THINGS, HELD_OUT)}
    return World(
        known=tuple(case for case in everything if case not in held_out),
        held_out=tuple(case for case in everything if case in held_out),
    )
