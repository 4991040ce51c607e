"""Ways around the gate by forged state, old versions of the API, and what kubectl offers."""

from __future__ import annotations

import uuid
from typing import Any

from bypass_ground import Act, Attempt, Ground
from gate_pods import JSON_PATCH, MERGE, STRATEGIC, Json, allowed, device_pod, pods
from kfarm_api.layout import TAINT
from kfarm_operator.gate_ready import Answer

OURS = "/apis/kfarm.dev/v1alpha1"


def _status_of(kind: str, plural: str, status: Json, namespaced: bool = False) -> Act:
    """Write a status as cluster-admin by server-side apply, merge patch being the same to CEL."""

    def act(g: Ground) -> Answer:
        where = f"{OURS}/namespaces/{g.enforced}/{plural}" if namespaced else f"{OURS}/{plural}"
        body = {"status": status}
        return g.almighty("PATCH", f"{where}/bypass-{kind}/status", body, MERGE)

    return act


def _ledger(method: str) -> Act:
    body = {
        "apiVersion": "kfarm.dev/v1alpha1",
        "kind": "NodeLedger",
        "metadata": {"name": "gpufarm.bypass-farm" if method != "POST" else "gpufarm.other"},
        "spec": {"claims": []},
    }
    path = f"{OURS}/nodeledgers" + ("" if method == "POST" else "/gpufarm.bypass-farm")
    return lambda g: g.almighty(method, path, None if method == "DELETE" else body,
                                MERGE if method == "PATCH" else "application/json")  # fmt: skip


APPROVED = {
    "observedGeneration": 1,
    "verdict": "Approved",
    "epoch": 0,
    "reason": "AllChecksPassed",
    "placements": [{"workload": "w", "slots": [{"node": "bypass-farm"}]}],
}


def _taint(who: str, body: object, content: str = MERGE, part: str = "") -> Act:
    return lambda g: getattr(g, who)("PATCH", f"/api/v1/nodes/{g.farm_node}{part}", body, content)


FORGERIES = (
    Attempt(
        "a verdict written by hand",
        {
            "approved": _status_of("plan", "placementplans", APPROVED, namespaced=True),
            "slots emptied": _status_of(
                "plan", "placementplans", {"placements": []}, namespaced=True
            ),
        },
        "kfarm-gate-verdicts",
        lambda g: g.almighty(
            "PATCH",
            f"{OURS}/namespaces/{g.enforced}/placementplans/bypass-plan",
            {"metadata": {"labels": {"a": "b"}}},
            MERGE,
        ),
    ),
    Attempt(
        "claims written by hand",
        {
            "made": _ledger("POST"),
            "emptied": _ledger("PATCH"),
            "deleted": _ledger("DELETE"),
        },
        "kfarm-gate-verdicts",
        lambda g: g.almighty("GET", f"{OURS}/nodeledgers/gpufarm.bypass-farm"),
    ),
    Attempt(
        "a farm's state written by hand",
        {"nodes": _status_of("farm", "gpufarms", {"nodes": 1000, "readyNodes": 1000})},
        "kfarm-gate-verdicts",
        lambda g: g.almighty(
            "PATCH", f"{OURS}/gpufarms/bypass-farm", {"metadata": {"labels": {"a": "b"}}}, MERGE
        ),
    ),
    Attempt(
        "the taint off the farm's node",
        {
            "all taints": _taint("almighty", {"spec": {"taints": None}}),
            "weaker": _taint(
                "almighty",
                {"spec": {"taints": [{"key": TAINT, "value": "farm",
                                      "effect": "PreferNoSchedule"}]}},
            ),
            "another key": _taint(
                "almighty",
                [{"op": "replace", "path": "/spec/taints/0/key", "value": "other"}],
                JSON_PATCH,
            ),
            "a node's account": _taint("node", {"spec": {"taints": None}}),
            "by replacing them": _taint(
                "almighty",
                {"spec": {"taints": [{"key": "mine", "effect": "NoSchedule"}]}},
                STRATEGIC,
            ),
        },
        "kfarm-farm-taint",
        _taint("farm", {"spec": {"taints": None}}, part="?dryRun=All"),
    ),
)  # fmt: skip


def _old(group: str, kind: str, plural: str, spec: Json) -> Act:
    """A POST to a version that was once served."""
    path = f"/api/{group}" if "/" not in group else f"/apis/{group}"

    def act(g: Ground) -> Answer:
        body = {"apiVersion": group, "kind": kind, "metadata": {"name": "old"}, "spec": spec}
        return g.root("POST", f"{path}/namespaces/{g.enforced}/{plural}", body)

    return act


def _template(**spec: Any) -> Json:
    return {"metadata": {"labels": {"app": "old"}}, "spec": device_pod(**spec)["spec"]}


VERSIONS = (
    Attempt(
        "an old version of the API",
        {
            "v1beta3 Pod": _old("v1beta3", "Pod", "pods", device_pod()["spec"]),
            "extensions Deployment": _old(
                "extensions/v1beta1", "Deployment", "deployments", {"template": _template()}
            ),
            "extensions DaemonSet": _old(
                "extensions/v1beta1", "DaemonSet", "daemonsets", {"template": _template()}
            ),
            "batch/v2alpha1 CronJob": _old("batch/v2alpha1", "CronJob", "cronjobs", {}),
            "apps/v1beta1 StatefulSet": _old("apps/v1beta1", "StatefulSet", "statefulsets", {}),
        },
        "404",
        lambda g: g.make(device_pod()),
    ),
    Attempt(
        "a body of an old version at the new place",
        {
            "pod": lambda g: g.make(device_pod() | {"apiVersion": "v1beta3"}),
            "binding": lambda g: g.root(
                "POST",
                f"/api/v1/namespaces/{g.open}/bindings",
                {"apiVersion": "v1beta3", "kind": "Binding", "metadata": {"name": "x"},
                 "target": {"name": g.farm_node}},
            ),
        },
        "400|403",
        lambda g: g.make(device_pod()),
    ),
)  # fmt: skip


def _debugged(*arguments: str) -> Act:
    def act(g: Ground) -> Answer:
        name = allowed(g.make(device_pod()))["metadata"]["name"]
        words = ("-n", g.enforced, "--image=example", f"--copy-to={name}-copy", *arguments)
        allowed(g.kubectl("debug", name, *words))
        return g.root("GET", pods(g.enforced, f"{name}-copy"))

    return act


KUBECTL = (
    Attempt(
        "kubectl debug of the farm's node",
        {
            "under the gate": lambda g: g.kubectl(
                "debug", f"node/{g.farm_node}", "-n", g.enforced, "--image=example"
            ),
            "beside it": lambda g: g.kubectl(
                "debug", f"node/{g.farm_node}", "-n", g.open, "--image=example",
                "--profile=sysadmin",
            ),
        },
        "kfarm-gate-pods|kfarm-farm-entry",
        lambda g: g.kubectl("run", f"plain-{uuid.uuid4().hex[:6]}", "-n", g.enforced,
                            "--image=example", "--overrides",
                            '{"spec": {"nodeSelector": {"no": "where"}}}'),
    ),
    Attempt(
        "kubectl run with overrides",
        {
            "node name": lambda g: g.kubectl(
                "run", "over", "-n", g.open, "--image=example", "--overrides",
                f'{{"spec": {{"nodeName": "{g.farm_node}"}}}}',
            ),
            "toleration": lambda g: g.kubectl(
                "run", "over", "-n", g.open, "--image=example", "--overrides",
                '{"spec": {"tolerations": [{"operator": "Exists"}]}}',
            ),
        },
        "kfarm-farm-entry",
        lambda g: g.kubectl("get", "pods", "-n", g.open),
    ),
    Attempt(
        "kubectl debug of a gated pod's copy",
        {"without labels": _debugged(), "with labels": _debugged("--keep-labels")},
        "gated",
    ),
)  # fmt: skip
