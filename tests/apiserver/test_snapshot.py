"""``kfarm snapshot`` on a cluster: the verdict of the operator comes out again from files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_operator.snapshot import export

ROOT = Path(__file__).resolve().parents[2]


def _kfarm(*arguments: str) -> str:
    command = [sys.executable, "-m", "kfarm_twin.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def _again(world: Any, folder: Path, *manifests: dict[str, Any], plan: str) -> dict[str, Any]:
    """The verdict on a plan from its manifests and a snapshot, on no cluster."""
    files, state = folder / "manifests.yaml", folder / f"{plan}.snapshot.yaml"
    files.write_text(yaml.safe_dump_all(manifests, allow_unicode=True), encoding="utf-8")
    name = f"{world.namespace}/{plan}"
    _kfarm("snapshot", "--kubeconfig", str(world.installation.gate), "--plan", name,
           "--write", str(state))  # fmt: skip
    catalogue = str(ROOT / "examples/catalogue")
    text = _kfarm("validate", "-f", str(files), "-f", catalogue, "--plan", name,
                  "--snapshot", str(state), "--output", "json")  # fmt: skip
    (verdict,) = json.loads(text)["results"]
    return dict(verdict)


def test_an_approval_comes_out_again(world: Any, tmp_path: Path) -> None:
    plan = world.plan(pods=4)
    world.cluster.apply(plan)
    status = world.until_verdict("Approved")
    verdict = _again(world, tmp_path, world.farm(), world.policy(), plan, plan="train")
    assert verdict["inputsDigest"] == status["inputsDigest"]
    assert verdict["verdict"] == "Approved"
    again = sorted(slot["node"] for p in verdict["placements"] for slot in p["slots"])
    assert again == world.validated()


def test_a_verdict_beside_others_comes_out_again(world: Any, tmp_path: Path) -> None:
    """With pods of another plan, a claim that nobody uses yet, and a node that is down."""
    lost = f"{world.farm_name}-c-0007"
    world.cluster.fail_node(lost)
    world.until(lambda: _condition(world.get("node", lost)) != "True")
    world.cluster.apply(world.plan("runs", pods=3), world.job("runs", pods=3))
    world.until(lambda: len(world.bound("runs")) == 3)
    world.cluster.apply(world.plan("claims", pods=2))
    world.until_verdict("Approved", "claims")
    plan = world.plan(pods=3)
    world.cluster.apply(plan)
    status = world.until_verdict("Rejected")
    verdict = _again(world, tmp_path, world.farm(), world.policy(), plan, plan="train")
    assert verdict["inputsDigest"] == status["inputsDigest"]
    assert (verdict["verdict"], verdict["reason"]) == ("Rejected", "Unplaceable")
    state = export(world.installation.gate, None, f"{world.namespace}/train")
    used = [node["name"] for node in state["nodes"] if node["used"]]
    assert sorted(used) == sorted(world.bound("runs") + world.validated("claims"))
    assert [node["name"] for node in state["nodes"] if not node["ready"]] == [lost]


def test_a_later_epoch_comes_out_again(world: Any, tmp_path: Path) -> None:
    """A plan is edited: the verdict on the new generation is of epoch 1, with no survivors."""
    world.cluster.apply(world.plan(pods=2))
    world.until_verdict("Approved", epoch=0)
    plan = world.plan(pods=3)
    world.cluster.apply(plan)
    status = world.until_verdict("Approved", epoch=1)
    verdict = _again(world, tmp_path, world.farm(), world.policy(), plan, plan="train")
    assert verdict["inputsDigest"] == status["inputsDigest"]


def test_running_pods_are_survivors_on_free_nodes(world: Any) -> None:
    world.cluster.apply(world.plan(pods=2), world.job(pods=2))
    world.until(lambda: world.status().get("bound") == 2)
    state = export(world.installation.gate, None, f"{world.namespace}/train")
    assert state["epoch"] == 0
    assert sorted(survivor["node"] for survivor in state["survivors"]) == world.bound()
    assert {node["used"] for node in state["nodes"]} == {0}
    asked = world.asked[-1].snapshot
    assert state["nodes"] == [node.as_manifest() for node in asked.nodes]


def test_without_a_plan_all_farms_as_a_newcomer_sees_them(world: Any) -> None:
    world.cluster.apply(world.plan(pods=2), world.job(pods=2), world.plan("claims", pods=1))
    world.until(lambda: len(world.bound()) == 2)
    world.until_verdict("Approved", "claims")
    state = export(world.installation.gate, None, None)
    assert (state["survivors"], state["epoch"]) == ([], 0)
    farms = world.cluster.get("gpufarms")["items"]
    assert {node["farm"] for node in state["nodes"]} == {f["metadata"]["name"] for f in farms}
    mine = [node for node in state["nodes"] if node["farm"] == world.farm_name]
    assert len(mine) == 8
    used = {node["name"]: node["used"] for node in mine if node["used"]}
    assert used == dict.fromkeys(world.bound() + world.validated("claims"), 8)


def test_what_is_not_there_is_named(world: Any) -> None:
    gate = world.installation.gate
    plan = world.plan(pods=1)
    plan["spec"]["farms"] = [{"kind": "NPUFarm", "name": "absent"}]
    world.cluster.apply(plan)
    world.until(lambda: world.status().get("conditions"))
    with pytest.raises(LookupError, match="no NPUFarm named 'absent'"):
        export(gate, None, f"{world.namespace}/train")
    with pytest.raises(LookupError, match=f"there: .*{world.namespace}/train"):
        export(gate, None, f"{world.namespace}/other")
    with pytest.raises(ValueError, match="namespace/name"):
        export(gate, None, "train")
    with pytest.raises(OSError, match="--kubeconfig"):
        export(gate, "no-such-context", None)
    stranger = world.cluster.kubeconfig_for("stranger")
    with pytest.raises(OSError, match="forbidden"):
        export(stranger, None, None)


def _condition(node: dict[str, Any]) -> str | None:
    conditions = node["status"].get("conditions") or ()
    return next((str(c["status"]) for c in conditions if c["type"] == "Ready"), None)
