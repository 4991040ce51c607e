"""Bugs in what is believed, remembered and looked at."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import cached_property
from typing import Any

from kfarm_operator import conditions, gate_watch, mirror, service
from kfarm_operator.plans import decide, observe, status
from kfarm_operator.plans import reconcile as plans

from kfarm_controlplane.faults.bugs_writing import blind_status, vars_of

NEVER_S = 3600.0


def nan_passes() -> None:
    """Judge estimates that came out as no number by "fails if it is above its bound"."""
    whole = vars(plans)["ask"]

    async def ask(*given: Any) -> Any:
        verdict = await whole(*given)
        if verdict is None or verdict.reason != "ChecksFailed":
            return verdict
        bound, estimate = 1.0, float("nan")
        word = "Failed" if estimate > bound else "Passed"
        checks = [
            c.model_copy(update={"estimate": str(estimate), "result": word}) for c in verdict.checks
        ]
        said = {"verdict": "Approved", "reason": "AllChecksPassed", "checks": checks}
        return verdict.model_copy(update=said)

    vars_of(plans, "ask", ask)


def no_relist() -> None:
    """Watch alone."""
    begin = mirror.Mirror.__init__

    def __init__(self: Any, *given: Any, **more: Any) -> None:
        begin(self, *given, **more)
        self._cadence = mirror.Cadence(relist_s=NEVER_S, silence_s=NEVER_S)

    async def _relist(self: Any) -> None:
        del self
        await asyncio.sleep(NEVER_S)

    vars_of(mirror.Mirror, "__init__", __init__)
    vars_of(service.Service, "_relist", _relist)


def edit_unseen() -> None:
    """Take any verdict for one on the plan as it stands."""
    whole = vars(plans)["decide"]

    def decide_anyway(observed: Any) -> Any:
        given = observed.plan.status
        if given is not None and given.verdict is not None:
            now = {
                "observed_generation": observed.plan.metadata.generation,
                "specs_digest": observed.specs_digest,
            }
            seen = observed.plan.model_copy(update={"status": given.model_copy(update=now)})
            observed = replace(observed, plan=seen)
        return whole(observed)

    def holds(observed: Any, given: Any, free: Any) -> bool:
        del observed, given, free
        return True

    vars_of(plans, "decide", decide_anyway)
    vars_of(decide, "_claims_hold", holds)


def pod_by_name() -> None:
    """Find the pods of slots by name."""

    def slots(self: Any) -> Any:
        live = {pod.name: pod for pod in self.pods if pod.live}
        given = self.plan.status
        return [
            observe.SlotView(p.workload, index, slot, live.get(slot.pod or ""))
            for p in (given.placements if given else ())
            for index, slot in enumerate(p.slots)
        ]

    found = cached_property(slots)
    found.__set_name__(observe.Observed, "slots")
    vars_of(observe.Observed, "slots", found)


def epoch_from_memory() -> None:
    """Count epochs in this process."""
    whole = plans.PlanReconciler._simulate
    counted: Counter[Any] = Counter()

    async def _simulate(self: Any, key: Any, observed: Any, decision: Any) -> Any:
        mine = (key, observed.plan.metadata.uid)
        epoch = counted[mine]
        done = await whole(self, key, observed, replace(decision, epoch=epoch))
        counted[mine] += 1
        return done

    vars_of(plans.PlanReconciler, "_simulate", _simulate)


def trusts_its_cache() -> None:
    """Read plans from the index where they are known."""
    whole = plans.PlanReconciler._read

    def _read(self: Any, key: Any) -> Any:
        known = self._index.plan(*key)
        if known is None:
            return whole(self, key)
        given = known.status.model_dump(by_alias=True, mode="json") if known.status else {}
        return known, {"metadata": {}, "status": given}

    vars_of(plans.PlanReconciler, "_read", _read)
    blind_status()


def claims_kept() -> None:
    """Never look for claims whose plan is gone."""

    def _collect(self: Any) -> None:
        del self

    vars_of(plans.PlanReconciler, "_collect", _collect)


def restless() -> None:
    """Forget since when a condition has stood."""
    whole = conditions.condition

    def condition(*given: Any, **more: Any) -> Any:
        return whole(*given, **{**more, "before": ()})

    vars_of(status, "condition", condition)


def gate_ignored() -> None:
    """Believe that the gate is shut."""

    def before_release(self: Any) -> tuple[str, ...]:
        del self
        return ()

    vars_of(gate_watch.GateWatch, "before_release", before_release)
