"""Before a drill begins: what it would hit, what the twin says, and whether it may. Pure."""

from __future__ import annotations

from datetime import timedelta

from kfarm_api.drill import HEAT, DrillFault
from kfarm_api.drill_status import (
    DrillMetric,
    ExpectationResult,
    FailureDrillStatus,
    FaultProgress,
    FaultTargets,
)
from kfarm_api.drill_targets import choose

from kfarm_operator.drills import status as said
from kfarm_operator.drills.clock import moment, read_moment, seconds, whole
from kfarm_operator.drills.inject import over_limits, unhealthy
from kfarm_operator.drills.locks import lock_names
from kfarm_operator.drills.measure import result
from kfarm_operator.drills.observe import unit_of, wanted_pods
from kfarm_operator.drills.observe import whole as all_run
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.steps import Decision, Finalize, Predict, Report, Rest, TakeLock

AGAIN_S = 5.0
CLEARED_LISTS = ("targets", "metrics", "effects", "assumptions", "expectations")


def before(s: Situation) -> Decision:
    """The next step of a drill that has not begun."""
    if s.drill.spec.abort:
        return Report(
            said.phase(
                s, "Completed", "Aborted", "aborted before it began",
                verdict="Aborted", completed_at=moment(s.now),
            )
        )  # fmt: skip
    if s.drill.spec.suspend:
        return Rest(said.phase(s, "Suspended", "Suspended", "spec.suspend is set"))
    for check in (_missing, _choose, _predict, _twin_only, _dry, _may, _take):
        step = check(s)
        if step is not None:
            return step
    return Report(_start(s))


def _pending(s: Situation, reason: str, message: str, **update: object) -> Rest:
    return Rest(said.phase(s, "Pending", reason, message, **update), AGAIN_S)


def _missing(s: Situation) -> Decision | None:
    farm = s.drill.spec.farm
    if s.farm is None:
        return _pending(s, "FarmNotFound", f"there is no {farm.kind} {farm.name}: create it")
    return None


def _choose(s: Situation) -> Decision | None:
    """Choose the targets, once per generation; again only where one can no longer be hit."""
    if _chosen(s) or s.farm is None:
        return None
    choice = choose(s.drill.spec, s.farm, list(s.candidates))
    cleared: dict[str, object] = {key: [] for key in CLEARED_LISTS} | {"inputs_digest": None}
    if choice.problems:
        return _pending(s, "NoTargets", "; ".join(choice.problems), **cleared)
    return Report(
        said.phase(
            s, "Predicting" if needs_prediction(s) else "Pending", "TargetsChosen",
            f"{_told(choice.targets)}", **{**cleared, "targets": list(choice.targets)},
        )
    )  # fmt: skip


def _told(targets: tuple[FaultTargets, ...]) -> str:
    return "; ".join(
        f"fault {one.fault} would hit {', '.join(one.nodes[:8]) or ', '.join(one.domains[:8])}"
        + (f" and {len(one.nodes) - 8} more" if len(one.nodes) > 8 else "")
        if one.nodes or one.domains
        else f"fault {one.fault} hits no node"
        for one in targets
    )


def _chosen(s: Situation) -> bool:
    names = [fault.name for fault in s.drill.spec.faults]
    if [one.fault for one in s.status.targets] != names:
        return False
    if s.status.observed_generation != s.drill.metadata.generation:
        return False
    if s.status.phase == "DryRun":
        return True
    willing = {one.name for one in s.candidates if one.consents}
    return s.struck <= willing


def needs_prediction(s: Situation) -> bool:
    """Whether the twin is asked: always but in mode Cluster, where only heat needs it."""
    heat = any(fault.action in HEAT for fault in s.drill.spec.faults)
    return s.drill.spec.mode != "Cluster" or heat


def _predict(s: Situation) -> Decision | None:
    if not needs_prediction(s) or s.status.inputs_digest is not None or not s.asks_twin:
        return None
    return Predict(said.phase(s, "Predicting", "Predicting", "the twin plays the drill"))


def _twin_only(s: Situation) -> Decision | None:
    """Mode Twin: the verdict is the twin's."""
    if s.drill.spec.mode != "Twin":
        return None
    if not s.asks_twin:
        return _pending(s, "NoTwin", "this operator cannot ask the twin")
    known = {one.name: one for one in s.status.metrics}
    asked = [one.model_copy(update={"source": "Predicted"}) for one in s.drill.spec.expectations]
    results = [result(one, known, "Unknown") for one in asked]
    failed = [one.message for one in results if one.result != "Passed"]
    good = "all expectations hold in the twin" if results else "predicted; nothing was expected"
    verdict = "Failed" if failed else "Passed"
    return Report(
        said.phase(
            s, "Completed", "ExpectationsFailed" if failed else "Passed",
            "; ".join(failed) or good, verdict=verdict, expectations=results,
            completed_at=moment(s.now),
        )
    )  # fmt: skip


def _dry(s: Situation) -> Decision | None:
    """Not confirmed: say what would be done."""
    if s.armed:
        return None
    name, confirm = s.settings.cluster_name, s.drill.spec.confirm
    would = _told(tuple(s.status.targets))
    if not name:
        reason, why = "DrillsOff", "this installation has no drills.clusterName"
    elif confirm is None:
        reason, why = "NotConfirmed", f"nothing is touched: set spec.confirm to {name}"
    else:
        reason, why = "WrongCluster", f"spec.confirm is {confirm}, but this cluster is {name}"
    # a run of a schedule is over with that, so that the history can be kept short
    done = {"completed_at": s.status.completed_at or moment(s.now)} if s.child else {}
    return Rest(said.phase(s, "DryRun", reason, f"{why}; {would}", **done))


def _may(s: Situation) -> Decision | None:
    """Whether the fences and the state of the cluster let it begin."""
    life = s.drill.spec.limits.time_to_live
    if seconds(life) > s.settings.max_duration_s:
        most = f"{s.settings.max_duration_s:g}s"
        return _pending(
            s, "LimitsExceeded", f"timeToLive {life} is longer than the {most} of the installation"
        )
    longest = max(_lasts(s, fault) for fault in s.drill.spec.faults)
    if longest > seconds(life):
        return _pending(
            s, "LimitsExceeded",
            f"its faults last {longest:g} s, longer than timeToLive {life}: raise it",
        )  # fmt: skip
    limit = over_limits(s)
    if limit is not None:
        return _pending(s, "LimitsExceeded", limit)
    if s.stopped:
        return _pending(s, "KillSwitch", "the ConfigMap kfarm-drills-off is there; delete it")
    if s.consent is False:
        where = s.drill.metadata.namespace
        return _pending(
            s, "NoConsent", f"namespace {where} does not carry the label kfarm.dev/drill=allowed"
        )
    sick = unhealthy(s, frozenset())
    if sick is None:
        sick = unhealthy(s, s.struck)
    return _pending(s, "MinHealthy", sick) if sick is not None else _expected(s)


def _lasts(s: Situation, fault: DrillFault) -> float:
    """When a fault without trigger is over, after the start [s]."""
    turns = 1
    if fault.action == "Drain" and fault.at_once:
        nodes = len(s.targeted.get(fault.name, ()))
        turns = -(-nodes // fault.at_once)
    return seconds(fault.at) + max(1, turns) * seconds(fault.duration)


def _expected(s: Situation) -> Decision | None:
    """Expectations at the start keep the drill from beginning."""
    failed = [one.message for one in at_start(s) if one.result == "Failed"]
    return _pending(s, "ExpectationFailed", "; ".join(failed)) if failed else None


def at_start(s: Situation) -> list[ExpectationResult]:
    """How expectations at the start come out as things stand."""
    pending = max(0, wanted_pods(s) - sum(pod.running for pod in s.pods))
    healthy = sum(node.healthy for node in s.nodes.values() if node.cluster in s.clusters)
    now = {"pods_pending_max": pending, "healthy_nodes_min": healthy, "nodes_down_max": 0}
    known = {one.name: one for one in s.status.metrics}
    found = []
    for one in s.drill.spec.expectations:
        if one.when != "Start":
            continue
        metric = known.get(one.metric) or _metric(one.metric)
        if one.metric in now:
            metric = metric.model_copy(update={"observed": str(now[one.metric])})
        found.append(result(one, {one.metric: metric}, "Unknown"))
    return found


def _metric(name: str) -> DrillMetric:
    return DrillMetric(name=name, unit=unit_of(name))


def _take(s: Situation) -> Decision | None:
    """Finalizer first, then the locks: nothing is touched without either."""
    if not s.finalized:
        return Finalize(on=True)
    for name in lock_names(s):
        lock = s.locks.get(name)
        if lock is None or lock.stale:
            return TakeLock(name, lock)
        if lock.drill != s.key:
            return Rest(
                said.phase(
                    s, "Waiting", "DomainBusy",
                    f"drill {lock.drill} holds lock {name}: one drill at a time",
                ),
                AGAIN_S,
            )  # fmt: skip
    return None


def _start(s: Situation) -> FailureDrillStatus:
    until = read_moment(whole(s.now + timedelta(seconds=seconds(s.drill.spec.limits.time_to_live))))
    line = said.entry(s.now, "Started", message=_told(tuple(s.status.targets)))
    ready = "" if all_run(s) else "; not all pods of its plans run as yet"
    return said.phase(
        s, "Running", "Running", f"faults are made until {whole(until)} at the latest{ready}",
        started_at=moment(s.now), until=whole(until),
        domain=", ".join(sorted(s.clusters))[:63] or None,
        faults=[FaultProgress(fault=f.name, state="Waiting") for f in s.drill.spec.faults],
        timeline=said.told(s.status.timeline, line),
        expectations=at_start(s),
    )  # fmt: skip
