"""Every version of every object that matters, in the order in which the API server made them.

The recorder watches on its own, straight at the API server: what a faulty proxy hides from the
operator is not hidden from the judge. What was recorded is plain data, so that each invariant can
be tried on histories written by hand.
"""

from __future__ import annotations

import bisect
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, Self

from kfarm_operator.client import ApiError, KubeClient, Resource, kfarm_resource

Body = dict[str, Any]
Change = Literal["PRESENT", "ADDED", "MODIFIED", "DELETED"]
"""PRESENT is what was there already when a play began."""
LABEL_FARM = "kfarm.dev/farm"
_POLICIES = "admissionregistration.k8s.io"
RECORDED: Mapping[str, Resource] = {
    "PlacementPlan": kfarm_resource("placementplans"),
    "NodeLedger": kfarm_resource("nodeledgers"),
    "GPUFarm": kfarm_resource("gpufarms"),
    "Pod": Resource("", "v1", "pods"),
    "Node": Resource("", "v1", "nodes"),
    "Event": Resource("", "v1", "events"),
    "Workload": Resource("kueue.x-k8s.io", "v1beta2", "workloads"),
    "FailureDrill": kfarm_resource("failuredrills"),
    "Lease": Resource("coordination.k8s.io", "v1", "leases"),
    "MutatingAdmissionPolicyBinding": Resource(_POLICIES, "v1", "mutatingadmissionpolicybindings"),
    "ValidatingAdmissionPolicyBinding": Resource(
        _POLICIES, "v1", "validatingadmissionpolicybindings"
    ),
}
"""What a recorder watches, by kind; a kind that is not served is looked for again later."""
GATE_KINDS = ("MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicyBinding")
EXACT = ("PlacementPlan", "NodeLedger", "Pod", "Workload", "FailureDrill", "ConfigMap")
"""Kinds whose every version counts, whatever happens to the API server."""
ABSENT_S = 2.0
"""Between looks at a kind that the API server does not serve."""
_PAUSE_S = 0.1
_LEASE_NAMESPACES = ("kube-node-lease", "kfarm-system")
"""Where nodes say that they live, and where drills keep their locks."""
_HEARTBEATS = ("lastHeartbeatTime", "lastTransitionTime")


@dataclass(frozen=True)
class Version:
    """One version of one object.

    Attributes
    ----------
    number
        Its resourceVersion: what is smaller was earlier, whatever the kinds.
    body
        The object; of one that was deleted, its last state.
    seen
        When the recorder heard of it, in the clock of ``time.monotonic`` [s].
    """

    kind: str
    namespace: str
    name: str
    uid: str
    number: int
    change: Change
    body: Body
    seen: float = field(default=0.0, compare=False)

    @property
    def key(self) -> tuple[str, str, str]:
        """Kind, namespace and name."""
        return self.kind, self.namespace, self.name

    @property
    def deleted(self) -> bool:
        """Whether the object ended with this version."""
        return self.change == "DELETED"

    @property
    def status(self) -> Body:
        """The status, empty where there is none."""
        return dict(self.body.get("status") or {})


@dataclass(frozen=True)
class Scope:
    """What belongs to one play: a namespace, and a farm with its ledger and nodes."""

    namespace: str
    farm: str

    def holds(self, version: Version) -> bool:
        """Whether an object is part of this play, or of what all share."""
        if version.kind in GATE_KINDS:
            return True
        if version.kind == "Node":
            labels = version.body["metadata"].get("labels") or {}
            return labels.get(LABEL_FARM) == self.farm or _named_after(version.name, self.farm)
        if version.kind == "NodeLedger":
            return version.name == f"gpufarm.{self.farm}"
        if version.kind == "Lease":
            mine = self.farm in version.name
            return mine and version.namespace in _LEASE_NAMESPACES
        if version.namespace:
            about = (version.body.get("involvedObject") or {}).get("name", "")
            return version.namespace == self.namespace or about == self.farm
        return version.name == self.farm


@dataclass(frozen=True)
class History:
    """Versions by number. Everything that can be asked of it is pure."""

    versions: tuple[Version, ...]

    @classmethod
    def of(cls, versions: Iterable[Version]) -> History:
        """Put versions in order."""
        return cls(tuple(sorted(versions, key=lambda v: v.number)))

    def within(self, scope: Scope) -> History:
        """What belongs to one play alone."""
        return History(tuple(v for v in self.versions if scope.holds(v)))

    def since(self, number: int) -> History:
        """What came after a resourceVersion."""
        return History(tuple(v for v in self.versions if v.number > number))

    def starting(self, number: int) -> History:
        """What stood at a resourceVersion, and what came after it."""
        past = History(tuple(v for v in self.versions if v.number <= number)).end()
        there = (replace(version, change="PRESENT") for version in past.values())
        return History.of([*there, *self.since(number).versions])

    def of_kind(self, *kinds: str) -> Iterator[Version]:
        """Versions of kinds, in order."""
        return (v for v in self.versions if v.kind in kinds)

    @property
    def last(self) -> int:
        """The highest number, 0 of an empty history."""
        return self.versions[-1].number if self.versions else 0

    @cached_property
    def lives(self) -> dict[tuple[str, str], list[Version]]:
        """Versions by kind and uid: the life of each single object."""
        found: dict[tuple[str, str], list[Version]] = {}
        for version in self.versions:
            found.setdefault((version.kind, version.uid), []).append(version)
        return found

    def end(self) -> dict[tuple[str, str, str], Version]:
        """What is there at the end, by kind, namespace and name."""
        there: dict[tuple[str, str, str], Version] = {}
        for version in self.versions:
            if version.deleted:
                there.pop(version.key, None)
            else:
                there[version.key] = version
        return there

    def before(self, number: int, kind: str, namespace: str, name: str) -> Version | None:
        """An object as it stood before a number; None where it did not exist then."""
        known = self._by_key.get((kind, namespace, name), [])
        count = bisect.bisect_left(known, number, key=lambda v: v.number)
        return known[count - 1] if count and not known[count - 1].deleted else None

    @cached_property
    def _by_key(self) -> dict[tuple[str, str, str], list[Version]]:
        found: dict[tuple[str, str, str], list[Version]] = {}
        for version in self.versions:
            found.setdefault(version.key, []).append(version)
        return found


class Recorder:
    """Watches everything in `RECORDED`; a context manager.

    A stream that breaks is taken up where it ended. An API server that was started again refuses
    that; then everything is listed as it was at each version since. `gaps` counts how often etcd
    had forgotten them already.
    """

    def __init__(self, client: KubeClient, recorded: Mapping[str, Resource] = RECORDED) -> None:
        self._client = client
        self._recorded = recorded
        self._versions: list[Version] = []
        self._latest: dict[tuple[str, str, str], Version] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listed = {kind: threading.Event() for kind in recorded}
        self._threads = [
            threading.Thread(target=self._run, args=item, name=f"record-{item[0]}", daemon=True)
            for item in recorded.items()
        ]
        self.gaps = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        for kind, listed in self._listed.items():
            if not listed.wait(30):
                raise TimeoutError(f"{kind} cannot be listed")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._client.close()
        for thread in self._threads:
            thread.join(10)

    @property
    def number(self) -> int:
        """The highest resourceVersion recorded so far."""
        with self._lock:
            return max((v.number for v in self._versions), default=0)

    def latest(self, kind: str, name: str, namespace: str = "") -> Body | None:
        """An object as last seen; None where there is none."""
        with self._lock:
            version = self._latest.get((kind, namespace, name))
        return None if version is None else version.body

    def all(self, kind: str, namespace: str = "") -> list[Body]:
        """All objects of a kind in a namespace, as last seen, by name."""
        with self._lock:
            there = [v for k, v in self._latest.items() if k[:2] == (kind, namespace)]
        return [v.body for v in sorted(there, key=lambda v: v.name)]

    def history(self, scope: Scope | None = None, since: int = 0) -> History:
        """What was recorded of a play, from a number on; what stood there then comes first."""
        with self._lock:
            versions = list(self._versions)
        history = History.of(versions).starting(since)
        return history if scope is None else history.within(scope)

    def forget(self) -> None:
        """Drop what is recorded but for what stands now; a campaign is long."""
        with self._lock:
            self._versions = list(self._latest.values())

    def _run(self, kind: str, resource: Resource) -> None:
        number = last = ""
        while not self._stopping.is_set():
            try:
                number = number or self._list(kind, resource, last)
                for event in self._client.watch(resource, number, silence_s=100.0):
                    number = last = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._take(kind, event["type"], event["object"])
            except ApiError as error:
                if error.not_found:
                    self._listed[kind].set()
                    self._stopping.wait(ABSENT_S)
                elif error.gone:
                    number = ""
                self._stopping.wait(_PAUSE_S)

    def _list(self, kind: str, resource: Resource, last: str) -> str:
        """List everything; with `last`, what came after it version by version."""
        if last:
            try:
                self._fill(kind, resource, int(last))
            except ApiError as error:
                if not error.gone:
                    raise
                self.gaps += 1
        number = self._list_at(kind, resource)
        self._listed[kind].set()
        return number

    def _fill(self, kind: str, resource: Resource, last: int) -> None:
        """An API server that was started again refuses to tell what was; etcd still knows.

        Only of those kinds whose every version counts.
        """
        if kind not in EXACT:
            return
        page = next(iter(self._client.pages(resource, limit=1)))
        for number in range(last + 1, int(page["metadata"]["resourceVersion"]) + 1):
            self._list_at(kind, resource, number)

    def _list_at(self, kind: str, resource: Resource, at: int = 0) -> str:
        """List everything as it was at a version, by default now."""
        exact = {"resourceVersion": str(at), "resourceVersionMatch": "Exact"} if at else {}
        number, names = "", set()
        for page in self._client.pages(resource, **exact):
            number = page["metadata"]["resourceVersion"]
            for body in page.get("items") or ():
                meta = body["metadata"]
                key = (kind, meta.get("namespace", ""), meta["name"])
                names.add(key)
                with self._lock:
                    known = key in self._latest and self._latest[key].uid == meta["uid"]
                self._take(kind, "MODIFIED" if known else "ADDED", body)
        with self._lock:
            lost = [v for k, v in self._latest.items() if k[0] == kind and k not in names]
        for version in lost:
            self._take(kind, "DELETED", version.body, at or int(number))
        return number

    def _take(self, kind: str, change: Change, body: Body, number: int = 0) -> None:
        meta = body["metadata"]
        meta.pop("managedFields", None)
        version = Version(
            kind, meta.get("namespace", ""), meta["name"], meta["uid"],
            number or int(meta["resourceVersion"]), change, body, time.monotonic(),
        )  # fmt: skip
        with self._lock:
            known = self._latest.get(version.key)
            if known is not None and known.number >= version.number:
                return
            if change == "DELETED":
                self._latest.pop(version.key, None)
            else:
                self._latest[version.key] = version
            if known is None or change == "DELETED" or not _only_beats(kind, known.body, body):
                self._versions.append(version)


def _named_after(node: str, farm: str) -> bool:
    return re.fullmatch(rf"{re.escape(farm)}-.+-\d+", node) is not None


def _only_beats(kind: str, before: Body, after: Body) -> bool:
    """Whether a node did nothing but show that it lives."""
    if kind == "Lease":
        return _unrenewed(before) == _unrenewed(after)
    return kind == "Node" and _still(before) == _still(after)


def _unrenewed(lease: Body) -> Body:
    spec = {k: v for k, v in (lease.get("spec") or {}).items() if k != "renewTime"}
    meta = {k: v for k, v in lease["metadata"].items() if k != "resourceVersion"}
    return {**lease, "metadata": meta, "spec": spec}


def _still(node: Body) -> Body:
    status = dict(node.get("status") or {})
    status["conditions"] = [
        {key: value for key, value in condition.items() if key not in _HEARTBEATS}
        for condition in status.get("conditions") or ()
    ]
    meta = {k: v for k, v in node["metadata"].items() if k != "resourceVersion"}
    return {**node, "metadata": meta, "status": status}
