"""Charts of points: curves, planes, scatter plots. Pure functions from numbers to markup (see `report.svg`)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from pipeline.report.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Point,
    Scale,
    axes,
    line,
    svg,
    text,
    ticks,
    widened,
)

LETTER = 6.4  # usual width of a letter in the units of a chart, for placing labels
MOST_NAMED = 6  # policies with their names on a plane; more have numbers there, and a list below
LINE = 14  # smallest vertical distance of labels that do not touch


class Series(NamedTuple):
    """A line. `kind` is a CSS class: `train` (pale), `alone`, or `eval` (strong, with dots)."""

    label: str
    kind: str
    points: Sequence[Point]


class Spot(NamedTuple):
    """A policy on a plane, with an interval on the y axis."""

    label: str
    colour: int
    x: float
    y: float
    y_low: float
    y_high: float


class Cloud(NamedTuple):
    """The answers of one policy, as points."""

    label: str
    colour: int
    points: Sequence[Point]


def curves(series: Sequence[Series], x_name: str, y_name: str, mark: Point | None = None) -> Markup:
    """Draw lines over steps. `mark`, the kept checkpoint, gets a ring."""
    drawn = [one._replace(points=_finite(one.points)) for one in series]
    points = [point for one in drawn for point in one.points]
    if not points:
        return Markup("")
    xs, ys = ticks(*widened([x for x, _ in points])), ticks(*widened([y for _, y in points]))
    last = max(x for x, _ in points)
    x = Scale(0.0 if xs[0] >= 0 else xs[0], max(last, xs[0] + 1e-9), LEFT, WIDTH - RIGHT)
    y = Scale(ys[0], ys[-1], HEIGHT - BOTTOM, TOP)
    parts = axes(x, y, [tick for tick in xs if tick <= last], ys, x_name, y_name)
    for one in drawn:
        parts += _curve(one, x, y)
    if mark and all(map(math.isfinite, mark)):
        parts.append(Markup('<circle class="kept" cx="{:.1f}" cy="{:.1f}" r="7"/>').format(x(mark[0]), y(mark[1])))
    return svg(f"{y_name} over {x_name}", parts)


def _finite(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if all(map(math.isfinite, point))]


def _curve(one: Series, x: Scale, y: Scale) -> list[Markup]:
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in one.points)
    dots = one.points if one.kind == "eval" or len(one.points) == 1 else []
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>')
    return [
        Markup('<polyline class="{}" points="{}"/>').format(one.kind, path),
        *(dot.format(one.kind, x(a), y(b)) for a, b in dots),
    ]


def plane(spots: Sequence[Spot], x_name: str, y_name: str) -> Markup:
    """Draw one dot per policy, with its interval and its name, or with a number if there are many."""
    xs = ticks(*widened([0.0, *(spot.x for spot in spots)]))
    ys = ticks(*widened([edge for spot in spots for edge in (spot.y_low, spot.y_high)]))
    x, y = Scale(xs[0], xs[-1], LEFT, WIDTH - RIGHT), Scale(ys[0], ys[-1], HEIGHT - BOTTOM, TOP)
    parts = axes(x, y, xs, ys, x_name, y_name)
    for spot in spots:
        parts.append(line(f"whisker p{spot.colour}", x(spot.x), y(spot.y_low), x(spot.x), y(spot.y_high)))
        dot = Markup('<circle class="dot p{}" cx="{:.1f}" cy="{:.1f}" r="5"/>')
        parts.append(dot.format(spot.colour, x(spot.x), y(spot.y)))
    numbered = len(spots) > MOST_NAMED
    labels = [str(number) if numbered else spot.label for number, spot in enumerate(spots, start=1)]
    places = label_places([(label, x(spot.x), y(spot.y)) for label, spot in zip(labels, spots, strict=True)])
    for label, (anchor, left, baseline) in zip(labels, places, strict=True):
        parts.append(text(left, baseline, label, anchor, "label"))
    return svg(f"{y_name} against {x_name}", parts) + (_numbered(spots) if numbered else Markup(""))


def _numbered(spots: Sequence[Spot]) -> Markup:
    """Return the list of the policies, numbered as on the plane."""
    entry = Markup('<li><span class="chip p{}">{}</span></li>')
    return Markup('<ol class="places">{}</ol>').format(
        Markup("").join(entry.format(spot.colour, spot.label) for spot in spots)
    )


def scatter(clouds: Sequence[Cloud], x_name: str, y_name: str) -> Markup:
    """Draw one point per answer in its policy's colour. Later clouds cover earlier ones."""
    drawn = [cloud._replace(points=_finite(cloud.points)) for cloud in clouds]
    points = [point for cloud in drawn for point in cloud.points]
    if not points:
        return Markup("")
    xs, ys = (ticks(*widened([point[axis] for point in points])) for axis in (0, 1))
    x, y = Scale(xs[0], xs[-1], LEFT, WIDTH - RIGHT), Scale(ys[0], ys[-1], HEIGHT - BOTTOM, TOP)
    dot = Markup('<circle class="speck p{}" cx="{:.1f}" cy="{:.1f}" r="2"/>')
    parts = axes(x, y, xs, ys, x_name, y_name)
    parts += [dot.format(cloud.colour, x(a), y(b)) for cloud in drawn for a, b in cloud.points]
    return svg(f"{y_name} against {x_name}", parts)


def label_places(dots: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Return the position (anchor, x, y) of each dot's label.

    A label is beside its dot, on the side with enough space, and moves up or down if it would cover another label or
    dot. The lowest dot is placed first, so that labels keep the order of their dots.
    """
    placed: list[tuple[float, float, float]] = [(cx - 7, cx + 7, cy + 4) for _, cx, cy in dots]
    places: dict[int, tuple[str, float, float]] = {}
    for i in sorted(range(len(dots)), key=lambda i: -dots[i][2]):
        label, cx, cy = dots[i]
        width = len(label) * LETTER
        to_right = cx + 10 + width <= WIDTH
        left = cx + 10 if to_right else cx - 10 - width
        baseline = cy + 4
        for step in (0, -1, 1, -2, 2, -3, 3, 4):
            baseline = cy + 4 + step * LINE
            if TOP < baseline < HEIGHT - BOTTOM + 2 and not _covers(left, left + width, baseline, placed):
                break
        placed.append((left, left + width, baseline))
        places[i] = ("start", left, baseline) if to_right else ("end", cx - 10, baseline)
    return [places[i] for i in range(len(dots))]


def _covers(left: float, right: float, baseline: float, others: Sequence[tuple[float, float, float]]) -> bool:
    return any(left < end and start < right and abs(baseline - at) < LINE - 1 for start, end, at in others)
