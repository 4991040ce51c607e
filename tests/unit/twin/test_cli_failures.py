"""``kfarm simulate -f``, ``kfarm spares`` and ``kfarm checkpoint`` as a shell would call them."""

from __future__ import annotations

import json
import math
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_scene import EXAMPLES, FARM, files, run
from kfarm_api.metrics import METRICS
from kfarm_twin.fleetrun import play
from kfarm_twin.fleetrun_request import FleetRequest

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"),
    reason="thousands of futures: minutes each as plain Python",
)
Body = dict[str, Any]
CLASS = {"name": "any", "failuresPer1000NodeDays": "20", "meanTimeToRepair": "6h"}
GANG = {"nodes": 6, "checkpoint": {"interval": "1h", "save": "1m", "restart": "5m"}}
RELIABILITY = {"classes": [CLASS]}
PER_FUTURE = {"mean", "p05", "p50", "p95", "p99"}


def manifest(name: str = "r", **spec: Any) -> Body:
    made = {
        "shape": {"nodes": 8, "spares": 2, "reliability": RELIABILITY},
        "workload": {"gang": GANG},
        "horizon": "240h",
        "replicas": 40,
        "seed": 7,
        **spec,
    }
    return {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "TwinRun",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {key: value for key, value in made.items() if value is not None},
    }


def text(body: Body) -> str:
    return yaml.safe_dump(body, sort_keys=False, allow_unicode=True)


def request(**spec: Any) -> FleetRequest:
    made = manifest(**spec)
    return FleetRequest.model_validate({"name": "r", "spec": made["spec"]})


@pytest.mark.parametrize("workload", [None, {"gang": GANG}])
def test_every_metric_has_its_name_and_its_spread(tmp_path: Path, workload: Body | None) -> None:
    options = files(tmp_path, run=text(manifest(workload=workload)))
    done = run("simulate", *options, "-o", "json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["schema"] == "kfarm.dev/simulate-fleet/v1"
    assert list(data["metrics"]) == list(METRICS)
    for name, found in data["metrics"].items():
        assert found["unit"] == METRICS[name].unit
        assert found.keys() >= PER_FUTURE
        values = [found[key] for key in ("p05", "p50", "p95", "p99")]
        assert (None in values) == (found["applicable"] == 0)
        assert None in values or values == sorted(values)
    assert (data["metrics"]["ettr"]["mean"] is None) == (workload is None)
    assert data["metrics"]["it_energy"]["mean"] is None, "a shape names no device"
    over = data["overTime"]["nodes_down"]
    assert {len(column) for column in over.values()} == {256}
    often = data["nodesDownDistribution"]
    assert math.fsum(often["share"]) == pytest.approx(1.0, abs=1e-4)
    mean = math.fsum(n * share for n, share in zip(often["nodesDown"], often["share"], strict=True))
    assert mean == pytest.approx(data["metrics"]["nodes_down_mean"]["mean"], rel=1e-3)
    assert (data["futures"], data["seed"], data["horizon"]) == (40, 7, "240h")


def test_losses_are_blamed_in_full(tmp_path: Path) -> None:
    done = run("simulate", *files(tmp_path, run=text(manifest())), "-o", "json")
    data = json.loads(done.stdout)
    lost = data["lostAcceleratorHours"]
    total = math.fsum(lost["byCause"].values())
    assert math.fsum(lost["byDomain"].values()) == pytest.approx(total, rel=1e-4)
    by_class = [hours for causes in lost["byClass"].values() for hours in causes.values()]
    assert math.fsum(by_class) == pytest.approx(total, rel=1e-4)
    for cause, hours in lost["byCause"].items():
        metric = data["metrics"][f"lost_accelerator_hours_{cause}"]["mean"]
        assert hours == pytest.approx(metric, rel=1e-4, abs=1e-6)
    assert lost["byCause"]["saves"] > 0
    assert lost["byClass"].keys() == {"any", "planned"}


def test_the_rate_of_a_class_comes_back(tmp_path: Path) -> None:
    done = run("simulate", *files(tmp_path, run=text(manifest(workload=None))), "--seeds", 400,
               "-o", "json")  # fmt: skip
    data = json.loads(done.stdout)
    (found,) = data["failures"]
    # 400 futures of 10 d of 8 nodes: 32,000 node-days, 640 faults; 4 standard errors are 16 %
    assert found["per1000NodeDays"] == pytest.approx(20.0, rel=0.16)
    load = 20 / 1000 * 6 / 24
    down = 8 * load / (1 + load)
    # nodes down, independent every 6 h: about 400 * 40 / 2 samples
    assert data["metrics"]["nodes_down_mean"]["mean"] == pytest.approx(
        down, abs=4 * math.sqrt(down / 8000)
    )


@pytest.mark.parametrize("workload", [None, {"gang": GANG}])
def test_threads_change_nothing(workload: Body | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kfarm_twin.simulate.THREAD_WORTH", 0)
    asked = request(workload=workload)
    alone = play(asked, workers=1)
    assert alone.as_text() == play(asked, workers=3).as_text()
    assert alone.as_text() != play(request(workload=workload, seed=8), workers=1).as_text()


def test_without_failures_only_saves_cost() -> None:
    never = {"classes": [{**CLASS, "failuresPer1000NodeDays": "0"}]}
    found = play(request(shape={"nodes": 6, "reliability": never}, replicas=2))
    cycles = 240 * 3600 // 3660
    rest = 240 * 3600 - cycles * 3660
    ettr = found.metrics["ettr"]
    assert ettr.mean is not None
    # the last piece of work is not saved: it counts or not, but no more than that
    assert cycles / 240 <= ettr.mean + 1e-12
    assert ettr.mean <= (cycles * 3600 + rest) / (240 * 3600) + 1e-12
    assert found.metrics["gang_interruptions"].mean == 0
    assert found.metrics["nodes_down_max"].mean == 0
    assert any("rate 0" in note for note in found.notes)


def test_a_rule_that_never_saves_is_told() -> None:
    gang = {"nodes": 6, "checkpoint": {"optimum": "Daly", "save": "10m"}}
    found = play(request(workload={"gang": gang}, horizon="1h", replicas=2))
    assert any("nothing is saved" in note for note in found.notes)
    longer = play(request(workload={"gang": gang}, replicas=2))
    assert not any("nothing is saved" in note for note in longer.notes)


def test_yaml_holds_what_json_holds(tmp_path: Path) -> None:
    options = files(tmp_path, run=text(manifest()))
    as_json = run("simulate", *options, "-o", "json")
    as_yaml = run("simulate", *options, "-o", "yaml")
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)
    again = run("simulate", *options, "-o", "json", "--seeds", 5, "--seed", 1, "--horizon", "48h")
    data = json.loads(again.stdout)
    assert (data["futures"], data["seed"], data["horizon"]) == (5, 1, "48h")


def test_people_read_sentences_first(tmp_path: Path) -> None:
    done = run("simulate", *files(tmp_path, run=text(manifest())))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("A gang of 6 nodes turns ")
    assert max(map(len, lines[4:30])) <= 80
    assert lines.index(next(x for x in lines if "What matters" in x)) < lines.index(
        next(x for x in lines if "All else" in x)
    )


def test_a_gang_runs_on_a_farm_with_its_devices(tmp_path: Path) -> None:
    body = manifest(shape=None, farms=[{"kind": "GPUFarm", "name": "small"}])
    options = files(tmp_path, run=text(body), farm=FARM)
    done = run("simulate", *options, "-f", EXAMPLES / "catalogue", "-o", "json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["metrics"]["it_energy"]["mean"] > 0
    assert (data["inputs"]["nodes"], data["inputs"]["spares"]) == (12, 1)
    body["spec"].pop("workload")
    fleet = run("simulate", *files(tmp_path, run=text(body), farm=FARM), "-o", "json")
    assert fleet.exit_code == 0, "a fleet alone needs no profiles: " + fleet.output


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.mark.parametrize("command", ["simulate", "spares", "checkpoint"])
def test_a_page_holds_all_it_needs(tmp_path: Path, command: str) -> None:
    folder = tmp_path / "쪽 & <b>"
    folder.mkdir()
    page = folder / "page.html"
    done = run(command, *files(folder, run=text(manifest())), "--seeds", 20, "--report", page)
    assert done.exit_code == 0, done.output
    assert str(page) in done.stderr.replace("\n", "")
    html = page.read_text("utf-8")
    links = _Links()
    links.feed(html)
    assert links.found == []
    assert "<b>" not in html.split("<script", 1)[0]
    assert f"kfarm {command}" in html


def test_spares_say_how_many(tmp_path: Path) -> None:
    options = files(tmp_path, run=text(manifest()))
    done = run("spares", *options, "--target-ettr", 0.8, "-o", "json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    rows = data["rows"]
    assert [row["spares"] for row in rows] == list(range(len(rows)))
    answer = data["answer"]
    assert rows[answer]["ettrP05"] >= 0.8
    assert all(row["ettrP05"] < 0.8 for row in rows[:answer])
    ettr = [row["ettr"] for row in rows]
    assert ettr == sorted(ettr), "on the same chance a spare does no harm here"
    people = run("spares", *options, "--target-ettr", 0.8).stdout
    assert people.startswith(f"{answer} spare")


def test_a_target_out_of_reach_is_said(tmp_path: Path) -> None:
    options = files(tmp_path, run=text(manifest()))
    done = run("spares", *options, "--target-ettr", 0.999, "--max", 2, "-o", "json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["answer"] is None
    assert data["headline"][0].startswith("Up to 2 spares do not reach")


def test_checkpoint_finds_the_optimum(tmp_path: Path) -> None:
    done = run("checkpoint", *files(tmp_path, run=text(manifest())), "--seeds", 100, "-o", "json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["goodFromS"] <= data["bestS"] <= data["goodToS"]
    exact = next(rule for rule in data["formulas"] if rule["name"] == "exact")
    assert exact["loss"] < 0.003, "failures here are exponential and independent"
    assert data["declaredS"] == 3600
    assert min(row["loss"] for row in data["rows"]) <= 0
    assert done.stdout.count("NaN") == 0


SHAPE = {"nodes": 8, "reliability": RELIABILITY}
STRESS = {"factorPerKelvin": "1.02", "reference": "60"}
BAD = [
    ({"shape": {**SHAPE, "spares": 8}}, "shape:", "smaller than nodes"),
    ({"shape": {**SHAPE, "spares": 3}}, "spec:", "must not exceed"),
    ({"shape": {"nodes": 8}}, "spec:", "give shape.reliability"),
    ({"shape": None}, "spec:", "exactly one of farms and shape"),
    ({"shape": {"nodes": 8, "reliability": {"reference": "x"}}}, "reference: x", "llama3-h100"),
    ({"shape": {"nodes": 8, "reliability": {"reference": 5}}}, "reference: 5", "reference"),
    ({"horizon": "30m"}, "horizon: 30m", "nothing is ever saved"),
    ({"farms": [{"kind": "GPUFarm", "name": "x"}], "shape": None}, "GPUFarm", "GPUFarm x"),
    (
        {"shape": {"nodes": 8, "reliability": {**RELIABILITY, "temperature": STRESS}}},
        "shape:",
        "device temperature",
    ),
    ({"workload": {"gang": {**GANG, "required": "rack"}}}, "gang:", "in one rack"),
    (
        {"shape": {"nodes": 8, "reliability": {"classes": [{**CLASS, "per": "Rack"}]}}},
        "name: any",
        "failuresPer1000Days",
    ),
    (
        {"shape": {"nodes": 8, "reliability": {"classes": [{**CLASS, "detection": "7h"}]}}},
        "name: any",
        "detection",
    ),
    ({"workload": {"gang": {**GANG, "minNodes": 6}}}, "gang:", "smaller than gang.nodes"),
    ({"policies": [{"name": "fifo"}]}, "spec:", "takes none"),
]


@pytest.mark.parametrize(("changes", "there", "said"), BAD)
def test_contradictions_are_named_by_line(
    tmp_path: Path, changes: Body, there: str, said: str
) -> None:
    written = text(manifest(**changes))
    done = run("simulate", *files(tmp_path, run=written), "-o", "json")
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    first = done.stderr.splitlines()[0]
    assert first.startswith("error: ")
    assert said in first
    line = int(first.split("run.yaml, line ")[1].split(",")[0])
    assert there in written.splitlines()[line - 1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("simulate",), "--trace FILE"),
        (("simulate", "RUN", "--trace", "x.swf"), "one of the two"),
        (("simulate", "--trace", "x.swf", "--seeds", 3), "belong to -f"),
        (("simulate", "RUN", "--horizon", "soon"), "--horizon"),
        (("simulate", "RUN", "--horizon", "30m"), "nothing is ever saved"),
        (("simulate", "RUN", "--run", "other"), "no TwinRun other"),
        (("simulate", "RUN", "--seeds", 70_000), "--seeds"),
        (("spares", "RUN", "--target-ettr", 1.5), "a share from 0 to 1"),
        (("spares", "RUN", "--target-wait", "nan"), "a share from 0 to 1"),
        (("spares", "RUN", "--max", -1), "from 0 to 1024"),
    ],
)
def test_bad_options_are_one_line(tmp_path: Path, arguments: tuple[Any, ...], said: str) -> None:
    given = files(tmp_path, run=text(manifest()))
    words = [word for part in arguments for word in (given if part == "RUN" else [part])]
    done = run(*words)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert said in done.stderr


def test_questions_need_a_gang(tmp_path: Path) -> None:
    options = files(tmp_path, run=text(manifest(workload=None)))
    for command in ("spares", "checkpoint"):
        done = run(command, *options)
        assert done.exit_code == 2
        assert "a gang" in done.stderr
    free = {"gang": {"nodes": 6, "checkpoint": {"interval": "1h"}}}
    done = run("checkpoint", *files(tmp_path, run=text(manifest(workload=free))))
    assert done.exit_code == 2
    assert "as short as can be" in done.stderr


def test_text_of_any_system_is_read(tmp_path: Path) -> None:
    body = "\ufeff# 장애 예측\n" + text(manifest())
    path = tmp_path / "실행.yaml"
    path.write_bytes(body.replace("\n", "\r\n").encode())
    done = run("simulate", "-f", path, "--seeds", 2, "-o", "json")
    assert done.exit_code == 0, done.output
    plain = run("simulate", *files(tmp_path, run=text(manifest())), "--seeds", 2, "-o", "json")
    assert done.stdout == plain.stdout


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_file_that_ends_early_is_refused(tmp_path: Path, keep: float) -> None:
    whole = json.dumps(manifest())
    path = tmp_path / "run.yaml"
    path.write_text(whole[: int(len(whole) * keep)], encoding="utf-8")
    done = run("simulate", "-f", path)
    assert done.exit_code == 2, done.output
    assert "run.yaml" in done.stderr


def test_jobs_are_sent_to_compare() -> None:
    done = run("simulate", "-f", EXAMPLES / "whatif/backfill.yaml")
    assert done.exit_code == 2
    assert "line 11" in done.stderr
    assert "kfarm compare -f" in done.stderr


@pytest.mark.parametrize("name", ["fleet-alone", "gang-255"])
def test_the_examples_run(name: str) -> None:
    done = run("simulate", "-f", EXAMPLES / f"whatif/{name}.yaml", "--seeds", 4, "-o", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["name"] == name
