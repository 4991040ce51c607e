"""PUE over a year beside the weather and the bill, as SVG of classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.figures import NONE, digits
from kfarm_twin.pictures.svg import (
    Point,
    area,
    drawing,
    line,
    polyline,
    rectangle,
    tick_text,
    ticks,
    words,
)

Floats = NDArray[np.float64]
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_STARTS = tuple(sum(_DAYS[:m]) for m in range(13))
HOURS = 8760


@dataclass(frozen=True)
class Year:
    """A year of 8,760 hours from 1 January, local time.

    Attributes
    ----------
    facility_w, it_w
        [8760] power of the whole site and of IT at the PDUs' output [W].
    wet_bulb_c, dry_bulb_c
        [8760] outdoor air [degC].
    free_cooling
        [8760] part of the heat that needs no chiller [1].
    cost
        [8760] what each hour's energy costs in `currency`, or None without a tariff.
    """

    facility_w: Floats
    it_w: Floats
    wet_bulb_c: Floats
    dry_bulb_c: Floats
    free_cooling: Floats
    cost: Floats | None = None
    currency: str = "KRW"

    def __post_init__(self) -> None:
        for column in (self.facility_w, self.it_w, self.wet_bulb_c, self.dry_bulb_c,
                       self.free_cooling):  # fmt: skip
            if column.shape != (HOURS,):
                raise ValueError("a year has 8,760 hours")

    @property
    def pue(self) -> float | None:
        """Energy of the site over energy of IT; None without IT."""
        it = float(self.it_w.sum())
        return float(self.facility_w.sum()) / it if it > 0.0 else None


@dataclass(frozen=True)
class Month:
    """A month's figures; `pue` is energy over energy, `free_h` hours in which the chillers rest."""

    name: str
    pue: float | None
    wet_bulb_c: float
    free_h: int
    energy_wh: float
    cost: float | None


def months(year: Year) -> list[Month]:
    """The twelve months."""
    found = []
    for month, name in enumerate(MONTHS):
        hours = slice(24 * _STARTS[month], 24 * _STARTS[month + 1])
        it, site = float(year.it_w[hours].sum()), float(year.facility_w[hours].sum())
        found.append(
            Month(
                name=name,
                pue=site / it if it > 0.0 else None,
                wet_bulb_c=float(year.wet_bulb_c[hours].mean()),
                free_h=int((year.free_cooling[hours] >= 1.0).sum()),
                energy_wh=site,
                cost=float(year.cost[hours].sum()) if year.cost is not None else None,
            )
        )
    return found


@dataclass(frozen=True)
class _Frame:
    width: float
    left: float = 58
    right: float = 12
    head: float = 24
    gap: float = 46
    foot: float = 24

    def x(self, day: float) -> float:
        return self.left + (self.width - self.left - self.right) * day / 365.0


def year_drawing(year: Year) -> str:
    """The picture for wide and for narrow windows, and its months as a table."""
    wide, narrow = _Frame(1180), _Frame(340, left=46, right=4)
    return _draw(year, wide, "wide") + _draw(year, narrow, "narrow") + _month_table(year)


def _draw(year: Year, frame: _Frame, kind: str) -> str:
    top, parts = frame.head, []
    panels: list[tuple[float, Callable[[Year, _Frame, float, float, bool], str]]] = [
        (190, _pue_panel),
        (130, _weather_panel),
    ]
    if year.cost is not None:
        panels.append((110, _cost_panel))
    for height, panel in panels:
        parts.append(panel(year, frame, top, height, kind == "narrow"))
        top += height + frame.gap
    bottom = top - frame.gap
    parts.append(_month_names(frame, bottom, kind == "narrow"))
    title = f"PUE of the year {_number(year.pue)}, by day and month; table below"
    return drawing(frame.width, bottom + frame.foot, "".join(parts), title, kind=kind)


def _number(value: float | None, decimals: int = 3) -> str:
    return NONE if value is None else f"{value:.{decimals}f}"


def _month_names(frame: _Frame, bottom: float, narrow: bool) -> str:
    parts = []
    for month, name in enumerate(MONTHS):
        middle = frame.x((_STARTS[month] + _STARTS[month + 1]) / 2)
        shown = name[0] if narrow else name
        parts.append(words(middle, bottom + 16, shown, "soft", text_anchor="middle"))
    return "".join(parts)


def _axes(
    frame: _Frame, top: float, height: float, low: float, high: float, title: str
) -> tuple[str, Callable[[float], float]]:
    def y(value: float) -> float:
        return top + height * (1 - (value - low) / (high - low))

    marks = ticks(low, high, 4)
    right = frame.width - frame.right
    parts = [words(0, top - 9, title, "name")]
    for mark in marks:
        parts.append(line((frame.left, y(mark)), (right, y(mark)), "grid-line"))
        shown = tick_text(mark, marks)
        parts.append(words(frame.left - 6, y(mark) + 4, shown, "small", text_anchor="end"))
    for start in _STARTS:
        x = frame.x(start)
        parts.append(line((x, top), (x, top + height), "grid-line"))
    return "".join(parts), y


def _steps(days: Floats, frame: _Frame, y: Callable[[float], float]) -> list[Point]:
    """Corners of a line with one level for each day."""
    return [(frame.x(d + e), y(float(v))) for d, v in enumerate(days) for e in (0.0, 1.0)]


def _by_day(values: Floats) -> Floats:
    return values.reshape(365, 24)


def _pue_panel(year: Year, frame: _Frame, top: float, height: float, narrow: bool) -> str:
    known = year.it_w > 0.0
    hourly = np.where(known, year.facility_w / np.where(known, year.it_w, 1.0), np.nan)
    if not known.any():
        return words(frame.left, top + 20, "No IT power in this year", "soft")
    high = max(float(np.nanmax(hourly)), 1.05)
    high += 0.06 * (high - 1.0)
    axes, y = _axes(frame, top, height, 1.0, high, "PUE")
    day = _by_day(np.where(known, hourly, 1.0))
    sums = _by_day(year.facility_w).sum(1), _by_day(year.it_w).sum(1)
    mean = np.where(sums[1] > 0.0, sums[0] / np.where(sums[1] > 0.0, sums[1], 1.0), 1.0)
    parts = [
        axes,
        area(_steps(day.max(1), frame, y), _steps(day.min(1), frame, y), "pue-band"),
        polyline(_steps(mean, frame, y), "pue-day"),
    ]
    for month, found in enumerate(months(year)):
        if found.pue is None:
            continue
        start, end = frame.x(_STARTS[month]), frame.x(_STARTS[month + 1])
        parts.append(line((start, y(found.pue)), (end, y(found.pue)), "pue-month"))
        if not narrow:
            above = max(float(day[_STARTS[month] : _STARTS[month + 1]].max()), found.pue)
            parts.append(
                words((start + end) / 2, y(above) - 6, f"{found.pue:.3f}", "name",
                      text_anchor="middle")
            )  # fmt: skip
    return "".join(parts)


def _weather_panel(year: Year, frame: _Frame, top: float, height: float, narrow: bool) -> str:
    wet, dry = _by_day(year.wet_bulb_c), _by_day(year.dry_bulb_c)
    low, high = float(min(wet.min(), dry.mean(1).min())), float(max(wet.max(), dry.mean(1).max()))
    title = "Outdoor wet bulb [°C]" if narrow else "Outdoor wet bulb, dry bulb dashed [°C]"
    axes, y = _axes(frame, top, height, low - 1.0, high + 1.0, title)
    free = _by_day(year.free_cooling).mean(1)
    whole, part = year.free_cooling >= 1.0, (year.free_cooling > 0.0) & (year.free_cooling < 1.0)
    told = f"{whole.sum():,} h without chillers"
    told += "" if narrow else f" (shaded), {part.sum():,} h with part of the heat"
    return (
        _shades(free, frame, top, height)
        + axes
        + area(_steps(wet.max(1), frame, y), _steps(wet.min(1), frame, y), "wet-band")
        + polyline(_steps(wet.mean(1), frame, y), "wet-day")
        + polyline(_steps(dry.mean(1), frame, y), "dry-day")
        + words(frame.width - frame.right, top - 9, told, "free-text", text_anchor="end")
    )


def _shades(free: Floats, frame: _Frame, top: float, height: float) -> str:
    """Behind each day how much of its heat needs no chiller, in ten tones."""
    tones = np.rint(10 * free).astype(int)
    cuts = [0, *(np.flatnonzero(np.diff(tones)) + 1).tolist(), len(tones)]
    return "".join(
        f'<rect x="{frame.x(low):.1f}" y="{top:g}" width="{frame.x(high) - frame.x(low):.1f}" '
        f'height="{height:g}" class="free" style="opacity:{0.028 * tones[low]:.3f}"></rect>'
        for low, high in pairwise(cuts)
        if tones[low] > 0
    )


def _cost_panel(year: Year, frame: _Frame, top: float, height: float, narrow: bool) -> str:
    found = months(year)
    costs = [month.cost or 0.0 for month in found]
    most = max(costs)
    size, name = scale_of(most)
    title = f"Energy cost [{name} {year.currency}]" if name else f"Energy cost [{year.currency}]"
    axes, y = _axes(frame, top, height, 0.0, (most or 1.0) / size * 1.14, title)
    parts = [axes]
    for month, cost in enumerate(costs):
        start, end = frame.x(_STARTS[month]) + 2, frame.x(_STARTS[month + 1]) - 2
        at = y(cost / size)
        told = f"{MONTHS[month]}: {cost / size:,.4g} {name} {year.currency}"
        parts.append(rectangle(start, at, end - start, top + height - at, "cost", told))
        if not narrow:
            parts.append(words((start + end) / 2, at - 4, _four(cost / size),
                               "small", text_anchor="middle"))  # fmt: skip
    return "".join(parts)


def _four(value: float) -> str:
    return digits(float(f"{value:.4g}"))


def scale_of(value: float) -> tuple[float, str]:
    """Size and name of the unit in which money of this size reads best."""
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if abs(value) >= size:
            return size, name
    return 1.0, ""


def _month_table(year: Year) -> str:
    rows = []
    for month in months(year):
        cost = NONE if month.cost is None else f"{month.cost:,.0f}"
        rows.append(
            f'<tr><th scope="row">{month.name}</th><td class="n">{_number(month.pue, 4)}</td>'
            f'<td class="n">{month.wet_bulb_c:.1f}</td><td class="n">{month.free_h:,}</td>'
            f'<td class="n">{month.energy_wh / 1e6:,.1f}</td><td class="n">{cost}</td></tr>'
        )
    heads = (
        '<th>Month</th><th class="n">PUE</th><th class="n">Wet bulb [°C]</th>'
        '<th class="n">Without chillers [h]</th><th class="n">Energy [MWh]</th>'
        f'<th class="n">Cost [{escape(year.currency)}]</th>'
    )
    return (
        '<details><summary>Month by month</summary><div class="scroll"><table class="tight">'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


@dataclass(frozen=True)
class Bar:
    """A bar of parts that add up: (name of the part, class of its colour, value)."""

    name: str
    parts: tuple[tuple[str, str, float], ...]
    told: str

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return sum(value for _, _, value in self.parts)


def bars(rows: Sequence[Bar], title: str) -> str:
    """Stacked bars below each other, on one scale from zero."""
    most = max((row.total for row in rows), default=0.0)
    if most <= 0.0:
        return ""
    lines = []
    for row in rows:
        pieces = "".join(
            f'<i class="{kind}" style="width:{100 * value / most:.3f}%" '
            f'title="{escape(name)}: {_four(value)}"></i>'
            for name, kind, value in row.parts
            if value > 0.0
        )
        lines.append(
            f'<div class="bar-row"><b>{escape(row.name)}</b><span class="bar-track">{pieces}</span>'
            f"<span>{escape(row.told)}</span></div>"
        )
    kinds = {name: kind for row in rows for name, kind, value in row.parts if value > 0.0}
    key = "".join(f'<span><i class="{k}"></i>{escape(n)}</span>' for n, k in kinds.items())
    return (
        f'<div class="bars" role="group" aria-label="{escape(title)}">{"".join(lines)}</div>'
        f'<p class="key">{key}</p>'
    )
