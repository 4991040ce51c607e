"""The gate as a state machine: whatever happens in whatever order, its invariants hold.

This is a model of *apply*, not a mock of the API server: the operator's pure functions decide on a
pretend cluster in memory (``tests/gate_scene.py``), and each of their decisions takes effect at
once, as preconditions make the real writes do or fail whole. Conflicts, watches and admission are
tested on the real API server. The machine keeps nothing between two steps but the cluster itself,
so every step is also a crash and a restart.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import gate_scene as scenes
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kfarm_operator.conditions import timestamp
from kfarm_operator.plans.claims import LostRace
from kfarm_operator.plans.decide import Evict, Release, Report, Simulate, Wait
from kfarm_operator.plans.observe import expired, pod_usage
from kfarm_operator.plans.request import build_request
from kfarm_operator.views import pod_view

DEVICES = 8
NODES = 3
STEPS = 12
words = st.sampled_from(["Approved"] * 4 + ["Rejected", "Inconclusive", "Crashed"])
picks = st.integers(0, 63)


class Gate(RuleBasedStateMachine):
    """One plan under test, a second one that competes for its nodes, and a rough world."""

    def __init__(self) -> None:
        super().__init__()
        self.releases: Counter[str] = Counter()
        self.node_number = 0

    @initialize(
        gang=st.booleans(),
        size=st.sampled_from([4, 8]),
        second=st.booleans(),
        stage=st.integers(0, 5),
    )
    def begin(self, gang: bool, size: int, second: bool, stage: int) -> None:
        """Anywhere between a plan that nobody looked at and one that runs."""
        first = scenes.workload_body(gang=gang, acceleratorsPerPod=size)
        more = [scenes.workload_body("v", gang=False, pods=1)] if second else []
        self.scene = scenes.Scene(nodes=NODES, workloads=[first, *more])
        self.spare_nodes: dict[str, Any] = {}
        if stage:
            self.reconcile("Approved")
        if stage > 1:
            self.all_pods_appear()
        for _ in range(min(stage, 4) - 2):
            self._step("Approved")
        if stage > 4:
            self.all_pods_are_bound()

    # The operator.

    @rule(word=words)
    def one_step(self, word: str) -> None:
        self._step(word)

    @rule(word=words)
    def reconcile(self, word: str) -> None:
        """Decisions come to an end, at the latest after as many steps as the operator takes."""
        for _ in range(STEPS):
            if isinstance(self._step(word), Report | Wait):
                return
        raise AssertionError("no end")

    @rule(word=words, lacking=st.integers(0, 1))
    def round(self, word: str, lacking: int) -> None:
        """Pods are made, the operator looks, the scheduler binds, the operator looks again."""
        self.all_pods_appear(lacking)
        self.reconcile(word)
        self.all_pods_are_bound()
        self.reconcile(word)

    def _step(self, word: str) -> Any:
        before = {uid: _gated(body) for uid, body in self.scene.pods.items()}
        plan = copy.deepcopy(self.scene.plan)
        claims = copy.deepcopy(self.scene.claims)
        decision = self.scene.step(word)
        if isinstance(decision, Release):
            self._check_release(decision, plan, claims)
        if isinstance(decision, Simulate) and self.scene.status != plan.get("status", {}):
            assert decision.epoch == self.scene.status["epoch"]
            assert decision.epoch > plan.get("status", {}).get("epoch", -1)
            assert not any(slot.get("podUid") in before and before[slot["podUid"]]
                           for slot in self.scene.slots)  # fmt: skip
        if isinstance(decision, Evict):
            assert all(pod.node is None and pod.released for pod in decision.pods)
        for uid, body in self.scene.pods.items():
            if before[uid] and not _gated(body):
                assert isinstance(decision, Release)
                self.releases[uid] += 1
        return decision

    def _check_release(self, decision: Release, plan: Any, claims: Any) -> None:
        status, meta = plan["status"], plan["metadata"]
        assert status["verdict"] == "Approved"
        assert status["observedGeneration"] == meta["generation"]
        (claim,) = [claim for claim in claims if claim["uid"] == meta["uid"]]
        assert (claim["generation"], claim["epoch"]) == (meta["generation"], status["epoch"])
        assert claim["digest"] == status["inputsDigest"]
        assert not expired(claim["expiresAt"], self.scene.now)
        claimed = {item["node"] for item in claim["nodes"]}
        slots = {s["podUid"]: s for p in status["placements"] for s in p["slots"] if "podUid" in s}
        for view, pod, host in decision.pairs:
            assert slots[pod.uid]["node"] == host == view.slot.node
            assert host in claimed
            conditions = self.scene.nodes[host]["status"]["conditions"]
            assert conditions[0]["status"] == "True"

    # The cluster and its people.

    @rule(name=st.sampled_from("wv"), devices=st.sampled_from([4, 8]))
    def some_pod_appears(self, name: str, devices: int) -> None:
        if len(self.scene.pods) < 8:
            self.scene.pod(f"p{len(self.scene.pods)}", name, devices=devices)

    @rule(lacking=st.integers(0, 1))
    def all_pods_appear(self, lacking: int = 0) -> None:
        """As the controller of a Job makes them: as many as are missing, all alike."""
        for workload in self.scene.plan["spec"]["workloads"]:
            name, size = workload["name"], workload["acceleratorsPerPod"]
            there = sum(
                body["metadata"]["labels"].get("kfarm.dev/workload") == name
                and body["status"]["phase"] == "Pending"
                for body in self.scene.pods.values()
            )
            for index in range(there, workload["pods"] - lacking):
                self.scene.pod(f"{name}{index}", name, devices=size)

    @rule(pick=picks)
    def pod_vanishes(self, pick: int) -> None:
        self._pick(pick, self.scene.pods.pop, lambda body: True)

    @rule(pick=picks)
    def pod_is_being_deleted(self, pick: int) -> None:
        def delete(uid: str) -> None:
            self.scene.pods[uid]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

        self._pick(pick, delete, lambda body: True)

    @rule(pick=picks)
    def pod_is_bound(self, pick: int) -> None:
        """The scheduler binds a released pod where the node's devices suffice."""
        self._pick(pick, self.scene.bind, self._may_bind)

    @rule()
    def all_pods_are_bound(self) -> None:
        for uid, body in self.scene.pods.items():
            if self._may_bind(body):
                self.scene.bind(uid)

    @rule(pick=picks, phase=st.sampled_from(["Succeeded", "Failed"]))
    def pod_ends(self, pick: int, phase: str) -> None:
        def end(uid: str) -> None:
            self.scene.pods[uid]["status"]["phase"] = phase

        self._pick(pick, end, lambda body: bool(body["spec"].get("nodeName")))

    def _pick(self, pick: int, act: Any, allowed: Any) -> None:
        uids = [uid for uid, body in self.scene.pods.items() if allowed(body)]
        if uids:
            act(uids[pick % len(uids)])

    def _may_bind(self, body: Any) -> bool:
        spec = body["spec"]
        host = (spec.get("nodeSelector") or {}).get("kubernetes.io/hostname")
        if _gated(body) or spec.get("nodeName") or "deletionTimestamp" in body["metadata"]:
            return False
        room = DEVICES - _on_nodes(self.scene)[host]
        return host in self.scene.nodes and room >= _devices(body)

    @rule(index=st.integers(0, NODES - 1), ready=st.booleans())
    def node_flaps(self, index: int, ready: bool) -> None:
        name = f"f-c-{index:04d}"
        if name in self.scene.nodes:
            self.scene.set_ready(name, ready)

    @rule(index=st.integers(0, NODES - 1))
    def node_goes_or_comes_back(self, index: int) -> None:
        """A node is deleted with the pods on it, or joins again under a new uid."""
        name = f"f-c-{index:04d}"
        if name in self.scene.nodes:
            self.spare_nodes[name] = self.scene.nodes.pop(name)
            gone = [u for u, b in self.scene.pods.items() if b["spec"].get("nodeName") == name]
            for uid in gone:
                del self.scene.pods[uid]
        else:
            self.node_number += 1
            body = self.spare_nodes.pop(name)
            body["metadata"]["uid"] = f"again-{self.node_number}"
            self.scene.nodes[name] = body

    @rule(pods=st.integers(1, 3), size=st.sampled_from([4, 8]))
    def plan_is_edited(self, pods: int, size: int) -> None:
        self.scene.edit(pods=pods, acceleratorsPerPod=size)

    @rule()
    def plan_is_recreated(self) -> None:
        workloads = self.scene.plan["spec"]["workloads"]
        self.scene.plan = self.scene.plan_body("train", *workloads)

    @rule(bound=st.sampled_from(["0.5", "0.6"]))
    def policy_is_edited(self, bound: str) -> None:
        self.scene.policy["spec"]["checks"][0]["atLeast"] = bound

    @rule(seconds=st.sampled_from([10, 1800, 3600]))
    def time_passes(self, seconds: int) -> None:
        self.scene.wait(seconds)

    @rule()
    def ledger_is_lost(self) -> None:
        """Somebody takes the plan's claims out of it."""
        self.scene.claims = [c for c in self.scene.claims if c["uid"] == "other-uid"]

    @rule(pods=st.integers(1, 2), size=st.sampled_from([4, 8]))
    def another_plan_claims(self, pods: int, size: int) -> None:
        """It goes the same way: simulated on what is there, claimed by compare-and-swap."""
        workload = scenes.workload_body(gang=False, pods=pods, acceleratorsPerPod=size)
        other = self.scene.plan_body("other", workload)
        other["metadata"]["uid"] = "other-uid"
        observed = self.scene.observed(other)
        verdict = scenes.pretend_verdict(build_request(observed, {}, 0), "Approved")
        if verdict.verdict == "Approved":
            until = timestamp(self.scene.now.replace(year=2027))
            try:
                self.scene.claim_for(observed, verdict, 0, until)
            except LostRace:
                return

    @rule(pick=picks)
    def another_plans_pod_runs(self, pick: int) -> None:
        claims = [c for c in self.scene.claims if c["uid"] == "other-uid"]
        seats = [item for claim in claims for item in claim["nodes"]]
        taken = {b["spec"].get("nodeName") for b in self.scene.pods.values() if _plan(b) == "other"}
        free = [item for item in seats if item["node"] not in taken]
        if free and len(self.scene.pods) < 10:
            seat = free[pick % len(free)]
            if seat["node"] in self.scene.nodes:
                self.scene.foreign_pod(seat["node"], seat["accelerators"], "other")

    @precondition(lambda self: any(_plan(b) == "other" for b in self.scene.pods.values()))
    @rule()
    def another_plan_goes(self) -> None:
        self.scene.claims = [c for c in self.scene.claims if c["uid"] != "other-uid"]
        gone = [uid for uid, body in self.scene.pods.items() if _plan(body) == "other"]
        for uid in gone:
            del self.scene.pods[uid]

    # What must hold at every moment.

    @invariant()
    def one_release_per_pod(self) -> None:
        assert all(count == 1 for count in self.releases.values())

    @invariant()
    def no_pod_without_a_decision_is_free(self) -> None:
        for uid, body in self.scene.pods.items():
            assert _plan(body) == "other" or _gated(body) != (uid in self.releases)

    @invariant()
    def no_slot_and_no_pod_twice(self) -> None:
        given_slots = [slot["podUid"] for slot in self.scene.slots if "podUid" in slot]
        assert len(given_slots) == len(set(given_slots))
        views = self.scene.observed().slots
        assert len({(view.workload, view.index) for view in views}) == len(views)

    @invariant()
    def no_node_is_overbooked(self) -> None:
        """Claims that stand, and pods, each by itself and together."""
        claimed: Counter[str] = Counter()
        for claim in self.scene.claims:
            if not expired(claim["expiresAt"], self.scene.now):
                claimed.update({i["node"]: i["accelerators"] for i in claim["nodes"]})
        assert all(count <= DEVICES for count in claimed.values()), claimed
        held = _on_nodes(self.scene)
        assert all(count <= DEVICES for count in held.values()), held

    @invariant()
    def claims_and_pods_together_fit(self) -> None:
        """Claims, what pods hold beside them, and the same of the other plan.

        The claim of an earlier plan of the same name holds nothing: it waits to be collected.
        """
        observed = self.scene.observed()
        booked: Counter[str] = Counter()
        groups = ("seated", "beside", "other")
        claimed: dict[str, Counter[str]] = {group: Counter() for group in (*groups, "earlier")}
        for claim in self.scene.claims:
            if not expired(claim["expiresAt"], self.scene.now):
                mine = claim["uid"] == self.scene.plan["metadata"]["uid"]
                group = "seated" if mine else "earlier" if claim["plan"] == "train" else "other"
                claimed[group].update({i["node"]: i["accelerators"] for i in claim["nodes"]})
        seated = {view.slot.pod_uid for view in observed.slots if view.pod}
        held: dict[str, Counter[str]] = {group: Counter() for group in groups}
        for uid, body in self.scene.pods.items():
            usage = pod_usage(pod_view(body), observed.hostnames)
            if usage is not None:
                own = "seated" if uid in seated else "beside"
                held["other" if _plan(body) == "other" else own][usage.node] += usage.accelerators
        for group in groups:
            booked += claimed[group] | held[group]
        assert all(booked[name] <= DEVICES for name in self.scene.nodes), booked

    @invariant()
    def a_gang_is_never_released_in_part_by_decision(self) -> None:
        """A release covers all slots of the gang that were not released before."""
        workload = self.scene.plan["spec"]["workloads"][0]
        decision = self.scene.decide()
        if workload["gang"] and isinstance(decision, Release):
            views = [view for view in self.scene.observed().slots if view.workload == "w"]
            freed = {(view.workload, view.index) for view, _, _ in decision.pairs}
            if any(name == "w" for name, _ in freed):
                assert all(
                    (v.workload, v.index) in freed or v.vacated or (v.pod and v.pod.released)
                    for v in views
                )

    @invariant()
    def a_crash_changes_nothing(self) -> None:
        """Decisions are a function of the cluster alone."""
        assert self.scene.decide() == copy.deepcopy(self.scene).decide()


def _gated(body: Any) -> bool:
    return bool(body["spec"].get("schedulingGates"))


def _plan(body: Any) -> str:
    return str(body["metadata"]["labels"].get("kfarm.dev/placement-plan", ""))


def _devices(body: Any) -> int:
    return int(body["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])


def _on_nodes(scene: Any) -> Counter[str]:
    """Devices that bound pods hold, by node."""
    held: Counter[str] = Counter()
    for body in scene.pods.values():
        node = body["spec"].get("nodeName")
        if node and body["status"]["phase"] == "Pending":
            held[node] += _devices(body)
    return held


TestGate = Gate.TestCase
TestGate.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
