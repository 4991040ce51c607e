"""Ways around the gate by what is done to a pod after its creation."""

from __future__ import annotations

from typing import Any

from bypass_ground import NOWHERE, Act, Attempt, Ground, binding_of, patched
from bypass_pods import applied
from gate_pods import (
    GPU,
    JSON_PATCH,
    MERGE,
    OPEN,
    PLAN,
    STRATEGIC,
    Json,
    allowed,
    container,
    device_pod,
    path_of,
    pod,
)
from kfarm_api.layout import GATE, LABEL_HOSTNAME, LABEL_PLAN
from kfarm_operator.gate_ready import Answer


def _lift(content: str, body: object, who: str = "root", part: str = "") -> Act:
    return lambda g: patched(getattr(g, who), g.held(), body, part, content)


def _own_gate_taken_back(g: Ground) -> Answer:
    """Applied with the gate, so that it is the applier's own, then applied without it."""
    item = device_pod(schedulingGates=[{"name": GATE}])
    allowed(applied(g, item))
    del item["spec"]["schedulingGates"]
    return applied(g, item)


def _put_bare(g: Ground) -> Answer:
    bare = g.held()
    del bare["spec"]["schedulingGates"]
    return g.root("PUT", path_of(bare), bare)


def _kept(part: str, content: str, body: Json) -> Act:
    """A write whose answer matters less than the pod as it stands afterwards."""

    def act(g: Ground) -> Answer:
        held = g.held()
        patched(g.root, held, body, part, content)
        return g.root("GET", path_of(held))

    return act


NO_GATE: Json = {"spec": {"schedulingGates": None}}
RENAMED = [{"op": "replace", "path": "/spec/schedulingGates/0/name", "value": "a.b/c"}]
TOLERANT = [{"op": "add", "path": "/spec/tolerations/-", "value": OPEN}]
_EPHEMERAL: Any = {"name": "late", "image": "example", "resources": {"limits": {GPU: 1}}}


def _tolerant(where: str, who: str = "root") -> Act:
    return lambda g: patched(
        getattr(g, who), g.loose(getattr(g, where)), TOLERANT, content=JSON_PATCH
    )


def _exempt_late(g: Ground) -> Answer:
    """Made without the toleration, which is then added."""
    made = allowed(g.make(device_pod(nodeSelector=NOWHERE), g.exempt))
    try:
        return patched(g.root, made, TOLERANT, content=JSON_PATCH)
    finally:
        g.root("DELETE", path_of(made))


def _labelled(where: str) -> Act:
    def act(g: Ground) -> Answer:
        made = g.held() if where == "gated" else allowed(g.make(pod(nodeSelector=NOWHERE)))
        return patched(g.tenant, made, {"metadata": {"labels": PLAN}})

    return act


def _bind(g: Ground, item: Json, who: Any) -> Answer:
    answer: Answer = who("POST", f"{path_of(item)}/binding", binding_of(item, g.farm_node))
    return answer


def _bind_exempt(g: Ground) -> Answer:
    """Made without toleration or node, as the policies ask, and then bound by hand."""
    made = allowed(g.make(device_pod(nodeSelector=NOWHERE), g.exempt))
    try:
        return _bind(g, made, g.almighty)
    finally:
        g.root("DELETE", path_of(made))


CHANGES = (
    Attempt(
        "lifting the gate",
        {
            "merge patch": _lift(MERGE, NO_GATE),
            "merge patch, the tenant": _lift(MERGE, NO_GATE, "tenant"),
            "merge patch, cluster-admin": _lift(MERGE, NO_GATE, "almighty"),
            "strategic patch": _lift(
                STRATEGIC, {"spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]}}
            ),
            "strategic replace": _lift(
                STRATEGIC, {"spec": {"$patch": "replace", "containers": [container()]}}
            ),
            "JSON patch": _lift(JSON_PATCH, [{"op": "remove", "path": "/spec/schedulingGates"}]),
            "renamed": _lift(JSON_PATCH, RENAMED),
            "PUT": _put_bare,
            "own field of apply": _own_gate_taken_back,
        },
        "403|422",
        lambda g: patched(g.root, g.held(), {"metadata": {"labels": {"a": "b"}}}),
    ),
    Attempt(
        "lifting the gate by subresources",
        {
            "status": _kept("/status", MERGE, NO_GATE),
            "resize": _kept("/resize", MERGE, NO_GATE),
            "ephemeral containers": _kept("/ephemeralcontainers", MERGE, NO_GATE),
            "status, JSON": _kept("/status", JSON_PATCH, [RENAMED[0]]),
        },
        "gated",
    ),
    Attempt(
        "running by the status alone",
        {
            "phase": _kept("/status", MERGE, {"status": {"phase": "Running"}}),
            "nominated": _kept("/status", MERGE, {"status": {"nominatedNodeName": "bypass-farm"}}),
            "scheduled": _kept(
                "/status",
                STRATEGIC,
                {"status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}},
            ),
            "claims": _kept(
                "/status",
                MERGE,
                {"status": {"resourceClaimStatuses": [{"name": "g", "resourceClaimName": "x"}]}},
            ),
            "extended claim": _kept(
                "/status",
                MERGE,
                {"status": {"extendedResourceClaimStatus": {"resourceClaimName": "taken"}}},
            ),
        },
        "gated",
    ),
    Attempt(
        "the labels of another plan",
        {
            "gated": _labelled("gated"),
            "no device": _labelled("loose"),
            "by status": _lift(MERGE, {"metadata": {"labels": PLAN}}, part="/status"),
            "taken off": lambda g: patched(
                g.root,
                allowed(g.make(device_pod(PLAN))),
                {"metadata": {"labels": {LABEL_PLAN: None}}},
            ),
        },
        "kfarm-gate-pods",
        lambda g: patched(g.tenant, g.held(), {"metadata": {"labels": {"team": "a"}}}),
    ),
    Attempt(
        "the toleration added later",
        {
            "under the gate": _tolerant("enforced"),
            "beside it": _tolerant("open"),
            "the tenant": _tolerant("open", "tenant"),
        },
        "kfarm-farm-entry",
        lambda g: patched(
            g.root,
            g.loose(g.open),
            [TOLERANT[0] | {"value": {"key": "x", "operator": "Exists"}}],
            content=JSON_PATCH,
        ),
    ),
    Attempt(
        "the toleration added later in an exempt namespace",
        {"devices": _exempt_late},
        "kfarm-farm-entry-exempt",
        lambda g: g.dry(device_pod(), g.exempt),
    ),
    Attempt(
        "devices added later",
        {
            "ephemeral container": lambda g: patched(
                g.root,
                g.loose(),
                {"spec": {"ephemeralContainers": [_EPHEMERAL]}},
                "/ephemeralcontainers",
                STRATEGIC,
            ),
            "resize": lambda g: patched(
                g.root,
                g.loose(),
                {"spec": {"containers": [container(limits={GPU: "1"})]}},
                "/resize",
                STRATEGIC,
            ),
            "more of them": lambda g: patched(
                g.root,
                g.held(),
                {"spec": {"containers": [container(limits={GPU: "9"})]}},
                "/resize",
                STRATEGIC,
            ),
            "the pod itself": lambda g: patched(
                g.tenant,
                g.loose(),
                {"spec": {"containers": [container(limits={GPU: "1"})]}},
                content=STRATEGIC,
            ),
        },
        "403|422",
        lambda g: patched(
            g.root,
            g.loose(),
            {"spec": {"ephemeralContainers": [{"name": "late", "image": "example"}]}},
            "/ephemeralcontainers",
            STRATEGIC,
        ),
    ),
    Attempt(
        "another's binding",
        {
            "of the pod": lambda g: _bind(g, g.loose(), g.root),
            "of the namespace": lambda g: g.root(
                "POST", f"/api/v1/namespaces/{g.open}/bindings", binding_of(g.loose(g.open), "n")
            ),
            "a node": lambda g: _bind(g, g.loose(g.open), g.node),
            "cluster-admin": lambda g: _bind(g, g.loose(), g.almighty),
            "in an exempt namespace": _bind_exempt,
        },
        "kfarm-farm-bindings",
        lambda g: g.scheduler(
            "POST", f"{path_of(p := g.loose())}/binding?dryRun=All", binding_of(p, "n")
        ),
    ),
    Attempt(
        "a binding that carries a plan's labels",
        {
            "plan": lambda g: g.scheduler(
                "POST", f"{path_of(p := g.loose())}/binding", binding_of(p, "n", labels=PLAN)
            ),
        },
        "kfarm-farm-bindings",
        lambda g: g.scheduler(
            "POST",
            f"{path_of(p := g.loose())}/binding?dryRun=All",
            binding_of(p, "n", labels={"a": "b"}),
        ),
    ),
    Attempt(
        "the scheduler's binding of a gated pod",
        {"direct": lambda g: _bind(g, g.held(), g.scheduler)},
        "409|422|500",
        lambda g: g.scheduler(
            "POST", f"{path_of(p := g.loose())}/binding?dryRun=All", binding_of(p, "n")
        ),
    ),
    Attempt(
        "the gate account as a tool",
        {
            "an image": lambda g: patched(
                g.gate, g.held(), NO_GATE | {"metadata": {"labels": {"a": "b"}}}
            ),
            "no node": lambda g: patched(g.gate, g.held(), NO_GATE),
            "a plain pod": lambda g: patched(
                g.gate, g.loose(), {"metadata": {"labels": {"a": "b"}}}
            ),
        },
        "kfarm-gate-release",
        lambda g: patched(
            g.gate,
            g.held(nodeSelector=NOWHERE),
            NO_GATE | {"spec": {"schedulingGates": None, "nodeSelector": {LABEL_HOSTNAME: "n"}}},
        ),
    ),
)
