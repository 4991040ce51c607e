"""What the fork server runs for TwinRuns, and the warm-up before.

One replica of a what-if per process; a run of failures is one process, with all its futures.
"""

from __future__ import annotations

from typing import Any

from kfarm_api.twinrun import TwinRunSpec

from kfarm_twin.fleetrun_request import FLEET_MARK, FleetOrder, FleetRequest
from kfarm_twin.whatif_request import PlayOrder, WhatIfRequest
from kfarm_twin.whatif_result import Played

_WARM_POLICIES = (
    {"name": "easy", "backfill": "Easy"},
    {"name": "conservative", "backfill": "Conservative"},
    {"name": "srtf", "order": "SRTF"},
    {"name": "named", "placement": "BestFit", "backfill": "Easy", "preferred": "rack"},
)


def play_json(order: bytes) -> bytes:
    """A `PlayOrder` or a `FleetOrder` as JSON in, a `Played` or a `FleetRun` as JSON out."""
    if FLEET_MARK in order[:64]:
        from kfarm_twin.fleetrun import play as play_failures  # noqa: PLC0415 - numba

        run = play_failures(FleetOrder.model_validate_json(order).failures)
        return run.model_dump_json(by_alias=True).encode()
    from kfarm_twin.whatif import play_replica, prepare  # noqa: PLC0415 - numba

    asked = PlayOrder.model_validate_json(order)
    stage = prepare(asked.request)
    played = Played(part=play_replica(stage, asked.replica), farm=stage.farm)
    return played.model_dump_json(by_alias=True).encode()


def warm() -> None:
    """Play a few jobs under every rule: compiles what the cache lacks and loads the rest.

    The jobs are made up: pyarrow's reader of text would leave threads behind, and a process with
    threads must not fork. Its modules are loaded, its readers first run in the child.
    """
    import pyarrow.compute  # noqa: PLC0415
    import pyarrow.csv  # noqa: F401, PLC0415

    from kfarm_twin.traces import reader  # noqa: F401, PLC0415
    from kfarm_twin.whatif import play  # noqa: PLC0415 - numba

    spec = TwinRunSpec.model_validate(
        {
            "shape": {"nodes": 200},
            "workload": {"generator": {"mix": "farm-week", "jobs": 40, "load": 100}},
            "policies": list(_WARM_POLICIES),
            "replicas": 2,
        }
    )
    play(WhatIfRequest(name="warm", spec=spec), workers=1)
    failing = {
        "shape": {"nodes": 200, "reliability": {"reference": "llama3-h100"}},
        "policies": [_WARM_POLICIES[-1]],
        "failures": {"checkpoint": {"interval": "1h"}},
    }
    body = spec.model_dump(mode="json", by_alias=True, exclude_none=True) | failing
    play(WhatIfRequest(name="warm", spec=TwinRunSpec.model_validate(body)), workers=1)
    warm_heat(body)
    warm_failures()


def warm_heat(body: dict[str, Any]) -> None:
    """Play the same jobs with heat, on the farm that warms up verdicts."""
    from kfarm_twin.warm import warm_request  # noqa: PLC0415 - models only, and large
    from kfarm_twin.whatif import play  # noqa: PLC0415 - numba

    asked = warm_request()
    named = [{"kind": farm.kind, "name": farm.metadata.name} for farm in asked.farms]
    policies = [{"name": "cool", "placement": "ThermalAware", "backfill": "Easy"}]
    changed = {"farms": named, "policies": policies, "heat": True, "failures": None}
    plain = {key: value for key, value in body.items() if key != "shape"}
    spec = TwinRunSpec.model_validate(plain | changed)
    request = WhatIfRequest(name="warm", spec=spec, farms=asked.farms, profiles=asked.profiles)
    play(request, workers=1)


def warm_failures() -> None:
    """Play a few futures of a fleet alone and of a gang, on one thread: a server must not fork."""
    from kfarm_twin.fleetrun import play as play_failures  # noqa: PLC0415 - numba

    failure = {"name": "any", "failuresPer1000NodeDays": "50", "meanTimeToRepair": "2h"}
    shape = {"nodes": 4, "spares": 1, "reliability": {"classes": [failure]}}
    gang = {"nodes": 2, "checkpoint": {"interval": "1h", "save": "1m", "restart": "5m"}}
    for workload in ({}, {"workload": {"gang": gang}}):
        spec = TwinRunSpec.model_validate(
            {"shape": shape, "horizon": "48h", "replicas": 2, **workload}
        )
        play_failures(FleetRequest(name="warm", spec=spec), workers=1)
