"""The command line: exit codes, error texts, keys of the output, same seed same bytes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_scene import EXAMPLES, FARM, POLICY, files, run
from typer.testing import Result

RESULT_KEYS = (
    "namespace plan verdict reason message checks survives assumptions placements futures seed "
    "horizon worstFuture inputsDigest estimates warnings problems"
)
CHECK_KEYS = "metric bound quantile confidence result estimate low high futuresMet futures message"
FAULT_KEYS = "fault instances survived result worst message"
ASSUMPTION_KEYS = "draws approving futures inputs message"
INPUT_KEYS = (
    "input name unit confidence unknown stated low high check marginStated marginLow marginHigh "
    "flips sought breakEven message"
)


def plan_text(
    name: str = "train", pods: int = 4, farm: str = "small", policy: str = "small"
) -> str:
    return f"""\
apiVersion: kfarm.dev/v1alpha1
kind: PlacementPlan
metadata: {{namespace: team, name: {name}}}
spec:
  policy: {policy}
  farms: [{{kind: GPUFarm, name: {farm}}}]
  workloads:
    - name: train
      class: Training
      pods: {pods}
      acceleratorsPerPod: 8
      accelerators: [b200]
      gang: true
      duration: 24h
      checkpoint: {{interval: 30m, save: 20s, restart: 5m}}
"""


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    """Options that name a small farm with its policy and the shipped profiles."""
    return [*files(tmp_path, farm=FARM, policy=POLICY), "-f", str(EXAMPLES / "catalogue")]


def results(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["results"]
    return found


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, "kfarm 0.1.0\n")


@pytest.mark.parametrize("arguments", [[], ["validate"], ["frobnicate"], ["validate", "--seed"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_help_names_the_commands() -> None:
    text = run("--help").stdout
    assert all(word in text for word in ("validate", "snapshot", "describe", "crds", "warm"))


# Bad input


def test_what_a_plan_names_must_be_there(tmp_path: Path) -> None:
    result = run("validate", *files(tmp_path, plan=plan_text()))
    plan = tmp_path / "plan.yaml"
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"error: {plan}, line 5, document 1: spec.policy: found 'small'; expected a "
        "ValidationPolicy among the files (there: none); the policies that kfarm ships are in "
        "examples/policies: add -f examples/policies",
        f"error: {plan}, line 6, document 1: spec.farms[0]: found GPUFarm small; expected a farm "
        "among the files (there: none): add its file with -f",
        f"error: {plan}, line 12, document 1: spec.workloads[0].accelerators[0]: found 'b200'; "
        "expected an AcceleratorProfile among the files (there: none); the profiles that kfarm "
        "ships are in examples/catalogue: add -f examples/catalogue",
    ]
    assert "BadInput" in result.stdout


def test_a_missing_profile_is_told_at_the_cluster(tmp_path: Path) -> None:
    result = run("validate", *files(tmp_path, farm=FARM, policy=POLICY, plan=plan_text()))
    assert result.exit_code == 2
    place = f"{tmp_path / 'farm.yaml'}, line 8, document 1: spec.clusters[0].accelerator"
    assert place in result.stderr
    assert "examples/catalogue" in result.stderr


def test_a_wrong_field_is_told_with_its_place(tmp_path: Path) -> None:
    text = POLICY + "---\n" + plan_text().replace("pods: 4", "pods: -1")
    result = run("validate", *files(tmp_path, both=text))
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'both.yaml'}, line ")
    assert ", document 2: spec.workloads[0].pods: found -1; expected " in line


@pytest.mark.parametrize("text", ["", "kind: [", "a: &x [*x]", "- 1", "\x00"])
def test_broken_files_end_with_2(tmp_path: Path, text: str) -> None:
    result = run("validate", *files(tmp_path, broken=text))
    assert result.exit_code == 2
    assert str(tmp_path / "broken.yaml") in result.stderr


def test_a_missing_file_ends_with_2(tmp_path: Path) -> None:
    result = run("validate", "-f", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert f"{tmp_path / 'none.yaml'}" in result.stderr


def test_without_a_plan_there_is_nothing_to_validate(small: list[str]) -> None:
    result = run("validate", *small)
    assert result.exit_code == 2
    assert "found 0 plans; expected a PlacementPlan in the files given with -f" in result.stderr


def test_an_unknown_plan_is_told_with_those_there(tmp_path: Path, small: list[str]) -> None:
    result = run("validate", *small, *files(tmp_path, plan=plan_text()), "--plan", "tarin")
    assert result.exit_code == 2
    assert "found 0 plans named tarin" in result.stderr
    assert "(there: team/train)" in result.stderr


def test_a_snapshot_must_be_one(tmp_path: Path, small: list[str]) -> None:
    plan = files(tmp_path, plan=plan_text())
    result = run("validate", *small, *plan, "--snapshot", tmp_path / "policy.yaml")
    assert result.exit_code == 2
    assert str(tmp_path / "policy.yaml") in result.stderr


# Verdicts


def test_approved(tmp_path: Path, small: list[str]) -> None:
    result = run("validate", *small, *files(tmp_path, plan=plan_text()))
    assert result.exit_code == 0, result.output
    assert "team/train" in result.stdout
    assert "Approved" in result.stdout
    assert "it_power_peak" in result.stdout
    assert result.stderr == ""


def test_rejected_says_why(tmp_path: Path, small: list[str]) -> None:
    result = run("validate", *small, *files(tmp_path, plan=plan_text(pods=40)), "-o", "json")
    assert result.exit_code == 1
    [found] = results(result)
    assert (found["verdict"], found["reason"]) == ("Rejected", "Unplaceable")
    assert "40" in found["message"]


def test_inconclusive_ends_with_1(tmp_path: Path, small: list[str]) -> None:
    plan = files(tmp_path, plan=plan_text().replace("24h", "500h"))
    result = run("validate", *small, *plan, "-o", "json")
    assert result.exit_code == 1
    [found] = results(result)
    assert (found["verdict"], found["reason"]) == ("Inconclusive", "HorizonTooShort")


def test_several_plans_one_row_each_and_the_worst_code(tmp_path: Path, small: list[str]) -> None:
    texts = [plan_text("good"), plan_text("large", 40), plan_text("lost", farm="nowhere")]
    options = [*small, *files(tmp_path, plans="---\n".join(texts))]
    result = run("validate", *options, "-o", "json")
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert answer["exitCode"] == 2
    told = {row["plan"]: row["verdict"] for row in answer["results"]}
    assert told == {"good": "Approved", "large": "Rejected", "lost": "BadInput"}
    assert answer["results"][2]["problems"][0]["path"] == "spec.farms[0]"
    assert answer["results"][2]["problems"][0]["document"] == 3
    assert run("validate", *options, "--plan", "large").exit_code == 1
    assert run("validate", *options, "--plan", "team/good").exit_code == 0


def test_the_keys_are_those_of_the_documentation(tmp_path: Path, small: list[str]) -> None:
    plan = files(tmp_path, plan=plan_text())
    result = run("validate", *small, *plan, "-o", "json")
    answer = json.loads(result.stdout)
    assert list(answer) == ["schema", "exitCode", "results"]
    assert answer["schema"] == "kfarm.dev/validate/v1"
    [found] = answer["results"]
    assert sorted(found) == sorted(RESULT_KEYS.split())
    assert sorted(found["checks"][0]) == sorted(CHECK_KEYS.split())
    assert sorted(found["survives"][0]) == sorted(FAULT_KEYS.split())
    assert sorted(found["assumptions"]) == sorted(ASSUMPTION_KEYS.split())
    assert sorted(found["assumptions"]["inputs"][0]) == sorted(INPUT_KEYS.split())
    text = (EXAMPLES.parent / "docs" / "cli.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in text or f".{key}" in text for key in found)
    assert all(f"`{key}`" in text for key in [*ASSUMPTION_KEYS.split(), *INPUT_KEYS.split()])
    as_yaml = yaml.safe_load(run("validate", *small, *plan, "-o", "yaml").stdout)
    assert as_yaml == answer


def test_overrides(tmp_path: Path, small: list[str]) -> None:
    plan = files(tmp_path, plan=plan_text())
    arguments = ("--seed", "5", "--futures", "16", "-o", "json")
    [found] = results(run("validate", *small, *plan, *arguments))
    assert found["seed"] == 5
    assert found["futures"] == 16


def test_same_seed_same_bytes_in_two_processes(tmp_path: Path, small: list[str]) -> None:
    plan = files(tmp_path, plan=plan_text())
    argv = [sys.executable, "-m", "kfarm_twin.cli", "validate", *small, *plan, "-o", "json"]
    outputs = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(argv, capture_output=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0])["results"][0]["verdict"] == "Approved"


@pytest.mark.parametrize(("change", "code"), [({}, 0), ({"pods": 40}, 1), ({"farm": "nowhere"}, 2)])
def test_exit_codes_of_the_process(
    tmp_path: Path, small: list[str], change: dict[str, Any], code: int
) -> None:
    plan = files(tmp_path, plan=plan_text(**change))
    argv = [str(Path(sys.executable).with_name("kfarm")), "validate", *small, *plan]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr


def test_a_fault_of_kfarm_itself_ends_with_3(tmp_path: Path) -> None:
    script = (
        "import sys, kfarm_twin.cli_inputs, kfarm_twin.cli as cli\n"
        "def broken(paths): raise ZeroDivisionError\n"
        "kfarm_twin.cli_inputs.read_inputs = broken\n"
        "sys.argv = ['kfarm', 'validate', '-f', 'x.yaml']\n"
        "cli.main()\n"
    )
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "a fault in kfarm itself" in done.stderr


def test_a_report_that_cannot_be_written_is_bad_input(tmp_path: Path, small: list[str]) -> None:
    plan = files(tmp_path, plan=plan_text())
    report = tmp_path / "absent" / "report.html"
    argv = [sys.executable, "-m", "kfarm_twin.cli", "validate", *small, *plan]
    done = subprocess.run(
        [*argv, "--report", str(report)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{report}: No such file or directory; name a file in a folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_light_command_loads_nothing_heavy(tmp_path: Path, small: list[str]) -> None:
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom kfarm_twin.cli import app\n"
        "result = CliRunner().invoke(app, sys.argv[1:])\nassert result.exit_code == 0, result\n"
        "print(sorted({'numba', 'numpy', 'pyarrow', 'plotly', 'kopf', 'kubernetes'} "
        "& set(sys.modules)))"
    )
    argv = [sys.executable, "-c", script, "describe", *small]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_report_for_each_plan_names_the_command(tmp_path: Path, small: list[str]) -> None:
    """The command on the page gives the verdict that is on the page."""
    texts = [plan_text("one"), plan_text("two")]
    options = [*small, *files(tmp_path, plans="---\n".join(texts))]
    result = run("validate", *options, "--seed", "5", "--report", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    for name in ("one", "two"):
        page = (tmp_path / f"r.team.{name}.html").read_text(encoding="utf-8")
        command = unescape(page.split("<pre><code>")[1].split("</code>")[0])
        [found] = results(run(*shlex.split(command)[1:], "-o", "json"))
        assert (found["plan"], found["seed"]) == (name, 5)
        assert found["inputsDigest"] in page
