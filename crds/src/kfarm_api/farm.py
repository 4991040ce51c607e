"""GPUFarm and NPUFarm: site, clusters, plant, shares."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import (
    BY_NAME,
    DNS_LABEL_PATTERN,
    Cel,
    Conditions,
    KindInfo,
    LabelSelector,
    Metadata,
    Name,
    Percent,
    ServerDefault,
    Strict,
    Text,
)
from kfarm_api.electric import PowerStage
from kfarm_api.fleet_rules import DRAINS_FIT, needs_pdus
from kfarm_api.profile import Celsius
from kfarm_api.queues import Kueue, Share
from kfarm_api.reliability import Reliability
from kfarm_api.telemetry import DriftRows, Suggestions, Telemetry, UnhealthyList
from kfarm_api.thermal import AirZone, Loop, PlantDetails, Watts
from kfarm_api.units import Bounds, Quantity

PowerLimit = Annotated[Quantity, Bounds("0", "10G", "W", exclusive_least=True)]
MAX_NODES_PER_CLUSTER = 65_536


class Site(Strict):
    """Where the farm stands; `climate` names a typical year of outdoor temperatures."""

    name: Text
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$", max_length=2)] | None = None
    climate: Name | None = None


class Member(Strict):
    """A member of the consortium that runs the farm."""

    name: Text
    role: Text | None = None


class SitePower(Strict):
    """Grid side: connection capacity [W], tariff, carbon intensity [gCO2/kWh].

    `stages` stand between the grid and the PDUs, those of the clusters behind them; `other_load` is
    drawn whatever happens (lighting, offices). `water_price` is per m3 in the tariff's currency.
    """

    capacity: PowerLimit | None = None
    tariff: Name | None = None
    carbon_intensity: Annotated[Quantity, Bounds("0", "5000", "gCO2/kWh")] | None = None
    stages: Annotated[list[PowerStage], Field(max_length=8), BY_NAME] = Field(default_factory=list)
    other_load: Watts = "0"
    water_price: Annotated[Quantity, Bounds("0", "1M", "per m3")] | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.stages) || self.stages.all(s, s.at in ['Feed', 'Site'])",
            "power.stages are of a Feed or the Site: those of nodes, racks and PDUs belong to a"
            " cluster's feed.stages",
            lambda p: all(stage.at in ("Feed", "Site") for stage in p.stages),
        ),
    )


class Plant(Strict):
    """Chilled-water plant: `redundancy` chillers may be lost without losing capacity."""

    chillers: Annotated[int, Field(ge=1, le=1000)]
    chiller_capacity: PowerLimit
    redundancy: Annotated[int, Field(ge=0, le=100)] = 0
    details: PlantDetails | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.redundancy) || self.redundancy < self.chillers",
            "plant.redundancy must be smaller than plant.chillers",
            lambda p: p.redundancy < p.chillers,
        ),
    )


class Rack(Strict):
    """How nodes stand in racks; `power_limit` [W] per rack.

    With `capping` ``Uniform`` the accelerators of a rack that would exceed it all slow by the same
    share. `load` [W] is drawn in each rack beside its nodes (switches).
    """

    nodes: Annotated[int, Field(ge=1, le=256)]
    power_limit: PowerLimit | None = None
    capping: Literal["None", "Uniform"] = "None"
    load: Watts = "0"
    per_row: Annotated[int, Field(ge=1, le=1000)] = 10
    rows_per_hall: Annotated[int, Field(ge=1, le=1000)] = 100


class Fabric(Strict):
    """Scale-out network: scalable units and their leaf switches."""

    topology: Literal["RailOptimizedFatTree", "FatTree", "Ethernet"]
    nodes_per_scalable_unit: Annotated[int, Field(ge=1, le=4096)]


class Cooling(Strict):
    """How heat leaves the racks.

    `liquid_share` percent of the heat goes to the coolant loop, the rest to air.
    `supply_temperature` is that of the loop for liquid and of the room for air [degC];
    `air_supply_temperature` is that of the room for liquid. `recirculation` percent of the air at
    a rack inlet has passed the racks before.
    """

    type: Literal["Air", "Liquid"]
    supply_temperature: Celsius
    air_supply_temperature: Celsius | None = None
    liquid_share: Percent = 0
    nodes_per_cdu: Annotated[int, Field(ge=1, le=4096)] | None = None
    cdu_capacity: PowerLimit | None = None
    redundant_pumps: Annotated[int, Field(ge=0, le=8)] = 0
    recirculation: Percent = 0
    loop: Loop | None = None
    air: AirZone | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.type != 'Liquid' || (has(self.nodesPerCdu) && has(self.cduCapacity)"
            " && has(self.liquidShare) && self.liquidShare > 0)",
            "liquid cooling needs nodesPerCdu, cduCapacity and a liquidShare above 0",
            lambda c: (
                c.type != "Liquid"
                or (
                    c.nodes_per_cdu is not None
                    and c.cdu_capacity is not None
                    and c.liquid_share > 0
                )
            ),
        ),
        Cel(
            "self.type != 'Air' || (!has(self.nodesPerCdu) && !has(self.cduCapacity)"
            " && (!has(self.liquidShare) || self.liquidShare == 0))",
            "air cooling takes no nodesPerCdu, cduCapacity or liquidShare",
            lambda c: (
                c.type != "Air"
                or (c.nodes_per_cdu is None and c.cdu_capacity is None and c.liquid_share == 0)
            ),
        ),
        Cel(
            "self.type == 'Liquid' || !has(self.loop)",
            "air cooling takes no loop",
            lambda c: c.type == "Liquid" or c.loop is None,
        ),
    )


class Feed(Strict):
    """Power distribution inside the hall.

    Each node hangs on one PDU of each of `feeds` feeds, which share its load; one may be lost.
    `pdu_limit` [W] is of one PDU, `feed_limit` [W] of one feed for the cluster. `stages` are those
    of nodes, racks and PDUs, from the node outwards.
    """

    nodes_per_pdu: Annotated[int, Field(ge=1, le=4096)]
    feeds: Annotated[int, Field(ge=1, le=4)] = 1
    pdu_limit: PowerLimit | None = None
    feed_limit: PowerLimit | None = None
    stages: Annotated[list[PowerStage], Field(max_length=8), BY_NAME] = Field(default_factory=list)
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.stages) || self.stages.all(s, s.at in ['Node', 'Rack', 'Pdu'])",
            "feed.stages are of a Node, Rack or Pdu: those of feeds and the site belong to the"
            " farm's power.stages",
            lambda f: all(stage.at in ("Node", "Rack", "Pdu") for stage in f.stages),
        ),
    )


class NodeSize(Strict):
    """CPU and memory of a node, for simulated Nodes."""

    cpu: Annotated[int, Field(ge=1, le=4096)] = 112
    memory: Annotated[str, Field(pattern=r"^[0-9]{1,6}(Mi|Gi|Ti)$", max_length=12)] = "2048Gi"
    pods: Annotated[int, Field(ge=1, le=1024)] = 110


class Simulated(Strict):
    """Nodes exist only in the API; KWOK keeps them alive."""


class NodeSource(Strict):
    """Where the Nodes of a cluster come from: exactly one of the two."""

    simulated: Simulated | None = None
    selector: LabelSelector | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.simulated) != has(self.selector)",
            "source needs exactly one of simulated and selector",
            lambda s: (s.simulated is None) != (s.selector is None),
        ),
    )


ClusterName = Annotated[str, Field(min_length=1, max_length=24, pattern=DNS_LABEL_PATTERN)]
"""Short enough that `<farm>-<cluster>-<index>` is a label value."""
_FARM_NAME = Cel(
    "self.metadata.name.size() <= 30 && !self.metadata.name.contains('.')",
    "a farm's name is at most 30 characters and has no dot: it is part of node names and labels",
    lambda farm: len(farm.metadata.name) <= 30 and "." not in farm.metadata.name,
)


class Cluster(Strict):
    """Nodes of one accelerator type under one fabric. `nodes` includes `spares`.

    `accelerator_power_limit` [W] caps each accelerator. `node_price` (in the tariff's currency) is
    paid off over `lifetime_years`.
    """

    name: ClusterName
    accelerator: Name
    nodes: Annotated[int, Field(ge=1, le=MAX_NODES_PER_CLUSTER)]
    accelerators_per_node: Annotated[int, Field(ge=1, le=128)]
    spares: Annotated[int, Field(ge=0, le=MAX_NODES_PER_CLUSTER)] = 0
    share: Name | None = None
    rack: Rack
    fabric: Fabric | None = None
    cooling: Cooling
    feed: Feed | None = None
    accelerator_power_limit: PowerLimit | None = None
    node_price: Annotated[Quantity, Bounds("0", "1P")] | None = None
    lifetime_years: Annotated[int, Field(ge=1, le=30)] = 5
    reliability: Reliability
    node: Annotated[NodeSize, ServerDefault] = Field(default_factory=NodeSize)
    source: NodeSource
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.spares) || self.spares < self.nodes",
            "spares must be smaller than nodes: nodes includes spares",
            lambda c: c.spares < c.nodes,
        ),
        DRAINS_FIT,
        Cel(
            "has(self.feed) || !has(self.reliability.classes)"
            " || self.reliability.classes.all(c, (!has(c.per) || c.per != 'Pdu')"
            " && (!has(c.takes) || c.takes != 'Pdu'))",
            "feed is needed: a failure class names PDUs",
            lambda c: c.feed is not None or not needs_pdus(c.reliability),
        ),
        Cel(
            "has(self.cooling.nodesPerCdu) || !has(self.reliability.classes)"
            " || self.reliability.classes.all(c, !has(c.per) || c.per != 'Cdu')",
            "cooling.nodesPerCdu is needed: a failure class is per Cdu",
            lambda c: (
                c.cooling.nodes_per_cdu is not None
                or all(one.per != "Cdu" for one in c.reliability.classes)
            ),
        ),
    )


class FarmSpec(Strict):
    """One farm; the same for GPUs and NPUs."""

    site: Site
    consortium: Annotated[list[Member], Field(max_length=32)] = Field(default_factory=list)
    power: SitePower | None = None
    plant: Plant | None = None
    shares: Annotated[list[Share], Field(max_length=16), BY_NAME] = Field(default_factory=list)
    kueue: Kueue | None = None
    clusters: Annotated[list[Cluster], Field(min_length=1, max_length=32), BY_NAME]
    telemetry: Telemetry | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.clusters.all(c, self.clusters.exists_one(d, d.name == c.name))",
            "clusters must have different names",
            lambda f: len({c.name for c in f.clusters}) == len(f.clusters),
        ),
        Cel(
            "!has(self.shares) || self.shares.all(s, self.shares.exists_one(t, t.name == s.name))",
            "shares must have different names",
            lambda f: len({s.name for s in f.shares}) == len(f.shares),
        ),
        Cel(
            "self.clusters.all(c, !has(c.share) || (has(self.shares) &&"
            " self.shares.exists(s, s.name == c.share)))",
            "a cluster's share must be one of spec.shares",
            lambda f: all(
                c.share is None or any(s.name == c.share for s in f.shares) for c in f.clusters
            ),
        ),
    )


class ClusterStatus(Strict):
    """What of a cluster is there."""

    name: Name
    nodes: Annotated[int, Field(ge=0)]
    ready: Annotated[int, Field(ge=0)]


class FarmStatus(Strict):
    """Written by the operator.

    `drift` is the history of predicted beside observed, the latest last; `suggestions` are
    parameters that would fit better. `unhealthy` are accelerators that count as lost.
    """

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    nodes: Annotated[int, Field(ge=0)] | None = None
    ready_nodes: Annotated[int, Field(ge=0)] | None = None
    accelerators: Annotated[int, Field(ge=0)] | None = None
    clusters: Annotated[list[ClusterStatus], Field(max_length=32), BY_NAME] = Field(
        default_factory=list
    )
    unhealthy: UnhealthyList = Field(default_factory=list)
    drift: DriftRows = Field(default_factory=list)
    suggestions: Suggestions = Field(default_factory=list)
    conditions: Conditions = Field(default_factory=list)


_COLUMNS = (
    ("Nodes", "integer", ".status.nodes", 0),
    ("NodesReady", "integer", ".status.readyNodes", 0),
    ("Accelerators", "integer", ".status.accelerators", 0),
    ("Site", "string", ".spec.site.name", 1),
)


class GPUFarm(Strict):
    """A farm of GPU clusters."""

    info: ClassVar[KindInfo] = KindInfo(
        "gpufarms", "gpuf", "Cluster", _COLUMNS, "a farm of GPU clusters"
    )
    api_version: Literal["kfarm.dev/v1alpha1"] = "kfarm.dev/v1alpha1"
    kind: Literal["GPUFarm"] = "GPUFarm"
    metadata: Metadata
    spec: FarmSpec
    status: FarmStatus | None = None
    rules: ClassVar[tuple[Cel, ...]] = (_FARM_NAME,)


class NPUFarm(Strict):
    """A farm of NPU servers, of several vendors side by side."""

    info: ClassVar[KindInfo] = KindInfo(
        "npufarms", "npuf", "Cluster", _COLUMNS, "a farm of NPU servers"
    )
    api_version: Literal["kfarm.dev/v1alpha1"] = "kfarm.dev/v1alpha1"
    kind: Literal["NPUFarm"] = "NPUFarm"
    metadata: Metadata
    spec: FarmSpec
    status: FarmStatus | None = None
    rules: ClassVar[tuple[Cel, ...]] = (_FARM_NAME,)


Farm = GPUFarm | NPUFarm
