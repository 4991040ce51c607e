"""`kfarm drill run` without a cluster: files, moments, lines, residue."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kfarm_api.drill_status import FailureDrillStatus
from kfarm_api.parse import parse
from kfarm_api.plan import PlacementPlan
from kfarm_operator.drillrun import run
from kfarm_operator.drillrun.command import command_words
from kfarm_operator.drillrun.errors import BadInput
from kfarm_operator.drillrun.files import ANNOTATION_RUNBOOK, read_drill
from kfarm_operator.drillrun.moments import begins, has_reached, node_acts, stamp
from kfarm_operator.drillrun.progress import news, outcome
from kfarm_operator.drillrun.residue import differences, state_of

DRILL = """\
# What to do: 노드를 비운다.
#
# Second paragraph.
apiVersion: kfarm.dev/v1alpha1
kind: FailureDrill
metadata: {namespace: drills, name: d}
spec:
  mode: Both
  farm: {kind: GPUFarm, name: f}
  plans: [p]
  faults:
    - {name: one, action: NodeDown, selector: {plan: p}, duration: 30s}
    - {name: api, action: ApiOutage, at: 5s, trigger: {plan: p, event: Releasing}, duration: 9s}
    - {name: kill, action: OperatorKill, at: 7s, duration: 2s}
"""
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: drills}\n"
JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j, namespace: drills}\nspec: {}\n"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def put(text: str, name: str = "drill.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return put


def test_order_in_the_file_says_what_is_ground_and_what_comes_while_the_drill_runs(
    write: Any,
) -> None:
    ground = write(NAMESPACE, "ground.yaml")
    files = read_drill([ground, write(f"{DRILL}---\n{JOB}")])
    assert [str(item) for item in files.ground] == ["Namespace drills"]
    assert [str(item) for item in files.meanwhile] == ["Job drills/j"]
    assert (files.namespace, files.name) == ("drills", "d")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_comment_at_the_head_is_the_runbook(write: Any, newline: str) -> None:
    files = read_drill([write(DRILL.replace("\n", newline))])
    assert files.runbook == "What to do: 노드를 비운다.\n\nSecond paragraph."
    assert files.body["metadata"]["annotations"][ANNOTATION_RUNBOOK] == files.runbook


def test_confirm_arms_and_its_absence_leaves_a_dry_run(write: Any) -> None:
    files = read_drill([write(DRILL)])
    assert files.drill.spec.dry
    armed = files.armed("local")
    assert not armed.drill.spec.dry
    assert armed.body["spec"]["confirm"] == "local"
    assert "confirm" not in files.body["spec"]


def test_two_names_of_a_cluster_are_refused(write: Any) -> None:
    files = read_drill([write(DRILL.replace("mode: Both", "mode: Both\n  confirm: prod"))])
    with pytest.raises(BadInput, match=r"'prod'.*'local'"):
        files.armed("local")


def test_a_drill_for_the_twin_alone_cannot_be_armed(write: Any) -> None:
    text = DRILL.replace("mode: Both", "mode: Twin")
    with pytest.raises(BadInput, match="mode Twin touches nothing"):
        read_drill([write(text)]).armed("local")


def test_delays_of_the_cluster_at_hand_stand_above_those_of_the_file(write: Any) -> None:
    text = f"{DRILL}  delays: {{podGcPeriod: 9s, nodeEvictionRate: '2'}}\n"
    files = read_drill([write(text)]).on_cluster({"nodeEvictionRate": "1"})
    assert files.drill.spec.delays.node_eviction_rate == "1"
    assert files.drill.spec.delays.pod_gc_period == "9s"
    with pytest.raises(BadInput, match="nodeEvictionRate"):
        files.on_cluster({"nodeEvictionRate": "fast"})
    with pytest.raises(BadInput, match=r"spec\.delays\.speed"):
        files.on_cluster({"speed": "1s"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (NAMESPACE, "FailureDrills: none; expected exactly one"),
        (f"{DRILL}---\n{DRILL}", "document 1.*document 2; expected exactly one"),
        (f"{DRILL}---\n{JOB.replace('Job', 'Secret')}", "document 2: found 'batch/v1', 'Secret'"),
        (f"{DRILL}---\n{JOB.replace(', namespace: drills', '')}", "no metadata.namespace"),
        (f"{DRILL}---\n[1]", "a list of 1; expected an object"),
        (f"{DRILL}  faultz: 3\n", "spec.faultz"),
        (DRILL.replace("30s", ".nan"), "found .nan; expected a finite number"),
        (DRILL.replace("{plan: p}, d", "{}, d"), "an empty selector is refused"),
        (DRILL.replace("plans: [p]", "plans: [q]"), "a trigger must name one of plans"),
        ("a: [", "drill.yaml, document 1"),
        (f"{DRILL}  schedule: {{cron: '0 3 * * *'}}\n", "spec.schedule is for drills"),
        ("", "FailureDrills: none"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(write: Any, text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        read_drill([write(text)])


def test_wrong_input_ends_with_code_2(
    write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-f", str(tmp_path / "absent.yaml")]) == 2
    assert "absent.yaml: no such file" in capsys.readouterr().err
    assert run([]) == 2
    assert run(["-f", str(write(DRILL)), "--driver", "magic"]) == 2
    assert run(["-f", str(write(DRILL)), "--delay", "podGcPeriod"]) == 2
    assert "give NAME=VALUE" in capsys.readouterr().err
    capsys.readouterr()
    bad = str(write("not a kubeconfig: [", "config"))
    assert run(["-f", str(write(DRILL)), "--kubeconfig", bad]) == 2
    assert "check --kubeconfig" in capsys.readouterr().err


def test_help_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "kfarm drill run" in capsys.readouterr().out


def _plan(generation: int = 1, **status: Any) -> PlacementPlan:
    farms = [{"kind": "GPUFarm", "name": "f"}]
    workload = {"name": "w", "class": "Inference", "pods": 4, "acceleratorsPerPod": 8,
                "accelerators": ["b200"]}  # fmt: skip
    body = {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "PlacementPlan",
        "metadata": {"name": "p", "namespace": "drills", "generation": generation},
        "spec": {"policy": "x", "farms": farms, "workloads": [workload]},
        **({"status": {"observedGeneration": 1, **status}} if status else {}),
    }
    found = parse(body, strict=False)
    assert isinstance(found, PlacementPlan)
    return found


REACHED = {
    "nothing": (None, ()),
    "applied": (_plan(), ("Simulating",)),
    "rejected": (_plan(verdict="Rejected"), ("Simulating",)),
    "approved": (_plan(verdict="Approved", slots=4, released=0), ("Simulating", "Approved")),
    "releasing": (
        _plan(verdict="Approved", slots=4, released=1, bound=0),
        ("Simulating", "Approved", "Releasing"),
    ),
    "running": (
        _plan(verdict="Approved", slots=4, released=4, bound=4),
        ("Simulating", "Approved", "Releasing", "Running"),
    ),
    "edited since": (
        _plan(generation=2, verdict="Approved", slots=4, released=4, bound=4),
        ("Simulating",),
    ),
}


@pytest.mark.parametrize("case", REACHED)
def test_moments_of_a_plan(case: str) -> None:
    plan, reached = REACHED[case]
    events = ("Simulating", "Approved", "Releasing", "Running")
    assert tuple(event for event in events if has_reached(event, plan)) == reached


def test_a_fault_is_due_after_its_trigger_else_after_the_start(write: Any) -> None:
    _, api, kill = read_drill([write(DRILL)]).drill.spec.faults
    assert begins(kill, NOW, None) == NOW + timedelta(seconds=7)
    assert begins(kill, None, None) is None
    assert begins(api, NOW, None) is None
    triggered = NOW + timedelta(seconds=60)
    assert begins(api, NOW, triggered) == triggered + timedelta(seconds=5)
    assert begins(api, None, triggered) is None


def test_the_runner_takes_down_containers_only_and_only_while_the_fault_is_active(
    write: Any,
) -> None:
    drill = read_drill([write(DRILL)]).drill
    real = frozenset({"kind-worker", "kind-worker2"})

    def acts(state: str, *nodes: str) -> list[tuple[str, ...]]:
        status = FailureDrillStatus.model_validate(
            {
                "targets": [{"fault": "one", "nodes": list(nodes)}],
                "faults": [{"fault": "one", "state": state}, {"fault": "api", "state": "Active"}],
            }
        )
        return [act.nodes for act in node_acts(drill, status, real)]

    assert acts("Active", "kind-worker", "fake-1") == [("kind-worker",)]
    assert acts("Active", "fake-1") == []
    assert acts("Waiting", "kind-worker") == []
    assert acts("Ended", "kind-worker") == []


def test_stamps_carry_milliseconds_and_the_zone() -> None:
    assert stamp(NOW + timedelta(microseconds=1500)) == "2026-01-31T12:00:00.001Z"


def _status(**fields: Any) -> FailureDrillStatus:
    return FailureDrillStatus.model_validate(fields)


def test_only_what_is_new_is_told_and_many_of_one_sort_are_counted() -> None:
    started = "2026-01-31T12:00:00.000Z"
    first = {"at": "2026-01-31T12:00:01.500Z", "event": "Injected", "fault": "one", "object": "n1"}
    many = [
        {"at": f"2026-01-31T12:00:{10 + n}.000Z", "event": "Evicted", "object": f"p{n}"}
        for n in range(9)
    ]
    before = _status(phase="Running", startedAt=started, timeline=[first])
    after = _status(phase="Recovering", startedAt=started, timeline=[first, *many], message="so")
    told = list(news(before, after))
    assert told == ["phase Recovering: so", "   +10.0 s to    +18.0 s  Evicted: 9 objects"]
    assert list(news(after, after)) == []
    assert "Injected (one): n1" in list(news(None, before))[1]


def test_outcome_sets_predicted_beside_observed() -> None:
    metric = {"name": "seconds_to_recover", "unit": "s", "low": "40", "median": "50", "high": "60",
              "observed": "75", "within": False, "error": "50"}  # fmt: skip
    bare = {"name": "pods_affected", "unit": "", "observed": "1"}
    result = {"name": "fast", "result": "Failed", "message": "75 s, at most 60"}
    lines = list(outcome(_status(phase="Completed", verdict="Failed", metrics=[metric, bare],
                                 expectations=[result])))  # fmt: skip
    assert lines[0] == "Failed."
    assert "Failed  fast: 75 s, at most 60" in lines[1]
    assert "50 [40 .. 60]" in lines[3]
    assert lines[3].endswith("50 %  outside")
    assert lines[4].split() == ["pods_affected", "-", "1"]


def _node(name: str = "n", **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "metadata": {"name": name, "labels": {"a": "1"}, "annotations": {"x": "1"},
                     "resourceVersion": "7"},
        "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "now"}],
            "allocatable": {"nvidia.com/gpu": "8"},
        },
    }  # fmt: skip
    for path, value in changes.items():
        part, key = path.split("_")
        body[part][key] = value
    return body


def _lease(holder: str, space: str = "kube-node-lease") -> dict[str, Any]:
    return {
        "metadata": {"name": "n", "namespace": space},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 40, "renewTime": "now"},
    }


def test_residue_is_each_field_that_differs() -> None:
    before = state_of([_node()], [_lease("kwok")])
    heartbeat = [{"type": "Ready", "status": "True", "lastHeartbeatTime": "later"}]
    same = _node(status_conditions=heartbeat, metadata_resourceVersion="9")
    assert differences(before, state_of([same], [_lease("kwok")])) == []
    changes = {
        "label a": _node(metadata_labels={"a": "2"}),
        "annotation drill.kfarm.dev/until": _node(
            metadata_annotations={"drill.kfarm.dev/until": "2026"}
        ),
        "taint k:NoSchedule": _node(spec_taints=[]),
        "unschedulable": _node(spec_unschedulable=True),
        "condition Ready": _node(
            status_conditions=[{"type": "Ready", "status": "Unknown"}]
        ),
        "allocatable nvidia.com/gpu": _node(status_allocatable={"nvidia.com/gpu": "7"}),
    }  # fmt: skip
    for field, body in changes.items():
        (told,) = differences(before, state_of([body], [_lease("kwok")]))
        assert told.startswith(f"Node n: {field} was ")
    (told,) = differences(before, state_of([_node()], [_lease("kfarm-drill/1")]))
    assert told == "Lease n: holderIdentity was kwok, is kfarm-drill/1"


def test_kwok_that_was_started_again_holds_its_leases_under_another_name() -> None:
    first, second = (f"k-worker_{uuid.UUID(int=number)}" for number in (1, 2))
    before = state_of([_node()], [_lease(first)])
    assert differences(before, state_of([_node()], [_lease(second)])) == []
    other = f"k-worker2_{uuid.UUID(int=1)}"
    (told,) = differences(before, state_of([_node()], [_lease(other)]))
    assert told == "Lease n: holderIdentity was k-worker, is k-worker2"


def test_objects_that_came_or_went_and_leases_of_others_are_no_residue() -> None:
    before = state_of([_node("a")], [_lease("x", "kfarm-system")])
    after = state_of([_node("b")], [_lease("y", "kfarm-system")])
    assert differences(before, after) == []


def test_what_another_drill_is_busy_with_is_not_looked_at() -> None:
    def marked(body: dict[str, Any], uid: str) -> dict[str, Any]:
        body["metadata"]["annotations"] = {"drill.kfarm.dev/drill": f"drills/d/{uid}"}
        return body

    before = state_of([_node()], [_lease("kwok")])
    down = [{"type": "Ready", "status": "Unknown"}]
    for uid, count in (("mine", 3), ("other", 0)):
        after = state_of([_node(status_conditions=down)], [marked(_lease("x"), uid)], "mine")
        assert len(differences(before, after)) == count
    assert state_of([marked(_node(), "other")], []) == {}


@pytest.mark.parametrize("command", ["", " ", "docker -H 'unix:///half"])
def test_a_docker_that_is_no_command_is_wrong_input(command: str) -> None:
    with pytest.raises(BadInput, match="--docker"):
        command_words(command)


def test_a_docker_may_have_options() -> None:
    assert command_words("docker -H unix:///a/b") == ["docker", "-H", "unix:///a/b"]
