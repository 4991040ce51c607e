"""What the live twin says in a farm's status. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kfarm_api.base import Condition
from kfarm_api.farm import Farm, FarmStatus
from kfarm_api.telemetry import (
    MAX_ROWS,
    MAX_SUGGESTIONS,
    DriftBounds,
    DriftRow,
    Suggestion,
    Unhealthy,
)
from kfarm_api.units import parse_quantity
from kfarm_twin.live_request import ClusterDrift, Compared

from kfarm_operator.conditions import Status, condition, timestamp
from kfarm_operator.farms.status import merged_conditions
from kfarm_operator.live.series import BadAnswer, Reading
from kfarm_operator.live.window import Window

TELEMETRY, DRIFT = "Telemetry", "Drift"
OWNED = (TELEMETRY, DRIFT)
LEAST_SHARE = 0.5
"""Of a farm's devices: with fewer measured, or fewer believed, there is no telemetry to go by."""
LEAST_FAILURES = 3
_Z = 1.959963984540054
JSON = dict[str, Any]


@dataclass(frozen=True)
class Heard:
    """What the last round told: a reading, or why there is none."""

    status: Status
    reason: str
    message: str

    @property
    def good(self) -> bool:
        """Whether there is something to go by."""
        return self.status == "True"


def heard(reading: Reading | BadAnswer, wanted: int, wrong_names: Sequence[str]) -> Heard:
    """Whether the farm's telemetry can be gone by; `wanted` is the number of its devices."""
    if isinstance(reading, BadAnswer):
        return Heard("False", reading.reason, f"{reading.message}. The twin goes by the farm's "
                     "description alone meanwhile")  # fmt: skip
    if wrong_names:
        return Heard(
            "False",
            "BadMetricName",
            f"spec.metrics of AcceleratorProfile {wrong_names[0]} is no metric name, with labels "
            'as in name{label="value"}; correct it',
        )
    told = f"{reading.devices} of {wanted} devices are measured"
    if reading.refused:
        told += f"; {reading.refused} samples are not believed, the first: {reading.first_refused}"
    believed = reading.devices >= LEAST_SHARE * wanted
    if believed and not reading.refused and reading.devices >= wanted:
        return Heard("True", "Fresh", told)
    if believed and reading.refused <= reading.devices:
        return Heard("True", "Partial", told)
    if reading.refused:
        return Heard("False", "Implausible", f"{told}; look at the exporters and their units")
    if reading.strangers and not reading.devices:
        return Heard(
            "False",
            "UnknownNodes",
            f"{reading.strangers} series are of no node of this farm; name the label that holds "
            "the node's name in spec.metrics.nodeLabel of the profile",
        )
    return Heard(
        "False",
        "NoData",
        f"{told}: the Prometheus has no fresh series under the names in spec.metrics of the "
        "profiles; check that the exporters run and are scraped",
    )


def rows_of(compared: Compared | None, farm: Farm, window: Window, now: datetime) -> list[DriftRow]:
    """One row for each cluster at the end of a period."""
    found = {drift.name: drift for drift in compared.clusters} if compared else {}
    return [
        _row(found.get(cluster.name, ClusterDrift(name=cluster.name)), window, now)
        for cluster in farm.spec.clusters
    ]


def _row(drift: ClusterDrift, window: Window, now: datetime) -> DriftRow:
    return DriftRow(
        at=timestamp(now),
        cluster=drift.name,
        devices=drift.devices,
        observed=figure(drift.observed_c, 1),
        predicted=figure(drift.predicted_c, 1),
        error=figure(drift.error_k, 2),
        error_p95=figure(drift.error_p95_k, 2),
        power=figure(drift.power_w, 1),
        power_error=figure(drift.power_error_percent, 2),
        node_hours=figure(window.node_hours.get(drift.name, 0.0), 2) or "0",
        failures=window.failures.get(drift.name, 0),
    )


def figure(value: float | None, digits: int) -> str | None:
    """A number as text; None for what is none."""
    return None if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def history(before: Sequence[DriftRow], new: Sequence[DriftRow]) -> list[DriftRow]:
    """The latest rows, the last last."""
    return [*before, *new][-MAX_ROWS:]


def suggestions(compared: Compared | None, rows: Sequence[DriftRow]) -> list[Suggestion]:
    """Parameters that would fit better: those of heat, and how often nodes fail."""
    found: list[Suggestion] = []
    for drift in compared.clusters if compared else ():
        found += drift.suggestions
        rate = _failure_rate(drift, [row for row in rows if row.cluster == drift.name])
        found += [rate] if rate else []
    return found[:MAX_SUGGESTIONS]


def _failure_rate(drift: ClusterDrift, rows: Sequence[DriftRow]) -> Suggestion | None:
    """Failures of the history per 1,000 node-days, where its interval leaves out what is said."""
    count = sum(row.failures for row in rows)
    days = sum(float(row.node_hours) for row in rows) / 24.0
    present = drift.failures_per_1000_node_days
    if count < LEAST_FAILURES or days <= 0.0:
        return None
    low, high = (1000.0 * bound / days for bound in poisson_interval(count))
    if low <= present <= high:
        return None
    return Suggestion(
        cluster=drift.name,
        parameter="reliability: failuresPer1000NodeDays, all classes of a node",
        present=f"{present:.3f}",
        suggested=f"{1000.0 * count / days:.3f}",
        low=f"{low:.3f}",
        high=f"{high:.3f}",
        unit="1/(1000 node-days)",
        samples=count,
        basis=f"{count} nodes stopped being Ready in {days:.1f} node-days of the history",
    )


def poisson_interval(count: int) -> tuple[float, float]:
    """95 % interval of a Poisson mean (Wilson and Hilferty's cube root of chi-square)."""
    low = 0.0 if count == 0 else count * (1 - 1 / (9 * count) - _Z / (3 * count**0.5)) ** 3
    more = count + 1
    return low, more * (1 - 1 / (9 * more) + _Z / (3 * more**0.5)) ** 3


def drifted(rows: Iterable[DriftRow], bounds: DriftBounds) -> Heard:
    """Whether the twin was further off than the farm allows in the last period."""
    kelvins, percent = parse_quantity(bounds.temperature), bounds.power
    beyond: list[str] = []
    within: list[str] = []
    for row in rows:
        if row.error is None and row.power_error is None:
            continue
        text = _words(row)
        hot = row.error is not None and abs(float(row.error)) > kelvins
        hungry = row.power_error is not None and abs(float(row.power_error)) > percent
        (beyond if hot or hungry else within).append(text)
    if beyond:
        return Heard(
            "True",
            "BeyondBounds",
            f"further off than {kelvins:g} K or {percent} % of power: {'; '.join(beyond)}; see "
            "status.suggestions, or correct the farm",
        )
    if within:
        return Heard("False", "WithinBounds", "; ".join(within))
    return Heard("Unknown", "NothingMeasured", "no device was measured in the last period")


def _words(row: DriftRow) -> str:
    parts = [f"cluster {row.cluster}:"]
    if row.error is not None:
        parts.append(
            f"devices are {float(row.error):+.1f} K from predicted on average, p95 "
            f"{row.error_p95} K ({row.devices} devices, {row.observed} degC observed)"
        )
    if row.power_error is not None:
        parts.append(f"power {float(row.power_error):+.1f} % of the most drawn")
    return " ".join(parts)


def live_status(
    farm: Farm,
    *,
    lost: Sequence[Unhealthy],
    telemetry: Heard | None,
    closed: tuple[Sequence[DriftRow], Sequence[Suggestion], Heard] | None,
    now: datetime,
) -> JSON:
    """The parts of the status that are the live twin's, as they should stand.

    The message of a condition stays while status and reason do, so that nothing is written in a
    steady state; `closed` (rows, suggestions, drift) is there where a period has just ended.
    """
    status = farm.status or FarmStatus()
    told = {TELEMETRY: telemetry, DRIFT: closed[2] if closed else None}
    own = _own(farm, status.conditions, told, now) if farm.spec.telemetry else []
    kept = {entry["type"] for entry in own}
    conditions = [
        entry
        for entry in merged_conditions(farm, own)
        if entry["type"] not in OWNED or entry["type"] in kept
    ]
    rows = history(status.drift, closed[0] if closed else ())
    offered = closed[1] if closed else status.suggestions
    watched = farm.spec.telemetry is not None
    return {
        "unhealthy": [entry.as_manifest() for entry in lost] or None,
        "drift": [row.as_manifest() for row in rows] if watched and rows else None,
        "suggestions": [s.as_manifest() for s in offered] if watched and offered else None,
        "conditions": conditions,
    }


def _own(
    farm: Farm, before: Sequence[Condition], told: Mapping[str, Heard | None], now: datetime
) -> list[JSON]:
    found: list[JSON] = []
    for kind in OWNED:
        said = told[kind]
        old = next((entry for entry in before if entry.type == kind), None)
        same = old is not None and said is not None and _says(old, farm, said)
        if old is not None and (said is None or (same and kind == TELEMETRY)):
            found.append(old.as_manifest())
        elif said is not None:
            found.append(
                condition(
                    kind, said.status, said.reason, said.message,
                    generation=farm.metadata.generation, before=before, now=now,
                )
            )  # fmt: skip
    return found


def _says(old: Condition, farm: Farm, said: Heard) -> bool:
    return (old.status, old.reason, old.observed_generation) == (
        said.status,
        said.reason,
        farm.metadata.generation,
    )


def differs(old: JSON, wanted: JSON) -> bool:
    """Whether a status needs a write; absent and null are the same."""
    return any(
        (old.get(key) or None) != (value or None) if key != "conditions" else _unlike(old, value)
        for key, value in wanted.items()
    )


def _unlike(old: JSON, wanted: Sequence[JSON]) -> bool:
    def by_type(entries: Sequence[JSON]) -> dict[str, JSON]:
        return {entry["type"]: entry for entry in entries}

    return by_type(old.get("conditions") or ()) != by_type(wanted)
