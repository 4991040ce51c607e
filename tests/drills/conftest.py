"""Drills of the library on control planes of their own: a small one, and one at full size."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import yaml
from drills_ground import LIBRARY, ROOT, Body, bodies, resized
from kfarm_controlplane.drillhost import DrillHost
from kfarm_controlplane.options import Options

CHART = ROOT / "charts/kfarm"
SMALL = Options(
    node_lease_seconds=12,
    node_monitor_grace_seconds=18,
    extra_arguments={"kube-controller-manager": ("--node-eviction-rate=1",)},
)
LIMITS = {"maxNodes": "4", "maxPercent": "34", "domains": "2", "maxDuration": "30m"}


def _own_plane() -> None:
    if os.environ.get("KFARM_TEST_KUBECONFIG"):
        pytest.skip("needs a control plane of our own, not $KFARM_TEST_KUBECONFIG")


def small_ground() -> list[Body]:
    """The library's grounds with 24 nodes, and gangs of four pods, one of which fills its rack."""
    kept = []
    for body in bodies(LIBRARY / "ground.yaml") + bodies(LIBRARY / "kueue/ground.yaml"):
        if body["metadata"]["name"] in ("drill-npu", "tune", "chat", "borrow"):
            continue
        if body["kind"] == "GPUFarm":
            body["spec"]["clusters"] = body["spec"]["clusters"][:1]
            body["spec"]["clusters"][0] |= {"nodes": 24, "spares": 1}
            body["spec"]["clusters"][0]["fabric"]["nodesPerScalableUnit"] = 8
            body["spec"]["clusters"][0]["cooling"]["nodesPerCdu"] = 8
        kept.append(resized(body, 4))
    return kept


@pytest.fixture(scope="session")
def small_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillHost]:
    """24 nodes whose silence is noticed after 18 s, and Kueue."""
    _own_plane()
    folder = tmp_path_factory.mktemp("drills")
    ground = folder / "ground.yaml"
    ground.write_text(yaml.safe_dump_all(small_ground()), "utf-8")
    with DrillHost(CHART, folder / "work", SMALL, LIMITS, kueue=True) as host:
        host.prepare(ground)
        yield host


@pytest.fixture(scope="session")
def big_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillHost]:
    """The library's ground at its size: 566 nodes."""
    _own_plane()
    with DrillHost(CHART, tmp_path_factory.mktemp("library"), kueue=True) as host:
        host.prepare(LIBRARY / "ground.yaml", LIBRARY / "kueue/ground.yaml")
        yield host
