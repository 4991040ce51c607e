"""A tiny cluster that touches every kernel of the kube driver, so that real ones start warm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kfarm_twin.kube.describe import Described, make_cluster
from kfarm_twin.kube.driver import Decision, Scheduler, schedule
from kfarm_twin.manifest_text import TextDocument


def _object(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more}


def warm() -> list[Decision]:
    """Schedule two pods, the second by preemption."""
    amounts = {"cpu": "1", "memory": "1Gi", "pods": "9"}
    here, wanted = Described(), Described()
    node = _object("Node", "node", status={"allocatable": amounts})
    here.add_body(Path("warm"), TextDocument(1), (), node)
    for name, priority in (("first", 0), ("second", 1)):
        container = {"name": "main", "resources": {"requests": {"cpu": "1"}}}
        spec = {"containers": [container], "priority": priority}
        wanted.add_body(Path("warm"), TextDocument(1), (), _object("Pod", name, spec=spec))
    cluster, pods = make_cluster(here, wanted)
    first = Scheduler(cluster, pods)
    return schedule(first, pods[:1], details=False) + schedule(first, pods[1:])
