"""The finding of a run of failures in a few sentences."""

from __future__ import annotations

from kfarm_twin.figures import brief_span, digits
from kfarm_twin.fleetrun_result import PLANNED, FleetRun
from kfarm_twin.request import MetricSummary

_CAUSES = {
    "down": "nodes that are down",
    "rework": "work done twice",
    "detection": "waiting until a failure is found",
    "waiting": "waiting for a node",
    "restart": "restarts",
    "saves": "saves",
    "slow": "slow members",
}


def headline(run: FleetRun) -> list[str]:
    """What a person should know first."""
    lines = [_of_gang(run)] if run.inputs.gang is not None else []
    return [*lines, _of_fleet(run), _of_outages(run), *_of_losses(run)]


def _of_gang(run: FleetRun) -> str:
    gang, ettr = run.inputs.gang, run.metrics["ettr"]
    nodes = gang.nodes if gang else 0
    stops, mtti = run.metrics["gang_interruptions"], run.metrics["mtti"]
    recover = run.metrics["time_to_recover_mean"]
    text = (
        f"A gang of {nodes:,} nodes turns {percent(ettr.mean)} of its time into retained work "
        f"(ETTR; 5 % of futures stay below {percent(ettr.p05)})"
    )
    if not stops.mean:
        return f"{text}: nothing stops it."
    span = brief_span(run.horizon_s)
    return (
        f"{text}: it is stopped {number(stops.mean)} times in {span}, every "
        f"{brief_span(mtti.mean or 0.0)}, and is back after {brief_span(recover.mean or 0.0)}."
    )


def _of_fleet(run: FleetRun) -> str:
    most = run.metrics["nodes_down_max"]
    half, often, rarely = (number(_down(run, share)) for share in (0.50, 0.95, 0.99))
    return (
        f"Of {run.inputs.nodes:,} nodes at most {half} are down at once during half of the time, "
        f"{often} during 95 % of it and {rarely} during 99 %; at the worst moment of a future "
        f"{number(most.mean)} (in 5 % of futures {number(most.p95)} or more). "
        f"{percent(run.metrics['availability'].mean, 2)} of all node time is up."
    )


def _down(run: FleetRun, share: float) -> float:
    """Least number of nodes that were down at once, or fewer, for `share` of all time.

    Of a fleet whose distribution is kept in bins, the mean over the futures instead.
    """
    reached, found = 0.0, run.nodes_down_distribution
    if len(found.nodes_down) > 1 and found.nodes_down[1] > 1:
        return run.metrics[f"nodes_down_p{100 * share:.0f}"].mean or 0.0
    for count, part in zip(found.nodes_down, found.share, strict=True):
        reached += part
        if reached >= share - 1e-9:
            return count
    return found.nodes_down[-1]


def _of_outages(run: FleetRun) -> str:
    count, mean = run.metrics["node_failures"], run.metrics["outage_mean"]
    if not count.mean:
        return f"No node fails in {brief_span(run.horizon_s)}."
    median, late = run.metrics["outage_p50"], run.metrics["outage_p95"]
    hit, wait = run.metrics["nodes_failed"], run.metrics["repair_wait_mean"]
    waits = (
        f", {brief_span(wait.mean)} of it waiting for a crew or a part"
        if wait.mean and wait.mean >= 1.0
        else ""
    )
    return (
        f"{number(count.mean)} failures hit {number(hit.mean)} nodes in "
        f"{brief_span(run.horizon_s)}; an outage takes {brief_span(mean.mean or 0.0)} on average"
        f"{waits} (median {brief_span(median.mean or 0.0)}, 5 % more than "
        f"{brief_span(late.mean or 0.0)})."
    )


def _of_losses(run: FleetRun) -> list[str]:
    lost = run.lost_accelerator_hours
    total = sum(lost.by_cause.values())
    if total <= 0.0:
        return []
    ranked = sorted(lost.by_cause.items(), key=lambda item: -item[1])
    named = [
        f"{_CAUSES[cause]} {percent(hours / total, 0)}"
        for cause, hours in ranked[:3]
        if hours >= 0.01 * total
    ]
    costs = {name: sum(causes.values()) for name, causes in lost.by_class.items()}
    blamed = [(name, hours) for name, hours in costs.items() if name != PLANNED]
    worst = ""
    if blamed:
        name, hours = max(blamed, key=lambda item: item[1])
        worst = f" Of the failures {name} costs most ({percent(hours / total, 0)})."
    return [f"{digits(total)} accelerator-hours are lost: {', '.join(named)}.{worst}"]


def percent(share: float | None, places: int = 1) -> str:
    """A share as text."""
    return "no" if share is None else f"{100 * share:.{places}f} %"


def number(value: float | None) -> str:
    """A count or a mean of counts in three digits."""
    return "no" if value is None else digits(float(f"{value:.3g}"))


def spread(figure: MetricSummary) -> str:
    """Mean with its 5 and 95 % futures, as plain numbers."""
    return f"{number(figure.mean)} ({number(figure.p05)} … {number(figure.p95)})"
