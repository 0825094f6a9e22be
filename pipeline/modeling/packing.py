"""Packing: the rows of a batch stand side by side in fewer rows, so that little of a pass is padding.

Every packed row keeps its own positions and attends to itself only, so losses and gradients are those of padded rows
(the mask follows from positions that begin anew: `transformers.masking_utils.find_packed_sequence_indices`). Packed
rows may be wider than the longest row, but a pass never has more tokens, padding included, than with padding.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers.utils.generic import is_flash_attention_requested

from pipeline.errors import RequestError
from pipeline.modeling.passes import IGNORED_LABEL, pad_rows

MAX_ROWS = 8  # the longest row fits at most so often into a packed row
# Attention computes masked pairs, too. A token costs about as much as attention to this many others in a layer of width
# 170, and more in wider ones (12 matrices of width^2 against 2 products of width).
TOKEN_COST = 1000
PROBES = ([5, 6, 7, 8], [7, 8, 9, 10, 11, 12], [12, 13, 14])  # arbitrary token ids
OTHER = [14, 5, 13, 9]  # in place of the first probe
TOLERANCE = {torch.float32: 1e-3}  # relative to a state's norm
HALF_TOLERANCE = 0.3  # half precision rounds, and may choose another expert
HALF_LEAK = 0.05  # the same numbers are computed in both cases, unless experts receive other numbers of tokens


def packed_places(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Return groups of indices into `lengths`, of at most `width` tokens: longest first, each to the fullest group."""
    groups: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fitting = [group for group in range(len(groups)) if room[group] >= lengths[i]]
        if not fitting:
            fitting = [len(groups)]
            groups.append([])
            room.append(width)
        group = min(fitting, key=room.__getitem__)
        groups[group].append(i)
        room[group] -= lengths[i]
    return groups


def best_groups(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Return the cheapest groups of `packed_places`, by tokens with padding and pairs; `size` rows are one pass.

    No group is wider than a pass of padded rows has tokens.
    """
    longest = max(lengths)

    def cost(groups: Sequence[Sequence[int]]) -> int:
        width = max(sum(lengths[i] for i in group) for group in groups)
        return len(groups) * width * (TOKEN_COST + width)

    return min((packed_places(lengths, times * longest) for times in range(1, 1 + min(size, MAX_ROWS))), key=cost)


def rows_per_pass(batch: Mapping[str, Tensor], size: int) -> int:
    """Return how many packed rows have no more tokens than `size` padded ones."""
    longest = int(batch["position_ids"].max()) + 1
    return max(1, size * longest // batch["input_ids"].shape[1])


def collate_packed(rows: Sequence[Mapping[str, list[int]]], pad_id: int, size: int) -> dict[str, Tensor]:
    """Pack rows with `input_ids` and `labels` into a batch; every tensor is [packed rows, widest packed row].

    `attention_mask` is 0 at padding. `position_ids` begin at 0 in each row. A row's first label is ignored, since the
    token before it belongs to another row. `size` is the number of padded rows that one pass would have.
    """
    groups = best_groups([len(row["input_ids"]) for row in rows], size)
    return _batch([[rows[i] for i in group] for group in groups], pad_id)


def _batch(groups: Sequence[Sequence[Mapping[str, list[int]]]], pad_id: int) -> dict[str, Tensor]:
    ids, attention = pad_rows([[token for row in group for token in row["input_ids"]] for group in groups], pad_id)
    labels = [[label for row in group for label in (IGNORED_LABEL, *row["labels"][1:])] for group in groups]
    positions = [[place for row in group for place in range(len(row["input_ids"]))] for group in groups]
    return {
        "input_ids": ids,
        "attention_mask": attention,
        "labels": pad_rows(labels, IGNORED_LABEL)[0],
        "position_ids": pad_rows(positions, 0)[0],  # so each padding token is a row of its own
    }


def packed_states(transformer: Any, inputs: Mapping[str, Any]) -> tuple[Any, Tensor]:
    """Return a transformer's output for packed rows, and the states of all real tokens, row by row: [tokens, hidden].

    `inputs` are arguments of the transformer, as from `collate_packed`.
    """
    real = inputs["attention_mask"].bool()
    given = {**inputs, "attention_mask": None, "use_cache": False}  # with a mask, transformers ignores the positions
    if is_flash_attention_requested(transformer.config):  # it keeps rows apart in a batch of one only
        given |= {name: inputs[name][real][None] for name in ("input_ids", "position_ids")}
        output = transformer(**given)
        return output, output.last_hidden_state[0]
    output = transformer(**given)
    return output, output.last_hidden_state[real]


@torch.no_grad()
def check_packing(transformer: Any, pad_id: int, name: str) -> None:
    """Raise `RequestError` if a packed row has other states than alone, or sees the row before it."""
    refusal = f"{name}: sft.packing=true does not work with {type(transformer).__name__}"
    device = next(transformer.parameters()).device

    def states(first: list[int]) -> tuple[Tensor, ...]:
        rows = [{"input_ids": ids, "labels": ids} for ids in (first, *PROBES[1:])]
        batch = {key: value.to(device) for key, value in _batch([rows], pad_id).items() if key != "labels"}
        return torch.split(packed_states(transformer, batch)[1].float(), [len(row["input_ids"]) for row in rows])

    try:
        packed, beside_another = states(PROBES[0]), states(OTHER)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{refusal}: it takes no positions ({error}). Use sft.packing=false.") from error
    alone = [transformer(input_ids=torch.tensor([row], device=device), use_cache=False) for row in PROBES]
    dtype = alone[0].last_hidden_state.dtype
    pairs = [(one, own.last_hidden_state[0].float()) for one, own in zip(packed, alone, strict=True)]
    off = torch.cat([_differences(*pair) for pair in pairs]).median().item()
    seen = max(_differences(*pair).max().item() for pair in zip(packed[1:], beside_another[1:], strict=True))
    if not (seen <= TOLERANCE.get(dtype, HALF_LEAK) and off <= TOLERANCE.get(dtype, HALF_TOLERANCE)):
        raise RequestError(
            f"{refusal}: with other rows beside it, a row's states differ by {max(off, seen):.2g} of their size, so "
            "rows see each other or have wrong positions. Use sft.packing=false."
        )


def _differences(these: Tensor, those: Tensor) -> Tensor:
    """Return the difference of states relative to their size, [tokens]; both are [tokens, hidden]."""
    return cast(Tensor, (these - those).norm(dim=1) / those.norm(dim=1))
