"""Checks that a model computes the same states for padded rows, and for rows with a cache, as for each row alone.

Answers are drawn in batches padded on the left. An architecture that ignores the attention mask, or keeps its state
elsewhere, would sample from another distribution, and no other check would find it.
"""

import inspect
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor

from pipeline.errors import RequestError
from pipeline.modeling.caching import sampling_cache
from pipeline.modeling.passes import cache_argument, pad_rows

TOLERANCE = {torch.float32: 1e-3}  # relative to a state's norm; half precision rounds, and may choose another expert
HALF_TOLERANCE = 0.3
PROBES = ([5, 6, 7], [8, 9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19])  # arbitrary token ids


def check_padding(decoder: Any, pad_id: int, name: str, *, cached: bool = False) -> None:
    """Raise `RequestError` if padding on the left, with the sampler's cache if `cached`, changes a row's last state.

    `decoder` is the transformer below the head.
    """
    if not keeps_states(decoder, pad_id, cached=cached):
        kept = ", or with the cache that PPO's sampler keeps," if cached else ""
        raise RequestError(
            f"{name}: with padding on the left{kept} this architecture computes other states than without it, so "
            "answers "
            "cannot be drawn from it in batches. It is not supported."
        )


@torch.no_grad()
def keeps_states(decoder: Any, pad_id: int, *, cached: bool) -> bool:
    """Return whether padding on the left, with the sampler's cache if `cached`, keeps the rows' last states.

    With the cache, columns are read in three steps, and the first row leaves the batch before the last one. An
    architecture that has no such cache does not keep them.
    """
    device = next(decoder.parameters()).device
    ids, attention = (part.to(device) for part in pad_rows(PROBES, pad_id, left=True))
    positions = (attention.cumsum(1) - attention) * attention
    alone = [decoder(input_ids=torch.tensor([row], device=device), use_cache=False) for row in PROBES]
    expected = torch.stack([output.last_hidden_state[0, -1] for output in alone])
    if cached:
        rows = torch.tensor([1, 2, 3], device=device)
        try:
            found, expected = _last_states_with_cache(decoder, ids, attention, positions, rows), expected[rows]
        except (AttributeError, IndexError, NotImplementedError, TypeError, ValueError):
            return False
    else:
        found = _states(decoder, ids, attention, positions, use_cache=False)[:, -1]
    differences = (found.float() - expected.float()).norm(dim=1) / expected.float().norm(dim=1)
    return bool(median(differences.tolist()) <= TOLERANCE.get(found.dtype, HALF_TOLERANCE))


def _last_states_with_cache(decoder: Any, ids: Tensor, attention: Tensor, positions: Tensor, rows: Tensor) -> Tensor:
    """Return the last states of `rows`, which alone are left in the batch before its last column is read."""
    cache, width = sampling_cache(decoder), ids.shape[1]
    given = {"use_cache": True, cache_argument(decoder): cache}
    for part in (slice(0, width - 2), slice(width - 2, width - 1)):
        _states(decoder, ids[:, part], attention[:, : part.stop], positions[:, part], **given)
    cache.reorder_cache(rows)
    return _states(decoder, ids[rows, -1:], attention[rows], positions[rows, -1:], **given)[:, -1]


def _states(decoder: Any, ids: Tensor, attention: Tensor, positions: Tensor, **given: Any) -> Tensor:
    """Return the last hidden states, [rows, width, hidden]."""
    seen = _accepted_arguments(decoder, attention_mask=attention, position_ids=positions)
    return cast(Tensor, decoder(input_ids=ids, **seen, **given).last_hidden_state)


def _accepted_arguments(decoder: Any, **given: Any) -> dict[str, Any]:
    """Return the arguments that the architecture accepts."""
    parameters = inspect.signature(decoder.forward).parameters
    anything = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    return {name: value for name, value in given.items() if anything or name in parameters}
