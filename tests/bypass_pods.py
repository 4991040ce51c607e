"""Ways around the gate by what a pod says, at its creation and afterwards."""

from __future__ import annotations

import copy
import json

from bypass_ground import NOWHERE, UNKNOWN, Act, Attempt, Ground
from gate_pods import (
    GPU,
    OPEN,
    Json,
    container,
    device_pod,
    pod,
    pods,
)
from kfarm_api.layout import GATE, LABEL_HOSTNAME, LABEL_PLAN, LABEL_WORKLOAD, TAINT
from kfarm_operator.gate_ready import Answer

APPLY = "application/apply-patch+yaml"
MIRROR = {"kubernetes.io/config.mirror": "0123456789abcdef"}


def mirror(item: Json) -> Json:
    """As a kubelet shows a static pod."""
    item["metadata"]["annotations"] = MIRROR
    return item


def _spec(where: str = "enforced", who: str = "root", **spec: object) -> Act:
    """Create a pod that says so."""
    return lambda g: g.make(pod(**spec), getattr(g, where), getattr(g, who))


def _pinned(item: Json) -> Act:
    """Create a pod on the farm's node."""

    def act(g: Ground) -> Answer:
        made = copy.deepcopy(item)
        made["metadata"]["name"] += "-pinned"
        made["spec"]["nodeName"] = g.farm_node
        return g.make(made)

    return act


def applied(g: Ground, item: Json, manager: str = "tenant") -> Answer:
    path = pods(g.enforced, item["metadata"]["name"], f"?fieldManager={manager}&force=true")
    return g.root("PATCH", path, item, APPLY)


def _twice(first: Json, last: Json) -> Act:
    """JSON with the field ``spec`` twice: readers differ in which one counts."""

    def act(g: Ground) -> Answer:
        text = json.dumps(last)
        doubled = text.replace('"spec":', f'"spec": {json.dumps(first["spec"])}, "spec":', 1)
        return g.root("POST", pods(g.enforced), doubled)

    return act


def _yaml(g: Ground) -> Answer:
    text = (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: by-yaml}}\nspec:\n  schedulingGates: []\n"
        f"  containers:\n  - &c {{name: a, image: i, resources: {{limits: {{{GPU}: '1'}}}}}}\n"
        "  - {<<: *c, name: b}\n"
    )
    return g.root("POST", pods(g.enforced), text, "application/yaml")


def _many(count: int, resources: int) -> Act:
    """A pod so large that policies may run out of their budget."""
    limits = {GPU: 1} | {f"example.com/r{i}": 1 for i in range(resources)}

    def act(g: Ground) -> Answer:
        crowd = [container(f"c{i}", limits=limits) for i in range(count)]
        return g.make(pod(containers=crowd, nodeSelector=NOWHERE))

    return act


def _scheduling(name: str) -> Act:
    return lambda g: g.make(pod(runtimeClassName=name, nodeSelector=NOWHERE))


CREATIONS = (
    Attempt(
        "a node name under the gate",
        {
            "device": _pinned(device_pod()),
            "no device": _pinned(pod()),
            "gated by hand": _pinned(device_pod(schedulingGates=[{"name": GATE}])),
            "a node's account": lambda g: g.make(pod(nodeName=g.farm_node), who=g.node),
            "a mirror pod": lambda g: g.make(mirror(pod(nodeName=g.farm_node)), who=g.node),
            "the tenant": lambda g: g.make(device_pod(nodeName=g.farm_node), who=g.tenant),
            "server-side apply": lambda g: applied(g, pod(nodeName=g.farm_node)),
        },
        "403|422",
        lambda g: g.make(device_pod(nodeSelector={LABEL_HOSTNAME: g.farm_node})),
    ),
    Attempt(
        "the farm's toleration without a device",
        {
            "by key": _spec(tolerations=[OPEN]),
            "by value": _spec(tolerations=[{"key": TAINT, "value": "farm"}]),
            "any effect": _spec(tolerations=[{"key": TAINT, "operator": "Exists"}]),
            "bare Exists": _spec(tolerations=[{"operator": "Exists"}]),
            "bare NoSchedule": _spec(tolerations=[{"operator": "Exists", "effect": "NoSchedule"}]),
            "the tenant": _spec(who="tenant", tolerations=[OPEN]),
        },
        "kfarm-farm-entry",
        _spec(tolerations=[{"key": "other", "operator": "Exists"}], nodeSelector=NOWHERE),
    ),
    Attempt(
        "a plan's labels without a device",
        {
            "plan": lambda g: g.make(pod({LABEL_PLAN: "p"})),
            "workload": lambda g: g.make(pod({LABEL_WORKLOAD: "w"}), who=g.tenant),
        },
        "kfarm-gate-pods",
        lambda g: g.make(pod({"team": "a"}, nodeSelector=NOWHERE)),
    ),
    Attempt(
        "a gate put on by hand to earn the toleration",
        {"no device": _spec(tolerations=[OPEN], schedulingGates=[{"name": GATE}])},
        "gated",
    ),
    Attempt(
        "gates of another kind",
        {
            "none": lambda g: g.make(device_pod(schedulingGates=[])),
            "null": lambda g: g.make(device_pod(schedulingGates=None)),
            "another's": lambda g: g.make(device_pod(schedulingGates=[{"name": "a.b/c"}])),
            "nearly ours": lambda g: g.make(device_pod(schedulingGates=[{"name": f"{GATE}.x"}])),
            "the tenant": lambda g: g.make(device_pod(), who=g.tenant),
        },
        "gated",
    ),
    Attempt(
        "devices where nobody looks",
        {
            "init container": _spec(initContainers=[container("i", limits={GPU: 1})]),
            "sidecar": _spec(
                initContainers=[container("i", limits={GPU: 1}) | {"restartPolicy": "Always"}]
            ),
            "last of fifty": _spec(
                containers=[*(container(f"c{i}") for i in range(49)), container(limits={GPU: 1})]
            ),
            "second name": _spec(containers=[container(limits={f"{GPU}.shared": 1})]),
            "none of them": _spec(containers=[container(limits={GPU: 0})]),
        },
        "gated",
    ),
    Attempt(
        "devices by resource claims",
        {
            "template": _spec(
                resourceClaims=[{"name": "g", "resourceClaimTemplateName": "shared"}]
            ),
            "a claim of another pod": _spec(
                resourceClaims=[{"name": "g", "resourceClaimName": "taken"}], who="tenant"
            ),
            "device class": _spec(
                containers=[container(limits={"deviceclass.resource.kubernetes.io/gpu": 1})]
            ),
        },
        "gated",
    ),
    Attempt(
        "devices by the namespace's defaults",
        {"LimitRange": lambda g: g.make(pod(), g.limited)},
        "gated",
        lambda g: g.make(pod(nodeSelector=NOWHERE)),
    ),
    Attempt(
        "devices by a runtime class's overhead",
        {"overhead": _scheduling("bypass-devices")},
        "gated",
        _scheduling("bypass-plain"),
    ),
    Attempt(
        "the toleration by a runtime class",
        {"scheduling": _scheduling("bypass-opener")},
        "kfarm-farm-entry",
        _scheduling("bypass-plain"),
    ),
    Attempt(
        "another verb for the creation",
        {"apply": lambda g: applied(g, device_pod()), "YAML with an anchor": _yaml},
        "gated",
    ),
    Attempt(
        "a body with the same field twice",
        {
            "devices last": _twice(pod(), device_pod()),
            "devices and no gate last": _twice(pod(), device_pod(schedulingGates=None)),
        },
        "gated",
    ),
    Attempt(
        "a pod too large for the policies' budget",
        {"many containers": _many(600, 1), "many resources": _many(40, 120)},
        "gated",
    ),
    Attempt(
        "a mirror pod by nobody's kubelet",
        {
            "no node": lambda g: g.make(mirror(pod())),
            "the farm's node": lambda g: g.make(mirror(pod(nodeName=g.farm_node)), g.open),
            "the tenant": lambda g: g.make(mirror(pod(nodeName=g.farm_node)), g.open, g.tenant),
        },
        "403|422",
        lambda g: g.dry(mirror(pod(nodeName="n")), g.open, g.node),
    ),
    Attempt(
        "devices on a node by its own account",
        {
            "no mirror": lambda g: g.make(pod(nodeName=g.farm_node), g.open, g.node),
            "a mirror with devices": lambda g: g.make(
                mirror(device_pod(nodeName=g.farm_node)), g.open, g.node
            ),
        },
        "kfarm-farm-entry",
        lambda g: g.dry(mirror(pod(nodeName=g.farm_node)), g.open, g.node),
    ),
    Attempt(
        "a resource that no profile names",
        {
            "under the gate": _spec(containers=[container(limits={UNKNOWN: 1})]),
            "beside it": _spec("open", containers=[container(limits={UNKNOWN: 1})]),
            "devices beside the gate": lambda g: g.make(device_pod(), g.open),
            "the tenant": lambda g: g.make(device_pod(), g.open, g.tenant),
        },
        "outside",
    ),
    Attempt(
        "the farm's node by selectors",
        {
            "label": _spec(nodeSelector={"zone": "farm"}),
            "hostname": lambda g: g.make(pod(nodeSelector={LABEL_HOSTNAME: g.farm_node}), g.open),
            "affinity": lambda g: g.make(pod(affinity=_onto(g.farm_node)), who=g.tenant),
        },
        "outside",
    ),
    Attempt(
        "a scheduler of one's own",
        {"named": lambda g: g.make(device_pod(schedulerName="mine"))},
        "gated",
    ),
    Attempt(
        "the way in beside the gate",
        {
            "node name": lambda g: g.make(pod(nodeName=g.farm_node), g.open),
            "toleration": _spec("open", tolerations=[OPEN]),
            "devices": lambda g: g.make(device_pod(tolerations=[OPEN]), g.open),
            "bare Exists": _spec("open", "tenant", tolerations=[{"operator": "Exists"}]),
            "a gate by hand": _spec(
                "open", tolerations=[OPEN], schedulingGates=[{"name": GATE}]
            ),
            "a runtime class": lambda g: g.make(
                pod(runtimeClassName="bypass-opener"), g.open, g.tenant
            ),
        },
        "kfarm-farm-entry",
        _spec("open", tolerations=[{"operator": "Exists", "effect": "NoExecute"}],
              nodeSelector=NOWHERE),
    ),
    Attempt(
        "devices in an exempt namespace",
        {
            "toleration": lambda g: g.dry(device_pod(tolerations=[OPEN]), g.exempt),
            "bare Exists": lambda g: g.dry(
                device_pod(tolerations=[{"operator": "Exists"}]), g.exempt
            ),
            "node name": lambda g: g.dry(device_pod(nodeName=g.farm_node), g.exempt),
            "claim": lambda g: g.dry(
                pod(tolerations=[OPEN], resourceClaims=[
                    {"name": "g", "resourceClaimTemplateName": "g"}
                ]),
                g.exempt,
            ),
            "a runtime class": lambda g: g.dry(device_pod(runtimeClassName="bypass-opener"),
                                               g.exempt),
            "unknown resource": lambda g: g.dry(
                pod(tolerations=[OPEN], containers=[container(limits={UNKNOWN: 1})]), g.exempt
            ),
        },
        "kfarm-farm-entry-exempt",
        lambda g: g.dry(pod(tolerations=[{"operator": "Exists"}]), g.exempt),
    ),
)  # fmt: skip


def _onto(node: str) -> Json:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"nodeAffinity": required}
