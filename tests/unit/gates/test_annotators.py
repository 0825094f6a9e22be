"""The gate about annotators."""

from labeling.suspects import Suspect
from pipeline.gates.annotators import annotators

COUNTS = {"annotators_at_chance": 1.0, "annotators_inverse": 0.0, "alpha": 0.4}


def test_a_suspect_warns_with_the_figures_and_the_line_that_leaves_them_out() -> None:
    verdict = annotators([Suspect("zed", "chance", "reliability 0.02")], COUNTS, "collect")
    assert (verdict.name, verdict.passed, verdict.stage) == ("annotators", False, "collect")
    assert "zed is not distinguishable from chance (reliability 0.02)" in verdict.says
    assert """Leave them out with 'preferences.exclude=["zed"]'""" in verdict.advice
    assert verdict.figures == {name: value for name, value in COUNTS.items() if name != "alpha"}


def test_no_suspect_passes_and_so_does_what_could_not_be_measured() -> None:
    passed = annotators([], {**COUNTS, "annotators_at_chance": 0.0})
    assert passed.passed
    assert passed.says.startswith("No annotator is shown to be at chance")
    for metrics in ({"alpha": 0.4}, {"alpha": 0.4, "annotators_at_chance": 1.0}):  # the second from an earlier version
        unknown = annotators([], metrics)
        assert unknown.passed
        assert "cannot be said" in unknown.says
