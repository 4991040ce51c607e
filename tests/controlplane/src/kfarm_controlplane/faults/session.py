"""What the proxy saw of one play, and which fault comes next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from kfarm_controlplane.faults.plans import Fault
from kfarm_controlplane.faults.signature import (
    EVENTS,
    WRITES,
    Mask,
    Signature,
    Tally,
    anonymous,
    event_fields,
    write_fields,
)

JSON = dict[str, Any]
_NO_WRITES = ("tokenreviews", "subjectaccessreviews", "selfsubjectaccessreviews")
_VARYING = ("resourceVersion", "timeoutSeconds", "allowWatchBookmarks", "resourceVersionMatch")


@dataclass(frozen=True)
class Route:
    """What a request is about."""

    method: str
    resource: str
    namespace: str
    name: str
    subresource: str
    watch: bool
    dry: bool
    selector: str

    @classmethod
    def read(cls, method: str, path: str, query: str) -> Route:
        """Take a request's path and query apart."""
        parts = [part for part in path.split("/") if part]
        parts = parts[2:] if parts[:1] == ["api"] else parts[3:]
        namespace = ""
        if parts[:1] == ["namespaces"] and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        resource, name, subresource = (*parts, "", "", "")[:3]
        asked = parse_qs(query)
        selectors = [*asked.get("labelSelector", ()), *asked.get("fieldSelector", ())]
        return cls(
            method, resource, namespace, name, subresource,
            watch=asked.get("watch", [""])[0] in ("true", "1"), dry="dryRun" in asked,
            selector="&".join(selectors),
        )  # fmt: skip

    @property
    def is_write(self) -> bool:
        """Whether it changes an object."""
        return self.method in WRITES and not self.dry and self.resource not in _NO_WRITES

    @property
    def is_list(self) -> bool:
        """Whether it reads a collection."""
        return self.method == "GET" and bool(self.resource) and not self.name and not self.watch


def list_key(path: str, query: str) -> str:
    """The same for each time that a list is asked for again."""
    asked = {key: value for key, value in parse_qs(query).items() if key not in _VARYING}
    return f"{path}?{sorted(asked.items())}"


class Session:
    """One play: numbers what comes, and tells where a fault strikes.

    Attributes
    ----------
    seen
        Signatures of writes and events in the order in which they came.
    struck_at
        When the last fault struck, in the clock of ``time.monotonic``.
    wrote_at
        When the operator last wrote.
    """

    def __init__(self, mask: Mask, faults: Sequence[Fault] = ()) -> None:
        self._mask = mask
        self._tally = Tally()
        self._since = Tally()
        self._left = deque(faults)
        self._leases: dict[str, str] = {}
        self.seen: list[Signature] = []
        self.struck_at = self.wrote_at = time.monotonic()
        self.writes = 0

    @property
    def struck(self) -> bool:
        """Whether every fault has struck."""
        return not self._left

    def write(self, route: Route, body: Any) -> Fault | None:
        """A write came; returns the fault that strikes it."""
        named = body.get("metadata", {}).get("name", "") if isinstance(body, dict) else ""
        name = route.name or named
        if not route.is_write or not self._mask.concerns(route.namespace, name):
            return None
        self.wrote_at = time.monotonic()
        self.writes += 1
        fields = self._mask(write_fields(route.resource, body))
        masked = anonymous(route.resource, self._mask(name), fields)
        return self._meet(
            Signature(route.method, route.resource, route.subresource, masked, fields)
        )

    def event(self, route: Route, event: JSON) -> Fault | None:
        """A watch brings an event; returns the fault that strikes it."""
        meta = event["object"].get("metadata", {})
        namespace, name = meta.get("namespace", ""), meta.get("name", "")
        if event["type"] not in EVENTS or not self._mask.concerns(namespace, name):
            return None
        fields = self._mask(event_fields(route.resource, event["object"]))
        if route.resource == "leases" and self._beats(f"{route.selector} {name}", fields):
            return None
        selector = self._mask(route.selector)
        masked = anonymous(route.resource, self._mask(name), fields)
        return self._meet(Signature(event["type"], route.resource, "", masked, fields, selector))

    def _beats(self, lease: str, fields: str) -> bool:
        """Whether a Lease was only renewed, which comes when it comes."""
        known = self._leases.get(lease)
        self._leases[lease] = fields
        return known == fields or (known is None and "marked" not in fields)

    def _meet(self, signature: Signature) -> Fault | None:
        self.seen.append(self._tally.number(signature))
        if not self._left or self._since.number(signature) != self._left[0].at:
            return None
        self._since = Tally()
        self.struck_at = time.monotonic()
        return self._left.popleft()
