"""How nodes, and what they share, fail and are mended: the assumptions behind every future."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import BY_NAME, Cel, Name, Percent, Strict
from kfarm_api.units import Bounds, Duration, Quantity, parse_duration_ns

Scope = Literal["Device", "Node", "Link", "Rack", "Leaf", "Pdu", "Cdu", "Plant"]
Reach = Literal["Device", "Node", "Rail", "Rack", "ScalableUnit", "Pdu", "Loop", "Hall", "Farm"]
Effect = Literal["Stop", "Slow", "Corrupt"]
Confidence = Literal["High", "Medium", "Derived", "Low"]

FailureRate = Annotated[Quantity, Bounds("0", "1000", "failures per 1000 node-days")]
EntityRate = Annotated[Quantity, Bounds("0", "1000", "failures per 1000 days of one")]
Shape = Annotated[Quantity, Bounds("0.1", "20")]
Spread = Annotated[Quantity, Bounds("0", "5")]
Portion = Annotated[int, Field(ge=0, le=99)]
"""A share in percent that leaves something over."""
Factor = Annotated[Quantity, Bounds("1", "1000", exclusive_least=True)]


def _lasts(field: str) -> Cel:
    """The rule that a required duration is more than nothing."""
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in field)
    return Cel(
        f"duration(self.{field}) > duration('0s')",
        f"{field} must be more than 0s",
        lambda model: parse_duration_ns(getattr(model, snake)) > 0,
    )


class Life(Strict):
    """How the hazard of one component goes with its age.

    The mean life is one over the rate. `shape` is the exponent of a Weibull distribution, or the
    standard deviation of the logarithm of a lognormal one. `age` is that of every component when
    a future starts; left out, ages are those of a fleet that has run for long.
    """

    distribution: Literal["Exponential", "Weibull", "Lognormal"]
    shape: Shape | None = None
    age: Duration | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "(self.distribution != 'Exponential') == has(self.shape)",
            "life: Weibull and Lognormal need a shape, Exponential takes none",
            lambda x: (x.distribution != "Exponential") == (x.shape is not None),
        ),
    )


class Step(Strict):
    """What is tried before anybody lends a hand: each attempt takes `time` and may succeed."""

    action: Literal["Retry", "DeviceReset", "Reboot"]
    success: Percent
    time: Duration
    attempts: Annotated[int, Field(ge=1, le=100)] = 1
    rules: ClassVar[tuple[Cel, ...]] = (_lasts("time"),)


class Part(Strict):
    """Exchange of a part: `share` percent of repairs need one.

    A part comes from `stock`, which is ordered again at once, or else after its lead time
    (lognormal about its mean with `spread` as standard deviation of the logarithm, 0: fixed).
    """

    share: Percent = 100
    lead_time: Duration
    spread: Spread = "0"
    stock: Annotated[int, Field(ge=0, le=10_000)] = 0


class Repair(Strict):
    """The repair of a class, of mean `meanTimeToRepair`.

    `crew: true` lets it wait for one of the cluster's crews; `recurrence` percent of repairs do not
    hold, and the fault is back within a time of mean `recurs_within`.
    """

    distribution: Literal["Exponential", "Weibull", "Lognormal", "Fixed"] = "Exponential"
    shape: Shape | None = None
    crew: bool = False
    part: Part | None = None
    recurrence: Portion = 0
    recurs_within: Duration = "24h"
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "((has(self.distribution) ? self.distribution : 'Exponential')"
            " in ['Weibull', 'Lognormal']) == has(self.shape)",
            "repair: Weibull and Lognormal need a shape, Exponential and Fixed take none",
            lambda r: (r.distribution in ("Weibull", "Lognormal")) == (r.shape is not None),
        ),
        Cel(
            "!has(self.recursWithin) || duration(self.recursWithin) > duration('0s')",
            "repair.recursWithin must be more than 0s",
            lambda r: parse_duration_ns(r.recurs_within) > 0,
        ),
    )


def _repairs_after(failure: FailureClass, detection: str) -> bool:
    return parse_duration_ns(failure.mean_time_to_repair) >= parse_duration_ns(detection)


def _whole(name: str) -> str:
    """`FailureClass.is_whole` in CEL, of a class called `name`."""
    return (
        f"(!has({name}.effect) || {name}.effect == 'Stop')"
        f" && (!has({name}.recovery) || {name}.recovery.size() == 0)"
        f" && (!has({name}.repair) || (!has({name}.repair.part)"
        f" && (!has({name}.repair.crew) || !{name}.repair.crew)))"
    )


class FailureClass(Strict):
    """One way to fail: what fails and how often, what it takes down, how it is found and mended.

    The rate is per 1,000 node-days, or per 1,000 days of one of what `per` names. `takes` is what
    goes down with it; left out, a device or link takes its node, a leaf its rail (or its scalable
    unit, where it is not one of several), a rack, PDU, CDU or plant all behind it.
    A class with effect ``Slow`` lets gangs run at `speed` percent; with ``Corrupt`` they go on, and
    their work since is lost once it is found. `evict: true` takes a slow node out once found.
    `detection` is the mean time until the fault is found; left out, that of the cluster.
    `mean_time_to_repair` is the whole time out of service; but with recovery steps, a part or a
    crew it is the hands-on time of the repair, and detection and waiting come on top.
    `confidence` says how well the rate is known, and so how widely it is varied.
    """

    name: Name
    per: Scope = "Node"
    failures_per_1000_node_days: FailureRate | None = Field(
        default=None, alias="failuresPer1000NodeDays"
    )
    failures_per_1000_days: EntityRate | None = Field(default=None, alias="failuresPer1000Days")
    mean_time_to_repair: Duration
    takes: Reach | None = None
    effect: Effect = "Stop"
    speed: Annotated[int, Field(ge=1, le=99)] | None = None
    evict: bool = False
    life: Life | None = None
    detection: Duration | None = None
    recovery: Annotated[list[Step], Field(max_length=4)] = Field(default_factory=list)
    repair: Repair | None = None
    confidence: Confidence | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.failuresPer1000NodeDays) != has(self.failuresPer1000Days)",
            "a failure class needs exactly one of failuresPer1000NodeDays and failuresPer1000Days"
            " (the latter: of one of what `per` names)",
            lambda c: (c.failures_per_1000_node_days is None) != (c.failures_per_1000_days is None),
        ),
        Cel(
            "!has(self.failuresPer1000NodeDays) || !has(self.per)"
            " || self.per in ['Device', 'Node', 'Link']",
            "failuresPer1000NodeDays is for classes per Device, Node or Link: give"
            " failuresPer1000Days of one rack, leaf, PDU, CDU or plant",
            lambda c: c.failures_per_1000_node_days is None or c.per in ("Device", "Node", "Link"),
        ),
        Cel(
            "((has(self.effect) ? self.effect : 'Stop') == 'Slow') == has(self.speed)",
            "speed (percent) belongs to effect Slow, and effect Slow needs it",
            lambda c: (c.effect == "Slow") == (c.speed is not None),
        ),
        Cel(
            "!has(self.evict) || !self.evict || (has(self.effect) && self.effect == 'Slow')",
            "evict belongs to effect Slow",
            lambda c: not c.evict or c.effect == "Slow",
        ),
        Cel(
            "!has(self.takes) || !has(self.per) || !(self.takes in ['Device', 'Node'])"
            " || self.per in ['Device', 'Node', 'Link']",
            "takes: a rack, leaf, PDU, CDU or plant takes down more than one node; leave takes out"
            " for what hangs on it",
            lambda c: c.takes not in ("Device", "Node") or c.per in ("Device", "Node", "Link"),
        ),
        Cel(
            f"!has(self.detection) || !({_whole('self')})"
            " || duration(self.meanTimeToRepair) >= duration(self.detection)",
            "meanTimeToRepair must not be shorter than detection: without recovery, part or crew it"
            " is the whole time out of service",
            lambda c: c.detection is None or not c.is_whole or _repairs_after(c, c.detection),
        ),
    )

    @property
    def is_whole(self) -> bool:
        """Whether the time to repair runs from the fault on, detection included."""
        aided = self.repair is not None and (self.repair.crew or self.repair.part is not None)
        return self.effect == "Stop" and not self.recovery and not aided


class Frailty(Strict):
    """How much nodes differ: the hazard of each is multiplied by a gamma variate of mean 1."""

    shape: Annotated[Quantity, Bounds("0.05", "1000")]


class Bursts(Strict):
    """Faults that come together: `share` percent of all, in bursts of mean `size` over `window`."""

    share: Annotated[int, Field(ge=1, le=99)]
    size: Annotated[Quantity, Bounds("1", "1000", exclusive_least=True)]
    window: Duration
    rules: ClassVar[tuple[Cel, ...]] = (_lasts("window"),)


class Unrest(Strict):
    """Times of many faults: `share` percent of the time, `factor` as many, spells of mean `spell`.

    The rates of the classes are means over quiet and unrest. `holds` percent of the repairs that
    fall due for a part in a spell, or for a crew in a class without parts, are put off to its end;
    all of them go on together then, and need no part any more.
    """

    share: Annotated[int, Field(ge=1, le=90)]
    factor: Factor
    spell: Duration
    holds: Percent = 0
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "duration(self.spell) >= duration('1m')",
            "unrest.spell must be at least 1m",
            lambda u: parse_duration_ns(u.spell) >= 60 * 10**9,
        ),
    )


class Shift(Strict):
    """When crews work: `hours` from `start` on the first `days` days of each week.

    A future starts at midnight on the first day of a week.
    """

    hours: Annotated[int, Field(ge=1, le=24)] = 24
    start: Annotated[int, Field(ge=0, le=23)] = 0
    days: Annotated[int, Field(ge=1, le=7)] = 7
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "(has(self.start) ? self.start : 0) + (has(self.hours) ? self.hours : 24) <= 24",
            "a shift ends by midnight: start + hours must not exceed 24",
            lambda s: s.start + s.hours <= 24,
        ),
    )


class Crews(Strict):
    """Who mends what needs a crew: `count` repairs at once, in order of need."""

    count: Annotated[int, Field(ge=1, le=10_000)]
    shift: Shift | None = None


class Quarantine(Strict):
    """After `faults` faults within `within`, a mended node is held back for `hold`."""

    faults: Annotated[int, Field(ge=1, le=100)]
    within: Duration
    hold: Duration
    rules: ClassVar[tuple[Cel, ...]] = (_lasts("within"), _lasts("hold"))


class Lemons(Strict):
    """After `faults` faults within `within`, a node is replaced by another, which takes `exchange`.

    The other node is drawn from the same fleet.
    """

    faults: Annotated[int, Field(ge=2, le=100)]
    within: Duration
    exchange: Duration
    rules: ClassVar[tuple[Cel, ...]] = (_lasts("within"),)


class Drains(Strict):
    """Preventive maintenance: each node once `every`, for `duration`, at most `at_once` together.

    A gang saves before its node is drained and restarts elsewhere. `renews` sets the age of what
    ages to zero.
    """

    every: Duration
    duration: Duration
    at_once: Annotated[int, Field(ge=1, le=4096)] = 1
    renews: bool = False
    rules: ClassVar[tuple[Cel, ...]] = (
        _lasts("duration"),
        Cel(
            "duration(self.every) > duration(self.duration)",
            "drains.every must be longer than drains.duration",
            lambda d: parse_duration_ns(d.every) > parse_duration_ns(d.duration),
        ),
    )


class FalseAlarms(Strict):
    """Healthy nodes that are taken out and checked for `check`."""

    per_1000_node_days: FailureRate = Field(alias="per1000NodeDays")
    check: Duration


class Stress(Strict):
    """How hazards of devices and nodes go with device temperature, relative to `reference` [degC].

    Either Arrhenius with an activation energy [eV], or a stated factor per kelvin.
    """

    activation_energy: Annotated[Quantity, Bounds("0", "3", "eV", exclusive_least=True)] | None = (
        None
    )
    factor_per_kelvin: Annotated[Quantity, Bounds("1", "1.5", exclusive_least=True)] | None = None
    reference: Annotated[Quantity, Bounds("-50", "200", "degC")]
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.activationEnergy) != has(self.factorPerKelvin)",
            "temperature needs exactly one of activationEnergy and factorPerKelvin",
            lambda t: (t.activation_energy is None) != (t.factor_per_kelvin is None),
        ),
    )


_DETECTION = "duration(has(self.detection) ? self.detection : '60s')"


class Reliability(Strict):
    """Assumptions on failures: a published reference, own classes, or a reference amended."""

    reference: Name | None = None
    classes: Annotated[list[FailureClass], Field(max_length=32), BY_NAME] = Field(
        default_factory=list
    )
    mean_time_to_repair: Duration | None = None
    detection: Duration = "60s"
    frailty: Frailty | None = None
    bursts: Bursts | None = None
    unrest: Unrest | None = None
    crews: Crews | None = None
    quarantine: Quarantine | None = None
    lemons: Lemons | None = None
    drains: Drains | None = None
    false_alarms: FalseAlarms | None = None
    temperature: Stress | None = None
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.reference) || (has(self.classes) && self.classes.size() > 0)",
            "reliability needs a reference (for example llama3-h100) or classes of its own",
            lambda r: r.reference is not None or len(r.classes) > 0,
        ),
        Cel(
            f"!has(self.classes) || self.classes.all(c, has(c.detection) || !({_whole('c')})"
            f" || duration(c.meanTimeToRepair) >= {_DETECTION})",
            "each class needs a meanTimeToRepair not shorter than reliability.detection (60s unless"
            " given), or a detection of its own: nothing is repaired before it is found",
            lambda r: all(
                c.detection is not None or not c.is_whole or _repairs_after(c, r.detection)
                for c in r.classes
            ),
        ),
        Cel(
            "has(self.crews) || !has(self.classes) || self.classes.all(c,"
            " !has(c.repair) || !has(c.repair.crew) || !c.repair.crew)",
            "reliability.crews is needed: a class waits for a crew (repair.crew)",
            lambda r: r.crews is not None or not any(c.repair and c.repair.crew for c in r.classes),
        ),
        Cel(
            f"!has(self.meanTimeToRepair) || duration(self.meanTimeToRepair) >= {_DETECTION}",
            "reliability.meanTimeToRepair must not be shorter than reliability.detection",
            lambda r: (
                r.mean_time_to_repair is None
                or parse_duration_ns(r.mean_time_to_repair) >= parse_duration_ns(r.detection)
            ),
        ),
    )


def repair_ns(failure: FailureClass) -> int:
    """Mean time to repair of a class [ns]."""
    return parse_duration_ns(failure.mean_time_to_repair)
