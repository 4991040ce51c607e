"""Figures for people: SI prefixes, hours, percent. Numbers in files stay in base units."""

from __future__ import annotations

import math

from kfarm_api.metrics import METRICS
from kfarm_api.plan import CheckResult

NONE = "\N{EN DASH}"
"""Stands where there is no value."""
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
JOULES_PER_KILOWATT_HOUR = 3.6e6


def figure(value: float | None, unit: str) -> str:
    """A value with its unit, in three to four digits.

    Parameters
    ----------
    unit
        Unit of a metric: ``W``, ``J``, ``s``, ``h``, ``degC``, ``K`` or ``1``.
    """
    if value is None or not math.isfinite(value):
        return NONE
    if unit == "J":
        return _prefixed(value / JOULES_PER_KILOWATT_HOUR * 1000, "Wh")
    if unit == "W":
        return _prefixed(value, "W")
    if unit == "s":
        return span(value)
    if unit == "1":
        return f"{value:,.0f}" if value == round(value) and value > 1 else f"{value:.4g}"
    return f"{digits(value)} {'°C' if unit == 'degC' else unit}"


def span(seconds: float) -> str:
    """A span of time in the unit that reads best."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if abs(seconds) >= 2 * size:
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds)} s"


def brief_span(seconds: float) -> str:
    """A span in three significant digits, for sentences and for figures that carry an interval."""
    for size in (86400.0, 3600.0, 60.0, 1.0):
        if abs(seconds) >= 2 * size:
            return span(float(f"{seconds / size:.3g}") * size)
    return span(float(f"{seconds:.2g}"))


def digits(value: float) -> str:
    """Four significant digits, thousands separated, without trailing zeros."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _prefixed(value: float, unit: str) -> str:
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{digits(value / size)} {prefix}{unit}"
    return f"{digits(value)} {unit}"


def check_figures(check: CheckResult) -> tuple[str, str]:
    """Estimate and interval of a check, with their unit."""
    unit = METRICS[check.metric].unit if check.metric in METRICS else "1"
    estimate, low, high = (
        figure(float(text), unit) if text is not None else NONE
        for text in (check.estimate, check.low, check.high)
    )
    if check.low is None or check.high is None:
        return estimate, NONE
    return estimate, low if low == high else f"{low} … {high}"
