"""Fleets as tables: nodes and their domains, failure classes, crews.

`compile_fleet` turns the `reliability` of clusters into the tables of `kernels.fleet_columns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from kfarm_api.reliability import FailureClass, Reliability
from kfarm_api.units import parse_duration_ns, parse_quantity

from kfarm_twin.arrays import BY_EQUILIBRIUM, Floats, Ints
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels import samplers
from kfarm_twin.kernels.fleet_columns import Fleet
from kfarm_twin.kernels.rng import ln
from kfarm_twin.reliability import DOMAINS, NS_PER_DAY, FailureMode, Law, own_mode

WARM_NS = 90 * NS_PER_DAY
"""Least time played and left out before a future whose start is not known in closed form [ns]."""
WARM_REPAIRS = 4
"""The same in units of the longest mean time out of service."""
_LAWS = {
    "Exponential": samplers.EXPONENTIAL,
    "Weibull": samplers.WEIBULL,
    "Lognormal": samplers.LOGNORMAL,
    "Fixed": samplers.FIXED,
}
_TAKES = {
    "Device": c.DEVICE,
    "Node": c.NODE,
    "Rail": c.RAIL,
    "Rack": c.RACK,
    "ScalableUnit": c.UNIT,
    "Pdu": c.PDU,
    "Loop": c.LOOP,
    "Hall": c.HALL,
    "Farm": c.FARM,
}
_OF_DOMAIN = {"Rack": c.RACK, "Leaf": c.UNIT, "Pdu": c.PDU, "Cdu": c.LOOP, "Plant": c.FARM}
_TAKEN = {
    "Device": "Node",
    "Node": "Node",
    "Link": "Node",
    "Rack": "Rack",
    "Leaf": "ScalableUnit",
    "Pdu": "Pdu",
    "Cdu": "Loop",
    "Plant": "Farm",
}
"""What goes down with a thing where the class does not say."""
_EFFECTS = {"Stop": c.STOP, "Slow": c.SLOW, "Corrupt": c.CORRUPT}
ALARM_CLASS = "false-alarm"


@dataclass(frozen=True)
class FleetCluster:
    """One cluster of a fleet.

    Attributes
    ----------
    domains
        [n, 6] index of each node's rack, scalable unit, PDU, loop, hall and farm, counted through
        the whole fleet; -1 where there is none.
    start
        [n] how each node starts, as `arrays.Nodes.start`.
    rails
        Whether a leaf switch serves one rail of a scalable unit (else the whole unit).
    """

    modes: tuple[FailureMode, ...]
    reliability: Reliability
    devices: int
    domains: Ints
    start: Ints
    rails: bool

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.start)


def plain_cluster(
    modes: Sequence[FailureMode],
    reliability: Reliability,
    nodes: int,
    devices: int = 8,
    *,
    per_rack: int = 4,
    per_unit: int = 0,
) -> FleetCluster:
    """A cluster of equal nodes with racks and scalable units, one loop, one hall, no PDUs."""
    index = np.arange(nodes, dtype=np.int64)
    unit = index // per_unit if per_unit else np.zeros(nodes, np.int64)
    zero = np.zeros(nodes, np.int64)
    domains = np.stack([index // per_rack, unit, zero - 1, zero, zero, zero], axis=1)
    start = np.full(nodes, BY_EQUILIBRIUM, dtype=np.int64)
    return FleetCluster(tuple(modes), reliability, devices, domains, start, rails=per_unit > 0)


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


def _duration(text: str | None, otherwise: int = 0) -> int:
    return otherwise if text is None else parse_duration_ns(text)


def _is_pooled(mode: FailureMode) -> bool:
    """Whether a class shares the clock of its node: neither of a domain nor ageing."""
    life = mode.declared.life if mode.declared else None
    return mode.per not in DOMAINS and (life is None or life.distribution == "Exponential")


def _alarm(reliability: Reliability) -> FailureMode | None:
    alarms = reliability.false_alarms
    if alarms is None:
        return None
    body = {
        "name": ALARM_CLASS,
        "failuresPer1000NodeDays": alarms.per_1000_node_days,
        "meanTimeToRepair": alarms.check,
        "detection": "0s",
        "repair": {"distribution": "Fixed"},
    }
    return own_mode(FailureClass.model_validate(body))


def _ordered(cluster: FleetCluster) -> list[FailureMode]:
    """Classes of a cluster, those that share the clock of a node first."""
    alarm = _alarm(cluster.reliability)
    modes = [*cluster.modes, *([alarm] if alarm and alarm.rate > 0 else [])]
    return sorted(modes, key=lambda mode: not _is_pooled(mode))


def repair_law(mode: FailureMode) -> Law:
    """Distribution of a class's repair."""
    repair = mode.declared.repair if mode.declared else None
    if repair is None:
        return Law("Exponential", float(mode.repair_ns))
    shape = parse_quantity(repair.shape) if repair.shape else 1.0
    return Law(repair.distribution, float(mode.repair_ns), shape)


def _life(mode: FailureMode) -> Law:
    life = mode.declared.life if mode.declared else None
    mean = 1.0 / mode.rate_per_ns
    if life is None or life.shape is None:
        return Law("Exponential", mean)
    return Law(life.distribution, mean, parse_quantity(life.shape))


def _takes(mode: FailureMode, cluster: FleetCluster) -> int:
    declared = mode.declared.takes if mode.declared else None
    if declared is None and mode.per == "Leaf" and cluster.rails:
        return c.RAIL
    return _TAKES[declared or _TAKEN[mode.per]]


def _steps(mode: FailureMode) -> list[int]:
    steps = mode.declared.recovery if mode.declared else []
    cells = [
        value
        for step in steps
        for value in (step.success * 10_000, parse_duration_ns(step.time), step.attempts)
    ]
    return [len(steps), *cells, *([0] * (12 - len(cells)))]


def _class_row(mode: FailureMode, index: int, cluster: FleetCluster, domains: Ints) -> list[int]:
    own = mode.declared
    repair = own.repair if own else None
    detection = _duration(own.detection if own else None, -1)
    if detection < 0:
        detection = parse_duration_ns(cluster.reliability.detection)
    crew = bool(repair and repair.crew and cluster.reliability.crews)
    part = repair.part if repair else None
    steps = _steps(mode)
    life = own.life if own else None
    return [
        index,
        _reach(mode, cluster, domains),
        _EFFECTS[own.effect if own else "Stop"],
        (own.speed or 0) * 10_000 if own else 0,
        int(bool(own and own.evict)),
        detection,
        _LAWS[repair_law(mode).distribution],
        int(crew),
        part.stock if part else 0,
        int(not crew and part is None and steps[0] == 0),
        int(mode.name == ALARM_CLASS),
        _LAWS[_life(mode).distribution],
        _duration(life.age if life else None, -1),
        *steps,
    ]


def _law_row(mode: FailureMode, share: float, down: float) -> list[float]:
    repair = mode.declared.repair if mode.declared else None
    law, life = repair_law(mode), _life(mode)
    part = repair.part if repair else None
    return [
        share,
        down,
        law.mean_ns,
        law.scale_ns,
        law.shape,
        life.mean_ns,
        life.scale_ns,
        life.shape,
        float(parse_duration_ns(part.lead_time)) if part else 0.0,
        parse_quantity(part.spread) if part else 0.0,
        part.share / 100.0 if part else 0.0,
        repair.recurrence / 100.0 if repair else 0.0,
        float(parse_duration_ns(repair.recurs_within)) if repair else 0.0,
    ]


def mean_outage_ns(mode: FailureMode, detection_ns: int) -> float:
    """Mean time out of service where nobody waits for a crew [ns]; 0 where it never is."""
    own = mode.declared
    if own is not None and own.effect == "Slow" and not own.evict:
        return 0.0
    repair = own.repair if own else None
    part, steps = (repair.part if repair else None), (own.recovery if own else [])
    total = float(mode.repair_ns)
    if not (part or steps or (repair and repair.crew)):
        return total
    if part:
        total += part.share / 100.0 * parse_duration_ns(part.lead_time)
    for step in reversed(steps):
        fails = 1.0 - step.success / 100.0
        for _ in range(step.attempts):
            total = parse_duration_ns(step.time) + fails * total
    found = _duration(own.detection, detection_ns) if own else detection_ns
    return total + (found if own is None or own.effect == "Stop" else 0)


def _cumulative(weights: Sequence[float]) -> list[float]:
    total, reached, shares = sum(weights), 0.0, []
    for weight in weights:
        reached += weight
        shares.append(reached / total if total > 0 else 1.0)
    return shares


def _class_tables(
    modes: list[FailureMode], index: int, cluster: FleetCluster, domains: Ints
) -> tuple[list[list[int]], list[list[float]], float, float]:
    """Rows of a cluster's classes; rate of a node's clock [1/ns]; its load of outages."""
    pooled = [mode for mode in modes if _is_pooled(mode)]
    rates = [mode.node_rate_per_ns(cluster.devices) for mode in pooled]
    found = parse_duration_ns(cluster.reliability.detection)
    loads = [
        rate * mean_outage_ns(mode, found) * _stops_node(mode, cluster)
        for rate, mode in zip(rates, pooled, strict=True)
    ]
    rest = [0.0] * (len(modes) - len(pooled))
    shares, downs = [*_cumulative(rates), *rest], [*_cumulative(loads), *rest]
    ints = [_class_row(mode, index, cluster, domains) for mode in modes]
    floats = [_law_row(m, s, d) for m, s, d in zip(modes, shares, downs, strict=True)]
    return ints, floats, sum(rates), sum(loads)


def _stops_node(mode: FailureMode, cluster: FleetCluster) -> int:
    effect = mode.declared.effect if mode.declared else "Stop"
    return int(effect == "Stop" and _takes(mode, cluster) == c.NODE)


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
        _duration(hold.within if hold else None),
        _duration(hold.hold if hold else None),
        lemons.faults if lemons else 0,
        _duration(lemons.within if lemons else None),
        _duration(lemons.exchange if lemons else None),
        _duration(drains.every if drains else None),
        _duration(drains.duration if drains else None),
        drains.at_once if drains else 0,
        int(bool(drains and drains.renews)),
        _duration(own.bursts.window if own.bursts else None),
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
    level, reach = _OF_DOMAIN[mode.per], _reach(mode, cluster, domains)
    column = cluster.domains[:, level]
    each = cluster.devices if mode.per == "Leaf" and cluster.rails else 1
    taken = [
        int(domains[domains[:, level] == d, c.UNIT if reach == c.RAIL else reach][0])
        for d in np.unique(column[column >= 0])
    ]
    return [[index, level, d] for d in taken for _ in range(each)]


def _reach(mode: FailureMode, cluster: FleetCluster, domains: Ints) -> int:
    """What a failure takes; where that is not around each domain that can fail, the domain itself.

    `domains` [N, 6] are those of all nodes of the fleet.
    """
    takes = _takes(mode, cluster)
    if mode.per not in DOMAINS:
        return takes
    level = _OF_DOMAIN[mode.per]
    around = c.UNIT if takes == c.RAIL else takes
    if around >= c.LEVELS:
        return level
    for domain in np.unique(cluster.domains[:, level]):
        inside = np.unique(domains[domains[:, level] == domain, around])
        if domain >= 0 and (len(inside) != 1 or inside[0] < 0):
            return level
    return takes


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
        if mode.per in DOMAINS or _is_pooled(mode):
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
            ageing = not _is_pooled(mode) and mode.per not in DOMAINS
            steps = bool(mode.declared and mode.declared.recovery)
            if ageing or steps or not (_stops_node(mode, cluster) or mode.per in DOMAINS):
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
        modes = _ordered(cluster)
        first = len(classes)
        ints, floats, rate, load = _class_tables(modes, index, cluster, domains)
        pooled = sum(_is_pooled(mode) for mode in modes)
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


def _node_rows(clusters: Sequence[FleetCluster], domains: Ints, clocks: Ints) -> Ints:
    home = np.repeat(np.arange(len(clusters)), [cluster.nodes for cluster in clusters])
    devices = np.array([cluster.devices for cluster in clusters])[home]
    start = np.concatenate([cluster.start for cluster in clusters])
    first = np.concatenate([[0], np.cumsum(clocks)[:-1]])
    columns = [*domains.T, home, devices, start, first, clocks]
    return np.stack([np.asarray(column, np.int64) for column in columns], axis=1)
