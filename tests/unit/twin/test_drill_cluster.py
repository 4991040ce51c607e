"""The cluster's clock of a drill: closed forms, and an event loop that was written apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from kfarm_api.drill import ClusterDelays
from kfarm_twin import drill_cluster, drill_jobs
from kfarm_twin.arrays import Floats
from kfarm_twin.drill_cluster import ClusterClock, Departure, NodeTimes, Wave, _closed
from kfarm_twin.drill_delays import Delays, Draws
from kfarm_twin.drill_request import MeasuredDelays
from naive_drill import NaiveCluster, Node, Pod, Timing

DELAYS = Delays.of(ClusterDelays(), MeasuredDelays())
FUTURES = 4000
TOLERANCE_S = 1e-3


def clock(futures: int = FUTURES, nodes: int = 500, delays: Delays = DELAYS, seed: int = 3,
          ages: dict[str, float] | None = None) -> ClusterClock:  # fmt: skip
    return ClusterClock(delays, Draws(seed, futures), nodes, 0, ages)


def down(count: int = 1, lasts: float = 600.0, out: float | None = None) -> Wave:
    nodes = tuple(f"n{i}" for i in range(count))
    return Wave("f", "Down", nodes, 0.0, lasts, None, out)


def leaving(times: NodeTimes, name: str, toleration: float | None = 300.0, job: str = "",
            per_index: bool = False, when_gone: bool = False) -> Departure:  # fmt: skip
    none = np.full(len(times.missed), np.inf)
    return Departure(name, "plan", times, toleration, job, per_index, when_gone, none, none, none,
                     np.zeros(len(none)))  # fmt: skip


def test_a_node_is_missed_between_grace_less_a_renewal_and_grace_and_a_period() -> None:
    missed = clock().node_times([down()])[0].missed
    assert 40.0 < missed.min() < 40.5
    assert 54.5 < missed.max() < 55.31
    # grace + period / 2 - renewal / 2, and the mean of the latencies
    assert missed.mean() == pytest.approx(50.0 + 2.5 - 5.0 + 0.084, abs=0.15)


@pytest.mark.parametrize(("grace", "expected"), [("50s", 50.0), ("48s", 50.0), ("52s", 55.0)])
def test_a_grace_period_between_two_passes_waits_for_the_later_one(
    grace: str, expected: float
) -> None:
    delays = Delays.of(ClusterDelays(node_monitor_grace_period=grace), MeasuredDelays())
    missed = clock(delays=delays).node_times([down()])[0].missed
    assert missed.mean() == pytest.approx(expected + 2.5 - 5.0 + 0.084, abs=0.15)


def test_taints_come_one_by_one_at_the_eviction_rate() -> None:
    times = clock().node_times([down(6)])
    tainted = np.sort(np.stack([one.tainted for one in times]), axis=0)
    gaps = np.diff(tainted, axis=0)
    assert gaps.min() >= 10.0
    assert gaps.max() <= 10.0 + 15.4 + 0.1  # the latest is missed so long after the first


def test_a_small_zone_that_is_mostly_missed_is_not_tainted_any_more() -> None:
    """Of 5 nodes 3 are 60 %: with the third the zone is disrupted, and small."""
    times = clock(nodes=5).node_times([down(3)])
    tainted = np.stack([one.tainted for one in times])
    assert np.isinf(tainted).any(axis=0).all()
    healthy = clock(nodes=6).node_times([down(3)])
    assert np.isfinite(np.stack([one.tainted for one in healthy])).all()


def test_a_large_zone_that_is_mostly_missed_is_tainted_slowly() -> None:
    times = clock(nodes=60, futures=200).node_times([down(33, 6000.0)])
    tainted = np.sort(np.stack([one.tainted for one in times]), axis=0)
    assert np.diff(tainted, axis=0)[-1].min() >= 100.0


def test_a_node_that_is_back_before_it_is_missed_loses_nothing() -> None:
    watched = clock()
    times = watched.node_times([down(1, lasts=25.0)])[0]
    pod = leaving(times, "p", 5.0)
    watched.departure(times, pod)
    assert np.isinf(times.missed).all()
    assert np.isinf(pod.evicted).all()
    assert (times.ready < 25.0 + 10.4).all()


def test_pods_of_a_dead_node_stay_until_it_is_back_unless_it_is_out_of_service() -> None:
    watched = clock()
    alone = watched.node_times([down(1, 600.0)])[0]
    pod = leaving(alone, "p")
    watched.departure(alone, pod)
    assert (pod.gone >= 600.0).all()
    told = watched.node_times([down(1, 600.0, out=10.0)])[0]
    freed = leaving(told, "p")
    watched.departure(told, freed)
    waits = freed.gone - freed.evicted
    assert waits.min() >= 0.0
    assert waits.max() <= 20.0
    assert waits.mean() == pytest.approx(10.0, abs=0.3)  # half a period of pod GC


def test_a_pod_that_tolerates_for_ever_is_never_evicted() -> None:
    watched = clock()
    times = watched.node_times([down(1, 600.0)])[0]
    pod = leaving(times, "p", None)
    watched.departure(times, pod)
    assert np.isinf(pod.evicted).all()


@pytest.mark.parametrize(
    ("failures", "wait"), [(1, 10.0), (2, 20.0), (3, 40.0), (6, 320.0), (7, 600.0), (12, 600.0)]
)
def test_a_job_backs_off_twice_as_long_with_each_failure(failures: int, wait: float) -> None:
    at = np.full((failures, 4), 100.0)
    made = drill_jobs.backed_off(at, at)
    assert made == pytest.approx(100.0 + max(wait, 1.0))


def test_a_back_off_that_has_run_out_is_not_waited_for() -> None:
    counted = np.array([[400.0], [500.0]])
    made = drill_jobs.backed_off(counted, np.array([[100.0], [100.0]]))
    assert made[:, 0].tolist() == [401.0, 501.0]


def test_nodes_whose_leases_are_of_one_age_are_missed_together() -> None:
    """Renewed at the same moment, they are dated to the same pass."""
    ages = {"n0": 4.0, "n1": 4.0, "n2": 9.0}
    first, second, third = clock(ages=ages).node_times([down(3)])
    assert np.abs(first.missed - second.missed).max() < 0.4
    assert np.abs(first.missed - third.missed).max() > 3.0


@dataclass(frozen=True)
class Case:
    """A drill for both."""

    nodes: int
    pods_each: int
    lasts: float
    toleration: float | None
    out: float | None = None
    job: str = ""
    per_index: bool = False
    when_gone: bool = False


CASES = [
    Case(1, 1, 600.0, 300.0),
    Case(3, 2, 600.0, 30.0, None, "job"),
    Case(4, 1, 900.0, 0.0, 15.0, "job"),
    Case(4, 2, 900.0, 20.0, 5.0, "job", per_index=True),
    Case(3, 1, 900.0, 40.0, 30.0, "job", when_gone=True),
    Case(2, 2, 52.0, 0.0, 0.0, "job"),
    Case(3, 1, 200.0, 10.0, None, "job", per_index=True, when_gone=True),
    Case(5, 1, 100.0, 10.0),
    Case(2, 1, 80.0, None, 8.0),
]


def vectorised(case: Case, delays: Delays, futures: int) -> tuple[list[NodeTimes], list[Departure]]:
    watched = clock(futures, 500, delays)
    times = watched.node_times([down(case.nodes, case.lasts, case.out)])
    pods = []
    for node in times:
        for index in range(case.pods_each):
            name = f"{node.name}-p{index}"
            pod = leaving(node, name, case.toleration, case.job, case.per_index, case.when_gone)
            watched.departure(node, pod)
            pods.append(pod)
    watched.successors(pods)
    return times, pods


def naive(case: Case, future: int, futures: int) -> NaiveCluster:
    draws = Draws(3, futures)

    def luck(name: str, low: float, high: float) -> float:
        return float(draws.uniform(name, low, high)[future])

    nodes = {}
    for index in range(case.nodes):
        name, key = f"n{index}", f"f/n{index}/0"
        age, back = luck(f"age/{key}", 0.0, 10.0), luck(f"lease/{key}", 0.0, 10.4)
        nodes[name] = Node(name, 0.0, case.lasts, age, back, case.out)
    pods = [
        Pod(f"{name}-p{index}", name, case.toleration, case.job, case.per_index, case.when_gone)
        for name in nodes
        for index in range(case.pods_each)
    ]
    cluster = NaiveCluster(Timing(), luck, nodes, pods, "f")
    cluster.run(3000.0)
    return cluster


def worst_difference(case: Case, delays: Delays = DELAYS, futures: int = 24) -> float:
    """Of all times of all nodes and pods in all futures [s]; infinite where one has none."""
    times, pods = vectorised(case, delays, futures)
    worst = 0.0
    for future in range(futures):
        slow = naive(case, future, futures)
        for node in times:
            other = slow.nodes[node.name]
            worst = max(worst, apart(node.missed, future, other.missed))
            worst = max(worst, apart(node.ready, future, other.ready_at))
        for pod, seen in zip(pods, slow.pods, strict=True):
            worst = max(worst, apart(pod.evicted, future, seen.evicted))
            worst = max(worst, apart(pod.gone, future, seen.gone))
            worst = max(worst, apart(pod.created, future, seen.created))
    return worst


def apart(values: Floats, future: int, seen: float | None) -> float:
    value = float(values[future])
    if seen is None or np.isinf(value):
        return 0.0 if seen is None and np.isinf(value) else np.inf
    return abs(value - seen)


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_an_event_loop_written_apart_comes_to_the_same_times(case: Case) -> None:
    assert worst_difference(case) < TOLERANCE_S


NEIGHBOURS = [
    replace(DELAYS, grace=55.0),
    replace(DELAYS, period=4.0),
    replace(DELAYS, renew=9.0),
    replace(DELAYS, eviction_rate=0.2),
    replace(DELAYS, gc_period=15.0),
]


@pytest.mark.parametrize("delays", NEIGHBOURS, ids=["grace", "period", "renew", "rate", "gc"])
def test_neighbours_of_the_figures_miss(delays: Delays) -> None:
    assert worst_difference(CASES[2], delays, 8) > 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("BACKOFF_S", 20.0), ("JOB_BATCH_S", 2.0), ("LEASE_JITTER", 0.5), ("TAINT_PERIOD_S", 3.0)],
)
def test_neighbours_of_the_rules_miss(
    name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(3, 1, 300.0, 30.0, None, "job") if name == "JOB_BATCH_S" else CASES[1]
    if name == "BACKOFF_S":
        case = Case(3, 1, 900.0, 0.0, 0.0, "job")
    home = drill_jobs if hasattr(drill_jobs, name) else drill_cluster
    monkeypatch.setattr(home, name, value)
    assert worst_difference(case, futures=8) > 0.05


def test_the_same_seed_gives_the_same_futures_and_another_does_not() -> None:
    one, same = (clock(64).node_times([down(3)]) for _ in range(2))
    other = clock(64, seed=4).node_times([down(3)])
    assert all((a.missed == b.missed).all() for a, b in zip(one, same, strict=True))
    assert (one[0].missed != other[0].missed).any()


def test_a_gang_that_is_drained_node_by_node_comes_back_as_a_whole() -> None:
    """Spans that overlap end together; one that begins after they have ended stands alone."""
    left = np.array([[0.0], [8.0], [16.0], [100.0], [np.inf]])
    there = np.array([[10.0], [18.0], [26.0], [110.0], [np.inf]])
    assert _closed(left, there)[:, 0].tolist() == [26.0, 26.0, 26.0, 110.0, np.inf]


def test_pods_that_are_no_gang_come_back_one_by_one() -> None:
    watched = clock(8)
    waves = [Wave("f", "Drained", (f"n{i}",), 8.0 * i, 8.0 * i + 8.0) for i in range(3)]
    for gang, waits in (("", False), ("plan/w", True)):
        pods = [leaving(node, node.name, None, "job", True, True)
                for node in watched.node_times(waves)]  # fmt: skip
        for pod in pods:
            pod.gang = gang
            watched.departure(pod.node, pod)
        watched.successors(pods)
        first, last = pods[0].running, pods[-1].running
        assert bool((last - first < 2.0).all()) == waits
        assert bool((last - first > 12.0).all()) != waits
