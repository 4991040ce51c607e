"""ClusterQueues, Cohorts, ResourceFlavors and LocalQueues of Kueue from their manifests.

Versions v1beta1 and v1beta2. What its webhooks and schemas of 0.19.2 refuse is refused, and beyond
that what would leave a queue inactive. Fields that the twin does not play are named in
`QueueTree.notes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kfarm_api.parse import show

from kfarm_twin.load import ManifestError, Problem, manifest_files, read_documents
from kfarm_twin.manifest_text import MAX_FILE_BYTES
from kfarm_twin.queues_fields import Field, without
from kfarm_twin.quota_tree import (
    Cohort,
    Flavor,
    Group,
    Preempt,
    Preference,
    Queue,
    QueueTree,
    Quota,
)

GROUP = "kueue.x-k8s.io"
VERSIONS = ("v1beta1", "v1beta2")
CLUSTER_QUEUE, COHORT = "ClusterQueue", "Cohort"
FLAVOR, LOCAL_QUEUE = "ResourceFlavor", "LocalQueue"
KINDS = (CLUSTER_QUEUE, COHORT, FLAVOR, LOCAL_QUEUE)

_UNPLAYED = {
    "namespaceSelector": "every namespace may submit",
    "admissionChecks": "a job with quota starts at once, whatever is to be checked",
    "admissionChecksStrategy": "a job with quota starts at once, whatever is to be checked",
    "admissionScope": "usage-based admission fair sharing between LocalQueues is not played",
    "concurrentAdmissionPolicy": "a job is tried with one set of flavors at a time",
}
_QUEUE_FIELDS = ("resourceGroups", "queueingStrategy", "flavorFungibility", "preemption",
                 "stopPolicy", "fairSharing", *_UNPLAYED)  # fmt: skip
_FLAVOR_UNPLAYED = {"topologyName": "quota is counted; on which nodes pods stand is not played"}
_LOCAL_UNPLAYED = {"fairSharing": _UNPLAYED["admissionScope"]}
_STOP, _GO = "MayStopSearch", "TryNextFlavor"
_BORROW = {
    "v1beta1": {"Borrow": False, _STOP: False, _GO: True},
    "v1beta2": {_STOP: False, _GO: True},
}
_PREEMPT = {"v1beta1": {"Preempt": False, _STOP: False, _GO: True}, "v1beta2": _BORROW["v1beta2"]}
_PREFERENCES = {
    "BorrowingOverPreemption": Preference.BORROWING_OVER_PREEMPTION,
    "PreemptionOverBorrowing": Preference.PREEMPTION_OVER_BORROWING,
}
_RECLAIM = {
    "Never": Preempt.NEVER,
    "LowerPriority": Preempt.LOWER_PRIORITY,
    "Any": Preempt.ANY,
}
_WITHIN = {
    "Never": Preempt.NEVER,
    "LowerPriority": Preempt.LOWER_PRIORITY,
    "LowerOrNewerEqualPriority": Preempt.LOWER_OR_NEWER_EQUAL_PRIORITY,
}


@dataclass
class _Found:
    """Objects with the fields that name them, and notes in the order in which they came up."""

    objects: dict[tuple[str, str], Field] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def of(self, kind: str) -> dict[str, Field]:
        """Objects of a kind by name, in the order of the files."""
        return {name: body for (k, name), body in self.objects.items() if k == kind}


def read_queues(paths: Sequence[Path]) -> QueueTree:
    """Read queues.

    Parameters
    ----------
    paths
        Files, folders and ``-``, as in `kfarm_twin.load.load_files`. Objects of other groups are
        passed over.

    Raises
    ------
    ManifestError
        With every problem of every file.
    """
    found = _Found()
    for file in manifest_files(paths, found.problems):
        for text in read_documents(file, found.problems, MAX_FILE_BYTES):
            root = Field(file, text, (), text.value, found.problems)
            for body in _bodies(root):
                _take(body, found)
    if not found.of(CLUSTER_QUEUE) and not found.problems:
        found.problems.append(
            Problem(paths[0], 0, "", "no ClusterQueue", f"at least one, of {GROUP}/{VERSIONS[-1]}")
        )
    tree = _tree(found)
    if found.problems:
        raise ManifestError(found.problems)
    return tree


def _bodies(root: Field) -> list[Field]:
    """The object of a document, or those of a ``List``."""
    if isinstance(root.value, Mapping) and root.value.get("kind") == "List":
        return list(root.get("items").entries())
    return [root]


def _take(body: Field, found: _Found) -> None:
    """Keep an object of a kind that is read."""
    if not isinstance(body.value, Mapping):
        body.wrong("an object with apiVersion and kind")
        return
    group, _, version = str(body.value.get("apiVersion", "")).partition("/")
    kind = body.value.get("kind")
    if group != GROUP:
        return
    if kind not in KINDS:
        found.notes[f"{kind}: objects of this kind are not played"] = None
        return
    if version not in VERSIONS:
        body.get("apiVersion").wrong(f"{GROUP}/{' or '.join(VERSIONS)}")
        return
    metadata = body.get("metadata").object()
    name = metadata.get("name").name()
    if name is None:
        return
    if kind == LOCAL_QUEUE:
        name = f"{metadata.get('namespace').name(optional=True) or 'default'}/{name}"
    first = found.objects.setdefault((kind, name), body)
    if first is not body:
        where = f"{first.file}, line {first.text.line_of((*first.path, 'metadata', 'name'))}"
        metadata.get("name").wrong("every object once", f"{kind} {name} again (first in {where})")


def _tree(found: _Found) -> QueueTree:
    flavors = tuple(_flavor(name, body, found) for name, body in found.of(FLAVOR).items())
    names = {flavor.name for flavor in flavors}
    cohorts = tuple(_cohort(name, body, names) for name, body in found.of(COHORT).items())
    _refuse_circles(cohorts, found.of(COHORT))
    queues = tuple(
        _queue(name, body, names, found) for name, body in found.of(CLUSTER_QUEUE).items()
    )
    return QueueTree(
        queues, cohorts, flavors, _local_queues(found, {q.name for q in queues}), {},
        tuple(found.notes),
    )  # fmt: skip


def _version(body: Field) -> str:
    return str(body.value["apiVersion"]).partition("/")[2]


def _flavor(name: str, body: Field, found: _Found) -> Flavor:
    spec = body.get("spec").object(("nodeLabels", "nodeTaints", "tolerations", *_FLAVOR_UNPLAYED))
    without(spec, _FLAVOR_UNPLAYED, found.notes)
    labels = spec.get("nodeLabels").object().value
    tolerations = [entry.object().value for entry in spec.get("tolerations").entries()]
    taints = [entry.object().value for entry in spec.get("nodeTaints").entries()]
    closed = any(
        taint.get("effect") in ("NoSchedule", "NoExecute")
        and not any(_tolerates(toleration, taint) for toleration in tolerations)
        for taint in taints
    )
    if closed:
        found.notes[f"ResourceFlavor {name}: its taints keep every job of a trace away"] = None
    return Flavor(name, frozenset(str(value) for value in labels.values()), closed)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """As `Toleration.ToleratesTaint` of Kubernetes."""
    key, effect = toleration.get("key") or "", toleration.get("effect") or ""
    if (effect and effect != taint.get("effect")) or (key and key != taint.get("key")):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


def _cohort(name: str, body: Field, flavors: set[str]) -> Cohort:
    spec = body.get("spec").object(("parentName", "resourceGroups", "fairSharing"))
    parent = spec.get("parentName").name(optional=True)
    weight = spec.get("fairSharing").object(("weight",)).get("weight").weight()
    return Cohort(name, parent, weight, _groups(spec, flavors, parent, is_cohort=True))


def _refuse_circles(cohorts: Sequence[Cohort], bodies: Mapping[str, Field]) -> None:
    parents = {cohort.name: cohort.parent for cohort in cohorts}
    done: set[str] = set()
    for name in parents:
        way: list[str] = []
        at: str | None = name
        while at is not None and at not in done and at not in way:
            way.append(at)
            at = parents.get(at)
        if at is not None and at in way:
            circle = " -> ".join((*way[way.index(at) :], at))
            bodies[way[-1]].get("spec").get("parentName").wrong(
                "a parent that is not below it", f"cohorts in a circle: {circle}"
            )
        done.update(way)


def _queue(name: str, body: Field, flavors: set[str], found: _Found) -> Queue:
    version = _version(body)
    cohort_key = "cohort" if version == "v1beta1" else "cohortName"
    spec = body.get("spec").object((cohort_key, *_QUEUE_FIELDS))
    without(spec, _UNPLAYED, found.notes)
    cohort = spec.get(cohort_key).name(optional=True)
    stop = spec.get("stopPolicy")
    if stop.value not in (None, "None"):
        stop.wrong("None: a queue that is stopped admits nobody; leave it out")
    borrow, preempt, preference = _fungibility(spec.get("flavorFungibility"), version)
    within, reclaim, borrow_within, threshold = _preemption(spec.get("preemption"))
    strategies = {"BestEffortFIFO": False, "StrictFIFO": True}
    return Queue(
        name,
        _groups(spec, flavors, cohort, is_cohort=False),
        cohort,
        spec.get("fairSharing").object(("weight",)).get("weight").weight(),
        strict=spec.get("queueingStrategy").choice(strategies, default=False),
        within=within,
        reclaim=reclaim,
        borrow_within=borrow_within,
        threshold=threshold,
        next_when_borrow=borrow,
        next_when_preempt=preempt,
        preference=preference,
    )


def _fungibility(given: Field, version: str) -> tuple[bool, bool, Preference]:
    given = given.object(("whenCanBorrow", "whenCanPreempt", "preference"))
    borrow = given.get("whenCanBorrow").choice(_BORROW[version], default=False)
    preempt = given.get("whenCanPreempt").choice(_PREEMPT[version], default=True)
    preference = given.get("preference")
    if preference.given and not (borrow and preempt):
        preference.wrong(f"no preference unless whenCanBorrow and whenCanPreempt are {_GO}")
    chosen = preference.choice(_PREFERENCES, default=Preference.BORROWING_OVER_PREEMPTION)
    return borrow, preempt, chosen


def _preemption(given: Field) -> tuple[Preempt, Preempt, bool, int | None]:
    """Within the queue, reclaim, whether it preempts while borrowing, and up to which priority."""
    given = given.object(("withinClusterQueue", "reclaimWithinCohort", "borrowWithinCohort"))
    within = given.get("withinClusterQueue").choice(_WITHIN, default=Preempt.NEVER)
    reclaim = given.get("reclaimWithinCohort").choice(_RECLAIM, default=Preempt.NEVER)
    borrow = given.get("borrowWithinCohort").object(("policy", "maxPriorityThreshold"))
    policies = {"Never": False, "LowerPriority": True}
    while_borrowing = borrow.get("policy").choice(policies, default=False)
    if while_borrowing and reclaim is Preempt.NEVER:
        borrow.get("policy").wrong("Never, as reclaimWithinCohort is Never")
    return within, reclaim, while_borrowing, borrow.get("maxPriorityThreshold").whole()


def _groups(
    spec: Field, flavors: set[str], parent: str | None, *, is_cohort: bool
) -> tuple[Group, ...]:
    made, seen_resources, seen_flavors = [], set[str](), set[str]()
    for entry in spec.get("resourceGroups").entries():
        group = entry.object(("coveredResources", "flavors"))
        covered: list[str] = []
        for item in group.get("coveredResources").entries():
            resource = _once(item, item.resource(), seen_resources)
            if resource is not None:
                covered.append(resource)
        if not covered:
            group.get("coveredResources").wrong("at least one resource")
        listed = []
        for item in group.get("flavors").entries():
            named = item.object(("name", "resources")).get("name")
            flavor = _once(named, named.name(), seen_flavors)
            quotas = _quotas(item.get("resources"), covered, parent, is_cohort=is_cohort)
            if flavor is not None and flavor not in flavors:
                named.wrong("the name of a ResourceFlavor in these files")
            if flavor is not None and quotas is not None:
                listed.append((flavor, quotas))
        if not group.get("flavors").value:
            group.get("flavors").wrong("at least one flavor")
        made.append(Group(tuple(covered), tuple(listed)))
    return tuple(made)


_NameT = TypeVar("_NameT", bound=str)


def _once(item: Field, name: _NameT | None, seen: set[str]) -> _NameT | None:
    """A name that may stand once in all groups; None for none, or one that stood before."""
    if name is not None and name in seen:
        item.wrong("every name once in all resourceGroups", f"{show(name)} again")
        return None
    if name is not None:
        seen.add(name)
    return name


def _quotas(
    listed: Field, covered: Sequence[str], parent: str | None, *, is_cohort: bool
) -> dict[str, Quota] | None:
    """Quotas of a flavor; None where they do not cover what the group covers."""
    made: dict[str, Quota] = {}
    for item in listed.entries():
        given = item.object(("name", "nominalQuota", "borrowingLimit", "lendingLimit"))
        resource = given.get("name").resource()
        if resource is not None:
            made[resource] = _quota(given, resource, parent, is_cohort=is_cohort)
    if list(made) != list(covered):
        names = ", ".join(made) or "no resources"
        listed.wrong(
            f"the resources of coveredResources in their order: {', '.join(covered)}", names
        )
        return None
    return made


def _quota(given: Field, resource: str, parent: str | None, *, is_cohort: bool) -> Quota:
    nominal_field = given.get("nominalQuota")
    if not nominal_field.given:
        nominal_field.wrong("a quantity", "nothing")
    nominal = nominal_field.amount(resource) or 0
    borrowing, lending = given.get("borrowingLimit"), given.get("lendingLimit")
    for limit in (borrowing, lending):
        if limit.given and parent is None:
            limit.wrong(f"no limit without a {'parent' if is_cohort else 'cohort'}")
    quota = Quota(nominal, borrowing.amount(resource), lending.amount(resource))
    if not is_cohort and quota.lending is not None and quota.lending > nominal:
        lending.wrong(f"at most nominalQuota, which is {nominal_field.value}")
    return quota


def _local_queues(found: _Found, queues: set[str]) -> dict[str, str]:
    """By ``namespace/name``, and by name alone where that says which."""
    made: dict[str, str] = {}
    by_name: dict[str, set[str]] = {}
    for name, body in found.of(LOCAL_QUEUE).items():
        spec = body.get("spec").object(("clusterQueue", "stopPolicy", *_LOCAL_UNPLAYED))
        without(spec, _LOCAL_UNPLAYED, found.notes)
        if spec.get("stopPolicy").value not in (None, "None"):
            spec.get("stopPolicy").wrong(
                "None: a queue that is stopped admits nobody; leave it out"
            )
        target = spec.get("clusterQueue").name()
        if target is None:
            continue
        if target not in queues:
            spec.get("clusterQueue").wrong("the name of a ClusterQueue in these files")
            continue
        made[name] = target
        by_name.setdefault(name.partition("/")[2], set()).add(target)
    for name, targets in by_name.items():
        if len(targets) == 1:
            made[name] = targets.pop()
        else:
            found.notes[f"LocalQueue {name}: in several namespaces; name it with its own"] = None
    return made
