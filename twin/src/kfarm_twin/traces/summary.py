"""What is in a trace: sizes, run times, device-hours, arrivals, by size and by queue."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Floats
from kfarm_twin.jobs import WHOLE_MILLI, Jobs
from kfarm_twin.traces.cells import NS_PER_S
from kfarm_twin.traces.formats import Reading

SCHEMA = "kfarm.dev/trace-info/v1"
NS_PER_HOUR = 3600 * NS_PER_S
HOURS = 24
QUANTILES = {"min": 0.0, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def devices_of(jobs: Jobs) -> Floats:
    """Devices that each job holds, parts of shared ones included [J]."""
    return jobs.pods * jobs.gpus * (jobs.gpu_milli / WHOLE_MILLI)


def device_hours_of(jobs: Jobs) -> Floats:
    """Devices times true run time of each job [J], in hours."""
    return devices_of(jobs) * (jobs.run_ns / NS_PER_HOUR)


@dataclass(frozen=True)
class SizeClass:
    """Jobs that hold more than `above` and at most `most` devices."""

    above: float
    most: float

    @property
    def label(self) -> str:
        """The class in words."""
        if self.most <= 0:
            return "none"
        if self.most < 1:
            return "part of 1"
        if self.above + 1 >= self.most:
            return f"{self.most:,.0f}"
        return f"{self.above + 1:,.0f}-{self.most:,.0f}"


def size_classes(devices: Floats) -> list[tuple[SizeClass, NDArray[np.bool_]]]:
    """Classes by powers of two that have jobs, and which jobs each holds [J]."""
    part = 1 - 0.5 / WHOLE_MILLI  # a part of one device is at most 999/1000 of it
    bounds = [-1.0, 0.0, part, *(float(1 << power) for power in range(63))]
    classes = []
    for above, most in pairwise(bounds):
        holds = (devices > above) & (devices <= most)
        if holds.any():
            classes.append((SizeClass(above, most), holds))
    return classes


def describe(reading: Reading, gpus_per_node: int, nodes: int | None = None) -> dict[str, Any]:
    """The summary with stable keys (docs/cli.md); figures that cannot be known are None.

    Parameters
    ----------
    nodes
        Nodes to state the offered load for.
    """
    jobs = reading.trace.jobs
    hours = device_hours_of(jobs)
    total = float(hours.sum())
    first, last, span = _span(jobs)
    return {
        "schema": SCHEMA,
        "format": str(reading.format),
        "records": reading.records,
        "jobs": len(jobs.submit_ns),
        "leftOut": left_out(reading),
        "unusedColumns": list(reading.unused),
        "notes": list(reading.notes),
        "start": reading.trace.start.isoformat() if reading.trace.start else None,
        "firstSubmitS": first,
        "lastSubmitS": last,
        "spanS": span,
        "gpusPerNode": gpus_per_node,
        "pods": int(jobs.pods.sum()),
        "jobsWithGpus": int((jobs.gpus > 0).sum()),
        "jobsSharingGpus": int(((jobs.gpus > 0) & (jobs.gpu_milli < WHOLE_MILLI)).sum()),
        "gpuHours": total,
        "gpuHoursShareOfWholeNodes": _share(hours[devices_of(jobs) >= gpus_per_node], total),
        "nodes": nodes,
        "offeredLoad": total * 3600 / (nodes * gpus_per_node * span) if nodes and span else None,
        "runS": _quantiles(jobs.run_ns / NS_PER_S),
        "gpus": _quantiles(devices_of(jobs)),
        "limitOverRun": _quantiles(jobs.limit_ns / jobs.run_ns),
        "arrivals": _arrivals(reading),
        "sizes": _sizes(jobs, hours, total),
        "queues": _queues(reading, hours, total),
        "models": _models(reading),
    }


def _span(jobs: Jobs) -> tuple[float | None, float | None, float | None]:
    """First and last submission and the time between them [s]."""
    if not len(jobs.submit_ns):
        return None, None, None
    first, last = (float(jobs.submit_ns[row]) / NS_PER_S for row in (0, -1))
    return first, last, last - first


def left_out(reading: Reading) -> list[dict[str, Any]]:
    """Records that gave no job, by reason, with the line of the first where lines exist."""
    return [
        {"reason": reason, "records": count, "exampleLine": reading.examples.get(reason)}
        for reason, count in reading.trace.left_out.items()
    ]


def _share(part: Floats, total: float) -> float | None:
    return float(part.sum()) / total if total > 0 else None


def _quantiles(values: Floats) -> dict[str, float] | None:
    """Mean and linear quantiles."""
    if not len(values):
        return None
    found = np.quantile(values, list(QUANTILES.values()))
    return {"mean": float(values.mean())} | {
        name: float(value) for name, value in zip(QUANTILES, found, strict=True)
    }


def _arrivals(reading: Reading) -> dict[str, Any]:
    """How jobs come: variation of the gaps, and jobs by hour of the day."""
    jobs = reading.trace.jobs
    gaps = np.diff(jobs.submit_ns)
    mean = float(gaps.mean()) if len(gaps) else 0.0
    return {
        "meanGapS": mean / NS_PER_S if len(gaps) else None,
        "gapVariation": float(gaps.std()) / mean if mean > 0 else None,
        "jobsByHourOfDay": np.bincount(
            hour_of_week(reading.trace.jobs, reading.trace.start) % HOURS, minlength=HOURS
        ).tolist(),
    }


def hour_of_week(jobs: Jobs, start: Any) -> NDArray[np.int64]:
    """Hour since Monday 00:00 at which each job comes [J]; a trace without a date begins then.

    Clocks that are put forward or back within the trace are not looked at.
    """
    offset_s = 0
    if start is not None:
        offset_s = (start.weekday() * HOURS + start.hour) * 3600 + start.minute * 60 + start.second
    return (jobs.submit_ns // NS_PER_S + offset_s) // 3600 % (7 * HOURS)


def _sizes(jobs: Jobs, hours: Floats, total: float) -> list[dict[str, Any]]:
    return [
        {
            "gpus": size.label,
            "jobs": int(holds.sum()),
            "jobShare": float(holds.mean()),
            "gpuHours": float(hours[holds].sum()),
            "gpuHourShare": _share(hours[holds], total),
            "runP50S": float(np.median(jobs.run_ns[holds])) / NS_PER_S,
        }
        for size, holds in size_classes(devices_of(jobs))
    ]


def _queues(reading: Reading, hours: Floats, total: float) -> list[dict[str, Any]]:
    """Queues, the one with most device-hours first."""
    codes, names = reading.trace.jobs.queue, reading.trace.queues
    count = np.bincount(codes, minlength=len(names))
    held = np.bincount(codes, weights=hours, minlength=len(names))
    rows = [
        {
            "name": name,
            "jobs": int(count[code]),
            "gpuHours": float(held[code]),
            "gpuHourShare": float(held[code]) / total if total > 0 else None,
        }
        for code, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: (-float(str(row["gpuHours"])), str(row["name"])))


def _models(reading: Reading) -> list[dict[str, Any]]:
    count = np.bincount(reading.trace.jobs.models, minlength=len(reading.trace.models))
    return [
        {"models": sorted(names), "jobs": int(count[row])}
        for row, names in enumerate(reading.trace.models)
    ]
