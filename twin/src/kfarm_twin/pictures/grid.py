"""Pictures of a grid of results: a map of cells for two parameters, lines for one."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from kfarm_twin.pictures.svg import Point, drawing, line, polyline, rectangle, tag, tick_text, words
from kfarm_twin.pictures.svg import ticks as round_ticks

Mark = Literal["good", "bad", "unsure", "fault", ""]
_SIGNS: dict[str, str] = {"good": "✓", "bad": "✕", "unsure": "?", "fault": "!", "": ""}
CELL_HEIGHT = 34.0
LEAST_CELL, MOST_CELL, MAP_WIDTH = 13.0, 132.0, 940.0
TEXT_FITS = 46.0
LINE_SERIES = 6
"""Colours that lines have; further ones begin again, dashed."""
_FAINTEST, _FULLEST = 0.06, 0.5


@dataclass(frozen=True)
class Spot:
    """One cell or point.

    Attributes
    ----------
    value, low, high
        What decides its colour or height, and its interval; None: there is none.
    text
        What stands in it.
    told
        What a pointer that rests on it is told.
    """

    value: float | None
    text: str
    told: str
    mark: Mark = ""
    low: float | None = None
    high: float | None = None


def text_width(text: str) -> float:
    """About how wide a text is at 13 px; Korean is twice as wide as Latin."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return 7.3 * (len(text) - wide) + 13.0 * wide


def shortened(text: str, most: float) -> str:
    """A text that is no wider than `most` pixels."""
    if text_width(text) <= most:
        return text
    while text and text_width(text) + 9.0 > most:
        text = text[:-1]
    return text + "…"


def shade(value: float | None, span: tuple[float, float]) -> float:
    """How full the colour of a value is; the least and the largest of `span` are the ends."""
    low, high = span
    if value is None or not high > low:
        return _FAINTEST
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    return _FAINTEST + (_FULLEST - _FAINTEST) * share


def grid_map(
    columns: Sequence[str],
    rows: Sequence[str],
    spots: Sequence[Sequence[Spot]],
    across: str,
    down: str,
    span: tuple[float, float] | None,
    title: str,
) -> str:
    """Cells in rows and columns.

    Parameters
    ----------
    spots
        By row, then by column.
    across, down
        What the columns and the rows are; `down` is empty where there is one row alone.
    span
        Values of the faintest and the fullest colour; None: the mark alone gives the colour.
    """
    left = max([18.0, *(min(210.0, text_width(row)) + 14.0 for row in rows)]) if down else 2.0
    cell = min(MOST_CELL, max(LEAST_CELL, (MAP_WIDTH - left) / max(1, len(columns))))
    top = 44.0 if down else 24.0
    parts = [words(left, 13.0, across, "soft")]
    parts += [words(0.0, 36.0, down, "soft")] if down else []
    every = max(1, round(max(text_width(c) for c in columns) * 0.9 / cell + 0.49))
    for number, column in enumerate(columns):
        if number % every == 0:
            x = left + cell * (number + 0.5)
            fits = shortened(column, cell * every - 4.0)
            parts.append(words(x, top - 8.0 + (0 if down else 18), fits, "", text_anchor="middle"))
    top += 0.0 if down else 16.0
    for index, (row, line_of) in enumerate(zip(rows, spots, strict=True)):
        y = top + CELL_HEIGHT * index
        if down:
            at = y + CELL_HEIGHT / 2 + 4.5
            parts.append(words(left - 10.0, at, shortened(row, 205.0), "", text_anchor="end"))
        parts += [_cell(spot, left + cell * i, y, cell, span) for i, spot in enumerate(line_of)]
    width, height = left + cell * len(columns) + 2.0, top + CELL_HEIGHT * len(rows) + 2.0
    return drawing(width, height, "".join(parts), title, kind="grid")


def _cell(spot: Spot, x: float, y: float, width: float, span: tuple[float, float] | None) -> str:
    """A cell with its mark and figure; narrow ones keep the mark alone, or nothing."""
    mark = spot.mark or "none"
    kind = f"cell mark-{mark}" if span is None or spot.value is None else "cell heat"
    box = rectangle(x + 1, y + 1, width - 2, CELL_HEIGHT - 2, kind, spot.told)
    if kind == "cell heat":
        opacity = f"{shade(spot.value, span or (0.0, 0.0)):.3f}"
        box = box.replace("<rect", f'<rect fill-opacity="{opacity}"', 1)
    sign = _SIGNS[spot.mark]
    text = " ".join(part for part in (spot.text, sign) if part)
    if text_width(text) > width - 6.0 or width < TEXT_FITS:
        text = sign if width >= LEAST_CELL else ""
    at = y + CELL_HEIGHT / 2 + 4.5
    style = f"on-{spot.mark}" if spot.mark else ""
    inside = words(x + width / 2, at, text, style, text_anchor="middle", pointer_events="none")
    return box + inside


def grid_lines(
    columns: Sequence[str],
    series: Sequence[tuple[str, Sequence[Spot]]],
    across: str,
    tick: str,
    title: str,
) -> str:
    """One line for each series over the values of one parameter, equally far apart.

    Parameters
    ----------
    tick
        What stands above the axis of values.
    """
    known = [
        v for _, spots in series for s in spots for v in (s.value, s.low, s.high) if v is not None
    ]
    if not known:
        return ""
    low, high = min(known), max(known)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = (0.0 if 0 <= low < 0.5 * high else low - pad), high + pad
    marks = round_ticks(low, high)
    names = [tick_text(mark, marks) for mark in marks]
    left, top, height = max(map(text_width, names)) + 14.0, 30.0, 230.0
    width = min(MAP_WIDTH, max(360.0, left + 120.0 * len(columns)))
    step = (width - left - 20.0) / len(columns)

    def place(number: int, value: float) -> Point:
        share = (value - low) / (high - low)
        return left + step * (number + 0.5), top + height * (1.0 - share)

    parts = [words(0.0, 13.0, tick, "soft")]
    for mark, name in zip(marks, names, strict=True):
        y = place(0, mark)[1]
        parts.append(line((left, y), (width - 10.0, y), "grid-line"))
        parts.append(words(left - 8.0, y + 4.5, name, "", text_anchor="end"))
    for index, (_, spots) in enumerate(series):
        parts.append(_series(index, spots, place))
    every = max(1, round(max(text_width(c) for c in columns) / step + 0.49))
    for number, column in enumerate(columns):
        if number % every == 0:
            x, fits = place(number, low)[0], shortened(column, step * every - 6.0)
            parts.append(words(x, top + height + 22.0, fits, "", text_anchor="middle"))
    middle = left + (width - left) / 2
    parts.append(words(middle, top + height + 46.0, across, "soft", text_anchor="middle"))
    return drawing(width, top + height + 54.0, "".join(parts), title, kind="grid")


def _series(index: int, spots: Sequence[Spot], place: Callable[[int, float], Point]) -> str:
    """A line through the known points, each with its interval."""
    colour = f"s{index % LINE_SERIES}" + (" dashed" if index >= LINE_SERIES else "")
    known = [(n, spot, spot.value) for n, spot in enumerate(spots) if spot.value is not None]
    points = [place(number, value) for number, _, value in known]
    found = polyline(points, f"serie {colour}") if len(points) > 1 else ""
    for number, spot, value in known:
        if spot.low is not None and spot.high is not None and spot.low < spot.high:
            found += line(place(number, spot.low), place(number, spot.high), f"whisker {colour}")
        x, y = place(number, value)
        told = tag("title", escape(spot.told))
        found += tag("circle", told, cx=x, cy=y, r=4.5, class_=f"knot {colour}")
    return found
