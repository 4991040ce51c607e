"""What of a pod's spec decides its placement, as hashable values: equal specs share one class."""

from __future__ import annotations

from typing import NamedTuple

from kfarm_api.parse import show

from kfarm_twin.kube.reading import INT32, Field
from kfarm_twin.kube.requests import Asked, asked_by
from kfarm_twin.kube.selectors import (
    NodeTerm,
    Requirement,
    Selector,
    canonical,
    from_labels,
    read_label_selector,
    read_node_term,
)

MAX_WEIGHT = 100
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
HOSTNAME = "kubernetes.io/hostname"
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


class Toleration(NamedTuple):
    """A toleration; empty key with Exists tolerates all."""

    key: str
    operator: str
    value: str
    effect: str


class Taint(NamedTuple):
    """A taint of a node."""

    key: str
    value: str
    effect: str


class Port(NamedTuple):
    """A port of the node that a pod takes."""

    ip: str
    protocol: str
    port: int


class Term(NamedTuple):
    """A term of pod affinity: which pods, of which namespaces, at which topology key."""

    namespaces: tuple[str, ...]
    namespace_selector: Selector
    selector: Selector
    key: str


class Spread(NamedTuple):
    """A topology spread constraint."""

    key: str
    max_skew: int
    hard: bool
    selector: Selector
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


class PodClass(NamedTuple):
    """Everything that placement depends on, but priority and identity."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    asked: Asked
    node_selector: tuple[Requirement, ...]
    required: tuple[NodeTerm, ...] | None
    preferred: tuple[tuple[int, NodeTerm], ...] | None
    tolerations: tuple[Toleration, ...]
    ports: tuple[Port, ...]
    images: tuple[str, ...]
    containers: int
    spread: tuple[Spread, ...]
    spread_is_default: bool
    affinity: tuple[Term, ...]
    anti_affinity: tuple[Term, ...]
    preferred_affinity: tuple[tuple[int, Term], ...]
    preferred_anti_affinity: tuple[tuple[int, Term], ...]
    terminating: bool


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether a toleration covers a taint (k8s.io/api Toleration.ToleratesTaint)."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    return toleration.operator == "Exists" or toleration.value == taint.value


def read_pod_class(metadata: Field, spec: Field, status: Field) -> PodClass:
    """Read a pod, with the defaults that the API server and its admission plugins would set."""
    namespace, labels = metadata.text("namespace", "default"), metadata.labels("labels")
    affinity = spec.child("affinity")
    node, near = affinity.child("nodeAffinity"), affinity.child("podAffinity")
    apart = affinity.child("podAntiAffinity")
    images = [c.text("image") for c in (*spec.items("initContainers"), *spec.items("containers"))]
    images += [v.child("image").text("reference") for v in spec.items("volumes") if v.has("image")]
    return PodClass(
        namespace=namespace,
        labels=tuple(sorted(labels.items())),
        asked=asked_by(spec, status),
        node_selector=from_labels(spec.labels("nodeSelector")),
        required=_required(node),
        preferred=_preferred(node),
        tolerations=_tolerations(spec),
        ports=_ports(spec),
        images=tuple(sorted(image_name(image) for image in images if image)),
        containers=len(spec.list("initContainers")) + len(spec.list("containers")),
        spread=_spread(spec, labels),
        spread_is_default=False,
        affinity=_terms(near, namespace, labels),
        anti_affinity=_terms(apart, namespace, labels),
        preferred_affinity=_weighted(near, namespace, labels),
        preferred_anti_affinity=_weighted(apart, namespace, labels),
        terminating=metadata.has("deletionTimestamp"),
    )


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def image_name(name: str) -> str:
    """An image with its tag, as kube-scheduler's ImageLocality compares them."""
    return f"{name}:latest" if name.rfind(":") <= name.rfind("/") else name


def _required(affinity: Field) -> tuple[NodeTerm, ...] | None:
    if not affinity.has(_REQUIRED):
        return None
    return read_node_selector(affinity.child(_REQUIRED))


def read_node_selector(selector: Field) -> tuple[NodeTerm, ...]:
    """The terms of a node selector, any of which is enough."""
    terms = [
        read_node_term(term, (*selector.path, "nodeSelectorTerms", index), selector.report)
        for index, term in enumerate(selector.list("nodeSelectorTerms"))
    ]
    if not terms:
        selector.report((*selector.path, "nodeSelectorTerms"), "no terms", "at least one")
    return tuple(sorted({term for term in terms if term is not None}))


def _preferred(affinity: Field) -> tuple[tuple[int, NodeTerm], ...] | None:
    entries = affinity.items(_PREFERRED)
    return read_preferences(entries) if entries else None


def read_preferences(entries: list[Field]) -> tuple[tuple[int, NodeTerm], ...]:
    """Weighted node selector terms."""
    made = []
    for entry in entries:
        weight = entry.integer("weight", 1, 1, MAX_WEIGHT)
        preference = (*entry.path, "preference")
        term = read_node_term(entry.body.get("preference"), preference, entry.report)
        if term is not None:
            made.append((weight, term))
    return tuple(sorted(made))


def read_toleration(entry: Field) -> Toleration:
    """One toleration."""
    operator = entry.choice("operator", "Equal", ("Equal", "Exists"))
    made = Toleration(
        entry.text("key"),
        operator,
        entry.text("value"),
        entry.choice("effect", "", ("", *EFFECTS)),
    )
    if not made.key and operator != "Exists":
        entry.report((*entry.path, "operator"), show(operator), "Exists where there is no key")
    return made


def _tolerations(spec: Field) -> tuple[Toleration, ...]:
    """Tolerations with those that the admission plugin DefaultTolerationSeconds adds."""
    made = [read_toleration(entry) for entry in spec.items("tolerations")]
    for key in (NOT_READY, UNREACHABLE):
        known = any(t.key in ("", key) and t.effect in ("", "NoExecute") for t in made)
        if not known:
            made.append(Toleration(key, "Exists", "", "NoExecute"))
    return tuple(sorted(set(made)))


def _ports(spec: Field) -> tuple[Port, ...]:
    """Host ports of containers and sidecars; with hostNetwork every port is one."""
    on_host = spec.flag("hostNetwork")
    sidecars = [c for c in spec.items("initContainers") if c.text("restartPolicy") == "Always"]
    made = set()
    for container in (*sidecars, *spec.items("containers")):
        for entry in container.items("ports"):
            port = entry.integer("hostPort", 0, 0, 65535)
            if on_host and not port:
                port = entry.integer("containerPort", 0, 0, 65535)
            if port:
                protocol = entry.choice("protocol", "TCP", ("TCP", "UDP", "SCTP"))
                made.add(Port(entry.text("hostIP") or "0.0.0.0", protocol, port))  # noqa: S104
    return tuple(sorted(made))


def _with_label_keys(
    selector: Selector, entry: Field, labels: dict[str, str], *, mismatch: bool
) -> Selector:
    """A selector narrowed by ``matchLabelKeys`` as the API server does at creation."""
    if selector is None:
        return None
    extra = [
        Requirement(k, "In", (labels[k],)) for k in entry.texts("matchLabelKeys") if k in labels
    ]
    if mismatch:
        extra += [
            Requirement(k, "NotIn", (labels[k],))
            for k in entry.texts("mismatchLabelKeys")
            if k in labels
        ]
    return canonical((*selector, *extra))


def _spread(spec: Field, labels: dict[str, str]) -> tuple[Spread, ...]:
    return tuple(read_spread(e, labels) for e in spec.items("topologySpreadConstraints"))


def read_spread(entry: Field, labels: dict[str, str]) -> Spread:
    """One topology spread constraint."""
    when = entry.choice("whenUnsatisfiable", "DoNotSchedule", ("DoNotSchedule", "ScheduleAnyway"))
    selector = entry.body.get("labelSelector")
    read = read_label_selector(selector, (*entry.path, "labelSelector"), entry.report)
    policies = ("Honor", "Ignore")
    made = Spread(
        key=entry.text("topologyKey"),
        max_skew=entry.integer("maxSkew", 1, 1, INT32 - 1),
        hard=when == "DoNotSchedule",
        selector=_with_label_keys(read, entry, labels, mismatch=False),
        min_domains=entry.integer("minDomains", 1, 1, INT32 - 1),
        honor_affinity=entry.choice("nodeAffinityPolicy", "Honor", policies) == "Honor",
        honor_taints=entry.choice("nodeTaintsPolicy", "Ignore", policies) == "Honor",
    )
    for key in ("topologyKey", "maxSkew", "whenUnsatisfiable"):
        if not entry.has(key):
            entry.report((*entry.path, key), "nothing", f"{key}, which is required")
    return made


def _term(entry: Field, namespace: str, labels: dict[str, str]) -> Term:
    selector = read_label_selector(
        entry.body.get("labelSelector"), (*entry.path, "labelSelector"), entry.report
    )
    among = read_label_selector(
        entry.body.get("namespaceSelector"), (*entry.path, "namespaceSelector"), entry.report
    )
    named = entry.texts("namespaces")
    if not named and not entry.has("namespaceSelector"):
        named = (namespace,)
    if not entry.text("topologyKey"):
        entry.report((*entry.path, "topologyKey"), "nothing", "the key of a node label")
    narrowed = _with_label_keys(selector, entry, labels, mismatch=True)
    return Term(tuple(sorted(set(named))), among, narrowed, entry.text("topologyKey"))


def _terms(affinity: Field, namespace: str, labels: dict[str, str]) -> tuple[Term, ...]:
    return tuple(_term(entry, namespace, labels) for entry in affinity.items(_REQUIRED))


def _weighted(
    affinity: Field, namespace: str, labels: dict[str, str]
) -> tuple[tuple[int, Term], ...]:
    return tuple(
        (
            entry.integer("weight", 1, 1, MAX_WEIGHT),
            _term(entry.child("podAffinityTerm"), namespace, labels),
        )
        for entry in affinity.items(_PREFERRED)
    )
