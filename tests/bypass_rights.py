"""Ways around the gate by namespaces, rights, old versions of the API, and what kubectl offers."""

from __future__ import annotations

import base64
import time
import uuid

from bypass_ground import Act, Attempt, Ground
from gate_pods import (
    MERGE,
    Json,
    allowed,
    device_pod,
    pod,
    pods,
)
from kfarm_api.layout import LABEL_ENFORCE
from kfarm_operator.gate_ready import Answer

POLICIES = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
OURS = "/apis/kfarm.dev/v1alpha1"


def _namespace(g: Ground, part: str = "") -> str:
    return f"/api/v1/namespaces/{g.enforced}{part}"


def _unlabel(who: str, value: str | None, part: str = "") -> Act:
    body = {"metadata": {"labels": {LABEL_ENFORCE: value}}}
    return lambda g: getattr(g, who)("PATCH", _namespace(g, part), body, MERGE)


def _put_bare(part: str) -> Act:
    def act(g: Ground) -> Answer:
        bare = allowed(g.root("GET", _namespace(g)))
        del bare["metadata"]["labels"][LABEL_ENFORCE]
        return g.almighty("PUT", _namespace(g, part), bare)

    return act


def _posing(labels: Json, late: bool = False) -> Act:
    """A namespace that says it is an exempt one; then a device pod in it."""

    def act(g: Ground) -> Answer:
        held = {"labels": {LABEL_ENFORCE: "true", "kfarm.dev/test": "true"}}
        first = held if late else {"labels": held["labels"] | labels}
        body = {"metadata": {"generateName": "posing-", **first}}
        name = allowed(g.almighty("POST", "/api/v1/namespaces", body))["metadata"]["name"]
        path = f"/api/v1/namespaces/{name}"
        if late:
            g.almighty("PATCH", path, {"metadata": {"labels": labels}}, MERGE)
        _until_accounts(g, path)
        try:
            return g.dry(device_pod(), name)
        finally:
            g.root("DELETE", path)

    return act


def _until_accounts(g: Ground, path: str) -> None:
    """Pods can be made once the namespace has its default service account."""
    for _ in range(300):
        if g.root("GET", f"{path}/serviceaccounts/default").status == 200:
            return
        time.sleep(0.1)
    raise AssertionError(f"no service account in {path}")


def _reborn(item: Json) -> Act:
    """A namespace deleted and made again without its label."""

    def act(g: Ground) -> Answer:
        name = f"reborn-{uuid.uuid4().hex[:6]}"
        labels = {"kfarm.dev/test": "true"}
        path = f"/api/v1/namespaces/{name}"
        for held in (labels | {LABEL_ENFORCE: "true"}, labels):
            while True:
                body = {"metadata": {"name": name, "labels": held}}
                if g.almighty("POST", "/api/v1/namespaces", body).status == 201:
                    break
                time.sleep(0.2)
            _until_accounts(g, path)
            if LABEL_ENFORCE in held:
                allowed(g.almighty("DELETE", path))
        return g.make(item, name)

    return act


NAMESPACES = (
    Attempt(
        "taking the label off the namespace",
        {
            "null": _unlabel("almighty", None),
            "false": _unlabel("almighty", "false"),
            "another spelling": _unlabel("almighty", "True"),
            "status": _unlabel("almighty", None, "/status"),
            "PUT": _put_bare(""),
            "finalize": _put_bare("/finalize"),
        },
        "kfarm-gate-namespaces",
        lambda g: g.almighty(
            "PATCH", _namespace(g), {"metadata": {"labels": {"team": "a"}}}, MERGE
        ),
    ),
    Attempt(
        "a namespace that poses as an exempt one",
        {
            "at creation": _posing({"kubernetes.io/metadata.name": "kube-system"}),
            "afterwards": _posing({"kubernetes.io/metadata.name": "kfarm-system"}, late=True),
        },
        "gated",
    ),
    Attempt(
        "a namespace deleted and made again",
        {"devices": _reborn(device_pod())},
        "outside",
    ),
    Attempt(
        "the label on an exempt namespace",
        {
            "kube-system": lambda g: g.almighty(
                "PATCH",
                "/api/v1/namespaces/kube-system?dryRun=All",
                {"metadata": {"labels": {LABEL_ENFORCE: "true"}}},
                MERGE,
            )
        },
        "kfarm-gate-namespaces",
        lambda g: g.almighty(
            "PATCH",
            "/api/v1/namespaces/kube-system?dryRun=All",
            {"metadata": {"labels": {"team": "a"}}},
            MERGE,
        ),
    ),
)


def _tenant(method: str, path: str, body: object = None, content: str = MERGE) -> Act:
    return lambda g: g.tenant(method, path.format(enforced=g.enforced, node=g.farm_node), body,
                              content if method == "PATCH" else "application/json")  # fmt: skip


def _role(rules: list[Json]) -> Act:
    def act(g: Ground) -> Answer:
        body = {"metadata": {"generateName": "mine-"}, "rules": rules}
        return g.tenant("POST", f"{RBAC}/namespaces/{g.enforced}/roles", body)

    return act


def _request(user: str) -> Json:
    asked = base64.b64encode(b"-----BEGIN CERTIFICATE REQUEST-----\n").decode()
    return {
        "metadata": {"generateName": "mine-"},
        "spec": {"request": asked, "signerName": "kubernetes.io/kube-apiserver-client",
                 "username": user, "usages": ["client auth"]},
    }  # fmt: skip


def _rule(group: str, resource: str, *verbs: str) -> list[Json]:
    return [{"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}]


RIGHTS = (
    Attempt(
        "a tenant at the policies",
        {
            "policy": _tenant(
                "DELETE", f"{POLICIES}/validatingadmissionpolicies/kfarm-gate-release"
            ),
            "binding": _tenant(
                "DELETE", f"{POLICIES}/validatingadmissionpolicybindings/kfarm-gate-pods"
            ),
            "mutation": _tenant("DELETE", f"{POLICIES}/mutatingadmissionpolicies/kfarm-gate"),
            "weakened": _tenant(
                "PATCH",
                f"{POLICIES}/validatingadmissionpolicies/kfarm-gate-pods",
                {"spec": {"failurePolicy": "Ignore"}},
            ),
            "a webhook of its own": _tenant(
                "POST", f"{POLICIES}/mutatingwebhookconfigurations", {"metadata": {"name": "mine"}}
            ),
        },
        "rbac",
        _tenant("POST", "/api/v1/namespaces/{enforced}/configmaps",
                {"metadata": {"generateName": "mine-"}}),
    ),
    Attempt(
        "a tenant at what the policies read",
        {
            "profile deleted": _tenant("DELETE", f"{OURS}/acceleratorprofiles/gpu"),
            "profile changed": _tenant(
                "PATCH", f"{OURS}/acceleratorprofiles/gpu", {"spec": {"resourceNames": ["a.b/c"]}}
            ),
            "CRD": _tenant(
                "DELETE",
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
                "acceleratorprofiles.kfarm.dev",
            ),
            "label of the namespace": _tenant(
                "PATCH", "/api/v1/namespaces/{enforced}",
                {"metadata": {"labels": {LABEL_ENFORCE: None}}},
            ),
            "device class": _tenant(
                "POST", "/apis/resource.k8s.io/v1/deviceclasses", {"metadata": {"name": "mine"}}
            ),
            "runtime class": _tenant(
                "POST", "/apis/node.k8s.io/v1/runtimeclasses",
                {"metadata": {"name": "mine"}, "handler": "h"},
            ),
        },
        "rbac",
        _tenant("GET", "/api/v1/namespaces/{enforced}"),
    ),
    Attempt(
        "a tenant with a node's rights",
        {
            "taint off": _tenant("PATCH", "/api/v1/nodes/{node}", {"spec": {"taints": None}}),
            "by status": _tenant(
                "PATCH", "/api/v1/nodes/{node}/status", {"metadata": {"labels": None}}
            ),
            "the kubelet's door": _tenant("GET", "/api/v1/nodes/{node}/proxy/pods"),
            "a node of its own": _tenant("POST", "/api/v1/nodes", {"metadata": {"name": "mine"}}),
        },
        "rbac",
        _tenant("GET", "/api/v1/nodes/{node}"),
    ),
    Attempt(
        "a tenant in another's name",
        {
            "gate's token": _tenant(
                "POST", "/api/v1/namespaces/kfarm-system/serviceaccounts/kfarm-gate/token", {}
            ),
            "a pod with gate's account": lambda g: g.tenant(
                "POST", pods("kfarm-system"), pod(serviceAccountName="kfarm-gate")
            ),
            "secrets of the system": _tenant("GET", "/api/v1/namespaces/kfarm-system/secrets"),
            "a certificate approved": _tenant(
                "PATCH",
                "/apis/certificates.k8s.io/v1/certificatesigningrequests/mine/approval",
                {"status": {"conditions": []}},
            ),
            "a certificate as the scheduler": _tenant(
                "POST",
                "/apis/certificates.k8s.io/v1/certificatesigningrequests",
                _request("system:kube-scheduler"),
            ),
        },
        "rbac",
        _tenant(
            "POST", "/api/v1/namespaces/{enforced}/serviceaccounts",
            {"metadata": {"generateName": "mine-"}},
        ),
    ),
    Attempt(
        "a tenant that grants itself more",
        {
            "bindings": _role(_rule("", "pods/binding", "create")),
            "verdicts": _role(_rule("kfarm.dev", "placementplans/status", "patch")),
            "everything": _role(_rule("*", "*", "*")),
            "cluster-admin here": lambda g: g.tenant(
                "POST",
                f"{RBAC}/namespaces/{g.enforced}/rolebindings",
                {
                    "metadata": {"generateName": "mine-"},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                                "name": "cluster-admin"},
                    "subjects": [],
                },
            ),
        },
        "rbac",
        _role(_rule("", "configmaps", "get")),
    ),
    Attempt(
        "bindings by a tenant",
        {
            "own pod": lambda g: g.tenant(
                "POST", f"{pods(g.open, g.loose(g.open)['metadata']['name'])}/binding",
                {"metadata": {"name": "x"}, "target": {"kind": "Node", "name": g.farm_node}},
            )
        },
        "rbac",
        lambda g: g.tenant("GET", pods(g.open)),
    ),
)  # fmt: skip
