"""The what-if operator absent, doubled, killed and started again: nothing lost, nothing twice.

No other operator runs in this module: it would finish what a test interrupts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.inprocess import InProcessOperator
from kfarm_controlplane.installation import Operator
from kfarm_controlplane.mortal import MortalClient


def test_a_restart_plays_nothing_again(lone_runs: Any) -> None:
    with lone_runs.operate():
        lone_runs.cluster.apply(lone_runs.trace(), lone_runs.run("restarted"))
        lone_runs.until("restarted", "Completed")
    before, asked = lone_runs.get("restarted"), lone_runs.asked("restarted")
    with lone_runs.operate() as second:
        service = second.service
        assert service is not None
        _wait(lambda: service.queue("twinruns").done > 0)
    assert lone_runs.get("restarted")["metadata"] == before["metadata"]
    assert lone_runs.asked("restarted") == asked
    assert len(lone_runs.results()) == 1


def test_a_result_whose_status_was_lost_is_not_played_again(lone_runs: Any) -> None:
    """The artifact is created first; a kill before the status is written costs nothing."""
    with lone_runs.operate():
        lone_runs.cluster.apply(lone_runs.trace(), lone_runs.run("lost"))
        lone_runs.until("lost", "Completed")
    asked = lone_runs.asked("lost")
    patch = '{"status": null}'
    lone_runs.cluster.kubectl(
        "patch", "twinrun", "lost", "-n", lone_runs.namespace, "--subresource=status",
        "--type=merge", "-p", patch,
    )  # fmt: skip
    with lone_runs.operate():
        lone_runs.until("lost", "Completed")
    assert lone_runs.asked("lost") == asked
    assert len(lone_runs.results()) == 1


def test_a_foreign_config_map_under_the_name_is_left_alone(lone_runs: Any) -> None:
    with lone_runs.operate():
        lone_runs.cluster.apply(lone_runs.trace(), lone_runs.run("taken"))
        name = lone_runs.until("taken", "Completed")["artifact"]["configMap"]
    lone_runs.cluster.kubectl("delete", "twinrun", "taken", "-n", lone_runs.namespace)
    _wait(lambda: lone_runs.results() == [])
    lone_runs.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": lone_runs.namespace},
            "data": {"mine": "yes"},
        }
    )
    with lone_runs.operate():
        lone_runs.cluster.apply(lone_runs.run("taken"))
        status = lone_runs.until("taken", "ArtifactNameTaken")
    assert name in status["message"]
    assert lone_runs.get(name, "configmap")["data"] == {"mine": "yes"}


def test_two_replicas_are_harmless(lone_runs: Any) -> None:
    with lone_runs.operate(), lone_runs.operate():
        lone_runs.cluster.apply(lone_runs.trace(), lone_runs.run("doubled"))
        lone_runs.until("doubled", "Completed")
        assert len(lone_runs.results()) == 1
        assert lone_runs.result("doubled")["seed"] == 5


WRITES = 4
"""Status Running, the artifact, status Completed, its Event."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, WRITES + 1))
def test_a_crash_at_any_write_changes_nothing_in_the_end(
    lone_runs: Any, write: int, after: bool
) -> None:
    """The first operator can write no more from one write on; a second one takes over."""
    lone_runs.cluster.apply(lone_runs.trace(), lone_runs.run("mortal"))
    MortalClient.left, MortalClient.after = write, after
    with InProcessOperator(
        lone_runs.installation, lone_runs.twin, "whatif", MortalClient.connect, lone_runs.player
    ):
        _wait(lambda: MortalClient.left <= 0)
    with lone_runs.operate():
        status = lone_runs.until("mortal", "Completed")
    (body,) = lone_runs.results()
    assert body["metadata"]["name"] == status["artifact"]["configMap"]
    assert lone_runs.result("mortal")["inputsDigest"] == status["inputsDigest"]


def test_the_real_process_plays_in_a_fork_and_a_kill_is_made_good(
    lone_runs: Any, tmp_path: Path
) -> None:
    """The operator of the role ``whatif`` with its own account alone, killed and started again."""
    lone_runs.cluster.apply(lone_runs.trace(), lone_runs.run("process"))
    with Operator(lone_runs.installation, tmp_path / "first.log", role="whatif") as operator:
        operator.kill()
    with Operator(lone_runs.installation, tmp_path / "second.log", role="whatif") as operator:
        lone_runs.until("process", "Completed", 90)
        maps = Path(f"/proc/{operator.pid}/maps").read_text()
        assert operator.probe("healthz")
    assert "numba" not in maps
    assert "libarrow" not in maps
    assert "_multiarray_umath" not in maps
    assert len(lone_runs.results()) == 1


def _wait(condition: Any, timeout_s: float = 120) -> None:
    wait_until(lambda: bool(condition()), timeout_s, "it")
