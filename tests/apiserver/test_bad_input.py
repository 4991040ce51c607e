"""Bad input gets a condition with reason and remedy, and whoever else is there is served on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kfarm_controlplane.client import KubectlError
from kfarm_operator.farms import reconcile
from kfarm_operator.service import Timing

Body = dict[str, Any]
HUGE = 65_536
MIB = 2**20
LIMIT = 256 * 1024
"""Bytes that all annotations of an object may have."""


@pytest.fixture(scope="module")
def timing() -> Timing:
    """Lists every other moment, so that nothing waits half a minute for one."""
    return Timing(relist_s=2.0)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Re-lists every few seconds, so that nothing waits half a minute for one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconcile, "SELECTOR_RELIST_S", 1.0)
        yield


class Trouble:
    """A farm of the test's own that something is wrong with, beside one that is in order."""

    def __init__(self, world: Any, neighbour: Any) -> None:
        self.world = world
        self.neighbour = neighbour
        self.made: list[str] = []

    def apply(self, name: str, change: Callable[[Body], Any], kind: str = "GPUFarm") -> None:
        """A farm of this name, changed."""
        body: Body = self.world.farm()
        body |= {"kind": kind, "metadata": {"name": name}}
        change(body)
        self.world.cluster.apply(body)
        self.made.append(f"{kind.lower()}/{name}")

    def until(self, name: str, kind: str, reason: str, *words: str, of: str = "gpufarm") -> str:
        """Wait for a condition with a reason; returns its message."""

        def found() -> Body:
            status = self.world.get(of, name).get("status") or {}
            listed = status.get("conditions") or ()
            return next((c for c in listed if c["type"] == kind), {})

        self.world.until(lambda: found().get("reason") == reason, f"{name}: {reason}")
        message = str(found()["message"])
        for word in words:
            assert word in message
        return message

    def others_are_served(self, plan: str) -> None:
        """A new plan of the neighbour is approved, and its farm is as it was."""
        self.neighbour.cluster.apply(self.neighbour.plan(plan, pods=1))
        self.neighbour.until_verdict("Approved", plan)
        self.neighbour.wait_farm()
        self.neighbour.cluster.kubectl(
            "delete", "placementplan", plan, "-n", self.neighbour.namespace
        )

    def clear(self) -> None:
        """Delete what was made."""
        for name in self.made:
            self.world.cluster.kubectl("delete", name, "--ignore-not-found", "--timeout=60s")


@pytest.fixture
def trouble(lone_world: Any, neighbour: Any) -> Iterator[Trouble]:
    lone_world.cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": lone_world.namespace}}
    )
    made = Trouble(lone_world, neighbour)
    yield made
    made.clear()


def test_both_of_two_farms_that_overlap_say_so(trouble: Trouble) -> None:
    world, labels = trouble.world, {"example.com/pool": "both"}
    names = [f"{world.farm_name}-n{i}" for i in range(2)]
    for name in names:
        meta = {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}}
        meta["annotations"] = {"kwok.x-k8s.io/node": "fake"}
        size = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": "8"}
        status = {"capacity": size, "allocatable": size}
        world.cluster.apply(
            {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": status}
        )

    def select(body: Body) -> None:
        source = {"selector": {"matchLabels": labels}}
        body["spec"]["clusters"][0] |= {"nodes": 2, "source": source}

    first, second = f"{world.farm_name}a", f"{world.farm_name}b"
    trouble.apply(first, select)
    trouble.until(first, "Ready", "NodesReady")
    trouble.apply(second, select)
    trouble.until(second, "Ready", "NodesTaken", names[0], "rename the farm")
    trouble.until(first, "Exclusive", "NodesContested", second, names[0], "correct the selector")
    trouble.until(first, "Ready", "NodesReady")
    owners = {world.get("node", n)["metadata"]["labels"]["kfarm.dev/farm"] for n in names}
    assert owners == {first}
    trouble.others_are_served("overlap")
    world.cluster.kubectl("delete", "gpufarm", second, "--timeout=60s")

    def settled() -> bool:
        status = world.get("gpufarm", first)["status"]
        return [c["type"] for c in status["conditions"]] == ["Ready"]

    world.until(settled, "the end of the contest")
    trouble.clear()
    world.cluster.kubectl("delete", "node", *names)


def test_a_profile_that_is_missing(trouble: Trouble) -> None:
    world = trouble.world

    def change(body: Body) -> None:
        body["spec"]["clusters"][0]["accelerator"] = "h100-typo"

    trouble.apply(world.farm_name, change)
    trouble.until(world.farm_name, "Ready", "ProfileNotFound", "h100-typo", "correct the name")
    world.cluster.apply(world.policy(), world.plan("train"))
    trouble.until("train", "Ready", "ProfileNotFound", "h100-typo", of="placementplan")
    trouble.others_are_served("profile")


def test_a_policy_that_is_unknown(trouble: Trouble) -> None:
    world = trouble.world
    trouble.apply(world.farm_name, lambda _: None)
    world.cluster.apply(world.plan("train"))
    trouble.until(
        "train", "Ready", "PolicyNotFound", "apply it or correct spec.policy", of="placementplan"
    )
    trouble.others_are_served("policy")
    world.cluster.apply(world.policy())
    world.until_verdict("Approved")


def test_a_million_nodes_are_not_made(trouble: Trouble) -> None:
    world = trouble.world

    def change(body: Body) -> None:
        plain = body["spec"]["clusters"][0]
        body["spec"]["clusters"] = [{**plain, "name": f"c{i}", "nodes": HUGE} for i in range(16)]

    trouble.apply(world.farm_name, change)
    trouble.until(world.farm_name, "Ready", "FarmTooLarge", "1,048,576", "clusters[].nodes")
    assert not world.cluster.get("nodes", "-l", f"kfarm.dev/farm={world.farm_name}")["items"]
    world.cluster.apply(world.policy(), world.plan("train"))
    trouble.until("train", "Ready", "FarmNotReady", "0 of 1048576", of="placementplan")
    with pytest.raises(KubectlError, match=r"spec.workloads\[0\].pods.*8192"):
        world.cluster.apply(world.plan("million", pods=1_000_000))
    near = trouble.neighbour
    near.cluster.apply(near.plan("many", pods=8192))
    near.until_verdict("Rejected", "many")
    assert "nodes" in near.status("many")["message"]
    near.cluster.kubectl("delete", "placementplan", "many", "-n", near.namespace)
    trouble.others_are_served("million")


def test_objects_as_large_as_can_be(trouble: Trouble) -> None:
    world = trouble.world
    body: Body = world.farm(nodes=2)
    body["metadata"]["annotations"] = {"example.com/note": "가" * (LIMIT // 3 - 20)}
    world.cluster.apply(body)
    trouble.made.append(f"gpufarm/{world.farm_name}")
    trouble.until(world.farm_name, "Ready", "NodesReady")
    body["spec"]["consortium"] = [{"name": "x", "role": "y" * int(1.5 * MIB)}]
    with pytest.raises(KubectlError, match=r"Too long|too long|may not be more than 256"):
        world.cluster.apply(body)
    body["metadata"]["annotations"] = {"example.com/note": "x" * int(1.5 * MIB)}
    body["spec"].pop("consortium")
    with pytest.raises(KubectlError, match=r"Too long|too large"):
        world.cluster.apply(body)
    plan = world.plan("train")
    plan["spec"]["unknown"] = "x" * int(1.5 * MIB)
    with pytest.raises(KubectlError, match=r"unknown|too large"):
        world.cluster.apply(plan)
    trouble.others_are_served("large")
    trouble.until(world.farm_name, "Ready", "NodesReady")


def test_korean_names_are_kept_where_people_read_them(trouble: Trouble) -> None:
    world = trouble.world
    consortium = [
        {"name": "한국정보화진흥원", "role": "주관기관"},
        {"name": "㈜케이팜", "role": "운영"},
    ]

    def change(body: Body) -> None:
        body["spec"] |= {"site": {"name": "광주 첨단 3지구 🇰🇷"}, "consortium": consortium}

    trouble.apply(world.farm_name, change)
    trouble.until(world.farm_name, "Ready", "NodesReady")
    kept = world.get("gpufarm", world.farm_name)["spec"]
    assert (kept["site"]["name"], kept["consortium"]) == ("광주 첨단 3지구 🇰🇷", consortium)
    world.cluster.apply(world.policy(), world.plan("train"))
    world.until_verdict("Approved")
    body: Body = world.farm()
    body["metadata"]["name"] = "광주"
    with pytest.raises(KubectlError, match="RFC 1123"):
        world.cluster.apply(body)
    trouble.others_are_served("korean")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("shares", [{"name": "a", "guaranteed": 1}] * 2, "duplicate|different names"),
        ("shares", [{"name": "정부", "guaranteed": 1}], r"spec.shares\[0\].name"),
        ("shares", [{"name": "a", "guaranteed": 1, "lendingLimit": 2}], "lends no more"),
        ("kueue", {"furtherResources": ["cpu"]}, "covered already"),
    ],
)
def test_shares_that_cannot_be_are_refused(
    trouble: Trouble, field: str, value: object, words: str
) -> None:
    body: Body = trouble.world.farm()
    body["spec"][field] = value
    with pytest.raises(KubectlError, match=words):
        trouble.world.cluster.kubectl("create", "-f", "-", input=json.dumps(body))


def test_shares_beyond_the_farm_without_kueue(trouble: Trouble) -> None:
    world = trouble.world

    def change(body: Body) -> None:
        body["spec"]["shares"] = [{"name": "a", "guaranteed": 9_999_999}]

    trouble.apply(world.farm_name, change)
    trouble.until(world.farm_name, "Queues", "KueueNotInstalled", "install Kueue")
    trouble.until(world.farm_name, "Ready", "NodesReady")
    trouble.others_are_served("shares")
