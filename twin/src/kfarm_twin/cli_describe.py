"""What a farm is, in figures that follow from its manifest alone: ``kfarm describe``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kfarm_api.farm import Cluster, Farm
from kfarm_api.layout import NodePlace, cluster_places
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.units import parse_quantity

from kfarm_twin.cli_inputs import Inputs, located
from kfarm_twin.figures import digits, figure
from kfarm_twin.load import ManifestError
from kfarm_twin.request import InputError

if TYPE_CHECKING:
    from rich.tree import Tree

DAYS_PER_YEAR = 365.0


@dataclass(frozen=True)
class ClusterFacts:
    """A cluster at a glance.

    Attributes
    ----------
    power_w
        Nameplate: all devices at TDP or their limit, all nodes loaded, with power supplies [W];
        None without the profile.
    rack_power_w
        The same of a full rack, with what it draws beside its nodes and its own stages.
    rack_oversubscription, pdu_oversubscription, feed_oversubscription
        Nameplate power over the limit; None where either is not known.
    pdu_power_w, feed_power_w
        Nameplate power of one PDU of a full group, and of one feed.
    cdu_load
        Highest share of a CDU's capacity at nameplate power; None for air.
    failures_per_year
        Expected node failures of all classes.
    """

    name: str
    accelerator: str
    nodes: int
    spares: int
    racks: int
    scalable_units: int
    accelerators: int
    cooling: str
    cdus: int
    power_w: float | None
    rack_power_w: float | None
    rack_limit_w: float | None
    rack_oversubscription: float | None
    pdu_power_w: float | None
    pdu_limit_w: float | None
    pdu_oversubscription: float | None
    feed_power_w: float | None
    feed_limit_w: float | None
    feed_oversubscription: float | None
    cdu_load: float | None
    failures_per_year: float
    reliability: str


@dataclass(frozen=True)
class FarmFacts:
    """A farm at a glance; powers in watts."""

    kind: str
    name: str
    site: str
    nodes: int
    accelerators: int
    power_w: float | None
    capacity_w: float | None
    plant_w: float | None
    clusters: tuple[ClusterFacts, ...]

    def as_data(self) -> dict[str, Any]:
        """Keys in camelCase, as documented in docs/cli.md."""
        data: dict[str, Any] = _camel_keys(asdict(self))
        return data


def describe_farms(inputs: Inputs) -> list[FarmFacts]:
    """Work out the figures of all farms in the files.

    Raises
    ------
    ManifestError
        When a farm refers to what is not there.
    """
    profiles = {profile.metadata.name: profile for profile in inputs.profiles()}
    try:
        return [describe_farm(farm, profiles) for farm in inputs.farms()]
    except InputError as error:
        raise ManifestError([located(inputs, inputs.documents[0], error)]) from error


def describe_farm(farm: Farm, profiles: dict[str, AcceleratorProfile]) -> FarmFacts:
    """Work out the figures of a farm.

    Raises
    ------
    InputError
        When a reliability reference is not known.
    """
    where = f"{farm.kind}/{farm.metadata.name}: spec.clusters"
    clusters = tuple(
        _describe_cluster(farm, cluster, profiles, f"{where}[{index}]")
        for index, cluster in enumerate(farm.spec.clusters)
    )
    known = [c.power_w for c in clusters if c.power_w is not None]
    plant, power = farm.spec.plant, farm.spec.power
    return FarmFacts(
        kind=farm.kind,
        name=farm.metadata.name,
        site=farm.spec.site.name,
        nodes=sum(c.nodes for c in clusters),
        accelerators=sum(c.accelerators for c in clusters),
        power_w=sum(known) if len(known) == len(clusters) else None,
        capacity_w=parse_quantity(power.capacity) if power and power.capacity else None,
        plant_w=parse_quantity(plant.chiller_capacity) * (plant.chillers - plant.redundancy)
        if plant
        else None,
        clusters=clusters,
    )


def _describe_cluster(
    farm: Farm, cluster: Cluster, profiles: dict[str, AcceleratorProfile], where: str
) -> ClusterFacts:
    places = list(cluster_places(farm, cluster))
    profile = profiles.get(cluster.accelerator)
    node_w = node_power_w(cluster, profile) if profile else None
    rack_w = _rack_power_w(cluster, cluster.rack.nodes, node_w)
    pdu_w, feed_w = _feed_power_w(cluster, node_w)
    feed = cluster.feed
    rack_limit = _watts(cluster.rack.power_limit)
    pdu_limit, feed_limit = (
        (_watts(feed.pdu_limit), _watts(feed.feed_limit)) if feed else (None,) * 2
    )
    return ClusterFacts(
        name=cluster.name,
        accelerator=cluster.accelerator,
        nodes=cluster.nodes,
        spares=cluster.spares,
        racks=len({place.rack for place in places}),
        scalable_units=len({place.scalable_unit for place in places}) if cluster.fabric else 0,
        accelerators=cluster.nodes * cluster.accelerators_per_node,
        cooling=cluster.cooling.type,
        cdus=len({place.cdu for place in places if place.cdu is not None}),
        power_w=node_w * cluster.nodes if node_w is not None else None,
        rack_power_w=rack_w,
        rack_limit_w=rack_limit,
        rack_oversubscription=_over(rack_w, rack_limit),
        pdu_power_w=pdu_w,
        pdu_limit_w=pdu_limit,
        pdu_oversubscription=_over(pdu_w, pdu_limit),
        feed_power_w=feed_w,
        feed_limit_w=feed_limit,
        feed_oversubscription=_over(feed_w, feed_limit),
        cdu_load=_cdu_load(cluster, places, node_w),
        failures_per_year=_failures_per_year(cluster, where),
        reliability=cluster.reliability.reference or "own classes",
    )


def _watts(text: str | None) -> float | None:
    return parse_quantity(text) if text is not None else None


def _over(power_w: float | None, limit_w: float | None) -> float | None:
    return power_w / limit_w if power_w is not None and limit_w is not None else None


def _drawn_w(cluster: Cluster, at: str, load_w: float) -> float:
    """What the stages of one kind draw for a load [W]."""
    stages = cluster.feed.stages if cluster.feed is not None else []
    if not any(stage.at == at for stage in stages):
        return load_w
    from kfarm_twin.electric import chain_at, upstream  # noqa: PLC0415 - loads numba

    return float(upstream(chain_at(stages, at, f"cluster {cluster.name}: feed.stages"), load_w))


def node_power_w(cluster: Cluster, profile: AcceleratorProfile) -> float:
    """Nameplate power of one node, as its power supplies draw it [W]."""
    device = parse_quantity(profile.spec.power.tdp)
    if cluster.accelerator_power_limit is not None:
        device = min(device, parse_quantity(cluster.accelerator_power_limit))
    load = cluster.accelerators_per_node * device
    load += parse_quantity(profile.spec.node_overhead.loaded)
    return _drawn_w(cluster, "Node", load)


def _rack_power_w(cluster: Cluster, nodes: float, node_w: float | None) -> float | None:
    """Nameplate power of a rack with so many nodes, or a part of one [W]."""
    if node_w is None:
        return None
    racks = nodes / cluster.rack.nodes
    full = node_w * cluster.rack.nodes + parse_quantity(cluster.rack.load)
    return racks * _drawn_w(cluster, "Rack", full)


def _feed_power_w(cluster: Cluster, node_w: float | None) -> tuple[float | None, float | None]:
    """Nameplate power of one PDU of a full group, and of one feed, racks full [W]."""
    feed = cluster.feed
    group_w = None
    if feed is not None:
        group_w = _rack_power_w(cluster, min(feed.nodes_per_pdu, cluster.nodes), node_w)
    if feed is None or group_w is None:
        return None, None
    each = group_w / feed.feeds
    groups = cluster.nodes / feed.nodes_per_pdu
    return each, max(groups, 1.0) * _drawn_w(cluster, "Pdu", each)


def _cdu_load(cluster: Cluster, places: Sequence[NodePlace], node_w: float | None) -> float | None:
    capacity = cluster.cooling.cdu_capacity
    if capacity is None or node_w is None:
        return None
    nodes: dict[int, int] = {}
    for place in places:
        if place.cdu is not None:
            nodes[place.cdu] = nodes.get(place.cdu, 0) + 1
    heat_w = max(nodes.values(), default=0) * node_w * cluster.cooling.liquid_share / 100
    return heat_w / parse_quantity(capacity)


def _failures_per_year(cluster: Cluster, where: str) -> float:
    """Failures of nodes and of what is in them; what nodes share is left out."""
    from kfarm_twin.reliability import NS_PER_DAY, failure_modes  # noqa: PLC0415 - reads a file

    devices = cluster.accelerators_per_node
    rate = sum(mode.node_rate_per_ns(devices) for mode in failure_modes(cluster, where))
    return rate * NS_PER_DAY * cluster.nodes * DAYS_PER_YEAR


def farm_tree(facts: FarmFacts) -> Tree:
    """The figures as a tree for the terminal."""
    from rich.text import Text  # noqa: PLC0415 - rich loads slowly; JSON does not need it
    from rich.tree import Tree  # noqa: PLC0415

    tree = Tree(Text(f"{facts.kind} {facts.name} ({facts.site})", style="bold"))
    tree.add(Text(f"{facts.nodes:,} nodes, {facts.accelerators:,} accelerators"))
    tree.add(Text(f"nameplate power {figure(facts.power_w, 'W')}{_of(facts.capacity_w, 'site')}"))
    if facts.plant_w is not None:
        tree.add(Text(f"plant {figure(facts.plant_w, 'W')} without its redundant chillers"))
    for cluster in facts.clusters:
        branch = tree.add(Text(f"cluster {cluster.name}: {cluster.accelerator}", style="bold"))
        for line in _cluster_lines(cluster):
            branch.add(Text(line))
    return tree


def _cluster_lines(facts: ClusterFacts) -> list[str]:
    lines = [
        f"{facts.nodes:,} nodes ({facts.spares} spare), {facts.accelerators:,} accelerators",
        f"{facts.racks:,} racks, {facts.scalable_units} scalable units",
        f"nameplate power {figure(facts.power_w, 'W')}, "
        f"rack {figure(facts.rack_power_w, 'W')}{_of(facts.rack_limit_w, 'limit')}",
    ]
    if facts.pdu_power_w is not None:
        lines.append(
            f"PDU {figure(facts.pdu_power_w, 'W')}{_of(facts.pdu_limit_w, 'limit')}, "
            f"feed {figure(facts.feed_power_w, 'W')}{_of(facts.feed_limit_w, 'limit')}"
        )
    over = [
        f"{what} {share:.2f}"
        for what, share in (
            ("rack", facts.rack_oversubscription),
            ("PDU", facts.pdu_oversubscription),
            ("feed", facts.feed_oversubscription),
        )
        if share is not None
    ]
    if over:
        lines.append(f"nameplate over limit: {', '.join(over)}")
    if facts.cdu_load is not None:
        lines.append(f"{facts.cdus} CDUs, fullest at {facts.cdu_load:.0%} of its capacity")
    else:
        lines.append(f"cooling: {facts.cooling.lower()}")
    expected = f"about {digits(facts.failures_per_year)} node failures a year"
    lines.append(f"reliability {facts.reliability}: {expected}")
    if facts.power_w is None:
        lines.append(f"no AcceleratorProfile {facts.accelerator}: add -f examples/catalogue")
    return lines


def _of(limit_w: float | None, what: str) -> str:
    return f" of {figure(limit_w, 'W')} {what}" if limit_w is not None else ""


def _camel_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel(key): _camel_keys(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_camel_keys(inner) for inner in value]
    return value


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(part.title() for part in rest)
