"""Determines the limit on new tokens: from the lengths of the demonstrations' answers, unless it is set."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from pipeline.config.nodes.models import DecodingConfig
from pipeline.store.artifact import Artifact
from pipeline.store.lineage import lineage, of_stage

COVERED_SHARE = 0.98  # share of the demonstrations' answers that fit within the limit
UNKNOWN = 512  # new tokens if the length of the demonstrations' answers is unknown
ANSWER_TOKENS = "answer_tokens"  # the metric of `sft` with the limit from its demonstrations


def answer_tokens(masks: Iterable[Sequence[int]]) -> int:
    """Return the fewest tokens that a share `COVERED_SHARE` of the answers does not exceed, stop tokens included.

    `masks` has one row per conversation, with 1 at each answer token; a conversation can have several answers.
    """
    lengths = sorted(len(list(run)) for mask in masks for is_answer, run in groupby(mask) if is_answer)
    return lengths[math.ceil(COVERED_SHARE * len(lengths)) - 1]


def with_limit(
    decoding: DecodingConfig, policies: Iterable[Artifact], say: Callable[[str], None]
) -> tuple[DecodingConfig, int]:
    """Return decoding with a limit on new tokens, and this limit: the given one, else one from the demonstrations.

    All policies get the same limit, so that they can be compared: the largest of the SFT stages in their lineage.
    Without an SFT stage, it is `UNKNOWN`, or half of the smallest context if that is less. A remark reports a limit
    that was not given.
    """
    limit = decoding.max_new_tokens
    if limit is None:
        given = list(policies)
        below = [sft for policy in given for sft in of_stage(lineage(policy), "sft")[-1:]]
        found = [int(sft.metrics[ANSWER_TOKENS]) for sft in below if ANSWER_TOKENS in sft.metrics]
        limit = max(found) if found else _without_demonstrations(given)
        why = (
            f"{COVERED_SHARE:.0%} of the demonstrations' are no longer"
            if found
            else "their lengths are unknown without an SFT of this pipeline"
        )
        say(f"answers have up to {limit:,} tokens: {why} (max_new_tokens)")
    return replace(decoding, max_new_tokens=limit), limit


def _without_demonstrations(policies: Sequence[Artifact]) -> int:
    from pipeline.modeling.sources import context_length_in_config, source_of

    return min([UNKNOWN, *(context_length_in_config(source_of(policy)) // 2 for policy in policies)])
