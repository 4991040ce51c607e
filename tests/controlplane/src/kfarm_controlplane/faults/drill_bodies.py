"""Manifests of drills: short faults, so that a play takes seconds."""

from __future__ import annotations

from typing import Any

from kfarm_api.drill_marks import CONSENT, LABEL_CONSENT

from kfarm_controlplane.faults.bodies import Body, made, namespace
from kfarm_controlplane.installation import CLUSTER_NAME

_API = "kfarm.dev/v1alpha1"


def consenting_namespace(name: str) -> Body:
    """A namespace behind the gate in which drills may be made and pods evicted."""
    body = namespace(name)
    body["metadata"]["labels"][LABEL_CONSENT] = CONSENT
    return body


def fault(action: str, name: str = "f", *, duration: str = "1s", **more: Any) -> Body:
    """One fault on the farm's cluster."""
    body = {
        "name": name,
        "action": action,
        "selector": {"cluster": "c"},
        "duration": duration,
        **more,
    }
    if action == "DeviceFault":
        body.setdefault("device", {"kind": "XID", "code": "79", "count": 1})
    return body


def drill(
    space: str, farm: str, name: str, *faults: Body, nodes: int = 1, healthy: int = 30,
    life: str = "5m", domains: int = 1, **spec: Any,
) -> Body:  # fmt: skip
    """An armed drill of at most so many nodes."""
    limits = {
        "maxNodes": nodes,
        "maxPercent": 100,
        "domains": domains,
        "minHealthy": healthy,
        "timeToLive": life,
    }
    body = {
        "mode": "Cluster",
        "confirm": CLUSTER_NAME,
        "farm": {"kind": "GPUFarm", "name": farm},
        "faults": list(faults),
        "limits": limits,
        "observe": "1s",
        **spec,
    }
    return made(_API, "FailureDrill", name, body, space)
