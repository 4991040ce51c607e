"""What-ifs whose jobs warm the devices of the farm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kfarm_twin.disciplines import SHARING, Placement
from kfarm_twin.jobs import JobLoads
from kfarm_twin.replay import Discipline
from kfarm_twin.replay_heat import HotNodes, hot_farms
from kfarm_twin.request import InputError
from kfarm_twin.whatif_request import WhatIfRequest
from kfarm_twin.whatif_stats import Value, significant

if TYPE_CHECKING:
    from kfarm_twin.replay_heat import HeatAccount

JOULES_PER_KWH = 3.6e6


def check_heat_policies(request: WhatIfRequest, disciplines: Sequence[Discipline]) -> None:
    """Refuse policies that are not played with heat.

    Raises
    ------
    InputError
        With the first one.
    """
    if not request.spec.heat:
        return
    for index, discipline in enumerate(disciplines):
        if discipline.placement is Placement.COUNT or discipline.placement in SHARING:
            raise InputError(
                f"spec.policies[{index}].placement",
                request.spec.policies[index].placement,
                "FirstFit, BestFit, Spread, Random or ThermalAware: jobs warm whole devices of "
                "nodes by name",
            )


def hot_nodes(request: WhatIfRequest) -> HotNodes | None:
    """The nodes as they warm; None where heat is not played.

    Raises
    ------
    InputError
        When a profile is not there, or the cooling contradicts itself.
    """
    if not request.spec.heat:
        return None
    return hot_farms(list(request.named_farms()), list(request.profiles))


def heat_notes(nodes: HotNodes | None, loads: JobLoads | None) -> list[str]:
    """What to note about heat."""
    if nodes is None:
        return []
    unknown = loads is None or bool((loads.gpu_ppm < 0).any())
    full = ["jobs whose load the trace does not state work their devices fully"] if unknown else []
    return [
        "jobs warm their devices, which slow down where they throttle; a gang goes at the pace of "
        "its slowest device",
        *full,
        *(f"assumed: {line}" for line in nodes.assumptions),
    ]


def heat_metrics(found: HeatAccount) -> dict[str, Value]:
    """What heat did; the keys of `whatif_result.HEAT_METRICS`."""
    energy = found.energy_j / JOULES_PER_KWH
    values = {
        "throttledAcceleratorHours": found.throttled_s / 3600,
        "thermalShutdowns": float(found.shutdowns),
        "jobsStoppedByHeat": float(found.stopped),
        "hottestDeviceC": found.hottest_c,
        "headroomMinK": found.headroom_k,
        "inletMaxC": found.inlet_max_c,
        "nodeEnergyKWh": energy,
        "nodePowerMeanW": found.energy_j / found.span_s if found.span_s > 0 else 0.0,
        "nodePowerMaxW": float(found.series.power_w.max(initial=0.0)),
        "fanEnergyKWh": found.fans_j / JOULES_PER_KWH,
        "jobEnergyKWh": float(found.job_j.sum()) / JOULES_PER_KWH,
    }
    return {name: significant(value) for name, value in values.items()}
