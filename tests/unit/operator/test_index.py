"""The index of our own kinds as last seen."""

from __future__ import annotations

from typing import Any

import pytest
from kfarm_api.v1alpha1 import GPUFarm, PlacementPlan
from kfarm_operator.index import Index


@pytest.fixture
def index() -> Index:
    return Index()


def farm(scenes: Any, version: int = 1, nodes: int = 4) -> dict[str, Any]:
    body: dict[str, Any] = scenes.farm_body(scenes.cluster_body(nodes=nodes))
    body["metadata"]["resourceVersion"] = str(version)
    return body


def nodes(index: Index) -> int:
    found = index.farm("GPUFarm", "f")
    return found.spec.clusters[0].nodes if found else 0


def test_a_newer_version_replaces(scenes: Any, index: Index) -> None:
    index.put(farm(scenes, 9, 4))
    assert index.put(farm(scenes, 10, 5)) is index.farm("GPUFarm", "f")
    assert nodes(index) == 5


def test_an_older_version_is_ignored_and_the_newer_one_returned(scenes: Any, index: Index) -> None:
    index.put(farm(scenes, 10, 5))
    returned = index.put(farm(scenes, 9, 4))
    assert isinstance(returned, GPUFarm)
    assert returned.spec.clusters[0].nodes == nodes(index) == 5


def test_an_object_that_cannot_be_read_is_forgotten(
    scenes: Any, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    index.put(farm(scenes, 1))
    broken = farm(scenes, 2)
    broken["spec"]["clusters"][0]["nodes"] = "many"
    assert index.put(broken) is None
    assert index.farm("GPUFarm", "f") is None
    assert "spec.clusters.0.nodes" in caplog.text


def test_fields_of_a_newer_version_are_ignored(scenes: Any, index: Index) -> None:
    body = farm(scenes)
    body["spec"]["novelty"] = {"a": 1}
    assert index.put(body) is not None


def test_lookups_by_kind_and_name(scenes: Any, index: Index) -> None:
    index.put(farm(scenes))
    index.put(scenes.profile_body())
    assert index.farm("NPUFarm", "f") is None
    assert index.plan("team", "f") is None
    assert index.policy("f") is None
    assert index.ledger("f") is None
    assert [found.metadata.name for found in index.farms()] == ["f"]
    assert list(index.profiles()) == ["b200"]


def test_plans_are_told_apart_by_namespace(scenes: Any, index: Index) -> None:
    scene = scenes.Scene()
    for namespace in ("a", "b"):
        scene.plan["metadata"]["namespace"] = namespace
        index.put(scene.plan)
    assert index.keep_only(PlacementPlan, {("b", "train")}) == [("a", "train")]
    assert index.plan("a", "train") is None
    assert index.plan("b", "train") is not None


def test_a_list_forgets_only_its_own_kind(scenes: Any, index: Index) -> None:
    index.put(farm(scenes))
    assert index.keep_only(PlacementPlan, set()) == []
    assert index.farm("GPUFarm", "f") is not None
    index.remove(farm(scenes))
    index.remove(farm(scenes))
    assert index.farm("GPUFarm", "f") is None


def test_a_list_that_lags_behind_brings_nothing_back(scenes: Any, index: Index) -> None:
    index.put(farm(scenes, 9))
    index.remove(farm(scenes, 10))
    assert index.put(farm(scenes, 9)) is None
    index.keep_only(GPUFarm, {("", "f")}, 9)
    assert index.put(farm(scenes, 8)) is None
    assert index.farm("GPUFarm", "f") is None
    assert index.put(farm(scenes, 11)) is not None


def test_a_list_that_lags_behind_takes_nothing_away(scenes: Any, index: Index) -> None:
    index.put(farm(scenes, 9))
    assert index.keep_only(GPUFarm, set(), 8) == []
    assert index.farm("GPUFarm", "f") is not None
    assert index.keep_only(GPUFarm, set(), 9) == [("", "f")]


def test_what_is_gone_is_remembered_until_a_list_is_past_it(scenes: Any, index: Index) -> None:
    index.remove(farm(scenes, 10))
    index.keep_only(GPUFarm, set(), 10)
    assert index.put(farm(scenes, 9)) is not None
