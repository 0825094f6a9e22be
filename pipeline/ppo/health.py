"""Decides when a run ends early, and which of its policies is the last good one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class HealthLimits:
    """The limits of healthy answers. `patience` unhealthy iterations in a row end the run."""

    kl: float  # maximum, nats per answer
    stopped: float  # minimum share of answers that end with a stop token, relative to the first iteration
    distinct: float  # minimum share of answers that differ from each other
    patience: int


@dataclass(frozen=True)
class Health:
    """The health of a run so far. Policy n is the one after n updates; iteration n + 1 samples from it."""

    good: int = 0  # the last policy with healthy answers
    bad: int = 0  # unhealthy iterations in a row
    first_stopped: float | None = None  # share of the first iteration's answers that end with a stop token
    fault: str | None = None  # why the run ends

    def after(self, policy: int, figures: Mapping[str, float], limits: HealthLimits) -> "Health":
        """Return the health after the answers of `policy`; `figures` has at least kl, stopped and distinct.

        A figure that is not finite ends the run at once.
        """
        first = figures["stopped"] if self.first_stopped is None else self.first_stopped
        wrong = fault_in(figures, first, limits)
        if not wrong:
            return Health(policy, 0, first)
        at_once = any(not math.isfinite(value) for value in figures.values())
        bad = self.bad + 1
        fault = wrong if at_once or bad >= limits.patience else None
        return replace(self, bad=bad, first_stopped=first, fault=fault)

    def with_fault(self, why: str) -> "Health":
        """Return the health after a failed update."""
        return replace(self, fault=why)


def fault_in(figures: Mapping[str, float], first_stopped: float, limits: HealthLimits) -> str | None:
    """Return the fault of an iteration's answers as text; None if they are healthy."""
    infinite = [name for name, value in figures.items() if not math.isfinite(value)]
    if infinite:
        return f"{', '.join(infinite)} not finite"
    if figures["kl"] > limits.kl:
        return f"KL to the reference {figures['kl']:.1f} nats per answer, above ppo.stop.kl={limits.kl:g}"
    if figures["stopped"] < limits.stopped * first_stopped:
        return (
            f"only {figures['stopped']:.0%} of the answers end by themselves, {first_stopped:.0%} did at first "
            f"(ppo.stop.stopped={limits.stopped:g})"
        )
    if figures["distinct"] < limits.distinct:
        return (
            f"only {figures['distinct']:.0%} of the answers differ from each other "
            f"(ppo.stop.distinct={limits.distinct:g})"
        )
    return None
