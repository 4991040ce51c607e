"""A drill as lanes over time, and what was predicted beside what was observed: SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kfarm_twin.figures import brief_span
from kfarm_twin.pictures.svg import (
    drawing,
    line,
    polyline,
    rectangle,
    tag,
    tick_text,
    ticks,
    words,
)

WIDTH = 1120.0
LEFT = 210.0
RIGHT = 20.0
ROW = 34.0
TOP = 30.0
BAR = 12.0
MINUTES = 180.0
"""Seconds from which the axis is in minutes."""


@dataclass(frozen=True)
class Mark:
    """A moment or a spell of a lane [s]; `kind` is a class of drills.css."""

    start: float
    end: float | None
    kind: str
    told: str


@dataclass(frozen=True)
class Lane:
    """A row of the picture: its name, what was observed, and what was predicted."""

    name: str
    marks: tuple[Mark, ...]


class _Axis:
    def __init__(self, most: float) -> None:
        self.most = max(most, 1.0)

    def x(self, at: float) -> float:
        share = min(max(at / self.most, 0.0), 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def draw(self, height: float) -> str:
        minutes = self.most > MINUTES
        size = 60.0 if minutes else 1.0
        values = ticks(0.0, self.most / size, 8)
        parts = []
        for value in values:
            x = self.x(value * size)
            parts.append(line((x, TOP - 6), (x, height), "grid"))
            parts.append(words(x, TOP - 12, tick_text(value, values), "tick", text_anchor="middle"))
        unit = "min after the start" if minutes else "s after the start"
        return "".join(parts) + words(0.0, TOP - 12, unit, "tick")


def lanes_picture(lanes: Sequence[Lane], title: str) -> str:
    """Lanes one below the other; empty without any mark."""
    ends = [mark.start if mark.end is None else mark.end for lane in lanes for mark in lane.marks]
    if not ends:
        return ""
    axis = _Axis(max(ends) * 1.03)
    height = TOP + ROW * len(lanes) + 6
    parts = [axis.draw(height)]
    for place, lane in enumerate(lanes):
        middle = TOP + ROW * (place + 0.5)
        parts.append(line((LEFT, middle), (WIDTH - RIGHT, middle), "lane"))
        parts.append(words(0.0, middle + 4, _short(lane.name), "name"))
        parts += [_mark(axis, mark, middle) for mark in lane.marks]
    return drawing(WIDTH, height, "".join(parts), title, kind="lanes")


def _mark(axis: _Axis, mark: Mark, middle: float) -> str:
    if mark.end is not None:
        x, over = axis.x(mark.start), axis.x(mark.end)
        return rectangle(x, middle - BAR / 2, max(over - x, 2.0), BAR, mark.kind, mark.told)
    inside = tag("title", _escaped(mark.told))
    return tag("circle", inside, cx=axis.x(mark.start), cy=middle, r=5.5, class_=mark.kind)


def _escaped(text: str) -> str:
    from html import escape  # noqa: PLC0415

    return escape(text)


def _short(name: str, most: int = 30) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


@dataclass(frozen=True)
class Pair:
    """One metric: the predicted interval and median, and what was observed."""

    name: str
    low: float | None
    median: float | None
    high: float | None
    observed: float | None
    told: str


CELL_WIDTH, CELL_HEIGHT, PAD = 260.0, 30.0, 10.0


def pair_picture(one: Pair) -> str:
    """Interval as a bar, median as a stroke, observed as a dot; each pair on its own scale."""
    known = [v for v in (one.low, one.median, one.high, one.observed) if v is not None]
    if not known:
        return ""
    least, most = min(known), max(known)
    room = (most - least) * 0.12 or max(abs(most) * 0.1, 1.0)
    low, span = least - room, most - least + 2 * room

    def x(value: float) -> float:
        return PAD + (value - low) / span * (CELL_WIDTH - 2 * PAD)

    middle = CELL_HEIGHT / 2
    parts = [line((PAD, middle), (CELL_WIDTH - PAD, middle), "lane")]
    if one.low is not None and one.high is not None:
        width = max(x(one.high) - x(one.low), 3.0)
        parts.append(rectangle(x(one.low), middle - 6, width, 12, "interval", one.told))
    if one.median is not None:
        parts.append(line((x(one.median), middle - 9), (x(one.median), middle + 9), "median"))
    if one.observed is not None:
        inside = one.low is None or one.high is None or one.low <= one.observed <= one.high
        kind = "observed" if inside else "observed out"
        told = tag("title", _escaped(one.told))
        parts.append(tag("circle", told, cx=x(one.observed), cy=middle, r=5.5, class_=kind))
    return drawing(CELL_WIDTH, CELL_HEIGHT, "".join(parts), one.told, kind="pair")


def curve_picture(points: Sequence[tuple[float, float]], limits: Sequence[tuple[str, float]],
                  title: str) -> str:  # fmt: skip
    """Temperature over time, with limits as dashed lines."""
    if len(points) < 2:
        return ""
    height = 240.0
    axis = _Axis(points[-1][0])
    values = [value for _, value in points] + [value for _, value in limits]
    low, high = min(values) - 2.0, max(values) + 2.0

    def y(value: float) -> float:
        return height - 8 - (value - low) / (high - low) * (height - 16 - TOP)

    parts = [axis.draw(height)]
    marks = ticks(low, high, 5)
    for value in marks:
        parts.append(line((LEFT, y(value)), (WIDTH - RIGHT, y(value)), "grid"))
        text = f"{tick_text(value, marks)} °C"
        parts.append(words(LEFT - 8, y(value) + 4, text, "tick", text_anchor="end"))
    for name, value in limits:
        parts.append(line((LEFT, y(value)), (WIDTH - RIGHT, y(value)), "limit"))
        parts.append(words(LEFT + 6, y(value) - 5, name, "tick"))
    parts.append(polyline([(axis.x(at), y(value)) for at, value in points], "curve"))
    return drawing(WIDTH, height, "".join(parts), title, kind="lanes")


def spell_told(start: float, end: float | None) -> str:
    """A moment or a spell in words."""
    if end is None:
        return f"after {brief_span(start)}"
    return f"{brief_span(start)} to {brief_span(end)}"
