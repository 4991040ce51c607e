"""Reads what a drill's next step depends on: its own objects afresh, the rest from mirrors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from kfarm_api.drill import FailureDrill
from kfarm_api.drill_marks import CONSENT, FINALIZER, KILL_SWITCH, LABEL_CONSENT
from kfarm_api.drill_targets import Candidate

from kfarm_operator.client import (
    CONFIG_MAPS,
    JSON,
    NODES,
    KubeClient,
    Resource,
    kfarm_resource,
)
from kfarm_operator.drills.delays import DelayMeter
from kfarm_operator.drills.locks import lock_names, read_lock
from kfarm_operator.drills.recorder import Recorder
from kfarm_operator.drills.request import Surroundings, age_s
from kfarm_operator.drills.settings import DrillSettings
from kfarm_operator.drills.situation import Situation
from kfarm_operator.drills.views import DrillNode, DrillPod, DrillView
from kfarm_operator.drills.workloads import DrillWorkload
from kfarm_operator.index import Index, parse
from kfarm_operator.mirror import Mirror

DRILLS = kfarm_resource("failuredrills")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
JOBS = Resource("batch", "v1", "jobs")
NAMESPACES = Resource("", "v1", "namespaces")
NODE_LEASES = "kube-node-lease"
Key = tuple[str, str]


class Gatherer:
    """Sees one drill and its surroundings."""

    def __init__(
        self,
        client: KubeClient,
        index: Index,
        drills: Mirror[DrillView],
        nodes: Mirror[DrillNode],
        pods: Mirror[DrillPod],
        workloads: Mirror[DrillWorkload],
        recorder: Recorder,
        settings: DrillSettings,
        meter: DelayMeter,
        clock: Callable[[], datetime],
        *,
        asks_twin: bool,
    ) -> None:
        self._client = client
        self._index = index
        self._drills = drills
        self._nodes = nodes
        self._pods = pods
        self._workloads = workloads
        self._recorder = recorder
        self._settings = settings
        self._meter = meter
        self._clock = clock
        self._asks_twin = asks_twin

    def read(self, key: Key) -> tuple[FailureDrill, JSON] | None:
        """The drill itself; None when it is gone or cannot be read."""
        body = self._client.get(DRILLS, key[1], key[0])
        if body is None:
            return None
        full = {**body, "kind": "FailureDrill", "apiVersion": "kfarm.dev/v1alpha1"}
        drill = parse(full)
        return (drill, body) if isinstance(drill, FailureDrill) else None

    def situation(self, key: Key, drill: FailureDrill, body: JSON) -> Situation:
        """Everything there is to know."""
        farm = drill.spec.farm
        nodes = self._nodes.where("farm", (farm.kind, farm.name))
        begun = drill.status is not None and drill.status.started_at is not None
        if begun:
            plans = frozenset(drill.spec.plans)
            self._recorder.follow(key, drill.metadata.uid or "", (farm.kind, farm.name), plans)
        seen = tuple(self._recorder.seen(key))
        pods = [p for name in drill.spec.plans for p in self._pods.where("plan", (key[0], name))]
        first = Situation(
            drill=drill,
            now=self._clock(),
            settings=self._settings,
            farm=self._index.farm(farm.kind, farm.name),
            nodes={node.name: node for node in nodes},
            pods=pods,
            workloads=[
                w
                for w in self._workloads.where("namespace", key[0])
                if w.plans & set(drill.spec.plans)
            ],
            neighbours=self._neighbours(drill),
            plans={name: self._index.plan(key[0], name) for name in drill.spec.plans},
            profiles=self._index.profiles(),
            candidates=() if begun else self._candidates(drill, nodes, pods),
            finalized=FINALIZER in (body["metadata"].get("finalizers") or ()),
            seen=seen,
            runs=self._drills.where("parent", drill.metadata.uid or ""),
            child=bool(body["metadata"].get("ownerReferences")),
            asks_twin=self._asks_twin,
        )
        return self._with_fences(first, begun)

    def _with_fences(self, first: Situation, begun: bool) -> Situation:
        """Kill switch, consent and locks, read only where a step may need them."""
        done = first.status.phase == "Completed"
        dry = not begun and not first.armed
        if dry and not (done or first.deleting):
            return first
        stopped = not done and self._stopped()
        consent = None if begun or done else self._consents(first.drill.metadata.namespace or "")
        locks = {}
        if not begun or done or first.deleting:
            for name in lock_names(first):
                body = self._client.get(LEASES, name, self._settings.namespace)
                locks[name] = read_lock(body, first.now, self._ended) if body else None
        candidates = first.candidates
        if begun and not done:
            nodes = list(first.nodes.values())
            candidates = self._candidates(first.drill, nodes, first.pods)
        return replace(first, stopped=stopped, consent=consent, locks=locks, candidates=candidates)

    def _stopped(self) -> bool:
        return self._client.get(CONFIG_MAPS, KILL_SWITCH, self._settings.namespace) is not None

    def _consents(self, namespace: str) -> bool:
        body = self._client.get(NAMESPACES, namespace)
        labels = (body or {}).get("metadata", {}).get("labels") or {}
        return bool(labels.get(LABEL_CONSENT) == CONSENT)

    def _ended(self, drill: str) -> bool | None:
        """Whether a drill, as locks name it, is over; None: there is none."""
        parts = drill.split("/")
        known = self._drills.get(parts[0], parts[1]) if len(parts) == 3 else None
        if known is None or known.uid != parts[2]:
            return None
        return known.phase == "Completed"

    def _neighbours(self, drill: FailureDrill) -> dict[str, list[DrillPod]]:
        drains = any(
            f.action == "Drain" or (f.remedy and f.remedy.action == "Drain")
            for f in drill.spec.faults
        )
        targets = drill.status.targets if drill.status else []
        if not drains:
            return {}
        names = {name for one in targets for name in one.nodes}
        return {name: self._pods.where("node", name) for name in sorted(names)}

    def _candidates(
        self, drill: FailureDrill, nodes: Iterable[DrillNode], pods: Iterable[DrillPod]
    ) -> list[Candidate]:
        """All nodes of the farm. A sick one consents to nothing; for the twin alone all do."""
        twin = drill.spec.mode == "Twin"
        on: dict[str, set[str]] = {}
        for pod in pods:
            on.setdefault(pod.node, set()).add(pod.plan)
        found = []
        for node in nodes:
            labels: dict[str, Any] = dict(node.labels)
            labels.pop(LABEL_CONSENT, None)
            if twin or (node.consents and node.healthy):
                labels[LABEL_CONSENT] = CONSENT
            holders = self._pods.where("node", node.name)
            found.append(
                Candidate(
                    node.name, labels, frozenset(on.get(node.name, ())),
                    vacant=not any(pod.devices and not pod.terminal for pod in holders),
                )
            )  # fmt: skip
        return found

    def surroundings(self, key: Key, s: Situation) -> Surroundings:
        """What only a prediction needs."""
        used: dict[str, int] = {}
        for node in s.nodes:
            others = [p for p in self._pods.where("node", node) if not p.terminal]
            count = sum(p.devices for p in others if not _of(p, key[0], s))
            if count:
                used[node] = count
        leases = self.targets_of("Lease", s.struck)
        ages = {name: age_s(body, s.now) for name, body in leases.items()}
        verdicts, starts = self._meter.samples([(key[0], name) for name in s.plans])
        return Surroundings(
            used=used,
            jobs=self._jobs(key[0], s.pods),
            lease_age_s={name: age for name, age in ages.items() if age is not None},
            verdict_s=verdicts,
            pod_start_s=starts,
        )

    def _jobs(self, namespace: str, pods: Iterable[DrillPod]) -> dict[str, JSON]:
        names = {p.owner.removeprefix("Job/") for p in pods if p.owner.startswith("Job/")}
        found = {}
        for name in sorted(names):
            body = self._client.get(JOBS, name, namespace)
            if body is not None:
                found[name] = body
        return found

    def targets_of(self, kind: str, names: Iterable[str]) -> dict[str, JSON | None]:
        """Nodes, or Leases of nodes, as they are now."""
        if kind == "Node":
            return {name: self._client.get(NODES, name) for name in names}
        return {name: self._client.get(LEASES, name, NODE_LEASES) for name in names}


def _of(pod: DrillPod, namespace: str, s: Situation) -> bool:
    """Whether a pod is one of the drill's plans."""
    return pod.namespace == namespace and pod.plan in s.plans
