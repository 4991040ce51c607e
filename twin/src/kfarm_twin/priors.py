"""Inputs that are not known exactly: what is stated, how well, and how they are drawn.

An input is one statement, however many clusters share it: the failure rates of a study, its repair
times, a figure of a device profile. Its prior has the stated value as median, lognormal but for
temperatures (normal), with a spread by kind and confidence from ``data/priors.yaml``, where each
spread is derived. Confidence comes from the study, the class or the profile's `sources`:

- Classes of a named reference share one input for their level (``rate``) and have one each for
  their share of it (``share``); a study with one class has no shares.
- Own classes without a confidence count as Medium, and so do their repair times, detection and
  restart, which whoever runs the farm or the plan answers for.
- A figure of a profile without a source counts as Low. What is Low is *unknown*.

Draws are a Latin hypercube: each input takes the middle of each of n equally likely strata once,
in an order by SHA-256 of seed, input and draw. So the draws of an input depend on nothing else.
Values are rounded to six digits, so that the last bit of a machine's exp does not count.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from statistics import NormalDist
from typing import Protocol

import yaml
from kfarm_api.farm import Farm
from kfarm_api.plan import Workload
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.reliability import FailureClass
from kfarm_api.units import parse_decimal, parse_duration_ns, parse_quantity

from kfarm_twin.columns_cluster import ROOM_SUPPLY_C, HasFacts
from kfarm_twin.columns_grid import HasStages, stages_of
from kfarm_twin.heat_facts import DIE_SHARE, LOOP_APPROACH_K, SINK_TIME_S
from kfarm_twin.reliability import DOMAINS, FailureMode, references

Amounts = Mapping[str, Decimal]
"""By key of an input the factor on what is stated (for an additive one what is added)."""

NS_PER_HOUR = 3600 * 10**9
NS_PER_S = 10**9
CENTRAL_Z = 1.6449
"""Standard deviations either way that hold 90 % of a normal variate."""
PER_1000_NODE_DAYS = "failures per 1000 node-days"
ONE = Decimal(1)
ZERO = Decimal(0)
HUNDRED = Decimal(100)


@dataclass(frozen=True)
class Input:
    """One uncertain input.

    Attributes
    ----------
    key
        Stable name, ``kind/subject``.
    name
        For sentences: the quantity is ``{value} {unit} of {name}``.
    stated
        In `unit`.
    confidence
        As stated, or None where nothing vouches for it.
    spread
        Standard deviation of the logarithm, or of the value itself [unit] where `additive`.
    weight
        Which to look at first, where there are too many of a kind.
    """

    key: str
    name: str
    unit: str
    stated: Decimal
    confidence: str | None
    spread: float
    additive: bool = False
    weight: float = math.inf

    @property
    def unknown(self) -> bool:
        """Whether nobody vouches for it: confidence Low, or no source."""
        return self.confidence in (None, "Low")

    def amount(self, z: float) -> Decimal:
        """Factor (or addend) at `z` standard deviations from the median."""
        shift = self.spread * z
        return Decimal(f"{shift if self.additive else math.exp(shift):.6g}")

    def value(self, amount: Decimal) -> Decimal:
        """The input where its amount is `amount`."""
        return self.stated + amount if self.additive else self.stated * amount


@cache
def priors() -> dict[str, dict[str, float]]:
    """Spreads by kind and confidence."""
    text = files("kfarm_twin").joinpath("data/priors.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries = yaml.load(text, Loader=loader)["priors"]  # noqa: S506 - a safe loader
    return {
        kind: {word: float(value) for word, value in entry.items() if word != "source"}
        for kind, entry in entries.items()
    }


def _spread(kind: str, confidence: str | None) -> float:
    return priors()[kind][confidence or "Low"]


def is_own(ref: HasFacts, mode: FailureMode) -> bool:
    """Whether a class is the cluster's own, not its reference's."""
    return any(own.name == mode.name for own in ref.cluster.reliability.classes)


def rate_keys(ref: HasFacts, mode: FailureMode) -> tuple[str, ...]:
    """Inputs whose product scales the rate of a class."""
    if is_own(ref, mode):
        return (f"rate/{mode.name}/{mode.rate.normalize():f}",)
    study = ref.cluster.reliability.reference
    return (f"rate/{study}", f"share/{study}/{mode.name}")


def repair_key(ref: HasFacts, mode: FailureMode) -> str:
    """Input that scales the repair of a class."""
    declared = ref.cluster.reliability
    if is_own(ref, mode):
        return f"repair/{mode.name}/{mode.repair_ns // NS_PER_S}s"
    if declared.mean_time_to_repair is not None:
        return f"repair/meanTimeToRepair/{declared.mean_time_to_repair}"
    return f"repair/{declared.reference}"


def detection_key(ref: HasFacts) -> str:
    """Input that scales the detection of a cluster."""
    return f"detection/{ref.facts.detection_ns // NS_PER_S}s"


def class_detection_key(own: FailureClass) -> str:
    """Input that scales the detection of a class that states its own."""
    return f"detection/{own.name}/{own.detection}"


def restart_key(workload: Workload) -> str:
    """Input that scales the restart of a workload."""
    return f"restart/{workload.name}"


def profile_key(field: str, ref: HasFacts) -> str:
    """Input that scales a figure of a cluster's profile, by its field there."""
    return f"{field}/{ref.cluster.accelerator}"


def resistance_field(ref: HasFacts) -> str:
    """Field of the thermal resistance that a cluster's cooling takes."""
    return f"thermalResistance.{ref.cluster.cooling.type.lower()}"


def loss_key(stage: str) -> str:
    """Input that scales what a stage of the power chain loses, by `columns_grid.stage_name`."""
    return f"loss/{stage}"


def air_key(ref: HasFacts) -> str:
    """Input that is added to the room's air where nobody states it."""
    return f"airSupplyTemperature/{ref.label}"


def die_key(ref: HasFacts) -> str:
    """Input that scales the die's part of the thermal resistance, whose whole stays."""
    return f"thermal.{ref.cluster.cooling.type.lower()}.die/{ref.cluster.accelerator}"


def sink_time_key(ref: HasFacts) -> str:
    """Input that scales the time constant of sink or cold plate."""
    return f"thermal.{ref.cluster.cooling.type.lower()}.sinkTime/{ref.cluster.accelerator}"


def capacity_key(ref: HasFacts, liquid: bool) -> str:
    """Input that scales what a cluster's CDUs, or its air handlers, carry."""
    return f"{'cduCapacity' if liquid else 'air.unitCapacity'}/{ref.label}"


def approach_key(ref: HasFacts, liquid: bool) -> str:
    """Input that scales how far their supply is above the facility water at capacity."""
    return f"{'loop' if liquid else 'air'}.approach/{ref.label}"


def recirculation_key(ref: HasFacts) -> str:
    """Input that scales the share of air that passes racks again."""
    return f"recirculation/{ref.label}"


def chiller_key(farm: str) -> str:
    """Input that scales the capacity of a farm's chillers."""
    return f"chillerCapacity/{farm}"


class HasProfile(HasFacts, HasStages, Protocol):
    """A cluster with its figures and the profile they come from."""

    @property
    def profile(self) -> AcceleratorProfile:
        """The device type."""

    @property
    def farm(self) -> Farm:
        """Whose cluster it is."""


def _plain(value: float) -> Decimal:
    return Decimal(f"{value:.6g}")


def _weight(mode: FailureMode, devices: int) -> float:
    """Node time that a class takes, about; without bound for what takes down many nodes."""
    if mode.per in DOMAINS:
        return math.inf
    return mode.node_rate_per_ns(devices) * (mode.repair_ns + NS_PER_HOUR)


def _own_modes(ref: HasFacts) -> Iterable[Input]:
    words = {own.name: own.confidence or "Medium" for own in ref.cluster.reliability.classes}
    for mode in ref.facts.modes:
        if not is_own(ref, mode):
            continue
        weight = _weight(mode, ref.facts.devices)
        word = words[mode.name]
        yield Input(
            rate_keys(ref, mode)[0],
            mode.name,
            PER_1000_NODE_DAYS if mode.by_node else f"failures per 1000 {mode.per.lower()}-days",
            mode.rate,
            word,
            _spread("rate", word),
            weight=weight,
        )
        yield Input(
            repair_key(ref, mode),
            f"mean repair of {mode.name}",
            "h",
            _plain(mode.repair_ns / NS_PER_HOUR),
            "Medium",
            _spread("repair", "Medium"),
            weight=weight,
        )
        own = mode.declared
        if own is not None and own.detection is not None:
            yield Input(
                class_detection_key(own),
                f"detection of {mode.name}",
                "s",
                _plain(parse_duration_ns(own.detection) / NS_PER_S),
                "Medium",
                _spread("detection", "Medium"),
                weight=weight,
            )


def _study_modes(ref: HasFacts) -> Iterable[Input]:
    """Level, shares and repair of the classes that come from a reference."""
    name = ref.cluster.reliability.reference
    modes = [mode for mode in ref.facts.modes if not is_own(ref, mode)]
    if name is None or not modes:
        return
    study = references()[name]
    total = sum((mode.rate for mode in modes), ZERO)
    word = study.confidence
    yield Input(
        f"rate/{name}",
        f"all classes of {name}",
        PER_1000_NODE_DAYS,
        total,
        word,
        _spread("rate", word),
    )
    for mode in modes if len(modes) > 1 else ():
        yield Input(
            rate_keys(ref, mode)[1],
            mode.name,
            PER_1000_NODE_DAYS,
            mode.rate,
            word,
            _spread("share", word),
            weight=_weight(mode, ref.facts.devices),
        )
    stated = ref.cluster.reliability.mean_time_to_repair
    repair_word = "Medium" if stated is not None else study.repair_confidence
    mean = float(sum(mode.rate * mode.repair_ns for mode in modes) / total) / NS_PER_HOUR
    yield Input(
        repair_key(ref, modes[0]),
        f"mean repair of {name}",
        "h",
        _plain(mean),
        repair_word,
        _spread("repair", repair_word),
    )


def _found(ref: HasFacts) -> Iterable[Input]:
    seconds = ref.facts.detection_ns / NS_PER_S
    spread = _spread("detection", "Medium")
    yield Input(detection_key(ref), "detection", "s", _plain(seconds), "Medium", spread)


def _confidence(profile: AcceleratorProfile, field: str) -> str | None:
    """Confidence of a figure, by its own entry or that of the group it stands in."""
    known = {entry.field: entry.confidence for entry in profile.spec.sources}
    return known.get(field, known.get(field.partition(".")[0]))


def _figures(ref: HasProfile) -> Iterable[Input]:
    spec, name = ref.profile.spec, ref.profile.metadata.name
    cooling = resistance_field(ref)
    resistance = getattr(spec.thermal_resistance, cooling.partition(".")[2])
    for field, kind, unit, text, of_what in (
        (cooling, "resistance", "K/W", resistance, "thermal resistance"),
        ("power.tdp", "tdp", "W", spec.power.tdp, "full power"),
        ("power.idle", "idle", "W", spec.power.idle, "idle power"),
        ("nodeOverhead.idle", "overhead", "W", spec.node_overhead.idle, "idle node overhead"),
        ("nodeOverhead.loaded", "overhead", "W", spec.node_overhead.loaded, "loaded node overhead"),
    ):
        word = _confidence(ref.profile, field)
        yield Input(
            profile_key(field, ref),
            f"{of_what} of {name}",
            unit,
            parse_decimal(text),
            word,
            _spread(kind, word),
        )


def _air(ref: HasFacts) -> Iterable[Input]:
    if ref.facts.air_assumed:
        stated, spread = Decimal(int(ROOM_SUPPLY_C)), _spread("air", None)
        name = f"room air of {ref.label}"
        yield Input(air_key(ref), name, "degC", stated, None, spread, additive=True)


def _path(ref: HasProfile) -> Iterable[Input]:
    """How the resistance is parted, and the time of the sink; stated in the profile, or assumed."""
    name, kind = ref.profile.metadata.name, ref.cluster.cooling.type
    path = getattr(ref.profile.spec.thermal, kind.lower(), None)
    word = None if path is None else _confidence(ref.profile, "thermal")
    whole = ref.facts.resistance_k_per_w
    die = whole * DIE_SHARE if path is None else parse_quantity(path.die)
    seconds = SINK_TIME_S[kind]
    if path is not None:
        seconds = parse_duration_ns(path.sink_time) / NS_PER_S
    spread = _spread("dieShare", word)
    yield Input(die_key(ref), f"die's part of the thermal resistance of {name}", "K/W",
                _plain(die), word, spread)  # fmt: skip
    what = "cold plate" if kind == "Liquid" else "heat sink"
    spread = _spread("sinkTime", word)
    yield Input(sink_time_key(ref), f"time constant of the {what} of {name}", "s",
                _plain(seconds), word, spread)  # fmt: skip


def _cooled(ref: HasProfile) -> Iterable[Input]:
    """Capacities and approaches of a cluster's zones, recirculation, its farm's chillers.

    What a farm states, whoever runs it answers for: Medium. Zones that nobody described are as
    large as need be and have no prior.
    """
    cooling, label = ref.cluster.cooling, ref.label
    if cooling.cdu_capacity is not None:
        told = "Medium" if cooling.loop is not None else None
        approach = cooling.loop.approach if cooling.loop is not None else f"{LOOP_APPROACH_K:g}"
        yield Input(capacity_key(ref, True), f"CDU capacity of {label}", "W",
                    parse_decimal(cooling.cdu_capacity), "Medium",
                    _spread("capacity", "Medium"))  # fmt: skip
        yield Input(approach_key(ref, True), f"approach of the CDUs of {label}", "K",
                    parse_decimal(approach), told, _spread("approach", told))  # fmt: skip
    if cooling.air is not None:
        yield Input(capacity_key(ref, False), f"capacity of an air handler of {label}", "W",
                    parse_decimal(cooling.air.unit_capacity), "Medium",
                    _spread("capacity", "Medium"))  # fmt: skip
        yield Input(approach_key(ref, False), f"approach of the air handlers of {label}", "K",
                    parse_decimal(cooling.air.approach), "Medium",
                    _spread("approach", "Medium"))  # fmt: skip
    yield Input(recirculation_key(ref), f"recirculation of {label}", "percent",
                Decimal(cooling.recirculation), "Medium",
                _spread("recirculation", "Medium"))  # fmt: skip
    plant = ref.farm.spec.plant
    if plant is not None:
        yield Input(chiller_key(ref.farm.metadata.name),
                    f"capacity of a chiller of {ref.farm.metadata.name}", "W",
                    parse_decimal(plant.chiller_capacity), "Medium",
                    _spread("capacity", "Medium"))  # fmt: skip


def _losses(refs: Sequence[HasStages]) -> Iterable[Input]:
    """Losses of stages at their best efficiency; whoever runs the farm answers for them."""
    spread = _spread("loss", "Medium")
    for name, stage in stages_of(refs).items():
        best = max(parse_decimal(point.efficiency) for point in stage.efficiency)
        stated, unit = _plain(float((HUNDRED / best - ONE) * HUNDRED)), "percent of output"
        if stated == 0:
            stated, unit = parse_decimal(stage.constant_loss), "W"
        yield Input(loss_key(name), f"losses of {name}", unit, stated, "Medium", spread)


def _restart(workload: Workload) -> Iterable[Input]:
    if workload.checkpoint is not None:
        seconds = parse_duration_ns(workload.checkpoint.restart) / NS_PER_S
        spread, name = _spread("restart", "Medium"), f"restart of {workload.name}"
        yield Input(restart_key(workload), name, "s", _plain(seconds), "Medium", spread)


def uncertain_inputs(
    refs: Sequence[HasProfile], workloads: Sequence[Workload]
) -> tuple[Input, ...]:
    """All inputs that have a prior, each once, in a fixed order; what is stated as 0 has none."""
    found: dict[str, Input] = {}
    for ref in refs:
        for part in (
            _study_modes(ref),
            _own_modes(ref),
            _found(ref),
            _figures(ref),
            _air(ref),
            _path(ref),
            _cooled(ref),
        ):
            found |= {entry.key: entry for entry in part if entry.key not in found}
    found |= {entry.key: entry for entry in _losses(refs)}
    for workload in workloads:
        found |= {entry.key: entry for entry in _restart(workload)}
    return tuple(entry for entry in found.values() if entry.additive or entry.stated > 0)


def draws(inputs: Sequence[Input], count: int, seed: int) -> list[dict[str, Decimal]]:
    """`count` sets of amounts: a Latin hypercube; shares are scaled so that totals stay."""
    normal = NormalDist()
    strata = [normal.inv_cdf((index + 0.5) / count) for index in range(count)]
    sets: list[dict[str, Decimal]] = [{} for _ in range(count)]
    for entry in inputs:
        order = sorted(range(count), key=lambda draw: _hash(seed, entry.key, draw))
        for stratum, draw in zip(strata, order, strict=True):
            sets[draw][entry.key] = entry.amount(stratum)
    for amounts in sets:
        _keep_totals(inputs, amounts)
    return sets


def _hash(seed: int, key: str, draw: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{key}\n{draw}".encode()).digest()


def _keep_totals(inputs: Sequence[Input], amounts: dict[str, Decimal]) -> None:
    """Let the level of a study say how much fails, and its shares only of what kind."""
    stated: dict[str, Decimal] = {}
    drawn: dict[str, Decimal] = {}
    for entry in inputs:
        kind, _, rest = entry.key.partition("/")
        if kind == "share":
            level = f"rate/{rest.rpartition('/')[0]}"
            stated[level] = stated.get(level, ZERO) + entry.stated
            drawn[level] = drawn.get(level, ZERO) + entry.stated * amounts[entry.key]
    for level, total in stated.items():
        amounts[level] *= total / drawn[level]
