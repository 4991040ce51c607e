"""FailureDrill: faults to rehearse in the twin, in the cluster or in both, and what is expected."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import (
    BY_NAME,
    Cel,
    KindInfo,
    LabelSelector,
    ListOf,
    Metadata,
    Name,
    ObjectName,
    Percent,
    Reference,
    ServerDefault,
    Strict,
)
from kfarm_api.drill_status import FailureDrillStatus
from kfarm_api.thermal import positive_duration
from kfarm_api.units import Bounds, Duration, Quantity, parse_duration_ns

NS = 10**9
MAX_NODES = 256
"""Of one drill at most, whatever its limits and the installation allow."""
MAX_LIFE_S = 4 * 3600

Action = Literal[
    "DeviceFault",
    "NodeDown",
    "Drain",
    "RackPower",
    "Pdu",
    "LeafSwitch",
    "LinkFlap",
    "CduPump",
    "CoolingDegraded",
    "Chiller",
    "RepairCrewShortage",
    "Burst",
    "ApiOutage",
    "OperatorKill",
]
TWIN_ONLY: frozenset[str] = frozenset({"RepairCrewShortage"})
"""Actions that no cluster can show."""
RUNNER_ONLY: frozenset[str] = frozenset({"ApiOutage", "OperatorKill"})
"""Actions done from outside the operator, by ``kfarm drill run``."""
HEAT: frozenset[str] = frozenset({"CduPump", "CoolingDegraded", "Chiller"})
"""Actions whose effect on nodes the twin predicts; a cluster shows what is predicted."""

Metric = Literal[
    "seconds_to_detect",
    "seconds_to_evict",
    "seconds_to_replace",
    "seconds_to_recover",
    "seconds_to_requeue",
    "seconds_to_readmit",
    "pods_affected",
    "pods_pending_max",
    "nodes_down_max",
    "healthy_nodes_min",
    "lost_accelerator_hours",
    "accelerator_temperature_max",
    "seconds_to_throttle",
    "throttled_nodes_max",
    "heat_shutdowns",
    "repairs_waiting_max",
    "seconds_to_repair_all",
]
DrillQuantity = Annotated[Quantity, Bounds("0", "1P")]


def _within(field: str, least: str, most: str) -> Cel:
    """The rule that a duration, where given, lies between two others."""
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in field)
    low, high = parse_duration_ns(least), parse_duration_ns(most)
    return Cel(
        f"!has(self.{field}) || (duration(self.{field}) >= duration('{least}')"
        f" && duration(self.{field}) <= duration('{most}'))",
        f"{field} must lie between {least} and {most}",
        lambda m: getattr(m, snake) is None or low <= parse_duration_ns(getattr(m, snake)) <= high,
    )


class DrillDevice(Strict):
    """Which fault a device has, and how many devices of a node have it.

    `code` is an XID of NVIDIA's driver or a state of an NPU, as in `faults` of the profile.
    """

    kind: Literal["XID", "Health"] = "XID"
    code: Annotated[str, Field(min_length=1, max_length=64)]
    count: Annotated[int, Field(ge=1, le=128)] = 1


class DrillSelector(Strict):
    """Which nodes of the farm a fault may hit; only those with consent to drills.

    All that is given must hold. `plan` selects the nodes on which pods of a plan run, `vacant`
    (True) those that no accelerator pod stands on.
    """

    cluster: Name | None = None
    nodes: Annotated[list[ObjectName], Field(max_length=MAX_NODES), ListOf()] = Field(
        default_factory=list
    )
    labels: LabelSelector | None = None
    plan: ObjectName | None = None
    vacant: bool | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.cluster) || (has(self.nodes) && self.nodes.size() > 0) || has(self.labels)"
            " || has(self.plan)",
            "an empty selector is refused: it would mean every node; give cluster, nodes, labels"
            " or plan",
            lambda s: bool(s.cluster or s.nodes or s.labels or s.plan),
        ),
    )


class Remedy(Strict):
    """What the runbook does about a fault, and how long after it was seen.

    `Drain` evicts the pods of the fault's nodes; `OutOfService` says that a node that does not
    answer is really off (taint ``node.kubernetes.io/out-of-service``), so that its pods are let go.
    """

    action: Literal["Drain", "OutOfService"]
    after: Duration = "0s"
    rules: ClassVar[tuple[Cel, ...]] = (_within("after", "0s", "2h"),)


class Trigger(Strict):
    """The moment of a plan from which `at` counts, in place of the start of the drill."""

    plan: ObjectName
    event: Literal["Simulating", "Approved", "Releasing", "Running"]


class Flapping(Strict):
    """How long a link is down and up in turn."""

    down: Duration = "2s"
    up: Duration = "10s"
    rules: ClassVar[tuple[Cel, ...]] = (_within("down", "1s", "1h"), _within("up", "1s", "1h"))


class DrillFault(Strict):
    """One fault: what, when, to whom, for how long.

    `mode` and `value` are those of Chaos Mesh; they count what the action fails: nodes, racks,
    PDUs, leaf switches (scalable units), CDUs, chillers. For `Drain`, `atOnce` nodes are drained at
    a time, each for `duration`. `share` is the part of flow, capacity or crews that is lost.
    """

    name: Name
    at: Duration = "0s"
    trigger: Trigger | None = None
    action: Action
    selector: DrillSelector | None = None
    mode: Literal["One", "All", "Fixed", "FixedPercent", "RandomMaxPercent"] = "One"
    value: Annotated[int, Field(ge=1, le=10_000)] | None = None
    duration: Duration
    device: DrillDevice | None = None
    share: Annotated[int, Field(ge=1, le=100)] | None = None
    at_once: Annotated[int, Field(ge=1, le=MAX_NODES)] | None = None
    flapping: Flapping | None = None
    remedy: Remedy | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        _within("at", "0s", "2h"),
        _within("duration", "1s", "2h"),
        Cel(
            "(self.action in ['ApiOutage', 'OperatorKill']) != has(self.selector)",
            "a fault needs a selector; ApiOutage and OperatorKill have none",
            lambda f: (f.action in RUNNER_ONLY) != (f.selector is not None),
        ),
        Cel(
            "(has(self.mode) && self.mode in ['Fixed', 'FixedPercent', 'RandomMaxPercent'])"
            " == has(self.value)",
            "modes Fixed, FixedPercent and RandomMaxPercent need value; One and All have none",
            lambda f: (
                (f.mode in ("Fixed", "FixedPercent", "RandomMaxPercent")) == (f.value is not None)
            ),
        ),
        Cel(
            "!has(self.value) || !(self.mode in ['FixedPercent', 'RandomMaxPercent'])"
            " || self.value <= 100",
            "value is in percent here: at most 100",
            lambda f: f.value is None or "Percent" not in f.mode or f.value <= 100,
        ),
        Cel(
            "(self.action == 'DeviceFault') == has(self.device)",
            "DeviceFault needs device, and nothing else has it",
            lambda f: (f.action == "DeviceFault") == (f.device is not None),
        ),
        Cel(
            "(self.action in ['CoolingDegraded', 'RepairCrewShortage']) == has(self.share)",
            "CoolingDegraded and RepairCrewShortage need share, and nothing else has it",
            lambda f: (
                (f.action in ("CoolingDegraded", "RepairCrewShortage")) == (f.share is not None)
            ),
        ),
        Cel(
            "!has(self.atOnce) || self.action == 'Drain'",
            "atOnce belongs to Drain",
            lambda f: f.at_once is None or f.action == "Drain",
        ),
        Cel(
            "!has(self.flapping) || self.action == 'LinkFlap'",
            "flapping belongs to LinkFlap",
            lambda f: f.flapping is None or f.action == "LinkFlap",
        ),
        Cel(
            "!has(self.remedy) || !(self.action in ['Drain', 'ApiOutage', 'OperatorKill',"
            " 'RepairCrewShortage'])",
            "Drain, ApiOutage, OperatorKill and RepairCrewShortage have no remedy",
            lambda f: f.remedy is None or f.action not in RUNNER_ONLY | TWIN_ONLY | {"Drain"},
        ),
    )


class DrillLimits(Strict):
    """The blast radius; an installation may allow less.

    `maxNodes` and `maxPercent` bound the nodes that the drill touches, together and as a share of
    their cluster; `domains` the racks, leaf switches, PDUs or CDUs that they stand in;
    `minHealthy` the share of the cluster that stays healthy. After `timeToLive` everything is taken
    back, whatever happened.
    """

    max_nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] = 1
    max_percent: Annotated[int, Field(ge=1, le=100)] = 10
    domains: Annotated[int, Field(ge=1, le=64)] = 1
    min_healthy: Percent = 51
    time_to_live: Duration = "30m"
    rules: ClassVar[tuple[Cel, ...]] = (_within("timeToLive", "10s", "4h"),)


class Expectation(Strict):
    """A probe: a bound on a metric at the start, at the end, or all the time.

    One that fails at the start keeps the drill from beginning; one that fails meanwhile aborts it.
    `source` ``Predicted`` looks at the twin's median, for what a cluster cannot show.
    """

    name: Name
    when: Literal["Start", "End", "Continuous"] = "End"
    metric: Metric
    at_least: DrillQuantity | None = None
    at_most: DrillQuantity | None = None
    source: Literal["Observed", "Predicted"] = "Observed"
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.atLeast) != has(self.atMost)",
            "an expectation needs exactly one of atLeast and atMost",
            lambda e: (e.at_least is None) != (e.at_most is None),
        ),
    )


class DrillSimulation(Strict):
    """How many futures of the drill are played, and from which seed."""

    futures: Annotated[int, Field(ge=32, le=4096)] = 256
    seed: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)] = 42


class ClusterDelays(Strict):
    """How fast the cluster notices and acts; the defaults are those of Kubernetes and KWOK.

    Flags of kube-controller-manager: `nodeMonitorPeriod`, `nodeMonitorGracePeriod`,
    `nodeEvictionRate` (nodes a second). `leaseRenewInterval` is the kubelet's, `podGcPeriod` that
    of the pod garbage collector, `toleration` of pods that state none. `verdict` and `podStart` are
    the gate's and the kubelet's; left out, they are taken from what the plan's pods showed.
    `operatorStart` is how long a killed operator needs until it works again, `apiReturn` how long
    clients need to notice that the API server answers again.
    """

    node_monitor_period: Duration = "5s"
    node_monitor_grace_period: Duration = "50s"
    lease_renew_interval: Duration = "10s"
    node_eviction_rate: Annotated[Quantity, Bounds("1m", "1000")] = "0.1"
    pod_gc_period: Duration = "20s"
    toleration: Duration = "300s"
    verdict: Duration | None = None
    pod_start: Duration | None = None
    operator_start: Duration | None = None
    api_return: Duration | None = None
    rules: ClassVar[tuple[Cel, ...]] = tuple(
        positive_duration(field)
        for field in (
            "nodeMonitorPeriod",
            "nodeMonitorGracePeriod",
            "leaseRenewInterval",
            "podGcPeriod",
        )
    )


class DrillSchedule(Strict):
    """When the drill is repeated, as five fields of cron in a time zone; a run is a FailureDrill.

    A moment that was missed by more than `startingDeadline`, or comes while a run is on, is left
    out. `historyLimit` runs that have ended are kept.
    """

    cron: Annotated[str, Field(min_length=9, max_length=128, pattern=r"^[-0-9A-Za-z*/,#? ]+$")]
    time_zone: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] = (
        "UTC"
    )
    starting_deadline: Duration = "100s"
    history_limit: Annotated[int, Field(ge=1, le=32)] = 5
    rules: ClassVar[tuple[Cel, ...]] = (_within("startingDeadline", "10s", "1h"),)


class FailureDrillSpec(Strict):
    """Faults, how far they may go, and what is expected.

    Nothing in the cluster is touched unless `mode` is ``Cluster`` or ``Both`` and `confirm` names
    the cluster, as the installation calls it; otherwise the drill says what it would do. `plans`
    are PlacementPlans of the same namespace whose pods are watched. `observe` is how long is waited
    for recovery after the last fault has ended.
    """

    mode: Literal["Twin", "Cluster", "Both"] = "Twin"
    confirm: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    farm: Reference
    plans: Annotated[list[ObjectName], Field(max_length=16), ListOf()] = Field(default_factory=list)
    faults: Annotated[list[DrillFault], Field(min_length=1, max_length=16), BY_NAME]
    limits: Annotated[DrillLimits, ServerDefault] = Field(default_factory=DrillLimits)
    expectations: Annotated[list[Expectation], Field(max_length=16), BY_NAME] = Field(
        default_factory=list
    )
    observe: Duration = "5m"
    simulation: Annotated[DrillSimulation, ServerDefault] = Field(default_factory=DrillSimulation)
    delays: Annotated[ClusterDelays, ServerDefault] = Field(default_factory=ClusterDelays)
    schedule: DrillSchedule | None = None
    suspend: bool = False
    abort: bool = False
    rules: ClassVar[tuple[Cel, ...]] = (
        _within("observe", "1s", "2h"),
        Cel(
            "!has(self.confirm) || (has(self.mode) && self.mode != 'Twin')",
            "confirm belongs to mode Cluster or Both: mode Twin touches nothing",
            lambda s: s.confirm is None or s.mode != "Twin",
        ),
        Cel(
            "!has(self.mode) || self.mode != 'Cluster'"
            " || !self.faults.exists(f, f.action == 'RepairCrewShortage')",
            "no cluster can show RepairCrewShortage: use mode Twin or Both",
            lambda s: s.mode != "Cluster" or not any(f.action in TWIN_ONLY for f in s.faults),
        ),
        Cel(
            "self.faults.all(f, !has(f.trigger) || (has(self.plans)"
            " && self.plans.exists(p, p == f.trigger.plan)))",
            "a trigger must name one of plans",
            lambda s: all(f.trigger is None or f.trigger.plan in s.plans for f in s.faults),
        ),
    )

    @property
    def dry(self) -> bool:
        """Whether nothing in the cluster is touched."""
        return self.mode == "Twin" or self.confirm is None

    @property
    def time_to_live_ns(self) -> int:
        """From the start to the moment at which everything is taken back [ns]."""
        return parse_duration_ns(self.limits.time_to_live)


class FailureDrill(Strict):
    """Faults rehearsed in the twin, in the cluster or in both."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="failuredrills",
        short="drill",
        scope="Namespaced",
        columns=(
            ("Mode", "string", ".spec.mode", 0),
            ("Phase", "string", ".status.phase", 0),
            ("Verdict", "string", ".status.verdict", 0),
            ("Touched", "integer", ".status.touched", 0),
            ("Recover", "string", '.status.metrics[?(@.name=="seconds_to_recover")].observed', 0),
            (
                "Predicted",
                "string",
                '.status.metrics[?(@.name=="seconds_to_recover")].median',
                0,
            ),
            ("Until", "string", ".status.until", 1),
            ("Message", "string", ".status.message", 1),
        ),
        summary="faults rehearsed in the twin, in the cluster or in both",
    )
    api_version: Literal["kfarm.dev/v1alpha1"] = "kfarm.dev/v1alpha1"
    kind: Literal["FailureDrill"] = "FailureDrill"
    metadata: Metadata
    spec: FailureDrillSpec
    status: FailureDrillStatus | None = None
