"""What the fork server runs for what-ifs: one replica per process, and the warm-up before."""

from __future__ import annotations

from kfarm_api.twinrun import TwinRunSpec

from kfarm_twin.whatif_request import PlayOrder, WhatIfRequest
from kfarm_twin.whatif_result import Played

_WARM_POLICIES = (
    {"name": "easy", "backfill": "Easy"},
    {"name": "conservative", "backfill": "Conservative"},
    {"name": "srtf", "order": "SRTF"},
    {"name": "named", "placement": "BestFit", "backfill": "Easy", "preferred": "rack"},
)


def play_json(order: bytes) -> bytes:
    """A `PlayOrder` as JSON in, a `Played` as JSON out."""
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
