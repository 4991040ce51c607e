"""Where ways around the gate are tried, by whom, and how each of them has to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gate_pods import GPU, MERGE, Api, Json, allowed, device_pod, path_of, pod, pods
from kfarm_api.layout import GATE, LABEL_HOSTNAME, TAINT
from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_operator.gate_ready import Answer, is_gated, refused_by

UNKNOWN = "example.com/unknown"
"""A resource that no profile names, though the farm's node has it."""
NOWHERE = {"no": "where"}
"""A node selector that no node has."""


@dataclass
class Ground:
    """A farm's node, namespaces of every kind, and everybody who may try.

    Attributes
    ----------
    root
        A member of ``system:masters``, who may do everything, so that a refusal is a policy's.
    almighty
        A service account with cluster-admin, outside of the break-glass groups.
    tenant
        A service account, by its own token: ``admin`` of `enforced` and `open`, reader of nodes.
    node, scheduler, gate, farm
        Members of ``system:nodes``; the scheduler; the two accounts that write.
    enforced, open, limited, exempt
        Namespaces: under the gate, not under it, under it with a LimitRange, exempt.
    outside
        Pods that were let in without the gate; the scheduler must find no place for them.
    """

    cluster: Cluster
    root: Api
    almighty: Api
    tenant: Api
    node: Api
    scheduler: Api
    gate: Api
    farm: Api
    enforced: str
    open: str
    limited: str
    farm_node: str
    exempt: str = "kube-system"
    outside: list[Json] = field(default_factory=list)

    def make(self, item: Json, place: str = "", who: Api | None = None) -> Answer:
        """Create a pod, by default as `root` under the gate."""
        return (who or self.root)("POST", pods(place or self.enforced), item)

    def dry(self, item: Json, place: str = "", who: Api | None = None) -> Answer:
        """Create a pod by dry run."""
        return (who or self.root)("POST", pods(place or self.enforced, query="?dryRun=All"), item)

    def held(self, **spec: object) -> Json:
        """A pod of eight devices that waits at the gate."""
        return allowed(self.make(device_pod(**spec)))

    def loose(self, place: str = "") -> Json:
        """A pod without devices or gate, which no node suits."""
        return allowed(self.make(pod(nodeSelector=NOWHERE), place))

    def kubectl(self, *arguments: str, **options: object) -> Answer:
        """What kubectl makes of it, as `root`."""
        try:
            return Answer(200, {"message": self.cluster.kubectl(*arguments, **options)})  # type: ignore[arg-type]
        except KubectlError as error:
            return Answer(403 if "orbidden" in error.stderr else 500, {"message": error.stderr})


Act = Callable[[Ground], Answer]


@dataclass(frozen=True)
class Attempt:
    """One kind of attempt in all of its forms.

    Attributes
    ----------
    kind
        What is tried.
    forms
        Ways to try it.
    end
        Names of policies divided by ``|``, one of which refuses; ``rbac``; HTTP codes divided by
        ``|``; or ``gated`` (taken, but the pod waits at the gate) or ``outside`` (taken without
        the gate, but no node of the farm takes it).
    honest
        Nearly the same without the trick, which is taken. Where the trick itself is taken it may
        be left out.
    """

    kind: str
    forms: Mapping[str, Act]
    end: str
    honest: Act | None = None


def check(attempt: Attempt, ground: Ground, answer: Answer) -> None:
    """Require that the attempt ended as it has to."""
    said = answer.status, answer.body.get("message")
    if attempt.end == "gated":
        assert is_gated(allowed(answer)), said
    elif attempt.end == "outside":
        made = allowed(answer)
        assert not is_gated(made)
        assert not enters_farm(made)
        if "uid" in made["metadata"]:
            ground.outside.append(made)
    elif attempt.end == "rbac":
        assert answer.status == 403, said
        assert "ValidatingAdmissionPolicy" not in str(said[1]), said
    elif attempt.end[0].isdigit():
        assert str(answer.status) in attempt.end.split("|"), said
    else:
        assert refused_by(answer, *attempt.end.split("|")), said


def enters_farm(body: Json) -> bool:
    """Whether a pod tolerates the farm's taint, by the rules of Kubernetes, or names its node."""
    return bool(body["spec"].get("nodeName")) or any(
        tolerates(toleration) for toleration in body["spec"].get("tolerations", ())
    )


def tolerates(toleration: Json, value: str = "farm") -> bool:
    """``Toleration.ToleratesTaint`` of Kubernetes for ``kfarm.dev/farm=farm:NoSchedule``."""
    if toleration.get("effect") and toleration["effect"] != "NoSchedule":
        return False
    if toleration.get("key") and toleration["key"] != TAINT:
        return False
    match toleration.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            return bool(toleration.get("value", "") == value)
    return False


def binding_of(item: Json, node: str, **metadata: object) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": item["metadata"]["name"], **metadata},
        "target": {"kind": "Node", "name": node},
    }


def patched(who: Api, item: Json, body: object, part: str = "", content: str = MERGE) -> Answer:
    """Patch a pod or a subresource of it."""
    return who("PATCH", f"{path_of(item)}{part}", body, content)


def farm_node(name: str) -> Json:
    """A node of a farm with devices, that KWOK runs."""
    sizes = {"cpu": "64", "memory": "512Gi", "pods": "110", GPU: "64", UNKNOWN: "64"}
    labels = {LABEL_HOSTNAME: name, "kfarm.dev/farm": "farm", "zone": "farm"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [{"key": TAINT, "value": "farm", "effect": "NoSchedule"}]},
        "status": {"capacity": sizes, "allocatable": sizes},
    }


def lawful_release(item: Json, node: str) -> Json:
    """The patch of the gate account."""
    rest = [gate for gate in item["spec"]["schedulingGates"] if gate["name"] != GATE]
    metadata = {key: item["metadata"][key] for key in ("uid", "resourceVersion")}
    spec = {"schedulingGates": rest or None, "nodeSelector": {LABEL_HOSTNAME: node}}
    return {"metadata": metadata, "spec": spec}
