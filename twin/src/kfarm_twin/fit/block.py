"""Parameters as the fields of a manifest."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from kfarm_api.reliability import Reliability
from kfarm_api.units import format_duration

from kfarm_twin.fit.model import Parameters

SECOND_NS, HOUR_NS = 10**9, 3600 * 10**9
LEAST_SHARE = 0.005
"""Shares of kinds below this round to nothing in percent."""


def block(p: Parameters) -> dict[str, Any]:
    """The `reliability` block of a manifest; percentages are whole, as the fields are."""
    classes = [_class(p, index, name) for index, name in enumerate(_names(p.kinds))]
    data: dict[str, Any] = {"classes": [c for c in classes if c is not None], "detection": "0s"}
    if p.frailty is not None:
        data["frailty"] = {"shape": _quantity(min(max(p.frailty, 0.05), 1000.0))}
    if p.bursts is not None:
        share, size, window = p.bursts
        if round(100 * share) >= 1 and size > 1.001:
            data["bursts"] = {
                "share": min(round(100 * share), 99),
                "size": _quantity(min(size, 1000.0)),
                "window": _duration(window),
            }
    if p.unrest is not None:
        share, factor, spell = p.unrest
        data["unrest"] = {
            "share": min(max(round(100 * share), 1), 90),
            "factor": _quantity(min(max(factor, 1.001), 1000.0)),
            "spell": _duration(spell),
        }
        if round(100 * p.holds) >= 1:
            data["unrest"]["holds"] = min(round(100 * p.holds), 100)
    if p.crews is not None or not p.calendar.always:
        data["crews"] = {"count": p.crews or p.crews_seen}
        if not p.calendar.always:
            c = p.calendar
            data["crews"]["shift"] = {"hours": c.hours, "start": c.start, "days": c.days}
    return data


def reliability(p: Parameters) -> Reliability:
    """The block as the API's object; raises where a figure is out of its bounds."""
    return Reliability.model_validate(block(p))


def _class(p: Parameters, index: int, name: str) -> dict[str, Any] | None:
    quick, _, part = p.shares[index]
    rate = p.rates[index] * 24 * 1000
    if rate < 1e-6:
        return None
    data: dict[str, Any] = {
        "name": name,
        "failuresPer1000NodeDays": _quantity(min(rate, 1000.0)),
        "meanTimeToRepair": _duration(p.mean_h),
    }
    if quick >= LEAST_SHARE:
        share = min(round(100 * quick), 100)
        data["recovery"] = [{"action": "Retry", "success": share, "time": _duration(p.quick_h)}]
    repair: dict[str, Any] = {"distribution": p.law}
    if p.shape is not None:
        repair["shape"] = _quantity(p.shape)
    repair["crew"] = p.crews is not None or not p.calendar.always
    waits = part / max(1 - quick, 1e-9)
    if waits >= LEAST_SHARE:
        repair["part"] = {
            "share": min(round(100 * waits), 100),
            "leadTime": _duration(p.lead_h),
            "spread": _quantity(p.spread),
        }
    if p.recurrence >= LEAST_SHARE:
        repair["recurrence"] = round(100 * p.recurrence)
        repair["recursWithin"] = _duration(p.within_h)
    data["repair"] = repair
    return data


def _names(kinds: tuple[str, ...]) -> list[str]:
    """Names as the API wants them, no two alike."""
    taken: list[str] = []
    for kind in kinds:
        plain = re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")[:50].strip("-") or "class"
        name, number = plain, 2
        while name in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.append(name)
    return taken


def _quantity(value: float) -> str:
    """Four significant digits, as a quantity can hold them."""
    number = Decimal(f"{value:.4g}").quantize(Decimal("0.000001"))
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _duration(hours: float) -> str:
    """Whole seconds; whole minutes from an hour up; at least a second."""
    unit = 60 * SECOND_NS if hours >= 1 else SECOND_NS
    return format_duration(max(round(hours * HOUR_NS / unit), 1) * unit)
