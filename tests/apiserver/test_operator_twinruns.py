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
from kfarm_controlplane.installation import Installation, Operator
from kfarm_controlplane.mortal import MortalClient
from kfarm_operator.runner import TwinFailed

Body = dict[str, Any]
JOBS = "\n".join(
    f"{n} {n * 60} -1 {600 + 37 * (n % 11)} {1 + n % 4} -1 -1 {1 + n % 4} 1800 "
    "-1 1 1 1 -1 1 -1 -1 -1"
    for n in range(1, 241)
)
TRACE = f"; a small trace\n{JOBS}\n"


class Runs:
    """A namespace with a trace, and TwinRuns in it."""

    def __init__(
        self, installation: Installation, twin: HeldTwin, player: HeldPlayer, namespace: str
    ) -> None:
        self.installation = installation
        self.twin = twin
        self.cluster = installation.cluster
        self.player = player
        self.namespace = namespace

    def asked(self, name: str) -> int:
        """Replicas asked for of a run."""
        return sum(request.name == name for request, _ in self.player.asked)

    def trace(self, text: str = TRACE, name: str = "week", *, binary: bool = False) -> Body:
        body: Body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.namespace},
        }
        if binary:
            raw = gzip.compress(text.encode(), mtime=0)
            return {**body, "binaryData": {"trace.swf": base64.b64encode(raw).decode()}}
        return {**body, "data": {"trace.swf": text}}

    def run(self, name: str, **spec: Any) -> Body:
        return {
            "apiVersion": "kfarm.dev/v1alpha1",
            "kind": "TwinRun",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "shape": {"nodes": 6, "acceleratorsPerNode": 8},
                "workload": {
                    "trace": {
                        "configMap": {"name": "week", "key": "trace.swf"},
                        "format": "SWF",
                        "block": "30m",
                    }
                },
                "policies": [{"name": "fifo"}, {"name": "easy", "backfill": "Easy"}],
                "replicas": 3,
                "seed": 5,
                **spec,
            },
        }

    def get(self, name: str, kind: str = "twinrun") -> Body:
        text = self.cluster.kubectl(
            "get", kind, name, "-n", self.namespace, "-o", "json", "--ignore-not-found"
        )
        return dict(json.loads(text)) if text.strip() else {}

    def ready(self, name: str) -> Body:
        """The condition Ready as of the run's present generation, or nothing."""
        body = self.get(name)
        status = body.get("status") or {}
        if not body or status.get("observedGeneration") != body["metadata"]["generation"]:
            return {}
        return next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})

    def until(self, name: str, reason: str, timeout_s: float = 45) -> Body:
        """Wait until Ready has a reason, and return the status."""
        wait_until(lambda: self.ready(name).get("reason") == reason, timeout_s, f"{name}: {reason}")
        return dict(self.get(name)["status"])

    def results(self) -> list[Body]:
        """All result ConfigMaps of the namespace."""
        listed = self.cluster.get(
            "configmaps", "-n", self.namespace, "-l", "kfarm.dev/twin-run=true"
        )
        return list(listed["items"])

    def result(self, name: str) -> Body:
        """The result that a run's status names, unpacked."""
        artifact = self.get(name)["status"]["artifact"]
        body = self.get(artifact["configMap"], "configmap")
        raw = base64.b64decode(body["binaryData"][artifact["key"]])
        assert len(raw) == artifact["bytes"]
        return dict(json.loads(gzip.decompress(raw)))

    def operate(self) -> InProcessOperator:
        """An operator that plays what-ifs only."""
        return InProcessOperator(self.installation, self.twin, role="whatif", player=self.player)


@pytest.fixture(scope="module")
def player() -> HeldPlayer:
    return HeldPlayer()


@pytest.fixture(scope="module")
def whatif_operator(
    installation: Installation, held_twin: HeldTwin, player: HeldPlayer
) -> Iterator[InProcessOperator]:
    with InProcessOperator(installation, held_twin, role="whatif", player=player) as running:
        yield running


@pytest.fixture
def lone(
    installation: Installation, held_twin: HeldTwin, player: HeldPlayer, namespace: str
) -> Iterator[Runs]:
    """A namespace of the test's own; no operator runs."""
    yield Runs(installation, held_twin, player, namespace)
    player.before = lambda *_: None
    player.door.set()


@pytest.fixture
def runs(lone: Runs, whatif_operator: InProcessOperator) -> Runs:
    """A namespace of the test's own, with the operator at work."""
    assert whatif_operator.service is not None
    return lone


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
    runs: Runs, tmp_path: Path, binary: bool
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


def test_a_farm_is_played_as_it_is_described(runs: Runs, tmp_path: Path) -> None:
    cluster = {
        "name": "c",
        "accelerator": "b200",
        "nodes": 7,
        "spares": 1,
        "acceleratorsPerNode": 8,
        "rack": {"nodes": 2},
        "cooling": {"type": "Air", "supplyTemperature": 22},
        "reliability": {"reference": "llama3-h100"},
        "source": {"simulated": {}},
    }
    farm = {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "GPUFarm",
        "metadata": {"name": "whatif-farm"},
        "spec": {"site": {"name": "광주"}, "clusters": [cluster]},
    }
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


def test_a_generator_needs_no_config_map(runs: Runs, tmp_path: Path) -> None:
    generator = {"generator": {"mix": "farm-week", "jobs": 300, "load": 90}}
    shape = {"nodes": 160, "acceleratorsPerNode": 8}
    run = runs.run("generated", workload=generator, shape=shape)
    runs.cluster.apply(run)
    runs.until("generated", "Completed")
    assert runs.result("generated") == compared(tmp_path, run)


@pytest.mark.parametrize(
    ("reason", "text", "said"),
    [
        ("ConfigMapNotFound", None, "kubectl create configmap week --from-file=trace.swf"),
        ("KeyNotFound", "", "it has other.swf"),
        ("BadInput", TRACE.replace("5 300 -1", "5 soon -1"), "trace.swf, line 6"),
        ("BadInput", "", "trace.swf"),
    ],
)
def test_bad_inputs_say_what_to_do(runs: Runs, reason: str, text: str | None, said: str) -> None:
    if text is not None:
        trace = runs.trace(text)
        if reason == "KeyNotFound":
            trace["data"] = {"other.swf": TRACE}
        runs.cluster.apply(trace)
    runs.cluster.apply(runs.run("bad"))
    status = runs.until("bad", reason)
    assert said in status["message"]
    assert runs.ready("bad")["status"] == "False"
    assert runs.results() == []
    if reason == "ConfigMapNotFound":
        runs.cluster.apply(runs.trace())
        runs.until("bad", "Completed", 60)


def test_an_edit_in_the_middle_plays_the_new_inputs(runs: Runs) -> None:
    runs.player.door.clear()
    runs.cluster.apply(runs.trace(), runs.run("edited"))
    runs.until("edited", "Running")
    runs.cluster.apply(runs.run("edited", seed=6))
    _wait(lambda: any(r.spec.seed == 6 for r, _ in runs.player.asked if r.name == "edited"))
    runs.player.door.set()
    runs.until("edited", "Completed")
    assert runs.result("edited")["seed"] == 6
    assert len(runs.results()) == 1


def test_an_edit_afterwards_replaces_the_artifact(runs: Runs) -> None:
    runs.cluster.apply(runs.trace(), runs.run("again"))
    first = runs.until("again", "Completed")["artifact"]["configMap"]
    runs.cluster.apply(runs.run("again", seed=6))
    second = runs.until("again", "Completed")["artifact"]["configMap"]
    assert first != second
    assert [body["metadata"]["name"] for body in runs.results()] == [second]


def test_a_deletion_in_the_middle_leaves_nothing(runs: Runs) -> None:
    runs.player.door.clear()
    runs.cluster.apply(runs.trace(), runs.run("gone"))
    runs.until("gone", "Running")
    runs.cluster.kubectl("delete", "twinrun", "gone", "-n", runs.namespace)
    runs.player.door.set()
    runs.cluster.apply(runs.run("other"))
    runs.until("other", "Completed")
    owners = {body["metadata"]["ownerReferences"][0]["name"] for body in runs.results()}
    assert owners == {"other"}


def test_a_deletion_afterwards_takes_the_artifact_along(runs: Runs) -> None:
    runs.cluster.apply(runs.trace(), runs.run("kept"))
    runs.until("kept", "Completed")
    assert len(runs.results()) == 1
    runs.cluster.kubectl("delete", "twinrun", "kept", "-n", runs.namespace)
    _wait(lambda: runs.results() == [])


def test_a_suspended_run_waits(runs: Runs) -> None:
    runs.cluster.apply(runs.trace(), runs.run("later", suspend=True))
    runs.until("later", "Suspended")
    assert runs.asked("later") == 0
    runs.cluster.apply(runs.run("later"))
    runs.until("later", "Completed")


def test_a_crash_is_tried_again_but_not_for_ever(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
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


def test_steady_state_writes_nothing(runs: Runs, whatif_operator: InProcessOperator) -> None:
    runs.cluster.apply(runs.trace(), runs.run("steady"))
    runs.until("steady", "Completed")
    before = runs.get("steady")["metadata"]["resourceVersion"]
    service = whatif_operator.service
    assert service is not None
    writes, done, asked = whatif_operator.writes, service.run_queue.done, runs.asked("steady")
    for _ in range(3):
        service.run_queue.add_threadsafe((runs.namespace, "steady"))
        _wait(lambda done=done: service.run_queue.done > done)  # type: ignore[misc]
        done = service.run_queue.done
    assert whatif_operator.writes == writes
    assert runs.asked("steady") == asked
    assert runs.get("steady")["metadata"]["resourceVersion"] == before


def test_a_restart_plays_nothing_again(lone: Runs) -> None:
    with lone.operate():
        lone.cluster.apply(lone.trace(), lone.run("restarted"))
        lone.until("restarted", "Completed")
    before, asked = lone.get("restarted"), lone.asked("restarted")
    with lone.operate() as second:
        service = second.service
        assert service is not None
        _wait(lambda: service.run_queue.done > 0)
    assert lone.get("restarted")["metadata"] == before["metadata"]
    assert lone.asked("restarted") == asked
    assert len(lone.results()) == 1


def test_a_result_whose_status_was_lost_is_not_played_again(lone: Runs) -> None:
    """The artifact is created first; a kill before the status is written costs nothing."""
    with lone.operate():
        lone.cluster.apply(lone.trace(), lone.run("lost"))
        lone.until("lost", "Completed")
    asked = lone.asked("lost")
    patch = '{"status": null}'
    lone.cluster.kubectl(
        "patch", "twinrun", "lost", "-n", lone.namespace, "--subresource=status",
        "--type=merge", "-p", patch,
    )  # fmt: skip
    with lone.operate():
        lone.until("lost", "Completed")
    assert lone.asked("lost") == asked
    assert len(lone.results()) == 1


def test_a_foreign_config_map_under_the_name_is_left_alone(lone: Runs) -> None:
    with lone.operate():
        lone.cluster.apply(lone.trace(), lone.run("taken"))
        name = lone.until("taken", "Completed")["artifact"]["configMap"]
    lone.cluster.kubectl("delete", "twinrun", "taken", "-n", lone.namespace)
    _wait(lambda: lone.results() == [])
    lone.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": lone.namespace},
            "data": {"mine": "yes"},
        }
    )
    with lone.operate():
        lone.cluster.apply(lone.run("taken"))
        status = lone.until("taken", "ArtifactNameTaken")
    assert name in status["message"]
    assert lone.get(name, "configmap")["data"] == {"mine": "yes"}


def test_two_replicas_are_harmless(lone: Runs) -> None:
    with lone.operate(), lone.operate():
        lone.cluster.apply(lone.trace(), lone.run("doubled"))
        lone.until("doubled", "Completed")
        assert len(lone.results()) == 1
        assert lone.result("doubled")["seed"] == 5


WRITES = 5
"""Status Running, its Event, the artifact, status Completed, its Event."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, WRITES + 1))
def test_a_crash_at_any_write_changes_nothing_in_the_end(
    lone: Runs, write: int, after: bool
) -> None:
    """The first operator can write no more from one write on; a second one takes over."""
    lone.cluster.apply(lone.trace(), lone.run("mortal"))
    MortalClient.left, MortalClient.after = write, after
    with InProcessOperator(
        lone.installation, lone.twin, "whatif", MortalClient.connect, lone.player
    ):
        _wait(lambda: MortalClient.left <= 0)
    with lone.operate():
        status = lone.until("mortal", "Completed")
    (body,) = lone.results()
    assert body["metadata"]["name"] == status["artifact"]["configMap"]
    assert lone.result("mortal")["inputsDigest"] == status["inputsDigest"]


def test_the_real_process_plays_in_a_fork_and_a_kill_is_made_good(
    lone: Runs, tmp_path: Path
) -> None:
    """The operator of the role ``whatif`` with its own account alone, killed and started again."""
    lone.cluster.apply(lone.trace(), lone.run("process"))
    with Operator(lone.installation, tmp_path / "first.log", role="whatif") as operator:
        operator.kill()
    with Operator(lone.installation, tmp_path / "second.log", role="whatif") as operator:
        lone.until("process", "Completed", 90)
        maps = Path(f"/proc/{operator.pid}/maps").read_text()
        assert operator.probe("healthz")
    assert "numba" not in maps
    assert "libarrow" not in maps
    assert "_multiarray_umath" not in maps
    assert len(lone.results()) == 1


def _wait(condition: Any, timeout_s: float = 45) -> None:
    wait_until(lambda: bool(condition()), timeout_s, "it")
