"""From what watches bring to timeline, delays and the question for the twin."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kfarm_operator.drills.delays import DelayMeter
from kfarm_operator.drills.recorder import Recorder
from kfarm_operator.drills.settings import add_drill_arguments, drill_settings
from kfarm_operator.drills.views import drill_node, drill_pod

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def pod(name: str = "p", **more: Any) -> dict[str, Any]:
    spec = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "8"}}}],
            "tolerations": [{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
                             "effect": "NoExecute", "tolerationSeconds": 30}],
            **more.pop("spec", {})}  # fmt: skip
    meta = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1",
            "labels": {"kfarm.dev/placement-plan": "train"}, **more}  # fmt: skip
    return {"metadata": meta, "spec": spec, "status": {"phase": "Pending"}}


def test_a_pod_is_seen_from_its_binding_to_its_end() -> None:
    recorder = Recorder(Clock())
    key = ("ns", "d")
    recorder.follow(key, "u", ("GPUFarm", "f"), frozenset({"train"}))
    waiting = drill_pod(pod())
    bound = replace(waiting, node="n")
    running = replace(bound, phase="Running")
    leaving = replace(running, deleting=True)
    for before, after in ((None, waiting), (waiting, bound), (bound, running), (running, leaving),
                          (leaving, None)):  # fmt: skip
        assert recorder.pod_changed(before, after) == [key]
    seen = recorder.seen(key)
    assert [one.kind for one in seen] == ["Bound", "Running", "Deleting", "Gone"]
    assert [one.at for one in seen] == sorted(one.at for one in seen)
    recorder.told(key, seen[1].number)
    assert [one.kind for one in recorder.seen(key)] == ["Deleting", "Gone"]
    other = replace(waiting, plan="other")
    assert recorder.pod_changed(None, other) == []
    recorder.forget(key)
    assert recorder.seen(key) == ()


def test_a_node_is_seen_down_up_and_marked() -> None:
    labels = {"kfarm.dev/farm": "f", "kfarm.dev/farm-kind": "GPUFarm"}
    body = {"metadata": {"name": "n", "uid": "u", "labels": labels}, "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}}  # fmt: skip
    well = drill_node(body)
    assert well.healthy
    down = replace(well, ready="Unknown")
    sick = replace(well, faults=("SysLogsXIDError",))
    recorder = Recorder(Clock())
    recorder.follow(("ns", "d"), "u", ("GPUFarm", "f"), frozenset())
    for before, after in ((well, down), (down, well), (well, sick), (sick, sick)):
        recorder.node_changed(before, after)
    kinds = [one.kind for one in recorder.seen(("ns", "d"))]
    assert kinds == ["NodeDown", "NodeUp", "NodeMarked"]


def test_faults_of_others_and_of_drills_make_a_node_unhealthy() -> None:
    body = {
        "metadata": {"name": "n", "uid": "u"},
        "spec": {"taints": [{"key": "drill.kfarm.dev/fault", "effect": "NoSchedule"}]},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "SysLogsXIDError", "status": "True"},
                {"type": "GpuMemWatch", "status": "False"},
                {"type": "drill.kfarm.dev/NpuUnhealthy", "status": "True"},
            ],
            "allocatable": {"nvidia.com/gpu": "7", "cpu": "4", "odd/one": "many"},
        },
    }
    node = drill_node(body)
    assert node.faults == ("SysLogsXIDError", "drill.kfarm.dev/NpuUnhealthy")
    assert (node.cordoned, node.marked, node.healthy) == (True, True, False)
    assert node.devices == (("nvidia.com/gpu", 7),)


def test_a_pod_tells_how_long_it_stays_on_a_dead_node() -> None:
    assert drill_pod(pod()).toleration_s == 30
    for_ever = pod(spec={"tolerations": [{"operator": "Exists"}]})
    assert drill_pod(for_ever).toleration_s is None
    assert drill_pod(pod(spec={"tolerations": []})).toleration_s == 0


def test_delays_are_those_of_successors() -> None:
    clock = Clock()
    meter = DelayMeter(clock)

    def play(name: str) -> None:
        gated = drill_pod(
            pod(name, spec={"schedulingGates": [{"name": "kfarm.dev/twin-validated"}]})
        )
        open_ = replace(gated, gated=False)
        running = replace(open_, phase="Running", node="n")
        for before, after in ((None, gated), (gated, open_), (open_, running)):
            meter.pod_changed(before, after)

    play("first")
    assert meter.samples([("ns", "train")]) == ((), ())
    play("successor")
    assert meter.samples([("ns", "train")]) == ((1.0,), (1.0,))
    assert meter.samples([("ns", "other")]) == ((), ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--drill-domains", "0"], "--drill-domains 0: at least 1"),
        (["--drill-max-duration", "half an hour"], "half an hour"),
        (["--cluster-name", "x" * 64], "at most 63"),
    ],
)
def test_bad_arguments_say_what_is_wrong(arguments: list[str], message: str) -> None:
    parser = argparse.ArgumentParser()
    add_drill_arguments(parser)
    with pytest.raises(ValueError, match=message):
        drill_settings(parser.parse_args(arguments))
    good = drill_settings(parser.parse_args(["--drill-max-duration", "1h", "--namespace", "k"]))
    assert (good.max_duration_s, good.namespace) == (3600.0, "k")
