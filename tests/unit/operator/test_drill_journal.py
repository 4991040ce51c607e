"""What a drill changes on a Node or a Lease, and that it is taken back exactly."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kfarm_api.drill_marks import ANNOTATION_DRILL, ANNOTATION_UNDO, ANNOTATION_UNTIL
from kfarm_api.drill_status import Change, JournalEntry
from kfarm_operator.drills.clock import moment, whole
from kfarm_operator.drills.inject import outlives
from kfarm_operator.drills.journal import (
    canonical,
    changes_of,
    marks_of,
    patches,
    read_field,
    redo,
    undo,
)
from kfarm_operator.drills.undoing import patience_s, step

Body = dict[str, Any]
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
TAINT = "taint/drill.kfarm.dev/fault:NoSchedule"
SIGN = "condition/SysLogsXIDError"
DEVICES = "allocatable/nvidia.com/gpu"
KEPT = {"key": "kfarm.dev/farm", "value": "f", "effect": "NoSchedule"}


def node(**status: Any) -> Body:
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady",
             "lastHeartbeatTime": "2026-01-31T11:59:00Z"}  # fmt: skip
    return {
        "metadata": {"name": "n", "uid": "u", "resourceVersion": "7", "annotations": {"a": "b"}},
        "spec": {"taints": [dict(KEPT)]},
        "status": {"conditions": [ready], "allocatable": {"nvidia.com/gpu": "8"}, **status},
    }


AFTER = {
    TAINT: canonical({"key": "drill.kfarm.dev/fault", "value": "X", "effect": "NoSchedule"}),
    SIGN: canonical({"type": "SysLogsXIDError", "status": "True", "reason": "R", "message": "m",
                     "lastHeartbeatTime": "2026-01-31T12:00:00Z"}),
    DEVICES: canonical("7"),
}  # fmt: skip


def entry(body: Body, after: dict[str, str | None] | None = None, **more: Any) -> JournalEntry:
    changes = changes_of(body, after or dict(AFTER), ())
    return JournalEntry(
        id="f/Node/n", fault="f", kind="Node", name="n", uid="u", state="Planned",
        changes=changes, planned_at=moment(NOW), **more,
    )  # fmt: skip


def patched(body: Body, wanted: dict[str, str | None], marks: dict[str, str | None]) -> Body:
    """The object as the API server has it after both merge patches."""
    found = patches(body, wanted, marks)
    for patch in (found.main, found.status and {"status": found.status["status"]}):
        body = _merge(body, patch or {})
    return body


def _merge(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = _merge(new.get(key), value)
    return new


def test_what_is_applied_and_undone_is_as_before() -> None:
    before = node()
    made = entry(before)
    assert {c.field: c.before for c in made.changes} == {
        TAINT: None, SIGN: None, DEVICES: '"8"',
    }  # fmt: skip
    marks = marks_of([made], "ns/d/1", "2026-01-31T12:30:00Z")
    during = patched(before, redo(made, before), marks)
    assert read_field(during, DEVICES) == '"7"'
    assert during["spec"]["taints"][0] == KEPT
    assert json.loads(during["metadata"]["annotations"][ANNOTATION_UNDO]) == [
        c.as_manifest() for c in made.changes
    ]
    back = undo(made, during)
    assert back.state == "Restored"
    assert patched(during, back.wanted, marks_of([], "ns/d/1", "")) == before


def test_undoing_twice_changes_nothing_more() -> None:
    before = node()
    made = entry(before)
    again = undo(made, before)
    assert again.state == "Restored"
    found = patches(before, again.wanted, marks_of([], "d", ""))
    assert (found.main, found.status) == (None, None)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"allocatable": {"nvidia.com/gpu": "3"}}, DEVICES),
        ({"conditions": [{"type": "SysLogsXIDError", "status": "False", "reason": "Ok"}]}, SIGN),
    ],
)  # fmt: skip
def test_what_somebody_changed_meanwhile_is_left_alone(change: Body, kept: str) -> None:
    before = node()
    made = entry(before)
    during = patched(before, redo(made, before), {})
    during["status"] |= change
    back = undo(made, during)
    assert back.state == "Foreign"
    assert kept not in back.wanted
    assert TAINT in back.wanted


def test_a_heartbeat_is_no_change() -> None:
    before = node()
    made = entry(before)
    during = patched(before, redo(made, before), {})
    for condition in during["status"]["conditions"]:
        condition["lastHeartbeatTime"] = "2026-01-31T12:07:00Z"
    assert undo(made, during).state == "Restored"


@pytest.mark.parametrize("body", [None, {**node(), "metadata": {"name": "n", "uid": "other"}}])
def test_an_object_that_is_gone_or_another_is_not_touched(body: Body | None) -> None:
    found = step(entry(node()), body, {ANNOTATION_UNTIL: None}, NOW)
    assert (found.state, found.patches.main, found.patches.status) == ("Gone", None, None)


def test_marks_go_with_the_last_entry() -> None:
    one = entry(node())
    two = one.model_copy(update={"id": "g/Node/n"})
    both = marks_of([one, two], "d", "u")
    assert len(json.loads(both[ANNOTATION_UNDO] or "")) == 6
    assert marks_of([], "d", "u") == {
        ANNOTATION_UNTIL: None, ANNOTATION_DRILL: None, ANNOTATION_UNDO: None,
    }  # fmt: skip


def test_a_field_that_is_taken_is_not_changed_twice() -> None:
    assert changes_of(node(), dict(AFTER), list(AFTER)) == []


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="no such field"):
        read_field(node(), "spec/unschedulable")


def lease(holder: str, seconds: int, age_s: float) -> Body:
    renewed = NOW - timedelta(seconds=age_s)
    return {
        "metadata": {"name": "n", "uid": "u", "resourceVersion": "7", "annotations": {}},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": seconds,
                 "renewTime": f"{renewed:%Y-%m-%dT%H:%M:%S.%f}Z"},
    }  # fmt: skip


def held() -> JournalEntry:
    return JournalEntry(
        id="f/Lease/n", fault="f", kind="Lease", name="n", uid="u", state="Applied",
        changes=[
            Change(field="lease/holderIdentity", before='"kwok"', after='"kfarm-drill/1"'),
            Change(field="lease/leaseDurationSeconds", before="40", after="300"),
        ],
        planned_at=moment(NOW),
    )  # fmt: skip


def test_a_lease_is_let_expire_so_that_kwok_takes_it_by_itself() -> None:
    found = step(held(), lease("kfarm-drill/1", 300, 20.4), {ANNOTATION_UNTIL: None}, NOW)
    assert found.state is None
    assert found.again_s > 0
    assert found.patches.main == {"spec": {"leaseDurationSeconds": 20}}


def test_a_lease_that_kwok_took_back_is_restored_as_it_is() -> None:
    body = lease("kwok", 40, 1)
    body["metadata"]["annotations"] = {ANNOTATION_UNTIL: "x"}
    found = step(held(), body, {ANNOTATION_UNTIL: None}, NOW)
    assert found.state == "Restored"
    assert found.patches.main == {"metadata": {"annotations": {ANNOTATION_UNTIL: None}}}


def test_a_lease_of_somebody_else_is_left() -> None:
    found = step(held(), lease("another-drill", 40, 1), {}, NOW)
    assert (found.state, found.patches.main) == ("Foreign", None)


def test_a_lease_that_nobody_takes_is_handed_back_after_a_while() -> None:
    patience = patience_s(held())
    waiting = step(held(), lease("kfarm-drill/1", 20, 20 + patience - 1), {}, NOW)
    assert (waiting.state, waiting.patches.main) == (None, None)
    late = step(held(), lease("kfarm-drill/1", 20, 20 + patience + 1), {}, NOW)
    assert late.state == "Restored"
    assert late.patches.main == {"spec": {"holderIdentity": "kwok", "leaseDurationSeconds": 40}}


def test_a_duration_that_stays_is_noted_since_it_is_cut_short_on_the_way_back() -> None:
    """The drill happens to need as long as KWOK has its Leases."""
    after = {"lease/holderIdentity": '"kfarm-drill/1"', "lease/leaseDurationSeconds": "40"}
    made = held().model_copy(update={"changes": changes_of(lease("kwok", 40, 1), after, ())})
    assert [one.field for one in made.changes] == list(after)
    cut = step(made, lease("kfarm-drill/1", 40, 10.4), {}, NOW)
    assert cut.patches.main == {"spec": {"leaseDurationSeconds": 10}}
    late = step(made, lease("kfarm-drill/1", 10, 10 + patience_s(made) + 1), {}, NOW)
    assert late.patches.main == {"spec": {"holderIdentity": "kwok", "leaseDurationSeconds": 40}}


def test_a_lease_that_was_renewed_since_never_outlives_the_drill() -> None:
    until = whole(NOW + timedelta(seconds=300))
    assert outlives(held(), lease("kwok", 40, 5), until) is None
    made = held().model_copy(update={"changes": [
        held().changes[0], held().changes[1].model_copy(update={"after": "310"}),
    ]})  # fmt: skip
    shorter = outlives(made, lease("kwok", 40, 0), until)
    assert shorter is not None
    assert shorter.changes[1].after == "300"
