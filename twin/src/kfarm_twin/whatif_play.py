"""What the fork server runs for what-ifs: one replica per process, and the warm-up before."""

from __future__ import annotations

from kfarm_api.twinrun import TwinRunSpec

from kfarm_twin.whatif_request import PlayOrder, Source, WhatIfRequest
from kfarm_twin.whatif_result import Played

_WARM_TRACE = b"""1 0 -1 60 1 -1 -1 1 120 -1 1 1 1 -1 1 -1 -1 -1
2 5 -1 60 2 -1 -1 2 120 -1 1 1 1 -1 1 -1 -1 -1
3 9 -1 30 1 -1 -1 1 60 -1 1 1 1 -1 1 -1 -1 -1
"""
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
    """Play three jobs under every rule: compiles what the cache lacks and loads the rest."""
    from kfarm_twin.whatif import play  # noqa: PLC0415 - numba

    spec = TwinRunSpec.model_validate(
        {
            "shape": {"nodes": 2},
            "workload": {"trace": {"configMap": {"name": "w", "key": "w.swf"}, "format": "SWF"}},
            "policies": list(_WARM_POLICIES),
            "replicas": 2,
        }
    )
    play(WhatIfRequest(name="warm", spec=spec, source=Source(name="w.swf", raw=_WARM_TRACE)))
