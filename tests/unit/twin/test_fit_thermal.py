"""The law is that of the differential equations, and the fit finds what a node was made with."""

from __future__ import annotations

import runpy
import tempfile
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfarm_api.parse import validate
from kfarm_api.profile import AcceleratorProfile
from kfarm_twin.fit.thermal_devices import known_device, node_of
from kfarm_twin.fit.thermal_fit import ThermalFit, fit_thermal
from kfarm_twin.fit.thermal_judge import rise_time
from kfarm_twin.fit.thermal_law import Drive, ThermalLaw, respond
from kfarm_twin.fit.thermal_output import figure
from kfarm_twin.fit.thermal_overhead import Node
from kfarm_twin.fit.thermal_predict import fit_fan_law, predict
from kfarm_twin.fit.thermal_profile import Calibrated, from_profile, to_body
from kfarm_twin.fit.thermal_read import read_runs
from kfarm_twin.fit.thermal_runs import Run, find_step
from scipy.integrate import solve_ivp

NAIVE = runpy.run_path(str(Path(__file__).parents[2] / "naive_thermal.py"))
NaiveNode, play = NAIVE["NaiveNode"], NAIVE["play"]
TRUTH = NaiveNode()
HALF = Node(4, 140.0, 700.0, 2300.0, "half of an eight-device node")


def law(die_time: float, sink_time: float) -> ThermalLaw:
    return ThermalLaw(
        die=np.array([0.02, 0.03]), sink=np.array([0.01, 0.012]), rise=np.array(0.001),
        share=np.array([0.2, 0.7]), offset=np.array([0.5, -0.5]), exponent=np.array(0.5),
        die_time=np.array(die_time), sink_time=np.array([sink_time, sink_time]),
    )  # fmt: skip


def drive() -> Drive:
    time = np.array([0.0, 4.0, 9.0, 20.0, 31.0, 50.0])
    power = np.array([[150.0, 150, 600, 600, 400, 150], [150.0, 600, 600, 500, 150, 150]])
    flow = np.array([0.3, 0.3, 0.5, 1.0, 0.6, 0.3])
    return Drive(time, power, np.full(6, 24.0), flow, 1000 * flow**3, 3000 + power.sum(axis=0))


@pytest.mark.parametrize(
    ("die_time", "sink_time"), [(0.5, 30.0), (8.0, 2.0), (5.0, 5.0), (5.0, 5.0 + 1e-9)]
)
def test_the_law_is_that_of_the_differential_equations(die_time: float, sink_time: float) -> None:
    """Also where die and sink have one rate: `sink_time` holds at full flow, which comes up."""
    one, by = law(die_time, sink_time), drive()
    said = respond(one, by)

    def slopes(at: float, y: np.ndarray) -> np.ndarray:
        i = int(np.searchsorted((by.time_s[:-1] + by.time_s[1:]) / 2, at, side="right"))
        flow = by.flow[i]
        met = by.fans_w[i] + one.share * by.other_w[i]
        air = by.inlet_c[i] + one.offset + one.rise * met / flow
        slower = flow**-0.5
        sink = (air + one.sink * slower * by.power_w[:, i] - y[:2]) / (sink_time * slower)
        return np.concatenate([sink, (y[:2] + one.die * by.power_w[:, i] - y[2:]) / die_time])

    first = one.steady(by.power_w[:, 0], 24.0, 0.3, by.fans_w[0], by.other_w[0])
    state = np.concatenate([first - one.die * by.power_w[:, 0], first])
    edges = np.sort(np.concatenate([by.time_s, (by.time_s[:-1] + by.time_s[1:]) / 2]))
    found = [first]
    for a, b in pairwise(edges):
        middle = (a + b) / 2
        step = solve_ivp(
            lambda _, y, m=middle: slopes(m, y), (a, b), state, "DOP853", rtol=1e-11, atol=1e-11
        )
        state = step.y[:, -1]
        if b in by.time_s:
            found.append(state[2:])
    assert np.abs(said - np.array(found).T).max() < 1e-7


def test_a_measured_start_keeps_the_dies_own_step() -> None:
    one, by = law(2.0, 20.0), drive()
    assert respond(one, by, np.array([40.0, 41.0]))[:, 0] == pytest.approx([40.0, 41.0])


@cache
def runs(regime: str, seed: int = 0) -> tuple[Run, ...]:
    """Six runs of the truth, from files as a monitor writes them."""

    speeds = {
        "fixed": {200: 12_000, 600: 12_000},
        "automatic": {200: (2800, 3200), 600: (4000, 6000)},
    }[regime]
    out = []
    with tempfile.TemporaryDirectory() as folder:
        for load, rpm in speeds.items():
            for again in range(3):
                path = Path(folder) / f"{regime}-{load}-{again}.csv"
                path.write_text(play(TRUTH, load, rpm, seed=seed + 10 * again + load).csv())
                out += read_runs(path)
    return tuple(out)


@cache
def fitted(regime: str, seed: int = 0) -> ThermalFit:
    return fit_thermal(runs(regime, seed), HALF)


def profile_of(regime: str) -> Calibrated:
    fit = fitted(regime)
    fans = fit_fan_law(fit.runs, fit.law, fit.overhead.law, fit.full_speed, fit.is_fixed)
    device = known_device(fit.runs)
    assert device is not None
    body = to_body(fit, fans, device, None, ["a.csv"])
    return from_profile(validate(AcceleratorProfile, body, strict=True))


def held_out(folder: Path, load: float, rpm: Any) -> Run:
    path = folder / "held.csv"
    path.write_text(play(TRUTH, load, rpm, seed=99).csv())
    return read_runs(path)[0]


@pytest.mark.parametrize("regime", ["fixed", "automatic"])
def test_the_fit_finds_what_one_regime_shows(regime: str) -> None:
    fit = fitted(regime)
    assert fit.rmse_k < 0.7  # rounding 0.29 K, noise 0.2 K, and the samples at the step
    assert fit.law.die.mean() == pytest.approx(np.mean(TRUTH.die), rel=0.1)
    assert float(fit.law.sink_time.mean()) == pytest.approx(TRUTH.sink_time, rel=0.25)
    order = np.argsort(fit.law.share)
    assert set(order[:2].tolist()) == {0, 3}  # the front row
    assert fit.is_fixed is (regime == "fixed")


@pytest.mark.parametrize("regime", ["fixed", "automatic"])
def test_intervals_hold_the_truth(regime: str) -> None:
    """Of parameters with a truth of their own in the law; 95 % each, so that one may miss."""
    fit = fitted(regime)
    devices = len(TRUTH.die)
    deviation = np.sqrt(np.diag(fit.covariance))
    inside = []
    die = fit.spread(lambda x: np.exp(x[..., 0]) * np.exp(x[..., 6 : 6 + devices]))
    for value, spread, truth in zip(fit.law.die, die, TRUTH.die, strict=True):
        inside.append(abs(value - truth) < 1.96 * spread)
    for at, value, truth in ((3, fit.law.die_time, TRUTH.die_time), (5, fit.law.rise, TRUTH.rise)):
        inside.append(abs(np.log(float(value) / truth)) < 1.96 * deviation[at])
    inside.append(abs(float(fit.law.exponent) - TRUTH.exponent) < 1.96 * deviation[2])
    assert sum(inside) >= len(inside) - 1, inside


def test_a_flow_that_never_changed_leaves_its_exponent_to_the_prior() -> None:
    fixed, automatic = fitted("fixed"), fitted("automatic")
    assert fixed.covariance[2, 2] == pytest.approx(0.1**2, rel=0.02)
    assert automatic.covariance[2, 2] < fixed.covariance[2, 2]


@pytest.mark.parametrize(
    ("regime", "load", "rpm", "power"),
    [
        ("fixed", 640, 12_000, 0.04), ("fixed", 600, (4000, 6000), 0.12),
        ("fixed", 400, (2800, 3200), 0.12), ("automatic", 640, (4000, 6000), 0.04),
        ("automatic", 400, 12_000, 0.04), ("automatic", 600, 12_000, 0.04),
    ],
)  # fmt: skip
def test_a_profile_predicts_the_other_regime(
    regime: str, load: float, rpm: Any, power: float, tmp_path: Path
) -> None:
    """What one speed cannot tell, how much of the overhead is fans, rests on priors: 12 %."""
    found = predict(held_out(tmp_path, load, rpm), profile_of(regime))
    steady = [one.steady_error_k for one in found.devices]
    assert max(abs(e) for e in steady if e is not None) < 2.0, steady
    assert found.together.rise_error is not None
    assert abs(found.together.rise_error) < 0.3
    assert found.node.error is not None
    assert abs(found.node.error) < power


@pytest.mark.parametrize("what", ["sink", "rise", "sink_time", "fan_w"])
def test_a_wrong_profile_misses(what: str, tmp_path: Path) -> None:
    """The bounds above tell a right law from one with a parameter doubled."""

    right = profile_of("fixed")
    if what == "fan_w":
        wrong = replace(right, fan_w=2 * right.fan_w)
    else:
        wrong = replace(right, law=replace(right.law, **{what: 2 * getattr(right.law, what)}))
    found = predict(held_out(tmp_path, 600, 12_000), wrong)
    steady = max(abs(one.steady_error_k or 0) for one in found.devices)
    rise, power = abs(found.together.rise_error or 9), abs(found.node.error or 9)
    assert steady > 2.0 or rise > 0.3 or power > 0.04


def test_the_profile_says_what_was_fitted() -> None:
    """Numbers that go through the manifest come back as they were, to the digits it has."""
    fit, back = fitted("automatic"), profile_of("automatic")
    again, overhead = back.for_devices(4)
    assert again.die == pytest.approx(fit.law.die, rel=1e-3)
    assert again.sink == pytest.approx(fit.law.sink, rel=1e-3)
    assert again.share == pytest.approx(fit.law.share, abs=1e-3)
    assert float(again.rise) == pytest.approx(float(fit.law.rise), rel=1e-2)
    assert overhead(np.array(2400.0), np.array(0.5)) == pytest.approx(
        fit.overhead.law(np.array(2400.0), np.array(0.5)), rel=3e-3
    )


def test_automatic_fans_follow_the_hottest_device(tmp_path: Path) -> None:
    """Without fan speeds in the file the law of the profile stands in."""

    run = replace(held_out(tmp_path, 600, (4000, 6000)), fan=None)
    found = predict(run, profile_of("automatic"))
    assert found.fan_from == "profile"
    assert found.flow[-40] > 1.2 * found.flow[3]
    hottest = found.temperature_c[:, -40].max()
    assert abs(hottest - run.temperature_c[:, -40].max()) < 4.0


def test_rise_times_are_those_of_an_exponential() -> None:
    time = np.arange(0.0, 300.0, 0.5)
    values = 30 + np.where(time > 20, 20 * -np.expm1(-(time - 20) / 25), 0.0)
    found = rise_time(time, values, 20.0, 50.0, 300.0)
    assert found == pytest.approx(25 * np.log(10), rel=0.01)
    assert rise_time(time, 30 + 0 * time, 20.0, 30.0, 300.0) is None


def test_a_step_is_found_between_its_samples() -> None:
    time = np.arange(0.0, 100.0, 10.0)
    power = np.array([150.0, 150, 600, 590, 600, 600, 150, 150, 600, 150])
    step = find_step(time, power)
    assert step is not None
    assert (step.at, step.end, step.onset_s) == (2, 6, 15.0)
    assert find_step(time, np.full(10, 300.0)) is None


def test_an_interval_is_around_its_value() -> None:
    one = figure(2.0, 0.1, "K")
    assert (one["low"], one["high"]) == (
        pytest.approx(1.804, abs=1e-3),
        pytest.approx(2.196, abs=1e-3),
    )
    assert figure(2.0, 0.1, "K", log=True)["low"] == pytest.approx(2 * np.exp(-0.196), abs=1e-3)


def test_a_node_of_four_has_half_the_overhead() -> None:
    device = known_device(runs("fixed"))
    assert device is not None
    assert node_of(device, 4).loaded_w == pytest.approx(node_of(device, 8).loaded_w / 2)


def test_an_edited_rise_counts_and_not_the_annotation() -> None:
    """The annotation stands for the field only while the field is what the fit wrote."""
    fit = fitted("automatic")
    device = known_device(fit.runs)
    assert device is not None
    body = to_body(fit, None, device, None, ["a.csv"])
    body["spec"]["thermal"]["air"]["inletRise"] = "0.002"
    edited = from_profile(validate(AcceleratorProfile, body, strict=True))
    assert float(edited.law.rise) == pytest.approx(0.002)
    kept = profile_of("automatic")
    assert float(kept.law.rise) == pytest.approx(float(fit.law.rise), rel=1e-3)
    assert kept.overhead_warms
