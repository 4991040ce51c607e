"""A pretend cluster for the operator's pure functions: bodies as the API server keeps them.

No server is imitated: writes take effect at once and never fail. What is real is everything the
operator computes: views, index, observation, decisions, claims, statuses.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from kfarm_api.ledger import Claim, NodeClaim
from kfarm_api.plan import PlacementPlan, Slot, WorkloadPlacement
from kfarm_api.v1alpha1 import GPUFarm
from kfarm_operator.conditions import timestamp
from kfarm_operator.farms.decide import decide as decide_farm
from kfarm_operator.farms.status import farm_status
from kfarm_operator.index import Index
from kfarm_operator.plans.claims import LostRace, _room, merged, seats_of
from kfarm_operator.plans.decide import (
    Assign,
    Decision,
    Evict,
    Release,
    Report,
    Simulate,
    Wait,
    decide,
)
from kfarm_operator.plans.observe import Observed, observe
from kfarm_operator.plans.remaining import foresee
from kfarm_operator.plans.request import build_request, find_survivors
from kfarm_operator.plans.status import (
    assigned_status,
    expiry,
    report_status,
    same,
    verdict_status,
)
from kfarm_operator.release import release_body
from kfarm_operator.views import node_view, pod_view
from kfarm_twin.request import ValidationRequest, Verdict

Body = dict[str, Any]
GATE = "kfarm.dev/twin-validated"
START = datetime(2026, 1, 1, tzinfo=UTC)
FARM = ("GPUFarm", "f")


def profile_body(name: str = "b200", resource: str = "nvidia.com/gpu") -> Body:
    spec = {
        "vendor": "NVIDIA",
        "model": "B200",
        "uses": ["Training"],
        "resourceNames": [resource],
        "power": {"tdp": 1000, "idle": 139},
        "memory": {"capacity": "180G"},
        "temperature": {"throttle": 85, "shutdown": 92},
        "thermalResistance": {"liquid": "0.025", "air": "0.04"},
        "nodeOverhead": {"idle": "2k", "loaded": "6300"},
    }
    return _object("AcceleratorProfile", name, spec)


def cluster_body(name: str = "c", nodes: int = 4, **changes: Any) -> Body:
    return {
        "name": name,
        "accelerator": "b200",
        "nodes": nodes,
        "acceleratorsPerNode": 8,
        "rack": {"nodes": 4},
        "cooling": {"type": "Air", "supplyTemperature": 22},
        "reliability": {"reference": "llama3-h100"},
        "source": {"simulated": {}},
        **changes,
    }


def farm_body(*clusters: Body) -> Body:
    return _object("GPUFarm", "f", {"site": {"name": "광주"}, "clusters": list(clusters)})


def workload_body(name: str = "w", **changes: Any) -> Body:
    body = {
        "name": name,
        "class": "Training",
        "pods": 2,
        "acceleratorsPerPod": 8,
        "accelerators": ["b200"],
        "gang": True,
        "duration": "8h",
        "checkpoint": {"interval": "30m"},
        **changes,
    }
    if not body["gang"]:
        body["class"] = "Interactive"
    return body


def _object(kind: str, name: str, spec: Body) -> Body:
    metadata = {"name": name, "uid": f"{kind}-{name}", "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": "kfarm.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


class Scene:
    """One farm, one plan ``team/train``, its pods, and whatever a test adds."""

    def __init__(self, *, nodes: int = 4, workloads: Iterable[Body] | None = None) -> None:
        self.now = START
        self.hold_until: datetime | None = None
        self.profiles = [profile_body()]
        check = {"metric": "ettr", "atLeast": "0.5"}
        self.policy: Body | None = _object("ValidationPolicy", "p", {"checks": [check]})
        self.farm: Body | None = farm_body(cluster_body(nodes=nodes))
        self.nodes: dict[str, Body] = {}
        self.pods: dict[str, Body] = {}
        self.claims: list[Body] = []
        self._numbers = itertools.count(2)
        self.plan = self.plan_body("train", *(workloads or [workload_body()]))
        self.make_nodes()

    # What there is.

    def plan_body(self, name: str, *workloads: Body) -> Body:
        farms = [{"kind": "GPUFarm", "name": "f"}]
        spec = {"policy": "p", "farms": farms, "workloads": list(workloads)}
        body = _object("PlacementPlan", name, spec)
        body["metadata"] |= {"namespace": "team", "uid": f"{name}-{next(self._numbers)}"}
        return body

    def make_nodes(self) -> None:
        """Create what the farm lacks, as the operator would, Ready; and say so in its status."""
        farm = GPUFarm.model_validate(self.farm, extra="ignore")
        profiles = self._index().profiles()
        for body in decide_farm(farm, profiles, self._node_views(), {}).create:
            body["metadata"] |= {"uid": f"node-{next(self._numbers)}", "resourceVersion": "1"}
            body["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
            self.nodes[body["metadata"]["name"]] = body
        assert self.farm is not None
        done = decide_farm(farm, profiles, self._node_views(), {})
        self.farm["status"] = farm_status(farm, done, self.now)

    def set_ready(self, node: str, ready: bool) -> None:
        self.nodes[node]["status"]["conditions"][0]["status"] = "True" if ready else "False"

    def pod(self, name: str, workload: str = "w", *, devices: int = 8, **changes: Any) -> str:
        """Add a gated pod of the plan; returns its uid."""
        uid = f"{name}-{next(self._numbers)}"
        labels = {"kfarm.dev/placement-plan": "train", "kfarm.dev/workload": workload}
        limits = {"nvidia.com/gpu": str(devices)}
        self.pods[uid] = {
            "metadata": {
                "namespace": "team",
                "name": name,
                "uid": uid,
                "resourceVersion": str(next(self._numbers)),
                "labels": labels,
            },
            "spec": {
                "schedulingGates": [{"name": GATE}],
                "containers": [{"name": "main", "resources": {"limits": limits}}],
                **changes,
            },
            "status": {"phase": "Pending"},
        }
        return uid

    def foreign_pod(self, node: str, devices: int = 8, plan: str = "", **changes: Any) -> str:
        """Add a bound pod that does not belong to the plan; returns its uid."""
        uid = self.pod("foreign", devices=devices, nodeName=node, schedulingGates=[], **changes)
        self.pods[uid]["metadata"]["labels"] = {"kfarm.dev/placement-plan": plan} if plan else {}
        return uid

    def bind(self, *uids: str) -> None:
        """As the scheduler does with released pods: to the node that they are pinned to."""
        for uid in uids:
            spec = self.pods[uid]["spec"]
            spec["nodeName"] = spec["nodeSelector"]["kubernetes.io/hostname"]

    def claim(
        self, node: str, accelerators: int = 8, *, plan: str = "other", expires_s: float = 3600
    ) -> None:
        """Add a claim of another plan, whether there is room or not."""
        claim = Claim(
            namespace="team",
            plan=plan,
            uid=f"{plan}-uid",
            generation=1,
            epoch=0,
            digest="sha256:other",
            expires_at=timestamp(self.now + timedelta(seconds=expires_s)),
            nodes=[NodeClaim(node=node, accelerators=accelerators)],
        )
        self.claims.append(claim.as_manifest())

    def edit(self, **workload: Any) -> None:
        """Change the first workload of the plan; a new generation."""
        self.plan["spec"]["workloads"][0] |= workload
        self.plan["metadata"]["generation"] += 1

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def status(self) -> Body:
        return dict(self.plan.get("status") or {})

    @property
    def slots(self) -> list[Body]:
        return [slot for p in self.status.get("placements", ()) for slot in p["slots"]]

    # What the operator does.

    def _index(self) -> Index:
        index = Index()
        ledger = _object("NodeLedger", "gpufarm.f", {"claims": self.claims})
        for body in (*self.profiles, self.policy, self.farm, self.plan, ledger):
            if body is not None:
                assert index.put(body) is not None
        return index

    def _node_views(self) -> dict[str, Any]:
        return {name: node_view(body) for name, body in self.nodes.items()}

    def observed(self, plan: Body | None = None) -> Observed:
        """What the operator sees; of the scene's plan unless another is given."""
        parsed = PlacementPlan.model_validate(plan or self.plan, extra="ignore")
        pods = [pod_view(body) for body in self.pods.values()]
        nodes = self._node_views().values()
        index = self._index()
        seen = observe(parsed, index, nodes, pods, self.now, self.hold_until)
        return foresee(seen, index, pods)

    def decide(self) -> Decision:
        return decide(self.observed())

    def step(self, word: str = "Approved") -> Decision:
        """One step of the reconciler; `word` is what the twin would say of a plan that fits."""
        observed = self.observed()
        decision = decide(observed)
        match decision:
            case Simulate():
                try:
                    self._simulate(observed, decision, word)
                except LostRace:
                    self.collect()
            case Evict():
                for pod in decision.pods:
                    del self.pods[pod.uid]
            case Assign():
                self._write(assigned_status(observed, decision.pairs))
            case Release():
                for _, pod, host in decision.pairs:
                    self._release(pod, host)
            case Wait() | Report():
                wanted = report_status(observed, decision)
                if not same(self.plan.get("status"), wanted):
                    self._write(wanted)
        return decision

    def settle(self, word: str = "Approved", steps: int = 12) -> Decision:
        """Steps until there is nothing left but to report or to wait."""
        for _ in range(steps):
            decision = self.step(word)
            if isinstance(decision, Report | Wait):
                return decision
        raise AssertionError(f"no end after {steps} steps")

    def collect(self) -> None:
        """Drop claims of earlier plans of the same name."""
        meta = self.plan["metadata"]
        self.claims = [c for c in self.claims if c["uid"] == meta["uid"] or c["plan"] != "train"]

    def _simulate(self, observed: Observed, decision: Simulate, word: str) -> None:
        survivors = find_survivors(observed)
        request = build_request(observed, survivors, decision.epoch)
        verdict = pretend_verdict(request, word)
        expires = expiry(observed, self.now)
        status = verdict_status(
            observed, verdict, survivors,
            epoch=decision.epoch, attempts=decision.attempts + (verdict.reason == "Crashed"),
            expires=expires, now=self.now,
        )  # fmt: skip
        if verdict.verdict == "Approved":
            self.claim_for(observed, verdict, decision.epoch, timestamp(expires))
        else:
            self.claims = [c for c in self.claims if c["uid"] != observed.plan.metadata.uid]
        self._write(status)

    def claim_for(self, observed: Observed, verdict: Verdict, epoch: int, expires: str) -> None:
        """As `Ledgers.claim`; raises LostRace."""
        meta = observed.plan.metadata
        seats = seats_of(observed, verdict.placements)[FARM]
        mine = Claim(
            namespace=meta.namespace or "",
            plan=meta.name,
            uid=meta.uid or "",
            generation=meta.generation,
            epoch=epoch,
            digest=verdict.inputs_digest,
            expires_at=expires,
            nodes=[NodeClaim(node=n, accelerators=a) for n, a in sorted(seats.items())],
        )
        held = [Claim.model_validate(claim) for claim in self.claims]
        swapped = merged(held, mine, _room(observed), observed.now)
        self.claims = [claim.as_manifest() for claim in swapped]

    def _write(self, status: Body) -> None:
        """A merge patch of the status: nulls clear."""
        merged_status = {**self.status, **status}
        self.plan["status"] = {k: v for k, v in merged_status.items() if v is not None}

    def _release(self, pod: Any, host: str) -> None:
        patch = release_body(pod, host)
        body = self.pods.get(pod.uid)
        if body is None or body["metadata"]["resourceVersion"] != pod.resource_version:
            return
        body["metadata"]["resourceVersion"] = str(next(self._numbers))
        body["spec"]["schedulingGates"] = patch["spec"]["schedulingGates"] or []
        selector = body["spec"].get("nodeSelector") or {}
        body["spec"]["nodeSelector"] = selector | patch["spec"]["nodeSelector"]


def pretend_verdict(request: ValidationRequest, word: str) -> Verdict:
    """Survivors stay; every other slot goes to the first node with room; `word` if all fit.

    ``Crashed`` stands for a twin that failed.
    """
    places = _fit(request)
    if word == "Approved" and places is None:
        word = "Rejected"
    reasons = {"Approved": "AllChecksPassed", "Rejected": "ChecksFailed", "Crashed": "Crashed"}
    return Verdict(
        verdict="Inconclusive" if word == "Crashed" else word,  # type: ignore[arg-type]
        reason=reasons.get(word, "Undecided"),
        message=f"the twin says {word}",
        placements=(places or []) if word == "Approved" else [],
        futures=64,
        seed=request.effective_seed,
        horizon=request.policy.spec.simulation.horizon,
        inputs_digest=request.digest(),
    )


def _fit(request: ValidationRequest) -> list[WorkloadPlacement] | None:
    fixed = {(s.workload, s.slot): s.node for s in request.snapshot.survivors}
    left = {node.name: node.accelerators - node.used for node in request.snapshot.nodes}
    usable = [n.name for n in request.snapshot.nodes if n.ready and n.schedulable]
    size = {w.name: w.accelerators_per_pod for w in request.plan.spec.workloads}
    for (workload, _), node in fixed.items():
        left[node] -= size[workload]
    placements = []
    for workload in request.plan.spec.workloads:
        slots = []
        for index in range(workload.pods + workload.surge):
            node = fixed.get((workload.name, index))
            if node is None:
                room = (name for name in usable if left[name] >= workload.accelerators_per_pod)
                node = next(room, None)
                if node is None:
                    return None
                left[node] -= workload.accelerators_per_pod
            slots.append(Slot(node=node))
        placements.append(WorkloadPlacement(workload=workload.name, slots=slots))
    return placements
