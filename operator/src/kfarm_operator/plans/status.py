"""Status of a plan, whole, as it should stand. Pure functions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from kfarm_api.plan import AssumptionResult, PlacementPlanStatus, Slot, WorkloadPlacement
from kfarm_api.units import parse_duration_ns
from kfarm_twin.request import Verdict

from kfarm_operator.conditions import Status, condition, shorten, timestamp
from kfarm_operator.plans.decide import Report, Wait
from kfarm_operator.plans.observe import Observed, SlotView
from kfarm_operator.plans.request import Survivors
from kfarm_operator.views import PodView

JSON = dict[str, Any]
WAITING = (
    "Revalidating",
    "GateDegraded",
    "WaitingForPods",
    "PolicyNotFound",
    "FarmNotFound",
    "ProfileNotFound",
    "FarmNotReady",
)
"""Reasons why an approved plan releases nothing for now."""


def verdict_status(
    observed: Observed,
    verdict: Verdict,
    survivors: Survivors,
    *,
    epoch: int,
    attempts: int,
    expires: datetime,
    now: datetime,
) -> JSON:
    """Status that carries a new verdict; survivors keep their slots whatever it says."""
    approved = verdict.verdict == "Approved"
    status = PlacementPlanStatus(
        observed_generation=observed.plan.metadata.generation,
        verdict=verdict.verdict,
        reason=verdict.reason,
        epoch=epoch,
        inputs_digest=verdict.inputs_digest,
        specs_digest=observed.specs_digest,
        message=shorten(verdict.message),
        decided_at=timestamp(now),
        expires_at=timestamp(expires) if approved else None,
        futures=verdict.futures,
        seed=verdict.seed,
        worst_future=verdict.worst_future,
        attempts=attempts or None,
        checks=verdict.checks,
        survives=verdict.survives,
        assumptions=_assumptions(verdict),
        placements=_placements(observed, verdict, survivors),
    )
    return finish(observed, status, verdict.reason, verdict.message)


def _assumptions(verdict: Verdict) -> AssumptionResult | None:
    """What the verdict rests on: inputs that decide it, or whose break-even was sought."""
    found = verdict.assumptions
    if found is None:
        return None
    kept = [entry for entry in found.inputs if entry.sought or entry.flips]
    return found.model_copy(update={"inputs": kept})


def expiry(observed: Observed, now: datetime) -> datetime:
    """When a verdict given now runs out, by the policy's time to live."""
    ttl = observed.policy.spec.time_to_live if observed.policy else "0s0ms"
    return now + timedelta(microseconds=parse_duration_ns(ttl) // 1000)


def _placements(
    observed: Observed, verdict: Verdict, survivors: Survivors
) -> list[WorkloadPlacement]:
    if verdict.verdict != "Approved":
        return _only_survivors(observed, survivors)
    return [
        WorkloadPlacement(
            workload=placement.workload,
            slots=[
                _slot(observed, slot.node, survivors.get((placement.workload, index)))
                for index, slot in enumerate(placement.slots)
            ],
        )
        for placement in verdict.placements
    ]


def _only_survivors(observed: Observed, survivors: Survivors) -> list[WorkloadPlacement]:
    placements: dict[str, list[Slot]] = {}
    for (workload, _), pod in sorted(survivors.items(), key=lambda item: item[0]):
        node = pod.node or observed.hostnames.get(pod.pinned or "", "")
        placements.setdefault(workload, []).append(_slot(observed, node, pod))
    return [WorkloadPlacement(workload=name, slots=slots) for name, slots in placements.items()]


def _slot(observed: Observed, node: str, pod: PodView | None) -> Slot:
    seen = observed.nodes.get(node)
    return Slot(
        node=node,
        node_digest=seen.fingerprint if seen else None,
        pod=pod.name if pod else None,
        pod_uid=pod.uid if pod else None,
    )


def assigned_status(observed: Observed, pairs: tuple[tuple[SlotView, PodView], ...]) -> JSON:
    """Status in which pods have been given slots, before any gate is lifted."""
    status = observed.plan.status or PlacementPlanStatus()
    given = {(view.workload, view.index): pod for view, pod in pairs}
    placements = [
        WorkloadPlacement(
            workload=placement.workload,
            slots=[
                slot.model_copy(update={"pod": pod.name, "pod_uid": pod.uid})
                if (pod := given.get((placement.workload, index)))
                else slot
                for index, slot in enumerate(placement.slots)
            ],
        )
        for placement in status.placements
    ]
    changed = status.model_copy(update={"placements": placements})
    return finish(observed, changed, "Releasing", f"{len(pairs)} pods have been given their nodes")


def report_status(observed: Observed, report: Report | Wait) -> JSON:
    """Status as it stands, with counts and conditions brought up to date."""
    if observed.placed_by_kueue:
        return _described(observed, report)
    status = observed.plan.status or PlacementPlanStatus()
    return finish(observed, status, report.reason, report.message)


def _described(observed: Observed, report: Report | Wait) -> JSON:
    """Status of a plan that only describes behaviour: no verdict, no slots, counts of its pods."""
    pods = [pod for pod in observed.pods if pod.live]
    generation = observed.plan.metadata.generation
    status = PlacementPlanStatus(
        observed_generation=generation,
        released=sum(pod.released for pod in pods),
        bound=sum(pod.node is not None for pod in pods),
    )
    body = status.model_dump(by_alias=True, mode="json", exclude={"conditions"})
    before = observed.plan.status.conditions if observed.plan.status else []
    all_bound = bool(pods) and status.bound == len(pods)
    counts = f"{status.bound} of {len(pods)} pods are bound, {status.released} released"
    ready: Status = "False" if isinstance(report, Wait) else "True"
    rows: tuple[tuple[str, Status, str, str], ...] = (
        ("Ready", ready, report.reason, report.message),
        ("Validated", "Unknown", "PlacedByKueue", report.message),
        (
            "Released",
            "True" if all_bound else "False",
            "AllBound" if all_bound else "NotAllBound",
            counts,
        ),
    )
    body["conditions"] = [
        condition(kind, state, why, text, generation=generation, before=before, now=observed.now)
        for kind, state, why, text in rows
    ]
    return body


def finish(observed: Observed, status: PlacementPlanStatus, reason: str, message: str) -> JSON:
    """Add counts and conditions; explicit nulls clear what an earlier verdict left."""
    pods = {pod.uid: pod for pod in observed.pods if pod.live}
    slots = [slot for placement in status.placements for slot in placement.slots]
    held = [pods[slot.pod_uid] for slot in slots if slot.pod_uid in pods]
    counted = status.model_copy(
        update={
            "slots": len(slots),
            "released": sum(pod.released for pod in held),
            "bound": sum(pod.node is not None for pod in held),
        }
    )
    body = counted.model_dump(by_alias=True, mode="json", exclude={"conditions"})
    for name in ("checks", "survives", "placements"):
        body[name] = getattr_manifest(counted, name)
    body["assumptions"] = counted.assumptions.as_manifest() if counted.assumptions else None
    body["conditions"] = _conditions(observed, counted, reason, message)
    return body


def getattr_manifest(status: PlacementPlanStatus, name: str) -> list[JSON]:
    """A list of models as it stands in YAML."""
    return [item.as_manifest() for item in getattr(status, name)]


def _conditions(
    observed: Observed, status: PlacementPlanStatus, reason: str, message: str
) -> list[JSON]:
    generation = observed.plan.metadata.generation
    before = observed.plan.status.conditions if observed.plan.status else []
    current = status.observed_generation == generation
    approved = current and status.verdict == "Approved"
    validated: Status = "Unknown"
    if current and status.verdict in ("Approved", "Rejected"):
        validated = "True" if approved else "False"
    waits = reason in WAITING
    ready: Status = "True" if approved and not waits else "False"
    all_bound = approved and status.slots and status.bound == status.slots
    released: Status = "True" if all_bound else "False"
    rows = (
        ("Ready", ready, _reason(reason), message),
        ("Validated", validated, status.verdict or "Pending", message),
        ("Released", released, "AllBound" if all_bound else "NotAllBound", _counts(status)),
    )
    return [
        condition(kind, state, why, text, generation=generation, before=before, now=observed.now)
        for kind, state, why, text in rows
    ]


def _reason(reason: str) -> str:
    return reason or "Pending"


def _counts(status: PlacementPlanStatus) -> str:
    return f"{status.bound} of {status.slots} slots are bound, {status.released} released"


def same(old: JSON | None, new: JSON) -> bool:
    """Whether a status needs no write: absent and null are the same."""
    return _strip(old or {}) == _strip(new)


def _strip(status: JSON) -> JSON:
    return {key: value for key, value in status.items() if value not in (None, [])}
