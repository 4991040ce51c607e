"""Where the power goes: a Sankey diagram from the grid to the chip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html import escape
from typing import Literal

from kfarm_twin.pictures.shares import rounded
from kfarm_twin.pictures.svg import drawing, rectangle, tag, words

Kind = Literal["trunk", "device", "node", "cooling", "loss", "other"]
KIND_NAMES: dict[Kind, str] = {
    "device": "accelerators",
    "node": "rest of the node",
    "cooling": "cooling",
    "loss": "lost on the way",
    "other": "other",
}
PARTS = 10_000
"""Percent are shown in hundredths."""


@dataclass(frozen=True)
class PowerBranch:
    """Power that passes one station, and what becomes of it.

    Attributes
    ----------
    name
        What a reader calls it, such as ``UPS`` or ``chillers``.
    power_w
        Power of a branch that ends here [W]; one that goes on carries the sum of its `parts`.
    parts
        What it splits into, those that split again first.
    """

    name: str
    kind: Kind = "trunk"
    power_w: float = 0.0
    parts: tuple[PowerBranch, ...] = ()

    def ends(self) -> Iterator[PowerBranch]:
        """Branches that end, in the order in which they are drawn."""
        if not self.parts:
            yield self
            return
        for part in (*filter(_splits, self.parts), *(p for p in self.parts if not p.parts)):
            yield from part.ends()


def _splits(branch: PowerBranch) -> bool:
    return bool(branch.parts)


@dataclass(frozen=True)
class _Unit:
    """How power is shown: `size` [W] is the last decimal, `name` the unit before it."""

    size: float
    name: str

    def show(self, units: int) -> str:
        return f"{units / 1000:,.3f} {self.name}"


@dataclass
class Station:
    """A branch in whole display units, and where it is drawn.

    Attributes
    ----------
    units, parts
        Power in display units and in hundredths of a percent of the total; at each station those
        of its `children` add up to its own.
    depth
        Stations before this one.
    """

    name: str
    kind: Kind
    units: int
    share: int
    depth: int
    children: list[Station] = field(default_factory=list)
    y: float = 0.0
    height: float = 0.0

    def walk(self) -> Iterator[Station]:
        """The station and all behind it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class Balance:
    """The diagram's figures: whole numbers that add up exactly at every station."""

    root: Station
    unit: _Unit

    def power(self, station: Station) -> str:
        """Power with its unit."""
        return self.unit.show(station.units)

    @staticmethod
    def percent(station: Station) -> str:
        """Share of all power."""
        return f"{station.share / 100:.2f} %"


def balance(flow: PowerBranch) -> Balance:
    """Round so that every station's parts add up to it in what is shown.

    Raises
    ------
    ValueError
        Where a power is negative or not finite.
    """
    ends = [end.power_w for end in flow.ends()]
    total = sum(ends)
    unit = _Unit(1e3, "MW") if total >= 1e6 else _Unit(1.0, "kW")
    units = iter(rounded(ends, unit.size))
    shares = iter(rounded(ends, total / PARTS) if total >= unit.size / 2 else [0] * len(ends))
    return Balance(_station(flow, units, shares, 0), unit)


def _station(
    branch: PowerBranch, units: Iterator[int], shares: Iterator[int], depth: int
) -> Station:
    if not branch.parts:
        return Station(branch.name, branch.kind, next(units), next(shares), depth)
    ordered = [*filter(_splits, branch.parts), *(p for p in branch.parts if not p.parts)]
    children = [_station(part, units, shares, depth + 1) for part in ordered]
    power, share = sum(c.units for c in children), sum(c.share for c in children)
    return Station(branch.name, branch.kind, power, share, depth, children)


@dataclass(frozen=True)
class _Frame:
    """Measures of a drawing [px]; `upright` stations carry their names upright."""

    width: float
    head: float
    label: float
    flow: float
    row: float
    upright: bool
    bar: float = 9.0


_WIDE = _Frame(width=1180, head=52, label=330, flow=300, row=25, upright=False)
_NARROW = _Frame(width=340, head=0, label=172, flow=210, row=33, upright=True)


def sankey(flow: PowerBranch) -> str:
    """The diagram for wide and for narrow windows, and its figures as a table."""
    found = balance(flow)
    if found.root.units == 0:
        return '<p class="note">No power is drawn.</p>'
    return (
        _draw(found, _WIDE, "wide")
        + _draw(found, _narrow(found), "narrow")
        + _key(found)
        + _table(found)
    )


def _narrow(found: Balance) -> _Frame:
    """The frame of narrow windows, with room for the longest upright name."""
    names = (_upright(found, s) for s in found.root.walk() if s.children)
    return replace(_NARROW, head=16 + 7.4 * max(map(len, names), default=0))


def _upright(found: Balance, station: Station) -> str:
    return f"{_short(station.name, 14)} {found.power(station)}"


def _draw(found: Balance, frame: _Frame, kind: str) -> str:
    root = found.root
    deepest = max(s.depth for s in root.walk() if s.children or s is root)
    bottom = _lay_out(root, frame, frame.head)
    step = (frame.width - frame.label - frame.bar - 1) / (deepest + 1)
    right = frame.width - frame.label - frame.bar
    x = {d: 1 + d * step for d in range(deepest + 1)}
    parts: list[str] = []
    for station in root.walk():
        parts += _ribbons(station, x, right, frame)
    for station in root.walk():
        at = x[station.depth] if station.children or station is root else right
        told = f"{station.name}: {found.power(station)}, {found.percent(station)}"
        parts.append(rectangle(at, station.y, frame.bar, station.height, f"f-{station.kind}", told))
        parts.append(_label(found, station, at, frame))
    ends = sum(1 for s in root.walk() if not s.children)
    title = f"Power from {root.name}, {found.power(root)} in all, to {ends} uses; table below"
    return drawing(frame.width, bottom + 6, "".join(parts), title, kind=f"sankey {kind}")


def _lay_out(station: Station, frame: _Frame, top: float) -> float:
    """Place a station and all behind it from `top` down; return where the next one may begin."""
    scale = frame.flow / max(station.units, 1)
    return _place(station, scale, frame, top)


def _place(station: Station, scale: float, frame: _Frame, top: float) -> float:
    station.height = max(station.units * scale, 1.0 if station.units else 0.0)
    station.y = top
    if not station.children:
        station.y += max(0.0, (frame.row - station.height) / 2 - 2.0)
        return top + max(station.height + 6.0, frame.row)
    at = top
    for child in station.children:
        at = _place(child, scale, frame, at)
    return max(at, top + station.height + 5.0)


def _ribbons(station: Station, x: dict[int, float], right: float, frame: _Frame) -> list[str]:
    """Curved bands from a station to each of its parts."""
    start, at, bands = x.get(station.depth, right) + frame.bar, station.y, []
    for child in station.children:
        end = x[child.depth] if child.children else right
        share = station.height * child.units / max(station.units, 1)
        # an end far to the right bends as late as possible, so that bands do not run as a wedge
        bend = start + min(0.5 * (end - start), 90.0)
        middle = min(bend + (bend - start), end)
        low, high = at + share, child.y + child.height
        path = (
            f"M{start:.1f},{at:.2f}C{bend:.1f},{at:.2f} {bend:.1f},{child.y:.2f} "
            f"{middle:.1f},{child.y:.2f}L{end:.1f},{child.y:.2f}L{end:.1f},{high:.2f}"
            f"L{middle:.1f},{high:.2f}C{bend:.1f},{high:.2f} {bend:.1f},{low:.2f} "
            f"{start:.1f},{low:.2f}Z"
        )
        bands.append(tag("path", d=path, class_=f"band f-{child.kind}"))
        at += share
    return bands


def _label(found: Balance, station: Station, x: float, frame: _Frame) -> str:
    power, percent = found.power(station), found.percent(station)
    if station.children:
        if frame.upright:
            turn = f"rotate(-90 {x + 9:.1f} {frame.head - 8:.1f})"
            told = _upright(found, station)
            return words(x + 9, frame.head - 8, told, "name", transform=turn)
        top = station.y - 24 if station.depth == 0 or station.y > frame.head else frame.head - 24
        return words(x, top, _short(station.name, 22), "name") + words(
            x, top + 16, f"{power} · {percent}", "soft"
        )
    left, middle = x + frame.bar + 8, station.y + station.height / 2
    if frame.upright:
        return words(left, middle - 2, _short(station.name, 22), "name") + words(
            left, middle + 12, f"{power} · {percent}", "soft"
        )
    return (
        words(left, middle + 4, _short(station.name, 26), "name")
        + words(left + 245, middle + 4, power, "soft", text_anchor="end")
        + words(left + 310, middle + 4, percent, "soft", text_anchor="end")
    )


def _short(text: str, most: int) -> str:
    """A name that fits; wide (Korean) letters count twice."""
    room, kept = float(most), ""
    for letter in text:
        room -= 1.8 if ord(letter) > 0x1100 else 1.0
        if room < 0:
            return kept.rstrip() + "…"
        kept += letter
    return kept


def _key(found: Balance) -> str:
    """What each colour stands for, and the sum of its ends."""
    items = ""
    for kind, name in KIND_NAMES.items():
        ends = [s for s in found.root.walk() if s.kind == kind and not s.children]
        if ends:
            power, share = found.unit.show(sum(s.units for s in ends)), sum(s.share for s in ends)
            items += (
                f'<span><i class="f-{kind}"></i>{name} <b>{power}</b> {share / 100:.2f} %</span>'
            )
    return f'<p class="key">{items}</p>'


def _table(found: Balance) -> str:
    rows = "".join(
        f'<tr><th scope="row" style="padding-left:{1.1 * station.depth:.1f}em">'
        f"{escape(station.name)}</th>"
        f'<td class="n">{escape(found.power(station))}</td>'
        f'<td class="n">{escape(found.percent(station))}</td></tr>'
        for station in found.root.walk()
    )
    return (
        "<details><summary>All figures</summary>"
        '<div class="scroll"><table class="tight flow"><thead><tr><th>Station</th>'
        '<th class="n">Power</th><th class="n">Of all</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        '<p class="note under">Indented lines add up to the line above them: ends are rounded by '
        "the largest remainder.</p></details>"
    )
