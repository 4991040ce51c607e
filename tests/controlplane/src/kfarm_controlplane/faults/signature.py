"""What a write or a delivered event is called, so that the same one is found in the next run.

Its number alone would shift with every list that runs in the background; so it goes by what it
says, with names and uids masked, and by how often that was seen before.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

JSON = dict[str, Any]
WRITES = ("POST", "PUT", "PATCH", "DELETE")
EVENTS = ("ADDED", "MODIFIED", "DELETED")
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_JOB_POD = re.compile(r"-(\d+)-[a-z0-9]{5}$")
_SUFFIX = re.compile(r"(?<=[.-])[0-9a-f]{16}$")
_SHARED = ("", "kube-node-lease", "kfarm-system")
"""Namespaces of objects that a play has for itself, by name."""
_DRILLS = "drill.kfarm.dev/"
_HOLDER = "kfarm-drill/"
_NUMBER = re.compile(r"-\d{4}$")
_INDEX = re.compile(r"/\d+(?=/|$)")
_PRECONDITIONS = ("uid", "resourceVersion", "name", "namespace")


@dataclass(frozen=True, order=True)
class Signature:
    """A write that the operator sends, or an event that a watch of its brings.

    Attributes
    ----------
    verb
        HTTP method of a write, type of an event.
    resource, subresource
        Plural of the kind, and ``status`` and the like.
    name
        Of the object, masked.
    fields
        What it says, in words that do not vary from run to run.
    stream
        Of an event: the selector of the watch that brings it.
    occurrence
        How often this was seen, this time included.
    """

    verb: str
    resource: str
    subresource: str = ""
    name: str = ""
    fields: str = ""
    stream: str = ""
    occurrence: int = 1

    @property
    def is_write(self) -> bool:
        """Whether it is a write; else it is an event."""
        return self.verb in WRITES

    @property
    def key(self) -> Signature:
        """The same, whichever time it is."""
        return replace(self, occurrence=1)

    def as_json(self) -> JSON:
        """What is not empty, for a file."""
        return {name: value for name, value in asdict(self).items() if value != ""}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote."""
        return cls(**found)

    def __str__(self) -> str:
        where = "/".join(part for part in (self.resource, self.subresource) if part)
        words = [self.verb, where, self.name, f"[{self.fields}]" if self.fields else ""]
        return " ".join([*(word for word in words if word), f"#{self.occurrence}"])


class Tally:
    """Numbers signatures as they come."""

    def __init__(self) -> None:
        self._seen: Counter[Signature] = Counter()

    def number(self, signature: Signature) -> Signature:
        """The signature with its occurrence."""
        key = signature.key
        self._seen[key] += 1
        return replace(key, occurrence=self._seen[key])


@dataclass(frozen=True)
class Mask:
    """What belongs to one play, and how its names are masked.

    Attributes
    ----------
    namespace, farm
        Of the play; nothing else is called or contains these.
    """

    namespace: str
    farm: str

    def concerns(self, namespace: str, name: str) -> bool:
        """Whether an object belongs to the play."""
        if namespace not in _SHARED:
            return namespace == self.namespace
        return self.farm in name or self.namespace in name

    def __call__(self, text: str) -> str:
        """The text without what varies from play to play."""
        masked = text.replace(self.namespace, "<ns>").replace(self.farm, "<farm>")
        return _SUFFIX.sub("*", _JOB_POD.sub(r"-\1", _UID.sub("<uid>", masked)))


def write_fields(resource: str, body: Any) -> str:
    """What a write says."""
    if isinstance(body, list):
        return ",".join(sorted({f"{s.get('op')} {_INDEX.sub('/*', s['path'])}" for s in body}))
    if not isinstance(body, dict):
        return ""
    if resource == "failuredrills" and "status" in body:
        return _told_of_drill(body)
    if resource in ("nodes", "leases") and (said := _drilled(body)):
        return said
    if resource == "events":
        return str(body.get("reason", ""))
    if "conditions" in (body.get("status") or {}):
        return _told(body)
    parts = [
        f"{top}.{name}"
        for top in ("metadata", "spec", "status")
        if isinstance(body.get(top), dict)
        for name in body[top]
        if not (top == "metadata" and name in _PRECONDITIONS)
    ]
    return ",".join(sorted(parts))


def event_fields(resource: str, body: JSON) -> str:
    """What the object says that an event brings."""
    spec, status = body.get("spec") or {}, body.get("status") or {}
    deleting = ["deleting"] if "deletionTimestamp" in body.get("metadata", {}) else []
    if resource == "pods":
        gates = ["gated"] if spec.get("schedulingGates") else []
        bound = ["bound"] if spec.get("nodeName") else []
        return ",".join([*gates, *bound, str(status.get("phase", "")), *deleting])
    if resource == "nodeledgers":
        return ",".join([f"claims={len(spec.get('claims') or ())}", *deleting])
    if resource == "failuredrills":
        return ",".join([part for part in (_told_of_drill(body), *deleting) if part])
    held = [_held(spec), *_marked(body)] if resource == "leases" else _marked(body)
    return ",".join([part for part in (_told(body), *held, *deleting) if part])


def _told_of_drill(body: JSON) -> str:
    """Phase, verdict and how far the journal is."""
    status = body.get("status") or {}
    found = [f"{name}={status[name]}" for name in ("phase", "verdict") if status.get(name)]
    states = Counter(entry["state"] for entry in status.get("journal") or ())
    return ",".join([*found, *(f"{state}={count}" for state, count in sorted(states.items()))])


def _drilled(body: JSON) -> str:
    """What a drill writes on a Node or Lease, and what it takes off."""
    notes = (body.get("metadata") or {}).get("annotations") or {}
    ours = [value for name, value in notes.items() if name.startswith(_DRILLS)]
    found = ["mark" if any(ours) else "unmark"] if ours else []
    status, spec = body.get("status") or {}, body.get("spec") or {}
    types = sorted(c["type"] for c in status.get("conditions") or () if isinstance(c, dict))
    found += [f"conditions={'+'.join(types)}"] if "conditions" in status else []
    found += ["allocatable"] if "allocatable" in status else []
    return ",".join([*found, *([_held(spec)] if "holderIdentity" in spec else [])])


def _held(spec: JSON) -> str:
    return f"held={str(spec.get('holderIdentity') or '').startswith(_HOLDER)}"


def _marked(body: JSON) -> list[str]:
    notes = (body.get("metadata") or {}).get("annotations") or {}
    return ["marked"] if any(name.startswith(_DRILLS) for name in notes) else []


def anonymous(resource: str, name: str, fields: str) -> str:
    """A name without the number of a node that a drill touches; which one is drawn by its seed."""
    words = fields.split(",")
    told = any(word.startswith(("mark", "unmark", "held=", "conditions=")) for word in words)
    return _NUMBER.sub("-*", name) if told and resource in ("nodes", "leases") else name


def _told(body: JSON) -> str:
    """Verdict, epoch and readiness of a status."""
    status = body.get("status") or {}
    found = [f"{name}={status[name]}" for name in ("verdict", "epoch") if name in status]
    conditions = status.get("conditions") or ()
    found += [
        f"{c['type']}={c.get('status')}/{c.get('reason')}"
        for c in conditions
        if c.get("type") in ("Ready", "Active", "Admitted", "Evicted")
    ]
    return ",".join(found)
