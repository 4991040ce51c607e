"""Where pods go: the rules as tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import twin_farms as farms
from kfarm_api.snapshot import Survivor
from kfarm_twin.compile import Model, compile_farm
from kfarm_twin.place import Shortfall, place


def compiled(
    workloads: list[dict[str, Any]],
    clusters: list[dict[str, Any]] | None = None,
    nodes: dict[int, Any] | None = None,
    survivors: list[Survivor] | None = None,
) -> Model:
    farm = farms.farm(*(clusters or [farms.cluster()]))
    seen = farms.snapshot(farm, nodes=nodes or {})
    seen = seen.model_copy(update={"survivors": survivors or []})
    return compile_farm([farm], [farms.profile()], farms.plan(*workloads), seen)


def placed(*arguments: Any, **named: Any) -> list[int]:
    slots = place(compiled(*arguments, **named))
    assert isinstance(slots, np.ndarray)
    return [int(node) for node in slots]


def within(required: str, preferred: str | None = None) -> dict[str, Any]:
    topology = {"required": required}
    return {"topology": topology | ({"preferred": preferred} if preferred else {})}


def test_gang_takes_whole_scalable_units_first() -> None:
    """Unit 0 has 3 free nodes, unit 1 all 4: a gang of 4 goes into unit 1 alone."""
    gang = farms.training(4, **within("cluster", "scalable-unit"))
    assert placed([gang], nodes={0: {"ready": False}}) == [4, 5, 6, 7]


def test_gang_leaves_the_larger_domain_whole() -> None:
    """Both racks would do; the one with less to spare is taken."""
    gang = farms.training(2, acceleratorsPerPod=2, **within("rack"))
    assert placed([gang], nodes={4: {"used": 6}}) == [4, 5]


def test_gang_prefers_a_domain_with_room_for_replacements() -> None:
    """Cluster a fits exactly; b is larger and can replace a failed node."""
    clusters = [farms.cluster("a", 4), farms.cluster("b", 8), farms.cluster("c", 12)]
    assert placed([farms.training(4)], clusters) == [4, 5, 6, 7]
    assert placed([farms.training(4)], clusters[:1]) == [0, 1, 2, 3]


def test_gang_within_a_node() -> None:
    gang = farms.training(4, acceleratorsPerPod=2, **within("node"))
    assert placed([gang], nodes={0: {"used": 1}}) == [1, 1, 1, 1]


def test_spares_unready_and_unschedulable_nodes_are_left() -> None:
    cluster = farms.cluster(spares=2)
    states = {0: {"ready": False}, 1: {"schedulable": False}}
    assert placed([farms.training(4)], [cluster], states) == [2, 3, 4, 5]


def test_gang_never_spans_clusters() -> None:
    clusters = [farms.cluster("a", 3), farms.cluster("b", 3)]
    shortfall = place(compiled([farms.training(4)], clusters))
    assert isinstance(shortfall, Shortfall)
    assert "4 pods of 8 accelerators (b200) in one cluster, but there is room for 3" in (
        shortfall.message
    )


def test_inference_spreads_over_racks_then_packs() -> None:
    pods = farms.serving(6, acceleratorsPerPod=2)
    assert placed([pods]) == [0, 2, 4, 6, 0, 2]


def test_gangs_go_before_pods_and_large_ones_first() -> None:
    small = farms.training(2, name="small", **within("scalable-unit"))
    large = farms.training(4, name="large", **within("scalable-unit"))
    slots = placed([farms.serving(2, acceleratorsPerPod=8), small, large])
    assert slots[4:] == [0, 1, 2, 3]
    assert slots[2:4] == [4, 5]
    assert slots[:2] == [6, 7]


def test_accelerators_are_taken_in_the_order_of_the_list() -> None:
    clusters = [farms.cluster("a", 2), farms.cluster("b", 2, accelerator="npu")]
    farm = farms.farm(*clusters)
    pods = farms.serving(3, acceleratorsPerPod=8, accelerators=["npu", "b200"])
    profiles = [farms.profile(), farms.profile("npu")]
    model = compile_farm([farm], profiles, farms.plan(pods), farms.snapshot(farm))
    slots = place(model)
    assert isinstance(slots, np.ndarray)
    assert slots.tolist() == [2, 3, 0]


def test_survivors_stay_and_draw_the_others_near() -> None:
    survivors = [Survivor(workload="train", slot=1, node="farm-main-0005")]
    gang = farms.training(3, **within("cluster", "scalable-unit"))
    assert placed([gang], survivors=survivors) == [4, 5, 6]


def test_cpu_and_memory_count() -> None:
    pods = farms.serving(4, acceleratorsPerPod=1, cpu="100", memory="10Gi")
    assert placed([pods]) == [0, 2, 4, 6]
    shortfall = place(compiled([farms.serving(9, acceleratorsPerPod=1, cpu="100")]))
    assert isinstance(shortfall, Shortfall)
    assert "8 with less CPU, memory or pods" in shortfall.message


def test_surge_takes_room() -> None:
    assert len(placed([farms.serving(4, surge=2)])) == 6
    assert isinstance(place(compiled([farms.serving(31, surge=2)])), Shortfall)


def test_shortfall_says_what_takes_the_rest_and_the_remedy() -> None:
    states = {0: {"ready": False}, 1: {"used": 1}}
    gang = farms.training(7, **within("cluster"))
    shortfall = place(compiled([gang], [farms.cluster(spares=1)], states))
    assert isinstance(shortfall, Shortfall)
    for part in ("room for 5", "farm/main has 8 nodes", "1 are spares", "1 not ready",
                 "1 without 8 free", "Ask for fewer pods"):  # fmt: skip
        assert part in shortfall.message
    narrow = place(compiled([farms.training(3, **within("rack"))]))
    assert isinstance(narrow, Shortfall)
    assert "Set topology.required to a wider level" in narrow.message


def test_a_gang_that_suits_no_cluster_says_so() -> None:
    """Pods of 16 accelerators on nodes of 8: no cluster is even tried."""
    shortfall = place(compiled([farms.training(4, acceleratorsPerPod=16)]))
    assert isinstance(shortfall, Shortfall)
    assert "there is room for 0" in shortfall.message


def test_spares_are_for_replacements_alone() -> None:
    """A gang that fills all but the spares may use one only for a pod that it lost."""
    own = [farms.cluster(nodes=6, spares=2)]
    gang = farms.training(4)
    assert placed([gang], own) == [0, 1, 2, 3]
    assert isinstance(place(compiled([farms.training(5)], own)), Shortfall)
    stay = [Survivor(workload="train", slot=s, node=f"farm-main-000{s}") for s in range(3)]
    off = {3: {"ready": False}}
    assert placed([gang], own, off, survivors=stay) == [0, 1, 2, 4]
    assert placed([farms.training(3)], own, off, survivors=stay[:2]) == [0, 1, 2]


def test_single_pods_are_replaced_on_spares_too() -> None:
    own = [farms.cluster(nodes=4, spares=1)]
    serve = farms.serving(3, acceleratorsPerPod=8)
    stay = [Survivor(workload="serve", slot=s, node=f"farm-main-000{s}") for s in range(2)]
    off = {2: {"ready": False}}
    assert placed([serve], own, off, survivors=stay) == [0, 1, 3]
    assert isinstance(place(compiled([serve], own, off)), Shortfall)
