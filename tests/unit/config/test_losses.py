"""Losses of DPO, and the options that go with them, are checked when a request is composed."""

from typing import Any

import pytest

from pipeline.config import compose
from pipeline.config.losses import LOSSES, NOISY, SMOOTHED, TRL_LOSSES, loss_faults, loss_types
from pipeline.errors import RequestError

SMOOTHING = {"label_smoothing": 0.1}


def fault_of(**trainer: Any) -> str:
    """The one thing that is wrong, without the key before it."""
    (fault,) = loss_faults(trainer)
    return fault.removeprefix("dpo.trainer.")


def test_a_request_is_checked() -> None:
    with pytest.raises(
        RequestError, match=r"dpo.trainer.loss_type=sigmod: no such loss. It can be.* sigmoid"
    ) as raised:
        compose.check(["dpo.trainer.loss_type=[sigmod,ipo]", "dpo.trainer.loss_weights=[1]"])
    assert raised.value.status == 2
    assert "loss_weights=[1]: 1 weights for 2 losses" in str(raised.value)


@pytest.mark.parametrize("name", sorted({*LOSSES, *TRL_LOSSES}))
def test_every_known_loss_is_taken(name: str) -> None:
    assert not [*loss_faults({"loss_type": name, **(SMOOTHING if name == "exo_pair" else {})})]


@pytest.mark.parametrize("wanted", ["sigmod", ["sigmoid", "sigmod"], 7])
def test_an_unknown_loss_is_refused_with_the_list(wanted: Any) -> None:
    fault = fault_of(loss_type=wanted)
    assert "no such loss" in fault
    assert all(name in fault for name in (*LOSSES, *TRL_LOSSES))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_type": ["sigmoid", "ipo"], "loss_weights": [1]}, "loss_weights=[1]: 1 weights for 2 losses"),
        ({"loss_weights": 3}, "loss_weights=3: it has to be a list of numbers, one for each loss."),
        ({"loss_weights": ["much"]}, "loss_weights=['much']: it has to be a list of numbers, one for each loss."),
        (SMOOTHING, "label_smoothing=0.1: sigmoid does not use it. These losses do: cdpo, robust"),
        ({"loss_type": "robust", "label_smoothing": 0.5}, "label_smoothing=0.5: out of range, it has to be at least 0"),
        ({"loss_type": "cdpo", "label_smoothing": -0.1}, "label_smoothing=-0.1: out of range"),
        ({"loss_type": "cdpo", "label_smoothing": "some"}, "label_smoothing=some: out of range"),
        ({"loss_type": "exo_pair"}, "loss_type=exo_pair: it needs dpo.trainer.label_smoothing above 0"),
        ({"loss_type": ["cdpo", "hinge"]}, "loss_type=cdpo: it does not go with dpo.trainer.loss_type=hinge, which"),
        ({"loss_type": "cdpo", "use_weighting": True}, "loss_type=cdpo: it does not go with dpo.trainer.use_weighting"),
        ({"loss_type": "cdpo", "f_divergence_type": "js_divergence"}, "loss_type=cdpo: it does not go with"),
        ({"loss_type": "aot", "use_weighting": True}, "loss_type=aot: it does not go with dpo.trainer.use_weighting"),
        ({"loss_type": "nca_pair", "f_divergence_type": "forward_kl"}, "loss_type=nca_pair: it goes with"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], message: str) -> None:
    assert fault_of(**options).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_type": "sigmoid"}, "sigmoid does not use it. These losses do: cdpo, robust."),
        ({"loss_type": "aot_unpaired"}, "aot_unpaired does not use it. These losses do: cdpo, robust."),
        (
            {"loss_type": "robust", "label_smoothing": 0.1},
            "it takes the place of dpo.trainer.label_smoothing=0.1. Leave one of the two out.",
        ),
        ({"loss_type": ["robust", "hinge"]}, "it does not go with dpo.trainer.loss_type=hinge, which only TRL has."),
        ({"use_weighting": True}, "it does not go with dpo.trainer.use_weighting=true, which only TRL has."),
        (
            {"loss_type": "robust", "f_divergence_type": "js_divergence"},
            "it does not go with dpo.trainer.f_divergence_type=js_divergence, which only TRL has.",
        ),
    ],
)
def test_label_noise_that_would_be_ignored_is_refused(options: dict[str, Any], message: str) -> None:
    assert [*loss_faults(options, label_noise=True)] == [f"dpo.label_noise=true: {message}"]


def test_label_noise_makes_dpo_conservative() -> None:
    assert set(NOISY) == set(SMOOTHED) & set(LOSSES)
    assert loss_types({}, label_noise=True) == ["cdpo"]
    for trainer in ({}, {"loss_type": "robust"}, {"loss_type": ["cdpo", "sft"], "loss_weights": [1, 0.1]}):
        assert not [*loss_faults(trainer, label_noise=True)]
    with pytest.raises(RequestError, match=r"dpo.label_noise=true: ipo does not use it"):
        compose.check(["dpo.label_noise=true", "dpo.trainer.loss_type=ipo"])


def test_what_goes_together_is_taken() -> None:
    assert not [*loss_faults({"loss_type": ["robust", "sft"], "loss_weights": [1, 0.1], "label_smoothing": 0.2})]
    assert not [*loss_faults({"loss_type": "hinge", "f_divergence_type": "js_divergence"})]
