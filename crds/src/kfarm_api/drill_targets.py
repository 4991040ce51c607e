"""Whom the faults of a drill hit: the same seed and candidates give the same targets anywhere.

Domains are ranked by a digest of seed, fault and name, so that the draw depends neither on the
order in which nodes are listed nor on nodes that cannot be chosen anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kfarm_api.drill import (
    MAX_NODES,
    RUNNER_ONLY,
    TWIN_ONLY,
    Action,
    DrillFault,
    DrillSelector,
    FailureDrillSpec,
)
from kfarm_api.drill_marks import CONSENT, LABEL_CONSENT
from kfarm_api.drill_status import FaultTargets
from kfarm_api.farm import Farm
from kfarm_api.layout import (
    LABEL_CDU,
    LABEL_CLUSTER,
    LABEL_INDEX,
    LABEL_PDU,
    LABEL_RACK,
    LABEL_SCALABLE_UNIT,
    farm_places,
)

_DOMAIN_LABEL: dict[Action, str] = {
    "RackPower": LABEL_RACK,
    "Pdu": LABEL_PDU,
    "LeafSwitch": LABEL_SCALABLE_UNIT,
    "CduPump": LABEL_CDU,
    "CoolingDegraded": LABEL_CDU,
}
_NEEDS = {
    "Pdu": "clusters[].feed",
    "CduPump": "liquid cooling with nodesPerCdu",
    "CoolingDegraded": "nodes of the farm",
    "Chiller": "spec.plant",
}


@dataclass(frozen=True)
class Candidate:
    """A node of the farm as far as the choice looks at it.

    Attributes
    ----------
    labels
        Those of the Node, `layout.NodePlace.labels` among them.
    plans
        PlacementPlans of the drill's namespace with pods on it.
    vacant
        Whether no pod with accelerators stands on it, of whatever plan.
    """

    name: str
    labels: Mapping[str, str]
    plans: frozenset[str] = frozenset()
    vacant: bool = True

    @property
    def consents(self) -> bool:
        """Whether drills may touch it."""
        return self.labels.get(LABEL_CONSENT) == CONSENT

    @property
    def cluster(self) -> str:
        """Label of its cluster: ``FARM-CLUSTER``."""
        return self.labels.get(LABEL_CLUSTER, "")


@dataclass(frozen=True)
class Choice:
    """What the faults hit, in their order, and what keeps the drill from beginning."""

    targets: tuple[FaultTargets, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Blast:
    """How far a drill reaches.

    Attributes
    ----------
    percent
        The largest share of a cluster's nodes that is touched.
    domains
        Racks, leaf switches, PDUs or CDUs that what fails stands in; of nodes the racks.
    """

    nodes: tuple[str, ...]
    percent: float
    domains: tuple[str, ...]


def farm_candidates(
    farm: Farm, plans: Mapping[str, Iterable[str]] | None = None
) -> list[Candidate]:
    """All nodes that a farm describes, with consent, as `kfarm drill predict` takes them.

    Parameters
    ----------
    plans
        Nodes of the pods of each plan.
    """
    on: dict[str, set[str]] = {}
    for plan, nodes in (plans or {}).items():
        for node in nodes:
            on.setdefault(node, set()).add(plan)
    return [
        Candidate(
            name=place.name,
            labels={**place.labels(), LABEL_CONSENT: CONSENT},
            plans=frozenset(on.get(place.name, ())),
            vacant=place.name not in on,
        )
        for place in farm_places(farm)
    ]


def choose(spec: FailureDrillSpec, farm: Farm, candidates: Sequence[Candidate]) -> Choice:
    """Targets of all faults of a drill.

    A domain (rack, CDU, ...) can be chosen when one of its nodes is selected and all its nodes
    consent; it is hit with all of them. Faults prefer what no earlier fault hits.

    Parameters
    ----------
    candidates
        All nodes of the farm, those without consent included.
    """
    drawn = _Draw(spec, farm, sorted(candidates, key=lambda one: one.name))
    targets: list[FaultTargets] = []
    for fault in spec.faults:
        targets.append(drawn.fault(fault))
    return Choice(tuple(targets), tuple(drawn.problems))


def blast(targets: Sequence[FaultTargets], spec: FailureDrillSpec, farm: Farm,
          candidates: Sequence[Candidate]) -> Blast:  # fmt: skip
    """How far targets reach, to be held against `DrillLimits`."""
    known = {one.name: one for one in candidates}
    actions = {fault.name: fault.action for fault in spec.faults}
    nodes = {name for target in targets for name in target.nodes}
    domains = {
        _reach(actions[target.fault], farm, known[name])
        for target in targets
        for name in target.nodes
        if name in known
    }
    sizes: dict[str, int] = {}
    hit: dict[str, int] = {}
    for one in candidates:
        sizes[one.cluster] = sizes.get(one.cluster, 0) + 1
        hit[one.cluster] = hit.get(one.cluster, 0) + (one.name in nodes)
    share = max((100.0 * hit[label] / size for label, size in sizes.items()), default=0.0)
    return Blast(tuple(sorted(nodes)), share, tuple(sorted(domains)))


def beyond(reach: Blast, max_nodes: int, max_percent: int, domains: int) -> str | None:
    """Which limit a drill would break, in a sentence; None: none."""
    if len(reach.nodes) > max_nodes:
        return f"{len(reach.nodes)} nodes would be touched, more than {max_nodes} (maxNodes)"
    if reach.percent > max_percent:
        return (
            f"{reach.percent:.3g} % of a cluster would be touched, more than {max_percent} %"
            " (maxPercent)"
        )
    if len(reach.domains) > domains:
        told = ", ".join(reach.domains[:4]) + (", ..." if len(reach.domains) > 4 else "")
        return (
            f"{len(reach.domains)} domains would be touched ({told}), more than {domains} (domains)"
        )
    return None


class _Draw:
    """The faults of one drill, drawn in their order."""

    def __init__(self, spec: FailureDrillSpec, farm: Farm, candidates: list[Candidate]) -> None:
        self.spec, self.farm, self.candidates = spec, farm, candidates
        self.hit: set[str] = set()
        self.problems: list[str] = []

    def fault(self, fault: DrillFault) -> FaultTargets:
        """What one fault hits; a problem where that is nothing."""
        if fault.action in RUNNER_ONLY or fault.selector is None:
            return FaultTargets(fault=fault.name)
        selected = [one for one in self.candidates if _selected(fault.selector, self.farm, one)]
        if fault.action in TWIN_ONLY:
            return FaultTargets(fault=fault.name, domains=sorted({one.cluster for one in selected}))
        if fault.action == "Chiller":
            found = self._chillers(fault, selected)
        else:
            found = self._domains(fault, selected)
        self.hit.update(found.nodes)
        if len(found.nodes) > MAX_NODES:
            self._refuse(fault, f"{len(found.nodes)} nodes, more than {MAX_NODES}, would be hit")
            return FaultTargets(fault=fault.name)
        return found

    def _refuse(self, fault: DrillFault, why: str) -> None:
        self.problems.append(f"fault {fault.name}: {why}")

    def _domains(self, fault: DrillFault, selected: list[Candidate]) -> FaultTargets:
        members = self._members(fault, selected)
        if not members:
            self._refuse(fault, self._why_none(fault, selected))
            return FaultTargets(fault=fault.name)
        count = _count(fault, len(members), self.spec.simulation.seed)
        if not 1 <= count <= len(members):
            self._refuse(
                fault, f"mode {fault.mode} asks for {count} of {len(members)} that may be chosen"
            )
            return FaultTargets(fault=fault.name)
        chosen = sorted(self._ranked(fault, members)[:count])
        nodes = sorted({one.name for domain in chosen for one in members[domain]})
        return FaultTargets(fault=fault.name, domains=chosen[:MAX_NODES], nodes=nodes)

    def _members(self, fault: DrillFault, selected: list[Candidate]) -> dict[str, list[Candidate]]:
        """Domains that may be chosen, with their nodes."""
        wanted = {domain_of(fault.action, self.farm, one) for one in selected} - {""}
        members: dict[str, list[Candidate]] = {domain: [] for domain in sorted(wanted)}
        for one in self.candidates:
            domain = domain_of(fault.action, self.farm, one)
            if domain in members:
                members[domain].append(one)
        vacant = fault.selector is not None and fault.selector.vacant
        return {
            domain: ones
            for domain, ones in members.items()
            if all(one.consents and (one.vacant or not vacant) for one in ones)
        }

    def _ranked(self, fault: DrillFault, members: Mapping[str, list[Candidate]]) -> list[str]:
        """Domains in the order in which they are taken; a burst goes round the racks."""
        seed = self.spec.simulation.seed

        def rank(domain: str) -> tuple[bool, int]:
            fresh = not any(one.name in self.hit for one in members[domain])
            return (not fresh, _number(seed, fault.name, domain))

        ranked = sorted(members, key=rank)
        if fault.action != "Burst":
            return ranked
        seen: dict[str, int] = {}
        turn: dict[str, int] = {}
        for domain in ranked:
            rack = members[domain][0].labels.get(LABEL_RACK, "")
            turn[domain] = seen.get(rack, 0)
            seen[rack] = turn[domain] + 1
        return sorted(ranked, key=lambda domain: turn[domain])

    def _chillers(self, fault: DrillFault, selected: list[Candidate]) -> FaultTargets:
        """Chillers, and the nodes on which their loss may be shown: `maxNodes` at most."""
        plant = self.farm.spec.plant
        willing = {one.name: [one] for one in selected if one.consents}
        if plant is None or not willing:
            self._refuse(fault, self._why_none(fault, selected))
            return FaultTargets(fault=fault.name)
        names = [f"{self.farm.metadata.name}-chiller{n}" for n in range(plant.chillers)]
        count = _count(fault, len(names), self.spec.simulation.seed)
        if not 1 <= count <= min(len(names), MAX_NODES):
            self._refuse(fault, f"mode {fault.mode} asks for {count} of {len(names)} chillers")
            return FaultTargets(fault=fault.name)
        shown = self._ranked(fault, willing)[: self.spec.limits.max_nodes]
        return FaultTargets(fault=fault.name, domains=names[:count], nodes=sorted(shown))

    def _why_none(self, fault: DrillFault, selected: list[Candidate]) -> str:
        if not selected:
            return "no node of the farm matches its selector"
        if fault.action == "Chiller" and self.farm.spec.plant is None:
            return f"the farm describes no {_NEEDS['Chiller']}"
        if not any(domain_of(fault.action, self.farm, one) for one in selected):
            return f"the selected nodes stand in no such domain: it needs {_NEEDS[fault.action]}"
        if not any(one.consents for one in selected):
            return f"none of {len(selected)} selected nodes has the label {LABEL_CONSENT}={CONSENT}"
        return (
            f"none of the domains that are selected has the label {LABEL_CONSENT}={CONSENT} on all"
            " its nodes" + (", all vacant" if fault.selector and fault.selector.vacant else "")
        )


def domain_of(action: Action, farm: Farm, node: Candidate) -> str:
    """The domain of a node that an action fails; empty where it stands in none.

    Nodes in air stand in the zone of their air handlers, named as the heat engine names it.
    """
    label = _DOMAIN_LABEL.get(action)
    if label is None:
        return node.name
    found = node.labels.get(label, "")
    if found or action != "CoolingDegraded":
        return found
    return _air_zone(farm, node)


def _air_zone(farm: Farm, node: Candidate) -> str:
    prefix = f"{farm.metadata.name}-"
    name = node.cluster.removeprefix(prefix)
    index = node.labels.get(LABEL_INDEX, "")
    for cluster in farm.spec.clusters:
        if cluster.name == name and node.cluster.startswith(prefix) and index.isdecimal():
            zone = cluster.cooling.air
            size = zone.nodes_per_zone if zone and zone.nodes_per_zone else cluster.nodes
            several = cluster.nodes > size
            return f"{node.cluster}-air" + (f"{int(index) // size:02d}" if several else "")
    return ""


def _reach(action: Action, farm: Farm, node: Candidate) -> str:
    """The domain that counts against `limits.domains`."""
    if action in _DOMAIN_LABEL:
        return domain_of(action, farm, node)
    if action == "Chiller":
        return farm.metadata.name
    return node.labels.get(LABEL_RACK, node.name)


def _selected(selector: DrillSelector, farm: Farm, node: Candidate) -> bool:
    wanted = selector.labels.match_labels if selector.labels else {}
    return (
        (selector.cluster is None or node.cluster == f"{farm.metadata.name}-{selector.cluster}")
        and (not selector.nodes or node.name in selector.nodes)
        and wanted.items() <= node.labels.items()
        and (selector.plan is None or selector.plan in node.plans)
        and (selector.vacant is None or selector.vacant == node.vacant)
    )


def _count(fault: DrillFault, among: int, seed: int) -> int:
    """How many domains a mode takes; percentages are rounded down, as Chaos Mesh does."""
    value = fault.value or 0
    if fault.mode == "One":
        return 1
    if fault.mode == "All":
        return among
    if fault.mode == "Fixed":
        return value
    most = among * value // 100
    if fault.mode == "FixedPercent" or most == 0:
        return most
    return 1 + _number(seed, fault.name, "share") % most


def _number(seed: int, fault: str, name: str) -> int:
    text = f"{seed}\0{fault}\0{name}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
