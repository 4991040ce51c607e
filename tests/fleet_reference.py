"""One future of a fleet's failures in plain Python: slow, and written apart from the kernels.

Nodes, domains and what ails them are objects; who is down, how slow a node runs and how many are
out at once is worked out from them after each event. It reads what `FleetCluster` says, not the
compiled tables. Shared with the kernels are the numbers of draws and of changes alone, so that
logs must agree to the last event.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import naive
from kfarm_api.reliability import FailureClass
from kfarm_api.units import parse_duration_ns, parse_quantity
from kfarm_twin.arrays import NEVER_UP, STARTS_DOWN, STARTS_UP
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.reliability import Law, own_mode

FAR = naive.FAR
DAY = 86_400 * 10**9
WEEK = 7 * DAY
FULL = 10**6
LEVEL = {"Rack": 0, "ScalableUnit": 1, "Pdu": 2, "Loop": 3, "Hall": 4, "Farm": 5, "Rail": 1}
OF_DOMAIN = {"Rack": "Rack", "Leaf": "ScalableUnit", "Pdu": "Pdu", "Cdu": "Loop", "Plant": "Farm"}
MOST_MEMBERS = 4096
TINY = 1e-300
ln = naive.ln


# -- numbers ---------------------------------------------------------------------------------------
def exp(x: float) -> float:
    """fdlibm's exponential."""
    if x > 709.782712893383973096:
        return math.inf
    if x < -745.13321910194110842:
        return 0.0
    k = math.floor(x * 1.44269504088896338700 + 0.5)
    high, low = x - k * 6.93147180369123816490e-01, k * 1.90821492927058770002e-10
    r = high - low
    t = r * r
    series = 0.0
    for factor in (4.13813679705723846039e-08, -1.65339022054652515390e-06,
                   6.61375632143793436117e-05, -2.77777777770155933842e-03,
                   1.66666666666666019037e-01):  # fmt: skip
        series = factor + t * series
    d = r - t * series
    y = 1.0 - ((low - (r * d) / (2.0 - d)) - high)
    return math.ldexp(y, 1000) * math.ldexp(1.0, k - 1000) if k > 1000 else math.ldexp(y, k)


def power(x: float, exponent: float) -> float:
    return exp(exponent * ln(x)) if x > 0.0 else 0.0


def horner(factors: Sequence[float], r: float) -> float:
    total = factors[0]
    for factor in factors[1:]:
        total = total * r + factor
    return total


# Wichura, Algorithm AS 241, Applied Statistics 37 (1988), from the highest power down.
MIDDLE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.3871328727963666080),
    (5226.4952788528545610, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
     5394.1960214247511077, 687.18700749205790830, 42.313330701600911252, 1.0),
)  # fmt: skip
FLANK = (
    (7.74545014278341407640e-4, 0.0227238449892691845833, 0.241780725177450611770,
     1.27045825245236838258, 3.64784832476320460504, 5.76949722146069140550,
     4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 0.0151986665636164571966,
     0.148103976427480074590, 0.689767334985100004550, 1.67638483018380384940,
     2.05319162663775882187, 1.0),
)  # fmt: skip
TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.00124266094738807843860,
     0.0265321895265761230930, 0.296560571828504891230, 1.78482653991729133580,
     5.46378491116411436990, 6.65790464350110377720),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
     7.86869131145613259100e-4, 0.0148753612908506148525, 0.136929880922735805310,
     0.599832206555887937690, 1.0),
)  # fmt: skip


def normal_quantile(p: float) -> float:
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * horner(MIDDLE[0], r) / horner(MIDDLE[1], r)
    r = math.sqrt(-ln(max(min(p, 1.0 - p), TINY)))
    top, low = (FLANK, TAIL)[r > 5.0]
    r -= 5.0 if r > 5.0 else 1.6
    size = horner(top, r) / horner(low, r)
    return -size if q < 0.0 else size


def normal_tail(x: float) -> float:
    """Hart's rational function, as in West, Wilmott magazine (2005)."""
    z = abs(x)
    if z > 37.0:
        return 0.0 if x > 0.0 else 1.0
    bell = exp(-0.5 * z * z)
    if z < 7.07106781186547:
        top = horner((3.52624965998911e-02, 0.700383064443688, 6.37396220353165, 33.912866078383,
                      112.079291497871, 221.213596169931, 220.206867912376), z)  # fmt: skip
        low = horner((8.83883476483184e-02, 1.75566716318264, 16.064177579207, 86.7807322029461,
                      296.564248779674, 637.333633378831, 793.826512519948, 440.413735824752),
                     z)  # fmt: skip
        tail = bell * top / low
    else:
        chain = z + 4.0 / (z + 0.65)
        for numerator in (3.0, 2.0, 1.0):
            chain = z + numerator / chain
        tail = bell / chain / 2.506628274631
    return tail if x > 0.0 else 1.0 - tail


def lognormal(mean: float, sigma: float, u: float) -> float:
    return mean * exp(sigma * normal_quantile(u) - 0.5 * sigma * sigma)


def cut(span: float) -> int:
    return int(span) if span < FAR else FAR


def exponential(u: float, mean: float) -> int:
    return cut(-ln(u) * mean)


def span_of(law: Law, u: float) -> int:
    if law.distribution == "Exponential":
        return cut(-ln(u) * law.mean_ns)
    if law.distribution == "Weibull":
        return cut(law.scale_ns * power(-ln(u), 1.0 / law.shape))
    return cut(lognormal(law.mean_ns, law.shape, u) if law.distribution == "Lognormal"
               else law.mean_ns)  # fmt: skip


def wear(law: Law, age: float) -> float:
    if age <= 0.0:
        return 0.0
    if law.distribution == "Weibull":
        return power(age / law.scale_ns, law.shape)
    if law.distribution == "Lognormal":
        z = (ln(age / law.mean_ns) + 0.5 * law.shape * law.shape) / law.shape
        return -ln(max(normal_tail(z), TINY))
    return age / law.mean_ns


def age_at_wear(law: Law, amount: float) -> float:
    if amount <= 0.0:
        return 0.0
    if law.distribution == "Weibull":
        return law.scale_ns * power(amount, 1.0 / law.shape)
    if law.distribution == "Lognormal":
        z = -normal_quantile(max(exp(-amount), TINY))
        return law.mean_ns * exp(law.shape * z - 0.5 * law.shape * law.shape)
    return amount * law.mean_ns


def shift_end(now: int, work: int, start: int, span: int, days: int) -> int:
    """Shift by shift."""
    if span == DAY and days == 7:
        return now + work
    day = now // DAY
    left = work
    if left <= 0:
        return now
    while True:
        if day % 7 < days:
            opens, closes = day * DAY + start, day * DAY + start + span
            free = closes - max(opens, now)
            if 0 < free < left:
                left -= free
            elif free > 0:
                return max(opens, now) + left
        day += 1


# -- what a fleet is made of -----------------------------------------------------------------------
@dataclass(eq=False)
class Way:
    """A way to fail: a failure class of one cluster."""

    index: int
    home: Home
    mode: Any
    life: Law
    repair: Law
    detection: int
    alarm: bool
    shelf: int
    line: list[Patient] = field(default_factory=list)
    orders: int = 0
    events: int = 0
    tries: int = 0
    helped: int = 0
    waited: int = 0
    outages: int = 0
    down_ns: int = 0

    @property
    def own(self) -> Any:
        return self.mode.declared

    @property
    def effect(self) -> str:
        return self.own.effect if self.own else "Stop"

    @property
    def part(self) -> Any:
        return self.own.repair.part if self.own and self.own.repair else None

    @property
    def crew(self) -> bool:
        wants = bool(self.own and self.own.repair and self.own.repair.crew)
        return wants and self.home.rules.crews is not None

    @property
    def steps(self) -> list[Any]:
        return self.own.recovery if self.own else []

    @property
    def pooled(self) -> bool:
        return self.mode.per not in OF_DOMAIN and self.life.distribution == "Exponential"

    @property
    def takes(self) -> str:
        if self.own and self.own.takes:
            return str(self.own.takes)
        if self.mode.per == "Leaf" and self.home.cluster.rails:
            return "Rail"
        return OF_DOMAIN.get(self.mode.per, "Node")


@dataclass(eq=False)
class Home:
    """A cluster."""

    index: int
    cluster: Any
    first: int
    ways: list[Way] = field(default_factory=list)
    free_crews: int = 0
    line: list[Patient] = field(default_factory=list)
    put_off: list[Patient] = field(default_factory=list)
    restless: bool = False
    spells: int = 0
    bursts: int = 0
    extras: int = 0
    extra: Event | None = None
    turn: int = 0
    draining: int = 0

    @property
    def rules(self) -> Any:
        return self.cluster.reliability

    @property
    def pool(self) -> list[Way]:
        return [way for way in self.ways if way.pooled]


@dataclass(eq=False)
class Patient:
    """A node, or a class of a domain and one such domain."""

    number: int
    home: Home
    stage: str = "well"
    way: Way | None = None
    ordinal: int = 0
    began: int = 0
    step: int = 0
    attempt: int = 0
    at: int = 0
    clock: Clock | None = None
    grip: str = ""  # "stop" or "slow": what it does to what it takes
    timer: Event | None = None
    waits: int = 0
    domain: int = -1
    level: str = ""
    kind: Way | None = None  # what alone ails a domain


@dataclass(eq=False)
class Node(Patient):
    devices: int = 8
    start: int = 0
    domains: tuple[int, ...] = ()
    causes: int = 0
    frailty: float = 1.0
    armed: int = 0
    clock_event: Event | None = None
    blame: Way | None = None
    since: int = 0
    told: int = FULL
    faults: list[int] = field(default_factory=list)
    counted: int = 0
    exchanges: int = 0
    clocks: list[Clock] = field(default_factory=list)


@dataclass(eq=False)
class Clock:
    """Of a component that ages, or of a domain."""

    number: int
    way: Way
    patient: Patient
    component: int
    armed: int = 0
    event: Event | None = None


@dataclass(eq=False)
class Event:
    act: Callable[[], None]
    off: bool = False


class Future:
    """One future; `play` gives its log."""

    def __init__(
        self, clusters: Sequence[Any], seed: int, future: int, warm: int, horizon: int,
        hold: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.seed, self.future, self.horizon, self.now = seed, future, horizon, -warm
        self.hold = list(hold)
        self.queue: list[tuple[int, int, int, Event]] = []
        self.count = itertools.count()
        self.homes: list[Home] = []
        self.nodes: list[Node] = []
        self.domains: list[Patient] = []
        self.clocks: list[Clock] = []
        self.log: list[tuple[int, int, int, int, int, int]] = []
        self.outages: list[int] = []
        self.drains = Way(-1, None, None, None, None, 0, False, 0)  # type: ignore[arg-type]
        for cluster in clusters:
            self.furnish(cluster)
        for home in self.homes:
            for patient in [p for p in self.domains if p.home is home]:
                assert patient.kind is not None
                self.clocks.append(Clock(len(self.clocks), patient.kind, patient, 0))
        self.spans: dict[int, int] = {}
        self.since = self.now

    def furnish(self, cluster: Any) -> None:
        home = Home(len(self.homes), cluster, len(self.nodes))
        self.homes.append(home)
        rules, modes = cluster.reliability, list(cluster.modes)
        if rules.false_alarms and parse_quantity(rules.false_alarms.per_1000_node_days) > 0:
            modes.append(own_mode(FailureClass.model_validate({
                "name": "false-alarm", "detection": "0s", "repair": {"distribution": "Fixed"},
                "failuresPer1000NodeDays": rules.false_alarms.per_1000_node_days,
                "meanTimeToRepair": rules.false_alarms.check})))  # fmt: skip
        first = sum(len(other.ways) for other in self.homes)
        ways = [self.way(mode, home) for mode in modes]
        home.ways = [w for w in ways if w.pooled] + [w for w in ways if not w.pooled]
        for index, way in enumerate(home.ways):
            way.index = first + index
        home.free_crews = rules.crews.count if rules.crews else 0
        for row, start in zip(cluster.domains.tolist(), cluster.start.tolist(), strict=True):
            self.nodes.append(Node(len(self.nodes), home, devices=cluster.devices, start=start,
                                   domains=tuple(row)))  # fmt: skip
        for node in self.nodes[home.first :]:
            for way in home.ways:
                if way.mode.per not in OF_DOMAIN and not way.pooled:
                    one = way.mode.by_node or way.mode.per == "Node"
                    for component in range(1 if one else node.devices):
                        node.clocks.append(Clock(len(self.clocks), way, node, component))
                        self.clocks.append(node.clocks[-1])
        for way in home.ways:
            if way.mode.per in OF_DOMAIN:
                level = OF_DOMAIN[way.mode.per]
                found = {n.domains[LEVEL[level]] for n in self.nodes[home.first :]} - {-1}
                each = cluster.devices if way.mode.per == "Leaf" and cluster.rails else 1
                for domain in sorted(found):
                    for _ in range(each):
                        self.domains.append(Patient(-1, home, kind=way, domain=domain, level=level))

    def way(self, mode: Any, home: Home) -> Way:
        own, mean = mode.declared, 1.0 / mode.rate_per_ns
        life = Law("Exponential", mean)
        if own and own.life and own.life.shape is not None:
            life = Law(own.life.distribution, mean, parse_quantity(own.life.shape))
        repair = Law("Exponential", float(mode.repair_ns))
        if own and own.repair:
            shape = parse_quantity(own.repair.shape) if own.repair.shape else 1.0
            repair = Law(own.repair.distribution, float(mode.repair_ns), shape)
        text = own.detection if own and own.detection is not None else home.rules.detection
        part = own.repair.part if own and own.repair else None
        return Way(0, home, mode, life, repair, parse_duration_ns(text),
                   mode.name == "false-alarm", part.stock if part else 0)  # fmt: skip

    # -- draws and events --------------------------------------------------------------------------
    def u(self, entity: int, purpose: int, ordinal: int) -> float:
        return naive.uniform(self.seed, self.future, entity, purpose, ordinal)

    def gamma(self, shape: float, entity: int, purpose: int, ordinal: int) -> float:
        """Marsaglia and Tsang, ACM TOMS 26 (2000)."""
        raised, boost = shape, 1.0
        if shape < 1.0:
            raised = shape + 1.0
            boost = power(self.u(entity, purpose, ordinal * 64 + 63), 1.0 / shape)
        d = raised - 1.0 / 3.0
        factor = 1.0 / math.sqrt(9.0 * d)
        for attempt in range(31):
            x = normal_quantile(self.u(entity, purpose, ordinal * 64 + 2 * attempt))
            u = self.u(entity, purpose, ordinal * 64 + 2 * attempt + 1)
            v = 1.0 + factor * x
            if v > 0.0:
                v = v * v * v
                if ln(u) < 0.5 * x * x + d - d * v + d * ln(v):
                    return d * v * boost
        return d * boost

    def age(self, law: Law, entity: int, purpose: int) -> float:
        """Of what has been renewed for ever: a uniform part of a length-biased life."""
        u = self.u(entity, purpose, 62)
        if law.distribution == "Fixed":
            return u * law.mean_ns
        if law.distribution == "Lognormal":
            drawn = self.u(entity, purpose, 0)
            return u * lognormal(law.mean_ns, law.shape, drawn) * exp(law.shape * law.shape)
        if law.distribution == "Weibull":
            long = self.gamma(1.0 + 1.0 / law.shape, entity, purpose, 0)
            return u * law.scale_ns * power(long, 1.0 / law.shape)
        return -ln(u) * law.mean_ns

    def at(self, time: int, kind: int, act: Callable[[], None]) -> Event:
        event = Event(act)
        if time < self.horizon:
            heapq.heappush(self.queue, (time, kind, next(self.count), event))
        return event

    def wait(self, patient: Patient, stage: str, span: int) -> None:
        self.stop_timer(patient)
        patient.stage = stage
        if span < FAR:
            patient.timer = self.at(self.now + span, c.TIMER, lambda: self.ring(patient))

    def stop_timer(self, patient: Patient) -> None:
        if patient.timer:
            patient.timer.off = True

    def tell(self, what: int, node: Patient, way: Way | None, detail: int, found: int) -> None:
        index = way.index if way else -1
        self.log.append((self.now, what, node.number, index, detail, found))

    # -- who is taken with whom --------------------------------------------------------------------
    def taken(self, patient: Patient) -> list[Node]:
        """Nodes that a patient takes with it."""
        way = patient.way
        if isinstance(patient, Node):
            level = way.takes if way else "Node"
            if level not in LEVEL or patient.domains[LEVEL[level]] < 0:
                return [patient]
            domain = patient.domains[LEVEL[level]]
            return [n for n in self.nodes if n.domains[LEVEL[level]] == domain]
        assert way is not None
        mine = [n for n in self.nodes if n.domains[LEVEL[patient.level]] == patient.domain]
        if not self.is_around(way):
            return mine
        column = LEVEL[way.takes]
        return [n for n in self.nodes if n.domains[column] == mine[0].domains[column]]

    def is_around(self, way: Way) -> bool:
        """Whether what a class takes lies around each domain that can fail, in one piece."""
        inside, column = LEVEL[OF_DOMAIN[way.mode.per]], LEVEL[way.takes]
        for domain in {p.domain for p in self.domains if p.kind is way}:
            around = {n.domains[column] for n in self.nodes if n.domains[inside] == domain}
            if len(around) > 1 or around == {-1}:
                return False
        return True

    def speed(self, node: Node) -> int:
        slowest, lost = FULL, 0
        for patient in [*self.nodes, *self.domains]:
            way = patient.way
            if patient.grip and way and node in self.taken(patient):
                if patient.grip == "slow":
                    slowest = min(slowest, way.own.speed * 10_000)
                elif self.is_rail(patient):
                    lost += 1
        return slowest * max(node.devices - lost, 0) // node.devices

    def tell_speed(self, node: Node, way: Way | None) -> None:
        speed = self.speed(node)
        if speed != node.told:
            node.told = speed
            self.tell(c.SPEED, node, way, speed, 0)

    # -- down and up -------------------------------------------------------------------------------
    def book(self, until: int) -> None:
        down = sum(n.causes > 0 for n in self.nodes)
        self.spans[down] = self.spans.get(down, 0) + until - self.since
        self.since = until

    def down(self, node: Node, way: Way | None, detail: int, found: int) -> None:
        if node.causes == 0:
            self.book(self.now)
        node.causes += 1
        if node.causes == 1:
            if node.clock_event:
                node.clock_event.off = True
            node.since, node.blame = self.now, way or self.drains
            self.tell(c.WENT_DOWN, node, way, detail, found)

    def up(self, node: Node) -> None:
        if node.causes == 1:
            self.book(self.now)
        node.causes -= 1
        if node.causes == 0:
            self.charge(node)
            self.tell(c.CAME_UP, node, node.blame, 0, 0)
            self.arm(node)

    def charge(self, node: Node) -> None:
        if node.blame:
            node.blame.down_ns += (self.now - node.since) * node.devices
        node.since = self.now

    def rate(self, home: Home) -> float:
        return sum(way.mode.node_rate_per_ns(home.cluster.devices) for way in home.pool)

    def quiet(self, home: Home) -> float:
        unrest = home.rules.unrest
        if unrest is None:
            return 1.0
        share = unrest.share / 100.0
        return 1.0 / (1.0 - share + share * parse_quantity(unrest.factor))

    def burst_share(self, home: Home) -> float:
        return home.rules.bursts.share / 100.0 if home.rules.bursts else 0.0

    def arm(self, node: Node) -> None:
        if node.clock_event:
            node.clock_event.off = True
        left = -ln(self.u(node.number, c.FAILS, node.armed))
        node.armed += 1
        home = node.home
        alone = self.rate(home) * self.quiet(home) * (1.0 - self.burst_share(home))
        rate = alone * node.frailty * 1.0
        if rate > 0.0 and left / rate < FAR:
            due = self.now + int(left / rate)
            node.clock_event = self.at(due, c.NODE_CLOCK, lambda: self.node_fails(node))

    def is_rail(self, patient: Patient) -> bool:
        """Whether a patient takes one rail of a scalable unit, not all of its nodes."""
        if patient.way is None or patient.way.takes != "Rail":
            return False
        if isinstance(patient, Node):
            return patient.domains[LEVEL["Rail"]] >= 0
        return self.is_around(patient.way)

    def grasp(self, patient: Patient, detail: int, found: int) -> None:
        """Take out of service what a patient takes with it."""
        way = patient.way
        patient.grip = "stop"
        assert way is not None
        if way.takes == "Device":
            self.tell(c.LOST_DEVICE, patient, way, patient.at, found)
            return
        rail = self.is_rail(patient)
        for node in self.taken(patient):
            if rail:
                self.tell_speed(node, way)
                self.tell(c.INTERRUPTED, node, way, 0, found)
            else:
                self.down(node, way, detail, found)

    def release(self, patient: Patient) -> None:
        way, grip = patient.way, patient.grip
        patient.grip = ""
        if not grip:
            return
        if grip == "stop" and way and way.takes == "Device":
            self.tell(c.GOT_DEVICE, patient, way, patient.at, 0)
            return
        rail = self.is_rail(patient)
        for node in self.taken(patient):
            if grip == "slow" or rail:
                self.tell_speed(node, way)
            else:
                self.up(node)

    def slow(self, patient: Patient) -> None:
        patient.grip = "slow"
        for node in self.taken(patient):
            self.tell_speed(node, patient.way)

    # -- the shop ----------------------------------------------------------------------------------
    def fault(self, patient: Patient, way: Way, at: int, clock: Clock | None) -> None:
        if patient.stage != "well":
            silent = patient.stage == "silent" and way.effect != "Corrupt"
            if silent and patient.way and patient.way.effect == "Corrupt":
                self.corrupt(patient, None)
            self.dismiss(patient)
        patient.way, patient.at, patient.clock = way, at, clock
        patient.ordinal += 1
        patient.began, patient.step, patient.attempt = self.now, 0, 0
        way.events += 1
        if isinstance(patient, Node) and not way.alarm:
            patient.counted += 1
            patient.faults.append(self.now)
        if way.effect == "Stop":
            self.grasp(patient, c.ALARM if way.alarm else c.FAULT, way.detection)
            self.admit(patient, way.detection)
        elif way.effect == "Slow":
            self.slow(patient)
            if way.own.evict:
                self.hide(patient)
            else:
                self.wait(patient, "mending", self.hands_on(patient))
        else:
            self.corrupt(patient, way)
            self.hide(patient)

    def corrupt(self, patient: Patient, way: Way | None) -> None:
        """Work is wrong from now on, or right again."""
        for node in [patient] if isinstance(patient, Node) else self.taken(patient):
            self.tell(c.CORRUPTED, node, way, 0, 0)

    def hide(self, patient: Patient) -> None:
        assert patient.way is not None
        u = self.u(patient.number, c.FOUND, patient.ordinal)
        span = exponential(u, float(patient.way.detection))
        self.wait(patient, "silent", span)

    def hands_on(self, patient: Patient) -> int:
        assert patient.way is not None
        u = self.u(patient.number, c.FAILS_REPAIR, patient.ordinal - 1)
        return span_of(patient.way.repair, u)

    def often(self, patient: Patient, within: str, faults: int) -> bool:
        """Whether so many of the last faults lie within the time."""
        assert isinstance(patient, Node)
        span = parse_duration_ns(within)
        return sum(self.now - at <= span for at in patient.faults) >= faults

    def admit(self, patient: Patient, found: int) -> None:
        way, lemons = patient.way, patient.home.rules.lemons
        assert way is not None
        if (
            lemons
            and isinstance(patient, Node)
            and self.often(patient, lemons.within, lemons.faults)
        ):
            self.wait(patient, "exchange", found + parse_duration_ns(lemons.exchange))
        elif not (way.crew or way.part or way.steps):
            self.wait(patient, "mending", self.hands_on(patient))
        else:
            self.wait(patient, "detecting", found)

    def attempt(self, patient: Patient) -> None:
        way = patient.way
        assert way is not None
        while patient.step < len(way.steps) and (
            patient.attempt >= way.steps[patient.step].attempts
        ):
            patient.step, patient.attempt = patient.step + 1, 0
        if patient.step < len(way.steps):
            span = parse_duration_ns(way.steps[patient.step].time)
            self.wait(patient, "recovering", span)
        else:
            self.want_part(patient)

    def attempted(self, patient: Patient) -> None:
        way = patient.way
        assert way is not None
        number = patient.ordinal * 512 + patient.step * 128 + patient.attempt
        way.tries += 1
        if self.u(patient.number, c.RECOVERS, number) < (way.steps[patient.step].success / 100.0):
            way.helped += 1
            self.mended(patient)
        else:
            patient.attempt += 1
            self.attempt(patient)

    def want_part(self, patient: Patient) -> None:
        way = patient.way
        assert way is not None
        part, patient.waits = way.part, self.now
        share = part.share / 100.0 if part else 0.0
        needs = share > 0.0 and self.u(patient.number, c.NEEDS_PART, patient.ordinal) < share
        if self.is_put_off(patient, needs, share):
            self.stop_timer(patient)
            patient.stage = "put off"
            patient.home.put_off.append(patient)
            return
        if not part or not needs:
            self.want_crew(patient)
            return
        law = Law(
            "Lognormal", float(parse_duration_ns(part.lead_time)), parse_quantity(part.spread)
        )
        lead = span_of(law, self.u(way.index, c.LEAD, way.orders))
        way.orders += 1
        if part.stock == 0:
            self.wait(patient, "part", lead)
            return
        self.at(self.now + lead, c.PART_COMES, lambda: self.part_comes(way))
        if way.shelf > 0:
            way.shelf -= 1
            self.want_crew(patient)
        else:
            self.stop_timer(patient)
            patient.stage = "part"
            way.line.append(patient)

    def is_put_off(self, patient: Patient, needs: bool, share: float) -> bool:
        unrest, way = patient.home.rules.unrest, patient.way
        assert way is not None
        if not (unrest and unrest.holds and patient.home.restless):
            return False
        if not needs and (share > 0.0 or not way.crew):
            return False
        return self.u(patient.number, c.PUTS_OFF, patient.ordinal) < unrest.holds / 100.0

    def part_comes(self, way: Way) -> None:
        if way.line:
            self.want_crew(way.line.pop(0))
        else:
            way.shelf += 1

    def want_crew(self, patient: Patient) -> None:
        way, home = patient.way, patient.home
        assert way is not None
        if not way.crew:
            self.note_wait(patient)
            self.wait(patient, "mending", self.hands_on(patient))
        elif home.free_crews > 0:
            home.free_crews -= 1
            self.crew_mends(patient)
        else:
            self.stop_timer(patient)
            patient.stage = "queue"
            home.line.append(patient)

    def note_wait(self, patient: Patient) -> None:
        assert patient.way is not None
        patient.way.waited += max(self.now - max(patient.waits, 0), 0)

    def crew_mends(self, patient: Patient) -> None:
        shift = patient.home.rules.crews.shift
        self.note_wait(patient)
        work, end = self.hands_on(patient), FAR
        hour = DAY // 24
        if shift is None:
            end = self.now + work
        elif work < FAR // 64:
            end = shift_end(self.now, work, shift.start * hour, shift.hours * hour, shift.days)
        self.wait(patient, "crew", end - self.now)

    def crew_is_free(self, home: Home) -> None:
        if home.line:
            self.crew_mends(home.line.pop(0))
        else:
            home.free_crews += 1

    def dismiss(self, patient: Patient, keep: bool = True) -> None:
        """Out of the shop, wherever in it, and all that was taken is given back."""
        stage, way, stopped = patient.stage, patient.way, patient.grip == "stop"
        self.stop_timer(patient)
        patient.stage = "well"
        for line in (patient.home.line, patient.home.put_off, way.line if way else []):
            if patient in line:
                line.remove(patient)
        if stage == "drained":
            patient.home.draining -= 1
        if patient.clock:
            self.renew(patient.clock, self.now)
            patient.clock = None
        if stage == "crew":
            self.crew_is_free(patient.home)
        self.release(patient)
        if stopped and keep:
            self.note_outage(patient)

    def note_outage(self, patient: Patient) -> None:
        if patient.began >= 0:
            self.outages.append(self.now - patient.began)
            (patient.way or self.drains).outages += 1

    def mended(self, patient: Patient) -> None:
        way, hold = patient.way, patient.home.rules.quarantine
        assert way is not None
        repair = way.own.repair if way.own else None
        if repair and repair.recurrence:
            ordinal = patient.ordinal
            if self.u(patient.number, c.RECURRENCE, ordinal) < repair.recurrence / 100.0:
                u = self.u(patient.number, c.RECURS_AFTER, ordinal)
                span = exponential(u, float(parse_duration_ns(repair.recurs_within)))
                self.at(self.now + span, c.RECURS, lambda: self.recurs(patient, ordinal))
        if (
            hold and isinstance(patient, Node) and patient.grip == "stop" and not way.alarm
            and self.often(patient, hold.within, hold.faults)
        ):  # fmt: skip
            crew = patient.stage == "crew"
            self.wait(patient, "held", parse_duration_ns(hold.hold))
            if crew:
                self.crew_is_free(patient.home)
        else:
            self.dismiss(patient)

    def ring(self, patient: Patient) -> None:
        """A stage is over."""
        stage = patient.stage
        if stage == "detecting":
            self.attempt(patient)
        elif stage == "silent":
            self.found(patient)
        elif stage == "recovering":
            self.attempted(patient)
        elif stage == "part":
            self.want_crew(patient)
        elif stage in ("mending", "crew"):
            self.mended(patient)
        else:
            if stage == "exchange":
                assert isinstance(patient, Node)
                patient.exchanges += 1
                patient.faults = []
                patient.ordinal += 1
                self.draw_frailty(patient)
            drains = patient.home.rules.drains
            if stage == "exchange" or (stage == "drained" and drains.renews):
                assert isinstance(patient, Node)
                for clock in patient.clocks:
                    self.renew(clock, self.now)
            self.dismiss(patient)

    def found(self, patient: Patient) -> None:
        assert patient.way is not None
        detail = c.FOUND_CORRUPT
        if patient.way.effect == "Slow":
            self.release(patient)
            detail = c.FAULT
        elif self.is_rail(patient):
            self.corrupt(patient, None)
        patient.began = self.now
        self.grasp(patient, detail, 0)
        self.admit(patient, 0)

    # -- clocks ------------------------------------------------------------------------------------
    def draw_frailty(self, node: Node) -> None:
        frailty = node.home.rules.frailty
        if frailty:
            shape = parse_quantity(frailty.shape)
            node.frailty = self.gamma(shape, node.number, c.FRAILTY, node.exchanges) / shape

    def renew(self, clock: Clock, born: int) -> None:
        """A component that was new at `born`."""
        entity = len(self.nodes) + len(self.domains) + clock.number
        left = -ln(self.u(entity, c.WEARS, clock.armed))
        clock.armed += 1
        if clock.event:
            clock.event.off = True
        factor = clock.patient.frailty if isinstance(clock.patient, Node) else 1.0
        if factor <= 0.0:
            return
        law, age = clock.way.life, self.now - born
        end = age_at_wear(law, wear(law, float(age)) + left / factor)
        if end < FAR:
            due = born + max(int(end), age)
            clock.event = self.at(due, c.CLOCK, lambda: self.clock_fires(clock))

    def first(self, clock: Clock) -> None:
        own = clock.way.own
        age = own.life.age if own and own.life else None
        if age is not None:
            self.renew(clock, self.now - parse_duration_ns(age))
            return
        law, entity = clock.way.life, len(self.nodes) + len(self.domains) + clock.number
        drawn = self.age(law, entity, c.AGES)
        if isinstance(clock.patient, Node) and law.distribution == "Weibull":
            drawn = drawn * power(clock.patient.frailty, -1.0 / law.shape)
        self.renew(clock, self.now - int(min(drawn, float(FAR // 4))))

    def clock_fires(self, clock: Clock) -> None:
        patient = clock.patient
        if isinstance(patient, Node) and patient.causes > 0:
            self.renew(clock, self.now)
        else:
            self.fault(patient, clock.way, clock.component, clock)

    def node_fails(self, node: Node) -> None:
        self.hit(node, self.u(node.number, c.FAILS_CLASS, node.armed - 1))

    def hit(self, node: Node, u: float) -> None:
        if node.causes > 0 or not node.home.pool:
            return
        pool = node.home.pool
        rates = [way.mode.node_rate_per_ns(node.devices) for way in pool]
        way = self.pick(pool, rates, u)
        at = 0
        if way.takes == "Device":
            drawn = self.u(node.number, c.COMPONENT, node.ordinal)
            at = min(int(drawn * float(node.devices)), node.devices - 1)
        self.fault_of_node(node, way, at)

    def fault_of_node(self, node: Node, way: Way, at: int) -> None:
        self.fault(node, way, at, None)
        if node.causes == 0:
            self.arm(node)

    @staticmethod
    def pick(pool: list[Way], weights: list[float], u: float) -> Way:
        reached, total = 0.0, sum(weights)
        for way, weight in zip(pool[:-1], weights, strict=False):
            reached += weight
            if u < (reached / total if total > 0 else 1.0):
                return way
        return pool[-1]

    def recurs(self, patient: Patient, ordinal: int) -> None:
        if patient.ordinal != ordinal or patient.stage != "well":
            return
        assert patient.way is not None
        if not isinstance(patient, Node):
            self.fault(patient, patient.way, patient.at, None)
        elif patient.causes == 0:
            self.fault_of_node(patient, patient.way, patient.at)

    # -- what comes over a cluster -----------------------------------------------------------------
    def members(self, home: Home) -> list[Node]:
        return [node for node in self.nodes if node.home is home]

    def frailties(self, home: Home) -> list[float]:
        return list(itertools.accumulate(node.frailty for node in self.members(home)))

    def chosen(self, home: Home, u: float) -> Node:
        sums = self.frailties(home)
        wanted = u * sums[-1]
        above = [node for node, s in zip(self.members(home), sums, strict=True) if s > wanted]
        return above[0] if above else self.members(home)[-1]

    def strength(self, home: Home) -> float:
        nodes = len(self.members(home))
        return (self.rate(home) * nodes) * (self.frailties(home)[-1] / nodes)

    def next_burst(self, home: Home) -> None:
        bursts = home.rules.bursts
        if not bursts:
            return
        number = home.bursts
        home.bursts += 1
        rate = self.strength(home)
        rate *= self.quiet(home) * (bursts.share / 100.0) / parse_quantity(bursts.size)
        if rate > 0.0:
            span = exponential(self.u(home.index, c.BURST_AFTER, number), 1.0 / rate)
            self.at(self.now + span, c.BURST, lambda: self.burst(home, number))

    def burst(self, home: Home, number: int) -> None:
        self.scatter(home, home.index, number)
        self.next_burst(home)

    def scatter(self, home: Home, entity: int, number: int) -> None:
        bursts = home.rules.bursts
        mean = parse_quantity(bursts.size)
        drawn = ln(self.u(entity, c.BURST_SIZE, number)) / ln(1.0 - 1.0 / mean)
        for member in range(min(1 + int(min(drawn, float(MOST_MEMBERS))), MOST_MEMBERS)):
            key = number * MOST_MEMBERS + member
            u = self.u(entity, c.BURST_OFFSET, key)
            due = self.now + int(u * float(parse_duration_ns(bursts.window)))
            self.at(due, c.MEMBER, lambda key=key: self.member(home, entity, key))  # type: ignore[misc]

    def member(self, home: Home, entity: int, key: int) -> None:
        node = self.chosen(home, self.u(entity, c.BURST_NODE, key))
        self.hit(node, self.u(entity, c.BURST_CLASS, key))

    def turn(self, home: Home, restless: bool) -> None:
        unrest = home.rules.unrest
        home.restless = restless
        home.spells += 1
        mean, share = float(parse_duration_ns(unrest.spell)), unrest.share / 100.0
        if not restless:
            mean = mean * (1.0 - share) / share
        u = self.u(len(self.nodes) + home.index, c.SPELL, home.spells)
        due = self.now + exponential(u, mean)
        self.at(due, c.UNREST, lambda: self.turn(home, not home.restless))
        if home.extra:
            home.extra.off = True
        if restless:
            self.next_extra(home)
        while home.put_off and not restless:
            self.want_crew(home.put_off.pop(0))

    def next_extra(self, home: Home) -> None:
        share, unrest = self.burst_share(home), home.rules.unrest
        starts = 1.0 - share
        if share > 0.0:
            starts += share / parse_quantity(home.rules.bursts.size)
        rate = self.strength(home)
        rate *= self.quiet(home) * (parse_quantity(unrest.factor) - 1.0) * starts
        if rate <= 0.0:
            return
        span = exponential(self.u(home.index, c.UNREST_AFTER, home.extras), 1.0 / rate)
        home.extras += 1
        home.extra = self.at(self.now + span, c.UNREST_FAULT, lambda: self.more(home))

    def more(self, home: Home) -> None:
        share, number = self.burst_share(home), home.extras
        bursts = share / parse_quantity(home.rules.bursts.size) if share > 0.0 else 0.0
        if self.u(home.index, c.UNREST_BURST, number) * (1.0 - share + bursts) < bursts:
            self.scatter(home, len(self.homes) + home.index, number)
        else:
            node = self.chosen(home, self.u(home.index, c.UNREST_NODE, number))
            self.hit(node, self.u(home.index, c.UNREST_CLASS, number))
        self.next_extra(home)

    def drain_due(self, home: Home) -> None:
        drains, mine = home.rules.drains, self.members(home)
        node = mine[home.turn % len(mine)]
        span = parse_duration_ns(drains.duration)
        wait = parse_duration_ns(drains.every) // len(mine)
        if node.causes > 0 or node.stage != "well":
            home.turn += 1  # down or being looked after anyway
        elif home.draining < drains.at_once:
            home.turn += 1
            home.draining += 1
            node.way, node.clock, node.grip = None, None, "stop"
            node.ordinal += 1
            node.began = self.now
            self.down(node, None, c.DRAIN, 0)
            self.wait(node, "drained", span)
        else:
            wait = min(wait, max(span // 4, 1))
        self.at(self.now + max(wait, 1), c.DRAIN_DUE, lambda: self.drain_due(home))

    # -- from the start to the end -----------------------------------------------------------------
    def mean_outage(self, way: Way) -> float:
        """Without waiting for crews."""
        if way.effect == "Slow" and not way.own.evict:
            return 0.0
        if not (way.part or way.steps or (way.own and way.own.repair and way.own.repair.crew)):
            return way.repair.mean_ns
        total = way.repair.mean_ns
        if way.part:
            total += way.part.share / 100.0 * parse_duration_ns(way.part.lead_time)
        for step in reversed(way.steps):
            for _ in range(step.attempts):
                total = parse_duration_ns(step.time) + (1.0 - step.success / 100.0) * total
        return total + (way.detection if way.effect == "Stop" else 0)

    def lie_down(self, patient: Patient, way: Way) -> None:
        patient.way = way
        patient.began = self.now - 1
        self.grasp(patient, c.FAULT, 0)
        if way.crew and patient.home.free_crews <= 0:
            patient.stage, patient.waits = "queue", self.now
            patient.ordinal += 1
            patient.home.line.append(patient)
            return
        left = self.age(way.repair, patient.number, c.STARTS_REPAIR)
        if way.crew:
            patient.home.free_crews -= 1
        patient.stage = "crew" if way.crew else "mending"
        if left < FAR:
            due = self.now + int(left)
            patient.timer = self.at(due, c.TIMER, lambda: self.ring(patient))

    def loads(self, home: Home) -> list[float]:
        return [
            way.mode.node_rate_per_ns(home.cluster.devices) * self.mean_outage(way)
            if way.effect == "Stop" and way.takes == "Node" else 0.0
            for way in home.pool
        ]  # fmt: skip

    def begin_node(self, node: Node) -> None:
        if node.start == NEVER_UP:
            node.causes = 1
            return
        home, number = node.home, node.number
        load = sum(self.loads(home)) * node.frailty
        if load > 0.0 and self.u(number, c.STARTS, 0) * (1.0 + load) < load:
            way = self.pick(home.pool, self.loads(home), self.u(number, c.STARTS_CLASS, 0))
            if not way.crew or home.free_crews > 0:
                self.lie_down(node, way)
                return
        self.arm(node)

    def begin(self) -> None:
        for number, patient in enumerate(self.domains):
            patient.number = len(self.nodes) + number
        for node in self.nodes:
            self.draw_frailty(node)
            self.begin_node(node)
        for clock in self.clocks:
            patient, way = clock.patient, clock.way
            if isinstance(patient, Node) or way.effect != "Stop" or way.crew:
                continue
            load = way.repair.mean_ns / way.life.mean_ns
            if self.u(patient.number, c.DOMAIN_DOWN, 0) * (1.0 + load) < load:
                self.lie_down(patient, way)
        for clock in self.clocks:
            if not isinstance(clock.patient, Node) and clock.patient.stage != "well":
                clock.patient.clock = clock
            else:
                self.first(clock)
        for home in self.homes:
            self.begin_home(home)

    def begin_home(self, home: Home) -> None:
        self.next_burst(home)
        if home.rules.unrest:
            u = self.u(len(self.nodes) + home.index, c.SPELL, 0)
            self.turn(home, u < home.rules.unrest.share / 100.0)
        if home.rules.drains:
            step = parse_duration_ns(home.rules.drains.every) // len(self.members(home))
            self.at(self.now + step, c.DRAIN_DUE, lambda: self.drain_due(home))

    def set_right(self) -> None:
        """At time 0 nodes are as they were seen."""
        for node in self.nodes:
            held = bool(self.hold and self.hold[node.number])
            if node.start == STARTS_DOWN and not held and node.causes == 0:
                if node.stage != "well":
                    self.dismiss(node, keep=False)
                pool = node.home.pool
                if sum(self.loads(node.home)) > 0.0:
                    u = self.u(node.number, c.STARTS_CLASS, 1)
                    self.lie_down(node, self.pick(pool, self.loads(node.home), u))
                if node.causes == 0:
                    node.causes = 1
                    node.blame = None
                    if node.clock_event:
                        node.clock_event.off = True
            elif node.start == STARTS_UP or (held and node.start != NEVER_UP):
                for patient in [*self.domains, *self.nodes]:
                    if node.causes and self.keeps_down(patient, node):
                        self.dismiss(patient, keep=False)
                if node.stage != "well":
                    self.dismiss(node, keep=False)

    def keeps_down(self, patient: Patient, node: Node) -> bool:
        way = patient.way
        if patient.grip != "stop" or (way and way.takes == "Device") or self.is_rail(patient):
            return False
        return node in self.taken(patient)

    def run(self, until: int) -> None:
        while self.queue and self.queue[0][0] < until:
            time, _, _, event = heapq.heappop(self.queue)
            if not event.off:
                self.now = time
                event.act()

    def play(self) -> list[tuple[int, int, int, int, int, int]]:
        """Events from time 0 on: time, what, node, class, detail, detection."""
        warm = self.now < 0
        self.begin()
        if warm:
            self.run(0)
        self.now = 0
        self.set_right()
        self.log, self.spans, self.since, self.outages = [], {}, 0, []
        for way in [w for home in self.homes for w in home.ways] + [self.drains]:
            way.events = way.tries = way.helped = way.waited = way.outages = way.down_ns = 0
        for node in self.nodes:
            node.counted = node.since = 0
        for clock in self.clocks:
            own = clock.way.own
            if warm and own and own.life and own.life.age and clock.patient.clock is not clock:
                self.renew(clock, -parse_duration_ns(own.life.age))
        self.run(self.horizon)
        self.now = self.horizon
        self.book(self.horizon)
        for node in self.nodes:
            if node.causes > 0:
                self.charge(node)
        for patient in [*self.nodes, *self.domains]:
            if patient.grip == "stop":
                self.note_outage(patient)
        return self.log
