"""What the twin is asked about a drill and what it answers: models only, light for the operator."""

from __future__ import annotations

from typing import Annotated, Any

from kfarm_api.base import Strict
from kfarm_api.drill import FailureDrill
from kfarm_api.drill_status import DrillMetric, FaultTargets, PredictedEffect
from kfarm_api.farm import GPUFarm, NPUFarm
from kfarm_api.plan import PlacementPlan
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.snapshot import FarmSnapshot, digest
from pydantic import Field

DRILL_RESULT_VERSION = 1
"""Goes into the digest: a change of rules makes a new prediction of the same inputs."""
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class DrillPod(Strict):
    """A running pod of one of the drill's plans.

    Attributes
    ----------
    toleration_s
        `tolerationSeconds` of ``node.kubernetes.io/unreachable:NoExecute``; None: for ever.
    replaced_when_gone
        Whether its owner waits for the pod to be gone before it makes another (a Job with a
        podFailurePolicy or podReplacementPolicy ``Failed``); else it does at once.
    job
        Its Job: failures of a Job's pods add up to a longer back-off. Empty for pods of owners
        that know none (ReplicaSet, StatefulSet).
    backoff_per_index
        Whether the Job counts failures of each index by itself (backoffLimitPerIndex).
    kueue
        Name of its Workload, where Kueue admits and places it; else empty.
    within
        Topology level in one domain of which Kueue keeps all pods of the Workload: ``rack``,
        ``scalable-unit``, ``cluster``; empty for none.
    """

    plan: str
    workload: str
    name: str
    node: str
    toleration_s: Seconds | None = 300.0
    replaced_when_gone: bool = False
    job: str = ""
    backoff_per_index: bool = False
    kueue: str = ""
    within: str = ""


class MeasuredDelays(Strict):
    """What pods of the cluster showed lately [s]; used where `spec.delays` states nothing.

    Attributes
    ----------
    verdict_s
        From the creation of a gated pod to its release.
    pod_start_s
        From release to Running.
    lease_age_s
        Node: how long ago its Lease was renewed. Nodes made together renew together, and so are
        missed together; those that are not listed count as independent.
    """

    verdict_s: Annotated[list[Seconds], Field(max_length=1024)] = Field(default_factory=list)
    pod_start_s: Annotated[list[Seconds], Field(max_length=1024)] = Field(default_factory=list)
    lease_age_s: dict[str, Seconds] = Field(default_factory=dict)


class DrillRequest(Strict):
    """All that a prediction depends on; the same request gives the same bytes anywhere.

    Attributes
    ----------
    snapshot
        All nodes of the farm as they stand before the drill; `used` without what `pods` hold.
    pods
        Running pods of `plans`; none: as the plans' statuses place them, else as the twin would.
    targets
        As `kfarm_api.drill_targets.choose` found them.
    coming
        Those of `plans` that are rolled out for the first time while the drill is on.
    """

    drill: FailureDrill
    farm: GPUFarm | NPUFarm
    profiles: list[AcceleratorProfile]
    plans: list[PlacementPlan] = Field(default_factory=list)
    snapshot: FarmSnapshot
    pods: list[DrillPod] = Field(default_factory=list)
    targets: list[FaultTargets] = Field(default_factory=list)
    measured: MeasuredDelays = Field(default_factory=MeasuredDelays)
    coming: list[str] = Field(default_factory=list)

    def digest(self) -> str:
        """Digest of the specs, the snapshot, pods, targets and delays; statuses are left out."""
        used = {cluster.accelerator for cluster in self.farm.spec.clusters}
        drill = self.drill.spec.model_dump(mode="json", by_alias=True)
        for field in ("suspend", "abort", "schedule", "confirm"):
            drill.pop(field, None)
        farm = self.farm.spec.as_manifest()
        farm.pop("telemetry", None)
        return digest(
            {
                "version": DRILL_RESULT_VERSION,
                "drill": drill,
                "farm": {"kind": self.farm.kind, "name": self.farm.metadata.name, "spec": farm},
                "profiles": [
                    {"name": one.metadata.name, "spec": one.spec.as_manifest()}
                    for one in sorted(self.profiles, key=lambda p: p.metadata.name)
                    if one.metadata.name in used
                ],
                "plans": [
                    {"name": one.metadata.name, "spec": one.spec.as_manifest()}
                    for one in sorted(self.plans, key=lambda p: p.metadata.name)
                ],
                "snapshot": _nodes(self.snapshot),
                "pods": sorted(
                    (pod.model_dump(mode="json") for pod in self.pods),
                    key=lambda pod: (pod["plan"], pod["name"]),
                ),
                "targets": [one.model_dump(mode="json") for one in self.targets],
                "measured": self.measured.model_dump(mode="json"),
                "coming": sorted(self.coming),
            }
        )


class PredictedMoment(Strict):
    """When something is predicted to happen, seconds after the start, with its 90 % interval."""

    event: str
    fault: str
    object: str = ""
    low: float
    median: float
    high: float


class CurvePoint(Strict):
    """Hottest accelerator [degC], supply [degC] and share of accelerators throttled."""

    at: float
    hottest: float
    supply: float
    throttled: float


class DrillPrediction(Strict):
    """What the twin says about a drill.

    Attributes
    ----------
    metrics
        With `low`, `median`, `high`; nothing observed.
    timeline
        What happens when, in the order of the medians.
    curve
        Of the worst fault of the cooling; empty where no fault is of the cooling.
    """

    metrics: list[DrillMetric]
    effects: list[PredictedEffect] = Field(default_factory=list)
    timeline: list[PredictedMoment] = Field(default_factory=list)
    curve: list[CurvePoint] = Field(default_factory=list)
    futures: int
    seed: int
    inputs_digest: str
    assumptions: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)


def _nodes(snapshot: FarmSnapshot) -> list[dict[str, Any]]:
    nodes = [node.model_dump(mode="json", exclude={"uid", "free_at"}) for node in snapshot.nodes]
    return sorted(nodes, key=lambda node: str(node["name"]))
