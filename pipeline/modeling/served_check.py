"""Compares a server with the policy that it is to serve, by a few short answers that this machine computes as well.

First the most probable answers: they may part only where the policy itself is unsure, since precisions differ. Then
single tokens that the server draws at places where much is open: their ranks in the policy's distribution show another
temperature, top-k or top-p. Pure functions, but for `Measured.of`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.config.nodes.models import DecodingConfig
from pipeline.data.synthetic.drafts import Generated
from pipeline.modeling.answering import Answer, Answerer
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.drawing import TokenSampler
from pipeline.modeling.heads import LanguageHead, ids_with_token, transformer_of, unwrapped_model
from pipeline.modeling.passes import answer_states, batch_of, entropy, token_logprobs

ANSWERS = 16  # prompts whose most probable answers are compared
LENGTH = 32  # most tokens of these
DRAWS = 128  # tokens drawn, about as many at one place in each of these answers
SURE = 0.25  # nats by which the most probable token leads where another precision does not change it
MIN_AGREED = 8  # sure tokens on which both have to agree before the weights count as the policy's
MAX_Z = 4.5  # standard errors by which the mean rank may differ from a half
MIN_VARIANCE = 1.0  # of the sum of ranks: below it, too little is open to tell anything


class Measured(NamedTuple):
    """The policy's most probable answers, [answers][tokens], and its distribution at one place in each of them."""

    answers: Sequence[Answer]
    leads: Sequence[Sequence[float]]  # log-probability of each token above that of the second most probable one
    places: Sequence[int]  # the index of the most uncertain token of each answer, among those that can be asked for
    chances: Sequence[Sequence[float]]  # the probability of each token at that place, [answers][vocabulary]

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        local: Answerer,
        prompts: Sequence[list[int]],
        answers: Sequence[Answer],
        decoding: DecodingConfig,
        can_be_sent: Callable[[list[int]], bool],
    ) -> "Measured":
        """Compute what the policy's own weights say about these answers to rendered prompts."""
        transformer, head = transformer_of(local.model), LanguageHead(unwrapped_model(local.model))
        batch = batch_of(prompts, [one.ids for one in answers], local.chat.tokenizer.pad_token_id, local.device)
        states = answer_states(transformer, batch)
        counts = [len(one.ids) for one in answers]

        def by_answer(statistic: Callable[[Tensor], Tensor]) -> list[list[float]]:
            found = token_logprobs(states, batch.tokens, head, statistic=statistic).statistic
            assert found is not None
            ends = list(accumulate(counts))
            return [found[end - count : end].tolist() for count, end in zip(counts, ends, strict=True)]

        rows = zip(prompts, answers, by_answer(entropy), strict=True)
        places = [most_open(prompt, answer.ids, values, can_be_sent) for prompt, answer, values in rows]
        starts = torch.tensor([0, *accumulate(counts[:-1])]) + torch.tensor(places)
        sampler = TokenSampler(ids_with_token(local.chat.tokenizer), decoding.temperature or 1.0, decoding.top_p)
        chances = sampler.on(local.device).probabilities(head(states[starts.to(local.device)]))
        return cls(answers, by_answer(lead), places, chances.tolist())


def most_open(
    prompt: list[int], answer: list[int], entropies: Sequence[float], can_be_sent: Callable[[list[int]], bool]
) -> int:
    """Return the index of the most uncertain token before which the text can be sent; 0 is after the prompt alone."""
    order = sorted(range(len(answer)), key=lambda place: -entropies[place])
    return next((place for place in order if can_be_sent([*prompt, *answer[:place]])), 0)


def lead(logs: Tensor) -> Tensor:
    """Return by how much the most probable token leads: log-probabilities […, vocabulary] -> […]."""
    first, second = logs.topk(2).values.unbind(-1)
    return first - second


def shares_of(chances: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """Return the probability of each name of a token: several may have the same text. The most probable is first."""
    found: dict[str, float] = defaultdict(float)
    for chance, name in zip(chances, names, strict=True):
        found[name] += chance
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def shown(text: str) -> str:
    """Return a text as it is compared: servers differ in spaces at its ends and in parts of characters."""
    return text.replace("\ufffd", "").strip()


class Agreement(NamedTuple):
    """How far the server's most probable answers are the policy's."""

    agreed: int  # sure tokens that are equal
    parted: int  # answers that part where the policy is sure
    unsure: int  # answers that part where it is not


def agreement(
    measured: Measured, theirs: Sequence[Generated], text: Callable[[Sequence[int]], str], most: int
) -> Agreement:
    """Compare the server's answers, of at most `most` tokens, with the policy's; `text` decodes token ids."""
    agreed = parted = unsure = 0
    for own, leads, other in zip(measured.answers, measured.leads, theirs, strict=True):
        end = parts_at(own, other, text, most)
        agreed += sum(value >= SURE for value in leads[:end])
        if end is not None:
            is_sure = min(leads[max(end - 1, 0) : end + 1]) >= SURE  # a text may show a difference a token late
            parted, unsure = parted + is_sure, unsure + (not is_sure)
    return Agreement(agreed, parted, unsure)


def parts_at(own: Answer, other: Generated, text: Callable[[Sequence[int]], str], most: int) -> int | None:
    """Return the index of the first token that differs, ends included; None if the answers are equal.

    `transformers serve` calls an answer cut off whose last possible token is the one that ends it.
    """
    if other.text.strip() == own.text and (other.stopped or not own.stopped or len(own.ids) == most):
        return None
    for place in range(len(own.ids)):
        if not shown(other.text).startswith(shown(text(own.ids[: place + 1]))):
            return place
    return len(own.ids) - 1


def names_of(tokens: int, drawn: Sequence[Generated], chat: ChatFormat) -> tuple[list[str], list[str]]:
    """Return a name for each token of the vocabulary and for each drawn one: its id, or its text if no id came back."""
    if all(one.ids for one in drawn):
        return [str(token) for token in range(tokens)], [str(one.ids[0]) for one in drawn if one.ids]
    texts = chat.tokenizer.batch_decode([[token] for token in range(tokens)], skip_special_tokens=True)
    return [shown(text) for text in texts], [shown(one.text) for one in drawn]


class Ranks(NamedTuple):
    """The ranks of drawn tokens: 0 is the most probable one, 1 the least; 0.5 on average."""

    z: float  # standard errors of their mean from 0.5; below 0: too often the most probable ones
    variance: float  # of their sum, if the server draws as the policy does


def ranks(shares: Sequence[dict[str, float]], drawn: Sequence[str]) -> Ranks:
    """Compare draws with the distribution that they should have, by the middle of each name's cumulative share.

    `drawn` are the same number of names for each of `shares`, one after the other.
    """
    each = len(drawn) // len(shares)
    total = variance = 0.0
    for place, share in enumerate(shares):
        middles, below = {}, 0.0
        for name, chance in share.items():
            middles[name] = below + chance / 2 - 0.5
            below += chance
        own = drawn[place * each : (place + 1) * each]
        total += sum(middles.get(name, 0.5) for name in own)
        variance += each * sum(chance * middles[name] ** 2 for name, chance in share.items())
    return Ranks(total / math.sqrt(variance) if variance else 0.0, variance)
