"""``kfarm cooling``: table, keys, options, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cli_scene as scene
import pytest
import yaml

CATALOGUE = str(scene.EXAMPLES / "catalogue")
FARM_KEYS = {
    "kind", "name", "load", "lasts", "timeToThrottleMin", "timeToShutdownMin", "faults",
    "assumptions",
}  # fmt: skip
ROW_KEYS = {
    "fault", "state", "instances", "unitsLost", "unitsLeft", "unitsNeeded", "backAfter", "nodes",
    "nodesShutDown", "nodesDark", "timeToThrottle", "timeToShutdown", "throttledShare", "hottest",
    "throttleAt", "shutdownAt", "headroom", "supply", "rack", "zone", "steadyAfter", "message",
    "curve",
}  # fmt: skip


def run(tmp_path: Path, *arguments: str, text: str = scene.FARM) -> Any:
    options = scene.files(tmp_path, 냉각=text)
    return scene.run("cooling", "-f", CATALOGUE, *options, *arguments)


def answer(tmp_path: Path, *arguments: str, text: str = scene.FARM) -> dict[str, Any]:
    result = run(tmp_path, *arguments, "-o", "json", text=text)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["schema"] == "kfarm.dev/cooling/v1"
    return dict(found["farms"][0])


def test_json_has_the_documented_keys_and_no_plant_where_none_is(tmp_path: Path) -> None:
    farm = answer(tmp_path)
    assert set(farm) == FARM_KEYS
    assert [row["fault"] for row in farm["faults"]] == ["Cdu", "CduPump"]
    assert all(set(row) == ROW_KEYS for row in farm["faults"])
    worst = farm["faults"][0]
    assert worst["state"] == "ShutsDown"
    assert worst["timeToThrottle"] < worst["timeToShutdown"] < 60
    assert worst["instances"] == ["small-b200-cdu00", "small-b200-cdu01"]
    assert farm["timeToShutdownMin"] == worst["timeToShutdown"]
    assert farm["faults"][1]["timeToThrottle"] is None
    assert any("no plant is described" in line for line in farm["assumptions"])
    curve = worst["curve"]
    assert curve[0]["time"] == 0
    assert [point["time"] for point in curve] == sorted(point["time"] for point in curve)
    assert max(point["hottest"] for point in curve) <= worst["shutdownAt"] + 1e-3


def test_yaml_and_table_say_the_same(tmp_path: Path) -> None:
    told = yaml.safe_load(run(tmp_path, "-o", "yaml").stdout)
    assert told["farms"][0]["name"] == "small"
    table = run(tmp_path).stdout
    assert "GPUFarm small at 100 % load" in table
    assert "small-b200-cdu00" in table
    assert "0 of 1 pump left" in table
    assert "assumed: " in table


def test_options_narrow_and_shorten(tmp_path: Path) -> None:
    farm = answer(tmp_path, "--fault", "CduPump", "--load", "50", "--lasts", "5s")
    assert [row["fault"] for row in farm["faults"]] == ["CduPump"]
    assert (farm["load"], farm["lasts"]) == (50, 5)
    assert farm["faults"][0]["backAfter"] == 5
    crah = run(tmp_path, "--fault", "Crah")
    assert "describes nothing of its cooling that these faults could fail" in crah.stdout
    assert crah.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--load", "101"], "--load"),
        (["--load", "nan"], "load"),
        (["--load", "-1"], "--load"),
        (["--fault", "Pump"], "Pump"),
        (["--lasts", "0s"], "more than 0"),
        (["--lasts", "soon"], "soon"),
    ],
)
def test_bad_options_end_with_code_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    result = run(tmp_path, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_files_without_a_farm_are_refused(tmp_path: Path) -> None:
    result = scene.run("cooling", "-f", CATALOGUE)
    assert result.exit_code == 2
    assert "no farm" in result.stderr


def test_a_missing_profile_is_told_with_its_line(tmp_path: Path) -> None:
    result = scene.run("cooling", *scene.files(tmp_path, farm=scene.FARM))
    assert result.exit_code == 2
    assert "farm.yaml, line 8" in result.stderr
    assert "AcceleratorProfile" in result.stderr


def test_cold_supply_is_told_with_its_line(tmp_path: Path) -> None:
    plant = "  plant: {chillers: 1, chillerCapacity: 1M, details: {supplyTemperature: 32}}\n"
    text = scene.FARM.replace("  clusters:\n", f"{plant}  clusters:\n")
    result = run(tmp_path, text=text)
    assert result.exit_code == 2
    assert "heat does not flow from cold to warm" in result.stderr
    assert "냉각.yaml, line 15" in result.stderr


def test_the_shipped_example_shows_what_a_pump_is_worth() -> None:
    example = scene.EXAMPLES / "farms/cooling.yaml"
    result = scene.run(
        "cooling", "-f", CATALOGUE, "-f", example, "--fault", "CduPump", "-o", "json"
    )
    rows = {row["instances"][0]: row for row in json.loads(result.stdout)["farms"][0]["faults"]}
    bare, redundant = rows["cooling-pumps-n-cdu00"], rows["cooling-pumps-n-plus-1-cdu00"]
    assert (bare["state"], redundant["state"]) == ("Throttles", "Holds")
    assert (bare["unitsLeft"], redundant["unitsLeft"]) == (1, 2)
