"""From a verdict and its detail to the page: ``kfarm validate --report``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfarm_api.farm import Cluster, Farm
from kfarm_api.layout import LABEL_CDU, LABEL_PDU, LABEL_RACK, NodePlace, cluster_places
from kfarm_api.metrics import METRICS
from kfarm_api.policy import Check
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.units import parse_quantity

from kfarm_twin.cooling_view import fault_row
from kfarm_twin.figures import figure
from kfarm_twin.pictures.floor import RackCell
from kfarm_twin.pictures.moments import Moments
from kfarm_twin.report_energy import plan_years
from kfarm_twin.report_moments import moments
from kfarm_twin.report_page import render
from kfarm_twin.report_view import (
    Distribution,
    Line,
    ReportView,
    influences,
    summary_facts,
    thin,
)
from kfarm_twin.request import ValidationRequest, Verdict

if TYPE_CHECKING:
    from kfarm_twin.results import Replay
    from kfarm_twin.validate import Detail

MAX_POINTS = 3000
"""Samples drawn per timeline; extremes within each stretch are kept."""
MAX_RACKS = 6000
"""Racks drawn; each takes a third of a kB."""
SECONDS_PER_HOUR = 3600.0
_SERIES = (
    ("Power of all nodes", "W", "it_power_w", "it_power_peak", False),
    (
        "Hottest accelerator",
        "degC",
        "accelerator_temperature_max_c",
        "accelerator_temperature_max",
        False,
    ),
    ("Nodes down", "1", "nodes_down", "nodes_down_max", True),
)


def write_report(
    path: Path, request: ValidationRequest, verdict: Verdict, detail: Detail, command: str
) -> None:
    """Write the page.

    Parameters
    ----------
    command
        Command line that gives the same verdict, shown to the reader.
    """
    path.write_text(render(collect(request, verdict, detail, command)), encoding="utf-8")


def collect(
    request: ValidationRequest, verdict: Verdict, detail: Detail, command: str
) -> ReportView:
    """All that the page shows, as plain data."""
    metadata = request.plan.metadata
    shown = lines(request, detail.replay) if detail.replay is not None else []
    racks, left_out = drawn(list(rack_cells(request, verdict, detail.racks)))
    return ReportView(
        title=f"{metadata.namespace or 'default'}/{metadata.name}",
        verdict=verdict,
        command=command,
        facts=summary_facts(request, verdict),
        racks=racks,
        racks_left_out=left_out,
        lines=shown,
        distributions=distributions(request, detail.futures) if detail.futures is not None else [],
        assumptions=influences(verdict),
        moments=[] if detail.replay is None else _moments(verdict, detail.replay, racks, shown),
        years=plan_years(request, verdict),
        cooling=None if detail.cooling is None else [fault_row(r) for r in detail.cooling.rows],
    )


def drawn(racks: list[RackCell], most: int = MAX_RACKS) -> tuple[list[RackCell], int]:
    """At most `most` racks in their order, and how many were left out.

    Those of the plan stay first, then the hottest.
    """
    if len(racks) <= most:
        return racks, 0
    order = sorted(
        range(len(racks)),
        key=lambda i: (racks[i].plan_nodes == 0, -(racks[i].hottest_c or -math.inf)),
    )
    return [racks[i] for i in sorted(order[:most])], len(racks) - most


def _moments(
    verdict: Verdict, replay: Replay, racks: list[RackCell], timelines: list[Line]
) -> list[Moments]:
    if not racks:
        return []
    return [moments(replay, [rack.label for rack in racks], verdict.seed, timelines)]


def rack_cells(request: ValidationRequest, verdict: Verdict, racks: Any) -> Iterator[RackCell]:
    """Racks of the plan's farms, with what the Arrow table `racks` says about them."""
    used = Counter(slot.node for placement in verdict.placements for slot in placement.slots)
    state = {row["rack"]: row for row in racks.to_pylist()} if racks is not None else {}
    profiles = {profile.metadata.name: profile for profile in request.profiles}
    for farm, cluster in _clusters(request):
        groups: dict[str, list[NodePlace]] = {}
        for place in cluster_places(farm, cluster):
            groups.setdefault(place.labels()[LABEL_RACK], []).append(place)
        for label, places in groups.items():
            chosen = sum(1 for place in places if used[place.name])
            profile = profiles.get(cluster.accelerator)
            found = state.get(label, {})
            yield _cell(farm, cluster, profile, label, places, chosen, found)


def _clusters(request: ValidationRequest) -> Iterator[tuple[Farm, Cluster]]:
    named = {(farm.kind, farm.name) for farm in request.plan.spec.farms}
    for farm in request.farms:
        if (farm.kind, farm.metadata.name) in named:
            for cluster in farm.spec.clusters:
                yield farm, cluster


def _cell(
    farm: Farm,
    cluster: Cluster,
    profile: AcceleratorProfile | None,
    label: str,
    places: list[NodePlace],
    chosen: int,
    state: dict[str, Any],
) -> RackCell:
    first = places[0]
    limit = cluster.rack.power_limit
    return RackCell(
        cluster=first.prefix,
        label=label,
        hall=first.hall,
        row=first.row,
        column=first.rack % cluster.rack.per_row,
        cdu=_joined(places, LABEL_CDU),
        nodes=len(places),
        plan_nodes=chosen,
        inlet_c=finite(state.get("inlet_c")),
        hottest_c=finite(state.get("hottest_c")),
        throttle_c=parse_quantity(profile.spec.temperature.throttle) if profile else None,
        power_w=finite(state.get("power_w")),
        limit_w=parse_quantity(limit) if limit else None,
        pdu=_joined(places, LABEL_PDU),
        site=f"{farm.spec.site.name} · {farm.metadata.name}",
    )


def _joined(places: list[NodePlace], label: str) -> str | None:
    """Domains of a rack's nodes: mostly one; None where the farm describes none."""
    found = dict.fromkeys(value for place in places if (value := place.labels().get(label)))
    return ", ".join(found) or None


def finite(value: float | None) -> float | None:
    """The value, or None where there is none (JSON knows no NaN)."""
    return value if value is not None and math.isfinite(value) else None


def lines(request: ValidationRequest, replay: Replay) -> list[Line]:
    """Timelines of the worst future; the last value holds to the horizon."""
    seconds = [*replay.series["time_s"].to_pylist(), replay.horizon_ns / 1e9]
    hours = [second / SECONDS_PER_HOUR for second in seconds]
    shown = []
    for title, unit, column, metric, count in _SERIES:
        values = [finite(value) for value in replay.series[column].to_pylist()]
        values += values[-1:]
        kept = _kept(values)
        limits = [
            (f"{metric} {_bound_text(check)}", _bound(check))
            for check in request.policy.spec.checks
            if check.metric == metric
        ]
        shown.append(
            Line(title, unit, [hours[i] for i in kept], [values[i] for i in kept], limits, count)
        )
    return shown


def _kept(values: list[float | None]) -> list[int]:
    """Samples to draw: all, or the ends and both extremes of each stretch."""
    if len(values) <= MAX_POINTS:
        return list(range(len(values)))
    edges = thin(values, MAX_POINTS // 3)
    kept = set(edges)
    for low, high in pairwise(edges):
        known = [(value, i) for i in range(low, high) if (value := values[i]) is not None]
        if known:
            kept |= {min(known)[1], max(known)[1]}
    return sorted(kept)


def distributions(request: ValidationRequest, futures: Any) -> list[Distribution]:
    """One for each check whose metric has values, from the Arrow table of all futures."""
    shown = []
    for check in request.policy.spec.checks:
        known = [finite(value) for value in futures[check.metric].to_pylist()]
        values = [value for value in known if value is not None]
        if values:
            metric = METRICS[check.metric]
            side = "atLeast" if check.at_least is not None else "atMost"
            shown.append(
                Distribution(
                    metric.name,
                    metric.summary,
                    metric.unit,
                    values,
                    _bound(check),
                    side,
                    check.quantile,
                )
            )
    return shown


def _bound(check: Check) -> float:
    return parse_quantity(check.at_least or check.at_most or "0")


def _bound_text(check: Check) -> str:
    sign = "≥" if check.at_least is not None else "≤"
    return f"{sign} {figure(_bound(check), METRICS[check.metric].unit)}"
