"""Plays a scene on a real kube-scheduler and on the twin, pod by pod, and lists where they differ.

Before each pod both have the same state: after each, the twin takes over what the scheduler did.
Loaded with runpy.
"""

from __future__ import annotations

import json
import runpy
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from kfarm_controlplane.scheduling import Observed, SchedulingLab
from kfarm_twin.kube.describe import Described, make_cluster
from kfarm_twin.kube.driver import Decision, Outcome, Scheduler
from kfarm_twin.kube.objects import Cluster, Pod
from kfarm_twin.kube.profile import Profile, load_profile
from kfarm_twin.manifest_text import TextDocument

SCENES = runpy.run_path(str(Path(__file__).parent / "kube_scenes.py"))
Body = dict[str, Any]


@dataclass
class Report:
    """What was compared.

    Attributes
    ----------
    disagreements
        One line each, with the pod.
    outcomes, scored
        How often each outcome came, and each plugin with scores that were not all equal.
    reasons
        Reasons of refusals, by how many messages named them.
    """

    clusters: int = 0
    pods: int = 0
    scores: int = 0
    disagreements: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    scored: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def describe(bodies: Iterable[Body]) -> Described:
    """Objects as if they had been read from a file."""
    made = Described()
    for body in bodies:
        made.add_body(Path("scene"), TextDocument(1), (), body)
    assert not made.problems, made.problems
    return made


def profile_of(body: Body, folder: Path) -> Profile:
    """A profile as ``--config`` reads it."""
    file = folder / f"{body['schedulerName']}.json"
    head = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    file.write_text(json.dumps({**head, "percentageOfNodesToScore": 100, "profiles": [body]}))
    return load_profile(file)


def read_scene(scene: Any) -> tuple[Cluster, list[Pod]]:
    """A scene as the twin describes it."""
    return make_cluster(describe(scene.shared + scene.cluster), describe(scene.pods))


def play(
    lab: SchedulingLab, scene: Any, folder: Path, report: Report, *, retry: bool = True
) -> None:
    """Play one scene on both; without `retry` pods that preempted others are given up then."""
    lab.populate(scene.cluster)
    cluster, pods = read_scene(scene)
    twin = Scheduler(cluster, pods, profile_of(scene.profile, folder))
    report.clusters += 1
    for number, (body, pod) in enumerate(zip(scene.pods, pods, strict=True)):
        stored, seen = lab.observe(body)
        report.disagreements += _compare_defaults(cluster, pod, stored)
        decision = twin.decide(pod)
        report.disagreements += [f"{pod.key}: {line}" for line in compare(decision, seen)]
        _count(report, decision, seen)
        if seen.nominated and not retry:
            lab.abandon(stored)
            for victim in seen.victims:
                twin.remove(twin.bound[victim])
        elif seen.nominated:
            _second_cycle(lab, twin, pod, stored, seen, number, report)
        elif seen.node:
            twin.bind(_start(lab, pod, stored, number), seen.node)
    lab.clear()


def _start(lab: SchedulingLab, pod: Pod, stored: Body, number: int) -> Pod:
    """The pod with a start time, which its kubelet would set: preemption looks at it."""
    text = f"2026-02-03T04:05:{number:02}Z"
    lab.start(stored, text)
    return replace(pod, started_s=datetime.fromisoformat(text).timestamp())


def _second_cycle(
    lab: SchedulingLab,
    twin: Scheduler,
    pod: Pod,
    stored: Body,
    seen: Observed,
    number: int,
    report: Report,
) -> None:
    """After a preemption: the victims are gone, the pod is tried again on the promised node."""
    node = lab.settled(stored)
    for victim in seen.victims:
        twin.remove(twin.bound[victim])
    again = twin.decide(replace(pod, nominated=seen.nominated))
    if node and node not in again.best:
        report.disagreements.append(f"{pod.key}: second cycle {node}, twin {again.best}")
    if node:
        twin.bind(_start(lab, pod, stored, number), node)


def _compare_defaults(cluster: Cluster, pod: Pod, stored: Body) -> list[str]:
    """Whether the twin's defaults for a bare pod are those of the API server."""
    body = describe([stored]).objects["Pod"][0]
    from kfarm_twin.kube.describe import read_pod

    other = read_pod(body[0], cluster, {}, body[1])
    mine = (pod.spec, pod.priority, pod.never_preempts, pod.owner)
    theirs = (other.spec, other.priority, other.never_preempts, other.owner)
    return [f"{pod.key}: defaults {mine} of the API server {theirs}"] if mine != theirs else []


def compare(decision: Decision, seen: Observed) -> list[str]:
    """Differences between the twin's decision and the scheduler's."""
    if seen.node:
        return _compare_bound(decision, seen)
    lines = []
    if decision.message != seen.message:
        lines.append(f"message {decision.message!r}, scheduler {seen.message!r}")
    if (decision.outcome is Outcome.PREEMPTING) != bool(seen.nominated):
        lines.append(f"{decision.outcome}, scheduler nominated {seen.nominated!r}")
    elif seen.nominated:
        victims = {v.key for v in decision.victims_on.get(seen.nominated, ())}
        if victims != seen.victims:
            best = decision.nominated_best
            lines.append(
                f"victims {victims} on {best}, scheduler {seen.victims} on {seen.nominated}"
            )
    return lines


def _compare_bound(decision: Decision, seen: Observed) -> list[str]:
    if decision.outcome is not Outcome.SCHEDULED:
        return [f"{decision.outcome} {decision.message!r}, scheduler bound to {seen.node}"]
    lines = []
    if decision.feasible_count != seen.feasible:
        lines.append(f"{decision.feasible_count} feasible, scheduler {seen.feasible}")
    if seen.node not in decision.best:
        lines.append(f"best {decision.best}, scheduler {seen.node}")
    mine = {node: scored.plugins for node, scored in decision.scores.items()}
    if set(mine) != set(seen.scores):
        lines.append(f"feasible sets differ by {sorted(set(mine) ^ set(seen.scores))}")
    else:
        lines += [
            f"scores on {node}: {mine[node]}, scheduler {seen.scores[node]}"
            for node in mine
            if mine[node] != seen.scores[node]
        ]
    totals = {node: scored.total for node, scored in decision.scores.items()}
    if not lines and totals != seen.totals:
        lines.append(f"totals {totals}, scheduler {seen.totals}")
    return lines


def _count(report: Report, decision: Decision, seen: Observed) -> None:
    report.pods += 1
    report.outcomes[decision.outcome.value] += 1
    report.scores += sum(len(plugins) for plugins in seen.scores.values())
    names = {name for plugins in seen.scores.values() for name in plugins}
    for name in names:
        if len({plugins[name] for plugins in seen.scores.values()}) > 1:
            report.scored[name] += 1
    for reason in {r for refusal in decision.refused.values() for r in refusal.reasons}:
        report.reasons[reason] += 1
