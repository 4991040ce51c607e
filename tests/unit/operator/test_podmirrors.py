"""What pods hold, counted one change at a time, against counting all pods anew."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kfarm_operator.mirror import Grouped, Key
from kfarm_operator.plans.observe import hostname, pod_usage
from kfarm_operator.podmirrors import Holdings
from kfarm_operator.views import NodeView, PodView, node_view, pod_view

NODES = ("n0", "n1", "n2")
PLANS = ("", "train", "serve")
Body = dict[str, Any]


def node(name: str) -> NodeView:
    labels = {"kubernetes.io/hostname": f"host-{name}"}
    return node_view({"metadata": {"name": name, "uid": name, "resourceVersion": "1",
                                   "labels": labels}})  # fmt: skip


@st.composite
def pods(draw: st.DrawFn) -> PodView:
    name = draw(st.sampled_from("abcdef"))
    pinned = draw(st.sampled_from([None, *NODES]))
    meta: Body = {
        "namespace": draw(st.sampled_from(["team", "other"])),
        "name": name,
        "uid": name,
        "resourceVersion": "1",
        "labels": {"kfarm.dev/placement-plan": draw(st.sampled_from(PLANS))},
    }
    if draw(st.booleans()):
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    devices = {"nvidia.com/gpu": str(draw(st.integers(0, 8)))}
    spec: Body = {"containers": [{"resources": {"limits": devices}}]}
    if pinned:
        spec["nodeSelector"] = {"kubernetes.io/hostname": f"host-{pinned}"}
    if draw(st.booleans()):
        spec["schedulingGates"] = [{"name": "kfarm.dev/twin-validated"}]
    if draw(st.booleans()):
        spec["nodeName"] = draw(st.sampled_from(NODES))
    phase = draw(st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]))
    return pod_view({"metadata": meta, "spec": spec, "status": {"phase": phase}})


def key(pod: PodView) -> Key:
    return pod.namespace, pod.name


@given(st.lists(st.tuples(pods(), st.booleans()), max_size=40))
def test_holdings_equal_a_count_of_all_pods(steps: list[tuple[PodView, bool]]) -> None:
    there: dict[Key, PodView] = {}
    held, grouped = Holdings(), Grouped[PodView](lambda pod: pod.plan)
    for pod, gone in steps:
        before = there.pop(key(pod), None)
        after = None if gone else pod
        if after is not None:
            there[key(pod)] = after
        for tally in (held, grouped):
            tally.replace(key(pod), before, after)
    views = [node(name) for name in NODES]
    hostnames = {hostname(view): view.name for view in views}
    expected: dict[tuple[str, Key], int] = {}
    for pod in there.values():
        used = pod_usage(pod, hostnames)
        if used is not None:
            seat = (used.node, used.plan)
            expected[seat] = expected.get(seat, 0) + used.accelerators
    found: dict[tuple[str, Key], int] = {}
    for view in views:
        for plan, count in held.on(view):
            found[view.name, plan] = found.get((view.name, plan), 0) + count
    assert found == expected
    for plan in PLANS:
        members = sorted(key(pod) for pod in grouped.members(plan))
        assert members == sorted(k for k, pod in there.items() if pod.plan == plan)


def test_nothing_is_kept_of_pods_that_are_gone(scenes: Any) -> None:
    scene = scenes.Scene()
    pod = pod_view(scene.pods[scene.foreign_pod("f-c-0000", 4)])
    held = Holdings()
    held.replace(key(pod), None, pod)
    held.replace(key(pod), pod, None)
    assert vars(held) == vars(Holdings())
