"""What work pays: elastic gangs, slow nodes, silent corruption, lost devices, drains."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import twin_farms as farms
from kfarm_twin.arrays import (
    ACCELERATORS,
    GRID,
    LOST_RESTART,
    LOST_REWORK,
    LOST_SAVES,
    LOST_SLOW,
    LOST_WAITING,
    METRIC_ORDER,
    Outcome,
    down_bin,
)
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.place import place
from kfarm_twin.results import Replay
from kfarm_twin.simulate import Simulator

HOUR_NS = 3600 * 10**9
SECOND_NS = 10**9
FIXED = {"distribution": "Fixed"}
NO_SAVES = {"interval": "1s", "save": "0s", "restart": "0s"}


def failure(name: str, rate: str, mended_in: str, **more: Any) -> dict[str, Any]:
    """A class with a rate per 1,000 days of what it is per."""
    return {"name": name, "failuresPer1000Days": rate, "meanTimeToRepair": mended_in} | more


def simulator(
    workload: dict[str, Any], *classes: dict[str, Any], hours: int, nodes: int, **more: Any
) -> tuple[Model, Simulator]:
    reliability = {"classes": list(classes), "detection": "0s"} | more
    cluster = farms.cluster(nodes=nodes, reliability=reliability)
    farm = farms.farm(cluster)
    seen = farms.snapshot(farm)
    model = compile_farm([farm], [farms.profile()], farms.plan(workload), seen)
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    return model, Simulator(model, placed, 5, hours * HOUR_NS)


def gang(pods: int, **changes: Any) -> dict[str, Any]:
    return farms.training(pods, **({"duration": "999999h", "checkpoint": NO_SAVES} | changes))


def column(outcome: Outcome, name: str) -> Any:
    return outcome.metrics[:, METRIC_ORDER.index(name)]


def near(values: Any, expected: float) -> None:
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert error > 0.0
    assert abs(float(np.mean(values)) - expected) <= 3.0 * error


def of_kind(replay: Replay, *names: str) -> list[tuple[str, int, int, int]]:
    return [
        (e["event"], e["time_ns"], e["entity"], e["detail"])
        for e in replay.events.to_pylist()
        if e["event"] in names
    ]


def test_an_elastic_gang_shrinks_and_grows_again() -> None:
    """Four nodes, no spare: three go on at three quarters; a node back costs save and restart."""
    saves = {"interval": "30m", "save": "60s", "restart": "5m"}
    workload = gang(4, elastic={"minPods": 3}, checkpoint=saves)
    fault = failure("any", "10", "20h", repair=FIXED)
    _, playing = simulator(workload, fault, hours=2000, nodes=4)
    failures = column(playing.play(0, 50), "node_failures")
    replay = playing.replay(int(np.flatnonzero(failures == 1)[0]))
    steps = of_kind(replay, "UnitStopped", "UnitStarted", "UnitSaves", "NodeRepaired")
    failed = steps[1][1]
    second = SECOND_NS
    assert steps[1:] == [
        ("UnitStopped", failed, 0, 0),
        ("UnitStarted", failed + 300 * second, 0, 1),
        ("NodeRepaired", failed + 20 * HOUR_NS, steps[3][2], 0),
        ("UnitSaves", failed + 20 * HOUR_NS, 0, 1),
        ("UnitStarted", failed + 20 * HOUR_NS + 360 * second, 0, 0),
    ]
    assert column(replay.outcome, "gang_interruptions")[0] == 1.0
    assert replay.outcome.stops[0].tolist() == [[1, 1]]
    lost = replay.outcome.workload_lost_ns[0, 0] / 8.0 / SECOND_NS  # pod-seconds
    assert lost[LOST_RESTART] == pytest.approx(300 * 3 + 300 * 4)
    assert lost[LOST_WAITING] == pytest.approx(20 * 3600)
    assert lost[LOST_REWORK] <= 1800 * 4
    cycles = (20 * 3600 - 300) // (1800 / 0.75 + 60)
    assert cycles == 29
    before = failed // (1860 * second) * 60
    after = (2000 * 3600 - failed // second - 20 * 3600 - 360) // 1860 * 60
    regular = 4 * before + 3 * 29 * 60 + 4 * after
    assert lost[LOST_SAVES] == pytest.approx(regular + 4 * 60, abs=4 * 60)


def test_an_elastic_gang_waits_below_its_least() -> None:
    workload = gang(2, elastic={"minPods": 1})
    fault = failure("rack", "20", "30h", per="Rack")
    _, playing = simulator(workload, fault, hours=5000, nodes=2)
    waits = of_kind(playing.replay(0), "UnitWaits")
    assert waits
    assert all(missing == 2 for _, _, _, missing in waits)


def test_a_slow_node_slows_its_gang() -> None:
    """Of one node: slow at 40 % for a share a / (1 + a) of the time, a = rate times repair."""
    fault = failure("slow", "100", "60h", effect="Slow", speed=40)
    _, playing = simulator(gang(1), fault, hours=4000, nodes=1)
    outcome = playing.play(0, 200)
    load = 0.1 / 24.0 * 60.0
    near(column(outcome, "ettr"), 1.0 - 0.6 * load / (1.0 + load))
    assert column(outcome, "gang_interruptions").sum() == 0
    assert column(outcome, "lost_accelerator_hours").sum() == 0
    slow = outcome.class_lost_ns[:, 0, LOST_SLOW]
    assert np.allclose(slow, outcome.workload_lost_ns[:, 0, LOST_SLOW])
    hours = (1.0 - column(outcome, "ettr")) * 4000 * 8
    assert np.allclose(column(outcome, "lost_accelerator_hours_slow"), hours, atol=0.01)


def test_the_slowest_member_counts() -> None:
    """Two of four nodes are slow at once at times, and it costs no more than one."""
    fault = failure("slow", "900", "60h", effect="Slow", speed=50)
    _, playing = simulator(gang(4), fault, hours=300, nodes=4)
    assert column(playing.play(0, 50), "ettr").min() >= 0.4999


def test_silent_corruption_costs_all_work_since() -> None:
    """Good work lasts 1 / rate, worthless work until it is found; then the only node is mended."""
    fault = failure("sdc", "400", "8h", effect="Corrupt", detection="7h")
    _, playing = simulator(gang(1), fault, hours=8000, nodes=1)
    outcome = playing.play(0, 200)
    near(column(outcome, "ettr"), 60.0 / (60.0 + 7.0 + 8.0))
    near(outcome.workload_lost_ns[:, 0, LOST_REWORK] / 8 / HOUR_NS / 8000, 7.0 / 75.0)
    near(outcome.workload_lost_ns[:, 0, LOST_WAITING] / 8 / HOUR_NS / 8000, 8.0 / 75.0)


def test_saves_after_corruption_are_worthless() -> None:
    """A future ends before anything is found: what is retained was saved before the corruption."""
    fault = failure("sdc", "400", "800h", effect="Corrupt", detection="799h")
    saves = {"interval": "1h", "save": "0s", "restart": "0s"}
    _, playing = simulator(gang(1, checkpoint=saves), fault, hours=60, nodes=1)
    seen = 0
    for future in range(20):
        replay = playing.replay(future)
        spoilt = of_kind(replay, "NodeCorrupts")
        if len(spoilt) == 1 and not of_kind(replay, "UnitStopped"):
            retained = replay.outcome.unit_times_ns[0, 0, 0]
            assert retained == spoilt[0][1] // HOUR_NS * HOUR_NS
            seen += 1
    assert seen > 3


def test_a_lost_device_stops_only_the_pod_that_holds_it() -> None:
    """Each of a pod's two devices of eight is hit at the rate of one."""
    fault = failure("gpu", "100", "1s", per="Device", takes="Device")
    workload = gang(1, acceleratorsPerPod=2)
    _, playing = simulator(workload, fault, hours=2400, nodes=1)
    outcome = playing.play(0, 200)
    near(column(outcome, "gang_interruptions"), 2 * 0.1 * 100)
    assert column(outcome, "nodes_down_max").max() == 0
    near(column(outcome, "lost_accelerator_hours_down"), 8 * 0.1 * 100 / 3600.0)


def test_a_node_with_a_device_less_takes_no_whole_pod() -> None:
    """A pod of all eight devices waits until the device is mended, one of four goes on."""
    fault = failure("gpu", "2", "50h", per="Device", takes="Device", repair=FIXED)
    for devices, waits in ((8, True), (4, False)):
        _, playing = simulator(gang(1, acceleratorsPerPod=devices), fault, hours=3000, nodes=1)
        outcome = playing.play(0, 40)
        assert column(outcome, "gang_interruptions").sum() > 5
        assert bool(outcome.workload_lost_ns[:, 0, LOST_WAITING].sum() > 0) == waits


def test_a_drain_loses_nothing_and_is_no_interruption() -> None:
    saves = {"interval": "2h", "save": "3m", "restart": "10m"}
    drains = {"every": "100h", "duration": "1h", "atOnce": 1}
    never = failure("never", "1m", "1h")
    _, playing = simulator(gang(2, checkpoint=saves), never, hours=1000, nodes=4, drains=drains)
    outcome = playing.play(0, 4)
    assert column(outcome, "gang_interruptions").tolist() == [0.0] * 4
    moves = outcome.stops[:, 0, 1]
    assert moves.min() >= 10
    lost = outcome.workload_lost_ns[:, 0] / (2 * 8) / SECOND_NS
    assert lost[:, LOST_REWORK].tolist() == [0.0] * 4
    assert lost[:, LOST_WAITING].tolist() == [0.0] * 4
    assert lost[:, LOST_RESTART].tolist() == [600.0 * m for m in moves]
    retained = outcome.unit_times_ns[:, 0, 0] / SECOND_NS
    assert np.allclose(retained + lost.sum(axis=1), 1000 * 3600)
    assert column(outcome, "time_to_recover_max").tolist() == [0.0] * 4
    assert column(outcome, "mtti").tolist() == [1000 * 3600.0] * 4


def test_a_leaf_switch_stops_its_unit_and_takes_a_rail() -> None:
    """Eight leaves, one for each rail: each failure stops the gang once, in place."""
    fault = failure("leaf", "20", "30h", per="Leaf")
    _, playing = simulator(gang(2), fault, hours=2000, nodes=4)
    replay = playing.replay(1)
    assert of_kind(replay, "RailLost")
    assert not of_kind(replay, "SlotMoved", "NodeFailed")
    started = [e for e in of_kind(replay, "UnitStarted") if e[1] > 0]
    assert started
    outcome = playing.play(0, 400)
    assert column(outcome, "nodes_down_max").max() == 0
    near(column(outcome, "gang_interruptions"), 8 * 2000 / (50 * 24 + 30))
    load = 30 / (50 * 24)
    near(column(outcome, "ettr"), 1.0 - load / (1.0 + load))


def test_nodes_down_over_time_and_by_number() -> None:
    """The grid and the histogram tell of the same futures as the metrics."""
    fault = failure("any", "40", "40h")
    model, playing = simulator(gang(2), fault, hours=2000, nodes=30)
    outcome = playing.play(0, 50)
    assert outcome.down_at.shape == (50, GRID)
    assert down_bin(model.nodes) == 1
    spans = outcome.down_ns.astype(float)
    assert (spans.sum(axis=1) == 2000 * HOUR_NS).all()
    means = spans @ np.arange(31) / (2000 * HOUR_NS)
    assert np.allclose(means, column(outcome, "nodes_down_mean"))
    assert np.allclose(1.0 - means / 30, column(outcome, "availability"))
    assert [int(np.flatnonzero(row)[-1]) for row in spans] == column(
        outcome, "nodes_down_max"
    ).tolist()
    grid = outcome.down_at.mean(axis=1)
    assert abs(float(np.mean(grid - means))) < 0.02
    hours = 8 * means * 2000
    assert np.allclose(hours, column(outcome, "lost_accelerator_hours_down"))


def test_lost_accelerator_hours_are_down_and_rework() -> None:
    saves = {"interval": "2h", "save": "3m", "restart": "10m"}
    fault = failure("any", "40", "40h")
    model, playing = simulator(gang(4, checkpoint=saves), fault, hours=1000, nodes=8)
    outcome = playing.play(0, 20)
    parts = column(outcome, "lost_accelerator_hours_down") + column(
        outcome, "lost_accelerator_hours_rework"
    )
    assert np.allclose(parts, column(outcome, "lost_accelerator_hours"))
    assert column(outcome, "goodput").tolist() == column(outcome, "ettr").tolist()
    assert model.columns.workloads.need[0, ACCELERATORS] == 8
