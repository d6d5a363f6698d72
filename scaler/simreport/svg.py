"""Small drawings by hand: axes, lines and bands of a time chart as inline SVG, without a library.

A page that ops keep beside a change request must open in ten years without a network, so it
carries its charts as SVG and nothing is fetched. Units are those of the view box, 1000 wide.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

WIDTH = 1000
LEFT = 62
RIGHT = 178
TOP = 10
#: Below the plot: the labels of the time axis.
BOTTOM = 20
PLOT = WIDTH - LEFT - RIGHT
#: Seconds between the marks of a time axis: the smallest that leaves at most ten marks.
_TIME_STEPS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800)
_MOST_TIMES = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """The scales of one chart: `duration` seconds across, 0 to `top` upwards."""

    duration: float
    top: float
    height: float

    @property
    def floor(self) -> float:
        """Where the value 0 lies."""
        return TOP + self.height

    def x(self, seconds: float) -> float:
        """Position of a time."""
        return LEFT + PLOT * seconds / self.duration if self.duration else LEFT

    def y(self, value: float) -> float:
        """Position of a value; above the top it is cut off."""
        return self.floor - self.height * min(value, self.top) / self.top


def nice_ticks(most: float, count: int = 4) -> list[float]:
    """Round values from 0 to at least `most`, about `count` steps of 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return [0.0, 1.0]
    raw = most / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [n * step for n in range(math.ceil(most / step - 1e-9) + 1)]


def whole_ticks(most: float) -> list[float]:
    """The same for pods: there is no half pod."""
    ticks = nice_ticks(most)
    return [float(n) for n in range(math.ceil(most) + 1)] if ticks[1] < 1 else ticks


def clock(seconds: float) -> str:
    """`0:10` for ten minutes after the start, `0:10:05` where the seconds matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if rest else f"{hours}:{minutes:02}"


def n(value: float) -> str:
    """A coordinate: one digit is a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def axes(frame: Frame, ticks: Sequence[float], labels: Sequence[str]) -> Iterable[str]:
    """Grid lines with their values on the left, times below."""
    for value, label in zip(ticks, labels, strict=True):
        y = n(frame.y(value))
        yield f'<line class="grid" x1="{LEFT}" x2="{LEFT + PLOT}" y1="{y}" y2="{y}"/>'
        yield f'<text class="tick" x="{LEFT - 8}" y="{y}" dy=".32em" text-anchor="end">{escape(label)}</text>'
    step = next((step for step in _TIME_STEPS if frame.duration / step <= _MOST_TIMES), _TIME_STEPS[-1])
    for k in range(math.floor(frame.duration / step) + 1):
        x = n(frame.x(k * step))
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{n(frame.floor)}" y2="{n(frame.floor + 4)}"/>'
        y = n(frame.floor + 16)
        yield f'<text class="tick" x="{x}" y="{y}" text-anchor="middle">{clock(k * step)}</text>'


def line_path(frame: Frame, times: Sequence[float], values: Sequence[float]) -> str:
    """Straight from value to value; runs of equal values become one segment."""
    points = [(frame.x(t), frame.y(v)) for t, v in zip(times, values, strict=True)]
    kept = [
        point
        for k, point in enumerate(points)
        if k in {0, len(points) - 1} or not points[k - 1][1] == point[1] == points[k + 1][1]
    ]
    return "M" + "L".join(f"{n(x)} {n(y)}" for x, y in kept) if kept else ""


def step_path(frame: Frame, times: Sequence[float], values: Sequence[float]) -> str:
    """Level until it changes: pods come and go whole."""
    parts, before = [], None
    for t, value in zip(times, values, strict=True):
        if before is None:
            parts.append(f"M{n(frame.x(t))} {n(frame.y(value))}")
        elif value != before:
            parts.append(f"H{n(frame.x(t))}V{n(frame.y(value))}")
        before = value
    return "".join([*parts, f"H{LEFT + PLOT}"]) if parts else ""


def runs_of(values: Sequence[str], width: float, duration: float) -> list[tuple[float, float, str]]:
    """(begin, end, value) in seconds of every stretch of equal values."""
    found, at = [], 0
    for value, members in groupby(values):
        length = len(list(members))
        found.append((at * width, min((at + length) * width, duration), value))
        at += length
    return found


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, `gap` apart and from `low` on, in the order of the wanted ones.

    What doesn't fit above `high` is pushed back up; with too many for the space they run over.
    """
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    places = [0.0] * len(wanted)
    at = low
    for k in order:
        places[k] = max(at, wanted[k])
        at = places[k] + gap
    limit = high
    for k in reversed(order):
        places[k] = max(min(places[k], limit), low)
        limit = places[k] - gap
    return places
