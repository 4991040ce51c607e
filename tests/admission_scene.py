"""Kueue beside the pretend cluster of ``gate_scene``: one Workload of the plan ``team/train``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gate_scene import FARM, Scene, pretend_verdict
from kfarm_api.ledger import Claim, NodeClaim
from kfarm_api.plan import PlacementPlan
from kfarm_operator.admission.decide import Answer, Decision, Outcome, decide, judged
from kfarm_operator.admission.observe import UNLIMITED, Found, gather
from kfarm_operator.admission.reconcile import _on_empty_farm
from kfarm_operator.admission.views import check_view, flavor_view, workload_view
from kfarm_operator.plans.observe import Observed, observe
from kfarm_operator.views import pod_view

Body = dict[str, Any]
HOST = "kubernetes.io/hostname"
RACK = "kfarm.dev/rack"


class KueueScene(Scene):
    """A Workload of two pods, reserved on the farm's first two nodes, behind one check of ours."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.plan["spec"]["placement"] = "Kueue"
        self.checks = [check_body()]
        self.flavors = [flavor_body()]
        self.workload = workload_object(["f-c-0000", "f-c-0001"])
        self.known: Outcome | None = None

    @property
    def status_of_workload(self) -> Body:
        return dict(self.workload["status"])

    def say(self, state: str, name: str = "twin", **more: Any) -> None:
        """Set our entry."""
        entry = {"name": name, "state": state, "message": "", "lastTransitionTime": "T", **more}
        others = [e for e in self.workload["status"]["admissionChecks"] if e["name"] != name]
        self.workload["status"]["admissionChecks"] = [entry, *others]

    def condition(self, kind: str, status: str = "True", since: str = "T1") -> None:
        """Set a condition of the Workload."""
        kept = [c for c in self.workload["status"]["conditions"] if c["type"] != kind]
        new = {"type": kind, "status": status, "lastTransitionTime": since}
        self.workload["status"]["conditions"] = [*kept, new]

    def assign(self, *nodes: str) -> None:
        """Kueue's topology assignment: one pod on each node."""
        self.workload["status"]["admission"]["podSetAssignments"][0] |= assignment(nodes)

    def admit(self) -> None:
        """As after a Ready answer: claimed, Ready and Admitted."""
        self.hold()
        self.say("Ready")
        self.condition("Admitted")

    def hold(self) -> None:
        """Claim what the assignment asks for, as the reconciler would."""
        found = self.found()
        seats = found.wanted[FARM]
        claim = Claim(
            namespace="team",
            plan="train",
            uid=found.workload.uid,
            generation=1,
            epoch=0,
            digest=found.digest,
            expires_at=UNLIMITED,
            workload=found.workload.name,
            nodes=[NodeClaim(node=n, accelerators=a) for n, a in sorted(seats.items())],
        )
        self.claims = [c for c in self.claims if c["uid"] != claim.uid] + [claim.as_manifest()]

    def kueue_pod(self, name: str, node: str | None, **changes: Any) -> str:
        """A pod of the Workload as Kueue's ungater leaves it; returns its uid."""
        selector = {"kfarm.dev/farm": "f"} | ({HOST: node} if node else {})
        tolerations = [{"key": "pool", "operator": "Equal", "value": "x", "effect": "NoSchedule"}]
        uid = self.pod(name, **{"nodeSelector": selector, "tolerations": tolerations, **changes})
        meta = self.pods[uid]["metadata"]
        meta["annotations"] = {"kueue.x-k8s.io/workload": self.workload["metadata"]["name"]}
        meta["labels"]["kueue.x-k8s.io/podset"] = "main"
        return uid

    def found(self) -> Found:
        """What the operator sees."""
        pods = [pod_view(body) for body in self.pods.values()]
        view = workload_view(self.workload)

        def look(plan: PlacementPlan) -> Observed:
            nodes = self._node_views().values()
            return observe(plan, self._index(), nodes, pods, self.now, workload=view.name)

        return gather(
            view,
            {c["metadata"]["name"]: check_view(c) for c in self.checks},
            {f["metadata"]["name"]: flavor_view(f) for f in self.flavors},
            self._index(),
            look,
            self.now,
        )

    def next(self) -> Decision:
        """The next step for the Workload."""
        return decide(self.found(), self.known)

    def learn(self, answer: Answer) -> None:
        """Keep an answer as the reconciler does between finding and writing it."""
        self.known = Outcome(self.found().digest, answer, self.now)

    def judge(self, word: str, empty: str | None = None, reason: str | None = None) -> Answer:
        """The answer to the twin's word on this placement, and on the empty farm."""
        found = self.found()
        policy = found.policies[0]
        assert policy is not None
        verdict = pretend_verdict(found.request(policy, found.snapshot()), word)
        fresh = None
        if empty is not None:
            fresh = pretend_verdict(_on_empty_farm(found, policy), empty)
            fresh = fresh.model_copy(update={"reason": reason or fresh.reason})
        return judged(found, verdict, "p", fresh)


def check_body(name: str = "twin", policy: str | None = "p") -> Body:
    spec: Body = {"controllerName": "kfarm.dev/twin"}
    if policy:
        spec["parameters"] = {"apiGroup": "kfarm.dev", "kind": "ValidationPolicy", "name": policy}
    return {"metadata": _meta(name), "spec": spec}


def flavor_body() -> Body:
    spec = {
        "nodeLabels": {"kfarm.dev/farm": "f"},
        "tolerations": [{"key": "pool", "operator": "Equal", "value": "x", "effect": "NoSchedule"}],
    }
    return {"metadata": _meta("flavor"), "spec": spec}


def assignment(nodes: Any, level: str = HOST) -> Body:
    slices = {
        "domainCount": len(nodes),
        "valuesPerLevel": [{"individual": {"roots": list(nodes)}}],
        "podCounts": {"universal": 1},
    }
    return {
        "count": len(nodes),
        "topologyAssignment": {"levels": [level], "slices": [slices]},
    }


def workload_object(nodes: list[str], labels: Mapping[str, str] | None = None) -> Body:
    limits = {"limits": {"nvidia.com/gpu": "8"}}
    names = {"kfarm.dev/placement-plan": "train", "kfarm.dev/workload": "w"}
    template = {
        "metadata": {"labels": dict(labels if labels is not None else names)},
        "spec": {"containers": [{"name": "main", "resources": limits}]},
    }
    given = {"name": "main", "flavors": {"nvidia.com/gpu": "flavor"}, **assignment(nodes)}
    reserved = {"type": "QuotaReserved", "status": "True", "lastTransitionTime": "T1"}
    entry = {"name": "twin", "state": "Pending", "message": "", "lastTransitionTime": "T"}
    return {
        "metadata": {**_meta("wl"), "namespace": "team"},
        "spec": {
            "active": True,
            "podSets": [{"name": "main", "count": len(nodes), "template": template}],
        },
        "status": {
            "admission": {"clusterQueue": "q", "podSetAssignments": [given]},
            "conditions": [reserved],
            "admissionChecks": [entry],
        },
    }


def _meta(name: str) -> Body:
    return {"name": name, "uid": f"{name}-uid", "resourceVersion": "7", "generation": 1}
