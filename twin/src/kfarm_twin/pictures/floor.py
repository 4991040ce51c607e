"""The floor map: site, hall, row, rack; coloured by heat or power at a moment of one's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from kfarm_twin.pictures.moments import Moments, packed

MODES = (
    ("hottest", "Hottest device"),
    ("headroom", "Headroom"),
    ("inlet", "Rack inlet"),
    ("power", "Power"),
)


@dataclass(frozen=True)
class RackCell:
    """One rack of the floor map.

    Temperatures and power are those of the steady state with all workloads running, None where
    none is known.

    Attributes
    ----------
    column
        Position within the row, from 0.
    cdu, pdu
        Labels of the coolant loops and PDUs, or None with air or without PDUs.
    plan_nodes
        Nodes of this rack that the plan occupies.
    limit_w
        Power limit [W], or None where the farm gives none.
    site
        Where the farm stands.
    throttled
        Accelerators that throttle, or None where nothing is known.
    """

    cluster: str
    label: str
    hall: int
    row: int
    column: int
    cdu: str | None
    nodes: int
    plan_nodes: int
    inlet_c: float | None
    hottest_c: float | None
    throttle_c: float | None
    power_w: float | None
    limit_w: float | None
    pdu: str | None = None
    site: str = ""
    throttled: int | None = None


def floor_data(moments: Sequence[Moments]) -> list[dict[str, Any]]:
    """What the script reads beside the racks."""
    return [packed(shown) for shown in moments]


def floor_section(racks: Sequence[RackCell], moments: Sequence[Moments], note: str = "") -> str:
    """The card of the map; the script fills it."""
    if not racks:
        return ""
    buttons = "".join(
        f'<button type="button" data-mode="{mode}" aria-pressed="false">{title}</button>'
        for mode, title in MODES
    )
    views = _views(moments)
    notes = "".join(
        f'<p class="note" data-note="{i}">{escape(shown.note)}</p>'
        for i, shown in enumerate(moments)
    )
    more = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        '<section id="floor"><div class="heading"><h2>Floor map</h2><div class="toggles">'
        f'{views}<div class="toggle modes" role="group" aria-label="Colour racks by">{buttons}'
        f"</div></div></div>{notes}{_steady_note(moments)}{more}{_slider()}"
        '<div id="legend"></div><div id="map"></div>'
        '<p class="note">A ring marks racks that the plan uses; heavy lines separate coolant loops '
        "(CDUs); a corner marks racks with throttled devices.</p>"
        '<h3 id="ranking-title"></h3><div class="scroll"><table id="ranking" class="tight"></table>'
        "</div></section>"
    )


def _views(moments: Sequence[Moments]) -> str:
    if not moments:
        return ""
    names = [*(shown.title for shown in moments), "Steady state"]
    buttons = "".join(
        f'<button type="button" data-view="{i}" aria-pressed="false">{escape(name)}</button>'
        for i, name in enumerate(names)
    )
    return f'<div class="toggle views" role="group" aria-label="When">{buttons}</div>'


def _steady_note(moments: Sequence[Moments]) -> str:
    return (
        f'<p class="note" data-note="{len(moments)}">Each tile is a rack with all workloads '
        "running, once nothing changes any more.</p>"
    )


def _slider() -> str:
    return (
        '<div id="when" hidden><div id="strip"></div>'
        '<input type="range" id="time" min="0" step="any" value="0" aria-label="Time">'
        '<p class="moment"><output id="clock" for="time"></output><span class="toggle">'
        '<button type="button" id="play">Play</button>'
        '<button type="button" id="worst">Worst moment</button></span></p></div>'
    )
