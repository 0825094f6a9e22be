"""Charts are where their numbers say; curves and clouds show what is known, and nothing else."""

import statistics
from itertools import pairwise

import pytest

from pipeline.report.bars import Bar, bin_shares, intervals, reliability
from pipeline.report.charts import Series, Spot, curves, label_places, plane
from pipeline.report.correlations import correlation, relations
from pipeline.report.curves import kept, panels, points
from pipeline.report.svg import Scale, ticks
from tests.unit.report.comparisons import PLAIN, Elements, chain, rows_of, told


def test_a_scale_maps_ends_to_ends() -> None:
    scale = Scale(0, 10, 50, 150)
    assert [scale(0), scale(2.5), scale(10)] == [50, 75, 150]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0, 7, [0, 2, 4, 6, 8]),
        (4.72, 4.95, [4.7, 4.8, 4.9, 5.0]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_and_hold_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_intervals_are_where_their_numbers_say() -> None:
    drawn = Elements(str(intervals([Bar("DPO", 1, 0.84, 0.81, 0.87)], "win rate")))
    (span,), (dot,) = drawn.of("line", "span"), drawn.of("circle", "dot")
    assert (span["x1"], span["x2"], dot["cx"]) == ("81.0%", "87.0%", "84.0%")
    assert "0.84 [0.81, 0.87]" in drawn.text


def test_curves_are_where_their_numbers_say() -> None:
    drawn = Elements(str(curves([Series("evaluation", "eval", [(0, 0.0), (10, 1.0)])], "step", "loss", mark=(10, 1.0))))
    (line,), (ring,) = drawn.of("polyline", "eval"), drawn.of("circle", "kept")
    assert line["points"] == "46.0,190.0 346.0,26.0"  # from the lower left to the upper right corner of the axes
    assert (ring["cx"], ring["cy"]) == ("346.0", "26.0")


def test_curves_leave_out_what_is_not_finite_and_draw_a_single_point() -> None:
    drawn = Elements(str(curves([Series("training", "train", [(1, float("nan")), (2, 0.5)])], "step", "loss")))
    assert len(drawn.of("circle", "train")) == 1
    assert str(curves([Series("training", "train", [(1, float("inf"))])], "step", "loss")) == ""


def test_the_plane_is_where_its_numbers_say() -> None:
    drawn = Elements(str(plane([Spot("A", 0, 0, 0, 0, 0), Spot("B", 1, 8, 1, 0.75, 1)], "KL", "score")))
    assert [(dot["cx"], dot["cy"]) for dot in drawn.of("circle", "dot")] == [("46.0", "190.0"), ("346.0", "26.0")]
    assert [line["y1"] for line in drawn.of("line", "whisker")] == ["190.0", "67.0"]


def test_calibration_is_where_its_numbers_say_and_larger_for_more_pairs() -> None:
    drawn = Elements(str(reliability([(0.5, 0.0, 4), (1.0, 1.0, 16)], "predicted", "observed")))
    dots = drawn.of("circle", "speck")
    assert [(dot["cx"], dot["cy"]) for dot in dots] == [("46.0", "190.0"), ("346.0", "26.0")]
    assert [dot["r"] for dot in dots] == ["6.5", "10.0"]


def test_labels_of_near_dots_do_not_cover_each_other() -> None:
    places = label_places([("SFT@friday", 100, 100), ("SFT@monday", 103, 101), ("DPO", 101, 99)])
    heights = sorted(place[2] for place in places)
    assert all(b - a >= 13 for a, b in pairwise(heights))


def test_bins_hold_every_value_once() -> None:
    assert bin_shares([0, 0.05, 0.3, 1.0]) == [0.5, 0, 0, 0.25, 0, 0, 0, 0, 0, 0.25]


def test_the_kept_checkpoint_is_the_best_or_the_last() -> None:
    history = [{"step": 1, "eval_loss": 0.5}, {"step": 2, "loss": 0.4}, {"step": 3, "eval_loss": 0.6}]
    assert [kept(history, True), kept(history, False), kept(history[1:2], True)] == [history[0], history[2], None]


def test_a_history_of_an_unknown_stage_has_curves_too() -> None:
    history = [{"clip_fraction": 0.1, "step": 1}, {"clip_fraction": 0.2, "step": 2}]
    assert [panel.title for panel in panels(history)] == ["Clip fraction"]
    assert points(history, "clip_fraction") == [(1, 0.1), (2, 0.2)]


def test_curves_count_in_tokens_where_every_row_says_how_many() -> None:
    history = [{"step": 1, "tokens": 500, "loss": 2.0}, {"step": 2, "tokens": 900, "loss": 1.0}]
    assert points(history, "loss") == [(500, 2.0), (900, 1.0)]
    assert points([*history, {"step": 3, "loss": 0.5}], "loss") == [(1, 2.0), (2, 1.0), (3, 0.5)]


def test_correlations_are_of_ranks_and_none_without_variation() -> None:
    """Spearman's: any rising curve has 1. With ties, the linear correlation of ranks that share their places' mean."""
    assert correlation([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1)
    assert correlation([1, 2, 3], [5, 5, 5]) is None
    assert correlation([4], [2]) is None
    ranks = [1, 2.5, 2.5, 4, 5.5, 5.5], [2, 1, 4.5, 4.5, 3, 6]
    expected = statistics.correlation(*ranks)
    assert correlation([1, 2, 2, 3, 5, 5], [2, 1, 4, 4, 3, 9]) == pytest.approx(expected)


def test_what_scores_go_along_with_is_drawn_where_it_is_known() -> None:
    rows = rows_of({"sft": [0.1, 0.5, 0.9], "dpo": [0.2, 0.6, 0.8]})
    for row in rows:
        for answer in row["answers"].values():
            answer |= {"reward": answer["score"] * 2, "tokens": int(answer["score"] * 10)}
    parts = {name: artifact for name, artifact in chain().items() if name in ("sft", "dpo")}
    found = list(relations(told(parts, {"sft": PLAIN, "dpo": PLAIN}, rows)))
    assert [relation.pair.title for relation in found] == ["Reward against length"]  # no judge: no other pair
    assert [(label, value) for label, _, value in found[0].correlations] == [("SFT", "+1.00"), ("DPO", "+1.00")]
    assert len(Elements(str(found[0].chart)).of("circle", "speck")) == 6


def test_many_policies_are_numbered_on_the_plane_and_named_below() -> None:
    spots = [Spot(f"DPO <{n}>", n, n, n, n, n) for n in range(7)]
    drawn = str(plane(spots, "KL", "score"))
    assert [f">{n}</text>" in drawn for n in range(1, 8)] == [True] * 7
    assert drawn.index("DPO &lt;0&gt;") < drawn.index("DPO &lt;6&gt;")
    assert "DPO &lt;6&gt;</text>" not in drawn
    assert "<ol" not in str(plane(spots[:6], "KL", "score"))
