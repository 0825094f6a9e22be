"""Training texts of this world: a corpus, demonstrations of mixed quality, and prompts.

All texts are about the known combinations and depend only on their seeds; only `test_prompts` and
`test_demonstrations` ask about the held-out ones. The prompts for demonstrations, for sampling and for
reinforcement learning are disjoint.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.playground.grammar import RAMBLINGS, Mixture, advise, answer
from pipeline.playground.world import Case, World, parse, world

Message = dict[str, str]

# Answers in the corpus have any quality; those in demonstrations are a little better.
OVERHEARD = Mixture(advice=(0.5, 0.2, 0.15, 0.15), rambling=(0.4, 0.35, 0.25), manner=(0.3, 0.35, 0.35))
DEMONSTRATED = Mixture(advice=(0.5, 0.17, 0.17, 0.16), rambling=(0.55, 0.3, 0.15), manner=(0.45, 0.25, 0.3))


@dataclass(frozen=True)
class PromptSplit:
    """The questions about known combinations, by their use."""

    demonstrations: tuple[str, ...]
    sampling: tuple[str, ...]
    reinforcement: tuple[str, ...]


def split_prompts(world_seed: int) -> PromptSplit:
    """Split the questions: 40% for demonstrations, 20% for sampling and ranking, 40% for reinforcement learning."""
    prompts = _shuffled(world(world_seed).prompts(held_out=False), f"split {world_seed}")
    first, second = len(prompts) * 4 // 10, len(prompts) * 6 // 10
    return PromptSplit(tuple(prompts[:first]), tuple(prompts[first:second]), tuple(prompts[second:]))


def corpus(count: int, *, seed: int, world_seed: int) -> Iterator[str]:
    """Yield `count` short texts of plain prose: tales of remedies that helped, and questions with their answers."""
    known, rng = world(world_seed), random.Random(f"corpus {seed}")
    for _ in range(count):
        yield rng.choices((_tale, _pair_of_tales, _overheard), (0.4, 0.2, 0.4))[0](known, rng)


def demonstrations(count: int, *, seed: int, world_seed: int) -> Iterator[dict[str, list[Message]]]:
    """Yield conversations of one question and one answer, good and bad ones mixed.

    Prompts repeat after all have been used.
    """
    known, rng = world(world_seed), random.Random(f"demonstrations {seed}")
    for prompt in _cycle(split_prompts(world_seed).demonstrations, count, f"demonstrations {seed}"):
        reply = answer(_case(prompt), DEMONSTRATED.draw(rng), known, rng)
        yield {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]}


def test_demonstrations(count: int = 512, *, seed: int, world_seed: int) -> Iterator[dict[str, list[Message]]]:
    """Yield the held-out questions, each with an answer of the same quality as in the demonstrations."""
    known, rng = world(world_seed), random.Random(f"test demonstrations {seed}")
    for prompt in test_prompts(count, world_seed=world_seed):
        reply = answer(_case(prompt), DEMONSTRATED.draw(rng), known, rng)
        yield {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]}


def sampling_prompts(count: int, *, seed: int, world_seed: int) -> list[str]:
    """Return the questions for which sampled answers are ranked."""
    return _cycle(split_prompts(world_seed).sampling, count, f"sampling {seed}")


def rl_prompts(count: int, *, seed: int, world_seed: int) -> list[str]:
    """Return the questions for reinforcement learning."""
    return _cycle(split_prompts(world_seed).reinforcement, count, f"reinforcement {seed}")


def test_prompts(count: int = 512, *, world_seed: int) -> list[str]:
    """Return distinct questions about held-out combinations, the same for every policy and every seed.

    Raises `ValueError` if `count` is larger than the number of such questions.
    """
    prompts = _shuffled(world(world_seed).prompts(held_out=True), f"test {world_seed}")
    if count > len(prompts):
        raise ValueError(f"The playground has {len(prompts)} held-out prompts, {count} were asked for.")
    return prompts[:count]


def _tale(known: World, rng: random.Random) -> str:
    case = rng.choice(known.known)
    thing, trouble = case.thing, case.trouble
    opening = rng.choice(
        (
            f"There was a {thing}, and the {thing} {trouble}.",
            f"When a {thing} {trouble}, the {thing} needs help.",
            f"The {thing} {trouble}. Poor {thing}!",
        )
    )
    ending = rng.choice((f"The {thing} was well again.", f"That mends a {thing}.", f"No {thing} minds that."))
    return f"{opening} {advise(case.remedy, rng)} {ending}"


def _pair_of_tales(known: World, rng: random.Random) -> str:
    first, second = rng.sample(known.known, 2)
    return (
        f"One {first.thing} {first.trouble} and one {second.thing} {second.trouble}. "
        f"{advise(first.remedy, rng)} {advise(second.remedy, rng)}"
    )


def _overheard(known: World, rng: random.Random) -> str:
    case = rng.choice(known.known)
    if rng.random() < 0.1:
        return " ".join(rng.sample(RAMBLINGS, 3)).format(thing=case.thing)
    return f"{rng.choice(case.prompts())} {answer(case, OVERHEARD.draw(rng), known, rng)}"


def _case(prompt: str) -> Case:
    case = parse(prompt)
    assert case is not None, f"the world itself asked {prompt!r}"
    return case


def _cycle(prompts: tuple[str, ...], count: int, key: str) -> list[str]:
    shuffled = _shuffled(prompts, key)
    return [shuffled[i % len(shuffled)] for i in range(count)]


def _shuffled(prompts: Iterator[str] | tuple[str, ...], key: str) -> list[str]:
    shuffled = list(prompts)
    random.Random(key).shuffle(shuffled)
    return shuffled
