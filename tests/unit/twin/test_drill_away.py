"""What the twin says where the API server or the operator is away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drill_cases import drill, fault, request
from kfarm_api.units import parse_quantity
from kfarm_twin.drill import predict
from kfarm_twin.drill_away import absences, arrivals, longest_pause
from kfarm_twin.drill_delays import Delays, Draws
from kfarm_twin.drill_floor import Floor
from kfarm_twin.drill_request import DrillPrediction, DrillRequest
from naive_drill import NaiveRollout
from twin_farms import cluster, farm, plan, training

OUTAGE: dict[str, Any] = {"name": "away", "action": "ApiOutage", "duration": "15s"}
KILL: dict[str, Any] = {"name": "away", "action": "OperatorKill", "duration": "3s"}


def asked(
    *faults: dict[str, Any], event: str = "Simulating", comes: bool = True, nodes: int = 8,
    **changes: Any,
) -> DrillRequest:  # fmt: skip
    """A drill in which the gang `plan` of 4 pods is rolled out, or has been."""
    trigger = {"plan": "plan", "event": event} if comes else None
    own = [{**one, "trigger": trigger} if trigger else one for one in faults]
    made = request(fault(), of=farm(cluster(nodes=nodes)), plans=[plan(training())])
    return made.model_copy(
        update={
            "drill": drill(*own, **changes),
            "targets": [],
            "pods": [] if comes else made.pods,
            "coming": ["plan"] if comes else [],
            "measured": made.measured.model_copy(update={"verdict_s": [], "pod_start_s": []}),
        }
    )


def figures(found: DrillPrediction) -> dict[str, tuple[float, float, float]]:
    return {
        m.name: tuple(parse_quantity(text or "NaN") for text in (m.low, m.median, m.high))
        for m in found.metrics
    }  # type: ignore[misc]


def test_a_plan_that_is_judged_in_an_outage_runs_soon_after_it() -> None:
    found = predict(asked(OUTAGE))
    seen = figures(found)
    low, median, high = seen["seconds_to_recover"]
    assert 15.0 < low < median < 18.0
    # a pause of 0.2 s doubled three times, a verdict of 10.6 s, its release and start
    assert high < 15.0 + 1.6 + 10.6 + 1.4
    assert seen["pods_pending_max"] == (4, 4, 4)
    assert seen["nodes_down_max"] == (0, 0, 0)
    assert not {"pods_affected", "lost_accelerator_hours", "healthy_nodes_min"} & seen.keys()
    assert any("first verdict" in text for text in found.assumptions)


def test_an_operator_that_is_killed_while_it_releases_ends_what_it_began() -> None:
    seen = figures(predict(asked(KILL, event="Releasing", delays={"operatorStart": "4s"})))
    low, _, high = seen["seconds_to_recover"]
    assert 3.6 < low < high < 4 * 1.3 + 0.4 + 0.4 + 4 / 50 + 0.5
    assert seen["pods_pending_max"] == (4, 4, 4)


@pytest.mark.parametrize(("duration", "starts"), [("1s", 1), ("9s", 3), ("11s", 3)])
def test_an_operator_is_killed_again_whenever_it_is_back(duration: str, starts: int) -> None:
    """With starts of 4 s, give or take; nothing waits at the gate."""
    kill = {**KILL, "duration": duration}
    low, median, _ = figures(predict(asked(kill, event="Running", delays={"operatorStart": "4s"})))[
        "seconds_to_recover"
    ]
    assert low >= parse_quantity(duration[:-1])
    assert median == pytest.approx(starts * 4, rel=0.3)


def test_pods_that_run_go_on_while_nobody_is_there() -> None:
    seen = figures(predict(asked(OUTAGE, comes=False, delays={"apiReturn": "2s"})))
    assert seen["pods_pending_max"] == (0, 0, 0)
    assert seen["seconds_to_recover"][1] == pytest.approx(17.0, abs=0.4)


def test_a_plan_without_room_never_runs() -> None:
    found = predict(asked(KILL, nodes=3))
    assert "seconds_to_recover" not in figures(found)
    assert figures(found)["pods_pending_max"] == (4, 4, 4)
    assert any("has no place" in text for text in found.warnings)


def test_after_an_outage_as_long_as_the_grace_nodes_are_not_counted() -> None:
    """50 s of grace, less a renewal of 10 s and a pass of 5 s."""
    assert "nodes_down_max" in figures(predict(asked({**OUTAGE, "duration": "35s"})))
    long = predict(asked({**OUTAGE, "duration": "36s"}))
    assert "nodes_down_max" not in figures(long)
    assert any("nodes are not counted" in text for text in long.warnings)


def test_nodes_that_are_down_anyway_are_counted_while_the_runner_acts() -> None:
    one = asked(OUTAGE)
    nodes = [node.model_copy(update={"uid": node.name}) for node in one.snapshot.nodes]
    nodes[-1] = nodes[-1].model_copy(update={"ready": False})
    sick = one.model_copy(update={"snapshot": one.snapshot.model_copy(update={"nodes": nodes})})
    assert figures(predict(sick))["nodes_down_max"] == (1, 1, 1)


def test_pods_that_are_out_are_waited_for_as_well() -> None:
    """A drain at the beginning; its successor is held up until the operator is back."""
    drained = fault("Drain", duration="60s")
    away = {**KILL, "duration": "60s"}
    both = predict(request(drained, away, delays={"operatorStart": "60s", "toleration": "30s"}))
    moments = {(one.event, one.fault): one.median for one in both.timeline}
    assert moments["Recovered", "away"] == pytest.approx(66, abs=13)
    assert moments["Recovered", "away"] == moments["Recovered", "f"]


@pytest.mark.parametrize(
    ("lasts", "pause"), [(4.0, 0.2), (15.0, 1.6), (30.0, 12.8), (40.0, 30.0), (1e6, 30.0)]
)
def test_clients_pause_longer_the_longer_an_outage_lasts(lasts: float, pause: float) -> None:
    assert longest_pause(lasts) == pytest.approx(pause)


def test_what_comes_belongs_to_the_question() -> None:
    one = asked(OUTAGE)
    assert one.digest() != one.model_copy(update={"coming": []}).digest()


@pytest.mark.parametrize("event", ["Simulating", "Approved", "Releasing", "Running"])
@pytest.mark.parametrize(
    "faults",
    [
        [OUTAGE],
        [KILL],
        [{**OUTAGE, "at": "1s", "duration": "70s"}],
        [{**KILL, "duration": "21s"}, {**OUTAGE, "name": "later", "at": "24s"}],
    ],
)
def test_future_by_future_it_is_as_a_loop_written_apart_plays_it(
    event: str, faults: list[dict[str, Any]]
) -> None:
    one = asked(*faults, event=event, delays={"operatorStart": "5s"})
    delays, draws = Delays.of(one.drill.spec.delays, one.measured), Draws(7, 64)
    floor = Floor(one)
    away = absences(one, delays, draws)
    (arrival,) = arrivals(one, floor, away, delays, draws)
    for future in range(draws.futures):

        def luck(name: str, low: float, high: float, future: int = future) -> float:
            return float(draws.uniform(name, low, high)[future])

        naive = NaiveRollout(
            luck, "plan", [floor.plans[0].slot_name(slot) for slot in range(4)], event,
            [(a.fault.name, a.fault.action, a.start, float(a.fault.duration[:-1])) for a in away],
            5.0,
        )  # fmt: skip
        for absence in away:
            back = naive.back(
                absence.fault.name, absence.fault.action, absence.start,
                float(absence.fault.duration[:-1]),
            )  # fmt: skip
            assert absence.back[future] == pytest.approx(back, abs=1e-9)
        assert max(arrival.running[future], 0.0) == pytest.approx(naive.run(), abs=1e-9)
    assert np.isfinite(np.stack([a.back for a in away])).all()
