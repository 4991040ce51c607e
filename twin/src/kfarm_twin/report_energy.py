"""A typical year of a plan's farms with the plan on them: what its report shows of energy."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kfarm_api.farm import Cluster, Farm
from kfarm_api.layout import cluster_places

from kfarm_twin.request import ValidationRequest, Verdict

if TYPE_CHECKING:
    from kfarm_twin.energy_result import EnergyYear, Work


def plan_years(request: ValidationRequest, verdict: Verdict) -> list[EnergyYear]:
    """One year for each farm on which the plan stands, in the order of the plan.

    All of a node's accelerators share its mean load: that of the plan's pods there, over all of
    the node's accelerators.
    """
    from kfarm_twin.energy import energy_year  # noqa: PLC0415 - only the report needs a climate
    from kfarm_twin.energy_result import Work  # noqa: PLC0415

    devices = _device_load(request, verdict)
    known = {(farm.kind, farm.metadata.name): farm for farm in request.farms}
    years = []
    for ref in request.plan.spec.farms:
        farm = known.get((ref.kind, ref.name))
        own = _works(farm, devices) if farm else {}
        if farm and own:
            idle = Work.steady(0.0, busy=0.0)
            years.append(energy_year(farm, request.profiles, idle, own=own))
    return years


def _device_load(request: ValidationRequest, verdict: Verdict) -> Counter[str]:
    """Accelerators that the plan keeps busy on each node, times their load [percent]."""
    workloads = {workload.name: workload for workload in request.plan.spec.workloads}
    found: Counter[str] = Counter()
    for placement in verdict.placements:
        workload = workloads[placement.workload]
        for slot in placement.slots:
            found[slot.node] += workload.accelerators_per_pod * workload.load
    return found


def _works(farm: Farm, devices: Counter[str]) -> dict[str, Work]:
    """Work of the clusters on which the plan stands."""
    return {
        cluster.name: work
        for cluster in farm.spec.clusters
        if (work := _work(farm, cluster, devices)) is not None
    }


def _work(farm: Farm, cluster: Cluster, devices: Counter[str]) -> Work | None:
    from kfarm_twin.energy_result import Work  # noqa: PLC0415 - as above

    loads = [devices[place.name] for place in cluster_places(farm, cluster) if devices[place.name]]
    if not loads:
        return None
    mean = sum(loads) / len(loads) / cluster.accelerators_per_node
    share = len(loads) / (cluster.nodes - cluster.spares)
    return Work.steady(min(mean, 100.0), busy=min(share, 1.0))
