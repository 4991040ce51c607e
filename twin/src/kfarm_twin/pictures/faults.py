"""The N-1 table of cooling: what every single fault does, and how long is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from kfarm_twin.figures import NONE, brief_span, digits
from kfarm_twin.pictures.svg import drawing, line, polyline, tag, words

State = Literal["Holds", "Throttles", "ShutsDown"]
_STATES: dict[State, tuple[str, str, str]] = {
    "Holds": ("good", "✓", "Holds"),
    "Throttles": ("unsure", "▲", "Throttles"),
    "ShutsDown": ("bad", "✕", "Shuts down"),
}
_WORST: dict[State, int] = {"ShutsDown": 0, "Throttles": 1, "Holds": 2}


@dataclass(frozen=True)
class FaultRow:
    """Equal single faults, told by the worst of them.

    Attributes
    ----------
    fault, where
        What fails (``CDU pump``), and of what (``nhn/b200``).
    count
        How many such units there are.
    redundancy
        Such as ``2 of 1 needed``.
    throttle_s, shutdown_s
        Time from the fault until the first device throttles or shuts down [s]; None: never.
    hottest_c
        Hottest device after the fault [degC], None where no device is behind the unit.
    throttle_c, shutdown_c
        Limits of that device [degC].
    binds
        Loop, zone or rack that is the first to suffer.
    curve
        Hottest device after the fault: (time [s], temperature [degC]), rising times.
    """

    fault: str
    where: str
    count: int
    redundancy: str
    state: State
    throttle_s: float | None
    shutdown_s: float | None
    hottest_c: float | None
    throttle_c: float | None = None
    shutdown_c: float | None = None
    binds: str | None = None
    curve: tuple[tuple[float, float], ...] = ()


def sorted_rows(rows: Sequence[FaultRow]) -> list[FaultRow]:
    """The worst first: those that shut down soonest, then those that throttle soonest."""
    far = float("inf")

    def key(row: FaultRow) -> tuple[float, ...]:
        shut = far if row.shutdown_s is None else row.shutdown_s
        slow = far if row.throttle_s is None else row.throttle_s
        return (_WORST[row.state], shut, slow, -(row.hottest_c or 0.0))

    return sorted(rows, key=key)


def fault_table(rows: Sequence[FaultRow]) -> str:
    """The table; a reader sees state by colour and word."""
    if not rows:
        return '<p class="note">Nothing of the cooling is described that could fail.</p>'
    heads = (
        "<th>State</th><th>What fails</th><th>Redundancy</th>"
        '<th class="n">Throttles after</th><th class="n">Shuts down after</th>'
        '<th class="n">Hottest device</th><th>After the fault</th><th>Who suffers first</th>'
    )
    body = "".join(_row(row) for row in sorted_rows(rows))
    return (
        f'<div class="scroll"><table class="faults"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: FaultRow) -> str:
    style, mark, word = _STATES[row.state]
    badge = f'<span class="badge {style}"><i aria-hidden="true">{mark}</i>{word}</span>'
    each = f"{row.count:,} alike" if row.count > 1 else "one"
    hottest = NONE if row.hottest_c is None else f"{digits(round(row.hottest_c, 1))} °C"
    limit = f"<small>throttles at {digits(row.throttle_c)} °C</small>" if row.throttle_c else ""
    return (
        f"<tr><td>{badge}</td>"
        f'<th scope="row">{escape(row.fault)}<small>{escape(row.where)} · {each}</small></th>'
        f'<td data-head="Redundancy">{escape(row.redundancy)}</td>'
        f'<td class="n" data-head="Throttles after">{_after(row.throttle_s)}</td>'
        f'<td class="n" data-head="Shuts down after">{_after(row.shutdown_s)}</td>'
        f'<td class="n" data-head="Hottest device"><span>{hottest}{limit}</span></td>'
        f'<td data-head="After the fault">{sparkline(row)}</td>'
        f'<td data-head="Who suffers first">{escape(row.binds or NONE)}</td></tr>'
    )


def _after(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return "at once" if seconds <= 0.0 else escape(brief_span(seconds))


_WIDTH, _HEIGHT, _FOOT = 150.0, 38.0, 14.0


def sparkline(row: FaultRow) -> str:
    """The hottest device after the fault, with its limits as dashed lines."""
    if len(row.curve) < 2:
        return NONE
    times, values = [t for t, _ in row.curve], [v for _, v in row.curve]
    limits = [v for v in (row.throttle_c, row.shutdown_c) if v is not None]
    near = [v for v in limits if v <= max(values) + 0.6 * (max(values) - min(values)) + 8.0]
    low, high = min(values), max([*values, *near])
    if high - low < 1.0:
        low, high = low - 0.5, high + 0.5
    first, span = times[0], (times[-1] - times[0]) or 1.0

    def at(time: float, value: float) -> tuple[float, float]:
        share = (value - low) / (high - low)
        return (_WIDTH * (time - first) / span, 3 + (_HEIGHT - 6) * (1 - share))

    kinds = {row.throttle_c: "limit slow", row.shutdown_c: "limit off"}
    marks = [line(at(first, v), at(times[-1], v), kinds[v]) for v in near]
    end = at(times[-1], values[-1])
    dot = tag("circle", cx=end[0], cy=end[1], r=2.4, class_="dot-end")
    foot = words(0, _HEIGHT + 10, "0", "small") + words(
        _WIDTH, _HEIGHT + 10, brief_span(times[-1]), "small", text_anchor="end"
    )
    told = (
        f"Hottest device from {digits(round(values[0], 1))} to "
        f"{digits(round(max(values), 1))} °C within {brief_span(times[-1])}"
    )
    curve = polyline((at(t, v) for t, v in row.curve), "trace")
    return drawing(_WIDTH, _HEIGHT + _FOOT, "".join(marks) + curve + dot + foot, told, kind="spark")
