"""The gate about annotators: whether pairs come from people who are not to be relied on."""

from collections.abc import Sequence

from labeling.suspects import Suspect, exclusion, sentence
from pipeline.gates.rules import GateVerdict, Metrics
from pipeline.people.trust import METRICS


def annotators(suspects: Sequence[Suspect], metrics: Metrics, stage: str = "preferences") -> GateVerdict:
    """Whether no annotator of the preferences is a suspect. `metrics` are those of the preferences.

    Passes if neither agreement nor pace could be measured.
    """
    figures = {name: metrics[name] for name in METRICS.values() if name in metrics}
    if suspects:
        advice = (
            f"Leave them out with {exclusion(suspects)}, or let votes count by reliability with "
            "preferences.pool=weighted, and talk with them."
        )
        return GateVerdict("annotators", False, sentence(suspects), stage, advice, figures)
    if len(figures) < len(METRICS):  # an earlier version of the stage counted some suspects and named none
        says = (
            "How far each annotator can be relied on cannot be said: too few tasks were judged by several, or these "
            "preferences are from before annotators were assessed."
        )
        return GateVerdict("annotators", True, says, stage, "")
    says = "No annotator is at chance, ranks inversely, or answers faster than the texts can be read."
    return GateVerdict("annotators", True, says, stage, "", figures)
