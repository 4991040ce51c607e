"""Spreads of priors, recomputed from the published figures that they are derived from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from kfarm_twin.priors import CENTRAL_Z, priors

ROUNDING = 0.0051
"""Spreads are given with two digits."""


Facts = dict[str, Any]


def _read(path: Path) -> Facts:
    loaded: Facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def reliability(shared: Callable[[str], Path]) -> Facts:
    return _read(shared("facts/reliability.yaml"))


@pytest.fixture
def accelerators(shared: Callable[[str], Path]) -> Facts:
    loaded = _read(shared("facts/accelerators.yaml"))
    return loaded["gpu"] | loaded["npu_korea"]


def of_logs(values: Iterable[float]) -> float:
    """Standard deviation of logarithms."""
    return float(np.std(np.log(list(values)), ddof=1))


def of_range(values: Sequence[float]) -> float:
    """Spread whose central 90 % range reaches from the least to the greatest value."""
    return math.log(max(values) / min(values)) / 2.0 / CENTRAL_Z


def given(kind: str, word: str) -> Any:
    return pytest.approx(priors()[kind][word], abs=ROUNDING)


def test_rates_of_fleets(reliability: Facts) -> None:
    studies = reliability["interruption_studies"]
    meta = studies["meta_rsc"]["r_f_per_1000_nd"]
    stepfun = studies["infinitehbd_stepfun"]["per_1000_nd"]
    counted = [
        studies["llama3_405b"]["derived"]["per_1000_nd"][0],
        meta["RSC1_16k"][0],
        meta["RSC2_8k"][0],
        stepfun["all"][0],
        studies["imbue"]["per_1000_nd"],
    ]
    every_cause = [*counted, 22.0, studies["opt175b"]["per_1000_nd"]]
    assert of_logs(counted) == given("rate", "High")
    assert of_logs(every_cause) == given("rate", "Low")
    either = math.log(stepfun["all"][0] / stepfun["hardware"][0]) / 2.0
    assert math.hypot(of_logs(counted), either) == given("rate", "Medium")
    assert priors()["rate"]["Derived"] == priors()["rate"]["Medium"]


def test_shares_of_classes(reliability: Facts) -> None:
    studies = reliability["interruption_studies"]
    llama = {name: row[3] for name, row in studies["llama3_405b"]["rows"].items()}
    gpu = studies["llama3_405b"]["derived"]["gpu_family_per_1000_nd"][0]
    hbd = {name: row[1] for name, row in studies["infinitehbd_stepfun"]["classes"].items()}
    pairs = [
        (gpu, hbd["gpu"]),
        (llama["nic"], hbd["nic"]),
        (llama["psu"], hbd["psu"]),
        (llama["network_switch_cable"], hbd["cable"]),
        (llama["cpu"], hbd["cpu"]),
        (llama["software_bug"], hbd["software_other"]),
        (llama["server_chassis"], hbd["motherboard"]),
    ]
    spread = of_logs([theirs / ours for ours, theirs in pairs]) / math.sqrt(2.0)
    assert spread == given("share", "High")


def test_times_to_repair(reliability: Facts) -> None:
    hbd = reliability["interruption_studies"]["infinitehbd_stepfun"]
    servers = reliability["recovery_times"]["node_mttr_h"]
    assert of_range([value[0] for value in servers.values()]) == given("repair", "Low")
    means = [row[3] for row in hbd["classes"].values() if row[3] is not None]
    assert of_logs(means) == given("repair", "Medium")
    shape = hbd["repair_h"]["weibull_k"]
    ratio = math.gamma(1.0 + 2.0 / shape) / math.gamma(1.0 + 1.0 / shape) ** 2
    repairs = hbd["setup"]["faults"] / len(hbd["classes"])
    assert math.sqrt((ratio - 1.0) / repairs) == given("repair", "High")


def test_detection_and_restart(reliability: Facts) -> None:
    studies, times = reliability["interruption_studies"], reliability["recovery_times"]
    network_s = studies["byterobust"]["net_detect_s"][0]
    check_s = studies["meta_rsc"]["impact"]["health_check_min"][0] * 60.0
    assert of_range([network_s, check_s]) == given("detection", "Medium")
    restart = times["restart_u0_min"]
    minutes = [restart[name][0] for name in ("llama_like", "auto_retry", "r2ccl_median")]
    assert of_range(minutes) == given("restart", "Medium")


def test_power(accelerators: Facts) -> None:
    a100 = accelerators["A100_SXM_80"]
    p99 = a100["gpu_w_observed_kalos"]["p99"] / a100["tdp_w"][0]
    assert math.log(p99) / 2.326 == pytest.approx(priors()["tdp"]["High"], abs=0.01)
    assert of_range([1000.0, 1400.0]) == given("tdp", "Medium")
    assert of_range(accelerators["RBLN_CA12"]["tdp_w"][0]) == given("tdp", "Low")
    assert of_range([136.0, 197.0]) == given("idle", "Medium")
    assert of_range([6.2, accelerators["RBLN_CA12"]["idle_w"][0]]) == given("idle", "Low")
    node = a100["node_w_observed"]["p99"] - 8 * a100["gpu_w_observed_kalos"]["p99"]
    remembered = a100["node_kw"][0] * 1000.0 - 8 * a100["tdp_w"][0]
    half = math.log(remembered / node) / CENTRAL_Z
    assert half == given("overhead", "Low")
    assert half / 2.0 == given("overhead", "Medium")


def test_thermal_resistance(accelerators: Facts) -> None:
    h100 = accelerators["H100_SXM"]
    ranges = [
        accelerators["A100_SXM_80"]["r_th_c_per_w"][0],
        h100["r_th_air_c_per_w"][0],
        h100["r_th_liquid_c_per_w"][0],
    ]
    assert float(np.mean([of_range(values) for values in ranges])) == given("resistance", "Derived")
    middles = [sum(values) / 2.0 for values in ranges[:2]]
    assert of_logs(middles) == given("resistance", "Low")


def test_paths_of_heat(shared: Callable[[str], Path]) -> None:
    defaults = _read(shared("facts/accelerators.yaml"))["twin_defaults"]
    assert of_range(defaults["tau_coldplate_s"]) == given("sinkTime", "Low")
    assert of_range(defaults["tau_heatsink_air_s"]) == given("sinkTime", "Medium")
    cdus = _read(shared("facts/facility.yaml"))["racks_cooling"]["cdus"]
    approaches = [row["approach_k"] for row in cdus.values() if "approach_k" in row]
    assert of_range(approaches) == given("approach", "Low")
    assert of_range(approaches) / math.sqrt(2) == given("approach", "Medium")
    assert of_range([0.5, 2.0]) == given("dieShare", "Low")
    assert of_range([0.5, 2.0]) / math.sqrt(2) == given("dieShare", "Medium")
    assert of_range([0.5, 2.0]) == given("recirculation", "Medium")
