"""Heat in the farm driver: closed forms, shutdowns, failures beside it, placement, bad input."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfarm_api.reliability import Reliability
from kfarm_api.twinrun import TwinRunSpec
from kfarm_twin.cli import app
from kfarm_twin.cli_inputs import read_inputs
from kfarm_twin.heat_tables import (
    HeatCluster,
    HeatFans,
    HeatFarm,
    HeatFault,
    HeatPlant,
    HeatRack,
    HeatZone,
)
from kfarm_twin.job_failures import Saving, failing_shape
from kfarm_twin.jobs import Jobs
from kfarm_twin.replay import (
    Backfill,
    Discipline,
    Level,
    Placement,
    Replay,
    ReplayError,
    Shape,
    SpeedChanges,
    replay,
    summarize,
)
from kfarm_twin.replay_heat import HeatAccount, HotNodes, JobHeat, hot_farms
from kfarm_twin.request import InputError
from kfarm_twin.whatif import play
from kfarm_twin.whatif_request import Source, WhatIfRequest
from scipy.optimize import brentq
from typer.testing import CliRunner

S = 1_000_000_000
DIE, SINK, IDLE, FULL = 0.02, 0.035, 72.0, 700.0
CATALOGUE = Path(__file__).parents[3] / "examples/catalogue"
RUNNER = CliRunner()


def cluster(nodes: int, first_rack: int, zone: int, **more: Any) -> HeatCluster:
    """Nodes of eight devices in air, four to a rack."""
    law: dict[str, Any] = {
        "die_k_per_w": DIE,
        "sink_k_per_w": SINK,
        "die_s": 5.0,
        "sink_s": 90.0,
        "idle_w": IDLE,
        "overhead_w": 1900.0,
        "throttle_c": 70.0,
    }
    air = np.full(nodes, zone, np.int64)
    rack = first_rack + np.arange(nodes) // 4
    places = {"air_zone": air, "liquid_zone": air * 0 - 1, "rack": rack}
    return HeatCluster(f"c{first_rack}", 8, liquid=False, **places, **(law | more))


def farm(*clusters: HeatCluster, recirculation: float = 0.0, inlet: float = 25.0) -> HotNodes:
    """One zone of regulated air."""
    racks = 1 + max(int(each.rack.max()) for each in clusters)
    heat = HeatFarm(
        clusters,
        [HeatRack(recirculation, 2.8) for _ in range(racks)],
        [HeatZone("air", 0, inlet, 1e9)],
        [HeatPlant("plant", 15.0)],
    )
    count = len(clusters)
    return HotNodes.of(heat, (FULL - IDLE,) * count, (1000.0,) * count)


def jobs_of(rows: list[tuple[int, int, int, int]]) -> Jobs:
    """Rows of submission [s], run [s], pods and devices of each."""
    columns = [np.array(column, np.int64) for column in zip(*rows, strict=True)]
    submit, run, pods, gpus = columns
    nothing = np.zeros_like(submit)
    times = submit * S, run * S, run * S
    return Jobs(*times, pods, gpus, nothing + 1000, *(nothing for _ in range(5)))


def played(nodes: HotNodes, jobs: Jobs, *, load: int = 1_000_000, **more: Any) -> Replay:
    """First fit, all jobs with one load."""
    heat = JobHeat.of(nodes, jobs, None, load)
    shape = Shape(len(nodes.node), 8, 4, 8)
    discipline = more.pop("discipline", Discipline(placement=Placement.FIRST_FIT))
    return replay(jobs, shape, discipline, heat=heat, **more)


def account(result: Replay) -> HeatAccount:
    assert result.heat is not None
    return result.heat


def die_c(seconds: float, inlet: float) -> float:
    """A device that idled and works fully from second 0 on, from the two equations [degC]."""
    rest, sink0 = inlet + SINK * FULL, inlet + SINK * IDLE
    part = (sink0 - rest) / (1 - 5.0 / 90.0)
    top, die0 = rest + DIE * FULL, sink0 + DIE * IDLE
    slow, fast = math.exp(-seconds / 90.0), math.exp(-seconds / 5.0)
    return top + part * slow + (die0 - top - part) * fast


@pytest.mark.parametrize("limit", [58.0, 60.5, 62.9])
def test_a_throttled_gang_is_stretched_by_the_closed_form(limit: float) -> None:
    """Full speed to the crossing, then the highest of 32 levels that stays at the limit.

    The gang stands on two nodes, of which one breathes warmer air: it goes at that one's pace.
    """
    inlet, run = 25.0, 3600
    nodes = farm(cluster(1, 0, 0, throttle_c=90.0), cluster(1, 1, 0, throttle_c=limit))
    result = played(nodes, jobs_of([(0, run, 2, 8)]))
    crossing = brentq(lambda t: die_c(t, inlet) - limit, 0.0, 5000.0, xtol=1e-12)
    most = (limit - inlet) / (DIE + SINK)
    level = math.floor((most - IDLE) / (FULL - IDLE) * 32)
    end = crossing + (run - crossing) * 32 / level
    assert result.end_ns[0] / S == pytest.approx(end, abs=1e-6)
    found = account(result)
    assert found.throttled_s == pytest.approx(8 * (end - crossing), abs=1e-5)
    slow = IDLE + (FULL - IDLE) * level / 32
    joules = 8 * (FULL * end + FULL * crossing + slow * (end - crossing))
    assert found.job_j[0] == pytest.approx(joules, rel=1e-6)
    assert found.first_throttle_s == pytest.approx(crossing, abs=1e-6)


def test_a_job_is_slowed_by_its_own_devices_only() -> None:
    """Two jobs share a node whose last four devices are worse: only the second is slowed."""
    worse = (1.0,) * 4 + (1.6,) * 4
    nodes = farm(cluster(1, 0, 0, throttle_c=65.0, die_factors=worse))
    result = played(nodes, jobs_of([(0, 1000, 1, 4), (0, 1000, 1, 4)]))
    assert result.end_ns[0] == 1000 * S
    assert result.end_ns[1] > 1100 * S


def test_a_node_that_overheats_stops_its_jobs_and_comes_back() -> None:
    """With a floor of the throttling the die goes on to its shutdown; without saves all is lost."""
    nodes = farm(cluster(2, 0, 0, throttle_c=55.0, shutdown_c=60.0, floor=1.0, restart_s=600.0))
    rows = jobs_of([(0, 3600, 1, 8)])
    until = replace(JobHeat.of(nodes, rows, None, 1_000_000))
    shutdown = brentq(lambda t: die_c(t, 25.0) - 60.0, 0.0, 5000.0)
    result = replay(rows, Shape(2, 8), Discipline(placement=Placement.FIRST_FIT), heat=until)
    found = account(result)
    assert found.shutdowns > 2
    assert found.stopped == found.shutdowns
    assert result.end_ns[0] == -1  # it overheats each time before it is done
    assert found.hottest_c == pytest.approx(60.0, abs=1e-6)
    assert found.series.off.max() >= 1
    short = played(nodes, jobs_of([(0, int(shutdown) - 1, 1, 8), (0, 10_000, 1, 8)]))
    assert short.end_ns[0] == (int(shutdown) - 1) * S


def test_jobs_keep_what_they_saved_when_a_node_overheats() -> None:
    """The air handler stops for 20 minutes: what was saved before is not done again."""
    hot = cluster(4, 0, 0, throttle_c=80.0, shutdown_c=90.0, floor=1.0)
    nodes = farm(hot)
    heat = replace(
        nodes.farm,
        zones=[HeatZone("air", 0, 25.0, 20_000.0, mass_j_per_k=1e6)],
        faults=[HeatFault(1800.0, of_plant=False, index=0, units=1, down_s=1200.0)],
    )
    nodes = HotNodes.of(heat, (FULL - IDLE,), (1000.0,))
    rows = jobs_of([(0, 7200, 4, 8)])
    shape = Shape(4, 8)
    failing = failing_shape(shape, Reliability(reference="llama3-h100"), "reliability")
    quiet = failing.failures(rows, Saving(600 * S, None, 0, 0), seed=1, future=0)
    quiet = replace(quiet, record=replace(quiet.record, rows=quiet.record.rows[:0]))
    result = replay(
        rows, shape, Discipline(placement=Placement.FIRST_FIT), failures=quiet,
        heat=JobHeat.of(nodes, rows, None, 1_000_000),
    )  # fmt: skip
    found = account(result)
    assert found.shutdowns >= 1  # the job stops everywhere with the first
    assert result.failures is not None
    assert result.failures.lost_s["rework"] < 4 * 8 * 600 * found.stopped
    assert result.failures.by_class == {"overheat": found.stopped}
    assert result.end_ns[0] > 7200 * S


def test_books_balance_with_fans_failures_and_shared_racks() -> None:
    """Energy of all nodes is that of devices, fans and overhead; jobs and idle make the devices."""
    fans = HeatFans(400.0, tuple(np.linspace(0.3, 1.0, 6)), target_c=60.0)
    nodes = farm(cluster(12, 0, 0, fans=fans), recirculation=0.15)
    rng = np.random.default_rng(5)
    count = 60
    rows = [
        (int(at), int(run), int(pods), int(gpus))
        for at, run, pods, gpus in zip(
            np.sort(rng.integers(0, 20_000, count)), rng.integers(50, 4000, count),
            rng.choice([1, 1, 2, 5], count), rng.choice([1, 2, 4, 8], count), strict=True,
        )
    ]  # fmt: skip
    jobs, shape = jobs_of(rows), Shape(12, 8, 4, 8)
    rates = Reliability.model_validate(
        {"classes": [{"name": "any", "failuresPer1000NodeDays": "1000", "meanTimeToRepair": "2h"}]}
    )
    met = failing_shape(shape, rates, "r").failures(
        jobs, Saving(300 * S, None, 5 * S, 30 * S), seed=3, future=1
    )
    for placement in (Placement.BEST_FIT, Placement.THERMAL_AWARE):
        result = played(
            nodes, jobs, failures=met,
            discipline=Discipline(backfill=Backfill.EASY, placement=placement),
        )  # fmt: skip
        found = account(result)
        assert result.failures is not None
        assert result.failures.stops > 0
        assert (result.end_ns >= 0).all()
        parts = found.device_j + found.fans_j + found.overhead_j
        assert found.energy_j == pytest.approx(parts, rel=1e-9)
        assert 0 < found.job_j.sum() < found.device_j
        held = result.failures.held_s
        assert found.job_j.sum() <= FULL * held * (1 + 1e-9)
        assert found.fans_j > 0


def test_thermal_aware_placement_keeps_out_of_the_hot_row() -> None:
    """A row whose air goes round: best fit packs it as well and throttles, thermal-aware does not.

    All jobs come at once and fill half of the farm, so that nobody waits either way.
    """
    cool = cluster(16, 4, 0)
    warm = cluster(16, 0, 0)
    nodes = farm(warm, cool, inlet=27.0)
    racks = [HeatRack(0.4 if rack < 4 else 0.05, 2.8) for rack in range(8)]
    nodes = HotNodes.of(replace(nodes.farm, racks=racks), (FULL - IDLE,) * 2, (1000.0,) * 2)
    jobs = jobs_of([(0, 4000, 2, 8)] * 8)
    figures = {}
    for placement in (Placement.BEST_FIT, Placement.THERMAL_AWARE):
        result = played(nodes, jobs, discipline=Discipline(placement=placement))
        assert (result.start_ns == 0).all()
        figures[placement] = account(result)
    best, aware = figures[Placement.BEST_FIT], figures[Placement.THERMAL_AWARE]
    assert best.throttled_s > 0
    assert aware.throttled_s == 0
    assert aware.inlet_max_c < best.inlet_max_c
    assert aware.hottest_c < best.hottest_c


def test_thermal_aware_placement_spreads_over_racks_of_one_kind() -> None:
    """Where recirculation is the same everywhere, one job goes to each rack before any has two."""
    nodes = farm(cluster(16, 0, 0, throttle_c=90.0), recirculation=0.3)
    jobs = jobs_of([(0, 4000, 1, 8)] * 4)
    aware = Discipline(placement=Placement.THERMAL_AWARE)
    spread = account(played(nodes, jobs, discipline=aware))
    packed = account(played(nodes, jobs))
    one = account(played(nodes, jobs_of([(0, 4000, 1, 8)])))
    assert spread.hottest_c == pytest.approx(one.hottest_c, abs=1e-6)
    assert packed.hottest_c > spread.hottest_c + 1.0


def test_thermal_aware_placement_keeps_to_the_required_level() -> None:
    """A gang goes whole into the coolest rack that takes it."""
    nodes = farm(cluster(8, 0, 0, throttle_c=90.0), inlet=25.0)
    racks = [HeatRack(0.4, 2.8), HeatRack(0.0, 2.8)]
    nodes = HotNodes.of(replace(nodes.farm, racks=racks), (FULL - IDLE,), (1000.0,))
    aware = Discipline(placement=Placement.THERMAL_AWARE, required=Level.RACK)
    found = account(played(nodes, jobs_of([(0, 4000, 3, 8), (0, 4000, 3, 8)]), discipline=aware))
    cold = account(played(nodes, jobs_of([(0, 4000, 3, 8)]), discipline=aware))
    assert found.hottest_node < 4
    assert cold.hottest_node >= 4 or cold.hottest_c < found.hottest_c


def test_an_overloaded_zone_is_left_for_one_with_capacity_to_spare() -> None:
    """The steady supply of a zone beyond its capacity counts against all its nodes."""
    first, second = cluster(8, 0, 0, throttle_c=90.0), cluster(8, 2, 1, throttle_c=90.0)
    zones = [HeatZone("small", 0, 25.0, 2500.0, mass_j_per_k=1e5), HeatZone("big", 0, 25.5, 1e9)]
    heat = HeatFarm(
        [first, second], [HeatRack() for _ in range(4)], zones, [HeatPlant("plant", 15.0)]
    )
    nodes = HotNodes.of(heat, (FULL - IDLE,) * 2, (1000.0,) * 2)
    jobs = jobs_of([(at, 30_000, 1, 8) for at in range(8)])
    aware = account(played(nodes, jobs, discipline=Discipline(placement=Placement.THERMAL_AWARE)))
    plain = account(played(nodes, jobs))
    assert aware.inlet_max_c < plain.inlet_max_c


def test_samples_are_bounded_and_ordered() -> None:
    """Far more hours than samples: every other one goes, again and again."""
    nodes = farm(cluster(2, 0, 0))
    jobs = jobs_of([(at * 100, 50_000, 1, 8) for at in range(40)])
    heat = replace(JobHeat.of(nodes, jobs, None, 500_000), samples=6)
    result = replay(jobs, Shape(2, 8), Discipline(placement=Placement.BEST_FIT), heat=heat)
    series = account(result).series
    assert 6 <= len(series.time_s) <= 12
    assert (np.diff(series.time_s) > 0).all()
    assert series.time_s[-1] > account(result).span_s / 2
    assert series.hottest_c.max() <= account(result).hottest_c + 1e-9


@pytest.mark.parametrize(
    ("discipline", "more", "words"),
    [
        (Discipline(), {}, "placement count knows no devices"),
        (Discipline(placement=Placement.FGD), {}, "heat is not played on nodes with shared"),
        (
            Discipline(placement=Placement.BEST_FIT),
            {"speeds": SpeedChanges(*(np.zeros(1, np.int64) for _ in range(3)))},
            "not played together with heat",
        ),
    ],
)
def test_what_is_not_played_is_said(
    discipline: Discipline, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(ReplayError, match=words):
        played(farm(cluster(2, 0, 0)), jobs_of([(0, 5, 1, 8)]), discipline=discipline, **more)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpu_ppm": np.array([1_000_001])}, "gpu loads are 0 to"),
        ({"cpu_ppm": np.array([-1])}, "cpu loads are 0 to"),
        ({"gpu_ppm": np.zeros(2, np.int64)}, "each job needs a gpu load"),
    ],
)
def test_loads_out_of_bounds_are_refused(change: dict[str, Any], words: str) -> None:
    nodes, jobs = farm(cluster(2, 0, 0)), jobs_of([(0, 5, 1, 8)])
    heat = replace(JobHeat.of(nodes, jobs, None, 0), **change)
    with pytest.raises(ReplayError, match=words):
        replay(jobs, Shape(2, 8), Discipline(placement=Placement.BEST_FIT), heat=heat)


def test_other_farms_than_the_one_that_warms_are_refused() -> None:
    nodes, jobs = farm(cluster(2, 0, 0)), jobs_of([(0, 5, 1, 4)])
    heat = JobHeat.of(nodes, jobs, None, 0)
    best = Discipline(placement=Placement.BEST_FIT)
    with pytest.raises(ReplayError, match="heat of 2 nodes for a farm of 3"):
        replay(jobs, Shape(3, 8), best, heat=heat)
    with pytest.raises(ReplayError, match="heat needs 4 devices"):
        replay(jobs, Shape(2, 4), best, heat=heat)
    with pytest.raises(ReplayError, match="thermal-aware looks at temperatures"):
        replay(jobs, Shape(2, 8), Discipline(placement=Placement.THERMAL_AWARE))


FARM = """apiVersion: kfarm.dev/v1alpha1
kind: GPUFarm
metadata: {name: hall}
spec:
  site: {name: here}
  clusters:
    - name: warm
      accelerator: h100
      nodes: 9
      spares: 1
      acceleratorsPerNode: 8
      rack: {nodes: 4}
      cooling: {type: Air, supplyTemperature: 40, recirculation: 40}
      reliability: {reference: llama3-h100}
      source: {simulated: {}}
    - name: cool
      accelerator: h100
      nodes: 8
      acceleratorsPerNode: 8
      rack: {nodes: 4}
      cooling: {type: Air, supplyTemperature: 22}
      reliability: {reference: llama3-h100}
      source: {simulated: {}}
"""
TRACE = "id,submit_s,run_s,gpus,gpu_util,cpu_util\n" + "".join(
    f"{job},{job * 30},{600 + 40 * job},{8 * (1 + job % 3)},{0.5 + job % 5 / 10},\n"
    for job in range(40)
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "farm.yaml").write_text(FARM, encoding="utf-8")
    (tmp_path / "jobs.csv").write_text(TRACE, encoding="utf-8")
    return tmp_path / "farm.yaml", tmp_path / "jobs.csv"


def simulate(files: tuple[Path, Path], *more: str) -> Any:
    farm_file, trace = files
    words = ["simulate", "--trace", trace, "--heat", farm_file, "--heat", CATALOGUE, *more]
    return RUNNER.invoke(app, [str(word) for word in words])


def test_simulate_says_what_heat_did(files: tuple[Path, Path], tmp_path: Path) -> None:
    done = simulate(files, "--placement", "thermal-aware", "--backfill", "easy", "-o", "json",
                    "--jobs-out", str(tmp_path / "out.csv"))  # fmt: skip
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    heat = data["heat"]
    assert data["farm"]["nodes"] == 16  # the spare idles
    assert heat["nodeEnergyKWh"] == pytest.approx(
        heat["deviceEnergyKWh"] + heat["fanEnergyKWh"] + heat["overheadEnergyKWh"]
    )
    assert 40 < heat["hottestDeviceC"] < 100
    assert len(heat["series"]["timeS"]) == len(heat["series"]["warmestRack"])
    assert heat["series"]["warmestRack"][0].startswith("hall-warm-r")
    rows = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].endswith("energy_kwh")
    spent = sum(float(row.rsplit(",", 1)[1]) for row in rows[1:])
    assert spent == pytest.approx(heat["jobEnergyKWh"], rel=1e-9)


def test_simulate_without_heat_says_nothing_of_it(files: tuple[Path, Path]) -> None:
    words = ["simulate", "--trace", str(files[1]), "--nodes", "16", "-o", "json"]
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["heat"] is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--placement", "best-fit", "--nodes", "4"], "leave out --nodes"),
        (["--placement", "count"], "knows no devices"),
        (["--placement", "best-fit", "--gpus-per-node", "4"], "--gpus-per-node"),
    ],
)
def test_simulate_refuses_what_does_not_go_together(
    files: tuple[Path, Path], more: list[str], words: str
) -> None:
    done = simulate(files, *more)
    assert done.exit_code == 2
    assert words in done.output.replace("\n", " ")


@pytest.mark.parametrize("value", ["nan", "-0.1", "1.1", "inf", "80%", "부하"])
def test_a_wrong_load_is_named_with_its_line(files: tuple[Path, Path], value: str) -> None:
    files[1].write_text(f"id,submit_s,run_s,gpus,gpu_util\n1,0,5,1,0.5\n2,0,5,1,{value}\n")
    done = simulate(files, "--placement", "best-fit")
    assert done.exit_code == 2
    assert "line 3: gpu_util" in done.output
    assert "a share from 0 to 1" in done.output.replace("\n", " ")


def test_jobs_without_a_load_work_fully_and_that_is_noted(files: tuple[Path, Path]) -> None:
    trace = "id,submit_s,run_s,gpus\n1,0,600,8\n2,5,600,8\n"
    inputs = read_inputs([files[0], CATALOGUE])
    spec = TwinRunSpec.model_validate(
        {
            "farms": [{"kind": "GPUFarm", "name": "hall"}],
            "workload": {"trace": {"configMap": {"name": "x", "key": "jobs.csv"}, "format": "CSV"}},
            "policies": [
                {"name": "best", "placement": "BestFit"},
                {"name": "cool", "placement": "ThermalAware"},
            ],
            "heat": True,
            "replicas": 1,
        }
    )
    request = WhatIfRequest(
        name="w", spec=spec, farms=inputs.farms(), profiles=inputs.profiles(),
        source=Source(name="jobs.csv", raw=trace.encode()),
    )  # fmt: skip
    result = play(request, workers=1)
    assert any("work their devices fully" in note for note in result.notes)
    best, cool = (policy.metrics for policy in result.policies)
    assert best["hottestDeviceC"].mean > cool["hottestDeviceC"].mean
    assert result.policies[1].differences["hottestDeviceC"].mean < 0
    hotter = request.model_copy(
        update={"profiles": [p for p in inputs.profiles() if p.metadata.name != "h100"]}
    )
    assert hotter.digest() != request.digest()
    with pytest.raises(InputError, match="h100"):
        play(hotter, workers=1)


def test_the_nodes_of_farms_are_those_without_spares(files: tuple[Path, Path]) -> None:
    inputs = read_inputs([files[0], CATALOGUE])
    nodes = hot_farms(inputs.farms(), inputs.profiles())
    assert nodes.compiled.nodes == 17
    assert len(nodes.node) == 16
    assert sorted(set(nodes.cluster.tolist())) == [0, 1]
    assert nodes.busy_w[0] == pytest.approx(628.0)
    jobs = jobs_of([(0, 600, 1, 8)])
    result = replay(
        jobs, Shape(16, 8), Discipline(placement=Placement.BEST_FIT),
        heat=JobHeat.of(nodes, jobs, None, 1_000_000),
    )  # fmt: skip
    assert summarize(jobs, result, Shape(16, 8)).ended == 1
    spare = account(result)
    # 17 nodes, 16 of them with jobs: one idles all the time
    assert spare.energy_j == pytest.approx(spare.device_j + spare.overhead_j, rel=1e-9)
    assert spare.overhead_j > 16 * 600 * nodes.farm.clusters[0].overhead_w
