"""How far training moved: shares against a count over all numbers, and what rounding leaves of small steps."""

from __future__ import annotations

import pytest

from tests.lazily import lazily

with lazily():
    import torch

    from pipeline.modeling import movement
    from pipeline.modeling.movement import StartingWeights, lost_steps_remark


def linear(numbers: int) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(numbers, 1, bias=True)


def test_the_share_of_numbers_that_moved_is_counted_over_all_trained_tensors() -> None:
    """A tensor that is looked at in parts counts as what it is: 3 of its 4 quarters moved, and the bias did not."""
    quarter = movement.MAX_SAMPLED
    model = linear(4 * quarter)
    start = StartingWeights(model)
    with torch.no_grad():
        model.weight[0, quarter:] += 1e-3
    assert start.moved(model) == pytest.approx(3 * quarter / (4 * quarter + 1), abs=1e-3)


def test_frozen_numbers_do_not_count() -> None:
    model = linear(8)
    model.bias.requires_grad_(False)
    start = StartingWeights(model)
    with torch.no_grad():
        model.weight += 1
    assert start.moved(model) == 1


def test_steps_below_a_precision_are_seen_to_be_lost_in_it() -> None:
    """From a number of bfloat16 a step of 1e-7 reaches no other; between these numbers small steps count on average."""
    for on_the_grid, step, expected in ((True, 1e-7, 0.0), (True, 0.1, 1.0), (False, 1e-4, 1.0)):
        model = linear(200_000)
        if on_the_grid:
            model.to(torch.bfloat16).float()
        else:
            with torch.no_grad():
                model.weight.copy_(torch.rand_like(model.weight) + 1)
        start = StartingWeights(model)
        with torch.no_grad():
            model.weight += step
        assert start.kept(model, torch.bfloat16) == pytest.approx(expected, abs=0.4)
        assert start.kept(model, torch.float32) == pytest.approx(1, abs=0.05)


def test_only_what_is_lost_is_worth_a_remark() -> None:
    assert lost_steps_remark(0.97, None, "float32") is None
    assert lost_steps_remark(0.97, 0.9, "bfloat16") is None
    assert "only 3.0% of the trained numbers" in (lost_steps_remark(0.03, None, "float32") or "")
    assert "12.0% of what training changed is left in bfloat16" in (lost_steps_remark(0.97, 0.12, "bfloat16") or "")
