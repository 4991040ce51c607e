"""Objects of Kueue that a farm asks for, how quota is spread, what happens to what is there."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfarm_api.queues import Share
from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm, NPUFarm
from kfarm_operator.queues.decide import QueueDecision, covers, decide, decide_deletion, kueue_view
from kfarm_operator.queues.manifests import levels, objects_of
from kfarm_operator.queues.quota import Flavor, borrowed, lent, preference, spread
from kfarm_operator.queues.status import QueueState, queues_condition
from kfarm_twin.load import load_files

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples/farms").glob("*.yaml"))
Body = dict[str, Any]
FABRIC = {"topology": "FatTree", "nodesPerScalableUnit": 8}


class Estate:
    """Kueue's objects of a pretend cluster, changed as decisions say."""

    def __init__(self, scenes: Any, *clusters: Body, shares: Any = (), **kueue: Any) -> None:
        self.scenes = scenes
        self.farm: Body = scenes.farm_body(*clusters)
        self.farm["spec"]["shares"] = list(shares)
        if kueue:
            self.farm["spec"]["kueue"] = kueue
        bodies = (scenes.profile_body(), scenes.profile_body("rngd", "furiosa.ai/rngd"))
        self.profiles = {
            body["metadata"]["name"]: AcceleratorProfile.model_validate(body) for body in bodies
        }
        self.bodies: dict[tuple[str, str], Body] = {}

    def parsed(self) -> GPUFarm:
        return GPUFarm.model_validate(self.farm)

    def decide(self) -> QueueDecision:
        views = {key: kueue_view(key[0], body) for key, body in self.bodies.items()}
        return decide(self.parsed(), self.profiles, views)

    def add(self, kind: str, name: str, spec: Body | None = None) -> Body:
        """An object that somebody else made."""
        meta = {"name": name, "uid": name, "resourceVersion": "1"}
        body = {"kind": kind, "metadata": meta, "spec": spec or {}}
        self.bodies[kind, name] = body
        return body

    def apply(self, decision: QueueDecision) -> None:
        for item in decision.apply:
            body = copy.deepcopy(item.with_precondition())
            meta = body["metadata"]
            meta.setdefault("uid", meta["name"])
            meta["resourceVersion"] = str(int(meta.get("resourceVersion", "0")) + 1)
            if body["kind"] == "ClusterQueue":
                active = {"type": "Active", "status": "True", "reason": "Ready"}
                body["status"] = {"conditions": [active]}
            self.bodies[body["kind"], meta["name"]] = body
        for view in decision.delete:
            del self.bodies[view.key]

    def settle(self) -> QueueDecision:
        self.apply(self.decide())
        after = self.decide()
        assert after.writes == 0
        return after

    def names(self) -> list[str]:
        return [f"{kind} {name}" for kind, name in self.bodies]

    def said(self, decision: QueueDecision) -> Body:
        state = QueueState(installed=True, decision=decision)
        return queues_condition(self.parsed(), state, self.scenes.START) or {}

    def quota(self, kind: str, name: str, resource: str = "nvidia.com/gpu") -> dict[str, Body]:
        groups = self.bodies[kind, name]["spec"].get("resourceGroups", [])
        return {
            flavor["name"]: {key: q[key] for key in q if key != "name"}
            for group in groups
            for flavor in group["flavors"]
            for q in flavor["resources"]
            if q["name"] == resource
        }


def nominal(amount: int, **limits: int) -> Body:
    return {"nominalQuota": str(amount)} | {key: str(value) for key, value in limits.items()}


@pytest.fixture
def estate(scenes: Any) -> Estate:
    """Two clusters with a share each, and one without."""
    return Estate(
        scenes,
        scenes.cluster_body("a", 8, share="gov", spares=1),
        scenes.cluster_body("b", 4, share="own"),
        scenes.cluster_body("c", 2),
        shares=[{"name": "gov", "guaranteed": 64}, {"name": "own", "guaranteed": 32}],
    )


def test_a_farm_becomes_a_tree(estate: Estate) -> None:
    after = estate.settle()
    assert estate.names() == [
        "Topology f",
        "ResourceFlavor f-a",
        "ResourceFlavor f-b",
        "ResourceFlavor f-c",
        "Cohort f",
        "ClusterQueue f-gov",
        "ClusterQueue f-own",
    ]
    assert after.problems == []
    said = estate.said(after)
    assert (said["status"], said["reason"]) == ("True", "QueuesReady")
    assert "8 devices of spare nodes are in no quota" in said["message"]
    flavor = estate.bodies["ResourceFlavor", "f-a"]["spec"]
    assert flavor["nodeLabels"] == {"kfarm.dev/cluster": "f-a"}
    assert flavor["topologyName"] == "f"
    assert flavor["tolerations"][0]["value"] == "f"


def test_guarantees_are_met_by_own_clusters_then_by_those_of_nobody(estate: Estate) -> None:
    estate.settle()
    assert estate.quota("ClusterQueue", "f-gov") == {
        "f-a": nominal(56),
        "f-c": nominal(8),
        "f-b": nominal(0),
    }
    assert estate.quota("ClusterQueue", "f-own") == {
        "f-b": nominal(32),
        "f-c": nominal(0),
        "f-a": nominal(0),
    }
    assert estate.quota("Cohort", "f") == {"f-c": nominal(8)}
    assert estate.quota("ClusterQueue", "f-own", "cpu")["f-a"] == nominal(8 * 112)


def test_without_shares_there_are_flavors_alone(estate: Estate) -> None:
    estate.settle()
    estate.farm["spec"]["shares"] = []
    for cluster in estate.farm["spec"]["clusters"]:
        cluster.pop("share", None)
    decision = estate.decide()
    assert [view.key for view in decision.delete] == [
        ("ClusterQueue", "f-gov"),
        ("ClusterQueue", "f-own"),
        ("Cohort", "f"),
    ]
    estate.settle()
    assert [name.split()[0] for name in estate.names()] == ["Topology", *["ResourceFlavor"] * 3]


def test_limits_are_spread_over_flavors(estate: Estate) -> None:
    estate.farm["spec"]["shares"] = [
        {"name": "gov", "guaranteed": 64, "lendingLimit": 20, "borrowingLimit": 12},
        {"name": "own", "guaranteed": 32},
    ]
    estate.settle()
    assert estate.quota("ClusterQueue", "f-gov") == {
        "f-a": nominal(56, lendingLimit=12, borrowingLimit=0),
        "f-c": nominal(8, lendingLimit=8, borrowingLimit=8),
        "f-b": nominal(0, lendingLimit=0, borrowingLimit=4),
    }


def test_a_share_with_queues_is_a_cohort(estate: Estate) -> None:
    queues = [{"name": "x", "guaranteed": 60, "weight": 2}, {"name": "y", "guaranteed": 0}]
    estate.farm["spec"]["shares"][0] |= {"queues": queues, "reclaim": "LowerPriority"}
    estate.settle()
    assert estate.bodies["Cohort", "f-gov"]["spec"]["parentName"] == "f"
    assert estate.quota("Cohort", "f-gov")["f-c"] == nominal(4)
    assert estate.quota("ClusterQueue", "f-gov-x")["f-c"] == nominal(4)
    queue = estate.bodies["ClusterQueue", "f-gov-y"]["spec"]
    assert queue["cohortName"] == "f-gov"
    assert queue["preemption"]["reclaimWithinCohort"] == "LowerPriority"
    assert queue["fairSharing"] == {"weight": "1"}


def test_devices_of_several_vendors_stand_in_one_group(scenes: Any) -> None:
    estate = Estate(
        scenes,
        scenes.cluster_body("a", 2),
        scenes.cluster_body("b", 2, accelerator="rngd"),
        shares=[{"name": "all", "guaranteed": 32}],
        furtherResources=["rdma/hca"],
        admissionCheck="twin",
    )
    estate.settle()
    spec = estate.bodies["ClusterQueue", "f-all"]["spec"]
    (group,) = spec["resourceGroups"]
    assert group["coveredResources"] == [
        "furiosa.ai/rngd",
        "nvidia.com/gpu",
        "cpu",
        "memory",
        "rdma/hca",
    ]
    assert estate.quota("ClusterQueue", "f-all") == {"f-a": nominal(16), "f-b": nominal(0)}
    assert estate.quota("ClusterQueue", "f-all", "furiosa.ai/rngd")["f-b"] == nominal(16)
    assert spec["admissionChecksStrategy"] == {"admissionChecks": [{"name": "twin"}]}
    for flavor in group["flavors"]:
        assert [q["name"] for q in flavor["resources"]] == group["coveredResources"]


@pytest.mark.parametrize(
    ("rack", "unit", "expected"),
    [
        (4, 8, ["hall", "row", "scalable-unit", "rack"]),
        (4, 32, ["hall", "scalable-unit", "row", "rack"]),
        (3, 7, ["scalable-unit", "hall", "row", "rack"]),
        (8, 8, ["hall", "row", "rack", "scalable-unit"]),
    ],
)
def test_units_stand_where_they_nest(
    scenes: Any, rack: int, unit: int, expected: list[str]
) -> None:
    fabric = FABRIC | {"nodesPerScalableUnit": unit}
    body = scenes.cluster_body("a", 64, rack={"nodes": rack}, fabric=fabric)
    found = levels(Estate(scenes, body).parsed())
    assert [level.split("/")[1] for level in found] == [*expected, "hostname"]


def test_drift_is_taken_back(estate: Estate) -> None:
    estate.settle()
    queue = estate.bodies["ClusterQueue", "f-gov"]
    queue["spec"]["stopPolicy"] = "Hold"
    estate.bodies["Cohort", "f"]["spec"]["resourceGroups"][0]["flavors"][0]["resources"][0][
        "nominalQuota"
    ] = "8000m"
    assert estate.decide().writes == 0
    queue["spec"]["preemption"]["reclaimWithinCohort"] = "Never"
    decision = estate.decide()
    assert [item.body["metadata"]["name"] for item in decision.apply] == ["f-gov"]
    seen = decision.apply[0].with_precondition()["metadata"]
    assert (seen["uid"], seen["resourceVersion"]) == ("f-gov", "1")


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, False),
        ({"a": ["2k"]}, {"a": ["2000"]}, True),
        ({"a": "2k"}, {"a": "2001"}, False),
        ({"a": []}, {"a": [1]}, False),
        ({}, {"a": {}}, False),
        ({"a": "x"}, {"a": {"b": 1}}, False),
        ({"a": "x"}, {"a": [1]}, False),
    ],
)
def test_what_counts_as_the_same(live: Body, wanted: Body, same: bool) -> None:
    assert covers(live, wanted) is same


@pytest.mark.parametrize(
    ("kind", "name", "left_out"),
    [
        ("Topology", "f", 7),
        ("ResourceFlavor", "f-b", 4),
        ("Cohort", "f", 3),
        ("ClusterQueue", "f-own", 1),
    ],
)
def test_what_names_something_foreign_waits(
    estate: Estate, kind: str, name: str, left_out: int
) -> None:
    before = copy.deepcopy(estate.add(kind, name))
    decision = estate.settle()
    assert [reason for reason, _ in decision.problems] == ["NameTaken"]
    assert f"{kind} {name}" in decision.problems[0][1]
    assert estate.bodies[kind, name] == before
    assert len(estate.bodies) == 1 + 7 - left_out


def test_leftovers_of_an_earlier_farm_are_named(estate: Estate) -> None:
    estate.settle()
    estate.farm["metadata"]["uid"] = "again"
    decision = estate.decide()
    assert decision.writes == 0
    assert "GPUFarm f of another time" in decision.problems[0][1]


def test_a_queue_that_drains_is_waited_for(estate: Estate) -> None:
    estate.settle()
    estate.bodies["ClusterQueue", "f-gov"]["metadata"]["deletionTimestamp"] = "x"
    decision = estate.decide()
    assert decision.writes == 0
    assert estate.said(decision)["reason"] == "Draining"
    gone = decide_deletion(
        estate.parsed(), {key: kueue_view(key[0], body) for key, body in estate.bodies.items()}
    )
    assert [view.name for view in gone.draining] == ["f-gov"]
    assert [view.kind for view in gone.delete][:2] == ["ClusterQueue", "Cohort"]
    assert len(gone.delete) == 6


def test_levels_that_cannot_change_are_said(estate: Estate) -> None:
    estate.settle()
    estate.farm["spec"]["clusters"][0]["fabric"] = FABRIC | {"nodesPerScalableUnit": 7}
    decision = estate.decide()
    assert [reason for reason, _ in decision.problems] == ["TopologyFixed"]
    estate.farm["spec"]["kueue"] = {"manage": False}
    estate.settle()
    assert estate.bodies == {}
    assert estate.said(estate.decide()) == {}


def test_without_its_profile_everything_stays(estate: Estate) -> None:
    estate.settle()
    del estate.profiles["b200"]
    decision = estate.decide()
    assert decision.writes == 0
    assert [reason for reason, _ in decision.problems] == ["ProfileNotFound"]


def test_too_much_is_promised(estate: Estate) -> None:
    estate.farm["spec"]["shares"][0]["guaranteed"] = 88
    decision = estate.settle()
    assert [reason for reason, _ in decision.problems] == ["SharesExceedFarm"]
    assert "gov lacks 8 of 88" in decision.problems[0][1]
    assert estate.quota("ClusterQueue", "f-gov")["f-a"] == nominal(56)


def test_spares_count_for_a_guarantee_but_are_in_no_quota(estate: Estate) -> None:
    estate.farm["spec"]["shares"][0]["guaranteed"] = 80
    decision = estate.settle()
    assert decision.problems == []
    assert decision.summary.endswith("in no quota, 8 of gov's among them")
    assert estate.quota("ClusterQueue", "f-gov")["f-a"] == nominal(56)
    estate.farm["spec"]["kueue"] = {"spares": "Use"}
    estate.settle()
    assert estate.quota("ClusterQueue", "f-gov")["f-a"] == nominal(64)


def test_names_that_collide_are_refused(estate: Estate) -> None:
    estate.farm["spec"]["shares"] += [
        {"name": "own-x", "guaranteed": 0},
        {"name": "gov", "guaranteed": 0},
    ]
    estate.farm["spec"]["shares"][1]["queues"] = [{"name": "x", "guaranteed": 0}]
    del estate.farm["spec"]["shares"][3]
    decision = estate.decide()
    assert [reason for reason, _ in decision.problems] == ["NamesCollide"]
    assert decision.writes == 0


def test_a_parent_of_ones_own_is_refused(estate: Estate) -> None:
    estate.farm["spec"]["kueue"] = {"parent": "f"}
    assert [reason for reason, _ in estate.decide().problems] == ["ParentIsOwn"]
    estate.farm["spec"]["kueue"] = {"parent": "nation"}
    estate.settle()
    assert estate.bodies["Cohort", "f"]["spec"]["parentName"] == "nation"


def test_what_is_said_without_kueue_and_with_one_that_fails(estate: Estate) -> None:
    farm, now = estate.parsed(), estate.scenes.START
    absent = queues_condition(farm, QueueState(installed=False), now) or {}
    assert (absent["status"], absent["reason"]) == ("Unknown", "KueueNotInstalled")
    failing = queues_condition(farm, QueueState(installed=True, failure="503"), now) or {}
    assert (failing["status"], failing["reason"]) == ("Unknown", "KueueFailing")
    estate.farm["spec"]["shares"] = []
    for cluster in estate.farm["spec"]["clusters"]:
        cluster.pop("share", None)
    assert queues_condition(estate.parsed(), QueueState(installed=False), now) is None


_FLAVORS = st.lists(
    st.tuples(st.sampled_from([None, "s0", "s1", "s2"]), st.integers(0, 40), st.integers(0, 9)),
    max_size=6,
).map(
    lambda rows: [
        Flavor(f"f{i}", share, "x/y", count, spares, "1", "1Gi")
        for i, (share, count, spares) in enumerate(rows)
    ]
)
_LIMIT = st.none() | st.integers(0, 80)


@given(_FLAVORS, st.lists(st.tuples(st.integers(0, 80), _LIMIT, _LIMIT), min_size=1, max_size=3))
def test_no_device_is_given_twice_and_none_is_lost(
    flavors: list[Flavor], rows: list[tuple[int, int | None, int | None]]
) -> None:
    shares = [
        Share(
            name=f"s{i}",
            guaranteed=count,
            lending_limit=None if lend is None else min(lend, count),
            borrowing_limit=borrow,
        )
        for i, (count, lend, borrow) in enumerate(rows)
    ]
    shared = spread(shares, flavors)
    for flavor in flavors:
        given_away = sum(amounts.get(flavor.name, 0) for amounts in shared.given.values())
        assert given_away + shared.rest.get(flavor.name, 0) == flavor.devices
    for share in shares:
        given_to = shared.given[share.name]
        wanting = shared.spared.get(share.name, 0) + shared.missing.get(share.name, 0)
        assert sum(given_to.values()) + wanting == share.guaranteed
        order = preference(share, flavors)
        assert sorted(order, key=id) == sorted(flavors, key=id)
        lends, borrows = lent(share, given_to, order), borrowed(share, given_to, order)
        for flavor in flavors:
            mine = given_to.get(flavor.name, 0)
            assert not mine or flavor.share in (None, share.name)
            assert lends is None or 0 <= lends[flavor.name] <= mine
            assert borrows is None or 0 <= borrows[flavor.name] <= flavor.devices - mine
        assert lends is None or sum(lends.values()) <= (share.lending_limit or 0)
        assert borrows is None or sum(borrows.values()) <= (share.borrowing_limit or 0)


def test_the_largest_farm_keeps_within_kueues_limits(scenes: Any) -> None:
    clusters = [scenes.cluster_body(f"c{i}", 2) for i in range(32)]
    shares = [
        {
            "name": f"s{i}",
            "guaranteed": 16,
            "queues": [{"name": f"q{j}", "guaranteed": 1} for j in range(16)],
        }
        for i in range(16)
    ]
    estate = Estate(scenes, *clusters, shares=shares)
    bodies, _, _ = objects_of(estate.parsed(), estate.profiles)
    assert sum(body["kind"] == "ClusterQueue" for body in bodies) == 256
    for body in bodies:
        for group in body["spec"].get("resourceGroups", ()):
            assert len(group["flavors"]) <= 64


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples/farms").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_example_farms_keep_their_promises(path: Path) -> None:
    farm = next(o.object for o in load_files([path]) if isinstance(o.object, GPUFarm | NPUFarm))
    loaded = [document.object for document in load_files([ROOT / "examples/catalogue"])]
    profiles = {o.metadata.name: o for o in loaded if isinstance(o, AcceleratorProfile)}
    decision = decide(farm, profiles, {})
    assert decision.problems == []
    assert len(decision.apply) >= 1 + len(farm.spec.clusters)
