"""Checks that a model computes the same states for padded rows, and for rows with a cache, as for each row alone.

Answers are drawn in batches padded on the left. An architecture that ignores the attention mask, or keeps its state
elsewhere, would sample from another distribution, and no other check would find it.
"""

import inspect
from statistics import median
from typing import Any

import torch
from transformers import DynamicCache

from pipeline.errors import RequestError
from pipeline.modeling.passes import cache_argument, pad_rows

TOLERANCE = {torch.float32: 1e-3}  # relative to a state's norm; half precision rounds, and may choose another expert
HALF_TOLERANCE = 0.3
PROBES = ([5, 6], [7, 8, 9, 10, 11], [12, 13, 14])  # arbitrary token ids


@torch.no_grad()
def check_padding(decoder: Any, pad_id: int, name: str, *, cached: bool = False) -> None:
    """Raise `RequestError` if padding on the left, with the sampler's cache if `cached`, changes a row's last state.

    `decoder` is the transformer below the head.
    """
    device = next(decoder.parameters()).device
    ids, attention = (part.to(device) for part in pad_rows(PROBES, pad_id, left=True))
    width = ids.shape[1]
    positions = (attention.cumsum(1) - attention) * attention
    cache = {cache_argument(decoder): DynamicCache(config=decoder.config)} if cached else {}
    for part in [slice(0, width - 1), slice(width - 1, width)] if cached else [slice(0, width)]:
        seen = _accepted_arguments(decoder, attention_mask=attention[:, : part.stop], position_ids=positions[:, part])
        found = decoder(input_ids=ids[:, part], use_cache=cached, **seen, **cache).last_hidden_state
    alone = [decoder(input_ids=torch.tensor([row], device=device), use_cache=False) for row in PROBES]
    expected = torch.stack([output.last_hidden_state[0, -1] for output in alone]).float()
    differences = (found[:, -1].float() - expected).norm(dim=1) / expected.norm(dim=1)
    if median(differences.tolist()) > TOLERANCE.get(found.dtype, HALF_TOLERANCE):
        kept = ", or with the cache that PPO's sampler keeps," if cached else ""
        raise RequestError(
            f"{name}: with padding on the left{kept} this architecture computes other states than without it, so "
            "answers "
            "cannot be drawn from it in batches. It is not supported."
        )


def _accepted_arguments(decoder: Any, **given: Any) -> dict[str, Any]:
    """Return the arguments that the architecture accepts."""
    parameters = inspect.signature(decoder.forward).parameters
    anything = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    return {name: value for name, value in given.items() if anything or name in parameters}
