"""Parts of charts: scales, axes, lines and text as inline SVG. Colours are CSS classes.

Charts are small and placed side by side, so their text stays legible on a phone, where a wide chart would shrink.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 40  # margins for tick labels and the names of the axes

Point = tuple[float, float]


class Scale(NamedTuple):
    """Maps numbers in [low, high] linearly to positions from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers that cover the range from `low` to `high`, in approximately `about` steps."""
    step = _round_step((high - low) / about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _round_step(rough: float) -> float:
    size = float(10 ** math.floor(math.log10(rough)))
    return next(step * size for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * size >= rough * (1 - 1e-9))


def widened(values: Sequence[float]) -> tuple[float, float]:
    """Return the range of the values, widened if it is empty."""
    low, high = min(values), max(values)
    if high - low > 1e-9 * max(1, abs(low)):
        return low, high
    return low - abs(low) / 2, high + (abs(high) / 2 or 1)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def svg(label: str, parts: Sequence[Markup], height: int = HEIGHT) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, label, Markup("").join(parts)
    )


def text(x: float, y: float, text: str, anchor: str = "start", kind: str = "tick") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, kind, text)


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(kind, x1, y1, x2, y2)


def axes(x: Scale, y: Scale, xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str) -> list[Markup]:
    """Return grid lines with numbers, and the axes' names at the upper left and lower right, not rotated."""
    bottom = y.start
    parts = [line("grid", x.start, y(tick), x.end, y(tick)) for tick in ys]
    parts += [text(x.start - 6, y(tick) + 4, number(tick), "end") for tick in ys]
    parts += [line("grid", x(tick), bottom, x(tick), bottom + 4) for tick in xs]
    parts += [text(x(tick), bottom + 17, number(tick), "middle") for tick in xs]
    return [*parts, text(0, 11, y_name, kind="name"), text(x.end, bottom + 34, x_name, "end", "name")]
