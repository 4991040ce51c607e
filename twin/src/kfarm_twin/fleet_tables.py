"""Fleets as tables: nodes and their domains, failure classes, crews.

`compile_fleet` turns the `reliability` of clusters into the tables of `kernels.fleet_columns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from kfarm_api.reliability import Reliability
from kfarm_api.units import parse_duration_ns, parse_quantity

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.fleet_classes import (
    OF_DOMAIN,
    FleetCluster,
    class_tables,
    duration_ns,
    is_pooled,
    mean_outage_ns,
    ordered,
    reach_of,
    stops_node,
)
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels.fleet_columns import Fleet
from kfarm_twin.kernels.rng import ln
from kfarm_twin.reliability import DOMAINS, NS_PER_DAY, OVERHEAT, FailureMode

WARM_NS = 90 * NS_PER_DAY
"""Least time played and left out before a future whose start is not known in closed form [ns]."""
WARM_REPAIRS = 4
"""The same in units of the longest mean time out of service."""


@dataclass(frozen=True)
class CompiledFleet:
    """Tables of a fleet, the names of its classes, and how long it must run before a future."""

    tables: Fleet
    classes: tuple[str, ...]
    warm_ns: int
    remembered: int

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.tables.nodes)

    @property
    def faults_per_ns(self) -> float:
        """Faults of all that may fail, about, where nothing is down or ages [1/ns]."""
        tables = self.tables
        pooled = tables.rates[:, c.RATE] * tables.clusters[:, c.NODES]
        own = 1.0 / tables.laws[tables.clocks[:, 0], c.LIFE_MEAN]
        return float(pooled.sum() + own.sum())


def _cluster_row(
    cluster: FleetCluster, first_class: int, pooled: int, first_node: int
) -> list[int]:
    own = cluster.reliability
    shift = own.crews.shift if own.crews else None
    hour = 3600 * 10**9
    hold, lemons, drains = own.quarantine, own.lemons, own.drains
    return [
        first_class,
        pooled,
        first_node,
        cluster.nodes,
        own.crews.count if own.crews else 0,
        shift.start * hour if shift else 0,
        shift.hours * hour if shift else 24 * hour,
        shift.days if shift else 7,
        hold.faults if hold else 0,
        duration_ns(hold.within if hold else None),
        duration_ns(hold.hold if hold else None),
        lemons.faults if lemons else 0,
        duration_ns(lemons.within if lemons else None),
        duration_ns(lemons.exchange if lemons else None),
        duration_ns(drains.every if drains else None),
        duration_ns(drains.duration if drains else None),
        drains.at_once if drains else 0,
        int(bool(drains and drains.renews)),
        duration_ns(own.bursts.window if own.bursts else None),
    ]


def _rate_row(cluster: FleetCluster, rate: float, load: float) -> list[float]:
    own = cluster.reliability
    bursts, unrest = own.bursts, own.unrest
    share = unrest.share / 100.0 if unrest else 0.0
    factor = parse_quantity(unrest.factor) if unrest else 1.0
    return [
        rate,
        1.0 / (1.0 - share + share * factor),
        parse_quantity(own.frailty.shape) if own.frailty else 0.0,
        bursts.share / 100.0 if bursts else 0.0,
        parse_quantity(bursts.size) if bursts else 1.0,
        share,
        factor,
        float(parse_duration_ns(unrest.spell)) if unrest else 0.0,
        load,
        *_stress(own),
        unrest.holds / 100.0 if unrest else 0.0,
    ]


def _stress(reliability: Reliability) -> list[float]:
    stress = reliability.temperature
    if stress is None:
        return [c.NO_STRESS, 0.0, 0.0]
    reference = parse_quantity(stress.reference)
    if stress.activation_energy is not None:
        return [c.ARRHENIUS, parse_quantity(stress.activation_energy), reference]
    factor = parse_quantity(stress.factor_per_kelvin or "1")
    return [c.PER_KELVIN, ln(factor), reference]


def _domain_rows(
    mode: FailureMode, index: int, cluster: FleetCluster, domains: Ints
) -> list[list[int]]:
    """Patients of a class of domains: one of each, or one per rail where leaves serve rails.

    Each row names what is taken: the domain that failed, or that around it which the class takes.
    """
    level, reach = OF_DOMAIN[mode.per], reach_of(mode, cluster, domains)
    column = cluster.domains[:, level]
    each = cluster.devices if mode.per == "Leaf" and cluster.rails else 1
    taken = [
        int(domains[domains[:, level] == d, c.UNIT if reach == c.RAIL else reach][0])
        for d in np.unique(column[column >= 0])
    ]
    return [[index, level, d] for d in taken for _ in range(each)]


def _members(domains: Ints) -> tuple[Ints, Ints]:
    """Nodes by domain: where each domain's begin [L, most + 1], and the nodes [L, N]."""
    most = max(int(domains.max(initial=0)) + 1, 1)
    first = np.zeros((c.LEVELS, most + 1), np.int64)
    members = np.zeros((c.LEVELS, len(domains)), np.int64)
    for level in range(c.LEVELS):
        column = domains[:, level]
        inside = np.flatnonzero(column >= 0)
        order = inside[np.argsort(column[inside], kind="stable")]
        members[level, : len(order)] = order
        first[level, 1:] = np.cumsum(np.bincount(column[inside], minlength=most))
    return first, members


def _component_clocks(
    modes: list[FailureMode], first_class: int, cluster: FleetCluster, first_node: int
) -> tuple[list[list[int]], Ints]:
    """Clocks of ageing components, node by node, and how many each node has."""
    own = []
    for offset, mode in enumerate(modes):
        if mode.per in DOMAINS or is_pooled(mode):
            continue
        each = 1 if mode.by_node or mode.per == "Node" else cluster.devices
        own += [(first_class + offset, component) for component in range(each)]
    rows = [
        [failed, node, component]
        for node in range(first_node, first_node + cluster.nodes)
        for failed, component in own
    ]
    return rows, np.full(cluster.nodes, len(own), np.int64)


def _needs_warming(clusters: Sequence[FleetCluster]) -> bool:
    """Whether the state of a fleet that has long run is not known in closed form."""
    for cluster in clusters:
        own = cluster.reliability
        if own.bursts or own.unrest or own.quarantine or own.lemons or own.drains:
            return True
        for mode in cluster.modes:
            repair = mode.declared.repair if mode.declared else None
            ageing = not is_pooled(mode) and mode.per not in DOMAINS
            steps = bool(mode.declared and mode.declared.recovery)
            if ageing or steps or not (stops_node(mode, cluster) or mode.per in DOMAINS):
                return True
            if repair and (repair.crew or repair.part or repair.recurrence):
                return True
    return False


def warm_up_ns(clusters: Sequence[FleetCluster]) -> int:
    """Time to play before a future [ns]; 0 where its start is drawn from the long run directly."""
    if not _needs_warming(clusters):
        return 0
    longest = max(
        (
            mean_outage_ns(mode, parse_duration_ns(cluster.reliability.detection))
            for cluster in clusters
            for mode in cluster.modes
        ),
        default=0.0,
    )
    for cluster in clusters:
        unrest = cluster.reliability.unrest
        if unrest and unrest.holds:
            longest = max(longest, float(parse_duration_ns(unrest.spell)))
    return max(WARM_NS, int(WARM_REPAIRS * longest))


def _frozen_ints(rows: Sequence[Sequence[int]] | Ints, width: int) -> Ints:
    table = np.ascontiguousarray(np.asarray(rows, np.int64).reshape(-1, width))
    table.setflags(write=False)
    return table


def _frozen_floats(rows: Sequence[Sequence[float]], width: int) -> Floats:
    table = np.ascontiguousarray(np.asarray(rows, np.float64).reshape(-1, width))
    table.setflags(write=False)
    return table


def compile_fleet(clusters: Sequence[FleetCluster]) -> CompiledFleet:
    """Tables of a fleet; nodes count through its clusters in order."""
    classes: list[list[int]] = []
    laws: list[list[float]] = []
    names: list[str] = []
    rows: list[list[int]] = []
    rates: list[list[float]] = []
    clocks: list[list[int]] = []
    counts: list[Ints] = []
    domain_rows: list[list[int]] = []
    first_node = 0
    domains = np.concatenate([cluster.domains for cluster in clusters])
    for index, cluster in enumerate(clusters):
        modes = ordered(cluster)
        first = len(classes)
        ints, floats, rate, load = class_tables(modes, index, cluster, domains)
        pooled = sum(is_pooled(mode) for mode in modes)
        rows.append(_cluster_row(cluster, first, pooled, first_node))
        rates.append(_rate_row(cluster, rate, load))
        own, each = _component_clocks(modes, first, cluster, first_node)
        clocks += own
        counts.append(each)
        for offset, mode in enumerate(modes):
            if mode.per in DOMAINS:
                domain_rows += _domain_rows(mode, first + offset, cluster, domains)
        classes += ints
        laws += floats
        names += [mode.name for mode in modes]
        first_node += cluster.nodes
    clocks += [[row[0], first_node + at, 0] for at, row in enumerate(domain_rows)]
    first_member, members = _members(domains)
    tables = Fleet(
        nodes=_frozen_ints(_node_rows(clusters, domains, np.concatenate(counts)), c.NODE_COLUMNS),
        clusters=_frozen_ints(rows, c.CLUSTER_COLUMNS),
        rates=_frozen_floats(rates, c.RATE_COLUMNS),
        classes=_frozen_ints(classes, c.CLASS_COLUMNS),
        laws=_frozen_floats(laws, c.LAW_COLUMNS),
        domains=_frozen_ints(domain_rows, 3),
        clocks=_frozen_ints(clocks, 3),
        first=_frozen_ints(first_member, first_member.shape[1]),
        members=_frozen_ints(members, members.shape[1]),
    )
    remembered = max(int(tables.clusters[:, [c.HOLD_FAULTS, c.LEMON_FAULTS]].max()), 0)
    return CompiledFleet(tables, tuple(names), warm_up_ns(clusters), remembered)


def with_overheat(fleet: CompiledFleet) -> CompiledFleet:
    """The same fleet with the class of nodes that are too hot behind all others."""
    tables, column = fleet.tables, np.zeros((1, c.CLASS_COLUMNS), np.int64)
    column[0, [c.TAKES, c.EFFECT, c.PPM]] = c.NODE, c.STOP, c.FULL_PPM
    law = np.zeros((1, c.LAW_COLUMNS))
    return replace(
        fleet,
        tables=tables._replace(
            classes=_frozen_ints(np.concatenate([tables.classes, column]), c.CLASS_COLUMNS),
            laws=_frozen_floats(np.concatenate([tables.laws, law]).tolist(), c.LAW_COLUMNS),
        ),
        classes=(*fleet.classes, OVERHEAT),
    )


def _node_rows(clusters: Sequence[FleetCluster], domains: Ints, clocks: Ints) -> Ints:
    home = np.repeat(np.arange(len(clusters)), [cluster.nodes for cluster in clusters])
    devices = np.array([cluster.devices for cluster in clusters])[home]
    start = np.concatenate([cluster.start for cluster in clusters])
    first = np.concatenate([[0], np.cumsum(clocks)[:-1]])
    columns = [*domains.T, home, devices, start, first, clocks]
    return np.stack([np.asarray(column, np.int64) for column in columns], axis=1)
