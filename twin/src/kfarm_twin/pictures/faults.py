"""The N-1 table of cooling: what every single fault does, and how long is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from kfarm_twin.figures import NONE, brief_span, digits
from kfarm_twin.pictures.svg import drawing, line, polyline, words

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
        What fails (``CDU pump``), and which (``main-cdu00 and 7 alike``).
    redundancy
        What is left, such as ``1 of 1 pump``.
    throttle_s, shutdown_s
        Time from the fault until the first device throttles or shuts down [s]; None: never.
    hottest_c, headroom_k
        Hottest device after the fault [degC], and the least distance to a throttle limit [K].
    throttle_c, shutdown_c
        Limits of the device that comes nearest to its own [degC].
    binds, at
        Rack that is the first to suffer, and its loop or room.
    slowed, off
        How much throttles and how much goes off, in words; empty where nothing does.
    curve
        Hottest device after the fault: (time [s], temperature [degC]), rising times.
    """

    fault: str
    where: str
    redundancy: str
    state: State
    throttle_s: float | None
    shutdown_s: float | None
    hottest_c: float
    headroom_k: float
    throttle_c: float
    shutdown_c: float
    binds: str
    at: str = ""
    slowed: str = ""
    off: str = ""
    curve: tuple[tuple[float, float], ...] = ()


def sorted_rows(rows: Sequence[FaultRow]) -> list[FaultRow]:
    """The worst first: those that shut down soonest, then those that throttle soonest."""
    far = float("inf")

    def key(row: FaultRow) -> tuple[float, ...]:
        shut = far if row.shutdown_s is None else row.shutdown_s
        slow = far if row.throttle_s is None else row.throttle_s
        return (_WORST[row.state], shut, slow, row.headroom_k)

    return sorted(rows, key=key)


def fault_table(rows: Sequence[FaultRow]) -> str:
    """The table; a reader sees the state by colour and word."""
    if not rows:
        return '<p class="note">Nothing of the cooling is described that could fail.</p>'
    heads = (
        "<th>State</th><th>What fails</th>"
        '<th class="n">Throttles</th><th class="n">Shuts down</th>'
        '<th class="n">Hottest device</th><th>Hottest device after the fault</th>'
        "<th>Who suffers first</th>"
    )
    body = "".join(_row(row) for row in sorted_rows(rows))
    return (
        f'<div class="scroll"><table class="faults"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        '<p class="note under">Time runs in equal ratios from a second to a day; dashed: where '
        "devices throttle and shut down.</p>"
    )


def _row(row: FaultRow) -> str:
    style, mark, word = _STATES[row.state]
    badge = f'<span class="badge {style}"><i aria-hidden="true">{mark}</i>{word}</span>'
    hottest = f"{row.hottest_c:.1f} °C"
    word = "over its limit" if row.headroom_k < 0 else "of headroom"
    left = _small(f"{abs(row.headroom_k):.1f} K {word}")
    return (
        f"<tr><td>{badge}</td>"
        f'<th scope="row">{escape(row.fault)}{_small(row.where)}{_small(f"left: {row.redundancy}")}'
        "</th>"
        f'<td class="n" data-head="Throttles">{_after(row.throttle_s, row.slowed)}</td>'
        f'<td class="n" data-head="Shuts down">{_after(row.shutdown_s, row.off)}</td>'
        f'<td class="n" data-head="Hottest device"><span>{hottest}{left}</span></td>'
        f'<td data-head="After the fault">{sparkline(row)}</td>'
        f'<td data-head="Who suffers first"><span>{escape(row.binds or NONE)}'
        f"{_small(row.at)}</span></td></tr>"
    )


def _after(seconds: float | None, told: str) -> str:
    if seconds is None:
        return f'<span class="soft">never{_small(told)}</span>'
    when = "at once" if seconds <= 0.0 else f"after {escape(brief_span(seconds))}"
    return f"<span>{when}{_small(told)}</span>"


def _small(told: str) -> str:
    return f"<small>{escape(told)}</small>" if told else ""


_WIDTH, _HEIGHT, _FOOT = 180.0, 40.0, 14.0
_LAST_S = 86_400.0
_MARKS = ((1.0, "1 s", "start"), (60.0, "1 min", "middle"), (3600.0, "1 h", "middle"),
          (_LAST_S, "1 d", "end"))  # fmt: skip


def _across(seconds: float) -> float:
    """Abscissa of a time: equal ratios are equally wide."""
    share = math.log(min(max(seconds, 1.0), _LAST_S)) / math.log(_LAST_S)
    return _WIDTH * share


def sparkline(row: FaultRow) -> str:
    """The hottest device after the fault, with its limits as dashed lines."""
    if len(row.curve) < 2:
        return NONE
    values = [value for _, value in row.curve]
    near = [v for v in (row.throttle_c, row.shutdown_c) if v <= max(values) + 25.0]
    low, high = min(values), max([*values, *near])
    if high - low < 1.0:
        low, high = low - 0.5, high + 0.5

    def y(value: float) -> float:
        return 3 + (_HEIGHT - 6) * (1 - (value - low) / (high - low))

    kinds = {row.shutdown_c: "limit off", row.throttle_c: "limit slow"}
    marks = [line((0, y(v)), (_WIDTH, y(v)), kinds[v]) for v in near]
    for seconds, text, anchor in _MARKS:
        x = _across(seconds)
        marks.append(line((x, 0), (x, _HEIGHT), "grid-line"))
        marks.append(words(x, _HEIGHT + 11, text, "small", text_anchor=anchor))
    curve = polyline(((_across(t), y(v)) for t, v in row.curve), "trace")
    told = (
        f"Hottest device from {digits(round(values[0], 1))} to "
        f"{digits(round(max(values), 1))} °C within {brief_span(row.curve[-1][0])}"
    )
    return drawing(_WIDTH, _HEIGHT + _FOOT, "".join(marks) + curve, told, kind="spark")
