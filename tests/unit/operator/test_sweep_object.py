"""What the sweeper does to an object, from nothing but the object itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kfarm_operator.sweep_object import (
    LOCK_GRACE_S,
    Unreadable,
    fields,
    lock_overdue,
    overdue,
    sweep_lease,
    sweep_node,
)
from kfarm_operator.sweeper import Round, parse_arguments, sweep_for

Body = dict[str, Any]
UNTIL = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
OURS = "drill.kfarm.dev/"
FAULT = {"key": f"{OURS}fault", "value": "DeviceFault", "effect": "NoSchedule"}
OTHER = {"key": "other", "effect": "NoSchedule"}
BAD = {"type": "SysLogsXIDError", "status": "True", "reason": "XID79", "message": "넘어짐",
       "lastHeartbeatTime": "2026-01-31T11:00:00Z",
       "lastTransitionTime": "2026-01-31T11:00:00Z"}  # fmt: skip
GOOD = BAD | {"status": "False", "reason": "NoXID", "lastTransitionTime": "2026-01-01T00:00:00Z"}
READY = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}


def change(field: str, before: Any, after: Any) -> Body:
    texts = [None if value is None else json.dumps(value) for value in (before, after)]
    return {"field": field, "before": texts[0], "after": texts[1]}


UNDO = [
    change(f"taint/{OURS}fault:NoSchedule", None, FAULT),
    change("condition/SysLogsXIDError", GOOD, BAD),
    change("allocatable/nvidia.com/gpu", "8", "7"),
    change("label/drill.kfarm.dev/by", None, "me"),
]


def marked(undo: object = UNDO, until: str | None = "2026-01-31T12:00:00Z") -> Body:
    marks = {f"{OURS}until": until, f"{OURS}drill": "lab/d/u", f"{OURS}undo": undo, "vendor": "x"}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in marks.items() if v}


def node(undo: object = UNDO) -> Body:
    """As a drill of a device left it."""
    labels = {f"{OURS}by": "me", "zone": "a"}
    status = {"conditions": [READY, BAD], "capacity": {"nvidia.com/gpu": "8"},
              "allocatable": {"nvidia.com/gpu": "7", "cpu": "4"}}  # fmt: skip
    return {"metadata": {"name": "n", "labels": labels, "annotations": marked(undo)},
            "spec": {"taints": [OTHER, FAULT]}, "status": status}  # fmt: skip


NOTHING_OF_OURS = {f"{OURS}until": None, f"{OURS}drill": None, f"{OURS}undo": None}


def test_everything_is_set_back_exactly_and_the_rest_left_alone() -> None:
    sweep = sweep_node(node())
    assert sweep.status == {"status": {"conditions": [READY, GOOD],
                                       "allocatable": {"nvidia.com/gpu": "8"}}}  # fmt: skip
    assert sweep.main == {
        "metadata": {"annotations": NOTHING_OF_OURS, "labels": {f"{OURS}by": None}},
        "spec": {"taints": [OTHER]},
    }
    assert (sweep.kept, sweep.problem) == ((), "")


def test_heartbeats_times_of_taints_and_empty_texts_are_nobody_s_change() -> None:
    body = node()
    body["status"]["conditions"][1] = BAD | {"lastHeartbeatTime": "2026-01-31T11:59:00Z"}
    undo = [change("condition/SysLogsXIDError", GOOD, BAD | {"message": ""}), *UNDO[:1]]
    body["metadata"]["annotations"] = marked(undo)
    del body["status"]["conditions"][1]["message"]
    body["spec"]["taints"][1] = FAULT | {"timeAdded": "2026-01-31T11:00:00Z"}
    sweep = sweep_node(body)
    assert sweep.status is not None
    assert sweep.status["status"]["conditions"] == [READY, GOOD]
    assert sweep.main is not None
    assert sweep.main["spec"] == {"taints": [OTHER]}


EDITS: dict[str, tuple[str, Any]] = {
    f"taint/{OURS}fault:NoSchedule": ("taints", FAULT | {"value": "mine"}),
    "condition/SysLogsXIDError": ("conditions", BAD | {"message": "seen by me"}),
    "allocatable/nvidia.com/gpu": ("allocatable", "6"),
    "label/drill.kfarm.dev/by": ("labels", "you"),
}


@pytest.mark.parametrize("field", EDITS)
def test_what_somebody_changed_meanwhile_stays(field: str) -> None:
    where, value = EDITS[field]
    body = node()
    match where:
        case "taints":
            body["spec"]["taints"][1] = value
        case "conditions":
            body["status"]["conditions"][1] = value
        case "allocatable":
            body["status"]["allocatable"]["nvidia.com/gpu"] = value
        case "labels":
            body["metadata"]["labels"][f"{OURS}by"] = value
    sweep = sweep_node(body)
    assert sweep.kept == (field,)
    assert json.dumps(value) not in json.dumps(sweep.status) + json.dumps(sweep.main)
    assert sweep.main is not None
    assert sweep.main["metadata"]["annotations"] == NOTHING_OF_OURS
    assert ("spec" in sweep.main) == (where != "taints")


def test_what_was_set_back_already_is_not_written_again() -> None:
    """As after a crash between the two writes."""
    body = node()
    body["status"]["conditions"][1] = GOOD
    body["status"]["allocatable"]["nvidia.com/gpu"] = "8"
    sweep = sweep_node(body)
    assert sweep.status is None
    assert sweep.kept == ()


def test_what_was_taken_away_comes_back() -> None:
    body = node([change("taint/other:NoSchedule", {"key": "other", "effect": "NoSchedule"}, None)])
    body["spec"]["taints"] = [FAULT]
    sweep = sweep_node(body)
    assert sweep.main is not None
    assert sweep.main["spec"] == {"taints": [FAULT, OTHER]}


def test_no_more_is_allocatable_than_the_node_has_by_now() -> None:
    body = node()
    body["status"]["capacity"]["nvidia.com/gpu"] = "4"
    sweep = sweep_node(body)
    assert sweep.status is not None
    assert sweep.status["status"]["allocatable"] == {"nvidia.com/gpu": "4"}


UNREADABLE: dict[str, object] = {
    "cut short": json.dumps(UNDO)[:-10],
    "no list": "7",
    "of texts": '["a"]',
    "a field without a name": '[{"field": "taint/", "before": null, "after": "{}"}]',
    "a value that is no JSON": '[{"field": "label/a", "before": "{", "after": null}]',
    "a taint that is a number": '[{"field": "taint/a:b", "before": "7", "after": null}]',
    "far too deep": "[" * 100_000,
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_without_a_readable_way_back_only_our_own_names_go(what: str) -> None:
    body = node()
    body["metadata"]["annotations"][f"{OURS}undo"] = UNREADABLE[what]
    body["status"]["conditions"].append(BAD | {"type": f"{OURS}broken"})
    sweep = sweep_node(body)
    assert "only what is named drill.kfarm.dev/" in sweep.problem
    assert sweep.status == {"status": {"conditions": [READY, BAD]}}
    assert sweep.main is not None
    assert sweep.main["spec"] == {"taints": [OTHER]}
    with pytest.raises(Unreadable):
        fields(str(UNREADABLE[what]))


@pytest.mark.parametrize(
    ("until", "seconds", "due"),
    [
        ("2026-01-31T12:00:00Z", -1, False), ("2026-01-31T12:00:00Z", 0, True),
        ("soon", -9999, True), (None, -9999, True), ("2026-01-31T12:00:00", -1, True),
    ],
)  # fmt: skip
def test_overdue_is_what_is_past_its_end_or_has_none(
    until: str | None, seconds: int, due: bool
) -> None:
    body = node()
    body["metadata"]["annotations"] = marked(until=until)
    assert overdue(body, UNTIL + seconds * SECOND) is due
    body["metadata"]["annotations"] = {"vendor": "x", f"{OURS}runner.api": "a/b"}
    assert not overdue(body, UNTIL + timedelta(days=9))


def lease(holder: str | None = "kfarm-drill/u", lasts: int = 3600) -> Body:
    undo = [change("lease/holderIdentity", "kwok", "kfarm-drill/u"),
            change("lease/leaseDurationSeconds", 40, 3600)]  # fmt: skip
    spec = {"holderIdentity": holder, "leaseDurationSeconds": lasts,
            "renewTime": "2026-01-31T11:00:00.000000Z"}  # fmt: skip
    return {"metadata": {"name": "n", "annotations": marked(undo)}, "spec": spec}


def test_a_lease_is_left_to_kwok_for_a_round_and_then_given_back() -> None:
    """A round is a quarter of its 40 seconds; it ran out with the drill."""
    assert sweep_lease(lease(), UNTIL + 15 * SECOND) is None
    sweep = sweep_lease(lease(), UNTIL + 16 * SECOND)
    assert sweep is not None
    given = {"holderIdentity": "kwok", "leaseDurationSeconds": 40}
    assert sweep.main == {"metadata": {"annotations": NOTHING_OF_OURS}, "spec": given}


@pytest.mark.parametrize("holder", ["kwok", "somebody", None, ""])
def test_a_lease_that_somebody_took_only_loses_the_marks(holder: str | None) -> None:
    sweep = sweep_lease(lease(holder, 40), UNTIL)
    assert sweep is not None
    assert sweep.main == {"metadata": {"annotations": NOTHING_OF_OURS}}


def test_a_lease_that_somebody_made_longer_keeps_that() -> None:
    body = lease(lasts=4000)
    assert sweep_lease(body, UNTIL + 415 * SECOND) is None
    sweep = sweep_lease(body, UNTIL + 416 * SECOND)
    assert sweep is not None
    assert sweep.kept == ("lease/leaseDurationSeconds",)


def test_a_lease_without_a_readable_way_back_becomes_nobody_s() -> None:
    body = lease()
    body["metadata"]["annotations"][f"{OURS}undo"] = "{"
    sweep = sweep_lease(body, UNTIL + 60 * SECOND)
    assert sweep is not None
    assert sweep.main is not None
    assert sweep.main["spec"] == {"holderIdentity": None}
    assert sweep.problem


def test_a_lease_of_impossible_numbers_has_run_out() -> None:
    body = lease(lasts=10**30)
    assert sweep_lease(body, UNTIL) is not None
    body["spec"]["renewTime"] = "gestern"
    assert sweep_lease(body, UNTIL) is not None


def test_a_lock_is_dropped_a_little_after_its_end() -> None:
    lock = {"metadata": {"annotations": {f"{OURS}until": "2026-01-31T12:00:00Z"}}}
    assert not lock_overdue(lock, UNTIL + (LOCK_GRACE_S - 1) * SECOND)
    assert lock_overdue(lock, UNTIL + LOCK_GRACE_S * SECOND)
    assert lock_overdue({"metadata": {}}, UNTIL)


def test_it_looks_as_often_as_fits_and_tells_how_the_last_look_went() -> None:
    now = [0.0]
    rounds = [Round(failed=1), Round(), Round(failed=1), Round(failed=2)]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    left = list(rounds)
    assert not sweep_for(lambda: left.pop(0), 15.0, 55.0, clock=lambda: now[0], sleep=sleep)
    assert left == []
    left = list(rounds[:2])
    assert sweep_for(left.pop, 15.0, 0.0, clock=lambda: 0.0, sleep=sleep)
    assert left == rounds[:1]


@pytest.mark.parametrize("text", ["0", "-1", "3601", "1.5", "\uff11\uff15", "", "1e3", "NaN"])
def test_odd_seconds_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments([f"--every={text}"])
    assert ended.value.code == 2
    assert "is not a number of seconds from 1 to 3600" in capsys.readouterr().err


def test_once_is_one_look() -> None:
    assert parse_arguments(["--once"]).lasts == 0
    assert parse_arguments([]).lasts is None
