"""What the twin is asked about a drill, and what its answer becomes in status. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kfarm_api.drill_marks import ANNOTATION_COMING
from kfarm_api.drill_status import DrillMetric, FailureDrillStatus
from kfarm_api.farm import Cluster
from kfarm_api.layout import LABEL_INDEX, NodePlace, farm_places
from kfarm_api.parse import parse
from kfarm_api.plan import PlacementPlan
from kfarm_api.snapshot import FarmSnapshot, NodeState
from kfarm_twin.drill_request import DrillPod as AskedPod
from kfarm_twin.drill_request import DrillPrediction, DrillRequest, MeasuredDelays

from kfarm_operator.conditions import shorten
from kfarm_operator.drills import status as said
from kfarm_operator.drills.clock import read_moment
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.views import DrillNode, DrillPod

JSON = dict[str, Any]
MOST_ASSUMPTIONS = 32


@dataclass(frozen=True)
class Surroundings:
    """What only a prediction needs.

    Attributes
    ----------
    used
        Accelerators by node that pods of others hold.
    jobs
        Jobs of the drill's pods by name; those that cannot be read are missing.
    lease_age_s
        How long ago the Lease of each target was renewed.
    """

    used: Mapping[str, int] = field(default_factory=dict)
    jobs: Mapping[str, JSON] = field(default_factory=dict)
    lease_age_s: Mapping[str, float] = field(default_factory=dict)
    verdict_s: tuple[float, ...] = ()
    pod_start_s: tuple[float, ...] = ()


def build_request(s: Situation, around: Surroundings) -> DrillRequest:
    """The question about a drill whose targets are chosen.

    Raises
    ------
    ValueError
        When the farm is missing; `decide` rules that out beforehand.
    """
    if s.farm is None:
        raise ValueError("the farm is gone")
    running = [pod for pod in s.pods if pod.node and not pod.terminal]
    coming = _coming(s)
    known = [plan for plan in s.plans.values() if plan is not None]
    return DrillRequest(
        drill=s.drill.model_copy(update={"status": None}),
        farm=s.farm.model_copy(update={"status": None}),
        profiles=[s.profiles[name] for name in sorted(s.profiles)],
        plans=sorted([*known, *coming], key=lambda plan: plan.metadata.name),
        snapshot=_snapshot(s, around),
        pods=[_pod(s, pod, around) for pod in sorted(running, key=lambda pod: pod.name)],
        targets=s.status.targets,
        measured=MeasuredDelays(
            verdict_s=[round(value, 3) for value in around.verdict_s],
            pod_start_s=[round(value, 3) for value in around.pod_start_s],
            lease_age_s={name: round(v, 3) for name, v in sorted(around.lease_age_s.items())},
        ),
        coming=sorted(plan.metadata.name for plan in coming),
    )


def _coming(s: Situation) -> list[PlacementPlan]:
    """The drill's plans that are not there as yet, as the runner says that it will apply them."""
    try:
        told = json.loads(s.drill.metadata.annotations.get(ANNOTATION_COMING, "[]"))
        found = [parse(body, strict=True) for body in told]
    except (ValueError, TypeError, AttributeError):  # whoever makes a drill may write anything
        return []
    return [
        plan
        for plan in found
        if isinstance(plan, PlacementPlan)
        and plan.metadata.namespace == s.drill.metadata.namespace
        and plan.metadata.name in s.plans
        and s.plans[plan.metadata.name] is None
    ]


def _pod(s: Situation, pod: DrillPod, around: Surroundings) -> AskedPod:
    kind, _, name = pod.owner.partition("/")
    spec = (around.jobs.get(name) or {}).get("spec") or {} if kind == "Job" else {}
    policy = spec.get("podReplacementPolicy")
    queued = next((one for one in s.workloads if one.owner == pod.owner), None)
    waits = policy == "Failed" or (policy is None and bool(spec.get("podFailurePolicy")))
    return AskedPod(
        plan=pod.plan,
        workload=pod.workload,
        name=pod.name,
        node=pod.node,
        toleration_s=None if pod.toleration_s is None else float(pod.toleration_s),
        replaced_when_gone=waits,
        job=name if kind == "Job" else "",
        backoff_per_index=spec.get("backoffLimitPerIndex") is not None,
        kueue=queued.name if queued else "",
        within=queued.within if queued else "",
    )


def _snapshot(s: Situation, around: Surroundings) -> FarmSnapshot:
    farm = s.farm
    if farm is None:
        return FarmSnapshot(nodes=[])
    clusters = {cluster.name: cluster for cluster in farm.spec.clusters}
    seated = {(node.cluster, node.labels.get(LABEL_INDEX, "")): node for node in s.nodes.values()}
    return FarmSnapshot(
        nodes=[
            _state(s, around, clusters[place.cluster], place,
                   seated.get((place.prefix, str(place.index))))
            for place in farm_places(farm)
        ]
    )  # fmt: skip


def _state(
    s: Situation, around: Surroundings, cluster: Cluster, place: NodePlace, node: DrillNode | None
) -> NodeState:
    profile = s.profiles.get(cluster.accelerator)
    names = profile.spec.resource_names if profile else ()
    known = dict(node.devices) if node else {}
    offered = max((known.get(name, 0) for name in names), default=0)
    return NodeState(
        name=node.name if node else place.name,
        farm_kind=place.farm_kind,
        farm=place.farm,
        cluster=cluster.name,
        index=place.index,
        uid=node.uid if node else "",
        ready=node is not None and node.ready == "True",
        schedulable=node is not None and not node.cordoned,
        accelerators=min(cluster.accelerators_per_node, max(0, offered)),
        used=around.used.get(node.name, 0) if node else 0,
        live=cluster.source.selector is not None,
    )


def age_s(lease: JSON | None, now: datetime) -> float | None:
    """How long ago a Lease was renewed [s]."""
    text = ((lease or {}).get("spec") or {}).get("renewTime")
    return max(0.0, (now - read_moment(text)).total_seconds()) if text else None


def predicted(s: Situation, answer: DrillPrediction) -> FailureDrillStatus:
    """The status with the twin's answer; what was observed of a metric stays."""
    seen = {one.name: one.observed for one in s.status.metrics}
    metrics: list[DrillMetric] = [
        one.model_copy(update={"observed": seen.get(one.name)}) for one in answer.metrics
    ]
    told = [shorten(text, 512) for text in (*answer.warnings, *answer.assumptions)]
    message = f"{answer.futures} futures of the drill were played from seed {answer.seed}"
    line = said.entry(s.now, "Predicted", message=message)
    status = said.phase(s, "Predicting", "Predicted", message)
    return status.model_copy(
        update={
            "metrics": metrics[:32],
            "effects": answer.effects[:1024],
            "inputs_digest": answer.inputs_digest,
            "assumptions": told[:MOST_ASSUMPTIONS],
            "timeline": said.told(status.timeline, line),
        }
    )
