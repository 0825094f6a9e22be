"""Checks the losses that `dpo.trainer.loss_type` names, and their options, without torch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LOSSES = ("sigmoid", "sigmoid_norm", "cdpo", "robust", "ipo", "sft")
"""Losses that `pipeline.modeling.preferences.losses` computes, one function each."""

TRL_LOSSES = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
)
"""Losses that TRL has. TRL computes all losses of a request if one of them is not in `LOSSES`."""

SMOOTHED = ("cdpo", "robust", "exo_pair", "aot", "aot_unpaired")
"""Losses that use `label_smoothing`."""

NOISY = ("cdpo", "robust")
"""Losses that use `dpo.label_noise`: smoothed ones that the pipeline computes. TRL has one value for all pairs."""

ANY_DIVERGENCE = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft")
"""Losses that TRL computes with any `f_divergence_type`."""

KEY = "dpo.trainer"


def loss_types(trainer: Mapping[str, Any], label_noise: bool = False) -> list[Any]:
    """Return the loss names in the options of DPO's trainer: one or several.

    By default `sigmoid` (plain DPO), and with label noise `cdpo`.
    """
    wanted = trainer.get("loss_type", "cdpo" if label_noise else "sigmoid")
    return list(wanted) if isinstance(wanted, list | tuple) else [wanted]


def uses_own_losses(trainer: Mapping[str, Any]) -> bool:
    """Return whether the pipeline computes all losses of DPO's trainer options; otherwise TRL computes all."""
    plain = _divergence(trainer) == "reverse_kl" and not trainer.get("use_weighting")
    return plain and all(name in LOSSES for name in loss_types(trainer))


def loss_faults(trainer: Mapping[str, Any], label_noise: bool = False) -> Iterator[str]:
    """Yield one message for each fault in the requested losses and their options."""
    types, known = loss_types(trainer, label_noise), sorted({*LOSSES, *TRL_LOSSES})
    unknown = [name for name in types if name not in known]
    for name in unknown:
        yield f"{KEY}.loss_type={name}: no such loss. It can be, alone or in a list: {', '.join(known)}."
    yield from _weight_faults(trainer.get("loss_weights"), types)
    if types and not unknown:
        yield from _smoothing_faults(trainer.get("label_smoothing", 0.0), types)
        yield from _noise_faults(trainer, types) if label_noise else _own_faults(trainer, types)
        yield from _divergence_faults(trainer, types)


def _weight_faults(weights: Any, types: Sequence[Any]) -> Iterator[str]:
    if weights is None:
        return
    if not isinstance(weights, list | tuple) or not all(_is_number(weight) for weight in weights):
        yield f"{KEY}.loss_weights={weights}: it has to be a list of numbers, one for each loss."
    elif len(weights) != len(types):
        yield f"{KEY}.loss_weights={list(weights)}: {len(weights)} weights for {len(types)} losses in loss_type."


def _smoothing_faults(smoothing: Any, types: Sequence[str]) -> Iterator[str]:
    """Refuse smoothing that is out of range, or that no requested loss uses: it would be ignored silently."""
    if not _is_number(smoothing) or not 0 <= smoothing < 0.5:
        yield f"{KEY}.label_smoothing={smoothing}: out of range, it has to be at least 0 and below 0.5."
    elif smoothing and not set(types) & set(SMOOTHED):
        losses = ", ".join(types)
        yield f"{KEY}.label_smoothing={smoothing}: {losses} does not use it. These losses do: {', '.join(SMOOTHED)}."
    elif not smoothing and "exo_pair" in types:
        yield f"{KEY}.loss_type=exo_pair: it needs {KEY}.label_smoothing above 0, such as 1e-3."


def _noise_faults(trainer: Mapping[str, Any], types: Sequence[str]) -> Iterator[str]:
    """Refuse losses and options beside `dpo.label_noise` with which it would be ignored."""
    if not set(types) & set(NOISY):
        yield f"dpo.label_noise=true: {', '.join(types)} does not use it. These losses do: {', '.join(NOISY)}."
    elif trainer.get("label_smoothing"):
        smoothing = f"{KEY}.label_smoothing={trainer['label_smoothing']}"
        yield f"dpo.label_noise=true: it takes the place of {smoothing}. Leave one of the two out."
    elif beside := _only_in_trl(trainer, types):
        yield f"dpo.label_noise=true: it does not go with {KEY}.{beside[0]}, which only TRL has."


def _own_faults(trainer: Mapping[str, Any], types: Sequence[str]) -> Iterator[str]:
    """Refuse losses that TRL lacks together with options that only TRL has: TRL computes all losses or none."""
    beside = _only_in_trl(trainer, types)
    for name in (name for name in types if name not in TRL_LOSSES and beside):
        yield f"{KEY}.loss_type={name}: it does not go with {KEY}.{beside[0]}, which only TRL has."


def _only_in_trl(trainer: Mapping[str, Any], types: Sequence[str]) -> list[str]:
    """Return the losses and options that only TRL has, as they are written in a request."""
    found = [f"loss_type={name}" for name in types if name not in LOSSES]
    found += [f"f_divergence_type={_divergence(trainer)}"] if _divergence(trainer) != "reverse_kl" else []
    return found + (["use_weighting=true"] if trainer.get("use_weighting") else [])


def _divergence_faults(trainer: Mapping[str, Any], types: Sequence[str]) -> Iterator[str]:
    """Refuse combinations that TRL rejects only when training begins."""
    if trainer.get("use_weighting"):
        for name in (name for name in types if name in ("aot", "aot_unpaired")):
            yield f"{KEY}.loss_type={name}: it does not go with {KEY}.use_weighting=true."
    if _divergence(trainer) != "reverse_kl":
        for name in (name for name in types if name in TRL_LOSSES and name not in ANY_DIVERGENCE):
            yield f"{KEY}.loss_type={name}: it goes with {KEY}.f_divergence_type=reverse_kl only."


def _divergence(trainer: Mapping[str, Any]) -> Any:
    return trainer.get("f_divergence_type", "reverse_kl")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
