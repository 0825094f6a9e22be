"""How far people will disagree about a prompt, by prompts like it that several of them judged. Pure functions.

A reward model is unsure of an order for two reasons: it has seen too little (epistemic), or people themselves would not
agree (aleatoric), and labels tell a model only about the first. BALD (Houlsby et al. 2011, arXiv 1112.5745) takes the
difference: the entropy of a label less its expected entropy if the model knew all, which is the information that the
label has about the model. A single reward model does not know the second part. People's earlier votes tell it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.prompts.selection import embed_texts, topic_text
from pipeline.data.rows import Message

Floats = NDArray[np.float64]

NEIGHBOURS = 10  # judged prompts that tell about a prompt
MEAN_WEIGHT = 1.0  # of the mean over all judged prompts, in neighbours of similarity 1


class Judged(NamedTuple):
    """A prompt that several people judged, and the probability that two of them disagree about a pair of answers."""

    prompt: list[Message]
    disagreement: float


def expected_disagreement(prompts: Sequence[list[Message]], judged: Sequence[Judged], seed: int) -> Floats:
    """The probability that two people will disagree about a pair of answers to each prompt [prompts].

    It is the mean of the most similar judged prompts, weighted by similarity (Nadaraya 1964, Watson 1964), together
    with the mean of all. Similarity is the cosine of topic vectors; below 0 it counts as 0.
    """
    topics = embed_texts([topic_text(prompt) for prompt in [*prompts, *(one.prompt for one in judged)]], seed)
    known = np.array([one.disagreement for one in judged])
    similarity = np.clip(topics[: len(prompts)] @ topics[len(prompts) :].T, 0, 1)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :NEIGHBOURS]
    weights = np.take_along_axis(similarity, nearest, 1)
    sums = (weights * known[nearest]).sum(1) + MEAN_WEIGHT * known.mean()
    expected: Floats = sums / (weights.sum(1) + MEAN_WEIGHT)
    return expected


def label_entropy(disagreement: Floats) -> Floats:
    """The entropy in bits of one person's choice, by the probability that two people choose differently.

    Of a choice with the probabilities p and 1 - p, two people differ with the probability 2 p (1 - p). From 1/2 on, it
    is 1 bit.
    """
    less = (1 - np.sqrt(1 - 2 * np.clip(disagreement, 0, 0.5))) / 2  # probability of the rarer choice
    inner = np.clip(less, 1e-12, 0.5)
    bits: Floats = -(inner * np.log2(inner) + (1 - inner) * np.log2(1 - inner))
    return bits
