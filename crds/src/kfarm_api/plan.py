"""PlacementPlan: workloads to roll out, the verdict on them, and where each pod goes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import (
    BY_NAME,
    Cel,
    Conditions,
    KindInfo,
    Labels,
    ListOf,
    Metadata,
    Name,
    ObjectName,
    Percent,
    Reference,
    Strict,
)
from kfarm_api.electric import Phases
from kfarm_api.units import Duration, parse_duration_ns

Level = Literal["node", "rack", "scalable-unit", "cluster"]
VerdictWord = Literal["Approved", "Rejected", "Inconclusive"]
MAX_PODS = 8192


class WorkloadTopology(Strict):
    """Within what a gang must stay, and where it would best be kept together."""

    required: Level = "cluster"
    preferred: Level | None = None


class Checkpoint(Strict):
    """How work is kept: interval of work between saves, blocking save, time to restart.

    Instead of an interval, `optimum` takes the one that loses least at the gang's failure rate,
    after Young (1974) or Daly (2006).
    """

    interval: Duration | None = None
    optimum: Literal["Young", "Daly"] | None = None
    save: Duration = "0s"
    restart: Duration = "0s"
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.interval) != has(self.optimum)",
            "checkpoint needs exactly one of interval and optimum",
            lambda c: (c.interval is None) != (c.optimum is None),
        ),
        Cel(
            "!has(self.interval) || duration(self.interval) > duration('0s')",
            "checkpoint.interval must be more than 0s",
            lambda c: c.interval is None or parse_duration_ns(c.interval) > 0,
        ),
        Cel(
            "!has(self.optimum) || (has(self.save) && duration(self.save) > duration('0s'))",
            "checkpoint.optimum needs a save of more than 0s: where saving is free, the best"
            " interval is as short as can be",
            lambda c: c.optimum is None or parse_duration_ns(c.save) > 0,
        ),
    )


class Elastic(Strict):
    """A gang that goes on with fewer pods, at the share of its speed, but not below `min_pods`."""

    min_pods: Annotated[int, Field(ge=1, le=MAX_PODS)]


class Toleration(Strict):
    """A toleration that the pods carry beside those that Kubernetes and kfarm add."""

    key: Annotated[str, Field(min_length=1, max_length=317)]
    operator: Literal["Exists", "Equal"] = "Equal"
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Workload(Strict):
    """Pods alike: their number, size, behaviour. A pod is released only if it matches.

    `load` is that of the accelerators in percent between idle and TDP, `cpu_load` that of the
    node's other parts; left out, the same.
    """

    name: Name
    class_: Annotated[Literal["Training", "Inference", "Interactive"], Field(alias="class")]
    pods: Annotated[int, Field(ge=1, le=MAX_PODS)]
    surge: Annotated[int, Field(ge=0, le=MAX_PODS)] = 0
    accelerators_per_pod: Annotated[int, Field(ge=1, le=128)]
    accelerators: Annotated[list[Name], Field(min_length=1, max_length=16)]
    gang: bool = False
    topology: WorkloadTopology | None = None
    duration: Duration | None = None
    checkpoint: Checkpoint | None = None
    elastic: Elastic | None = None
    load: Percent = 100
    cpu_load: Percent | None = None
    phases: Phases | None = None
    cpu: Annotated[str, Field(pattern=r"^[0-9]{1,6}(m)?$", max_length=8)] | None = None
    memory: Annotated[str, Field(pattern=r"^[0-9]{1,6}(Mi|Gi|Ti)$", max_length=10)] | None = None
    node_selector: Labels = Field(default_factory=dict)
    tolerations: Annotated[list[Toleration], Field(max_length=8)] = Field(default_factory=list)
    priority_class_name: ObjectName | None = None
    scheduler_name: ObjectName = "default-scheduler"
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.class != 'Training' || (has(self.duration) && has(self.checkpoint))",
            "a Training workload needs duration and checkpoint",
            lambda w: (
                w.class_ != "Training" or (w.duration is not None and w.checkpoint is not None)
            ),
        ),
        Cel(
            "self.class != 'Training' || (has(self.gang) && self.gang)",
            "a Training workload is a gang: set gang: true",
            lambda w: w.class_ != "Training" or w.gang,
        ),
        Cel(
            "!has(self.duration) || duration(self.duration) > duration('0s')",
            "duration must be more than 0s",
            lambda w: w.duration is None or parse_duration_ns(w.duration) > 0,
        ),
        Cel(
            "!(has(self.gang) && self.gang) || !has(self.surge) || self.surge == 0",
            "a gang has no surge",
            lambda w: not w.gang or w.surge == 0,
        ),
        Cel(
            "!has(self.elastic) || (has(self.gang) && self.gang"
            " && self.elastic.minPods < self.pods)",
            "elastic belongs to a gang, and elastic.minPods must be smaller than pods",
            lambda w: w.elastic is None or (w.gang and w.elastic.min_pods < w.pods),
        ),
    )


class PlacementPlanSpec(Strict):
    """Workloads to roll out on farms under a policy.

    `placement` says who chooses the nodes. With `Kueue` the plan only describes how its workloads
    behave: kfarm neither places nor claims for it, and validates what Kueue admits under the
    policy of Kueue's AdmissionCheck; the number of pods is then the one that Kueue admits.
    """

    policy: ObjectName
    placement: Literal["Kfarm", "Kueue"] = "Kfarm"
    farms: Annotated[list[Reference], Field(min_length=1, max_length=16), ListOf(("kind", "name"))]
    workloads: Annotated[list[Workload], Field(min_length=1, max_length=16), BY_NAME]
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.workloads.all(w, self.workloads.exists_one(v, v.name == w.name))",
            "workloads must have different names",
            lambda p: len({w.name for w in p.workloads}) == len(p.workloads),
        ),
        Cel(
            "self.farms.all(f, self.farms.exists_one(g, g.kind == f.kind && g.name == f.name))",
            "farms must not name a farm twice",
            lambda p: len({(f.kind, f.name) for f in p.farms}) == len(p.farms),
        ),
    )


class CheckResult(Strict):
    """One check as it came out: the estimate, its interval, and a sentence."""

    metric: Annotated[str, Field(max_length=64)]
    bound: Annotated[str, Field(max_length=64)]
    quantile: int
    confidence: int
    result: Literal["Passed", "Failed", "Undecided", "NotApplicable"]
    estimate: Annotated[str, Field(max_length=32)] | None = None
    low: Annotated[str, Field(max_length=32)] | None = None
    high: Annotated[str, Field(max_length=32)] | None = None
    futures_met: Annotated[int, Field(ge=0)] = 0
    futures: Annotated[int, Field(ge=0)] = 0
    message: Annotated[str, Field(max_length=1024)]


class SurvivalResult(Strict):
    """All instances of one fault: how many were survived, and the worst of them."""

    fault: Annotated[str, Field(max_length=32)]
    instances: Annotated[int, Field(ge=0)]
    survived: Annotated[int, Field(ge=0)]
    result: Literal["Passed", "Failed"]
    worst: Annotated[str, Field(max_length=253)] | None = None
    message: Annotated[str, Field(max_length=1024)]


Figure = Annotated[str, Field(max_length=32)]


class AssumedInput(Strict):
    """One uncertain input, varied alone: its central range, and what that does to the verdict.

    `low` and `high` bound the central 90 % of its prior. `marginLow` and `marginHigh` are the
    margin of `check` there (``survives`` for the faults), as a share of that at the stated value:
    positive where the check passes, 0 where it flips. `marginStated` is 1 or -1. `breakEven` is
    the value up to which the verdict stays, where it was `sought` and found. `unknown`: confidence
    Low, or no source.
    """

    input: Annotated[str, Field(max_length=256)]
    name: Annotated[str, Field(max_length=256)]
    unit: Annotated[str, Field(max_length=64)]
    confidence: Annotated[str, Field(max_length=16)] | None = None
    unknown: bool = False
    stated: Figure
    low: Figure
    high: Figure
    check: Annotated[str, Field(max_length=64)]
    margin_stated: Figure
    margin_low: Figure
    margin_high: Figure
    flips: bool = False
    sought: bool = False
    break_even: Figure | None = None
    message: Annotated[str, Field(max_length=512)]


class AssumptionResult(Strict):
    """How far the verdict rests on inputs that are not known well.

    Of `draws` sets of inputs drawn from their priors, `approving` keep all checks and faults, each
    judged with at most `futures` futures. `inputs`: the most influential first.
    """

    draws: Annotated[int, Field(ge=0)]
    approving: Annotated[int, Field(ge=0)]
    futures: Annotated[int, Field(ge=0)]
    inputs: Annotated[list[AssumedInput], Field(max_length=64)] = Field(default_factory=list)
    message: Annotated[str, Field(max_length=1024)]

    @property
    def unknowns(self) -> list[AssumedInput]:
        """Unknown inputs that flip the verdict within their central range."""
        return [entry for entry in self.inputs if entry.unknown and entry.flips]


class Slot(Strict):
    """One place for one pod.

    `node_digest` names the node's identity, taints and allocatable as validated; `pod_uid` is
    written before the pod's gate is lifted.
    """

    node: Annotated[str, Field(max_length=253)]
    node_digest: Annotated[str, Field(max_length=24)] | None = None
    pod: Annotated[str, Field(max_length=253)] | None = None
    pod_uid: Annotated[str, Field(max_length=64)] | None = None


class WorkloadPlacement(Strict):
    """The slots of one workload, by index."""

    workload: Name
    slots: Annotated[list[Slot], Field(max_length=2 * MAX_PODS)]


class PlacementPlanStatus(Strict):
    """Written by the operator alone."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    verdict: VerdictWord | None = None
    epoch: Annotated[int, Field(ge=0)] | None = None
    inputs_digest: Annotated[str, Field(max_length=80)] | None = None
    specs_digest: Annotated[str, Field(max_length=80)] | None = None
    reason: Annotated[str, Field(max_length=64)] | None = None
    message: Annotated[str, Field(max_length=2048)] | None = None
    decided_at: Annotated[str, Field(max_length=40)] | None = None
    expires_at: Annotated[str, Field(max_length=40)] | None = None
    futures: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    worst_future: Annotated[int, Field(ge=0)] | None = None
    attempts: Annotated[int, Field(ge=0)] | None = None
    checks: Annotated[list[CheckResult], Field(max_length=64)] = Field(default_factory=list)
    survives: Annotated[list[SurvivalResult], Field(max_length=16)] = Field(default_factory=list)
    assumptions: AssumptionResult | None = None
    placements: Annotated[list[WorkloadPlacement], Field(max_length=16)] = Field(
        default_factory=list
    )
    slots: Annotated[int, Field(ge=0)] | None = None
    released: Annotated[int, Field(ge=0)] | None = None
    bound: Annotated[int, Field(ge=0)] | None = None
    conditions: Conditions = Field(default_factory=list)


class PlacementPlan(Strict):
    """Workloads to roll out once the twin approves."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="placementplans",
        short="pplan",
        scope="Namespaced",
        columns=(
            ("Verdict", "string", ".status.verdict", 0),
            ("Slots", "integer", ".status.slots", 0),
            ("Released", "integer", ".status.released", 0),
            ("Bound", "integer", ".status.bound", 0),
            ("Epoch", "integer", ".status.epoch", 1),
            ("Futures", "integer", ".status.futures", 1),
            ("Message", "string", ".status.message", 1),
        ),
        summary="workloads to roll out once the twin approves",
    )
    api_version: Literal["kfarm.dev/v1alpha1"] = "kfarm.dev/v1alpha1"
    kind: Literal["PlacementPlan"] = "PlacementPlan"
    metadata: Metadata
    spec: PlacementPlanSpec
    status: PlacementPlanStatus | None = None
