"""A local copy of a collection: paged list, then watch, then list again.

kopf's label filters are client-side and it never lists again, so Pods and Nodes come from here.
A dropped event is repaired by the next list at the latest.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from kfarm_operator.client import JSON, ApiError, KubeClient, Resource

View = TypeVar("View")
Key = tuple[str, str]
RELIST_S = 120.0
_LOG = logging.getLogger(__name__)


class Mirror(Generic[View]):
    """Keeps views of all objects that match a selector, and tells what changed.

    Parameters
    ----------
    view
        Makes a view of a body; the body is dropped.
    changed
        Called with the old and the new view (one of them may be None), from the mirror's thread.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        view: Callable[[JSON], View],
        changed: Callable[[View | None, View | None], None],
        **query: Any,
    ) -> None:
        self._client = client
        self._resource = resource
        self._view = view
        self._changed = changed
        self._query = query
        self._objects: dict[Key, View] = {}
        self._versions: dict[Key, int] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.synced = threading.Event()
        self.last_list = 0.0
        self._thread = threading.Thread(
            target=self._run, name=f"mirror-{resource.plural}", daemon=True
        )

    def start(self) -> None:
        """Start listing and watching."""
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
                failures += 0 if error.gone else 1
                _LOG.warning("watch of %s: %s", self._resource.plural, error)
                pause = min(30.0, 0.2 * 2**failures) * random.uniform(0.5, 1.0)  # noqa: S311
                self._stopping.wait(0.0 if error.gone else pause)
            except Exception:
                _LOG.exception("mirror of %s stopped by a defect", self._resource.plural)
                self._stopping.wait(5.0)

    def _list(self) -> str:
        seen: set[Key] = set()
        version = ""
        for page in self._client.pages(self._resource, **self._query):
            version = page["metadata"]["resourceVersion"]
            for body in page.get("items") or ():
                seen.add(self._upsert(body))
        with self._lock:
            lost = [key for key in self._objects if key not in seen]
            self._versions = {key: v for key, v in self._versions.items() if key in seen}
        for key in lost:
            self._remove(key)
        self.last_list = time.monotonic()
        self.synced.set()
        return version

    def _follow(self, version: str) -> None:
        deadline = time.monotonic() + RELIST_S * random.uniform(0.8, 1.2)  # noqa: S311
        while not self._stopping.is_set() and time.monotonic() < deadline:
            remaining = max(1, int(deadline - time.monotonic()))
            query = {**self._query, "timeoutSeconds": remaining}
            for event in self._client.watch(self._resource, version, **query):
                body = event["object"]
                version = body["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self._remove(_key(body), int(version))
                elif event["type"] != "BOOKMARK":
                    self._upsert(body)

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
        if old is not None:
            self._changed(old, None)


def _key(body: JSON) -> Key:
    meta = body["metadata"]
    return meta.get("namespace", ""), meta["name"]
