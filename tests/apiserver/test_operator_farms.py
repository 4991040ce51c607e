"""Farms on a real API server: Nodes are made, kept, adopted, and all of it is taken back."""

from __future__ import annotations

from typing import Any

from kfarm_controlplane.client import Cluster

SELECTOR = {"example.com/pool": "a"}


def _nodes(cluster: Cluster, farm: str) -> dict[str, dict[str, Any]]:
    listed = cluster.get("nodes", "-l", f"kfarm.dev/farm={farm}")["items"]
    return {str(node["metadata"]["name"]): node for node in listed}


def _ready(world: Any) -> dict[str, Any]:
    status = world.get("gpufarm", world.farm_name).get("status") or {}
    return next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})


def test_simulated_nodes_stand_where_the_farm_says(world: Any) -> None:
    nodes = _nodes(world.cluster, world.farm_name)
    assert sorted(nodes) == [f"{world.farm_name}-c-{i:04d}" for i in range(8)]
    last = nodes[f"{world.farm_name}-c-0007"]
    labels = last["metadata"]["labels"]
    assert labels["kfarm.dev/rack"] == f"{world.farm_name}-c-r0001"
    assert labels["kfarm.dev/scalable-unit"] == f"{world.farm_name}-c-su00"
    assert last["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert any(taint["key"] == "kfarm.dev/farm" for taint in last["spec"]["taints"])
    status = world.get("gpufarm", world.farm_name)["status"]
    assert (status["nodes"], status["readyNodes"], status["accelerators"]) == (8, 8, 64)


def test_a_farm_grows_and_shrinks(world: Any) -> None:
    world.cluster.apply(world.farm(nodes=12))
    world.until(lambda: len(_nodes(world.cluster, world.farm_name)) == 12)
    world.cluster.apply(world.farm(nodes=4))
    world.until(lambda: len(_nodes(world.cluster, world.farm_name)) == 4)
    world.wait_farm()
    assert world.get("gpufarm", world.farm_name)["status"]["nodes"] == 4


def test_what_was_altered_or_deleted_comes_back(world: Any) -> None:
    name = f"{world.farm_name}-c-0003"
    world.cluster.kubectl("label", "node", name, "kfarm.dev/rack-", "--overwrite")
    world.cluster.kubectl("delete", "node", f"{world.farm_name}-c-0005", "--wait=false")
    world.until(lambda: len(_nodes(world.cluster, world.farm_name)) == 8)
    world.until(
        lambda: (
            "kfarm.dev/rack" in _nodes(world.cluster, world.farm_name)[name]["metadata"]["labels"]
        )
    )


def test_nothing_is_written_in_steady_state(world: Any) -> None:
    world.until(lambda: world.get("gpufarm", world.farm_name)["status"]["readyNodes"] == 8)
    writes, reconciles = world.operator.writes, world.operator.reconciles
    world.cluster.kubectl("annotate", "gpufarm", world.farm_name, "touched=true")
    world.cluster.kubectl("annotate", "node", f"{world.farm_name}-c-0000", "touched=true")
    world.until(lambda: world.operator.reconciles > reconciles)
    assert world.operator.writes == writes


def test_deletion_takes_back_what_was_made(world: Any) -> None:
    world.cluster.kubectl("delete", "gpufarm", world.farm_name, "--timeout=60s")
    assert _nodes(world.cluster, world.farm_name) == {}


def test_a_missing_profile_is_named_with_a_remedy(world: Any) -> None:
    farm = world.farm()
    farm["spec"]["clusters"][0]["accelerator"] = "b999"
    world.cluster.apply(farm)
    world.until(lambda: _ready(world).get("reason") == "ProfileNotFound")
    message = _ready(world)["message"]
    assert "b999" in message
    assert "examples/catalogue" in message


def test_a_node_of_another_farm_is_left_alone(world: Any) -> None:
    """Two kinds of farm with one name would make Nodes of one name."""
    other = {**world.farm(), "kind": "NPUFarm"}
    world.cluster.apply(other)
    name = world.farm_name

    def refused() -> bool:
        status = world.cluster.get("npufarm", name).get("status") or {}
        reasons = [c["reason"] for c in status.get("conditions", ())]
        return "NodesTaken" in reasons

    world.until(refused)
    owners = {
        n["metadata"]["labels"]["kfarm.dev/farm-kind"] for n in _nodes(world.cluster, name).values()
    }
    assert owners == {"GPUFarm"}
    world.cluster.kubectl("delete", "npufarm", name, "--timeout=60s")
    assert len(_nodes(world.cluster, name)) == 8


def test_real_nodes_are_labelled_and_given_back(world: Any) -> None:
    names = [f"{world.farm_name}-real-{i}" for i in range(4)]
    for name in names:
        world.cluster.apply(_real_node(name))
    before = {name: world.get("node", name)["metadata"]["labels"] for name in names}
    world.cluster.apply(world.farm(nodes=4, source={"selector": {"matchLabels": SELECTOR}}))
    world.until(lambda: sorted(_nodes(world.cluster, world.farm_name)) == names)
    world.wait_farm()
    nodes = _nodes(world.cluster, world.farm_name).values()
    assert {n["metadata"]["labels"]["kfarm.dev/node-index"] for n in nodes} == set("0123")
    world.cluster.kubectl("delete", "gpufarm", world.farm_name, "--timeout=60s")
    for name in names:
        node = world.get("node", name)
        assert node["metadata"]["labels"] == before[name]
        assert [t["key"] for t in node["spec"].get("taints", ())] == ["example.com/kept"]


def _real_node(name: str) -> dict[str, Any]:
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": "8"}
    labels = {"kubernetes.io/hostname": name, **SELECTOR}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [{"key": "example.com/kept", "effect": "PreferNoSchedule"}]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def test_profiles_and_policies_say_whether_they_are_of_use(world: Any) -> None:
    def reason(kind: str, name: str) -> str:
        status = world.cluster.get(kind, name).get("status") or {}
        return str([c["reason"] for c in status.get("conditions", ())])

    world.until(lambda: "Accepted" in reason("acceleratorprofile", "b200"))
    world.until(lambda: "Accepted" in reason("validationpolicy", world.farm_name))
    policy = world.policy()
    policy["spec"]["checks"][0] |= {"quantile": 99, "confidence": 99}
    world.cluster.apply(policy)
    world.until(lambda: "TooFewFutures" in reason("validationpolicy", world.farm_name))
