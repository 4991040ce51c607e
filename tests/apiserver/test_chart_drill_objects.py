"""Who may arm a drill, how far it may go, and what its journal may become.

Each refusal stands beside the same request in a form that is accepted, so that it proves something.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chart_scene import CHART, SYSTEM, kfarm
from drill_accounts import CONSENT, Account, Body, install_drills, refusal
from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.helm import Helm, settings
from kfarm_operator.client import ApiError

LAB, WORK = "drill-lab", "drill-work"
FINALIZER = "kfarm.dev/drill-restores"
BEGUN, END = "2026-11-22T10:00:00.250Z", "2026-11-22T10:05:00Z"
DRILLS = ("--as=sre", "--as-group=drillers")
"""Somebody who may write drills, and no node."""
SRE = ("--as=sre", "--as-group=drillers", "--as-group=node-breakers")
"""Somebody who may write both."""
MORE = "drill-more"


def spec(**changes: Any) -> Body:
    """An armed drill of one node, for five minutes."""
    fault = {"name": "lost", "action": "NodeDown", "duration": "1m",
             "selector": {"nodes": ["a", "b"]}}  # fmt: skip
    limits = {"maxNodes": 2, "timeToLive": "5m"}
    return {"mode": "Both", "confirm": "here", "farm": {"kind": "GPUFarm", "name": "f"},
            "faults": [fault], "limits": limits, **changes}  # fmt: skip


def entry(number: int, state: str = "Planned", node: str = "a") -> Body:
    changes = [{"field": "lease/holderIdentity", "before": '"kwok"', "after": '"kfarm-drill/u"'}]
    return {"id": f"lost/Lease/{node}/{number}", "fault": "lost", "kind": "Lease", "name": node,
            "uid": "u", "state": state, "changes": changes, "plannedAt": BEGUN}  # fmt: skip


@pytest.fixture(scope="module")
def ruled(clean_cluster: Cluster) -> Iterator[Cluster]:
    """The chart with limits of two nodes and ten minutes, and two users."""
    cluster = clean_cluster
    limits = ("drills.limits.maxNodes=2", "drills.limits.maxDuration=10m")
    helm = install_drills(cluster, *limits)
    cluster.apply(*(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name, labels in ((LAB, CONSENT), (WORK, {}), (MORE, CONSENT))
    ))  # fmt: skip
    cluster.apply(*(item for group, rule in RULES.items() for item in bound(group, rule)))
    yield cluster
    cluster.kubectl("delete", "clusterrole,clusterrolebinding", *RULES)
    helm("uninstall", "kfarm", "--namespace", SYSTEM)


RULES: dict[str, Body] = {
    "drillers": {"apiGroups": ["kfarm.dev"], "verbs": ["*"],
                 "resources": ["failuredrills", "failuredrills/status"]},
    "node-breakers": {"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]},
}  # fmt: skip


def bound(group: str, rule: Body) -> list[Body]:
    """A ClusterRole of one rule, given to a group of the same name."""
    api = "rbac.authorization.k8s.io"
    role = {"apiGroup": api, "kind": "ClusterRole", "name": group}
    subject = {"apiGroup": api, "kind": "Group", "name": group}
    common = {"apiVersion": f"{api}/v1", "metadata": {"name": group}}
    return [
        common | {"kind": "ClusterRole", "rules": [rule]},
        common | {"kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]},
    ]


@pytest.fixture(scope="module")
def drill(ruled: Cluster) -> Account:
    """The drill account, once the fences are loaded."""

    def fenced() -> bool:
        said = refusal(lambda: create(ruled, spec(), WORK, dry=True))
        return "kfarm-drill-objects" in said

    wait_until(fenced, 30, "the drills' fence")
    return Account(ruled, "kfarm-drill")


def create(
    cluster: Cluster, body: Body, where: str = LAB, *, name: str = "d",
    user: tuple[str, ...] = SRE, dry: bool = False,
) -> None:  # fmt: skip
    """Create a drill as a user."""
    rest = ("--dry-run=server",) if dry else ()
    made = kfarm("FailureDrill", name, body, where)
    made["metadata"]["finalizers"] = [FINALIZER]
    cluster.kubectl("create", "-f", "-", *rest, *user, input=json.dumps(made))


def limited(**limits: Any) -> Body:
    return spec(limits=spec()["limits"] | limits)


ARMED: dict[str, tuple[Body, str, tuple[str, ...], str]] = {
    "by somebody who may patch no node": (spec(), LAB, DRILLS, "only who may patch nodes himself"),
    "for another cluster": (spec(confirm="there"), LAB, SRE, "this cluster is called here"),
    "where nobody agreed": (spec(), WORK, SRE, "has not agreed to drills"),
    "in kfarm's own namespace": (spec(), SYSTEM, SRE, "system namespaces never"),
    "of too many nodes": (limited(maxNodes=3), LAB, SRE, "maxNodes 2"),
    "of too large a share": (limited(maxPercent=11), LAB, SRE, "maxPercent 10"),
    "of two domains": (limited(domains=2), LAB, SRE, "domains 1"),
    "for too long": (limited(timeToLive="601s"), LAB, SRE, "timeToLive 10m"),
    "for the default time, which is too long": (spec(limits={}), LAB, SRE, "timeToLive 10m"),
}


@pytest.mark.parametrize("what", ARMED)
def test_nobody_arms_a_drill(ruled: Cluster, drill: Account, what: str) -> None:
    del drill
    body, where, user, said = ARMED[what]
    answer = refusal(lambda: create(ruled, body, where, user=user, dry=True))
    assert "kfarm-drill-objects" in answer
    assert said in answer


def test_the_same_in_bounds_is_taken_and_so_is_any_dry_run(ruled: Cluster, drill: Account) -> None:
    del drill
    create(ruled, spec(), dry=True)
    create(ruled, limited(maxNodes=2, maxPercent=10, timeToLive="10m"), dry=True)
    dry = {k: v for k, v in limited(maxNodes=200, timeToLive="4h").items() if k != "confirm"}
    create(ruled, dry, WORK, user=DRILLS, dry=True)
    create(ruled, dry | {"mode": "Twin"}, WORK, user=DRILLS, dry=True)


@pytest.fixture
def running(ruled: Cluster, drill: Account) -> Iterator[Callable[..., str]]:
    """A drill that has begun, with one node in its journal; answers what is said to an edit."""
    create(ruled, spec())
    drill.write_drill("d", LAB, {"phase": "Running", "startedAt": BEGUN, "until": END,
                                 "targets": [{"fault": "lost", "nodes": ["a"]}],
                                 "journal": [entry(1), entry(2, "Applied")]})  # fmt: skip

    def edit(patch: Body, user: tuple[str, ...] = SRE) -> str:
        arguments = ("patch", "drill", "d", "-n", LAB, "--type=merge", "-p", json.dumps(patch))
        return refusal(lambda: ruled.kubectl(*arguments, *user) and None)

    yield edit
    ruled.kubectl("patch", "drill", "d", "-n", LAB, "--type=merge", "-p",
                  '{"metadata": {"finalizers": null}}')  # fmt: skip
    ruled.kubectl("delete", "drill", "d", "-n", LAB, "--ignore-not-found")


EDITS: dict[str, Body] = {
    "faults": {"spec": {"faults": []}},
    "mode": {"spec": {"mode": "Twin", "confirm": None}},
    "the cluster": {"spec": {"confirm": None}},
    "more nodes": {"spec": {"limits": {"maxNodes": 1}}},
    "a longer time": {"spec": {"limits": {"timeToLive": "301s"}}},
    "expectations": {"spec": {"expectations": [
        {"name": "a", "metric": "pods_affected", "atMost": 1},
    ]}},
}  # fmt: skip


def test_a_running_drill_is_only_stopped(running: Callable[..., str]) -> None:
    """Also by somebody who may break nothing; and who stopped it cannot go on."""
    for what, patch in EDITS.items():
        changed = copy.deepcopy(patch)
        if what == "faults":
            changed["spec"]["faults"] = [spec()["faults"][0] | {"duration": "2m"}]
        assert "once a drill has begun" in running(changed), what
    assert running({"spec": {"suspend": True}}, DRILLS) == ""
    assert "only who may patch nodes" in running({"spec": {"suspend": False}}, DRILLS)
    assert running({"spec": {"suspend": False}}) == ""
    assert running({"spec": {"limits": {"timeToLive": "4m"}}}, DRILLS) == ""
    assert running({"spec": {"abort": True}}, DRILLS) == ""
    assert "once a drill has begun" in running({"spec": {"abort": False}})


def test_the_finalizer_stays_until_everything_is_taken_back(
    ruled: Cluster, drill: Account, running: Callable[..., str]
) -> None:
    """Not the drill account, not who may write drills; only who may break the glass."""
    nothing: Body = {"metadata": {"finalizers": None}}
    assert "stays until everything is taken back" in running(nothing)
    by_account = f"--as=system:serviceaccount:{SYSTEM}:kfarm-drill"
    assert "stays until" in running(nothing, (by_account,))
    drill.write_drill("d", LAB, {"journal": [entry(1, "Gone"), entry(2, "Restored")]})
    assert running(nothing, (by_account,)) == ""
    del ruled


def journal(*entries: Body) -> Body:
    return {"journal": list(entries)}


STATUS: dict[str, tuple[Body, str]] = {
    "an entry that vanishes": (journal(entry(2, "Applied")), "what stands in the journal"),
    "no journal": ({"journal": None}, "what stands in the journal"),
    "another order": (journal(entry(2, "Applied"), entry(1)), "what stands in the journal"),
    "another uid": (journal(entry(1) | {"uid": "v"}, entry(2, "Applied")), "what stands"),
    "another way back": (journal(entry(1) | {"changes": []}, entry(2, "Applied")), "what stands"),
    "an injection undone on paper": (journal(entry(1), entry(2, "Planned")), "what stands"),
    "a third node": (journal(entry(1), entry(2, "Applied"), entry(3, node="b"),
                             entry(4, node="c")), "at most 2 nodes"),
    "another start": ({"startedAt": END}, "startedAt stays"),
    "a later end": ({"until": "2026-11-22T10:05:01Z"}, "until may only get earlier"),
    "no end": ({"until": None}, "without confirm, startedAt, until"),
    "other targets": ({"targets": [{"fault": "lost", "nodes": ["b"]}]}, "chosen once"),
    "no targets": ({"targets": None}, "chosen once"),
}  # fmt: skip


def test_what_a_drill_has_done_cannot_be_rewritten(
    drill: Account, running: Callable[..., str]
) -> None:
    del running
    for what, (status, said) in STATUS.items():
        answer = refusal(lambda status=status: drill.write_drill("d", LAB, status))  # type: ignore[misc]
        assert "kfarm-drill-status" in answer, what
        assert said in answer, what
    drill.write_drill("d", LAB, journal(entry(1, "Applied"), entry(2, "Restored"),
                                        entry(3, node="b")))  # fmt: skip
    again = journal(entry(1, "Applied"), entry(2, "Applied"), entry(3, node="b"))
    assert "what stands" in refusal(lambda: drill.write_drill("d", LAB, again))
    drill.write_drill("d", LAB, {"until": "2026-11-22T10:04:00Z"})


def test_status_is_the_drill_account_s_alone(ruled: Cluster, running: Callable[..., str]) -> None:
    arguments = ("patch", "drill", "d", "-n", LAB, "--type=merge", "--subresource=status", "-p")
    body = '{"status": {"verdict": "Passed"}}'
    answer = refusal(lambda: ruled.kubectl(*arguments, body, *SRE) and None)
    assert "written by system:serviceaccount:kfarm-system:kfarm-drill alone" in answer
    assert running({"metadata": {"labels": {"a": "b"}}}) == ""


def test_nothing_is_injected_by_a_drill_that_is_not_armed(ruled: Cluster, drill: Account) -> None:
    """Neither without confirm nor without the finalizer; nor for longer than is allowed."""
    create(ruled, {k: v for k, v in spec().items() if k != "confirm"}, MORE, name="dry")
    begun = {"startedAt": BEGUN, "until": END, "journal": [entry(1)]}
    said = "without confirm, startedAt, until and the finalizer"
    assert said in refusal(lambda: drill.write_drill("dry", MORE, begun))
    create(ruled, spec(), MORE, name="loose")
    ruled.kubectl("patch", "drill", "loose", "-n", MORE, "--type=merge", "-p",
                  '{"metadata": {"finalizers": null}}')  # fmt: skip
    assert said in refusal(lambda: drill.write_drill("loose", MORE, begun))
    create(ruled, spec(), MORE, name="long")
    late = begun | {"until": "2026-11-22T10:10:02Z"}
    assert "at most 10m" in refusal(lambda: drill.write_drill("long", MORE, late))
    drill.write_drill("long", MORE, begun)
    drill.write_drill("long", MORE, {"journal": [entry(1, "Restored")]})
    for name in ("dry", "loose", "long"):
        ruled.kubectl("patch", "drill", name, "-n", MORE, "--type=merge", "-p",
                      '{"metadata": {"finalizers": null}}')  # fmt: skip
        ruled.kubectl("delete", "drill", name, "-n", MORE)


def test_the_account_makes_and_deletes_runs_of_a_schedule_only(
    ruled: Cluster, drill: Account
) -> None:
    user = (f"--as=system:serviceaccount:{SYSTEM}:kfarm-drill",)
    create(ruled, spec(schedule={"cron": "0 3 * * 1"}), MORE, name="weekly")
    parent = ruled.get("drill", "weekly", "-n", MORE)["metadata"]
    owner = {"apiVersion": "kfarm.dev/v1alpha1", "kind": "FailureDrill", "name": "weekly",
             "uid": parent["uid"], "controller": True}  # fmt: skip
    said = "makes only the runs of a scheduled drill"
    assert said in refusal(lambda: create(ruled, spec(), MORE, name="weekly-1", user=user))
    run = kfarm("FailureDrill", "weekly-1", spec(), MORE)
    run["metadata"]["ownerReferences"] = [owner]
    ruled.kubectl("create", "-f", "-", *user, input=json.dumps(run))
    wider = ("patch", "drill", "weekly-1", "-n", MORE, "--type=merge", *user, "-p",
             '{"spec": {"limits": {"maxNodes": 1}}}')  # fmt: skip
    assert said in refusal(lambda: ruled.kubectl(*wider) and None)
    delete = ("delete", "drill", "-n", MORE, *user)
    assert "that have ended" in refusal(lambda: ruled.kubectl(*delete, "weekly-1") and None)
    drill.write_drill("weekly-1", MORE, {"completedAt": END})
    ruled.kubectl(*delete, "weekly-1")
    assert "that have ended" in refusal(lambda: ruled.kubectl(*delete, "weekly") and None)
    ruled.kubectl("patch", "drill", "weekly", "-n", MORE, "--type=merge", "-p",
                  '{"metadata": {"finalizers": null}}')  # fmt: skip
    ruled.kubectl("delete", "drill", "weekly", "-n", MORE)


def test_a_journal_of_the_largest_size_can_be_judged(ruled: Cluster, drill: Account) -> None:
    """The fence reads it whole at each write; here it has as many entries as the kind takes."""
    create(ruled, spec(), MORE, name="large")
    many = [entry(number, "Restored") for number in range(1024)]
    begun = {"startedAt": BEGUN, "until": END}
    drill.write_drill("large", MORE, begun | {"journal": many})
    with pytest.raises(ApiError, match="what stands in the journal"):
        drill.write_drill("large", MORE, {"journal": [*many[:-1], many[-1] | {"uid": "v"}]})
    ruled.kubectl("patch", "drill", "large", "-n", MORE, "--type=merge", "-p",
                  '{"metadata": {"finalizers": null}}')  # fmt: skip
    ruled.kubectl("delete", "drill", "large", "-n", MORE)


def test_without_a_name_of_the_cluster_nothing_is_armed(clean_cluster: Cluster) -> None:
    """The policy says so, and its expression holds for no name that the kind takes."""
    values = settings("drills.enabled=true", "drills.clusterName=")
    rendered = Helm(clean_cluster).template(CHART, *values)
    (policy,) = (o for o in rendered if o["metadata"]["name"] == "kfarm-drill-objects"
                 and o["kind"] == "ValidatingAdmissionPolicy")  # fmt: skip
    rules = {r.get("message", ""): r["expression"] for r in policy["spec"]["validations"]}
    (rule,) = (rule for said, rule in rules.items() if "this installation has no name" in said)
    assert rule.endswith("variables.spec.confirm == ''")


def test_users_of_the_test_may_what_they_should(ruled: Cluster) -> None:
    """Or the refusals above would be RBAC's."""
    ruled.kubectl(
        "auth", "can-i", "patch", "failuredrills.kfarm.dev", "--subresource=status", *DRILLS
    )
    with pytest.raises(KubectlError):
        ruled.kubectl("auth", "can-i", "patch", "nodes", *DRILLS)
    ruled.kubectl("auth", "can-i", "patch", "nodes", *SRE)
