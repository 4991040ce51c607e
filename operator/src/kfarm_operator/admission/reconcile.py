"""Workloads: gather, decide, apply; one step at a time from a fresh reading."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Literal

from kfarm_api.plan import PlacementPlan
from kfarm_api.policy import ValidationPolicy
from kfarm_api.snapshot import synthetic_snapshot
from kfarm_twin.request import InputError, ValidationRequest, Verdict

from kfarm_operator.admission.decide import (
    Answer,
    Decision,
    Leave,
    Outcome,
    Release,
    Simulate,
    Withdraw,
    bounded,
    decide,
    judged,
)
from kfarm_operator.admission.kueue import KUEUE_GROUP, KUEUE_VERSION, WORKLOADS
from kfarm_operator.admission.observe import UNLIMITED, Found, gather
from kfarm_operator.admission.status import answer_body
from kfarm_operator.admission.views import CheckView, FlavorView, WorkloadView, workload_view
from kfarm_operator.asking import Runner, ask
from kfarm_operator.client import ApiError, KubeClient, kfarm_resource
from kfarm_operator.events import Events, Subject
from kfarm_operator.index import Index
from kfarm_operator.mirror import Mirror
from kfarm_operator.plans.claims import Ledgers, LostRace, seats_of
from kfarm_operator.plans.observe import Observed, assemble
from kfarm_operator.podmirrors import PodMirrors
from kfarm_operator.release import Gates
from kfarm_operator.runner import TwinFailed
from kfarm_operator.views import NodeView

PLANS = kfarm_resource("placementplans")
FIELD_MANAGER = "kfarm-twin"
STEPS = 12
GATE_AGAIN_S = 10.0
_LOG = logging.getLogger(__name__)
Key = tuple[str, str]


class Mirrors:
    """What is seen of Kueue, of nodes and of pods."""

    def __init__(
        self,
        workloads: Mirror[WorkloadView],
        checks: Mirror[CheckView],
        flavors: Mirror[FlavorView],
        nodes: Mirror[NodeView],
        pods: PodMirrors,
    ) -> None:
        self.workloads = workloads
        self.checks = checks
        self.flavors = flavors
        self.nodes = nodes
        self.pods = pods


class AdmissionReconciler:
    """Answers Kueue and lifts the gate of what it admits, under the gate account."""

    def __init__(
        self,
        client: KubeClient,
        index: Index,
        mirrors: Mirrors,
        runner: Runner,
        threads: ThreadPoolExecutor,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._index = index
        self._mirrors = mirrors
        self._runner = runner
        self._gates = Gates(client, mirrors.pods, threads)
        self._clock = clock
        self._ledgers = Ledgers(client, index)
        self._events = Events(client)
        self._known: dict[Key, Outcome] = {}
        self.gate_faults: Callable[[], tuple[str, ...]] = tuple
        self.told: Callable[[Answer | Release], None] = lambda _: None

    async def reconcile(self, key: Key) -> float | None:
        """Take steps for one Workload until there is nothing left to do."""
        for _ in range(STEPS):
            found, decision = await self._in_thread(self._decide, key)
            if found is None:
                self._known.pop(key, None)
                await self.collect()
                return None
            try:
                done, again_s = await self._apply(key, found, decision)
            except LostRace as error:
                _LOG.info("workload %s/%s lost a race: %s", *key, error)
                self._known.pop(key, None)
                continue
            except ApiError as error:
                if not error.conflict:
                    raise
                _LOG.debug("workload %s/%s changed meanwhile: %s", *key, error)
                continue
            if done:
                return again_s
        return 0.05

    async def collect(self) -> None:
        """Drop claims of Workloads that are gone or hold no admission any more."""
        await self._in_thread(self._collect)

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, work, *args)

    def _decide(self, key: Key) -> tuple[Found | None, Decision]:
        """In a thread: on a large farm this takes a while, and the event loop must go on."""
        found = self._gather(key)
        if found is None:
            return None, Leave()
        decision = decide(found, self._known.get(key))
        faults = self.gate_faults() if isinstance(decision, Release) else ()
        if not faults:
            return found, decision
        plan = self._plan_of(found)
        if plan is not None:
            message = f"nothing is released while the gate is open: {'; '.join(faults)}"
            self._events.once(plan, found.workload.uid, "Warning", "GateDegraded", message)
        return found, Leave(GATE_AGAIN_S)

    def _gather(self, key: Key) -> Found | None:
        """Read the Workload and its plan anew; the rest comes from the mirrors."""
        body = self._client.get(WORKLOADS, key[1], key[0])
        if body is None:
            return None
        self._mirrors.workloads.put(body)
        workload = workload_view(body)
        for plan in {part.plan for part in workload.pod_sets if part.plan}:
            fresh = self._client.get(PLANS, plan, key[0])
            if fresh is not None:
                self._index.put(fresh)
        return self._look(workload)

    def _look(self, workload: WorkloadView) -> Found:
        return gather(
            workload,
            {check.name: check for check in self._mirrors.checks.values()},
            {flavor.name: flavor for flavor in self._mirrors.flavors.values()},
            self._index,
            lambda plan: self._observe(plan, workload.name),
            self._clock(),
        )

    def _observe(self, plan: PlacementPlan, workload: str) -> Observed:
        """A plan on its farms, held by a Workload."""
        own = (plan.metadata.namespace or "", plan.metadata.name)
        farms = {(ref.kind, ref.name) for ref in plan.spec.farms}
        nodes = [
            node
            for farm in farms
            for node in self._mirrors.nodes.where("farm", farm)
            if not node.deleting
        ]
        pods = self._mirrors.pods
        return assemble(
            plan,
            self._index,
            nodes,
            [pod for pod in pods.of_plan(own) if pod.admitted_by == workload],
            pods.usages(nodes, own, workload),
            self._clock(),
            workload=workload,
        )

    async def _apply(self, key: Key, found: Found, decision: Decision) -> tuple[bool, float | None]:
        """Carry out one step; returns whether it was the last, and when to look again."""
        match decision:
            case Simulate():
                return await self._simulate(key, found, decision)
            case Answer():
                await self._in_thread(self._answer, key, found, decision)
                self.told(decision)
                return decision.state != "Ready", None
            case Release():
                await self._in_thread(self._release, found, decision)
                self.told(decision)
                return True, None
            case Withdraw():
                self._known.pop(key, None)
                await self._in_thread(
                    self._ledgers.withdraw, found.workload.uid, list(found.claims)
                )
                return True, None
            case Leave():
                return True, decision.again_s

    async def _simulate(
        self, key: Key, found: Found, decision: Simulate
    ) -> tuple[bool, float | None]:
        """Ask under every policy, and keep the answer for the next step, which reads anew."""
        _LOG.info("workload %s/%s: simulated: %s", *key, decision.why)
        answer = await self._judge(key, found)
        if answer is None:
            return True, 0.0
        self._known[key] = Outcome(found.digest, answer, self._clock())
        return False, None

    async def _judge(self, key: Key, found: Found) -> Answer | None:
        """The first answer that is not Ready, or Ready; None where it became pointless."""
        answer = None
        for policy in dict.fromkeys(p.metadata.name for p in found.policies if p is not None):
            answer = await self._under(key, found, policy)
            if answer is None or answer.state != "Ready":
                return answer
        return answer

    async def _under(self, key: Key, found: Found, name: str) -> Answer | None:
        policy = next(p for p in found.policies if p is not None and p.metadata.name == name)
        try:
            request = await self._in_thread(_on_this_farm, found, policy)
            verdict = await self._ask(key, found, request)
            if verdict is None:
                return None
            empty = None
            if verdict.verdict == "Rejected":
                request = await self._in_thread(_on_empty_farm, found, policy)
                empty = await self._ask(key, found, request)
                if empty is None:
                    return None
        except TwinFailed as error:
            return bounded(
                found, "TwinFailed", f"the twin failed ({error.reason}): {error.message}"
            )
        except InputError as error:
            return bounded(found, "BadInput", str(error))
        return judged(found, verdict, name, empty)

    async def _ask(self, key: Key, found: Found, request: ValidationRequest) -> Verdict | None:
        """The twin's verdict; None where the Workload lost its admission meanwhile."""
        verdict = await ask(self._runner, request, lambda: self._pointless(key, found.workload))
        if verdict is None:
            _LOG.info("workload %s/%s lost its admission; simulation dropped", *key)
        return verdict

    def _pointless(self, key: Key, asked: WorkloadView) -> bool:
        latest = self._mirrors.workloads.get(*key)
        return latest is None or not (
            latest.uid == asked.uid
            and latest.holds
            and latest.reserved_since == asked.reserved_since
        )

    def _claim(self, found: Found) -> None:
        """Claim the nodes by compare-and-swap, as held by this Workload."""
        if found.observed is None:
            raise LostRace("the plan is gone")

        def observe_again() -> Observed:
            fresh = self._look(found.workload).observed
            if fresh is None:
                raise LostRace("the plan is gone")
            return fresh

        self._ledgers.claim(
            observe_again,
            seats_of(found.observed, found.placements),
            epoch=0,
            digest=found.digest,
            expires_at=UNLIMITED,
        )
        left = [farm for farm in found.claims if farm not in found.wanted]
        self._ledgers.withdraw(found.workload.uid, left)

    def _answer(self, key: Key, found: Found, answer: Answer) -> None:
        """Claim what is approved, then say so; what is said is in the ledger before."""
        if answer.state == "Ready" and found.pod_sets and not found.claimed:
            self._claim(found)
        body = answer_body(found.workload, found.entries, answer, self._clock())
        done = self._client.apply(
            WORKLOADS, key[1], body, manager=FIELD_MANAGER, namespace=key[0], sub="status"
        )
        self._mirrors.workloads.put(done)
        self._known.pop(key, None)
        _LOG.info("workload %s/%s: %s (%s)", *key, answer.state, answer.reason)
        self._tell(found, answer)

    def _tell(self, found: Found, answer: Answer) -> None:
        workload = found.workload
        kind: Literal["Normal", "Warning"] = "Normal" if answer.state == "Ready" else "Warning"
        about = Subject(
            f"{KUEUE_GROUP}/{KUEUE_VERSION}",
            "Workload",
            workload.namespace,
            workload.name,
            workload.uid,
        )
        self._events.tell(about, kind, answer.reason, answer.message)
        plan = self._plan_of(found)
        if plan is not None:
            message = f"Workload {workload.name}: {answer.state}: {answer.message}"
            self._events.post(plan, kind, answer.reason, message)

    def _plan_of(self, found: Found) -> Any:
        names = {part.plan for part in found.pod_sets}
        return self._index.plan(found.workload.namespace, names.pop()) if len(names) == 1 else None

    def _release(self, found: Found, decision: Release) -> None:
        """Lift gates side by side; a pod that changed meanwhile is looked at again."""
        plan = self._plan_of(found)
        for pod, reason, what in decision.amiss:
            if plan is not None:
                message = f"pod {pod.name} stays gated: it {what}"
                self._events.once(plan, pod.uid, "Warning", reason, message)
        self._gates.lift((pod, None) for pod in decision.pods)

    def _collect(self) -> None:
        """Drop claims whose Workload is gone, after asking the API server for each."""
        for farm in self._index.farms():
            name = (farm.kind, farm.metadata.name)
            ledger = self._index.ledger(f"{farm.kind.lower()}.{farm.metadata.name}")
            for claim in ledger.spec.claims if ledger else ():
                if claim.workload is None:
                    continue
                known = self._mirrors.workloads.get(claim.namespace, claim.workload)
                if known is not None and known.uid == claim.uid and known.holds:
                    continue
                body = self._client.get(WORKLOADS, claim.workload, claim.namespace)
                view = workload_view(body) if body else None
                if view is None or view.uid != claim.uid or not view.holds:
                    self._ledgers.withdraw(claim.uid, [name])


def _on_this_farm(found: Found, policy: ValidationPolicy) -> ValidationRequest:
    return found.request(policy, found.snapshot())


def _on_empty_farm(found: Found, policy: ValidationPolicy) -> ValidationRequest:
    farms = [farm for farm in found.observed.farms.values() if farm] if found.observed else []
    return found.request(policy, synthetic_snapshot(farms))
