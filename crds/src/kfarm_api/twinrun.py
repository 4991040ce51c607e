"""TwinRun: a what-if; the same jobs on the same farm under several policies."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import (
    BY_NAME,
    Cel,
    KindInfo,
    ListOf,
    Metadata,
    Name,
    ObjectName,
    Percent,
    Reference,
    Strict,
)
from kfarm_api.electric import Phases
from kfarm_api.fleet_rules import DRAINS_FIT, needs_pdus
from kfarm_api.plan import Checkpoint, Level
from kfarm_api.reliability import Reliability
from kfarm_api.twinrun_status import TwinRunStatus
from kfarm_api.units import Duration, parse_duration_ns

TraceFormat = Literal["SWF", "Openb", "Philly", "Kfarm", "CSV"]
Order = Literal["FIFO", "SJF", "SRTF"]
Backfill = Literal["None", "Easy", "Conservative"]
Placement = Literal[
    "Count",
    "FirstFit",
    "BestFit",
    "Spread",
    "Random",
    "DotProd",
    "GpuClustering",
    "GpuPacking",
    "FGD",
    "ThermalAware",
]
MAX_REPLICAS = 256
MAX_FUTURES = 65_536
MAX_NODES = 65_536
LEVELS: tuple[Level, ...] = ("node", "rack", "scalable-unit", "cluster")
"""From the smallest domain to the largest."""
_WIDER = {level: LEVELS[index + 1 :] for index, level in enumerate(LEVELS)}
_NARROWER_RULE = (
    "!has(self.preferred) || !has(self.required)"
    " || {'node': 0, 'rack': 1, 'scalable-unit': 2, 'cluster': 3}[self.preferred]"
    " < {'node': 0, 'rack': 1, 'scalable-unit': 2, 'cluster': 3}[self.required]"
)
_UNIT_RULE = (
    "!has(self.shape) || (has(self.shape.nodesPerUnit) && self.shape.nodesPerUnit > 0)"
    " || !has(self.policies)"
    " || self.policies.all(p, (!has(p.required) || p.required != 'scalable-unit')"
    " && (!has(p.preferred) || p.preferred != 'scalable-unit'))"
)


class Shape(Strict):
    """A plain farm of equal nodes, where no GPUFarm or NPUFarm is meant.

    `nodes_per_unit` is the size of a scalable unit; 0 makes the whole farm one. `nodes` includes
    `spares`, on which only replacements are placed. Without `reliability` nothing fails.
    """

    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    accelerators_per_node: Annotated[int, Field(ge=1, le=128)] = 8
    nodes_per_rack: Annotated[int, Field(ge=1, le=4096)] = 4
    nodes_per_unit: Annotated[int, Field(ge=0, le=MAX_NODES)] = 0
    spares: Annotated[int, Field(ge=0, le=MAX_NODES)] = 0
    reliability: Reliability | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.nodesPerUnit) || self.nodesPerUnit == 0 || self.nodesPerUnit %"
            " (has(self.nodesPerRack) ? self.nodesPerRack : 4) == 0",
            "nodesPerUnit must be a multiple of nodesPerRack: a scalable unit holds whole racks",
            lambda s: s.nodes_per_unit % s.nodes_per_rack == 0,
        ),
        Cel(
            "!has(self.spares) || self.spares < self.nodes",
            "spares must be smaller than nodes: nodes includes spares",
            lambda s: s.spares < s.nodes,
        ),
        DRAINS_FIT,
        Cel(
            "!has(self.reliability) || !has(self.reliability.classes)"
            " || self.reliability.classes.all(c, (!has(c.per) || c.per != 'Pdu')"
            " && (!has(c.takes) || c.takes != 'Pdu'))",
            "a shape has no PDUs, which a failure class names: describe a farm",
            lambda s: not needs_pdus(s.reliability),
        ),
        Cel(
            "!has(self.reliability) || !has(self.reliability.temperature)",
            "a shape has no device temperatures, which reliability.temperature needs: describe a"
            " farm",
            lambda s: s.reliability is None or s.reliability.temperature is None,
        ),
    )


class ConfigMapKey(Strict):
    """One key of a ConfigMap in the namespace of the TwinRun.

    Looked for in ``data`` and ``binaryData``; gzip is recognised by its first bytes.
    """

    name: ObjectName
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]


class TraceWorkload(Strict):
    """Recorded jobs.

    The first replica plays the trace as it is; the others play one made of its own blocks of
    time, drawn with replacement, each `block` long.
    """

    config_map: ConfigMapKey
    format: TraceFormat
    gpus_per_node: Annotated[int, Field(ge=1, le=128)] | None = None
    block: Duration = "24h"
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.block) || (duration(self.block) >= duration('1m')"
            " && duration(self.block) <= duration('744h'))",
            "trace.block must lie between 1m and 744h (31 days)",
            lambda t: 60 * 10**9 <= parse_duration_ns(t.block) <= 744 * 3600 * 10**9,
        ),
    )


class GeneratorWorkload(Strict):
    """Made-up jobs: a built-in mix or a model fitted to a trace; each replica draws its own.

    `load` is the offered load in percent of the farm's accelerators; without it the mix arrives
    at its own rate.
    """

    mix: Name | None = None
    config_map: ConfigMapKey | None = None
    jobs: Annotated[int, Field(ge=1, le=5_000_000)]
    load: Annotated[int, Field(ge=1, le=400)] | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.mix) != has(self.configMap)",
            "generator needs exactly one of mix (built in) and configMap (a fitted model)",
            lambda g: (g.mix is None) != (g.config_map is None),
        ),
    )


class GangWorkload(Strict):
    """One training gang on `nodes` whole nodes that runs for the whole horizon.

    `min_nodes` lets it go on with fewer.
    """

    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    checkpoint: Checkpoint
    load: Percent = 100
    cpu_load: Percent | None = None
    phases: Phases | None = None
    required: Level = "cluster"
    preferred: Level | None = None
    min_nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.minNodes) || self.minNodes < self.nodes",
            "gang.minNodes must be smaller than gang.nodes",
            lambda g: g.min_nodes is None or g.min_nodes < g.nodes,
        ),
        Cel(
            _NARROWER_RULE.replace("!has(self.required)", "false").replace(
                "[self.required]", "[has(self.required) ? self.required : 'cluster']"
            ),
            "preferred must be a smaller level than required",
            lambda g: g.preferred is None or g.required in _WIDER[g.preferred],
        ),
    )


class RunWorkload(Strict):
    """What the farm is given to do: exactly one of the three."""

    trace: TraceWorkload | None = None
    generator: GeneratorWorkload | None = None
    gang: GangWorkload | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "[has(self.trace), has(self.generator), has(self.gang)].filter(x, x).size() == 1",
            "workload needs exactly one of trace, generator and gang",
            lambda w: sum(x is not None for x in (w.trace, w.generator, w.gang)) == 1,
        ),
    )


class JobFailures(Strict):
    """Lets the jobs of a trace or generator meet the failures of the farm.

    A job stops with any of its nodes, loses its work since the last save and queues again;
    without a checkpoint it starts from nothing.
    """

    checkpoint: Checkpoint | None = None


class RunPolicy(Strict):
    """How jobs are ordered, let past each other, and placed.

    Placement ``Count`` looks at free accelerators only and knows no nodes by name.
    """

    name: Name
    order: Order = "FIFO"
    backfill: Backfill = "None"
    placement: Placement = "Count"
    required: Level | None = None
    preferred: Level | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.backfill) || self.backfill != 'Conservative'"
            " || !has(self.order) || self.order != 'SRTF'",
            "Conservative backfill promises starts that SRTF would break by preemption: take FIFO"
            " or SJF, or Easy",
            lambda p: p.order != "SRTF" or p.backfill != "Conservative",
        ),
        Cel(
            "!has(self.backfill) || self.backfill != 'Conservative'"
            " || !has(self.placement) || self.placement == 'Count'",
            "Conservative backfill counts accelerators: take placement Count, or Easy",
            lambda p: p.placement == "Count" or p.backfill != "Conservative",
        ),
        Cel(
            "(has(self.placement) && self.placement != 'Count')"
            " || (!has(self.required) && !has(self.preferred))",
            "required and preferred need a placement that knows nodes: Count does not",
            lambda p: p.placement != "Count" or (p.required is None and p.preferred is None),
        ),
        Cel(
            _NARROWER_RULE,
            "preferred must be a smaller level than required",
            lambda p: (
                p.preferred is None or p.required is None or p.required in _WIDER[p.preferred]
            ),
        ),
    )


_PLAYS_JOBS = "has(self.workload) && !has(self.workload.gang)"


_HAS_GANG = "has(self.workload) && has(self.workload.gang)"


def _gang(run: TwinRunSpec) -> GangWorkload | None:
    return None if run.workload is None else run.workload.gang


def _plays_jobs(run: TwinRunSpec) -> bool:
    return run.workload is not None and run.workload.gang is None


class TwinRunSpec(Strict):
    """A farm, a workload, and the policies to compare on it; or the reliability of a farm.

    With a trace or generator, `policies` are compared; differences are taken to the first one, and
    `horizon` leaves out jobs that arrive later. With a gang, or with no workload, the farm's
    failures are played for `horizon`, `replicas` times. With `heat`, jobs warm the farm's devices
    and are slowed where these throttle.
    """

    farms: Annotated[list[Reference], Field(max_length=16), ListOf(("kind", "name"))] = Field(
        default_factory=list
    )
    shape: Shape | None = None
    workload: RunWorkload | None = None
    policies: Annotated[list[RunPolicy], Field(max_length=16), BY_NAME] = Field(
        default_factory=list
    )
    failures: JobFailures | None = None
    heat: bool = False
    horizon: Duration = "8760h"
    replicas: Annotated[int, Field(ge=1, le=MAX_FUTURES)] = 8
    seed: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)] = 42
    suspend: bool = False
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "(has(self.farms) && self.farms.size() > 0) != has(self.shape)",
            "a TwinRun needs exactly one of farms and shape",
            lambda r: (len(r.farms) > 0) != (r.shape is not None),
        ),
        Cel(
            "!has(self.farms) ||"
            " self.farms.all(f, self.farms.exists_one(g, g.kind == f.kind && g.name == f.name))",
            "farms must not name a farm twice",
            lambda r: len({(f.kind, f.name) for f in r.farms}) == len(r.farms),
        ),
        Cel(
            "!has(self.policies) ||"
            " self.policies.all(p, self.policies.exists_one(q, q.name == p.name))",
            "policies must have different names",
            lambda r: len({p.name for p in r.policies}) == len(r.policies),
        ),
        Cel(
            f"({_PLAYS_JOBS}) == (has(self.policies) && self.policies.size() > 0)",
            "a trace or generator needs at least one policy; a gang, or no workload, takes none",
            lambda r: _plays_jobs(r) == (len(r.policies) > 0),
        ),
        Cel(
            f"!({_PLAYS_JOBS}) || (has(self.replicas) ? self.replicas : 8) <= {MAX_REPLICAS}",
            f"a trace or generator is played at most {MAX_REPLICAS} times",
            lambda r: not _plays_jobs(r) or r.replicas <= MAX_REPLICAS,
        ),
        Cel(
            f"!has(self.failures) || ({_PLAYS_JOBS})",
            "failures belongs to a trace or generator; a gang meets failures by itself",
            lambda r: r.failures is None or _plays_jobs(r),
        ),
        Cel(
            f"!has(self.heat) || !self.heat || (({_PLAYS_JOBS}) && !has(self.shape))",
            "heat belongs to a trace or generator on farms: a shape has no cooling",
            lambda r: not r.heat or (_plays_jobs(r) and r.shape is None),
        ),
        Cel(
            "(has(self.heat) && self.heat) || !has(self.policies)"
            " || self.policies.all(p, !has(p.placement) || p.placement != 'ThermalAware')",
            "placement ThermalAware needs heat: true",
            lambda r: r.heat or all(p.placement != "ThermalAware" for p in r.policies),
        ),
        Cel(
            f"({_PLAYS_JOBS} && !has(self.failures)) || !has(self.shape)"
            " || has(self.shape.reliability)",
            "failures are played: give shape.reliability, or farms",
            lambda r: (
                (_plays_jobs(r) and r.failures is None)
                or r.shape is None
                or r.shape.reliability is not None
            ),
        ),
        Cel(
            _UNIT_RULE,
            "a policy names scalable-unit: set shape.nodesPerUnit",
            lambda r: (
                r.shape is None
                or r.shape.nodes_per_unit > 0
                or not any("scalable-unit" in (p.required, p.preferred) for p in r.policies)
            ),
        ),
        Cel(
            f"!has(self.shape) || !({_HAS_GANG}) || self.workload.gang.nodes"
            " <= self.shape.nodes - (has(self.shape.spares) ? self.shape.spares : 0)",
            "gang.nodes must not exceed shape.nodes less shape.spares: nodes includes spares",
            lambda r: (
                r.shape is None
                or (gang := _gang(r)) is None
                or gang.nodes <= r.shape.nodes - r.shape.spares
            ),
        ),
        Cel(
            f"!has(self.shape) || !({_HAS_GANG})"
            " || (has(self.shape.nodesPerUnit) && self.shape.nodesPerUnit > 0)"
            " || !((has(self.workload.gang.required) && self.workload.gang.required"
            " == 'scalable-unit') || (has(self.workload.gang.preferred)"
            " && self.workload.gang.preferred == 'scalable-unit'))",
            "the gang names scalable-unit: set shape.nodesPerUnit",
            lambda r: (
                r.shape is None
                or r.shape.nodes_per_unit > 0
                or (gang := _gang(r)) is None
                or "scalable-unit" not in (gang.required, gang.preferred)
            ),
        ),
        Cel(
            "!has(self.horizon) || (duration(self.horizon) >= duration('1m')"
            " && duration(self.horizon) <= duration('87600h'))",
            "horizon must lie between 1m and 87600h (ten years)",
            lambda r: 60 * 10**9 <= parse_duration_ns(r.horizon) <= 87600 * 3600 * 10**9,
        ),
    )


class TwinRun(Strict):
    """A what-if: policies compared on the same jobs and the same chance, or failures played."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="twinruns",
        short="twr",
        scope="Namespaced",
        columns=(
            ("Policies", "string", ".status.compared", 0),
            ("Replicas", "integer", ".spec.replicas", 1),
            ("Done", "integer", ".status.replicasDone", 1),
            ("Jobs", "integer", ".status.jobs", 0),
            ("State", "string", ".status.state", 0),
            ("Best", "string", ".status.best", 0),
            ("ETTR", "string", '.status.metrics[?(@.name=="ettr")].mean', 0),
            ("Down", "string", '.status.metrics[?(@.name=="nodes_down_p95")].mean', 0),
            ("Message", "string", ".status.message", 1),
        ),
        summary="policies compared on the same jobs: a what-if",
    )
    api_version: Literal["kfarm.dev/v1alpha1"] = "kfarm.dev/v1alpha1"
    kind: Literal["TwinRun"] = "TwinRun"
    metadata: Metadata
    spec: TwinRunSpec
    status: TwinRunStatus | None = None
