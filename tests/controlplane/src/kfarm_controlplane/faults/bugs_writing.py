"""Bugs in what is written, in which order, and under which preconditions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kfarm_operator import release
from kfarm_operator.client import PODS, ApiError, KubeClient
from kfarm_operator.farms import reconcile as farms
from kfarm_operator.plans import claims
from kfarm_operator.plans import reconcile as plans
from kfarm_operator.plans.decide import Assign, Simulate
from kfarm_operator.plans.observe import hostname

HANDLED = "handled"


def created_only() -> None:
    """Remember in the status that a plan was handled, then handle it; once is enough."""
    whole = plans.PlanReconciler._apply

    async def _apply(self: Any, key: Any, observed: Any, decision: Any, body: Any) -> Any:
        status = body.get("status") or {}
        if isinstance(decision, Simulate) and not status.get("verdict"):
            if status.get("message") == HANDLED:
                return True, None
            mark = {"observedGeneration": 0, "message": HANDLED}
            await self._in_thread(self._write, observed, mark)
            observed = replace(observed, plan=self._index.plan(*key))
        return await whole(self, key, observed, decision, body)

    vars_of(plans.PlanReconciler, "_apply", _apply)


def blind_status() -> None:
    """Drop the preconditions of every status of a plan."""
    whole = KubeClient.patch

    def patch(self: Any, resource: Any, name: str, body: Any, **more: Any) -> Any:
        if resource == plans.PLANS:
            body = {key: value for key, value in body.items() if key != "metadata"}
        return whole(self, resource, name, body, **more)

    vars_of(KubeClient, "patch", patch)


def blind_release() -> None:
    """Drop the preconditions of every release."""
    whole = release.release_body

    def release_body(pod: Any, host: Any) -> Any:
        return {"spec": whole(pod, host)["spec"]}

    vars_of(release, "release_body", release_body)


def release_before_verdict() -> None:
    """Lift the gates as soon as the twin has answered."""
    whole = plans.PlanReconciler._record

    def _record(self: Any, key: Any, observed: Any, verdict: Any, *more: Any) -> Any:
        if verdict.verdict == "Approved":
            gated = [pod for pod in self._pods.of_plan(key) if pod.live and pod.gated]
            slots = [slot for p in verdict.placements for slot in p.slots]
            places = [hostname(observed.nodes[slot.node]) for slot in slots]
            self._gates.lift(list(zip(gated, places, strict=False)))
        return whole(self, key, observed, verdict, *more)

    vars_of(plans.PlanReconciler, "_record", _record)


def apply_then_record() -> None:
    """Lift the gates, then write down who got which slot."""
    whole = plans.PlanReconciler._apply

    async def _apply(self: Any, key: Any, observed: Any, decision: Any, body: Any) -> Any:
        if isinstance(decision, Assign):
            hosts = observed.nodes
            lifts = [(pod, hostname(hosts[view.slot.node])) for view, pod in decision.pairs]
            await self._in_thread(self._gates.lift, lifts)
        return await whole(self, key, observed, decision, body)

    vars_of(plans.PlanReconciler, "_apply", _apply)


def conflict_is_done() -> None:
    """Take a conflict for the end of the work on this plan."""
    whole, looked = plans.PlanReconciler._apply, plans.PlanReconciler.reconcile
    done: set[Any] = set()

    async def _apply(self: Any, key: Any, *more: Any) -> Any:
        try:
            return await whole(self, key, *more)
        except ApiError as error:
            if not error.conflict:
                raise
            done.add(key)
            return True, None

    async def reconcile(self: Any, key: Any) -> Any:
        return None if key in done else await looked(self, key)

    vars_of(plans.PlanReconciler, "_apply", _apply)
    vars_of(plans.PlanReconciler, "reconcile", reconcile)


def claim_by_belief() -> None:
    """Write a claim beside all others without counting again what room they leave."""
    whole = KubeClient.patch

    def merged(held: Any, mine: Any, room: Any, now: Any) -> Any:
        del room, now
        return [*(claim for claim in held if claim.uid != mine.uid), mine]

    def patch(self: Any, resource: Any, name: str, body: Any, **more: Any) -> Any:
        if resource == claims.LEDGERS:
            body = {"spec": body["spec"]}
        return whole(self, resource, name, body, **more)

    vars_of(claims, "merged", merged)
    vars_of(KubeClient, "patch", patch)


def evict_by_delete() -> None:
    """Delete pods."""

    def evict(self: Any, namespace: str, pod: str, uid: str) -> None:
        self.delete(PODS, pod, uid=uid, namespace=namespace)

    vars_of(KubeClient, "evict", evict)


def finalizer_first() -> None:
    """Let a farm go, then delete its nodes."""
    whole = farms.FarmReconciler._finalize

    def _finalize(self: Any, farm: Any, body: Any) -> Any:
        kept = [f for f in body["metadata"].get("finalizers") or () if f != farms.FINALIZER]
        self._set_finalizers(body, kept)
        return whole(self, farm, {**body, "metadata": {**body["metadata"], "finalizers": []}})

    vars_of(farms.FarmReconciler, "_finalize", _finalize)


def error_is_verdict() -> None:
    """Take an error of the API server for the twin's answer."""
    whole = plans.PlanReconciler._record

    def _record(self: Any, key: Any, observed: Any, verdict: Any, *more: Any) -> Any:
        try:
            return whole(self, key, observed, verdict, *more)
        except ApiError as error:
            if error.conflict:
                raise
            said = {"verdict": "Inconclusive", "reason": "BadInput", "message": str(error)}
            return whole(self, key, observed, verdict.model_copy(update=said), *more)

    vars_of(plans.PlanReconciler, "_record", _record)


def believes_it_lifted() -> None:
    """Remember a release before it is sent, and never send it again."""
    whole = release.Gates._lift
    lifted: set[str] = set()

    def _lift(self: Any, lift: Any) -> Any:
        uid = lift[0].uid
        if uid in lifted:
            return None
        lifted.add(uid)
        return whole(self, lift)

    vars_of(release.Gates, "_lift", _lift)


def vars_of(owner: Any, name: str, value: Any) -> None:
    """Replace something of the operator; it has to be there."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name}: the bug is to be sown elsewhere")
    setattr(owner, name, value)
