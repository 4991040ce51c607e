"""Pieces of SVG: every text and attribute is escaped here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

Point = tuple[float, float]


def tag(name: str, content: str = "", **attributes: object) -> str:
    """An element; `content` is markup, a trailing underscore of an attribute's name is dropped."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{told}>{content}</{name}>"


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def words(x: float, y: float, text: str, kind: str = "", **attributes: object) -> str:
    """A text, not yet escaped, whose baseline is at (x, y)."""
    styled = {"class_": kind} if kind else {}
    return tag("text", escape(text), x=x, y=y, **styled, **attributes)


def line(start: Point, end: Point, kind: str) -> str:
    """A straight line of the class `kind`."""
    return tag("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=kind)


def rectangle(x: float, y: float, width: float, height: float, kind: str, told: str = "") -> str:
    """A rectangle; `told` is what a pointer that rests on it is told."""
    inside = tag("title", escape(told)) if told else ""
    return tag("rect", inside, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0),
               class_=kind)  # fmt: skip


def polyline(points: Iterable[Point], kind: str) -> str:
    """A line through points."""
    return tag("path", d=route(points), class_=kind)


def area(upper: Sequence[Point], lower: Sequence[Point], kind: str) -> str:
    """What lies between two lines with points of the same abscissas."""
    return tag("path", d=route([*upper, *reversed(lower)]) + "Z", class_=kind)


def route(points: Iterable[Point]) -> str:
    """Path data through points, to a tenth of a pixel; level and upright pieces in short."""
    data: list[str] = []
    before = ("", "")
    for x, y in points:
        now = (f"{x:.1f}".removesuffix(".0"), f"{y:.1f}".removesuffix(".0"))
        if not data:
            data.append(f"M{now[0]},{now[1]}")
        elif now[1] == before[1]:
            data.append(f"H{now[0]}")
        elif now[0] == before[0]:
            data.append(f"V{now[1]}")
        else:
            data.append(f"L{now[0]},{now[1]}")
        before = now
    return "".join(data)


def drawing(width: float, height: float, content: str, title: str, *, kind: str = "") -> str:
    """An SVG that shrinks with the page; `title` says in words what is drawn."""
    return tag(
        "svg",
        tag("title", escape(title)) + content,
        viewBox=f"0 0 {_value(float(width))} {_value(float(height))}",
        width=float(width),
        role="img",
        class_=f"drawing {kind}".strip(),
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` + 1 round numbers within [low, high]."""
    span = high - low
    if not (math.isfinite(span) and span > 0.0):
        return [low]
    raw = span / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(f * size for f in (1.0, 2.0, 2.5, 5.0, 10.0) if f * size >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * n for n in range(first, last + 1)]


def tick_text(value: float, values: Sequence[float]) -> str:
    """A tick with as many decimals as tell the ticks apart."""
    gaps = [b - a for a, b in pairwise(values)]
    step = min(gaps, default=abs(value) or 1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return f"{value:,.{decimals}f}"
