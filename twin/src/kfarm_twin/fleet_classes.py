"""Failure classes of a cluster as rows of figures: rates, reach, detection, repair, life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from kfarm_api.reliability import FailureClass, Reliability
from kfarm_api.units import parse_duration_ns, parse_quantity

from kfarm_twin.arrays import BY_EQUILIBRIUM, Ints
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.kernels import samplers
from kfarm_twin.reliability import DOMAINS, FailureMode, Law, own_mode

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
OF_DOMAIN = {"Rack": c.RACK, "Leaf": c.UNIT, "Pdu": c.PDU, "Cdu": c.LOOP, "Plant": c.FARM}
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


def duration_ns(text: str | None, otherwise: int = 0) -> int:
    """A duration that may be left out [ns]."""
    return otherwise if text is None else parse_duration_ns(text)


def is_pooled(mode: FailureMode) -> bool:
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


def ordered(cluster: FleetCluster) -> list[FailureMode]:
    """Classes of a cluster, those that share the clock of a node first."""
    alarm = _alarm(cluster.reliability)
    modes = [*cluster.modes, *([alarm] if alarm and alarm.rate > 0 else [])]
    return sorted(modes, key=lambda mode: not is_pooled(mode))


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


def stops_node(mode: FailureMode, cluster: FleetCluster) -> int:
    """1 for a class that takes just its node out of service."""
    effect = mode.declared.effect if mode.declared else "Stop"
    return int(effect == "Stop" and _takes(mode, cluster) == c.NODE)


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
    found = duration_ns(own.detection, detection_ns) if own else detection_ns
    return total + (found if own is None or own.effect == "Stop" else 0)


def _class_row(mode: FailureMode, index: int, cluster: FleetCluster, domains: Ints) -> list[int]:
    own = mode.declared
    repair = own.repair if own else None
    detection = duration_ns(own.detection if own else None, -1)
    if detection < 0:
        detection = parse_duration_ns(cluster.reliability.detection)
    crew = bool(repair and repair.crew and cluster.reliability.crews)
    part = repair.part if repair else None
    steps = _steps(mode)
    life = own.life if own else None
    return [
        index,
        reach_of(mode, cluster, domains),
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
        duration_ns(life.age if life else None, -1),
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


def _cumulative(weights: Sequence[float]) -> list[float]:
    total, reached, shares = sum(weights), 0.0, []
    for weight in weights:
        reached += weight
        shares.append(reached / total if total > 0 else 1.0)
    return shares


def class_tables(
    modes: list[FailureMode], index: int, cluster: FleetCluster, domains: Ints
) -> tuple[list[list[int]], list[list[float]], float, float]:
    """Rows of a cluster's classes; rate of a node's clock [1/ns]; its load of outages."""
    pooled = [mode for mode in modes if is_pooled(mode)]
    rates = [mode.node_rate_per_ns(cluster.devices) for mode in pooled]
    found = parse_duration_ns(cluster.reliability.detection)
    loads = [
        rate * mean_outage_ns(mode, found) * stops_node(mode, cluster)
        for rate, mode in zip(rates, pooled, strict=True)
    ]
    rest = [0.0] * (len(modes) - len(pooled))
    shares, downs = [*_cumulative(rates), *rest], [*_cumulative(loads), *rest]
    ints = [_class_row(mode, index, cluster, domains) for mode in modes]
    floats = [_law_row(m, s, d) for m, s, d in zip(modes, shares, downs, strict=True)]
    return ints, floats, sum(rates), sum(loads)


def reach_of(mode: FailureMode, cluster: FleetCluster, domains: Ints) -> int:
    """What a failure takes; where that is not around each domain that can fail, the domain itself.

    `domains` [N, 6] are those of all nodes of the fleet.
    """
    takes = _takes(mode, cluster)
    if mode.per not in DOMAINS:
        return takes
    level = OF_DOMAIN[mode.per]
    around = c.UNIT if takes == c.RAIL else takes
    if around >= c.LEVELS:
        return level
    for domain in np.unique(cluster.domains[:, level]):
        inside = np.unique(domains[domains[:, level] == domain, around])
        if domain >= 0 and (len(inside) != 1 or inside[0] < 0):
            return level
    return takes
