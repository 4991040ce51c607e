"""Whom the faults of a drill hit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kfarm_api.drill import FailureDrillSpec
from kfarm_api.drill_marks import LABEL_CONSENT
from kfarm_api.drill_targets import Candidate, Choice, beyond, blast, choose, farm_candidates
from kfarm_api.layout import LABEL_RACK
from kfarm_api.v1alpha1 import GPUFarm
from twin_farms import cluster, farm

FARM = farm(
    cluster(nodes=16),
    cluster(
        "airy",
        nodes=8,
        cooling={
            "type": "Air",
            "supplyTemperature": 24,
            "air": {"unitCapacity": "100k", "nodesPerZone": 4},
        },
    ),
)


def spec(*faults: dict[str, Any], seed: int = 1, **changes: Any) -> FailureDrillSpec:
    whole = [
        {"name": f"f{i}", "duration": "1m", "selector": {"cluster": "main"}, **fault}
        for i, fault in enumerate(faults)
    ]
    return FailureDrillSpec.model_validate(
        {
            "farm": {"kind": "GPUFarm", "name": "farm"},
            "faults": whole,
            "simulation": {"seed": seed},
            **changes,
        }
    )


def chosen(*faults: dict[str, Any], seed: int = 1, among: list[Candidate] | None = None,
           of: GPUFarm = FARM, **changes: Any) -> Choice:  # fmt: skip
    return choose(spec(*faults, seed=seed, **changes), of, among or farm_candidates(of))


def without_consent(node: Candidate) -> Candidate:
    return replace(node, labels={k: v for k, v in node.labels.items() if k != LABEL_CONSENT})


def test_the_order_of_nodes_does_not_matter() -> None:
    nodes = farm_candidates(FARM)
    faults = [{"action": "NodeDown", "mode": "Fixed", "value": 3}, {"action": "RackPower"}]
    first = chosen(*faults, among=nodes)
    for shuffled in (nodes[::-1], nodes[7:] + nodes[:7], nodes[::2] + nodes[1::2]):
        assert chosen(*faults, among=shuffled) == first


def test_another_seed_draws_others() -> None:
    drawn = {
        tuple(chosen({"action": "NodeDown"}, seed=seed).targets[0].nodes) for seed in range(40)
    }
    assert len(drawn) > 8


def test_every_node_is_drawn_equally_often() -> None:
    counts: dict[str, int] = {}
    for seed in range(800):
        name = chosen({"action": "NodeDown"}, seed=seed).targets[0].nodes[0]
        counts[name] = counts.get(name, 0) + 1
    assert len(counts) == 16
    assert min(counts.values()) > 25  # 50 expected, 6.8 standard deviation
    assert max(counts.values()) < 80


def test_a_node_that_cannot_be_chosen_changes_no_draw() -> None:
    drawn = chosen({"action": "NodeDown"}).targets[0].nodes
    others = farm_candidates(FARM)
    spoilt = next(n.name for n in others if n.name not in drawn)
    among = [without_consent(n) if n.name == spoilt else n for n in others]
    assert chosen({"action": "NodeDown"}, among=among).targets[0].nodes == drawn


@pytest.mark.parametrize(
    ("action", "size", "domain"),
    [
        ("RackPower", 2, "farm-main-r"),
        ("Pdu", 4, "farm-main-pdu"),
        ("LeafSwitch", 4, "farm-main-su"),
        ("CduPump", 4, "farm-main-cdu"),
        ("NodeDown", 1, "farm-main-0"),
    ],
)
def test_a_domain_is_hit_with_all_its_nodes(action: str, size: int, domain: str) -> None:
    target = chosen({"action": action}).targets[0]
    assert len(target.domains) == 1
    assert target.domains[0].startswith(domain)
    assert len(target.nodes) == size


def test_a_domain_with_a_node_that_did_not_consent_is_not_chosen() -> None:
    nodes = farm_candidates(FARM)
    rack = nodes[0].labels[LABEL_RACK]
    among = [without_consent(n) if n is nodes[0] else n for n in nodes]
    for seed in range(40):
        assert (
            rack not in chosen({"action": "RackPower"}, seed=seed, among=among).targets[0].domains
        )


def test_nobody_is_hit_without_consent() -> None:
    among = [without_consent(n) for n in farm_candidates(FARM)]
    choice = chosen({"action": "NodeDown"}, among=among)
    assert choice.targets[0].nodes == []
    assert "kfarm.dev/drill=allowed" in choice.problems[0]


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        ({"mode": "One"}, 1),
        ({"mode": "All"}, 16),
        ({"mode": "Fixed", "value": 5}, 5),
        ({"mode": "FixedPercent", "value": 33}, 5),
    ],
)
def test_modes_count_what_fails(fault: dict[str, Any], count: int) -> None:
    assert len(chosen({"action": "NodeDown", **fault}).targets[0].nodes) == count


def test_a_random_share_stays_below_its_bound_and_varies() -> None:
    counts = {
        len(
            chosen(
                {"action": "NodeDown", "mode": "RandomMaxPercent", "value": 50}, seed=seed
            ).targets[0].nodes
        )
        for seed in range(60)
    }  # fmt: skip
    assert counts == set(range(1, 9))


@pytest.mark.parametrize("fault", [{"mode": "Fixed", "value": 17},
                                   {"mode": "FixedPercent", "value": 5}])  # fmt: skip
def test_more_than_there_are_or_none_at_all_is_a_problem(fault: dict[str, Any]) -> None:
    choice = chosen({"action": "NodeDown", **fault})
    assert choice.targets[0].nodes == []
    assert "of 16 that may be chosen" in choice.problems[0]


def test_a_burst_goes_round_the_racks() -> None:
    nodes = chosen({"action": "Burst", "mode": "Fixed", "value": 8}).targets[0].nodes
    racks = {n.labels[LABEL_RACK] for n in farm_candidates(FARM) if n.name in nodes}
    assert len(racks) == 8


def test_later_faults_prefer_nodes_that_are_not_hit_yet() -> None:
    first, second = chosen(
        {"action": "NodeDown", "mode": "Fixed", "value": 15}, {"action": "NodeDown"}
    ).targets
    assert not set(second.nodes) & set(first.nodes)
    again = chosen(
        *[{"action": "NodeDown", "selector": {"nodes": ["farm-main-0003"]}} for _ in range(2)]
    )
    assert [t.nodes for t in again.targets] == [["farm-main-0003"]] * 2


def test_selectors_must_hold_together() -> None:
    nodes = farm_candidates(FARM, {"plan": ["farm-main-0001", "farm-airy-0002"]})
    selector = {"cluster": "main", "plan": "plan"}
    fault = {"action": "NodeDown", "mode": "All", "selector": selector}
    assert chosen(fault, among=nodes).targets[0].nodes == ["farm-main-0001"]
    vacant = {"action": "RackPower", "mode": "All", "selector": {"cluster": "main", "vacant": True}}
    assert "farm-main-0000" not in chosen(vacant, among=nodes).targets[0].nodes


def test_air_is_lost_by_the_zone_of_the_handlers() -> None:
    fault = {"action": "CoolingDegraded", "share": 50, "selector": {"cluster": "airy"}}
    target = chosen(fault).targets[0]
    assert target.domains[0] in ("farm-airy-air00", "farm-airy-air01")
    assert len(target.nodes) == 4


def test_chillers_are_counted_and_shown_on_few_nodes() -> None:
    choice = chosen({"action": "Chiller", "mode": "All"}, limits={"maxNodes": 3})
    assert choice.targets[0].domains == ["farm-chiller0", "farm-chiller1"]
    assert len(choice.targets[0].nodes) == 3


def test_what_the_farm_does_not_describe_is_named() -> None:
    bare = farm(cluster(nodes=4, feed=None), plant=None)
    for action, needed in (("Pdu", "clusters[].feed"), ("Chiller", "spec.plant")):
        choice = chosen({"action": action}, of=bare)
        assert needed in choice.problems[0]


def test_the_reach_of_a_drill_is_held_against_its_limits() -> None:
    one = spec({"action": "NodeDown", "mode": "Fixed", "value": 4})
    nodes = farm_candidates(FARM)
    reach = blast(choose(one, FARM, nodes).targets, one, FARM, nodes)
    assert len(reach.nodes) == 4
    assert reach.percent == pytest.approx(25.0)
    assert beyond(reach, 4, 25, 4) is None
    assert "maxNodes" in str(beyond(reach, 3, 25, 4))
    assert "maxPercent" in str(beyond(reach, 4, 24, 4))
    assert "domains" in str(beyond(reach, 4, 25, 1))
