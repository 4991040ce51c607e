"""A local copy of a collection: paged list, then watch, then list again.

kopf's label filters are client-side and it never lists again, so Pods and Nodes come from here.
A dropped event is repaired by the next list at the latest.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from kfarm_operator.client import JSON, ApiError, KubeClient, Resource

View = TypeVar("View")
Taken_contra = TypeVar("Taken_contra", contravariant=True)
Key = tuple[str, str]
ABSENT_RETRY_S = 30.0
_LOG = logging.getLogger(__name__)


class Tally(Protocol[Taken_contra]):
    """Something counted over all views, kept up to date under the mirror's lock."""

    def replace(self, key: Key, before: Taken_contra | None, after: Taken_contra | None) -> None:
        """Take back what `before` counted for, and count `after`."""


class Grouped(Generic[View]):
    """Views by something that they have in common; read it through `Mirror.where`."""

    def __init__(self, group: Callable[[View], Hashable]) -> None:
        self._group = group
        self._members: dict[Hashable, dict[Key, View]] = {}

    def replace(self, key: Key, before: View | None, after: View | None) -> None:
        """Move an object to its group."""
        if before is not None:
            group = self._group(before)
            members = self._members.get(group, {})
            members.pop(key, None)
            if not members:
                self._members.pop(group, None)
        if after is not None:
            self._members.setdefault(self._group(after), {})[key] = after

    def members(self, group: Hashable) -> list[View]:
        """All views of a group."""
        return list(self._members.get(group, {}).values())


@dataclass(frozen=True)
class Pulse:
    """When a mirror last heard from the API server, in the clock of ``time.monotonic``.

    Attributes
    ----------
    heard
        Last event, bookmark, or orderly end of a stream.
    listed
        Last complete list; 0 before the first.
    """

    heard: float
    listed: float
    events: int
    relists: int
    errors: int
    objects: int


@dataclass(frozen=True)
class Cadence:
    """How often a mirror lists again, and how long a stream may be silent.

    The API server sends a bookmark about every minute, so a longer silence means a dead stream.
    """

    relist_s: float = 120.0
    silence_s: float = 90.0


class Mirror(Generic[View]):
    """Keeps views of all objects that match a selector, and tells what changed.

    Parameters
    ----------
    view
        Makes a view of a body; the body is dropped.
    changed
        Called with the old and the new view (one of them may be None), from the mirror's thread.
    groups
        By name, what to look views up by; see `where`.
    tallies
        Counts to keep up to date; read them with `reading`.
    optional
        Whether the kind may be unknown to the API server; then there are no objects until it is.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        view: Callable[[JSON], View],
        changed: Callable[[View | None, View | None], None],
        *,
        groups: Mapping[str, Callable[[View], Hashable]] | None = None,
        tallies: Sequence[Tally[View]] = (),
        optional: bool = False,
        cadence: Cadence | None = None,
        name: str = "",
        **query: Any,
    ) -> None:
        self._client = client
        self._resource = resource
        self._view = view
        self._changed = changed
        self._query = query
        self._groups = {title: Grouped(group) for title, group in (groups or {}).items()}
        self._tallies: tuple[Tally[View], ...] = (*self._groups.values(), *tallies)
        self._optional = optional
        self._cadence = cadence or Cadence()
        self._objects: dict[Key, View] = {}
        self._versions: dict[Key, int] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._heard = 0.0
        self._events = self._relists = self._errors = 0
        self.name = name or resource.plural
        self.synced = threading.Event()
        self.last_list = 0.0
        self._thread = threading.Thread(target=self._run, name=f"mirror-{self.name}", daemon=True)

    def start(self) -> None:
        """Start listing and watching."""
        self._heard = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; the client's streams must be closed for it to notice."""
        self._stopping.set()

    def values(self) -> list[View]:
        """All views at this moment."""
        with self._lock:
            return list(self._objects.values())

    def get(self, namespace: str, name: str) -> View | None:
        """One view, or None."""
        with self._lock:
            return self._objects.get((namespace, name))

    def where(self, by: str, group: Hashable) -> list[View]:
        """All views of a group, without looking at any other."""
        with self._lock:
            return self._groups[by].members(group)

    @property
    def reading(self) -> threading.Lock:
        """The lock to hold while a tally is read."""
        return self._lock

    @property
    def pulse(self) -> Pulse:
        """Signs of life so far."""
        with self._lock:
            count = len(self._objects)
        return Pulse(self._heard, self.last_list, self._events, self._relists, self._errors, count)

    @property
    def silence_s(self) -> float:
        """How long this mirror's stream may be silent [s]."""
        return self._cadence.silence_s

    def put(self, body: JSON) -> None:
        """Take in an object that a write returned, before the watch brings it."""
        self._upsert(body)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                version = self._list()
                failures = 0
                self._follow(version)
            except ApiError as error:
                if self._stopping.is_set():
                    return
                if error.not_found and self._optional:
                    self._be_empty()
                    self._stopping.wait(min(ABSENT_RETRY_S, 0.5 * self.silence_s))
                    continue
                failures += 0 if error.gone else 1
                self._errors += 1
                _LOG.warning("watch of %s: %s", self.name, error)
                pause = min(30.0, 0.2 * 2**failures) * random.uniform(0.5, 1.0)  # noqa: S311
                self._stopping.wait(0.0 if error.gone else pause)
            except Exception:
                self._errors += 1
                _LOG.exception("mirror of %s stopped by a defect", self.name)
                self._stopping.wait(5.0)

    def _be_empty(self) -> None:
        """The kind is not there: that is an answer as well."""
        self._finish_list(set(), None)

    def _list(self) -> str:
        seen: set[Key] = set()
        version = ""
        for page in self._client.pages(self._resource, **self._query):
            version = page["metadata"]["resourceVersion"]
            for body in page.get("items") or ():
                seen.add(self._upsert(body))
        self._finish_list(seen, int(version or 0))
        return version

    def _finish_list(self, seen: set[Key], version: int | None) -> None:
        """Forget what a list does not have, unless the list is older than what is known of it.

        Such a list comes from a server or a cache that lags behind. To believe it would mean that
        running pods were gone, and that their slots and claims were given away.
        """
        with self._lock:
            newer = {
                key for key, v in self._versions.items() if version is not None and v > version
            }
            lost = [key for key in self._objects if key not in seen and key not in newer]
            kept = seen | newer
            self._versions = {key: v for key, v in self._versions.items() if key in kept}
        for key in lost:
            self._remove(key)
        self.last_list = self._heard = time.monotonic()
        self._relists += 1
        self.synced.set()

    def _follow(self, version: str) -> None:
        spread = random.uniform(0.8, 1.2)  # noqa: S311
        deadline = time.monotonic() + self._cadence.relist_s * spread
        while not self._stopping.is_set() and time.monotonic() < deadline:
            remaining = max(1, int(deadline - time.monotonic()))
            query = {**self._query, "timeoutSeconds": remaining}
            stream = self._client.watch(
                self._resource, version, silence_s=self._cadence.silence_s, **query
            )
            for event in stream:
                self._heard = time.monotonic()
                self._events += 1
                body = event["object"]
                version = body["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self._remove(_key(body), int(version))
                elif event["type"] != "BOOKMARK":
                    self._upsert(body)
            self._heard = time.monotonic()

    def _upsert(self, body: JSON) -> Key:
        key = _key(body)
        version = int(body["metadata"]["resourceVersion"])
        with self._lock:
            if self._versions.get(key, -1) >= version:
                return key
            view = self._view(body)
            old = self._objects.get(key)
            self._objects[key] = view
            self._versions[key] = version
            self._count(key, old, view)
        self._changed(old, view)
        return key

    def _remove(self, key: Key, version: int | None = None) -> None:
        """Forget an object; the version stays, so that an older answer cannot bring it back."""
        with self._lock:
            old = self._objects.pop(key, None)
            if version is None:
                self._versions.pop(key, None)
            else:
                self._versions[key] = version
            self._count(key, old, None)
        if old is not None:
            self._changed(old, None)

    def _count(self, key: Key, before: View | None, after: View | None) -> None:
        for tally in self._tallies:
            tally.replace(key, before, after)


def _key(body: JSON) -> Key:
    meta = body["metadata"]
    return meta.get("namespace", ""), meta["name"]
