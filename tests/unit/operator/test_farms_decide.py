"""What happens to Nodes so that a farm is as it says: simulated ones and adopted ones."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from kfarm_api.layout import LABEL_INDEX, TAINT
from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm, NPUFarm
from kfarm_operator.farms.contest import contest_condition, contests
from kfarm_operator.farms.decide import FarmDecision, decide, decide_deletion
from kfarm_operator.farms.status import farm_status
from kfarm_operator.views import NodeView, node_view

SELECTED = {"selector": {"matchLabels": {"room": "a"}}}


class Estate:
    """Nodes of a pretend cluster, changed as decisions say."""

    def __init__(self, scenes: Any, *clusters: dict[str, Any]) -> None:
        self.scenes = scenes
        self.farm = scenes.farm_body(*clusters)
        self.profiles = {"b200": AcceleratorProfile.model_validate(scenes.profile_body())}
        self.bodies: dict[str, dict[str, Any]] = {}

    def add(self, *names: str, **labels: str) -> None:
        """Real nodes that somebody else made."""
        for name in names:
            meta = {"name": name, "uid": name, "resourceVersion": "1", "labels": dict(labels)}
            self.bodies[name] = {"metadata": meta, "spec": {}, "status": {}}

    def views(self) -> dict[str, NodeView]:
        return {name: node_view(body) for name, body in self.bodies.items()}

    def parsed(self) -> GPUFarm:
        return GPUFarm.model_validate(self.farm)

    def decide(self) -> FarmDecision:
        views = self.views()
        ours = {name: node for name, node in views.items() if node.farm != ("", "")}
        selected = {}
        for cluster in self.farm["spec"]["clusters"]:
            wanted = cluster["source"].get("selector", {}).get("matchLabels", {}).items()
            if wanted:
                selected[cluster["name"]] = [
                    node for node in views.values() if wanted <= node.labels.items()
                ]
        return decide(self.parsed(), self.profiles, ours, selected)

    def apply(self, decision: FarmDecision) -> None:
        for body in copy.deepcopy(decision.create):
            body["metadata"] |= {"uid": body["metadata"]["name"], "resourceVersion": "1"}
            self.bodies[body["metadata"]["name"]] = body
        for patch in decision.patch:
            live = self.bodies[patch.node.name]
            body = patch.body(live)
            for field in ("labels", "annotations"):
                merged = {**live["metadata"].get(field, {}), **body["metadata"][field]}
                kept = {key: value for key, value in merged.items() if value is not None}
                live["metadata"][field] = kept
            live["spec"]["taints"] = body["spec"]["taints"]
            live["status"] |= (patch.status or {}).get("status", {})
        for node in decision.delete:
            del self.bodies[node.name]

    def settle(self) -> FarmDecision:
        """Apply once; the next decision must ask for nothing more."""
        self.apply(self.decide())
        after = self.decide()
        assert after.writes == 0
        return after

    def indices(self) -> dict[str, str]:
        return {n: b["metadata"]["labels"].get(LABEL_INDEX, "") for n, b in self.bodies.items()}


def reasons(decision: FarmDecision) -> list[str]:
    return [reason for reason, _ in decision.problems]


@pytest.fixture
def simulated(scenes: Any) -> Estate:
    """Three nodes that KWOK keeps."""
    return Estate(scenes, scenes.cluster_body(nodes=3))


@pytest.fixture
def real(scenes: Any) -> Estate:
    """Three nodes of somebody else's, selected by a label."""
    estate = Estate(scenes, scenes.cluster_body(nodes=3, source=SELECTED))
    estate.add("n1", "n2", "n3", room="a")
    return estate


def test_simulated_nodes_are_made_once(simulated: Estate) -> None:
    decision = simulated.decide()
    names = [body["metadata"]["name"] for body in decision.create]
    assert names == ["f-c-0000", "f-c-0001", "f-c-0002"]
    body = decision.create[0]
    assert body["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert body["spec"]["taints"] == [{"key": TAINT, "value": "f", "effect": "NoSchedule"}]
    after = simulated.settle()
    assert [node.index for node in after.members["c"]] == [0, 1, 2]


@pytest.mark.parametrize(
    "drift",
    [
        lambda body: body["metadata"]["labels"].pop("kfarm.dev/rack"),
        lambda body: body["metadata"]["labels"].update({"kfarm.dev/rack": "x"}),
        lambda body: body["spec"]["taints"].clear(),
        lambda body: body["metadata"]["annotations"].pop("kfarm.dev/spec-digest"),
    ],
)
def test_drift_is_taken_back_and_other_taints_stay(simulated: Estate, drift: Any) -> None:
    simulated.settle()
    intended = copy.deepcopy(simulated.bodies["f-c-0001"])
    drift(simulated.bodies["f-c-0001"])
    other = {"key": "other", "effect": "NoSchedule"}
    simulated.bodies["f-c-0001"]["spec"]["taints"].append(other)
    decision = simulated.decide()
    assert [patch.node.name for patch in decision.patch] == ["f-c-0001"]
    simulated.settle()
    intended["spec"]["taints"].insert(0, other)
    assert simulated.bodies["f-c-0001"] == intended


def test_a_changed_spec_reaches_status_and_labels(simulated: Estate) -> None:
    simulated.settle()
    simulated.farm["spec"]["clusters"][0]["acceleratorsPerNode"] = 4
    decision = simulated.decide()
    assert len(decision.patch) == 3
    assert all(patch.status for patch in decision.patch)
    simulated.settle()
    assert simulated.bodies["f-c-0000"]["status"]["allocatable"]["nvidia.com/gpu"] == "4"


def test_scaling_down_deletes_the_last_nodes_once(simulated: Estate) -> None:
    simulated.settle()
    simulated.farm["spec"]["clusters"][0]["nodes"] = 1
    decision = simulated.decide()
    assert [node.name for node in decision.delete] == ["f-c-0001", "f-c-0002"]
    simulated.bodies["f-c-0001"]["metadata"]["deletionTimestamp"] = "x"
    assert [node.name for node in simulated.decide().delete] == ["f-c-0002"]


def test_a_cluster_taken_out_takes_its_nodes_along(simulated: Estate) -> None:
    simulated.settle()
    simulated.farm["spec"]["clusters"][0]["name"] = "d"
    simulated.settle()
    assert sorted(simulated.bodies) == ["f-d-0000", "f-d-0001", "f-d-0002"]


def test_a_node_of_another_farm_is_left_alone_and_named(simulated: Estate) -> None:
    simulated.add("f-c-0001", **{"kfarm.dev/farm": "g", "kfarm.dev/farm-kind": "GPUFarm"})
    before = copy.deepcopy(simulated.bodies["f-c-0001"])
    after = simulated.settle()
    assert reasons(after) == ["NodesTaken"]
    assert "f-c-0001" in after.problems[0][1]
    assert simulated.bodies["f-c-0001"] == before


@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_without_its_profile_a_cluster_stays_as_it_is(
    kind: str, request: pytest.FixtureRequest
) -> None:
    estate: Estate = request.getfixturevalue(kind)
    estate.settle()
    estate.profiles.clear()
    decision = estate.decide()
    assert reasons(decision) == ["ProfileNotFound"]
    assert decision.writes == 0


def test_adoption_labels_and_taints_and_gives_back(real: Estate) -> None:
    real.bodies["n2"]["spec"]["taints"] = [{"key": "own", "effect": "NoSchedule"}]
    real.bodies["n2"]["metadata"]["labels"]["kfarm.dev/drill"] = "yes"
    before = copy.deepcopy(real.bodies)
    after = real.settle()
    assert (reasons(after), after.delete) == ([], [])
    assert real.indices() == {"n1": "0", "n2": "1", "n3": "2"}
    assert [t["key"] for t in real.bodies["n2"]["spec"]["taints"]] == ["own", TAINT]
    real.apply(decide_deletion(real.parsed(), real.views().values()))
    for name, body in before.items():
        assert real.bodies[name]["metadata"]["labels"] == body["metadata"]["labels"]
        assert real.bodies[name]["spec"]["taints"] == body["spec"].get("taints", [])
    assert decide_deletion(real.parsed(), real.views().values()).writes == 0


def test_an_index_once_given_stays(real: Estate) -> None:
    real.settle()
    del real.bodies["n1"]
    real.add("n0", room="a")
    real.settle()
    assert real.indices() == {"n0": "0", "n2": "1", "n3": "2"}


def test_a_node_out_of_the_selector_is_given_back(real: Estate) -> None:
    real.settle()
    real.bodies["n3"]["metadata"]["labels"]["room"] = "b"
    after = real.settle()
    assert reasons(after) == ["NodesMissing"]
    assert real.indices() == {"n1": "0", "n2": "1", "n3": ""}


@pytest.mark.parametrize(("nodes", "reason"), [(2, "TooManyNodes"), (4, "NodesMissing")])
def test_a_selector_that_matches_another_number_says_so(
    real: Estate, nodes: int, reason: str
) -> None:
    real.farm["spec"]["clusters"][0]["nodes"] = nodes
    after = real.settle()
    assert reasons(after) == [reason]
    assert f"matches 3 nodes, spec.nodes says {nodes}" in after.problems[0][1]
    assert len(after.members["c"]) == min(3, nodes)


def test_selected_nodes_of_another_farm_are_named(real: Estate) -> None:
    real.add("n3", room="a", **{"kfarm.dev/farm": "g", "kfarm.dev/farm-kind": "GPUFarm"})
    assert reasons(real.settle()) == ["NodesTaken", "NodesMissing"]


def test_overlapping_selectors_do_not_pull_nodes_to_and_fro(real: Estate) -> None:
    real.farm["spec"]["clusters"].append(real.scenes.cluster_body("d", 3, source=SELECTED))
    after = real.settle()
    assert reasons(after) == ["SelectorsOverlap", "NodesMissing"]
    assert {name: len(nodes) for name, nodes in after.members.items()} == {"c": 3, "d": 0}


@pytest.mark.parametrize(
    ("prepare", "reason", "message"),
    [
        (lambda e: None, "CreatingNodes", "0 of 3"),
        (lambda e: e.settle(), "NodesNotReady", "0 of 3 nodes are Ready; not Ready in c: 3"),
        (lambda e: e.profiles.clear(), "ProfileNotFound", "b200"),
    ],
)
def test_the_status_says_what_is_missing(
    simulated: Estate, scenes: Any, prepare: Any, reason: str, message: str
) -> None:
    prepare(simulated)
    status = farm_status(simulated.parsed(), simulated.decide(), scenes.START)
    (condition,) = status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", reason)
    assert message in condition["message"]


def test_the_status_counts_what_is_there(simulated: Estate, scenes: Any) -> None:
    simulated.settle()
    for body in simulated.bodies.values():
        body["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    status = farm_status(simulated.parsed(), simulated.decide(), scenes.START)
    assert status["conditions"][0]["reason"] == "NodesReady"
    assert (status["nodes"], status["readyNodes"], status["accelerators"]) == (3, 3, 24)
    simulated.farm["status"] = status
    later = farm_status(simulated.parsed(), simulated.decide(), scenes.START.replace(year=2027))
    assert later == status


def test_both_farms_learn_of_nodes_that_two_ask_for(real: Estate, scenes: Any) -> None:
    members = real.settle().members
    mine = real.parsed()
    other = GPUFarm.model_validate(scenes.farm_body(scenes.cluster_body(nodes=3, source=SELECTED)))
    other = other.model_copy(update={"metadata": other.metadata.model_copy(update={"name": "g"})})
    apart = {"selector": {"matchLabels": {"room": "b"}}}
    third = GPUFarm.model_validate(scenes.farm_body(scenes.cluster_body(nodes=3, source=apart)))
    third = third.model_copy(update={"metadata": third.metadata.model_copy(update={"name": "h"})})
    said = contests(mine, [third, mine, other], members)
    assert said == ["cluster c of GPUFarm g asks for 3 nodes of this farm, the first is n1"]
    found = contest_condition(mine, said, scenes.START) or {}
    assert (found["status"], found["reason"]) == ("False", "NodesContested")
    assert contest_condition(mine, [], scenes.START) is None
    decision = decide(other, real.profiles, {}, {"c": list(real.views().values())})
    assert reasons(decision)[0] == "NodesTaken"


def test_names_of_simulated_nodes_are_contested_too(simulated: Estate, scenes: Any) -> None:
    members = simulated.settle().members
    twin = NPUFarm.model_validate(
        scenes.farm_body(scenes.cluster_body(nodes=2)) | {"kind": "NPUFarm"}
    )
    assert contests(simulated.parsed(), [twin], members) == [
        "cluster c of NPUFarm f asks for 2 nodes of this farm, the first is f-c-0000"
    ]


def test_conditions_of_others_stay(simulated: Estate, scenes: Any) -> None:
    drift = {"type": "Drift", "status": "False", "reason": "Near", "lastTransitionTime": "x"}
    simulated.farm["status"] = {"conditions": [drift]}
    status = farm_status(simulated.parsed(), simulated.decide(), scenes.START)
    assert [c["type"] for c in status["conditions"]] == ["Drift", "Ready"]
