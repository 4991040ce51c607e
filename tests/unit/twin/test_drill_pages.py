"""``kfarm drill`` on the command line, and its pages in a browser."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import CHROMIUM, probed
from cli_scene import EXAMPLES, FARM, PLAN, files, run
from kfarm_twin.cli import app
from kfarm_twin.pictures.lanes import Pair, lanes_picture, pair_picture
from typer.testing import CliRunner

EVIL = "</script><script>document.title='broken'</script>전력"
DRILL = """\
apiVersion: kfarm.dev/v1alpha1
kind: FailureDrill
metadata: {namespace: team, name: lost}
spec:
  farm: {kind: GPUFarm, name: small}
  plans: [serve]
  faults:
    - name: node
      action: NodeDown
      selector: {plan: serve}
      duration: 4m
      remedy: {action: OutOfService, after: 5s}
  delays: {toleration: 20s}
  simulation: {futures: 64}
"""
MOMENT = "2026-11-22T01:00:{:06.3f}Z"


def inputs(tmp_path: Path, drill: str = DRILL) -> list[str]:
    options = files(tmp_path, farm=FARM, plan=PLAN, drill=drill)
    return [*options, "-f", str(EXAMPLES / "catalogue" / "nvidia.yaml")]


def finished(name: str = "lost", **status: Any) -> dict[str, Any]:
    """A drill as kubectl prints it after its run."""
    body: dict[str, Any] = yaml.safe_load(DRILL)
    body["metadata"] |= {
        "name": name,
        "uid": "u",
        "annotations": {"kfarm.dev/runbook": f"Look at the node.\n{EVIL}"},
    }
    body["status"] = {
        "phase": "Completed",
        "verdict": "Passed",
        "reason": "Expected",
        "message": EVIL,
        "clusterName": "local",
        "startedAt": MOMENT.format(0.0),
        "completedAt": MOMENT.format(59.0),
        "touched": 1,
        "faults": [{"fault": "node", "state": "Ended", "since": MOMENT.format(1.0),
                    "endedAt": MOMENT.format(40.0)}],
        "targets": [{"fault": "node", "domains": ["node-a"], "nodes": ["node-a"]}],
        "journal": [{"id": "node/Node/node-a", "fault": "node", "kind": "Node",
                     "name": "node-a", "uid": "u", "state": "Restored",
                     "plannedAt": MOMENT.format(0.5),
                     "changes": [{"field": f"label/{EVIL}", "after": '"x"'}]}],
        "timeline": [
            {"at": MOMENT.format(1.0), "event": "Injected", "fault": "node"},
            {"at": MOMENT.format(20.0), "event": "Detected", "message": EVIL},
            {"at": MOMENT.format(30.0), "event": "Recovered"},
        ],
        "metrics": [
            {"name": "seconds_to_detect", "unit": "s", "low": "15", "median": "18", "high": "21",
             "observed": "19", "within": True, "error": "5.6"},
            {"name": "seconds_to_recover", "unit": "s", "low": "25", "median": "26", "high": "27",
             "observed": "29", "within": False, "error": "11.5"},
            {"name": "accelerator_temperature_max", "unit": "degC", "median": "70"},
        ],
        "expectations": [{"name": "soon", "result": "Passed", "message": "29 s, at most 60 s"}],
        "somethingNewer": 1,
    } | status  # fmt: skip
    return body


def write(tmp_path: Path, *bodies: dict[str, Any], name: str = "done.yaml") -> Path:
    path = tmp_path / name
    path.write_text(yaml.safe_dump_all(list(bodies), allow_unicode=True), encoding="utf-8")
    return path


class _Balanced(HTMLParser):
    """Every element that is opened is closed in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_prediction_is_told_as_table_and_data(tmp_path: Path) -> None:
    told = run("drill", "predict", *inputs(tmp_path))
    assert told.exit_code == 0, told.output
    assert "Until all pods run again" in told.stdout
    data = json.loads(run("drill", "predict", *inputs(tmp_path), "-o", "json").stdout)
    assert data["schema"] == "kfarm.dev/drill/v1"
    one = data["drills"][0]
    assert {m["name"] for m in one["metrics"]} >= {"seconds_to_recover", "pods_affected"}
    assert len(one["targets"][0]["nodes"]) == 1
    assert one["futures"] == 64


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: small}\n  plans", "name: other}\n  plans", "GPUFarm other"),
        ("plans: [serve]", "plans: [없음]", "없음"),
        ("plans: [serve]", "plans: [none]", "a PlacementPlan of namespace team"),
        ("{plan: serve}", "{cluster: other}", "no node of the farm matches"),
        ("action: NodeDown", "action: Pdu", "clusters[].feed"),
        ("duration: 4m", "duration: -4m", "duration"),
        ("duration: 4m", "duration: .nan", "duration"),
        ("selector: {plan: serve}", "selector: {}", "empty selector"),
    ],
)
def test_bad_input_is_told_with_where_and_what(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in DRILL
    told = run("drill", "predict", *inputs(tmp_path, DRILL.replace(old, new)))
    assert told.exit_code == 2
    assert expected in told.stderr
    assert "Traceback" not in told.output


def test_a_drill_beyond_its_own_limits_says_so(tmp_path: Path) -> None:
    wide = DRILL.replace("selector: {plan: serve}", "selector: {plan: serve}\n      mode: All")
    told = run("drill", "predict", *inputs(tmp_path, wide))
    assert told.exit_code == 0
    assert "would be refused" in told.stdout


def test_a_missing_profile_names_the_catalogue(tmp_path: Path) -> None:
    told = run("drill", "predict", *files(tmp_path, farm=FARM, plan=PLAN, drill=DRILL))
    assert told.exit_code == 2
    assert "examples/catalogue" in told.stderr


def test_no_drill_is_told(tmp_path: Path) -> None:
    told = run("drill", "predict", *files(tmp_path, farm=FARM))
    assert told.exit_code == 2
    assert "FailureDrill" in told.stderr
    named = run("drill", "predict", *inputs(tmp_path), "--drill", "other")
    assert named.exit_code == 2
    assert "there: lost" in named.stderr


def test_a_report_sets_predicted_beside_observed(tmp_path: Path) -> None:
    told = run("drill", "report", "-f", write(tmp_path, finished()))
    assert told.exit_code == 0, told.output
    for text in ("29 s", "26 s", "+11.5 %", "residue: 0", "Passed: soon"):
        assert text in told.stdout


def test_a_list_from_standard_input_is_taken() -> None:
    """As ``kubectl get failuredrills -o json`` prints them."""
    drills = {"apiVersion": "v1", "kind": "List", "items": [finished("one"), finished("two")]}
    told = CliRunner().invoke(app, ["drill", "report", "-f", "-"], input=json.dumps(drills))
    assert told.exit_code == 0, told.output
    assert "team/one" in told.stdout
    assert "team/two" in told.stdout


def test_a_failed_drill_ends_with_one(tmp_path: Path) -> None:
    path = write(tmp_path, finished(), finished("other", verdict="Failed"))
    assert run("drill", "report", "-f", path).exit_code == 1


def test_what_is_not_taken_back_is_named(tmp_path: Path) -> None:
    body = finished()
    body["status"]["journal"][0]["state"] = "Applied"
    page = tmp_path / "out.html"
    told = run("drill", "report", "-f", write(tmp_path, body), "--html", page)
    assert told.exit_code == 0
    assert "not taken back: node/Node/node-a (Applied)" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DRILL, "without a status"),
        (yaml.safe_dump(finished(metrics=[{"name": 1}])), "status.metrics"),
        (yaml.safe_dump(finished(startedAt=7)), "status.startedAt"),
        ("", "an empty file"),
        ("{", "report.yaml"),
    ],
)
def test_a_report_of_nothing_that_was_run_is_refused(
    tmp_path: Path, text: str, expected: str
) -> None:
    told = run("drill", "report", *files(tmp_path, report=text))
    assert told.exit_code == 2
    assert expected in told.stderr


def test_a_report_needs_files() -> None:
    assert run("drill", "report").exit_code == 2


def test_moments_that_are_no_times_are_passed_over(tmp_path: Path) -> None:
    body = finished(startedAt="gestern", timeline=[{"at": "?", "event": "Injected"}])
    page = tmp_path / "out.html"
    assert run("drill", "report", "-f", write(tmp_path, body), "--html", page).exit_code == 0
    assert "Predicted beside observed" in page.read_text(encoding="utf-8")


def test_pages_are_well_formed_and_escape_what_manifests_say(tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    bodies = (finished(), finished("other", verdict="Failed"))
    run("drill", "report", "-f", write(tmp_path, *bodies), "--html", page)
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "전력" in text
    for name in ("report", "predict"):
        if name == "predict":
            run("drill", "predict", *inputs(tmp_path), "--html", page)
        reader = _Balanced()
        reader.feed(page.read_text(encoding="utf-8"))
        assert reader.open == []
        assert "http" not in page.read_text(encoding="utf-8").replace("http-equiv", "")


def test_all_of_a_folder_come_on_one_page(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    for name in ("one", "two", "three"):
        write(folder, finished(name), name=f"{name}.yaml")
    page = tmp_path / "out.html"
    assert run("drill", "report", "--all", folder, "--html", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert "3 failure drills" in text
    assert "3 of 6 (50 %)" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
def test_a_browser_draws_lanes_and_pairs(tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    run("drill", "report", "-f", write(tmp_path, finished()), "--html", page)
    probe = """
const box = (node) => node.getBoundingClientRect();
const lanes = box(document.querySelector('svg.lanes'));
const bar = box(document.querySelector('svg.lanes rect.fault'));
const dots = [...document.querySelectorAll('svg.pair circle')].map((n) => n.className.baseVal);
const pairs = [...document.querySelectorAll('svg.pair')].map((svg) => {
  const edge = (name) => { const n = svg.querySelector(name); return n ? box(n) : null; };
  const rect = edge('rect'), dot = edge('circle');
  if (!rect || !dot) return null;
  const middle = dot.x + dot.width / 2;
  return middle >= rect.x && middle <= rect.x + rect.width;
});
const seen = {title: document.title, dots, pairs, wide: lanes.width > 600,
  share: bar.width / lanes.width, sideways: document.documentElement.scrollWidth > innerWidth};
"""
    seen = probed(page.read_text(encoding="utf-8"), probe, tmp_path)
    assert seen["title"].startswith("team/lost: passed")
    assert seen["dots"] == ["observed", "observed out"]
    assert seen["pairs"] == [True, False, None]
    assert seen["wide"]
    assert not seen["sideways"]
    assert 0.5 < seen["share"] < 0.95  # 39 of 41.2 s, of the width beside the names


def test_a_picture_without_anything_is_left_out() -> None:
    assert lanes_picture([], "nothing") == ""
    assert pair_picture(Pair("x", None, None, None, None, "nothing")) == ""
