"""Objects of a cluster as far as placement depends on them: what the describe step makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kfarm_twin.kube.podspec import PodClass, Spread, Taint
from kfarm_twin.kube.selectors import Requirement, Selector, canonical, from_labels, selects

NAMESPACE_NAME = "kubernetes.io/metadata.name"
BUILT_IN_PRIORITIES = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}
DEFAULT_SCHEDULER = "default-scheduler"


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes
    ----------
    allocatable
        CPU [m], others in units, by resource name; pods among them.
    images
        Bytes of each image by every name it has, in the order of the status.
    """

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, int]
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    images: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Pod:
    """A pod, bound or pending.

    Attributes
    ----------
    spec
        What placement depends on; equal for equal pods.
    created_s, started_s
        Creation and ``status.startTime`` [s since 1970]; None when not known.
    budgets
        Names of budgets that count this pod as disrupted already (``status.disruptedPods``).
    warnings
        What of this pod the twin does not take into account.
    """

    name: str
    namespace: str
    spec: PodClass
    uid: str = ""
    priority: int = 0
    never_preempts: bool = False
    scheduler: str = DEFAULT_SCHEDULER
    gates: tuple[str, ...] = ()
    node: str = ""
    nominated: str = ""
    created_s: float | None = None
    started_s: float | None = None
    finished: bool = False
    leaving_by_preemption: bool = False
    owner: tuple[str, str] = ("", "")
    warnings: tuple[str, ...] = ()
    file: Path = Path("-")

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class PriorityClass:
    """A priority by name."""

    name: str
    value: int
    is_default: bool = False
    never_preempts: bool = False


@dataclass(frozen=True)
class Budget:
    """A PodDisruptionBudget with what its status allows now."""

    name: str
    namespace: str
    selector: Selector
    allowed: int
    disrupted: frozenset[str] = frozenset()


@dataclass
class Cluster:
    """Everything that was described.

    Attributes
    ----------
    bound
        Pods on nodes, the finished left out.
    nominated
        Pending pods of the cluster that a preemption promised a node.
    namespaces
        Labels by name.
    services, controllers
        Selectors by namespace, and by (kind, namespace, name): they decide the default spreading.
    """

    nodes: list[Node] = field(default_factory=list)
    bound: list[Pod] = field(default_factory=list)
    nominated: list[Pod] = field(default_factory=list)
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    priorities: dict[str, PriorityClass] = field(default_factory=dict)
    budgets: list[Budget] = field(default_factory=list)
    services: dict[str, list[tuple[Requirement, ...]]] = field(default_factory=dict)
    controllers: dict[tuple[str, str, str], Selector] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _selectors: dict[object, tuple[Requirement, ...]] = field(default_factory=dict)

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """Labels of a namespace; the API server gives each its name."""
        return {**self.namespaces.get(name, {}), NAMESPACE_NAME: name}

    def default_selector(self, pod: Pod) -> tuple[Requirement, ...]:
        """Selector of the services and the controller of a pod; empty when it has none.

        As `helper.DefaultSelector` of kube-scheduler.
        """
        asked = (pod.namespace, pod.spec.labels, pod.owner)
        known = self._selectors.get(asked)
        if known is None:
            known = self._selectors[asked] = self._default_selector(pod)
        return known

    def _default_selector(self, pod: Pod) -> tuple[Requirement, ...]:
        labels = dict(pod.spec.labels)
        merged: dict[str, str] = {}
        for selector in self.services.get(pod.namespace, ()):
            if selects(selector, labels):
                merged.update({r.key: r.values[0] for r in selector})
        kind, name = pod.owner
        own = self.controllers.get((kind, pod.namespace, name))
        if kind == "ReplicationController" and own is not None:
            merged.update({r.key: r.values[0] for r in own})
            own = None
        if own is None:
            return from_labels(merged)
        return canonical((*from_labels(merged), *own))


def with_default_spread(pod: Pod, cluster: Cluster, defaults: tuple[Spread, ...]) -> PodClass:
    """The class of a pod that has no spread constraints of its own, with the profile's defaults."""
    if pod.spec.spread or not defaults:
        return pod.spec
    selector = cluster.default_selector(pod)
    if selector == ():
        return pod.spec
    constraints = tuple(constraint._replace(selector=selector) for constraint in defaults)
    return pod.spec._replace(spread=constraints, spread_is_default=True)


def bound_to(pod: Pod, node: str) -> Pod:
    """The pod on a node."""
    return replace(pod, node=node, nominated="")
