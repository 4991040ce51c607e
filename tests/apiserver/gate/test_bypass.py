"""Ways to start a plan's pod without a verdict, with no operator running: none of them works.

Each kind stands in a table with its forms and with its honest twin, which is nearly the same and is
taken, so that a refusal proves something. What the API server takes must wait at the gate, or stay
outside of the farm: the real scheduler looks for a node for it, beside a farm with room.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bypass_changes import CHANGES
from bypass_forgeries import FORGERIES, KUBECTL, VERSIONS
from bypass_ground import Attempt, Ground, check, farm_node, lawful_release
from bypass_pods import CREATIONS
from bypass_rights import NAMESPACES, RIGHTS
from gate_pods import GPU, MERGE, PLAN, Api, Json, allowed, device_pod, path_of
from kfarm_api.layout import LABEL_ENFORCE
from kfarm_controlplane.client import Cluster
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.figures import record

TABLE: tuple[Attempt, ...] = (
    *CREATIONS, *CHANGES, *NAMESPACES, *RIGHTS, *FORGERIES, *VERSIONS, *KUBECTL
)  # fmt: skip
TRIES = [(attempt, form) for attempt in TABLE for form in attempt.forms]
FARM_NODE = "bypass-farm"
FARM_ACCOUNT = "system:serviceaccount:kfarm-system:kfarm-farm"
tried: Counter[str] = Counter()


def _namespace(root: Api, labels: Json) -> str:
    name = f"bypass-{uuid.uuid4().hex[:8]}"
    metadata = {"name": name, "labels": {"kfarm.dev/test": "true", **labels}}
    allowed(root("POST", "/api/v1/namespaces", {"metadata": metadata}))
    path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    wait_until(lambda: bool(root("GET", path).status == 200), 30, "the service account")
    return name


def _tenant(cluster: Cluster, namespaces: tuple[str, ...]) -> None:
    """A service account that is admin of its namespaces and reads nodes."""
    subject = {"kind": "ServiceAccount", "name": "tenant", "namespace": namespaces[0]}
    rbac = "rbac.authorization.k8s.io"
    reader = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}]
    account = {"name": "tenant", "namespace": namespaces[0]}
    made: list[Json] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "bypass-nodes"},
         "rules": reader},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding",
         "metadata": {"name": "bypass-nodes"}, "subjects": [subject],
         "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "bypass-nodes"}},
    ]  # fmt: skip
    for place in namespaces:
        made.append(
            {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "subjects": [subject],
             "metadata": {"name": "tenant", "namespace": place},
             "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "admin"}}
        )  # fmt: skip
    cluster.apply(*made)


def _fixtures(place: str, limited: str, bases: dict[str, Any]) -> list[Json]:
    """What the attempts need: runtime classes, defaults of a namespace, a plan, a farm."""
    runtime: Json = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "h"}
    exists = {"tolerations": [{"operator": "Exists"}]}
    default = {"type": "Container", "default": {GPU: "1"}, "defaultRequest": {GPU: "1"}}
    farm, plan = bases["GPUFarm"], bases["PlacementPlan"]
    farm["metadata"], plan["metadata"] = (
        {"name": FARM_NODE},
        {"name": "bypass-plan", "namespace": place},
    )
    claimed = {"name": f"gpufarm.{FARM_NODE}"}
    return [
        {**runtime, "metadata": {"name": "bypass-plain"}},
        {**runtime, "metadata": {"name": "bypass-opener"}, "scheduling": exists},
        {**runtime, "metadata": {"name": "bypass-devices"}, "overhead": {"podFixed": {GPU: "1"}}},
        {"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": [default]},
         "metadata": {"name": "devices", "namespace": limited}},
        farm,
        plan,
        {"apiVersion": "kfarm.dev/v1alpha1", "kind": "NodeLedger", "metadata": claimed,
         "spec": {"claims": []}},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def ground(
    installed: Cluster,
    api: Api,
    almighty: Api,
    node_account: Api,
    gate_account: Api,
    as_user: Callable[..., Api],
    enforced: str,
    api_by_token: Callable[[str, str], Api],
    module_bases: dict[str, Any],
) -> Iterator[Ground]:
    """The farm's node and everybody who tries."""
    beside, limited = _namespace(api, {}), _namespace(api, {LABEL_ENFORCE: "true"})
    _tenant(installed, (enforced, beside))
    made = _fixtures(enforced, limited, module_bases)
    installed.apply(*made)
    allowed(api("POST", "/api/v1/nodes", farm_node(FARM_NODE)))
    yield Ground(
        cluster=installed,
        root=api,
        almighty=almighty,
        tenant=api_by_token(enforced, "tenant"),
        node=node_account,
        scheduler=as_user("system:kube-scheduler"),
        gate=gate_account,
        farm=as_user(FARM_ACCOUNT),
        enforced=enforced,
        open=beside,
        limited=limited,
        farm_node=FARM_NODE,
    )
    for name in ("plain", "opener", "devices"):
        installed.kubectl("delete", "runtimeclass", f"bypass-{name}", "--ignore-not-found")
    for kind in ("clusterrole", "clusterrolebinding"):
        installed.kubectl("delete", kind, "bypass-nodes", "--ignore-not-found")


@pytest.mark.parametrize(
    ("attempt", "form"), TRIES, ids=[f"{attempt.kind}: {form}" for attempt, form in TRIES]
)
def test_no_way_around_the_gate(ground: Ground, attempt: Attempt, form: str) -> None:
    check(attempt, ground, attempt.forms[form](ground))
    tried[attempt.kind] += 1


@pytest.mark.parametrize(
    "attempt",
    [attempt for attempt in TABLE if attempt.honest],
    ids=[attempt.kind for attempt in TABLE if attempt.honest],
)
def test_the_honest_twin_is_taken(ground: Ground, attempt: Attempt) -> None:
    assert attempt.honest is not None
    allowed(attempt.honest(ground))


def test_every_refusal_has_an_honest_twin_and_kinds_are_many() -> None:
    assert all(a.honest or a.end in {"gated", "outside"} for a in TABLE)
    assert len({attempt.kind for attempt in TABLE}) == len(TABLE) >= 20


def test_the_scheduler_takes_none_of_them_and_the_lawful_pod(ground: Ground) -> None:
    """The last word: where the farm has room, only what was released gets there."""
    lawful = allowed(ground.make(device_pod(PLAN)))
    release = lawful_release(lawful, FARM_NODE)
    allowed(ground.gate("PATCH", path_of(lawful), release, MERGE))

    def looked_at() -> bool:
        """The scheduler has tried each pod that was let in, and has told so."""
        found = [ground.root("GET", path_of(item)).body for item in ground.outside]
        return all(_unschedulable(item) for item in found)

    wait_until(looked_at, 120, "the scheduler to look at all of them")
    wait_until(lambda: _on_the_farm(ground) == {lawful["metadata"]["uid"]}, 60, "the lawful pod")
    assert ground.outside
    record("bypass", {"kinds": len(tried), "attempts": sum(tried.values()), "entered": 0})


def _unschedulable(item: Json) -> bool:
    conditions = item["status"].get("conditions", ())
    return any(c["type"] == "PodScheduled" and c["status"] == "False" for c in conditions)


def _on_the_farm(ground: Ground) -> set[str]:
    listed = ground.cluster.get("pods", "-A", "--field-selector", f"spec.nodeName={FARM_NODE}")
    return {str(item["metadata"]["uid"]) for item in listed["items"]}
