"""A future keeps its invariants, and is the same to the last bit as the plain-Python reference."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import naive
import naive_power
import numpy as np
import twin_farms as farms
from fleet_script import script
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from kfarm_twin.arrays import ACCELERATORS, GRID, RESOURCES
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.place import Shortfall, place
from kfarm_twin.results import Replay
from kfarm_twin.simulate import Simulator

TESTS = Path(__file__).parents[1]
HOUR_NS = 3600 * 10**9

quick = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


simple = st.sampled_from(
    [
        {"reference": "stepfun-400"},
        farms.one_class("400", "10h", "45s"),
        farms.one_class("1000", "40h", "45s"),
        {"reference": "llama3-h100", "meanTimeToRepair": "200h",
         "classes": farms.one_class("900", "2h")["classes"]},
    ]
)  # fmt: skip


@st.composite
def full(draw: Any) -> dict[str, Any]:
    """Some of all that may befall a fleet, often."""
    rate = st.sampled_from(["40", "300", "900"])
    times = st.sampled_from(
        [("0s", "30m"), ("10m", "30m"), ("10m", "9h"), ("7h", "9h"), ("0s", "60h"), ("7h", "60h")]
    )

    def entry(name: str, **more: Any) -> dict[str, Any]:
        found, mended = draw(times)
        spans = {"meanTimeToRepair": mended, "detection": found}
        return {"name": name, "failuresPer1000Days": draw(rate)} | spans | more

    entries = [
        entry("device", per="Device", takes="Device"),
        entry("stop"),
        entry("slow", effect="Slow", speed=draw(st.sampled_from([1, 40, 90]))),
        entry("evicted", effect="Slow", speed=60, evict=True),
        entry("corrupt", effect="Corrupt"),
        entry("corrupt-device", effect="Corrupt", per="Device", takes="Device"),
        entry("rack", per="Rack"),
        entry("leaf", per="Leaf"),
    ]
    chosen = draw(st.lists(st.sampled_from(entries), min_size=1, max_size=5, unique_by=id))
    found: dict[str, Any] = {"classes": chosen, "detection": "60s"}
    if draw(st.booleans()):
        span, together = draw(st.sampled_from([("1h", 1), ("1h", 2), ("30h", 3)]))
        found["drains"] = {"every": "90h", "duration": span, "atOnce": together}
    if draw(st.booleans()):
        found["falseAlarms"] = {"per1000NodeDays": "90", "check": "2h"}
    return found


def stage(at: str) -> Any:
    """A converter of one kind."""
    points = st.sampled_from([
        [(100, "95")],
        [(10, "88.5"), (50, "96.25"), (100, "94")],
        [(0, "60"), (30, "93"), (90, "97.5")],
    ])  # fmt: skip
    return st.builds(
        lambda rows, loss, rated: {
            "name": at.lower(), "at": at, "constantLoss": loss, "rated": rated,
            "efficiency": [{"load": load, "efficiency": share} for load, share in rows],
        },
        points, st.sampled_from(["0", "55.5"]), st.sampled_from(["9k", "20k", "300k"]),
    )  # fmt: skip


@st.composite
def feeds(draw: Any) -> dict[str, Any] | None:
    """PDUs, feeds and stages of a cluster, or none."""
    if draw(st.integers(0, 3)) == 0:
        return None
    found: dict[str, Any] = {
        "nodesPerPdu": draw(st.integers(1, 5)),
        "feeds": draw(st.integers(1, 3)),
        "stages": [draw(stage(at)) for at in ("Node", "Rack", "Pdu") if draw(st.booleans())],
    }
    if draw(st.booleans()):
        found |= {"pduLimit": "20k", "feedLimit": "50k"}
    return found


@st.composite
def phases(draw: Any) -> dict[str, Any] | None:
    """A square wave, or none."""
    if draw(st.booleans()):
        return None
    share = draw(st.integers(1, 90))
    period = draw(st.sampled_from(["10ms", "700ms", "1s", "45s", "90s", "1000s", "2h"]))
    return {
        "period": period,
        "peak": draw(st.integers(101, min(10_000 // share, 1000))),
        "share": share,
    }


@st.composite
def clusters(draw: Any, name: str) -> dict[str, Any]:
    nodes = draw(st.integers(3, 9))
    cooling = draw(
        st.sampled_from(
            [
                {"type": "Air", "supplyTemperature": 24, "recirculation": 20},
                {"type": "Air", "supplyTemperature": 39},
                {
                    "type": "Liquid",
                    "supplyTemperature": 32,
                    "liquidShare": 75,
                    "nodesPerCdu": draw(st.integers(2, 5)),
                    "cduCapacity": draw(st.sampled_from(["50k", "1M"])),
                },
            ]
        )
    )
    reliability = draw(st.one_of(simple, full()))
    rack: dict[str, Any] = {"nodes": draw(st.integers(1, 4))}
    if draw(st.booleans()):
        rack["powerLimit"] = "20k"
        rack["capping"] = draw(st.sampled_from(["None", "Uniform"]))
    if draw(st.booleans()):
        rack["load"] = draw(st.sampled_from(["0", "777.123", "2k"]))
    more: dict[str, Any] = {"feed": draw(feeds())}
    if draw(st.booleans()):
        more["acceleratorPowerLimit"] = draw(st.sampled_from(["139", "600", "5k"]))
    return more | dict(
        farms.cluster(
            name,
            nodes,
            spares=draw(st.integers(0, 2)),
            cooling=cooling,
            reliability=reliability,
            rack=rack,
            fabric={
                "topology": draw(st.sampled_from(["FatTree", "RailOptimizedFatTree"])),
                "nodesPerScalableUnit": draw(st.integers(1, 5)),
            },
        )
    )


@st.composite
def models(draw: Any) -> Model:
    names = draw(st.sampled_from([("a",), ("a", "b")]))
    power = None
    if draw(st.booleans()):
        power = {
            "capacity": "90k",
            "otherLoad": "1234.567",
            "stages": [draw(stage(at)) for at in ("Feed", "Site") if draw(st.booleans())],
        }
    farm = farms.farm(*(draw(clusters(name)) for name in names), power=power)
    levels = st.sampled_from(["rack", "scalable-unit", "cluster"])
    gang = farms.training(
        draw(st.integers(1, 6)),
        acceleratorsPerPod=draw(st.sampled_from([2, 8])),
        topology={"required": draw(levels), "preferred": draw(levels)},
        duration=draw(st.sampled_from(["40h", "7h", "2000h"])),
        checkpoint={
            "interval": draw(st.sampled_from(["30m", "5h"])),
            "save": draw(st.sampled_from(["0s", "20s", "1h"])),
            "restart": draw(st.sampled_from(["5m", "0s", "30h"])),
        },
        load=draw(st.integers(0, 100)),
        cpuLoad=draw(st.one_of(st.none(), st.integers(0, 100))),
        phases=draw(phases()),
    )
    if gang["pods"] > 1 and draw(st.booleans()):
        gang["elastic"] = {"minPods": draw(st.integers(1, gang["pods"] - 1))}
    pods = farms.serving(
        draw(st.integers(1, 12)),
        acceleratorsPerPod=draw(st.sampled_from([3, 5, 1])),
        phases=draw(phases()),
    )
    workloads = draw(st.sampled_from([[gang, pods], [gang], [pods]]))
    states = st.dictionaries(
        st.integers(0, 8),
        st.sampled_from([{"ready": False}, {"schedulable": False}, {"live": True}, {"used": 3},
                         {"ready": False, "live": True}]),
        max_size=4,
    )  # fmt: skip
    seen = farms.snapshot(farm, nodes=draw(states))
    return compile_farm([farm], [farms.profile()], farms.plan(*workloads), seen)


@st.composite
def runs(draw: Any) -> tuple[Model, Any, int, int, int]:
    model = draw(models())
    slots = place(model)
    assume(not isinstance(slots, Shortfall))
    horizon = draw(st.sampled_from([400, 50, 1500])) * HOUR_NS
    return model, slots, draw(st.integers(0, 2**53 - 1)), draw(st.integers(0, 65535)), horizon


def replay(run: tuple[Model, Any, int, int, int], moments: int = 0) -> Replay:
    model, slots, seed, future, horizon = run
    return Simulator(model, slots, seed, horizon).replay(future, moments)


@quick
@given(runs())
def test_kernels_equal_naive_bit_for_bit(run: tuple[Model, Any, int, int, int]) -> None:
    model, slots, seed, future, horizon = run
    played = replay(run)
    changes = script(model, slots, seed, future, horizon)
    way = naive_power.Power(model)
    reference = naive.Future(model.columns, slots, changes, horizon, way)
    reference.run()
    columns = ("time_ns", "kind", "entity", "detail")
    events = list(zip(*(played.events[name].to_pylist() for name in columns), strict=True))
    assert events == reference.log
    outcome = played.outcome
    metrics = outcome.metrics[0]
    expected = np.array(reference.metrics())
    assert metrics[:14].tobytes() == expected[:14].tobytes()
    np.testing.assert_allclose(metrics[14:18], expected[14:], rtol=1e-9, atol=1e-9)
    assert metrics[18:21].tobytes() == np.array(reference.gang_metrics()).tobytes()
    hours = [lost / 3.6e12 for lost in reference.causes]
    limits = [int(limit) for limit in model.columns.grid.limit_mw]
    check_peaks(metrics, limits, way.peaks(horizon), model)
    assert metrics[32:39].tobytes() == np.array(hours).tobytes()
    assert outcome.class_down_ns[0].tolist() == reference.class_down
    assert outcome.class_gang_ns[0].tolist() == reference.class_gang
    assert outcome.class_lost_ns[0].tolist() == reference.class_causes
    assert outcome.workload_lost_ns[0].tolist() == reference.workload_causes
    assert outcome.stops[0].tolist() == reference.stops
    assert outcome.down_ns[0].tolist() == reference.down_for()
    assert outcome.down_at[0].tolist() == reference.down_at(GRID)
    series = [s[1] / 1000.0 for s in reference.samples], [s[3] for s in reference.samples]
    assert played.series["it_power_w"].to_pylist() == series[0]
    np.testing.assert_allclose(
        played.series["accelerator_temperature_max_c"].to_numpy(), series[1], rtol=1e-9
    )
    waited = [[u.down_ns, u.wait_ns] for u in reference.units]
    assert outcome.unit_times_ns[0, :, 2:].tolist() == waited


def check_peaks(metrics: Any, limits: list[int], peaks: list[list[float]], model: Model) -> None:
    """Peaks of windows, and loads of PDUs, feeds and sites, are those of the reference."""
    pdus, clusters = len(model.names.pdus), len(model.clusters)
    for window in range(3):
        assert math.isclose(metrics[39 + window], peaks[window][-1] / 1000.0, rel_tol=1e-9)
    parts = ((0, 0, pdus), (0, pdus, pdus + clusters), (1, pdus + clusters, len(limits) - 1))
    for column, (window, first, end) in enumerate(parts, start=42):
        loads = [peaks[window][m] / limits[m] for m in range(first, end) if limits[m] > 0]
        found = metrics[column]
        assert math.isclose(found, max(loads), rel_tol=1e-6) if loads else math.isnan(found)


@quick
@given(runs())
def test_time_of_gangs_is_retained_or_lost_to_a_cause(
    run: tuple[Model, Any, int, int, int],
) -> None:
    """Retained work and what was lost to all causes add up to the time of a gang's devices."""
    model = run[0]
    outcome, farm = replay(run).outcome, model.columns
    for unit in np.flatnonzero(farm.workloads.training[farm.units.workload] == 1):
        workload = farm.units.workload[unit]
        devices = float(farm.units.slots[unit] * farm.workloads.need[workload, ACCELERATORS])
        retained, span = outcome.unit_times_ns[0, unit, :2]
        lost = float(outcome.workload_lost_ns[0, workload].sum())
        assert math.isclose(float(retained) * devices + lost, float(span) * devices, rel_tol=1e-9)


@quick
@given(runs())
def test_energy_is_integrated_power(run: tuple[Model, Any, int, int, int]) -> None:
    played = replay(run, 500)
    times = [*played.series["time_s"].to_pylist(), played.horizon_ns / 1e9]
    power = played.series["it_power_w"].to_pylist()
    energy = math.fsum(p * (b - a) for p, a, b in zip(power, times, times[1:], strict=False))
    column = played.outcome.metrics[0][9]
    assert math.isclose(column, energy, rel_tol=1e-9)
    first = np.searchsorted(times, played.moment_s, side="right") - 1
    assert len(played.moment_s) <= 500
    assert len(times) > 501 or set(times[:-1]) <= set(played.moment_s)
    racks = played.rack_power_w.sum(axis=1)
    assert np.allclose(racks, np.array(power)[first], rtol=1e-12)


class Ledger:
    """Who is where, rebuilt from the log alone."""

    def __init__(self, model: Model, slots: Any) -> None:
        self.model, self.farm = model, model.columns
        self.where, self.up = np.array(slots), np.ones(model.nodes, bool)
        self.running = np.zeros(len(self.farm.units.workload), bool)
        self.lost: dict[tuple[int, int], bool] = {}

    def take(self, event: dict[str, Any]) -> None:
        kind, entity, detail = event["event"], event["entity"], event["detail"]
        if kind in ("NodeFailed", "NodeDrained"):
            self.up[entity] = False
            self.where[self.where == entity] = -1
        elif kind == "NodeRepaired":
            self.up[entity] = True
        elif kind == "DeviceLost":
            self.lose(entity, detail)
        elif kind == "DeviceRepaired":
            del self.lost[entity, detail]
        elif kind == "SlotMoved":
            assert self.where[entity] == -1
            assert self.up[detail]
            self.where[entity] = detail
        elif kind in ("UnitStarted", "UnitStopped", "UnitSaves"):
            self.running[entity] = kind == "UnitStarted"
        elif kind == "UnitFinished":
            self.running[entity] = False
            self.where[self.farm.units.slot_unit == entity] = -1

    def lose(self, node: int, device: int) -> None:
        """Deal out the sound devices: others first, then slots in ascending order."""
        theirs = [others for (n, _), others in self.lost.items() if n == node]
        owners = [-2] * (int(self.farm.nodes.others[node]) - sum(theirs))
        for slot in np.flatnonzero(self.where == node):
            need = self.farm.workloads.need[self.model.slot_workload[slot], ACCELERATORS]
            owners += [int(slot)] * int(need)
        place = sum((node, d) not in self.lost for d in range(device))
        owner = owners[place] if place < len(owners) else -1
        if owner >= 0:
            self.where[owner] = -1
        self.lost[node, device] = owner == -2

    def check_capacity(self) -> None:
        """Free + allocated + lost = capacity, and none is negative."""
        allocated = np.zeros((self.model.nodes, RESOURCES), np.int64)
        placed = self.where >= 0
        needs = self.farm.workloads.need[self.model.slot_workload[placed]]
        np.add.at(allocated, self.where[placed], needs)
        for (node, _), others in self.lost.items():
            allocated[node, ACCELERATORS] += not others
        assert (allocated <= self.farm.nodes.free).all()

    def check_gangs(self) -> None:
        """A unit that runs has members enough, on nodes that are up, in one required domain."""
        units, workloads = self.farm.units, self.farm.workloads
        for unit in np.flatnonzero(self.running):
            nodes = self.where[units.slot_unit == unit]
            nodes = nodes[nodes >= 0]
            workload = units.workload[unit]
            assert len(nodes) >= workloads.least[workload]
            assert self.up[nodes].all()
            if workloads.gang[workload]:
                level = workloads.required[workload]
                assert len(set(self.farm.nodes.domain[level][nodes])) == 1


@quick
@given(runs())
def test_log_keeps_time_capacity_and_gangs(run: tuple[Model, Any, int, int, int]) -> None:
    """Rebuild who is where from the log alone."""
    model, slots, _, _, _ = run
    ledger, last = Ledger(model, slots), 0
    for event in replay(run).events.to_pylist():
        assert event["time_ns"] >= last
        last = event["time_ns"]
        ledger.take(event)
        ledger.check_capacity()
        if event["event"] == "UnitStarted":
            ledger.check_gangs()


@quick
@given(runs())
def test_equal_seed_equal_log_in_any_order_and_threads(
    run: tuple[Model, Any, int, int, int],
) -> None:
    model, slots, seed, _, horizon = run
    once = Simulator(model, slots, seed, horizon, workers=1).play(0, 6)
    parts = Simulator(model, slots, seed, horizon, workers=2)
    later, sooner = parts.play(3, 3), parts.play(0, 3)
    for name in once._fields:
        whole = getattr(once, name)
        assert whole[3:].tobytes() == getattr(later, name).tobytes()
        assert whole[:3].tobytes() == getattr(sooner, name).tobytes()
