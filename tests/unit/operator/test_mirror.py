"""Lists that lag behind: what is known to be newer stays; all else follows the list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfarm_operator.client import PODS, KubeClient, Resource
from kfarm_operator.mirror import Mirror
from kubernetes import client as k8s

Body = dict[str, Any]


class Listing(KubeClient):
    """Answers lists with what a test puts here; nothing is asked over the network."""

    def __init__(self) -> None:
        super().__init__(k8s.Configuration())
        self.version = 0
        self.there: list[Body] = []

    def pages(self, resource: Resource, **query: Any) -> Iterator[Body]:
        """One page."""
        del resource, query
        yield {"metadata": {"resourceVersion": str(self.version)}, "items": self.there}


def pod(name: str, version: int) -> Body:
    return {"metadata": {"namespace": "team", "name": name, "resourceVersion": str(version)}}


def made() -> tuple[Listing, Mirror[Body], list[tuple[Any, Any]]]:
    client, told = Listing(), list[tuple[Any, Any]]()
    mirror = Mirror[Body](client, PODS, dict, lambda *change: told.append(change))
    return client, mirror, told


def names(mirror: Mirror[Body]) -> list[str]:
    return sorted(view["metadata"]["name"] for view in mirror.values())


def test_a_list_takes_away_what_it_does_not_have() -> None:
    client, mirror, told = made()
    client.version, client.there = 10, [pod("a", 3), pod("b", 10)]
    mirror._list()
    client.version, client.there = 11, [pod("a", 3)]
    mirror._list()
    assert names(mirror) == ["a"]
    assert told[-1] == (pod("b", 10), None)


def test_a_list_that_lags_behind_takes_nothing_newer_away() -> None:
    client, mirror, told = made()
    client.version, client.there = 10, [pod("a", 3)]
    mirror._list()
    mirror.put(pod("new", 12))
    told.clear()
    mirror._list()
    assert names(mirror) == ["a", "new"]
    assert told == []
    client.version, client.there = 12, [pod("a", 3)]
    mirror._list()
    assert names(mirror) == ["a"]


def test_a_list_that_lags_behind_brings_nothing_deleted_back() -> None:
    client, mirror, told = made()
    client.version, client.there = 10, [pod("a", 3)]
    mirror._list()
    mirror._remove(("team", "a"), 12)
    told.clear()
    for _ in range(2):
        mirror._list()
    assert names(mirror) == []
    assert told == []
    client.version, client.there = 14, [pod("a", 13)]
    mirror._list()
    assert names(mirror) == ["a"]
