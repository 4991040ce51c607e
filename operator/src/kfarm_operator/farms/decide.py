"""What has to happen so that the Nodes of a farm are as the farm says. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kfarm_api.farm import Cluster, Farm
from kfarm_api.layout import (
    LABEL_ACCELERATOR,
    LABEL_FARM,
    LABEL_HOSTNAME,
    LABEL_INDEX,
    LABEL_KWOK,
    TAINT,
    NodePlace,
    cluster_places,
)
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.snapshot import digest

from kfarm_operator.views import NodeView

LABEL_DRILL = "kfarm.dev/drill"
ANNOTATION_DIGEST = "kfarm.dev/spec-digest"
ANNOTATION_OWNER = "kfarm.dev/farm-uid"
MAX_NODES = 20_000
"""Of one farm; four times what Kubernetes is tested with."""
Body = dict[str, Any]


@dataclass(frozen=True)
class NodePatch:
    """A change to one node.

    Attributes
    ----------
    labels, annotations
        To be set, or taken off where None.
    taint
        Our taint as it should stand, or None to take it off; other taints stay.
    status
        Goes to the status subresource.
    """

    node: NodeView
    labels: Mapping[str, str | None]
    taint: Body | None
    annotations: Mapping[str, str | None] = field(default_factory=dict)
    status: Body | None = None

    def body(self, live: Body) -> Body:
        """The merge patch against the node as it is; lists of taints are replaced whole."""
        meta = live["metadata"]
        kept = [t for t in live["spec"].get("taints") or () if t["key"] != TAINT]
        return {
            "metadata": {
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
                "labels": dict(self.labels),
                "annotations": dict(self.annotations),
            },
            "spec": {"taints": [*kept, *([self.taint] if self.taint else [])]},
        }


@dataclass
class FarmDecision:
    """Writes to make, and what is wrong.

    `problems` are (reason, sentence with remedy).
    """

    create: list[Body] = field(default_factory=list)
    patch: list[NodePatch] = field(default_factory=list)
    delete: list[NodeView] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    members: dict[str, list[NodeView]] = field(default_factory=dict)

    @property
    def writes(self) -> int:
        """Number of writes."""
        return len(self.create) + len(self.patch) + len(self.delete)


def decide(
    farm: Farm,
    profiles: Mapping[str, AcceleratorProfile],
    nodes: Mapping[str, NodeView],
    selected: Mapping[str, list[NodeView]],
) -> FarmDecision:
    """Compare the farm with the Nodes.

    Parameters
    ----------
    nodes
        By name: all Nodes that carry the label of any farm.
    selected
        By cluster: real Nodes that its selector matches.
    """
    decision = FarmDecision()
    if sum(cluster.nodes for cluster in farm.spec.clusters) > MAX_NODES:
        decision.problems.append(_too_large(farm))
        return decision
    wanted: set[str] = set()
    for cluster in farm.spec.clusters:
        profile = profiles.get(cluster.accelerator)
        if profile is None:
            decision.problems.append(
                (
                    "ProfileNotFound",
                    f"cluster {cluster.name}: no AcceleratorProfile named {cluster.accelerator!r}; "
                    "apply it (examples/catalogue has the usual ones) or correct the name",
                )
            )
            wanted |= {node.name for node in nodes.values() if _belongs(node, farm, cluster)}
            continue
        if cluster.source.simulated is not None:
            wanted |= _simulate(decision, farm, cluster, profile, nodes)
        else:
            wanted |= _adopt(decision, farm, cluster, profile, selected.get(cluster.name, []))
    for node in nodes.values():
        if node.farm == (farm.kind, farm.metadata.name) and node.name not in wanted:
            _take_back(decision, farm, node)
    return decision


def _too_large(farm: Farm) -> tuple[str, str]:
    wanted = sum(cluster.nodes for cluster in farm.spec.clusters)
    return (
        "FarmTooLarge",
        f"{wanted:,} nodes are more than the {MAX_NODES:,} that one farm may have; those that are "
        "there stay: correct clusters[].nodes, or describe several farms",
    )


def decide_deletion(farm: Farm, nodes: Iterable[NodeView]) -> FarmDecision:
    """Take back all that was made for a farm that is being deleted."""
    decision = FarmDecision()
    for node in nodes:
        if node.farm == (farm.kind, farm.metadata.name):
            _take_back(decision, farm, node)
    return decision


def _belongs(node: NodeView, farm: Farm, cluster: Cluster) -> bool:
    return node.farm == (farm.kind, farm.metadata.name) and node.cluster == cluster.name


def _simulate(
    decision: FarmDecision,
    farm: Farm,
    cluster: Cluster,
    profile: AcceleratorProfile,
    nodes: Mapping[str, NodeView],
) -> set[str]:
    names: set[str] = set()
    members = decision.members.setdefault(cluster.name, [])
    taken: list[str] = []
    mark = spec_digest(farm, cluster, profile)
    for place in cluster_places(farm, cluster):
        names.add(place.name)
        node = nodes.get(place.name)
        if node is None:
            decision.create.append(simulated_node(farm, cluster, profile, place, mark))
        elif node.farm != (farm.kind, farm.metadata.name):
            taken.append(place.name)
        else:
            members.append(node)
            if _drifted(node, node_labels(profile, place), mark):
                body = simulated_node(farm, cluster, profile, place, mark)
                decision.patch.append(_restoring(node, body, mark))
    if taken:
        decision.problems.append(_taken(cluster, taken))
    return names


def _taken(cluster: Cluster, names: list[str]) -> tuple[str, str]:
    return (
        "NodesTaken",
        f"cluster {cluster.name}: {len(names)} nodes belong to another farm, the first is "
        f"{names[0]}; rename the farm or the cluster, or take the nodes out of the other farm",
    )


def spec_digest(farm: Farm, cluster: Cluster, profile: AcceleratorProfile) -> str:
    """What the simulated nodes of a cluster have in common: capacity, labels of the profile."""
    return digest([farm.metadata.name, _capacity(cluster, profile), profile.spec.node_labels])


def node_labels(profile: AcceleratorProfile, place: NodePlace) -> dict[str, str]:
    """Labels of a simulated node."""
    return {
        **profile.spec.node_labels,
        **place.labels(),
        LABEL_ACCELERATOR: profile.metadata.name,
        LABEL_HOSTNAME: place.name,
        LABEL_KWOK: "fake",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
    }


def _capacity(cluster: Cluster, profile: AcceleratorProfile) -> dict[str, str]:
    return {
        "cpu": str(cluster.node.cpu),
        "memory": cluster.node.memory,
        "pods": str(cluster.node.pods),
        profile.spec.resource_names[0]: str(cluster.accelerators_per_node),
    }


def simulated_node(
    farm: Farm, cluster: Cluster, profile: AcceleratorProfile, place: NodePlace, mark: str
) -> Body:
    """The Node that KWOK keeps alive for one place of the farm; `mark` is the `spec_digest`."""
    capacity = _capacity(cluster, profile)
    marks = {
        LABEL_KWOK: "fake",
        ANNOTATION_OWNER: farm.metadata.uid or "",
        ANNOTATION_DIGEST: mark,
    }
    labels = node_labels(profile, place)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": place.name, "labels": labels, "annotations": marks},
        "spec": {"taints": [_taint(farm)]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def _taint(farm: Farm) -> Body:
    return {"key": TAINT, "value": farm.metadata.name, "effect": "NoSchedule"}


def _drifted(node: NodeView, labels: Mapping[str, str], mark: str) -> bool:
    """Whether a simulated node is not as it should be."""
    return (
        node.annotations.get(ANNOTATION_DIGEST) != mark
        or not any(key == TAINT for key, _, _ in node.taints)
        or any(node.labels.get(key) != value for key, value in labels.items())
    )


def _restoring(node: NodeView, body: Body, mark: str) -> NodePatch:
    """The patch that makes a simulated node as it should be; its status only when that changed."""
    meta = body["metadata"]
    same_spec = node.annotations.get(ANNOTATION_DIGEST) == mark
    status = None if same_spec else {"status": body["status"]}
    return NodePatch(node, meta["labels"], body["spec"]["taints"][0], meta["annotations"], status)


def _adopt(
    decision: FarmDecision,
    farm: Farm,
    cluster: Cluster,
    profile: AcceleratorProfile,
    selected: list[NodeView],
) -> set[str]:
    """Label and taint the real Nodes of a selector; their index, once given, stays."""
    mine = (farm.kind, farm.metadata.name)
    foreign = [node.name for node in selected if node.farm not in (("", ""), mine)]
    if foreign:
        decision.problems.append(_taken(cluster, foreign))
    earlier = {node.name for members in decision.members.values() for node in members}
    twice = [node.name for node in selected if node.name in earlier]
    if twice:
        decision.problems.append(_overlapping(cluster, twice))
    usable = sorted(
        (n for n in selected if n.name not in {*foreign, *twice}), key=lambda node: node.name
    )
    if len(usable) != cluster.nodes:
        decision.problems.append(_miscounted(cluster, len(usable)))
    places = list(cluster_places(farm, cluster))
    members = decision.members.setdefault(cluster.name, [])
    for node, place in _seats(usable, places, mine, cluster.name):
        members.append(node)
        labels = {**place.labels(), LABEL_ACCELERATOR: profile.metadata.name}
        tainted = any(key == TAINT for key, _, _ in node.taints)
        if not tainted or any(node.labels.get(key) != value for key, value in labels.items()):
            decision.patch.append(NodePatch(node, labels, _taint(farm)))
    return {node.name for node in members}


def _overlapping(cluster: Cluster, names: list[str]) -> tuple[str, str]:
    return (
        "SelectorsOverlap",
        f"cluster {cluster.name}: its selector matches {len(names)} nodes that an earlier cluster "
        f"of this farm has, the first is {names[0]}; give each cluster labels of its own",
    )


def _miscounted(cluster: Cluster, found: int) -> tuple[str, str]:
    return (
        "NodesMissing" if found < cluster.nodes else "TooManyNodes",
        f"cluster {cluster.name}: the selector matches {found} nodes, spec.nodes says "
        f"{cluster.nodes}; correct the number or the labels of the nodes",
    )


def _seats(
    nodes: list[NodeView], places: list[NodePlace], farm: tuple[str, str], cluster: str
) -> list[tuple[NodeView, NodePlace]]:
    """Give each node a place: the one it has, or the first that is free."""
    free = dict(enumerate(places))
    seated: list[tuple[NodeView, NodePlace]] = []
    new: list[NodeView] = []
    for node in nodes:
        keeps = node.farm == farm and node.cluster == cluster and node.index in free
        if keeps and node.index is not None:
            seated.append((node, free.pop(node.index)))
        else:
            new.append(node)
    seated += list(zip(new, (free[index] for index in sorted(free)), strict=False))
    return seated


def _take_back(decision: FarmDecision, farm: Farm, node: NodeView) -> None:
    """Delete a node that was made for the farm; unlabel one that was only adopted."""
    if ANNOTATION_OWNER in node.annotations:
        if not node.deleting:
            decision.delete.append(node)
        return
    labels: dict[str, None] = {
        key: None for key in node.labels if key.startswith("kfarm.dev/") and key != LABEL_DRILL
    }
    if labels.keys() & {LABEL_FARM, LABEL_INDEX}:
        decision.patch.append(NodePatch(node, labels, None))
