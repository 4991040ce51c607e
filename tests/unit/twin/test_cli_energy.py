"""``kfarm energy``: keys, formats, options that go before the manifest, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_twin.cli import app
from typer.testing import CliRunner, Result

EXAMPLES = Path(__file__).parents[3] / "examples"
FARM, CATALOGUE = EXAMPLES / "farms/naver-cloud.yaml", EXAMPLES / "catalogue"
FARM_KEYS = {
    "farm", "kind", "site", "variant", "climate", "climateSource", "tariff", "currency", "hours",
    "wholeYear", "load", "cpuLoad", "busy", "itKwh", "facilityKwh", "itPeakW", "facilityPeakW",
    "designPeakW", "capacityW", "pue", "wue", "waterM3", "energyCharge", "demandCharge",
    "energyCost", "waterCost", "carbonKg", "freeCoolingHours", "mixedHours", "chillerHours",
    "unmetHeatKwh", "acceleratorHours", "kwhPerAcceleratorHour", "costPerAcceleratorHour",
    "usesKwh", "months", "links", "clusters", "assumptions",
}  # fmt: skip
RANK_KEYS = {
    "farm", "variant", "cluster", "accelerator", "cooling", "precision", "rate", "facilityW",
    "yearlyCost", "perWatt", "perCurrency",
}  # fmt: skip


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["energy", *map(str, words)])


def answer(*words: object) -> dict[str, Any]:
    result = run("-f", FARM, "-f", CATALOGUE, *words, "-o", "json")
    assert result.exit_code == 0, result.stderr
    assert "NaN" not in result.stdout
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_documented_keys() -> None:
    found = answer()
    assert set(found) == {"schema", "farms", "ranking"}
    assert found["schema"] == "kfarm.dev/energy/v1"
    (farm,) = found["farms"]
    assert set(farm) == FARM_KEYS
    assert all(set(row) == RANK_KEYS for row in found["ranking"])
    assert farm["waterCost"] is None
    assert 1.0 < farm["pue"] < 1.3
    assert farm["itKwh"] < farm["facilityKwh"]
    assert farm["carbonKg"] == pytest.approx(0.4173 * farm["facilityKwh"], rel=1e-5)


def test_the_same_answer_twice_and_as_yaml() -> None:
    words = ("-f", FARM, "-f", CATALOGUE)
    first, second = run(*words, "-o", "json"), run(*words, "-o", "json")
    assert first.stdout == second.stdout
    other = run(*words, "-o", "yaml")
    assert yaml.safe_load(other.stdout) == json.loads(first.stdout)


def test_hourly_arrays_on_demand() -> None:
    (farm,) = answer("--hourly")["farms"]
    assert set(farm["hourly"]) == {
        "itW", "facilityW", "pue", "freeShare", "dryC", "wetC", "waterM3", "pricePerKwh",
    }  # fmt: skip
    assert {len(column) for column in farm["hourly"].values()} == {8760}
    assert sum(farm["hourly"]["facilityW"]) / 1000.0 == pytest.approx(farm["facilityKwh"], rel=1e-6)


def test_the_table_names_farms_and_what_was_assumed() -> None:
    result = run("-f", FARM, "-f", CATALOGUE, "--cooling", "Air,Liquid")
    assert result.exit_code == 0
    for words in ("PUE", "naver-cloud", "Liquid", "Cost of energy", "bn KRW", "assumed for"):
        assert words in result.stdout


def test_options_go_before_the_manifest(tmp_path: Path) -> None:
    tariff = tmp_path / "단가.yaml"
    tariff.write_text(
        "name: mine\ntitle: 우리 요금\ncurrency: USD\neffective: '2026-01-01'\nsource: ours\n"
        "confidence: High\nseasons:\n- {name: all, months: [1,2,3,4,5,6,7,8,9,10,11,12],\n"
        f"   hours: {'a' * 24}, rates: {{a: '0.094'}}}}\n",
        encoding="utf-8",
    )
    carbon = tmp_path / "c.txt"
    carbon.write_text("100\n" * 4380 + "300\n" * 4380, encoding="utf-8")
    (farm,) = answer("--tariff", tariff, "--carbon", carbon)["farms"]
    assert farm["tariff"] == "우리 요금"
    assert farm["currency"] == "USD"
    assert farm["energyCost"] == pytest.approx(0.094 * farm["facilityKwh"], rel=1e-5)
    assert farm["carbonKg"] == pytest.approx(0.2 * farm["facilityKwh"], rel=0.02)


def test_comparison_with_another_manifest(tmp_path: Path) -> None:
    path = tmp_path / "제안.yaml"
    path.write_text(FARM.read_text(encoding="utf-8").replace("type: Air", "type: Air"), "utf-8")
    found = answer("--compare", path)["farms"]
    assert [farm["variant"] for farm in found] == ["as described", "as described, 제안.yaml"]
    assert found[0]["pue"] == found[1]["pue"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--load", "101"), "'--load'"),
        (("--load", "nan"), "'--load'"),
        (("--busy", "-1"), "'--busy'"),
        (("--cooling", "Ice"), "--cooling Ice; expected Air, Liquid"),
        (("--hours", "없음.csv"), "없음.csv: found no such file"),
        (("--epw", "없음.epw"), "없음.epw: found no such file"),
        (("--tariff", "없음.yaml"), "없음.yaml: found no such file"),
        (("--carbon", "없음.txt"), "없음.txt"),
        (("--hours", "h.csv", "--cpu-load", "3"), "exclude each other"),
        (("--compare", "없음.yaml"), "없음.yaml: found no such file"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], message: str) -> None:
    result = run("-f", FARM, "-f", CATALOGUE, *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("417\n" * 8759, "8,759 values"),
        ("417\nNaN\n", "line 2: found 'NaN'"),
        ("417\n-1\n", "line 2: found '-1'"),
        ("사백\n", "line 1: found '사백'"),
    ],
)
def test_bad_carbon(lines: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text(lines, encoding="utf-8")
    result = run("-f", FARM, "-f", CATALOGUE, "--carbon", path)
    assert result.exit_code == 2
    assert message in result.stderr


def test_missing_parts_are_named_with_their_line(tmp_path: Path) -> None:
    result = run("-f", FARM)
    assert result.exit_code == 2
    assert "'h200'; expected an AcceleratorProfile" in result.stderr
    assert "add -f examples/catalogue" in result.stderr
    assert run("-f", CATALOGUE).exit_code == 2
    path = tmp_path / "f.yaml"
    text = FARM.read_text(encoding="utf-8")
    path.write_text(text.replace("climate: sejong", "climate: pyongyang"), encoding="utf-8")
    result = run("-f", path, "-f", CATALOGUE)
    assert result.exit_code == 2
    assert "site.climate: found 'pyongyang'; expected one of busan" in result.stderr
    assert "line" in result.stderr
