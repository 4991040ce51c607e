"""TwinRuns on a real control plane: results, their artifact, and what disturbs a run."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.inprocess import HeldPlayer, HeldTwin, InProcessOperator
from kfarm_controlplane.installation import Installation
from kfarm_operator.runner import TwinFailed

Body = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whatif_operator(
    installation: Installation, held_twin: HeldTwin, player: HeldPlayer
) -> Iterator[InProcessOperator]:
    with InProcessOperator(installation, held_twin, role="whatif", player=player) as running:
        yield running


@pytest.fixture
def runs(lone_runs: Any, whatif_operator: InProcessOperator) -> Any:
    """A namespace of the test's own, with the operator at work."""
    assert whatif_operator.service is not None
    return lone_runs


def compared(folder: Path, *bodies: Body) -> Body:
    """What ``kfarm compare -f`` says on a laptop."""
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(bodies, allow_unicode=True), encoding="utf-8")
    command = [sys.executable, "-m", "kfarm_twin.cli", "compare", "-f", str(path), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("binary", [False, True], ids=["text", "gzip"])
def test_the_cluster_and_the_laptop_give_the_same_answer(
    runs: Any, tmp_path: Path, binary: bool
) -> None:
    trace, run = runs.trace(binary=binary), runs.run("whatif")
    runs.cluster.apply(trace, run)
    status = runs.until("whatif", "Completed")
    assert runs.result("whatif") == compared(tmp_path, trace, run)
    assert status["replicasDone"] == 3
    assert status["jobs"] == 240
    assert [policy["name"] for policy in status["policies"]] == ["fifo", "easy"]
    assert status["state"] == "Completed"
    columns = runs.cluster.kubectl("get", "twr", "whatif", "-n", runs.namespace)
    assert "fifo, easy" in columns


def test_a_farm_is_played_as_it_is_described(runs: Any, tmp_path: Path) -> None:
    farm = runs.farm("whatif-farm")
    run = runs.run("on-farm", farms=[{"kind": "GPUFarm", "name": "whatif-farm"}])
    del run["spec"]["shape"]
    runs.cluster.apply(runs.trace(), run)
    status = runs.until("on-farm", "FarmNotFound")
    assert "GPUFarm whatif-farm" in status["message"]
    runs.cluster.apply(farm)
    runs.until("on-farm", "Completed")
    result = runs.result("on-farm")
    assert result == compared(tmp_path, farm, runs.trace(), run)
    assert result["nodes"] == 6
    runs.cluster.kubectl("delete", "gpufarm", "whatif-farm")


def test_jobs_warm_the_farm_that_they_run_on(runs: Any, tmp_path: Path) -> None:
    """With heat, profiles count as well, and placement may look at temperatures."""
    catalogue = yaml.safe_load_all((ROOT / "examples/catalogue/nvidia.yaml").read_text("utf-8"))
    profile = next(body for body in catalogue if body["metadata"]["name"] == "b200")
    profile["metadata"]["name"] = "b200-whatif"
    farm = runs.farm("warm-farm", accelerator="b200-whatif")
    policies = [
        {"name": "blind", "placement": "BestFit"},
        {"name": "cool", "placement": "ThermalAware"},
    ]
    run = runs.run("warm", farms=[{"kind": "GPUFarm", "name": "warm-farm"}], policies=policies)
    del run["spec"]["shape"]
    run["spec"] |= {"heat": True, "replicas": 1}
    runs.cluster.apply(runs.trace(), farm, run)
    status = runs.until("warm", "ProfileNotFound")
    assert "b200-whatif" in status["message"]
    runs.cluster.apply(profile)
    runs.until("warm", "Completed")
    result = runs.result("warm")
    assert result == compared(tmp_path, profile, farm, runs.trace(), run)
    hottest = [policy["metrics"]["hottestDeviceC"] for policy in result["policies"]]
    assert all(22.0 < each["mean"] < 120.0 for each in hottest)
    for name in ("gpufarm/warm-farm", "acceleratorprofile/b200-whatif"):
        runs.cluster.kubectl("delete", name)


def test_a_generator_needs_no_config_map(runs: Any, tmp_path: Path) -> None:
    generator = {"generator": {"mix": "farm-week", "jobs": 300, "load": 90}}
    shape = {"nodes": 160, "acceleratorsPerNode": 8}
    run = runs.run("generated", workload=generator, shape=shape)
    runs.cluster.apply(run)
    runs.until("generated", "Completed")
    assert runs.result("generated") == compared(tmp_path, run)


SHAPE: Body = {
    "nodes": 12,
    "spares": 2,
    "reliability": {
        "classes": [{"name": "any", "failuresPer1000NodeDays": "20", "meanTimeToRepair": "6h"}],
        "frailty": {"shape": "0.9"},
    },
}
GANG: Body = {"gang": {"nodes": 10, "checkpoint": {"optimum": "Daly", "save": "1m"}}}


def failures(runs: Any, name: str, workload: Body | None, **spec: Any) -> Body:
    """A TwinRun with one gang or no workload."""
    run = dict(runs.run(name, shape=SHAPE, horizon="240h", replicas=50, **spec))
    del run["spec"]["policies"], run["spec"]["workload"]
    run["spec"] |= {"workload": workload} if workload else {}
    return run


def simulated(folder: Path, *bodies: Body) -> str:
    """What ``kfarm simulate -f`` says on a laptop."""
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(bodies, allow_unicode=True), encoding="utf-8")
    command = [sys.executable, "-m", "kfarm_twin.cli", "simulate", "-f", str(path), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kept(runs: Any, name: str) -> str:
    """The text in a run's artifact."""
    artifact = runs.get(name)["status"]["artifact"]
    held = runs.get(artifact["configMap"], "configmap")
    return gzip.decompress(base64.b64decode(held["binaryData"][artifact["key"]])).decode()


@pytest.mark.parametrize("workload", [None, GANG], ids=["fleet", "gang"])
def test_failures_are_played_as_on_the_laptop(
    runs: Any, tmp_path: Path, workload: Body | None
) -> None:
    run = failures(runs, "failures", workload)
    runs.cluster.apply(run)
    status = runs.until("failures", "Completed")
    assert kept(runs, "failures") == simulated(tmp_path, run), "byte for byte"
    assert (status["state"], status["replicasDone"]) == ("Completed", 50)
    metrics = {metric["name"]: metric["mean"] for metric in status["metrics"]}
    assert ("ettr" in metrics) == (workload is not None)
    columns = runs.cluster.kubectl("get", "twr", "failures", "-n", runs.namespace)
    assert metrics["nodes_down_p95"] in columns
    assert metrics.get("ettr", "") in columns
    assert status["message"].startswith("A gang of 10 nodes" if workload else "Of 12 nodes")
    run["spec"]["seed"] = 6
    runs.cluster.apply(run)
    runs.until("failures", "Completed")
    assert json.loads(kept(runs, "failures"))["seed"] == 6
    assert len(runs.results()) == 1, "the old result is gone"


def test_a_gang_on_a_farm_waits_for_its_profile(runs: Any, tmp_path: Path) -> None:
    cluster = {
        "name": "c",
        "accelerator": "late-device",
        "nodes": 12,
        "spares": 1,
        "acceleratorsPerNode": 8,
        "rack": {"nodes": 4},
        "cooling": {"type": "Air", "supplyTemperature": 22},
        "reliability": {"reference": "llama3-h100"},
        "source": {"simulated": {}},
    }
    farm = {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "GPUFarm",
        "metadata": {"name": "failing-farm"},
        "spec": {"site": {"name": "광주"}, "clusters": [cluster]},
    }
    run = failures(runs, "on-farm", GANG, farms=[{"kind": "GPUFarm", "name": "failing-farm"}])
    del run["spec"]["shape"]
    profiles = (Path(__file__).parents[2] / "examples/catalogue/nvidia.yaml").read_text("utf-8")
    profile = next(p for p in yaml.safe_load_all(profiles) if p["metadata"]["name"] == "b200")
    profile["metadata"] = {"name": "late-device"}
    runs.cluster.apply(farm, run)
    status = runs.until("on-farm", "ProfileNotFound")
    assert "late-device of failing-farm/c" in status["message"]
    runs.cluster.apply(profile)
    runs.until("on-farm", "Completed")
    assert kept(runs, "on-farm") == simulated(tmp_path, farm, profile, run)
    runs.cluster.kubectl("delete", "gpufarm/failing-farm", "acceleratorprofile/late-device")


def test_failures_that_contradict_themselves_say_so(runs: Any) -> None:
    shape = {**SHAPE, "reliability": {"reference": "nobody"}}
    run = failures(runs, "unknown", GANG)
    run["spec"]["shape"] = shape
    short = failures(runs, "short", {"gang": {"nodes": 10, "checkpoint": {"interval": "300h"}}})
    runs.cluster.apply(run, short)
    assert "'nobody'" in runs.until("unknown", "BadInput")["message"]
    assert "nothing is ever saved" in runs.until("short", "BadInput")["message"]


@pytest.mark.parametrize(
    ("reason", "text", "said"),
    [
        ("ConfigMapNotFound", None, "kubectl create configmap week --from-file=trace.swf"),
        ("KeyNotFound", "", "it has other.swf"),
        ("BadInput", "; a trace\n1 0 -1 60 1 -1 -1 1 60\n", "trace.swf, line 2"),
        ("BadInput", "", "trace.swf"),
    ],
)
def test_bad_inputs_say_what_to_do(runs: Any, reason: str, text: str | None, said: str) -> None:
    if text is not None:
        trace = runs.trace(text)
        if reason == "KeyNotFound":
            trace["data"] = {"other.swf": "1"}
        runs.cluster.apply(trace)
    runs.cluster.apply(runs.run("bad"))
    status = runs.until("bad", reason)
    assert said in status["message"]
    assert runs.ready("bad")["status"] == "False"
    assert runs.results() == []
    if reason == "ConfigMapNotFound":
        runs.cluster.apply(runs.trace())
        runs.until("bad", "Completed", 60)


def test_an_edit_in_the_middle_plays_the_new_inputs(runs: Any) -> None:
    runs.player.door.clear()
    runs.cluster.apply(runs.trace(), runs.run("edited"))
    runs.until("edited", "Running")
    runs.cluster.apply(runs.run("edited", seed=6))
    _wait(lambda: any(r.spec.seed == 6 for r, _ in runs.player.asked if r.name == "edited"))
    runs.player.door.set()
    runs.until("edited", "Completed")
    assert runs.result("edited")["seed"] == 6
    assert len(runs.results()) == 1


def test_an_edit_afterwards_replaces_the_artifact(runs: Any) -> None:
    runs.cluster.apply(runs.trace(), runs.run("again"))
    first = runs.until("again", "Completed")["artifact"]["configMap"]
    runs.cluster.apply(runs.run("again", seed=6))
    second = runs.until("again", "Completed")["artifact"]["configMap"]
    assert first != second
    assert [body["metadata"]["name"] for body in runs.results()] == [second]


def test_a_deletion_in_the_middle_leaves_nothing(runs: Any) -> None:
    runs.player.door.clear()
    runs.cluster.apply(runs.trace(), runs.run("gone"))
    runs.until("gone", "Running")
    runs.cluster.kubectl("delete", "twinrun", "gone", "-n", runs.namespace)
    runs.player.door.set()
    runs.cluster.apply(runs.run("other"))
    runs.until("other", "Completed")
    owners = {body["metadata"]["ownerReferences"][0]["name"] for body in runs.results()}
    assert owners == {"other"}


def test_a_deletion_afterwards_takes_the_artifact_along(runs: Any) -> None:
    runs.cluster.apply(runs.trace(), runs.run("kept"))
    runs.until("kept", "Completed")
    assert len(runs.results()) == 1
    runs.cluster.kubectl("delete", "twinrun", "kept", "-n", runs.namespace)
    _wait(lambda: runs.results() == [])


def test_a_suspended_run_waits(runs: Any) -> None:
    runs.cluster.apply(runs.trace(), runs.run("later", suspend=True))
    runs.until("later", "Suspended")
    assert runs.asked("later") == 0
    runs.cluster.apply(runs.run("later"))
    runs.until("later", "Completed")


def test_a_crash_is_tried_again_but_not_for_ever(
    runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfarm_operator.twinruns.reconcile.RETRY_S", (0.1,))

    def crash(request: Any, replica: int) -> None:
        if request.name == "crashes":
            raise TwinFailed("Crashed", "the run was ended by a signal (Segmentation fault)")

    runs.player.before = crash
    runs.cluster.apply(runs.trace(), runs.run("crashes", replicas=1))
    status = runs.until("crashes", "Crashed")
    assert status["state"] == "Failed"
    assert status["attempts"] == 3
    assert runs.asked("crashes") == 3
    assert "tried 3 times" in status["message"]
    runs.player.before = lambda *_: None
    runs.cluster.apply(runs.run("crashes", replicas=2))
    runs.until("crashes", "Completed")


def test_steady_state_writes_nothing(runs: Any, whatif_operator: InProcessOperator) -> None:
    runs.cluster.apply(runs.trace(), runs.run("steady"))
    runs.until("steady", "Completed")
    before = runs.get("steady")["metadata"]["resourceVersion"]
    service = whatif_operator.service
    assert service is not None
    writes, done, asked = (
        whatif_operator.writes,
        service.queue("twinruns").done,
        runs.asked("steady"),
    )
    for _ in range(3):
        service.queue("twinruns").add_threadsafe((runs.namespace, "steady"))
        _wait(lambda done=done: service.queue("twinruns").done > done)  # type: ignore[misc]
        done = service.queue("twinruns").done
    assert whatif_operator.writes == writes
    assert runs.asked("steady") == asked
    assert runs.get("steady")["metadata"]["resourceVersion"] == before


def _wait(condition: Any, timeout_s: float = 120) -> None:
    wait_until(lambda: bool(condition()), timeout_s, "it")
