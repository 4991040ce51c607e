"""What kfarm keeps of Kueue's objects: a few fields each, whatever their size. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from kfarm_api.layout import CHECK_CONTROLLER, LABEL_HOSTNAME, LABEL_PLAN, LABEL_WORKLOAD

from kfarm_operator.admission.topology import decode
from kfarm_operator.views import Shape, shape_of, tolerations_of

JSON = dict[str, Any]
State = Literal["Pending", "Ready", "Retry", "Rejected"]
Toleration = tuple[str, str, str, str]


@dataclass(frozen=True)
class CheckView:
    """An AdmissionCheck; `parameters` are API group, kind and name, `active` its condition."""

    name: str
    uid: str
    resource_version: str
    generation: int
    controller: str
    parameters: tuple[str, str, str] | None
    active: tuple[str, str, str, str, int] | None

    @property
    def ours(self) -> bool:
        """Whether it is for kfarm to answer."""
        return self.controller == CHECK_CONTROLLER


@dataclass(frozen=True)
class Added:
    """What Kueue adds to the pods of a pod set: node selectors and tolerations."""

    node_labels: frozenset[tuple[str, str]] = frozenset()
    tolerations: frozenset[Toleration] = frozenset()

    def __or__(self, other: Added) -> Added:
        """Both together."""
        return Added(self.node_labels | other.node_labels, self.tolerations | other.tolerations)


@dataclass(frozen=True)
class FlavorView:
    """A ResourceFlavor: what it adds to pods."""

    name: str
    added: Added


@dataclass(frozen=True)
class Entry:
    """One entry of a Workload's ``admissionChecks``; `added` by pod set."""

    name: str
    state: str
    message: str
    since: str
    retries: int
    added: tuple[tuple[str, Added], ...] = ()


@dataclass(frozen=True)
class PodSetView:
    """Alike pods of a Workload, and where Kueue puts them.

    Attributes
    ----------
    plan, workload
        What the template's labels name.
    count
        Pods that Kueue admits; those of the spec where nothing is admitted.
    seats
        Hostname and number of pods, in Kueue's order; None where no hosts are assigned, for the
        reason in `unassigned`.
    places
        Labels of the levels above the host, which Kueue selects by as well.
    """

    name: str
    plan: str
    workload: str
    count: int
    shape: Shape
    flavors: tuple[str, ...] = ()
    seats: tuple[tuple[str, int], ...] | None = None
    unassigned: str = ""
    places: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class WorkloadView:
    """A Kueue Workload."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    queue: str
    active: bool
    reserved_since: str | None
    admitted: bool
    evicted: bool
    finished: bool
    deleting: bool
    entries: tuple[Entry, ...]
    pod_sets: tuple[PodSetView, ...]
    unhealthy: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether it keeps an admission that may be answered or used."""
        ended = self.evicted or self.finished or self.deleting
        return self.active and self.reserved_since is not None and not ended


def check_view(body: JSON) -> CheckView:
    """Keep of an AdmissionCheck what decides; see `CheckView`."""
    meta, spec = body["metadata"], body.get("spec") or {}
    given = spec.get("parameters")
    found = _condition(body, "Active")
    return CheckView(
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        generation=meta.get("generation", 0),
        controller=spec.get("controllerName") or "",
        parameters=(given.get("apiGroup", ""), given.get("kind", ""), given.get("name", ""))
        if given
        else None,
        active=(
            found["status"],
            found.get("reason", ""),
            found.get("message", ""),
            found.get("lastTransitionTime", ""),
            found.get("observedGeneration", 0),
        )
        if found
        else None,
    )


def flavor_view(body: JSON) -> FlavorView:
    """Keep of a ResourceFlavor what it adds to pods."""
    spec = body.get("spec") or {}
    return FlavorView(body["metadata"]["name"], _added(spec, "nodeLabels"))


def _added(spec: JSON, selector: str) -> Added:
    return Added(
        frozenset((spec.get(selector) or {}).items()),
        frozenset(tolerations_of(spec)),
    )


def workload_view(body: JSON) -> WorkloadView:
    """Keep of a Workload what decides; see `WorkloadView`."""
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    reserved = _condition(body, "QuotaReserved")
    held = reserved is not None and reserved["status"] == "True"
    admission = (status.get("admission") or {}) if held else {}
    assigned = {a.get("name", ""): a for a in admission.get("podSetAssignments") or ()}
    return WorkloadView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        queue=admission.get("clusterQueue") or "",
        active=spec.get("active", True) is not False,
        reserved_since=reserved["lastTransitionTime"] if reserved and held else None,
        admitted=_holds(body, "Admitted"),
        evicted=_holds(body, "Evicted"),
        finished=_holds(body, "Finished"),
        deleting="deletionTimestamp" in meta,
        entries=tuple(_entry(entry) for entry in status.get("admissionChecks") or ()),
        pod_sets=tuple(
            _pod_set(item, assigned.get(item.get("name", "main")))
            for item in spec.get("podSets") or ()
        ),
        unhealthy=tuple(node["name"] for node in status.get("unhealthyNodes") or ()),
    )


def _condition(body: JSON, kind: str) -> JSON | None:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind), None)


def _holds(body: JSON, kind: str) -> bool:
    found = _condition(body, kind)
    return found is not None and found["status"] == "True"


def _entry(entry: JSON) -> Entry:
    return Entry(
        name=entry["name"],
        state=entry["state"],
        message=entry.get("message") or "",
        since=entry.get("lastTransitionTime") or "",
        retries=entry.get("retryCount") or 0,
        added=tuple(
            (update["name"], _added(update, "nodeSelector"))
            for update in entry.get("podSetUpdates") or ()
        ),
    )


def _pod_set(item: JSON, assigned: JSON | None) -> PodSetView:
    template = item.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    count = (assigned or {}).get("count")
    bare = PodSetView(
        name=item.get("name", "main"),
        plan=labels.get(LABEL_PLAN, ""),
        workload=labels.get(LABEL_WORKLOAD, ""),
        count=item.get("count", 1) if count is None else count,
        shape=shape_of(template.get("spec") or {}),
    )
    return bare if assigned is None else _assigned(bare, assigned)


def _assigned(bare: PodSetView, assigned: JSON) -> PodSetView:
    given = assigned.get("topologyAssignment")
    fields: JSON = {"flavors": tuple(sorted(set((assigned.get("flavors") or {}).values())))}
    if given is None:
        delayed = assigned.get("delayedTopologyRequest") == "Pending"
        fields["unassigned"] = "Delayed" if delayed else "NoTopology"
    else:
        fields |= _seats(given)
    return PodSetView(**{**bare.__dict__, **fields})


def _seats(given: JSON) -> JSON:
    try:
        topology = decode(given)
    except (ValueError, AttributeError, TypeError) as error:
        return {"unassigned": f"Unreadable: {error}"}
    if topology.levels[-1] != LABEL_HOSTNAME:
        return {"unassigned": f"Level: {topology.levels[-1]}"}
    return {
        "seats": tuple((values[-1], count) for values, count in topology.domains),
        "places": frozenset(
            pair
            for values, _ in topology.domains
            for pair in zip(topology.levels[:-1], values[:-1], strict=True)
        ),
    }
