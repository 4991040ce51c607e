"""``kfarm fit thermal`` and ``kfarm predict thermal`` as a shell would call them."""

from __future__ import annotations

import json
import runpy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_api.parse import parse
from kfarm_api.profile import AcceleratorProfile
from kfarm_twin.cli import app
from typer.testing import CliRunner

ROOT = Path(__file__).parents[3]
NAIVE = runpy.run_path(str(ROOT / "tests" / "naive_thermal.py"))
TRUTH = NAIVE["NaiveNode"]()
FIGURE = {"value", "low", "high", "unit"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three runs of a node: idle to 200 W and 600 W, and one that is held out."""
    folder = tmp_path_factory.mktemp("runs")
    out = {}
    for name, load in (("low", 200), ("high", 600), ("held", 450)):
        out[name] = folder / f"{name}.csv"
        out[name].write_text(NAIVE["play"](TRUTH, load, 12_000, seed=load, step_s=4.0).csv())
    return out


@pytest.fixture(scope="module")
def fitted(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answer of a fit, with the profile and the page that it wrote."""
    folder = tmp_path_factory.mktemp("fit")
    result = run(
        "fit", "thermal", "--csv", str(files["low"]), "--csv", str(files["high"]), "--profile-out",
        str(folder / "profile.yaml"), "--plot", str(folder / "fit.html"), "-o", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return {"data": json.loads(result.stdout), "folder": folder}


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_the_answer_has_its_keys(fitted: dict[str, Any]) -> None:
    data = fitted["data"]
    assert data["schema"] == "kfarm.dev/fit-thermal/v1"
    assert set(data["parameters"]) == {
        "die", "sink", "flowExponent", "dieTime", "sinkTime", "inletRise",
    }  # fmt: skip
    for one in data["parameters"].values():
        assert set(one) == FIGURE
        assert one["low"] < one["value"] < one["high"]
    assert [one["device"] for one in data["positions"]] == ["0", "1", "2", "3"]
    assert data["fans"]["regime"] == data["regime"] == "Fixed"
    assert data["goodness"]["rmseKelvin"] < 0.8
    assert all(one["source"] for one in data["priors"])


def test_the_profile_loads_and_says_where_it_comes_from(fitted: dict[str, Any]) -> None:
    body = yaml.safe_load((fitted["folder"] / "profile.yaml").read_text())
    profile = parse(body, strict=True)
    assert isinstance(profile, AcceleratorProfile)
    assert profile.spec.thermal is not None
    assert profile.spec.thermal.air is not None
    assert len(profile.spec.thermal.air.positions) == 4
    fields = {one.field for one in profile.spec.sources}
    assert {"thermal.air", "thermalResistance.air", "nodeOverhead"} <= fields
    assert profile.metadata.name == "h100"  # the files name the device
    assert body == fitted["data"]["profile"]


def test_the_page_is_whole(fitted: dict[str, Any]) -> None:
    text = (fitted["folder"] / "fit.html").read_text()
    HTMLParser().feed(text)
    assert "http://" not in text.split("<script>")[0]
    for word in ("Resistance and flow", "low.csv", "kfarm fit thermal --csv"):
        assert word in text


@pytest.mark.parametrize("more", [[], ["--start", "steady"], ["--other-node"], ["--inlet", "23"]])
def test_a_held_out_run_is_predicted(
    fitted: dict[str, Any], files: dict[str, Path], more: list[str]
) -> None:
    profile = str(fitted["folder"] / "profile.yaml")
    asked = ["--profile", profile, "--csv", str(files["held"]), "-o", "json"]
    result = run("predict", "thermal", *asked, *more)
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["schema"] == "kfarm.dev/predict-thermal/v1"
    (one,) = data["runs"]
    for device in one["devices"]:
        assert abs(device["steadyErrorKelvin"]) < 2.0
        assert device["rmseKelvin"] < 2.0
    assert abs(one["meanOfDevices"]["riseTimeErrorPercent"]) < 30
    assert abs(one["nodePower"]["errorPercent"]) < 4
    assert len(one["series"]["temperatureCelsius"]["0"]) == one["samples"]
    assert set(data["summary"]["steadyErrorKelvin"]) == {"mean", "median", "max"}


def test_temperatures_do_not_leak_into_a_steady_start(
    fitted: dict[str, Any], files: dict[str, Path], tmp_path: Path
) -> None:
    """With --start steady the prediction is the same whatever the file says of temperature."""
    profile = str(fitted["folder"] / "profile.yaml")
    lines = files["held"].read_text().splitlines()
    forged = [lines[0]]
    for line in lines[1:]:
        cells = line.split(",")
        cells[4] = "99.0"
        forged.append(",".join(cells))
    other = tmp_path / "forged.csv"
    other.write_text("\n".join(forged) + "\n")
    said = []
    for path in (files["held"], other):
        result = run("predict", "thermal", "--profile", profile, "--csv", str(path), "--start",
                     "steady", "-o", "json")  # fmt: skip
        said.append(json.loads(result.stdout)["runs"][0]["series"])
    assert said[0] == said[1]


def test_a_file_without_temperatures_is_predicted_too(
    fitted: dict[str, Any], files: dict[str, Path], tmp_path: Path
) -> None:
    text = files["held"].read_text().replace("gpu_temp_c", "unused")
    path = tmp_path / "power.csv"
    path.write_text(text)
    profile = str(fitted["folder"] / "profile.yaml")
    result = run("predict", "thermal", "--profile", profile, "--csv", str(path), "-o", "json")
    assert result.exit_code == 0, result.output
    device = json.loads(result.stdout)["runs"][0]["devices"][0]
    assert device["steadyMeasuredCelsius"] is None
    assert device["steadyPredictedCelsius"] > 30


def test_tables_are_printed(fitted: dict[str, Any], files: dict[str, Path]) -> None:
    profile = str(fitted["folder"] / "profile.yaml")
    result = run("predict", "thermal", "--profile", profile, "--csv", str(files["held"]))
    assert result.exit_code == 0
    assert "node power" in result.stdout


def test_a_base_profile_keeps_what_is_not_fitted(files: dict[str, Path]) -> None:
    base = ROOT / "examples" / "catalogue" / "nvidia.yaml"
    result = run("fit", "thermal", "--csv", str(files["low"]), "--csv", str(files["high"]),
                 "--profile", str(base), "-o", "yaml")  # fmt: skip
    assert result.exit_code == 0, result.output
    spec = yaml.safe_load(result.stdout)["profile"]["spec"]
    assert spec["rates"]["bf16"]
    assert spec["thermalResistance"]["liquid"]
    said = [one["field"] for one in spec["sources"]]
    assert len(said) == len(set(said))


BAD = {
    "no such file": (["--csv", "gone.csv"], "gone.csv"),
    "even power": (["--csv", "{even}"], "even power"),
    "role": (["--csv", "{low}", "--column", "heat=x"], "each role once"),
    "device counts": (["--csv", "{low}", "--csv", "{even}"], "devices"),
    "profile": (["--csv", "{low}", "--csv", "{high}", "--profile", "{low}"], "low.csv"),
    "folder": (["--csv", "{low}", "--csv", "{high}", "--profile-out", "/gone/x.yaml"], "/gone"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_two_and_one_line(
    case: str, files: dict[str, Path], tmp_path: Path
) -> None:
    even = tmp_path / "even.csv"
    rows = ["time,gpu,temperature,power", *(f"{t},0,{40 + t % 2},300" for t in range(50))]
    even.write_text("\n".join(rows) + "\n")
    words, expected = BAD[case]
    places = {"even": even, "low": files["low"], "high": files["high"]}
    result = run("fit", "thermal", *(word.format(**places) for word in words))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "error: " in result.stderr
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--start", "warm"], "--start"), (["--profile", "gone.yaml"], "gone.yaml")],
)
def test_bad_questions_end_with_two(
    words: list[str], expected: str, fitted: dict[str, Any], files: dict[str, Path]
) -> None:
    asked = ["--profile", str(fitted["folder"] / "profile.yaml"), *words]
    result = run("predict", "thermal", "--csv", str(files["held"]), *asked)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_fan_speed_needs_a_full_one(files: dict[str, Path]) -> None:
    """A profile of the catalogue has no fans: a speed in rpm says nothing of flow."""
    text = (ROOT / "examples" / "catalogue" / "nvidia.yaml").read_text()
    one = next(d for d in yaml.safe_load_all(text) if d["metadata"]["name"] == "h100")
    path = files["held"].parent / "h100.yaml"
    path.write_text(yaml.safe_dump(one))
    asked = ["predict", "thermal", "--profile", str(path), "--csv", str(files["held"])]
    assert run(*asked, "--fan-speed", "9000").exit_code == 2
    assert run(*asked).exit_code == 0
