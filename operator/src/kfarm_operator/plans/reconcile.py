"""Plans: gather, decide, apply, status; one step at a time from a fresh observation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from kfarm_api.plan import PlacementPlan
from kfarm_twin.request import InputError, ValidationRequest, Verdict

from kfarm_operator.asking import Runner, ask
from kfarm_operator.client import ApiError, KubeClient, kfarm_resource
from kfarm_operator.conditions import transitions
from kfarm_operator.events import Events
from kfarm_operator.index import Index
from kfarm_operator.logs import about
from kfarm_operator.mirror import Mirror
from kfarm_operator.plans.claims import Ledgers, LostRace, seats_of
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
from kfarm_operator.plans.observe import Observed, assemble
from kfarm_operator.plans.remaining import foresee
from kfarm_operator.plans.request import Survivors, build_request, find_survivors
from kfarm_operator.plans.shut import while_shut
from kfarm_operator.plans.status import (
    assigned_status,
    expiry,
    report_status,
    same,
    verdict_status,
)
from kfarm_operator.podmirrors import PodMirrors
from kfarm_operator.release import Gates
from kfarm_operator.runner import TwinFailed
from kfarm_operator.views import NodeView

PLANS = kfarm_resource("placementplans")
STEPS = 12
MIN_HOLD_S = 2.0
MAX_HOLD_S = 300.0
CALM_PAUSES = 10
CALM_S = 600.0
"""Between simulations of a plan. Inputs that flap come again as soon as a pause is over, and double
it; a plan that was left alone for ten of its pauses, or ten minutes, begins anew, so that faults
minutes apart are each answered at once.
"""
_LOG = logging.getLogger(__name__)
Key = tuple[str, str]


class PlanReconciler:
    """Brings plans to a verdict and their pods to the validated nodes, under the gate account."""

    def __init__(
        self,
        client: KubeClient,
        index: Index,
        nodes: Mirror[NodeView],
        pods: PodMirrors,
        runner: Runner,
        threads: ThreadPoolExecutor,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._index = index
        self._nodes = nodes
        self._pods = pods
        self._runner = runner
        self._gates = Gates(client, pods, threads)
        self._clock = clock
        self._ledgers = Ledgers(client, index)
        self._events = Events(client)
        self._holds: dict[Key, tuple[datetime, float]] = {}
        self._wrote: dict[Key, str] = {}
        self.interrupted: Callable[[Key], bool] = lambda _: False
        self.gate_faults: Callable[[], tuple[str, ...]] = tuple
        self.told: Callable[[Decision | Verdict], None] = lambda _: None

    async def reconcile(self, key: Key) -> float | None:
        """Take steps for one plan until only a report is left."""
        for _ in range(STEPS):
            plan, body = await self._in_thread(self._read, key)
            if plan is None or body is None:
                await self._in_thread(self._forget, key)
                return None
            observed, decision = await self._in_thread(self._decide, key, plan)
            try:
                done, again_s = await self._apply(key, observed, decision, body)
            except LostRace as error:
                _LOG.info("%s/%s lost a race: %s", *key, error)
                await self.collect()
                continue
            except ApiError as error:
                if not error.conflict:
                    raise
                _LOG.debug("%s/%s changed meanwhile: %s", *key, error)
                continue
            if done:
                return again_s
        return 0.05

    def is_own(self, plan: PlacementPlan) -> bool:
        """Whether the plan stands as it was last written here; then there is nothing new in it."""
        key = (plan.metadata.namespace or "", plan.metadata.name)
        return self._wrote.get(key) == plan.metadata.resource_version

    async def collect(self) -> None:
        """Drop claims whose plan does not exist any more."""
        await self._in_thread(self._collect)

    def _question(self, observed: Observed, survivors: Survivors, epoch: int) -> ValidationRequest:
        """What the twin is asked, with what is foreseen of those who hold devices."""
        pods = [pod for mirror in self._pods.all() for pod in mirror.values()]
        return build_request(foresee(observed, self._index, pods), survivors, epoch)

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, work, *args)

    def _read(self, key: Key) -> tuple[PlacementPlan | None, dict[str, Any] | None]:
        body = self._client.get(PLANS, key[1], key[0])
        if body is None or "deletionTimestamp" in body["metadata"]:
            return None, None
        plan = self._index.put(body)
        return (plan, body) if isinstance(plan, PlacementPlan) else (None, None)

    def _decide(self, key: Key, plan: PlacementPlan) -> tuple[Observed, Decision]:
        """In a thread: on a large farm this takes a while, and the event loop must go on."""
        observed = self._observe(key, plan)
        step = decide(observed)
        if isinstance(step, Assign | Release):
            step = while_shut(step, self.gate_faults())
        return observed, step

    def _observe(self, key: Key, plan: PlacementPlan) -> Observed:
        farms = {(ref.kind, ref.name) for ref in plan.spec.farms}
        nodes = [
            node for farm in farms for node in self._nodes.where("farm", farm) if not node.deleting
        ]
        hold = self._holds.get(key)
        return assemble(
            plan,
            self._index,
            nodes,
            self._pods.of_plan(key),
            self._pods.usages(nodes, but=key),
            self._clock(),
            hold[0] if hold else None,
        )

    async def _apply(
        self, key: Key, observed: Observed, decision: Decision, body: dict[str, Any]
    ) -> tuple[bool, float | None]:
        """Carry out one step; returns whether it was the last, and when to look again."""
        match decision:
            case Simulate():
                return await self._simulate(key, observed, decision)
            case Evict():
                await self._in_thread(self._evict, observed, decision)
                return True, 1.0
            case Assign():
                wanted = assigned_status(observed, decision.pairs)
                await self._in_thread(self._write, observed, wanted)
                return False, None
            case Release():
                lifts = [(pod, host) for _, pod, host in decision.pairs]
                await self._in_thread(self._gates.lift, lifts)
                self.told(decision)
                return False, None
            case Wait() | Report():
                wanted = report_status(observed, decision)
                if not same(body.get("status"), wanted):
                    await self._in_thread(self._write, observed, wanted)
                    await self._in_thread(self._announce, observed, wanted)
                await self._in_thread(self._afterwards, observed, decision)
                return True, decision.again_s

    async def _simulate(
        self, key: Key, observed: Observed, decision: Simulate
    ) -> tuple[bool, float | None]:
        survivors = await self._in_thread(find_survivors, observed)
        request = await self._in_thread(self._question, observed, survivors, decision.epoch)
        _LOG.info(
            "%s/%s: epoch %d: %s",
            *key,
            decision.epoch,
            decision.why,
            extra=described(observed, decision.epoch),
        )
        verdict, attempts = await self._ask(key, observed, request, decision.attempts)
        if verdict is None:
            return True, 0.0
        self._hold(key)
        await self._in_thread(
            self._record, key, observed, verdict, survivors, decision.epoch, attempts
        )
        return False, None

    async def _ask(
        self, key: Key, observed: Observed, request: ValidationRequest, attempts: int
    ) -> tuple[Verdict | None, int]:
        """The twin's verdict; Inconclusive where it failed; None where it became pointless."""

        def pointless() -> bool:
            return self.interrupted(key) and self._superseded(key, observed.plan)

        try:
            verdict = await ask(self._runner, request, pointless)
        except TwinFailed as error:
            return _inconclusive(request, error.reason, error.message), attempts + 1
        except InputError as error:
            return _inconclusive(request, "BadInput", str(error)), 0
        if verdict is None:
            _LOG.info("%s/%s was edited or deleted; its simulation is dropped", *key)
        return verdict, 0

    def _superseded(self, key: Key, plan: PlacementPlan) -> bool:
        latest = self._index.plan(*key)
        return (
            latest is None
            or latest.metadata.uid != plan.metadata.uid
            or latest.metadata.generation != plan.metadata.generation
        )

    def _hold(self, key: Key) -> None:
        """Each simulation soon after another doubles the pause before the next."""
        now = self._clock()
        self._holds[key] = next_hold(self._holds.get(key), now)

    def _record(
        self,
        key: Key,
        observed: Observed,
        verdict: Verdict,
        survivors: Survivors,
        epoch: int,
        attempts: int,
    ) -> None:
        """Claim the nodes, then write the verdict; both by compare-and-swap."""
        now = self._clock()
        expires = expiry(observed, now)
        wanted = verdict_status(
            observed, verdict, survivors, epoch=epoch, attempts=attempts, expires=expires, now=now
        )
        if verdict.verdict == "Approved":
            self._ledgers.claim(
                lambda: self._observe(key, observed.plan),
                seats_of(observed, verdict.placements),
                epoch=epoch,
                digest=verdict.inputs_digest,
                expires_at=wanted["expiresAt"],
            )
        else:
            self._ledgers.withdraw(observed.plan.metadata.uid or "", list(observed.farms))
        self._write(observed, wanted)
        self.told(verdict)
        approved = verdict.verdict == "Approved"
        self._events.post(
            observed.plan, "Normal" if approved else "Warning", verdict.verdict, verdict.message
        )

    def _write(self, observed: Observed, status: dict[str, Any]) -> None:
        meta = observed.plan.metadata
        body = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": status,
        }
        answer = self._client.patch(PLANS, meta.name, body, namespace=meta.namespace, sub="status")
        self._wrote[meta.namespace or "", meta.name] = answer["metadata"]["resourceVersion"]
        self._index.put(answer)

    def _announce(self, observed: Observed, wanted: dict[str, Any]) -> None:
        """Events for what turned since the last status; verdicts have their own."""
        before = observed.plan.status.conditions if observed.plan.status else ()
        for turned in transitions(before, wanted["conditions"]):
            good = turned.status == "True"
            if turned.type == "Ready" or (turned.type == "Released" and good):
                kind: Literal["Normal", "Warning"] = "Normal" if good else "Warning"
                self._events.post(observed.plan, kind, turned.reason, turned.message)

    def _evict(self, observed: Observed, decision: Evict) -> None:
        for pod in decision.pods:
            self._client.evict(pod.namespace, pod.name, pod.uid)
        message = f"evicted {len(decision.pods)} unbound pods: {decision.why}"
        self._events.post(observed.plan, "Warning", "Evicted", message)

    def _afterwards(self, observed: Observed, decision: Wait | Report) -> None:
        """Say once what is amiss with single pods, and let go of what is no longer needed."""
        if isinstance(decision, Report):
            for pod in decision.surplus:
                message = f"pod {pod.name}: all slots of workload {pod.workload} are taken"
                self._events.once(observed.plan, pod.uid, "Warning", "SurplusPod", message)
            for pod, difference in decision.mismatched:
                message = f"pod {pod.name} stays gated: it {difference}"
                self._events.once(observed.plan, pod.uid, "Warning", "PodDiffers", message)
            self._shrink_claims(observed)
        if observed.placed_by_kueue and any(observed.claim(farm) for farm in observed.farms):
            self._ledgers.withdraw(observed.plan.metadata.uid or "", list(observed.farms))

    def _shrink_claims(self, observed: Observed) -> None:
        """A plan whose pods have all ended holds nothing any more."""
        slots = observed.slots
        ended = bool(slots) and all(view.vacated for view in slots)
        if ended and not any(pod.live for pod in observed.pods):
            self._ledgers.withdraw(observed.plan.metadata.uid or "", list(observed.farms))

    def _forget(self, key: Key) -> None:
        self._holds.pop(key, None)
        self._wrote.pop(key, None)
        self._index.remove(
            {"kind": "PlacementPlan", "metadata": {"namespace": key[0], "name": key[1]}}
        )
        self._collect()

    def _collect(self) -> None:
        """Drop claims of plans that are gone, after asking the API server for each."""
        for farm in self._index.farms():
            name = (farm.kind, farm.metadata.name)
            ledger = self._index.ledger(f"{farm.kind.lower()}.{farm.metadata.name}")
            for claim in ledger.spec.claims if ledger else ():
                if claim.workload is not None:
                    continue
                known = self._index.plan(claim.namespace, claim.plan)
                if known is not None and known.metadata.uid == claim.uid:
                    continue
                body = self._client.get(PLANS, claim.plan, claim.namespace)
                if body is None or body["metadata"]["uid"] != claim.uid:
                    self._ledgers.withdraw(claim.uid, [name])


def described(observed: Observed, epoch: int | None = None) -> dict[str, Any]:
    """Fields of a log line about a plan."""
    meta = observed.plan.metadata
    return about(
        "PlacementPlan", meta.namespace, meta.name,
        uid=meta.uid, generation=meta.generation, epoch=epoch,
    )  # fmt: skip


def next_hold(last: tuple[datetime, float] | None, now: datetime) -> tuple[datetime, float]:
    """Until when a plan is not simulated again, and for how long that is [s]."""
    pause = MIN_HOLD_S
    if last is not None:
        until, before = last
        calm = (now - until).total_seconds() > min(CALM_S, CALM_PAUSES * before)
        pause = MIN_HOLD_S if calm else min(MAX_HOLD_S, before * 2)
    return now + timedelta(seconds=pause), pause


def _inconclusive(request: ValidationRequest, reason: str, message: str) -> Verdict:
    return Verdict(
        verdict="Inconclusive",
        reason=reason,
        message=message,
        futures=0,
        seed=request.effective_seed,
        horizon=request.policy.spec.simulation.horizon,
        inputs_digest=request.digest(),
    )
