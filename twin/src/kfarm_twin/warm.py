"""Tiny runs that touch every kernel, so that real ones start warm.

One kernel, which plays futures, takes three quarters of a first compilation. Who has two cores and
no compiled kernels may therefore run `warm_futures` and `warm_others` side by side, each in a
process of its own, and `warm` afterwards.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kfarm_api.farm import GPUFarm
from kfarm_api.plan import PlacementPlan
from kfarm_api.policy import ValidationPolicy
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.snapshot import synthetic_snapshot

from kfarm_twin.request import ValidationRequest, Verdict

if TYPE_CHECKING:
    from kfarm_twin.compile import Model

_PROFILE: dict[str, Any] = {
    "metadata": {"name": "warm"},
    "spec": {
        "vendor": "none",
        "model": "warm-up",
        "uses": ["Training", "Inference"],
        "resourceNames": ["kfarm.dev/warm"],
        "power": {"tdp": "1000", "idle": "100"},
        "memory": {"capacity": "192G"},
        "temperature": {"throttle": "85", "shutdown": "95"},
        "thermalResistance": {"air": "0.04", "liquid": "0.03"},
        "nodeOverhead": {"idle": "800", "loaded": "2k"},
    },
}
_CLUSTER: dict[str, Any] = {
    "name": "liquid",
    "accelerator": "warm",
    "nodes": 8,
    "acceleratorsPerNode": 8,
    "spares": 1,
    "rack": {"nodes": 2, "powerLimit": "60k"},
    "fabric": {"topology": "FatTree", "nodesPerScalableUnit": 4},
    "cooling": {
        "type": "Liquid",
        "liquidShare": 75,
        "nodesPerCdu": 4,
        "cduCapacity": "2M",
        "supplyTemperature": "32",
        "redundantPumps": 1,
    },
    "feed": {"nodesPerPdu": 4, "feeds": 2},
    "reliability": {
        "classes": [
            {"name": "node", "failuresPer1000NodeDays": "100", "meanTimeToRepair": "6h"},
        ]
    },
    "source": {"simulated": {}},
}
_AIR: dict[str, Any] = {
    **_CLUSTER,
    "name": "air",
    "cooling": {"type": "Air", "supplyTemperature": "24", "recirculation": 10},
}
_PLAN: dict[str, Any] = {
    "metadata": {"name": "warm", "namespace": "default"},
    "spec": {
        "policy": "warm",
        "farms": [{"kind": "GPUFarm", "name": "warm"}],
        "workloads": [
            {
                "name": "training",
                "class": "Training",
                "pods": 3,
                "acceleratorsPerPod": 8,
                "accelerators": ["warm"],
                "gang": True,
                "duration": "24h",
                "checkpoint": {"interval": "30m", "save": "20s", "restart": "5m"},
            },
            {
                "name": "inference",
                "class": "Inference",
                "pods": 4,
                "acceleratorsPerPod": 2,
                "accelerators": ["warm"],
            },
        ],
    },
}
_POLICY: dict[str, Any] = {
    "metadata": {"name": "warm"},
    "spec": {
        "checks": [
            {"metric": "ettr", "atLeast": "0.1"},
            {"metric": "it_power_peak", "atMost": "10M"},
        ],
        "survives": ["Node", "RackPower", "Pdu", "CduPump", "Cdu", "LeafSwitch"],
        "simulation": {"horizon": "48h", "futures": {"min": 2, "max": 4}},
        "assumptions": {"draws": 0},
    },
}


def warm_request() -> ValidationRequest:
    """A farm of sixteen nodes, liquid and air, with a gang and an inference service."""
    farm = GPUFarm.model_validate(
        {
            "metadata": {"name": "warm"},
            "spec": {"site": {"name": "none"}, "clusters": [_CLUSTER, _AIR]},
        }
    )
    return ValidationRequest(
        farms=[farm],
        profiles=[AcceleratorProfile.model_validate(_PROFILE)],
        policy=ValidationPolicy.model_validate(_POLICY),
        plan=PlacementPlan.model_validate(_PLAN),
        snapshot=synthetic_snapshot([farm]),
    )


def warm() -> Verdict:
    """Validate it: compiles what the cache lacks and loads the rest."""
    from kfarm_twin.sharing import warm_pool  # noqa: PLC0415 - imports numba
    from kfarm_twin.validate import validate  # noqa: PLC0415

    warm_pool()
    return validate(warm_request())


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Compiling makes millions of objects that stay, and looking for garbage among them is slow.

    (CPU for `warm_futures`: 177 to 140 s, collections 28 to 6 s of it; memory: 1.2 to 1.7 GB. For
    processes that end afterwards, therefore, and not for servers.)
    """
    usual = gc.get_threshold()
    gc.set_threshold(100_000, 50, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@_collecting_rarely()
def warm_futures() -> None:
    """Compile the kernel that plays futures, and what it calls."""
    import numpy as np  # noqa: PLC0415 - as late as numba

    from kfarm_twin.simulate import stand_still  # noqa: PLC0415
    from kfarm_twin.steady import running_nodes  # noqa: PLC0415

    model = _warm_model()
    nowhere = np.full(len(model.slot_workload), -1, np.int64)
    stand_still(model, nowhere, running_nodes(model))


@_collecting_rarely()
def warm_others() -> None:
    """Compile the other kernels of a verdict: shared devices, places, faults of the cooling."""
    from kfarm_twin.cooling_metrics import cooling_study  # noqa: PLC0415 - imports numba
    from kfarm_twin.place import Shortfall, place  # noqa: PLC0415
    from kfarm_twin.sharing import warm_pool  # noqa: PLC0415

    warm_pool()
    model = _warm_model()
    placed = place(model)
    if not isinstance(placed, Shortfall):
        cooling_study(model, placed)


def _warm_model() -> Model:
    from kfarm_twin.compile import compile_farm  # noqa: PLC0415 - imports numba

    request = warm_request()
    return compile_farm(list(request.farms), request.profiles, request.plan, request.snapshot)


def warm_replay() -> int:
    """Play one job on two nodes: one kernel for every order, backfill and placement of a kind."""
    import numpy as np  # noqa: PLC0415 - as late as numba

    from kfarm_twin.disciplines import Placement  # noqa: PLC0415
    from kfarm_twin.jobs import Jobs  # noqa: PLC0415
    from kfarm_twin.replay import Discipline, Shape, replay  # noqa: PLC0415

    one = np.ones(1, np.int64)
    job = Jobs(*(one for _ in Jobs._fields))
    kinds = (Placement.COUNT, Placement.FGD)
    played = [replay(job, Shape(2, 8), Discipline(placement=kind)) for kind in kinds]
    return int(played[0].end_ns[0])
