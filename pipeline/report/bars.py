"""Charts of shares: distributions, intervals, reliability of a reward model. Pure functions (see `report.svg`)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from pipeline.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, axes, line, svg, text, ticks

BINS = 10  # bins of a histogram over [0, 1]


class Bar(NamedTuple):
    """A share and its interval, from 0 to 1."""

    label: str
    colour: int
    value: float
    low: float
    high: float


def reliability(bins: Sequence[tuple[float, float, int]], x_name: str, y_name: str) -> Markup:
    """Draw bins (predicted, observed, number of pairs) as dots, larger for more pairs, and the line of equality."""
    x, y = Scale(0.5, 1, LEFT, WIDTH - RIGHT), Scale(0, 1, HEIGHT - BOTTOM, TOP)
    parts = axes(x, y, [0.5, 0.625, 0.75, 0.875, 1], [0, 0.25, 0.5, 0.75, 1], x_name, y_name)
    parts.append(line("even", x(0.5), y(0.5), x(1), y(1)))
    most = max((count for *_, count in bins), default=1)
    dot = Markup('<circle class="speck" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{} pairs</title></circle>')
    parts += [dot.format(x(a), y(b), 3 + 7 * math.sqrt(count / most), count) for a, b, count in bins]
    return svg(f"{y_name} against {x_name}", parts)


def histogram(values: Sequence[float], colour: int, highest: float, x_name: str) -> Markup:
    """Draw the distribution of scores in [0, 1] as shares. `highest` scales the axis, equally for all policies."""
    height = 160
    shares = bin_shares(values)
    top = ticks(0, max(highest, 0.01), 2)
    x, y = Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(0, top[-1], height - BOTTOM, TOP)
    parts = axes(x, y, [0, 0.25, 0.5, 0.75, 1], [], x_name, "share of answers")
    parts += [line("grid", x.start, y(tick), x.end, y(tick)) for tick in top]
    parts += [text(x.start - 6, y(tick) + 4, f"{tick:.0%}", "end") for tick in top]
    box = Markup('<rect class="bar p{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
    for i, share in enumerate(shares):
        at, width = x(i / BINS) + 1, x(1 / BINS) - x(0) - 2
        label = f"{i / BINS:.1f} to {(i + 1) / BINS:.1f}: {share:.0%} of answers"
        parts.append(box.format(colour, at, y(share), width, y(0) - y(share), label))
    return svg("distribution of scores", parts, height)


def doubling(counts: Sequence[int], colour: int, x_name: str) -> Markup:
    """Draw a distribution of lengths as shares, in bins that double: 0, 1, 2 to 3, 4 to 7, and so on."""
    height, total = 160, max(sum(counts), 1)
    first = next((k for k, count in enumerate(counts) if count), 0)
    last = max(len(counts), first + 4)
    top = ticks(0, max(max(counts, default=0) / total, 0.01), 2)
    x, y = Scale(first, last, LEFT, WIDTH - RIGHT), Scale(0, top[-1], height - BOTTOM, TOP)
    parts = axes(x, y, [], [], x_name, "share of rows")
    parts += [line("grid", x.start, y(tick), x.end, y(tick)) for tick in top]
    parts += [text(x.start - 6, y(tick) + 4, f"{tick:.0%}", "end") for tick in top]
    every = 1 if last - first <= 8 else 2
    parts += [text(x(k), y.start + 17, f"{_begin(k):,}", "middle") for k in range(first, last + 1, every)]
    box = Markup('<rect class="bar p{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
    for k, count in enumerate(counts):
        if count:
            label = f"{_begin(k):,} to {_begin(k + 1) - 1:,} {x_name}: {count:,} rows"
            parts.append(
                box.format(colour, x(k) + 1, y(count / total), x(k + 1) - x(k) - 2, y(0) - y(count / total), label)
            )
    return svg(f"distribution of lengths in {x_name}", parts, height)


def _begin(k: int) -> int:
    """Return the smallest length in bin number `k`."""
    return 2 ** (k - 1) if k else 0


def bin_shares(values: Sequence[float]) -> list[float]:
    """Return the share of values in each of `BINS` equal bins of [0, 1]; the last one includes 1."""
    counts = [0] * BINS
    for value in values:
        counts[max(0, min(int(value * BINS + 1e-9), BINS - 1))] += 1
    return [count / len(values) for count in counts]


def intervals(bars: Sequence[Bar], x_name: str) -> Markup:
    """Draw shares with their intervals on an axis from 0 to 1.

    The chart is as wide as the page, because positions are percentages; the size of its text is fixed.
    """
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
