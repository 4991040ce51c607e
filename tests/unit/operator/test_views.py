"""What is kept of Pods and Nodes, from bodies as the API server sends them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from kfarm_operator.views import node_view, pod_view, quantity

META = {"namespace": "team", "name": "x", "uid": "u", "resourceVersion": "7"}


def pod(spec: dict[str, Any] | None = None, **meta: Any) -> Any:
    return pod_view({"metadata": {**META, **meta}, "spec": spec or {}})


def node(*, status: Any = None, labels: Any = None, **spec: Any) -> Any:
    meta = {**META, "labels": labels or {}}
    return node_view({"metadata": meta, "spec": spec, "status": status or {}})


def container(name: str = "c", **resources: Any) -> dict[str, Any]:
    return {"name": name, "resources": resources}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("8", "8"),
        (8, "8"),
        ("500m", "0.5"),
        ("2k", "2000"),
        ("1Gi", "1073741824"),
        ("1.5Gi", "1610612736"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("100u", "0.0001"),
        ("3P", "3000000000000000"),
    ],
)
def test_quantities_are_read_exactly(text: object, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "NaN", "Gi", "m", "eight", "--1", None, "1,5"])
def test_what_is_no_quantity_is_not_a_number(text: object) -> None:
    assert not quantity(text).is_finite()


@pytest.mark.parametrize("text", ["NaN", "Infinity", "eight"])
def test_an_odd_request_never_looks_like_a_number_of_devices(text: str) -> None:
    view = pod({"containers": [container(limits={"nvidia.com/gpu": text})]})
    assert view.shape.devices == (("nvidia.com/gpu", -1),)


def test_requests_are_summed_over_containers_and_prefer_requests_to_limits() -> None:
    containers = [
        container(limits={"nvidia.com/gpu": "4", "cpu": "2"}, requests={"cpu": "500m"}),
        container(limits={"nvidia.com/gpu": "4", "memory": "1Gi", "ephemeral-storage": "1Gi"}),
        {"name": "bare"},
    ]
    shape = pod({"containers": containers}).shape
    assert shape.devices == (("nvidia.com/gpu", 8),)
    assert (shape.cpu, shape.memory) == (Decimal("0.5"), Decimal(2**30))


def test_what_kubernetes_and_kfarm_add_is_not_part_of_the_shape() -> None:
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": "n", "zone": "a"},
        "tolerations": [
            {"key": "kfarm.dev/farm", "operator": "Exists"},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
            {"key": "mine", "value": "v"},
        ],
    }
    shape = pod(spec).shape
    assert shape.node_selector == (("zone", "a"),)
    assert shape.tolerations == (("mine", "Equal", "v", ""),)
    assert (shape.priority_class, shape.scheduler) == ("", "default-scheduler")


@pytest.mark.parametrize(
    ("spec", "oddity"),
    [
        ({"affinity": {"nodeAffinity": {}}}, "affinity"),
        ({"topologySpreadConstraints": [{}]}, "topologySpreadConstraints"),
        ({"resourceClaims": [{"name": "c"}]}, "resourceClaims"),
        ({"overhead": {"cpu": "1"}}, "overhead"),
        ({"resources": {"limits": {"cpu": "1"}}}, "resources"),
        (
            {"initContainers": [container("i", limits={"nvidia.com/gpu": "1"})]},
            "initContainers[i].resources",
        ),
        (
            {"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 1}]}]},
            "containers[c].ports.hostPort",
        ),
    ],
)
def test_whatever_else_moves_a_pod_is_named(spec: dict[str, Any], oddity: str) -> None:
    assert pod(spec).shape.oddities == (oddity,)


@pytest.mark.parametrize(
    "spec",
    [
        {"affinity": {}},
        {"initContainers": [container(limits={"cpu": "1"})]},
        {"containers": [{"name": "c", "ports": [{"containerPort": 1}]}]},
    ],
)
def test_what_moves_nothing_is_no_oddity(spec: dict[str, Any]) -> None:
    assert pod(spec).shape.oddities == ()


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({}, None),
        ({"nodeSelector": {"kubernetes.io/hostname": "n"}}, "n"),
        (
            {
                "nodeSelector": {"kubernetes.io/hostname": "n"},
                "schedulingGates": [{"name": "kfarm.dev/twin-validated"}],
            },
            None,
        ),
        ({"nodeName": "m", "nodeSelector": {"kubernetes.io/hostname": "n"}}, "m"),
    ],
)
def test_where_a_pod_is(spec: dict[str, Any], place: str | None) -> None:
    assert pod(spec).place == place


def test_our_gate_is_told_from_others() -> None:
    gates = [{"name": "other.example/gate"}, {"name": "kfarm.dev/twin-validated"}]
    view = pod({"schedulingGates": gates})
    assert (view.gated, view.released, view.other_gates) == (True, False, ("other.example/gate",))
    assert pod({"schedulingGates": gates[:1]}).released


@pytest.mark.parametrize(
    ("index", "order"), [("3", (3, "x")), ("", (-1, "x")), ("-1", (-1, "x")), ("\u0663", (-1, "x"))]
)
def test_pods_are_ordered_by_completion_index(index: str, order: tuple[int, str]) -> None:
    labels = {"batch.kubernetes.io/job-completion-index": index}
    assert pod(labels=labels).order == order


@pytest.mark.parametrize(("phase", "live"), [("Pending", True), ("Failed", False)])
def test_a_pod_lives_until_it_ends(phase: str, live: bool) -> None:
    view = pod_view({"metadata": META, "spec": {}, "status": {"phase": phase}})
    assert view.live is live


def _ready(status: str) -> dict[str, Any]:
    return {
        "conditions": [{"type": "Other", "status": "True"}, {"type": "Ready", "status": status}]
    }


@pytest.mark.parametrize(
    ("status", "taints", "ready"),
    [
        (_ready("True"), [], True),
        (_ready("False"), [], False),
        (_ready("Unknown"), [], False),
        ({}, [], False),
        (_ready("True"), [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}], False),
        (_ready("True"), [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}], False),
    ],
)
def test_a_node_is_ready_by_condition_and_without_its_taints(
    status: Any, taints: Any, ready: bool
) -> None:
    assert node(status=status, taints=taints).ready is ready


@pytest.mark.parametrize(
    ("spec", "schedulable"),
    [
        ({}, True),
        ({"unschedulable": True}, False),
        ({"taints": [{"key": "kfarm.dev/farm", "effect": "NoSchedule"}]}, True),
        ({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]}, True),
        ({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}, True),
        ({"taints": [{"key": "k", "effect": "NoSchedule"}]}, False),
        ({"taints": [{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]}, False),
        ({"taints": [{"key": "k", "effect": "NoExecute"}]}, False),
    ],
)
def test_which_taints_keep_pods_away(spec: dict[str, Any], schedulable: bool) -> None:
    assert node(**spec).schedulable is schedulable


def test_allocatable_counts_finite_extended_resources_only() -> None:
    amounts = {"cpu": "8", "nvidia.com/gpu": "8", "a.io/b": "NaN", "c.io/d": "1k", "e.io/f": "?"}
    view = node(status={"allocatable": amounts})
    assert view.allocatable == (("nvidia.com/gpu", 8), ("c.io/d", 1000))
    assert (view.devices("nvidia.com/gpu"), view.devices("a.io/b")) == (8, 0)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "x", "\u0661", "99999999"])
def test_an_odd_index_is_none(text: str) -> None:
    assert node(labels={"kfarm.dev/node-index": text}).index is None


def test_the_place_of_a_node_is_read_from_its_labels() -> None:
    labels = {
        "kfarm.dev/farm": "f",
        "kfarm.dev/farm-kind": "GPUFarm",
        "kfarm.dev/cluster": "f-c",
        "kfarm.dev/node-index": "12",
    }
    view = node(labels=labels)
    assert (view.farm, view.cluster, view.index) == (("GPUFarm", "f"), "c", 12)
    assert node().farm == ("", "")


def test_the_fingerprint_leaves_out_readiness_and_notices_the_rest() -> None:
    base = node(status=_ready("True"))
    assert node(status=_ready("False")).fingerprint == base.fingerprint
    lifecycle = [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]
    assert node(taints=lifecycle).fingerprint == base.fingerprint
    assert node(taints=[{"key": "k", "effect": "NoSchedule"}]).fingerprint != base.fingerprint
    assert node(labels={"a": "b"}).fingerprint == base.fingerprint
    assert node(labels={"kfarm.dev/rack": "r"}).fingerprint != base.fingerprint
    assert node(status={"allocatable": {"a.io/b": "1"}}).fingerprint != base.fingerprint
    assert len(base.fingerprint) == 16
