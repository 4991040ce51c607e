"""Objects from files: what ``kubectl get … -o yaml`` prints, Lists, several documents, JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from kfarm_api.parse import InvalidObject, as_stored, path_text, show, validate
from kfarm_api.snapshot import FarmSnapshot

from kfarm_twin.kube.objects import (
    BUILT_IN_PRIORITIES,
    DEFAULT_SCHEDULER,
    Budget,
    Cluster,
    Node,
    Pod,
    PriorityClass,
)
from kfarm_twin.kube.podspec import EFFECTS, Taint, read_pod_class
from kfarm_twin.kube.reading import INT32, Field
from kfarm_twin.kube.reading import Path as Place
from kfarm_twin.kube.requests import is_tracked, read_amounts, whole
from kfarm_twin.kube.selectors import Selector, from_labels, read_label_selector
from kfarm_twin.kube.snapshot import snapshot_cluster
from kfarm_twin.load import (
    STDIN,
    ManifestError,
    Problem,
    enough,
    manifest_files,
    read_documents,
)
from kfarm_twin.manifest_text import TextDocument

FILE_BYTES = 1 << 30
"""A cluster's dump may be long: 10,000 nodes with their images are about 150 MB."""

_GROUPS = {
    "Node": "v1",
    "Pod": "v1",
    "Namespace": "v1",
    "Service": "v1",
    "ReplicationController": "v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "PriorityClass": "scheduling.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "RuntimeClass": "node.k8s.io/v1",
}
_CLAIMS = "persistentVolumeClaim"
_ATTACHED = ("awsElasticBlockStore", "gcePersistentDisk", "azureDisk", "rbd", "iscsi", "cinder")


class Described:
    """What was read from files, by kind; the objects with the place where each stands."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.objects: dict[str, list[tuple[Field, Path]]] = {kind: [] for kind in _GROUPS}
        self.snapshots: list[FarmSnapshot] = []
        self._seen: dict[tuple[str, str, str], str] = {}

    def add_file(self, file: Path) -> None:
        """Read a file; all its objects of kinds that matter are kept."""
        for text in read_documents(file, self.problems, FILE_BYTES):
            if enough(file, text, self.problems):
                break
            for place, body in _bodies(text.value):
                self.add_body(file, text, place, body)

    def add_body(self, file: Path, text: TextDocument, place: Place, body: Any) -> None:
        """Take one object that stands at a place of a document; other kinds are passed over."""

        def report(path: Place, found: str, expected: str) -> None:
            line = text.line_of(path)
            self.problems.append(Problem(file, text.index, path_text(path), found, expected, line))

        if not isinstance(body, Mapping):
            report(place, show(body), "an object with apiVersion and kind")
            return
        kind = body.get("kind")
        if not isinstance(kind, str) or not isinstance(body.get("apiVersion"), str):
            report((*place, "kind"), show(kind), "an object with apiVersion and kind")
        elif kind == "FarmSnapshot":
            self.snapshots.append(_snapshot(body, Field(body, place, report)))
        elif kind in _GROUPS and body["apiVersion"] == _GROUPS[kind]:
            whole_object = Field(body, place, report)
            self._check_name(kind, whole_object, f"{file} document {text.index}")
            self.objects[kind].append((whole_object, file))
        elif kind in _GROUPS:
            report((*place, "apiVersion"), show(body["apiVersion"]), _GROUPS[kind])

    def _check_name(self, kind: str, body: Field, where: str) -> None:
        metadata = body.child("metadata")
        name, namespace = metadata.text("name"), metadata.text("namespace", "default")
        if not name:
            body.report((*metadata.path, "name"), "nothing", "a name")
            return
        first = self._seen.setdefault((kind, namespace, name), where)
        if first is not where:
            found = f"{kind} {name} again (first in {first})"
            body.report((*metadata.path, "name"), found, "every object once")


def _snapshot(body: Mapping[str, Any], place: Field) -> FarmSnapshot:
    try:
        return validate(FarmSnapshot, as_stored(body), strict=True)
    except InvalidObject as invalid:
        for problem in invalid.problems:
            place.report((*place.path, *problem.path), problem.found, problem.expected)
        return FarmSnapshot(nodes=[])


def _bodies(value: Any) -> Iterator[tuple[Place, Any]]:
    """Objects of a document; ``List``, ``NodeList`` and the like hold several."""
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list):
        single = kind.removesuffix("List")
        for index, item in enumerate(value["items"]):
            bare = single and isinstance(item, Mapping) and "kind" not in item
            known = {"kind": single, "apiVersion": value.get("apiVersion")}
            yield ("items", index), {**known, **item} if bare else item
    else:
        yield (), value


def load_cluster(cluster: Sequence[Path], pods: Sequence[Path]) -> tuple[Cluster, list[Pod]]:
    """Read a cluster and the pods to schedule.

    Parameters
    ----------
    cluster, pods
        Files, folders, ``-``. Objects other than pods may stand in either.

    Returns
    -------
    tuple
        The cluster, and the pods of the second files in their order.

    Raises
    ------
    ManifestError
        With every problem of every file.
    """
    here, wanted = Described(), Described()
    for described, paths in ((here, cluster), (wanted, pods)):
        for file in manifest_files(paths, described.problems):
            described.add_file(file)
    made, pending = make_cluster(here, wanted)
    problems = here.problems + wanted.problems
    if not made.nodes and not problems:
        first = next(iter(cluster), STDIN)
        problems = [Problem(first, 0, "", "no Node", "the nodes of the cluster: kubectl get nodes")]
    if not pending and not problems:
        first = next(iter(pods), STDIN)
        problems = [Problem(first, 0, "", "no Pod", "at least one pod to schedule")]
    if problems:
        raise ManifestError(problems)
    return made, pending


def make_cluster(here: Described, wanted: Described) -> tuple[Cluster, list[Pod]]:
    """Objects to a cluster and the pods that wait."""
    made = Cluster()
    for name, value in BUILT_IN_PRIORITIES.items():
        made.priorities[name] = PriorityClass(name, value)
    runtimes: dict[str, Field] = {}
    for described in (here, wanted):
        _read_shared(described, made, runtimes)
    for snapshot in here.snapshots + wanted.snapshots:
        snapshot_cluster(snapshot, made)
    known = {node.name for node in made.nodes}
    pending: list[Pod] = []
    names: set[str] = set()
    for described, waiting in ((wanted, True), (here, False)):
        for body, file in described.objects["Pod"]:
            pod = read_pod(body, made, runtimes, file)
            if pod.key in names:  # the pods to schedule may still stand in the cluster's dump
                continue
            names.add(pod.key)
            if waiting:
                pending.append(pod)
            if pod.node and not pod.finished:
                if pod.node in known:
                    made.bound.append(pod)
                else:
                    made.warnings.append(f"pod {pod.key} is on node {pod.node}, which is not here")
            elif pod.nominated and not waiting and not pod.finished:
                made.nominated.append(pod)
    return made, pending


def _read_shared(described: Described, made: Cluster, runtimes: dict[str, Field]) -> None:
    objects = described.objects
    made.nodes += [read_node(body) for body, _ in objects["Node"]]
    for body, _ in objects["Namespace"]:
        metadata = body.child("metadata")
        made.namespaces[metadata.text("name")] = metadata.labels("labels")
    for body, _ in objects["PriorityClass"]:
        one = _priority_class(body)
        made.priorities[one.name] = one
    for body, _ in objects["RuntimeClass"]:
        runtimes[body.child("metadata").text("name")] = body
    made.budgets += [_budget(body) for body, _ in objects["PodDisruptionBudget"]]
    for body, _ in objects["Service"]:
        labels = body.child("spec").labels("selector")
        if labels:
            namespace = body.child("metadata").text("namespace", "default")
            made.services.setdefault(namespace, []).append(from_labels(labels))
    for kind in ("ReplicationController", "ReplicaSet", "StatefulSet"):
        for body, _ in objects[kind]:
            metadata = body.child("metadata")
            key = (kind, metadata.text("namespace", "default"), metadata.text("name"))
            made.controllers[key] = _controller_selector(kind, body.child("spec"))


def _controller_selector(kind: str, spec: Field) -> Selector:
    if kind == "ReplicationController":
        return from_labels(spec.labels("selector"))
    return read_label_selector(spec.body.get("selector"), (*spec.path, "selector"), spec.report)


def read_node(body: Field) -> Node:
    """Read a Node."""
    metadata, spec, status = body.child("metadata"), body.child("spec"), body.child("status")
    key = "allocatable" if status.has("allocatable") else "capacity"
    amounts = read_amounts(status, key) or {}
    images: dict[str, int] = {}
    for image in status.items("images"):
        size = image.integer("sizeBytes", 0, 0, 2**53)
        for name in image.texts("names"):
            images.setdefault(name, size)
    return Node(
        name=metadata.text("name"),
        labels=metadata.labels("labels"),
        allocatable={
            name: whole(name, nano)
            for name, nano in amounts.items()
            if name == "pods" or is_tracked(name)
        },
        taints=tuple(
            Taint(t.text("key"), t.text("value"), t.choice("effect", "NoSchedule", EFFECTS))
            for t in spec.items("taints")
        ),
        unschedulable=spec.flag("unschedulable"),
        images=tuple(images.items()),
    )


def _priority_class(body: Field) -> PriorityClass:
    return PriorityClass(
        body.child("metadata").text("name"),
        body.integer("value", 0, -INT32, INT32 - 1),
        body.flag("globalDefault"),
        body.text("preemptionPolicy") == "Never",
    )


def _budget(body: Field) -> Budget:
    metadata, spec, status = body.child("metadata"), body.child("spec"), body.child("status")
    path = (*spec.path, "selector")
    return Budget(
        metadata.text("name"),
        metadata.text("namespace", "default"),
        read_label_selector(spec.body.get("selector"), path, body.report),
        status.integer("disruptionsAllowed", 0, 0, INT32),
        frozenset(status.child("disruptedPods").body),
    )


def seconds(field: Field, key: str) -> float | None:
    """A time as seconds since 1970; None when absent."""
    text = field.text(key)
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        field.report((*field.path, key), show(text), "a time such as 2026-11-21T06:54:00Z")
        return None


def read_pod(body: Field, cluster: Cluster, runtimes: Mapping[str, Field], file: Path) -> Pod:
    """Read a Pod, with the defaults of the API server."""
    metadata, status = body.child("metadata"), body.child("status")
    spec = _with_runtime_class(body.child("spec"), runtimes)
    if not spec.list("containers"):
        body.report((*spec.path, "containers"), "no containers", "at least one")
    priority, never = _priority(spec, cluster)
    owners = [o for o in metadata.items("ownerReferences") if o.flag("controller")]
    return Pod(
        name=metadata.text("name"),
        namespace=metadata.text("namespace", "default"),
        spec=read_pod_class(metadata, spec, status),
        uid=metadata.text("uid"),
        priority=priority,
        never_preempts=never,
        scheduler=spec.text("schedulerName") or DEFAULT_SCHEDULER,
        gates=tuple(gate.text("name") for gate in spec.items("schedulingGates")),
        node=spec.text("nodeName"),
        nominated=status.text("nominatedNodeName"),
        created_s=seconds(metadata, "creationTimestamp"),
        started_s=seconds(status, "startTime"),
        finished=status.text("phase") in ("Succeeded", "Failed"),
        leaving_by_preemption=metadata.has("deletionTimestamp") and _preempted(status),
        owner=(owners[0].text("kind"), owners[0].text("name")) if owners else ("", ""),
        warnings=_left_out(spec),
        file=file,
    )


def _preempted(status: Field) -> bool:
    for condition in status.items("conditions"):
        if condition.text("type") == "DisruptionTarget":
            reason, holds = condition.text("reason"), condition.text("status") == "True"
            return holds and reason == "PreemptionByScheduler"
    return False


def _priority(spec: Field, cluster: Cluster) -> tuple[int, bool]:
    """Priority and whether the pod never preempts, as the admission plugin Priority resolves it."""
    never = spec.text("preemptionPolicy") == "Never"
    if spec.has("priority"):
        return spec.integer("priority", 0, -INT32, INT32 - 1), never
    name = spec.text("priorityClassName")
    if name:
        found = cluster.priorities.get(name)
        if found is None:
            expected = "a PriorityClass among the files: kubectl get priorityclasses"
            spec.report((*spec.path, "priorityClassName"), show(name), expected)
            return 0, never
    else:
        defaults = [p for p in cluster.priorities.values() if p.is_default]
        found = min(defaults, key=lambda p: p.value, default=None)
        if found is None:
            return 0, never
    return found.value, found.never_preempts if not spec.has("preemptionPolicy") else never


def _with_runtime_class(spec: Field, runtimes: Mapping[str, Field]) -> Field:
    """What the admission plugin RuntimeClass adds: overhead, node selector, tolerations."""
    name = spec.text("runtimeClassName")
    if not name or name not in runtimes:
        return spec
    runtime = runtimes[name]
    body = dict(spec.body)
    if runtime.child("overhead").has("podFixed"):
        body.setdefault("overhead", runtime.child("overhead").body["podFixed"])
    scheduling = runtime.child("scheduling")
    if scheduling.has("nodeSelector"):
        body["nodeSelector"] = {
            **(body.get("nodeSelector") or {}),
            **scheduling.labels("nodeSelector"),
        }
    if scheduling.has("tolerations"):
        body["tolerations"] = [*(body.get("tolerations") or []), *scheduling.list("tolerations")]
    return Field(body, spec.path, spec.report)


def _left_out(spec: Field) -> tuple[str, ...]:
    """What decides placement in kube-scheduler but not here."""
    made = []
    claims = [v.text("name") for v in spec.items("volumes") if v.has(_CLAIMS) or v.has("ephemeral")]
    disks = [v.text("name") for v in spec.items("volumes") if any(v.has(k) for k in _ATTACHED)]
    if claims:
        made.append(f"volumes {', '.join(claims)}: claims are taken as usable from every node")
    if disks:
        made.append(f"volumes {', '.join(disks)}: limits and conflicts of disks are left out")
    if spec.list("resourceClaims"):
        made.append("resourceClaims: devices (DRA) are taken as there on every node")
    if spec.has("schedulingGroup") or spec.has("workloadRef"):
        made.append("schedulingGroup: pods of a group are placed one by one")
    if spec.has("runtimeClassName") and not spec.has("overhead"):
        made.append(
            "runtimeClassName: overhead counts only where it is in the pod or a RuntimeClass"
        )
    if not spec.flag("hostUsers", True):
        made.append("hostUsers: features that nodes declare are not compared")
    return tuple(made)
