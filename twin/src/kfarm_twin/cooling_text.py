"""What a cooling fault does, in words."""

from __future__ import annotations

from kfarm_api.policy import Fault

from kfarm_twin.cooling import WINDOW_S, CoolingRow
from kfarm_twin.figures import brief_span, digits

HOLDS, THROTTLES, SHUTS_DOWN = "Holds", "Throttles", "ShutsDown"
LEAST_K = 0.1
"""Warming that is worth a word."""

_UNITS: dict[Fault, tuple[str, str]] = {
    "CduPump": ("pump", "pumps"),
    "Cdu": ("pump", "pumps"),
    "Crah": ("air handler", "air handlers"),
    "Chiller": ("chiller", "chillers"),
    "Plant": ("chiller", "chillers"),
    "Feed": ("chiller", "chillers"),
}


def state(row: CoolingRow) -> str:
    """``Holds``, ``Throttles`` or ``ShutsDown``."""
    if row.shutdown_s is not None or row.dark:
        return SHUTS_DOWN
    return HOLDS if row.throttle_s is None else THROTTLES


def count(number: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many}"


def left(row: CoolingRow) -> str:
    """What is left of what is needed, such as ``1 of 2 pumps``."""
    one, many = _UNITS[row.fault]
    return f"{row.left} of {count(row.needed, one, many)}"


def after(seconds: float | None) -> str:
    """``after 14 s``, ``at once`` or ``not within a day``."""
    if seconds is None:
        return f"not within {brief_span(WINDOW_S)}"
    return "at once" if seconds <= 0 else f"after {brief_span(seconds)}"


def where(row: CoolingRow) -> str:
    """The rack and the loop or room that bind."""
    kind = "on loop" if row.liquid else "in zone"
    return f"rack {row.rack} {kind} {row.zone}"


def instances(row: CoolingRow) -> str:
    """Names of the instances, or how many there are."""
    labels = row.instances
    return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1:,} alike"


def _warmed(row: CoolingRow) -> str:
    """How far the loop or room that lost units warms, where it does."""
    start = row.curve[0][2]
    if row.fault not in ("CduPump", "Cdu", "Crah") or row.supply_c < start + LEAST_K:
        return ""
    return f"supply rises from {start:.1f} to {row.supply_c:.1f} degC"


def sentence(row: CoolingRow) -> str:
    """What happens, where, and when."""
    parts = [f"{left(row)} left"]
    if row.back_s is not None:
        parts[0] += f", back after {brief_span(row.back_s)}"
    if row.dark:
        parts.append(f"{count(row.dark, 'node loses its', 'nodes lose their')} only feed")
    warmed = _warmed(row)
    if warmed:
        parts.append(warmed)
    if row.throttle_s is not None:
        share = f"up to {digits(100 * row.throttled)} % of accelerators"
        parts.append(f"{where(row)} throttles {after(row.throttle_s)} ({share})")
    if row.shutdown_s is not None:
        nodes = count(row.down, "node shuts", "nodes shut")
        parts.append(f"{nodes} down, the first {after(row.shutdown_s)}")
    elif row.throttle_s is None:
        parts.append(
            f"hottest accelerator {row.hottest_c:.1f} degC in {where(row)}, "
            f"{row.headroom_k:.1f} K below its throttle limit"
        )
    return "; ".join(parts)
