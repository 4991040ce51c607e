"""kfarm installed on the real control plane, with a farm small enough to follow by eye."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfarm_controlplane.client import Cluster
from kfarm_controlplane.cluster import ControlPlane, wait_until
from kfarm_controlplane.inprocess import HeldPlayer, HeldTwin, InProcessOperator
from kfarm_controlplane.installation import Installation, install
from kfarm_operator.service import Timing
from kfarm_twin.request import ValidationRequest
from kfarm_twin.validate import validate
from kfarm_twin.warm import warm as warm_verdicts
from kfarm_twin.whatif_play import warm

ROOT = Path(__file__).resolve().parents[2]
Body = dict[str, Any]
JOBS = "\n".join(
    f"{n} {n * 60} -1 {600 + 37 * (n % 11)} {1 + n % 4} -1 -1 {1 + n % 4} 1800 "
    "-1 1 1 1 -1 1 -1 -1 -1"
    for n in range(1, 241)
)
TRACE = f"; a small trace\n{JOBS}\n"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def kueue_plane() -> Iterator[ControlPlane]:
    """A control plane for Kueue, whose webhooks would stay in the session's; without it as yet."""
    if os.environ.get("KFARM_TEST_KUBECONFIG"):
        pytest.skip("needs a control plane of our own, not $KFARM_TEST_KUBECONFIG")
    with ControlPlane() as plane:
        yield plane


@pytest.fixture(scope="module")
def installation(clean_cluster: Cluster) -> Installation:
    """The chart with its gate shut; the operator is up to the test."""
    return install(clean_cluster, ROOT / "charts/kfarm")


@pytest.fixture(scope="session")
def _compiled() -> None:
    """Kernels are compiled before anybody waits for a verdict; with an empty cache for minutes."""
    warm_verdicts()


@pytest.fixture(scope="module")
def held_twin(_compiled: None) -> HeldTwin:
    """The real twin behind the module's door."""
    return HeldTwin(validate)


@pytest.fixture
def twin(held_twin: HeldTwin) -> Iterator[HeldTwin]:
    """The real twin; its door is open and stays so after the test."""
    yield held_twin
    held_twin.before = lambda _: None
    held_twin.door.set()


@pytest.fixture(scope="module")
def timing() -> Timing:
    """How often the module's operator lists again; a module may have its own."""
    return Timing()


@pytest.fixture(scope="module")
def operator(
    installation: Installation, held_twin: HeldTwin, timing: Timing
) -> Iterator[InProcessOperator]:
    """One operator for the module's tests."""
    with InProcessOperator(installation, held_twin, timing=timing) as running:
        yield running


class World:
    """A farm, a policy and an enforced namespace of a test's own."""

    def __init__(self, installation: Installation, twin: HeldTwin) -> None:
        number = next(_numbers)
        self.installation = installation
        self.cluster = installation.cluster
        self.twin = twin
        self.operator: InProcessOperator | None = None
        self.farm_name = f"farm{number}"
        self.namespace = f"team{number}"

    def prepare(self, *, nodes: int = 8, spares: int = 0) -> None:
        """Apply farm, policy and namespace, and wait until the Nodes are Ready."""
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {"kfarm.dev/enforce": "true"}},
        }
        self.cluster.apply(namespace, self.farm(nodes=nodes, spares=spares), self.policy())
        self.wait_farm()

    def wait_farm(self) -> None:
        """Until the farm's status says that all Nodes are Ready."""
        self.until(lambda: _condition(self.get("gpufarm", self.farm_name), "Ready") == "True")

    def farm(self, *, nodes: int = 8, spares: int = 0, source: Body | None = None) -> Body:
        """A farm of racks of four nodes with eight B200 each, which hardly ever fail."""
        rare = {"name": "rare", "failuresPer1000NodeDays": "0.001", "meanTimeToRepair": "1h"}
        cluster = {
            "name": "c",
            "accelerator": "b200",
            "nodes": nodes,
            "acceleratorsPerNode": 8,
            "spares": spares,
            "rack": {"nodes": 4, "powerLimit": "60k"},
            "fabric": {"topology": "RailOptimizedFatTree", "nodesPerScalableUnit": 8},
            "cooling": {"type": "Air", "supplyTemperature": 22, "recirculation": 10},
            "reliability": {"classes": [rare]},
            "source": source or {"simulated": {}},
        }
        spec = {"site": {"name": "광주"}, "clusters": [cluster]}
        return _object("GPUFarm", {"name": self.farm_name}, spec)

    def policy(self, bound: str = "100", metric: str = "nodes_down_max") -> Body:
        """A policy that is decided after few futures."""
        check = {"metric": metric, "atMost": bound, "quantile": 50, "confidence": 50}
        simulation = {"horizon": "24h", "futures": {"min": 8, "max": 64}, "seed": 7}
        spec = {"checks": [check], "simulation": simulation}
        return _object("ValidationPolicy", {"name": self.farm_name}, spec)

    def plan(self, name: str = "train", *, pods: int = 4, **workload: Any) -> Body:
        """A gang of whole nodes on the farm."""
        described = {
            "name": "w",
            "class": "Training",
            "pods": pods,
            "acceleratorsPerPod": 8,
            "accelerators": ["b200"],
            "gang": True,
            "duration": "8h",
            "checkpoint": {"interval": "30m", "save": "20s", "restart": "5m"},
            "load": 80,
            **workload,
        }
        farms = [{"kind": "GPUFarm", "name": self.farm_name}]
        spec = {"policy": self.farm_name, "farms": farms, "workloads": [described]}
        return _object("PlacementPlan", {"name": name, "namespace": self.namespace}, spec)

    def pod(self, name: str, plan: str = "train", *, devices: int = 8, **spec: Any) -> Body:
        """A pod of the plan's workload."""
        resources = {"limits": {"nvidia.com/gpu": str(devices)}}
        container = {"name": "main", "image": "example", "resources": resources}
        labels = {"kfarm.dev/placement-plan": plan, "kfarm.dev/workload": "w"}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
            "spec": {
                "containers": [container],
                "terminationGracePeriodSeconds": 0,
                "restartPolicy": "Never",
                **spec,
            },
        }

    def job(self, name: str = "train", *, pods: int = 4) -> Body:
        """An Indexed Job of the plan's gang, as the examples have it."""
        template = self.pod("ignored", name)
        del template["apiVersion"], template["kind"], template["metadata"]["name"]
        del template["metadata"]["namespace"]
        rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "completionMode": "Indexed",
                "completions": pods,
                "parallelism": pods,
                "podReplacementPolicy": "Failed",
                "podFailurePolicy": {"rules": [rule]},
                "template": template,
            },
        }

    @property
    def asked(self) -> list[ValidationRequest]:
        """What the twin was asked about this world's plans, in order."""
        return [r for r in self.twin.asked if r.plan.metadata.namespace == self.namespace]

    def get(self, kind: str, name: str) -> Body:
        """An object of this world, or nothing."""
        cluster_wide = ("gpufarm", "node", "nodeledger", "validationpolicy")
        where = () if kind in cluster_wide else ("-n", self.namespace)
        text = self.cluster.kubectl("get", kind, name, *where, "-o", "json", "--ignore-not-found")
        return _parse(text)

    def status(self, plan: str = "train") -> Body:
        """Status of a plan, empty when there is none."""
        return dict(self.get("placementplan", plan).get("status") or {})

    def pods(self, plan: str = "train") -> list[Body]:
        """Pods of a plan by name."""
        selector = f"kfarm.dev/placement-plan={plan}"
        listed = self.cluster.get("pods", "-n", self.namespace, "-l", selector)["items"]
        return sorted(listed, key=lambda pod: str(pod["metadata"]["name"]))

    def validated(self, plan: str = "train") -> list[str]:
        """Nodes of all slots of a plan, sorted."""
        placements = self.status(plan).get("placements", ())
        return sorted(slot["node"] for p in placements for slot in p["slots"])

    def bound(self, plan: str = "train") -> list[str]:
        """Nodes that the plan's pods run on, sorted."""
        nodes = (pod["spec"].get("nodeName") for pod in self.pods(plan))
        return sorted(node for node in nodes if node)

    def gated(self, plan: str = "train") -> int:
        """How many pods of a plan carry the gate."""
        return sum("schedulingGates" in pod["spec"] for pod in self.pods(plan))

    def events(self, reason: str) -> list[str]:
        """Messages of Events with a reason in the namespace."""
        selector = f"reason={reason}"
        listed = self.cluster.get("events", "-n", self.namespace, "--field-selector", selector)
        return [str(event["message"]) for event in listed["items"]]

    def until(
        self, condition: Callable[[], object], what: str = "it", timeout_s: float = 120
    ) -> None:
        """Wait until a condition holds."""
        wait_until(lambda: bool(condition()), timeout_s, what)

    def until_verdict(self, verdict: str, plan: str = "train", epoch: int | None = None) -> Body:
        """Wait for a verdict on the plan as it is now, and return the status."""

        def given() -> bool:
            body = self.get("placementplan", plan)
            status = body.get("status") or {}
            current = status.get("observedGeneration") == body["metadata"]["generation"]
            same_epoch = epoch is None or status.get("epoch") == epoch
            return current and same_epoch and status.get("verdict") == verdict

        self.until(given, f"verdict {verdict} on {plan}")
        return self.status(plan)

    def operate(self) -> InProcessOperator:
        """An operator, to be used in a ``with``."""
        return InProcessOperator(self.installation, self.twin)


@pytest.fixture
def world(installation: Installation, operator: InProcessOperator, twin: HeldTwin) -> World:
    """A world of the test's own, with the operator at work and a farm of eight nodes."""
    made = World(installation, twin)
    made.operator = operator
    made.prepare()
    return made


@pytest.fixture
def lone_world(installation: Installation, twin: HeldTwin) -> World:
    """A world in which nothing is there yet and no operator runs."""
    return World(installation, twin)


@pytest.fixture(scope="module")
def neighbour(
    installation: Installation, operator: InProcessOperator, held_twin: HeldTwin
) -> World:
    """A world in order for a whole module, beside whatever its tests do."""
    made = World(installation, held_twin)
    made.operator = operator
    made.prepare(nodes=4)
    return made


class Runs:
    """A namespace with a trace, and TwinRuns in it."""

    def __init__(
        self, installation: Installation, twin: HeldTwin, player: HeldPlayer, namespace: str
    ) -> None:
        self.installation = installation
        self.twin = twin
        self.cluster = installation.cluster
        self.player = player
        self.namespace = namespace

    def asked(self, name: str) -> int:
        """Replicas asked for of a run."""
        return sum(request.name == name for request, _ in self.player.asked)

    def trace(self, text: str = TRACE, name: str = "week", *, binary: bool = False) -> Body:
        body: Body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.namespace},
        }
        if binary:
            raw = gzip.compress(text.encode(), mtime=0)
            return {**body, "binaryData": {"trace.swf": base64.b64encode(raw).decode()}}
        return {**body, "data": {"trace.swf": text}}

    def farm(self, name: str, **cluster: Any) -> Body:
        """Six air-cooled nodes and a spare."""
        described = {
            "name": "c",
            "accelerator": "b200",
            "nodes": 7,
            "spares": 1,
            "acceleratorsPerNode": 8,
            "rack": {"nodes": 2},
            "cooling": {"type": "Air", "supplyTemperature": 22},
            "reliability": {"reference": "llama3-h100"},
            "source": {"simulated": {}},
            **cluster,
        }
        spec = {"site": {"name": "광주"}, "clusters": [described]}
        return _object("GPUFarm", {"name": name}, spec)

    def run(self, name: str, **spec: Any) -> Body:
        return {
            "apiVersion": "kfarm.dev/v1alpha1",
            "kind": "TwinRun",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "shape": {"nodes": 6, "acceleratorsPerNode": 8},
                "workload": {
                    "trace": {
                        "configMap": {"name": "week", "key": "trace.swf"},
                        "format": "SWF",
                        "block": "30m",
                    }
                },
                "policies": [{"name": "fifo"}, {"name": "easy", "backfill": "Easy"}],
                "replicas": 3,
                "seed": 5,
                **spec,
            },
        }

    def get(self, name: str, kind: str = "twinrun") -> Body:
        text = self.cluster.kubectl(
            "get", kind, name, "-n", self.namespace, "-o", "json", "--ignore-not-found"
        )
        return _parse(text)

    def ready(self, name: str) -> Body:
        """The condition Ready as of the run's present generation, or nothing."""
        body = self.get(name)
        status = body.get("status") or {}
        if not body or status.get("observedGeneration") != body["metadata"]["generation"]:
            return {}
        return next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})

    def until(self, name: str, reason: str, timeout_s: float = 120) -> Body:
        """Wait until Ready has a reason, and return the status."""
        wait_until(lambda: self.ready(name).get("reason") == reason, timeout_s, f"{name}: {reason}")
        return dict(self.get(name)["status"])

    def results(self) -> list[Body]:
        """All result ConfigMaps of the namespace."""
        listed = self.cluster.get(
            "configmaps", "-n", self.namespace, "-l", "kfarm.dev/twin-run=true"
        )
        return list(listed["items"])

    def result(self, name: str) -> Body:
        """The result that a run's status names, unpacked."""
        artifact = self.get(name)["status"]["artifact"]
        body = self.get(artifact["configMap"], "configmap")
        raw = base64.b64decode(body["binaryData"][artifact["key"]])
        assert len(raw) == artifact["bytes"]
        return dict(json.loads(gzip.decompress(raw)))

    def operate(self) -> InProcessOperator:
        """An operator that plays what-ifs only."""
        return InProcessOperator(self.installation, self.twin, role="whatif", player=self.player)


@pytest.fixture(scope="module")
def player() -> HeldPlayer:
    """The player, its kernels compiled: that can take longer than a test waits."""
    warm()
    return HeldPlayer()


@pytest.fixture
def lone_runs(
    installation: Installation, held_twin: HeldTwin, player: HeldPlayer, namespace: str
) -> Iterator[Runs]:
    """A namespace of the test's own; no operator runs."""
    yield Runs(installation, held_twin, player, namespace)
    player.before = lambda *_: None
    player.door.set()


def _object(kind: str, metadata: Body, spec: Body) -> Body:
    return {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


def _parse(text: str) -> Body:
    return dict(json.loads(text)) if text.strip() else {}


def _condition(body: Body, kind: str) -> str | None:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next((str(c["status"]) for c in conditions if c["type"] == kind), None)
