"""Charts as inline SVG: pure functions from numbers to markup. Colours are classes of the style sheet (`p0` to `p7`).

Small ones, to be laid out side by side: they keep their letters legible on a phone, where a wide chart would shrink.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 40  # margins, for ticks and the axes' names
LETTER = 6.4  # a letter's usual width at the charts' size, for placing labels
LINE = 14  # labels nearer than this would touch

Point = tuple[float, float]


class Scale(NamedTuple):
    """From a number to a place on the page."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


class Series(NamedTuple):
    """A line. `kind` is a class of the style sheet: `train` (pale), `alone`, or `eval` (strong, with dots)."""

    label: str
    kind: str
    points: Sequence[Point]


class Spot(NamedTuple):
    """A policy on a plane, with an interval on each axis."""

    label: str
    colour: int
    x: float
    y: float
    y_low: float
    y_high: float


class Cloud(NamedTuple):
    """Many answers of one policy, as points."""

    label: str
    colour: int
    points: Sequence[Point]


class Bar(NamedTuple):
    """A share with its interval, between 0 and 1."""

    label: str
    colour: int
    value: float
    low: float
    high: float


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`."""
    step = _round_step((high - low) / about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _round_step(rough: float) -> float:
    size = float(10 ** math.floor(math.log10(rough)))
    return next(step * size for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * size >= rough * (1 - 1e-9))


def _widened(values: Sequence[float]) -> tuple[float, float]:
    """The range of the values, never empty."""
    low, high = min(values), max(values)
    if high - low > 1e-9 * max(1, abs(low)):
        return low, high
    return low - abs(low) / 2, high + (abs(high) / 2 or 1)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _svg(label: str, parts: Sequence[Markup], height: int = HEIGHT) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, label, Markup("").join(parts)
    )


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "tick") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, kind, text)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(kind, x1, y1, x2, y2)


def _axes(x: Scale, y: Scale, xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str) -> list[Markup]:
    """Grid lines with their numbers; the axes' names stand at the upper left and the lower right, unturned."""
    bottom = y.start
    parts = [_line("grid", x.start, y(tick), x.end, y(tick)) for tick in ys]
    parts += [_text(x.start - 6, y(tick) + 4, _number(tick), "end") for tick in ys]
    parts += [_line("grid", x(tick), bottom, x(tick), bottom + 4) for tick in xs]
    parts += [_text(x(tick), bottom + 17, _number(tick), "middle") for tick in xs]
    return [*parts, _text(0, 11, y_name, kind="name"), _text(x.end, bottom + 34, x_name, "end", "name")]


def curves(series: Sequence[Series], x_name: str, y_name: str, mark: Point | None = None) -> Markup:
    """Lines over steps. `mark` is ringed: the checkpoint that was kept."""
    drawn = [line._replace(points=_finite(line.points)) for line in series]
    points = [point for line in drawn for point in line.points]
    if not points:
        return Markup("")
    xs, ys = ticks(*_widened([x for x, _ in points])), ticks(*_widened([y for _, y in points]))
    last = max(x for x, _ in points)
    x = Scale(0.0 if xs[0] >= 0 else xs[0], max(last, xs[0] + 1e-9), LEFT, WIDTH - RIGHT)
    y = Scale(ys[0], ys[-1], HEIGHT - BOTTOM, TOP)
    parts = _axes(x, y, [tick for tick in xs if tick <= last], ys, x_name, y_name)
    for line in drawn:
        parts += _curve(line, x, y)
    if mark and all(map(math.isfinite, mark)):
        parts.append(Markup('<circle class="kept" cx="{:.1f}" cy="{:.1f}" r="7"/>').format(x(mark[0]), y(mark[1])))
    return _svg(f"{y_name} over {x_name}", parts)


def _finite(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if all(map(math.isfinite, point))]


def _curve(line: Series, x: Scale, y: Scale) -> list[Markup]:
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line.points)
    dots = line.points if line.kind == "eval" or len(line.points) == 1 else []
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>')
    return [
        Markup('<polyline class="{}" points="{}"/>').format(line.kind, path),
        *(dot.format(line.kind, x(a), y(b)) for a, b in dots),
    ]


def plane(spots: Sequence[Spot], x_name: str, y_name: str) -> Markup:
    """One dot per policy, with its interval and its name beside it."""
    xs = ticks(*_widened([0.0, *(spot.x for spot in spots)]))
    ys = ticks(*_widened([edge for spot in spots for edge in (spot.y_low, spot.y_high)]))
    x, y = Scale(xs[0], xs[-1], LEFT, WIDTH - RIGHT), Scale(ys[0], ys[-1], HEIGHT - BOTTOM, TOP)
    parts = _axes(x, y, xs, ys, x_name, y_name)
    for spot in spots:
        parts.append(_line(f"whisker p{spot.colour}", x(spot.x), y(spot.y_low), x(spot.x), y(spot.y_high)))
        dot = Markup('<circle class="dot p{}" cx="{:.1f}" cy="{:.1f}" r="5"/>')
        parts.append(dot.format(spot.colour, x(spot.x), y(spot.y)))
    places = label_places([(spot.label, x(spot.x), y(spot.y)) for spot in spots])
    for spot, (anchor, left, baseline) in zip(spots, places, strict=True):
        parts.append(_text(left, baseline, spot.label, anchor, "label"))
    return _svg(f"{y_name} against {x_name}", parts)


def scatter(clouds: Sequence[Cloud], x_name: str, y_name: str) -> Markup:
    """A point per answer, policies in their colours: first drawn, lowest."""
    drawn = [cloud._replace(points=_finite(cloud.points)) for cloud in clouds]
    points = [point for cloud in drawn for point in cloud.points]
    if not points:
        return Markup("")
    xs, ys = (ticks(*_widened([point[axis] for point in points])) for axis in (0, 1))
    x, y = Scale(xs[0], xs[-1], LEFT, WIDTH - RIGHT), Scale(ys[0], ys[-1], HEIGHT - BOTTOM, TOP)
    dot = Markup('<circle class="speck p{}" cx="{:.1f}" cy="{:.1f}" r="2"/>')
    parts = _axes(x, y, xs, ys, x_name, y_name)
    parts += [dot.format(cloud.colour, x(a), y(b)) for cloud in drawn for a, b in cloud.points]
    return _svg(f"{y_name} against {x_name}", parts)


def reliability(bins: Sequence[tuple[float, float, int]], x_name: str, y_name: str) -> Markup:
    """(predicted, observed, how many) with the diagonal on which both are equal; larger dots stand for more."""
    x, y = Scale(0.5, 1, LEFT, WIDTH - RIGHT), Scale(0, 1, HEIGHT - BOTTOM, TOP)
    parts = _axes(x, y, [0.5, 0.625, 0.75, 0.875, 1], [0, 0.25, 0.5, 0.75, 1], x_name, y_name)
    parts.append(_line("even", x(0.5), y(0.5), x(1), y(1)))
    most = max((count for *_, count in bins), default=1)
    dot = Markup('<circle class="speck" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{} pairs</title></circle>')
    parts += [dot.format(x(a), y(b), 3 + 7 * math.sqrt(count / most), count) for a, b, count in bins]
    return _svg(f"{y_name} against {x_name}", parts)


def label_places(dots: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Where each dot's label goes: (anchor, x, y). Beside the dot, on the side with room; moved up, or else down, where
    it would cover another label or dot. The lowest dot comes first, so that labels stand in the order of their dots."""
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


def histogram(values: Sequence[float], colour: int, highest: float, x_name: str, bins: int = 10) -> Markup:
    """The distribution of scores in [0, 1], as shares; `highest` is the top of the axis, the same for all policies."""
    height = 160
    shares = bin_shares(values, bins)
    top = ticks(0, max(highest, 0.01), 2)
    x, y = Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(0, top[-1], height - BOTTOM, TOP)
    parts = _axes(x, y, [0, 0.25, 0.5, 0.75, 1], [], x_name, "share of answers")
    parts += [_line("grid", x.start, y(tick), x.end, y(tick)) for tick in top]
    parts += [_text(x.start - 6, y(tick) + 4, f"{tick:.0%}", "end") for tick in top]
    box = Markup('<rect class="bar p{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
    for i, share in enumerate(shares):
        at, width = x(i / bins) + 1, x(1 / bins) - x(0) - 2
        said = f"{i / bins:.1f} to {(i + 1) / bins:.1f}: {share:.0%} of answers"
        parts.append(box.format(colour, at, y(share), width, y(0) - y(share), said))
    return _svg("distribution of scores", parts, height)


def bin_shares(values: Sequence[float], bins: int = 10) -> list[float]:
    """The share of values in each of `bins` equal parts of [0, 1]; the last one includes 1."""
    counts = [0] * bins
    for value in values:
        counts[max(0, min(int(value * bins + 1e-9), bins - 1))] += 1
    return [count / len(values) for count in counts]


def intervals(bars: Sequence[Bar], x_name: str) -> Markup:
    """Shares with their intervals on the axis from 0 to 1. Its width follows the page (places are percentages), its
    letters do not."""
    row, top = 52, 22
    bottom = top + row * len(bars)
    parts = [
        Markup('<line class="even" x1="50%" x2="50%" y1="{}" y2="{}"/>').format(top - 4, bottom),
        Markup('<text class="tick" x="50%" y="12" text-anchor="middle">0.5 is even</text>'),
        Markup('<line class="grid" x1="0%" x2="100%" y1="{0}" y2="{0}"/>').format(bottom),
    ]
    for i, bar in enumerate(bars):
        parts += _interval(bar, top + row * i)
    for share, anchor in ((0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1, "end")):
        place = Markup('<text class="tick" x="{:.0f}%" y="{}" text-anchor="{}">{:g}</text>')
        parts.append(place.format(share * 100, bottom + 17, anchor, share))
    parts.append(Markup('<text class="name" x="100%" y="{}" text-anchor="end">{}</text>').format(bottom + 36, x_name))
    drawn = Markup('<svg class="wide" style="height: {}px" role="img" aria-label="{}">{}</svg>')
    return drawn.format(bottom + 42, x_name, Markup("").join(parts))


def _interval(bar: Bar, top: float) -> list[Markup]:
    y = top + 32
    number = f"{bar.value:.2f} [{bar.low:.2f}, {bar.high:.2f}]"
    return [
        Markup('<text class="label" x="0%" y="{}">{}</text>').format(top + 14, bar.label),
        Markup('<text class="number" x="100%" y="{}" text-anchor="end">{}</text>').format(top + 14, number),
        Markup('<line class="track" x1="0%" x2="100%" y1="{0}" y2="{0}"/>').format(y),
        Markup('<line class="span p{}" x1="{:.1f}%" x2="{:.1f}%" y1="{y}" y2="{y}"/>').format(
            bar.colour, 100 * bar.low, 100 * bar.high, y=y
        ),
        Markup('<circle class="dot p{}" cx="{:.1f}%" cy="{}" r="6"/>').format(bar.colour, 100 * bar.value, y),
    ]
