"""The gate about annotators: whether pairs come from people who are not to be relied on."""

from collections.abc import Sequence

from labeling.suspects import Suspect, exclusion, sentence
from pipeline.gates.rules import GateVerdict, Metrics
from pipeline.people.trust import METRICS


def annotators(suspects: Sequence[Suspect], metrics: Metrics, stage: str = "preferences") -> GateVerdict:
    """Whether no annotator of the preferences is a suspect. `metrics` are those of the preferences.

    Passes if that could not be assessed.
    """
    figures = {name: metrics[name] for name in METRICS.values() if name in metrics}
    if suspects:
        advice = (
            f"Leave them out with {exclusion(suspects)}, or let votes count by reliability with "
            "preferences.pool=weighted, and talk with them."
        )
        return GateVerdict("annotators", False, sentence(suspects), stage, advice, figures)
    if not {METRICS["chance"], METRICS["inverse"]} <= figures.keys():  # earlier versions of the stage have only one
        says = (
            "Whether an annotator is not to be relied on cannot be said: no majority of three or more is shown to "
            "agree, too few tasks were judged by several, or these preferences are from before this was assessed."
        )
        return GateVerdict("annotators", True, says, stage, "", figures)
    says = "No annotator is shown to be at chance or to rank inversely."
    return GateVerdict("annotators", True, says, stage, "", figures)
