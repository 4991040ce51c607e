"""Rates at which a gang is interrupted, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import twin_farms as farms
from kfarm_api.farm import Cluster
from kfarm_api.twinrun import Shape
from kfarm_twin.interruptions import cluster_sizes, interruptions_per_ns, shape_sizes
from kfarm_twin.reliability import failure_modes, own_mode

DAY_NS = 86_400e9


def per_1000_days(nodes: int, classes: list[dict[str, Any]], **reliability: Any) -> float:
    """Interruptions per 1,000 days of a gang on the farm of `twin_farms`, 8 nodes of 8 devices."""
    full = [{"name": f"c{i}", "meanTimeToRepair": "2h", **c} for i, c in enumerate(classes)]
    body = farms.cluster(reliability={"classes": full, **reliability})
    cluster = farms.farm(body).spec.clusters[0]
    assert isinstance(cluster, Cluster)
    rate = interruptions_per_ns(
        failure_modes(cluster, "here"),
        cluster.reliability,
        cluster_sizes(cluster),
        nodes=nodes,
        devices=8,
    )
    return rate * 1000 * DAY_NS


@pytest.mark.parametrize(
    ("nodes", "one", "expected"),
    [
        (5, {"failuresPer1000NodeDays": 3}, 15),
        (5, {"failuresPer1000NodeDays": 3, "per": "Device"}, 15),
        (5, {"failuresPer1000Days": 3, "per": "Device"}, 120),
        (5, {"failuresPer1000Days": 3, "per": "Link"}, 120),
        (5, {"failuresPer1000Days": 3}, 15),
        (5, {"failuresPer1000Days": 3, "per": "Rack"}, 9),  # racks of 2
        (4, {"failuresPer1000Days": 3, "per": "Leaf"}, 24),  # a unit of 4, a leaf for each rail
        (5, {"failuresPer1000Days": 3, "per": "Leaf"}, 48),
        (5, {"failuresPer1000Days": 3, "per": "Pdu"}, 6),
        (5, {"failuresPer1000Days": 3, "per": "Cdu"}, 6),
        (5, {"failuresPer1000Days": 3, "per": "Plant"}, 3),
        (5, {"failuresPer1000NodeDays": 3, "effect": "Slow", "speed": 50}, 0),
        (5, {"failuresPer1000NodeDays": 3, "effect": "Slow", "speed": 50, "evict": True}, 15),
        (5, {"failuresPer1000NodeDays": 3, "effect": "Corrupt"}, 15),
        (5, {"failuresPer1000NodeDays": 3, "repair": {"recurrence": 25}}, 20),
    ],
)
def test_one_class(nodes: int, one: dict[str, Any], expected: float) -> None:
    assert per_1000_days(nodes, [one]) == pytest.approx(expected)


def test_classes_and_false_alarms_add_up() -> None:
    classes = [{"failuresPer1000NodeDays": 3}, {"failuresPer1000Days": 2, "per": "Plant"}]
    alarms = {"per1000NodeDays": 1, "check": "10m"}
    assert per_1000_days(4, classes, falseAlarms=alarms) == pytest.approx(12 + 2 + 4)


def test_a_shape_without_units_has_one_leaf() -> None:
    body = {"name": "leaf", "per": "Leaf", "failuresPer1000Days": 3, "meanTimeToRepair": "2h"}
    for units, expected in ((0, 3.0), (4, 48.0)):
        shape = Shape.model_validate(
            {"nodes": 8, "nodesPerUnit": units, "reliability": {"classes": [body]}}
        )
        assert shape.reliability is not None
        rate = interruptions_per_ns(
            [own_mode(one) for one in shape.reliability.classes],
            shape.reliability,
            shape_sizes(shape),
            nodes=8,
            devices=8,
        )
        assert rate * 1000 * DAY_NS == pytest.approx(expected)
