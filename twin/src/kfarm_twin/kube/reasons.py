"""Why nodes are refused, in the words of kube-scheduler 1.36."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfarm_twin.kube.profile import Profile
from kfarm_twin.policy import kube_columns as k

if TYPE_CHECKING:
    from kfarm_twin.kube.driver import Scheduler

_WORDS = {
    k.UNSCHEDULABLE: ("NodeUnschedulable", "node(s) were unschedulable"),
    k.TAINTED: ("TaintToleration", "node(s) had untolerated taint(s)"),
    k.NOT_ENFORCED: ("NodeAffinity", "node(s) didn't match scheduler-enforced node affinity"),
    k.NOT_SELECTED: ("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
    k.PORT_TAKEN: ("NodePorts", "node(s) didn't have free ports for the requested pod ports"),
    k.NO_DOMAIN: (
        "PodTopologySpread",
        "node(s) didn't match pod topology spread constraints (missing required label)",
    ),
    k.SKEWED: ("PodTopologySpread", "node(s) didn't match pod topology spread constraints"),
    k.NOT_NEAR: ("InterPodAffinity", "node(s) didn't match pod affinity rules"),
    k.NOT_APART: ("InterPodAffinity", "node(s) didn't match pod anti-affinity rules"),
    k.KEPT_AWAY: ("InterPodAffinity", "node(s) didn't satisfy existing pods anti-affinity rules"),
    k.NOT_NAMED: ("NodeAffinity", "node(s) didn't satisfy plugin(s) [NodeAffinity]"),
    k.NO_VICTIMS: ("DefaultPreemption", "No preemption victims found for incoming pod"),
    k.NOT_TRIED: ("DefaultPreemption", "Preemption is not helpful for scheduling"),
}
NO_CLAIMS = "no new claims to deallocate"
"""What DynamicResources says after filters have failed for a pod without resource claims."""
_MAY_HELP = (k.PORT_TAKEN, k.NO_ROOM, k.SKEWED, k.NOT_APART, k.KEPT_AWAY)


@dataclass(frozen=True)
class Refusal:
    """Why a node is refused.

    Attributes
    ----------
    plugin
        The first plugin that refused it.
    reasons
        In its words.
    preemption_may_help
        Whether the node could do once pods leave it.
    """

    plugin: str
    reasons: tuple[str, ...]
    preemption_may_help: bool


def refusals(scheduler: Scheduler) -> dict[str, Refusal]:
    """Refusals by node from the scratch of the last filter run; equal ones are one object."""
    work, resources = scheduler.compiled.work, scheduler.compiled.resources
    known: dict[tuple[int, int], Refusal] = {}
    made = {}
    for name, why, lacking in zip(
        scheduler.names, work.why.tolist(), work.lacking.tolist(), strict=True
    ):
        if why == k.FITS:
            continue
        key = (why, lacking if why in (k.NO_ROOM, k.TOO_SMALL) else 0)
        if key not in known:
            known[key] = _refusal(*key, resources)
        made[name] = known[key]
    return made


def _refusal(why: int, lacking: int, resources: tuple[str, ...]) -> Refusal:
    if why in (k.NO_ROOM, k.TOO_SMALL):
        reasons = ["Too many pods"] if lacking & 1 else []
        reasons += [
            f"Insufficient {name}" for r, name in enumerate(resources) if lacking >> (r + 1) & 1
        ]
        return Refusal("NodeResourcesFit", tuple(reasons), why == k.NO_ROOM)
    plugin, words = _WORDS[why]
    return Refusal(plugin, (words,), why in _MAY_HELP)


def fit_message(nodes: int, refused: Iterable[Refusal]) -> str:
    """The text of `framework.FitError`: how many nodes for each reason, sorted as text."""
    counts = Counter(reason for refusal in refused for reason in refusal.reasons)
    parts = sorted(f"{count} {reason}" for reason, count in counts.items())
    listed = f" {', '.join(parts)}." if parts else ""
    return f"0/{nodes} nodes are available:{listed}"


def conflict_message(nodes: int, profile: Profile) -> str:
    """The text when a pod's own terms name nodes that exclude each other.

    Filters are not run then, so that DynamicResources finds no state of its own, says "not found",
    and preemption is not tried (observed of 1.36.3).
    """
    first = f"0/{nodes} nodes are available: pod affinity terms conflict."
    if profile.looks_at_devices:
        return f"{first} not found"
    helpless = f"{nodes} {_WORDS[k.NOT_TRIED][1]}"
    after = f" preemption: 0/{nodes} nodes are available: {helpless}."
    return first + after if profile.preempts else first
