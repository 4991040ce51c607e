"""The kfarm objects as last seen, parsed; fed by kopf's watches and by our own lists."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from kfarm_api.v1alpha1 import (
    KINDS,
    AcceleratorProfile,
    FailureDrill,
    Farm,
    GPUFarm,
    Kind,
    NodeLedger,
    NPUFarm,
    PlacementPlan,
    TwinRun,
    ValidationPolicy,
)
from pydantic import ValidationError

K = TypeVar("K", bound=Kind)
Name = tuple[str, str]
"""Namespace, empty for what has none, and name."""
GATE_KINDS: tuple[type[Kind], ...] = tuple(
    kind for kind in KINDS if kind not in (TwinRun, FailureDrill)
)
"""What a verdict may depend on, and so what the gate account reads."""
_BY_NAME: dict[str, type[Kind]] = {kind.__name__: kind for kind in KINDS}
_LOG = logging.getLogger(__name__)


def parse(body: dict[str, Any]) -> Kind:
    """Parse an object of ours; fields of a newer version are ignored.

    Raises
    ------
    ValueError
        When the object does not fit this operator's models.
    """
    model = _BY_NAME[body["kind"]]
    try:
        return model.model_validate(body, extra="ignore")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}") from error


Listener = Callable[[Kind | None, Kind | None], None]
"""Told of each change: the object before and after; one of them may be None."""


class Index:
    """Parsed objects by kind, namespace and name. Safe from many threads."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[Name, Kind]] = {kind.__name__: {} for kind in KINDS}
        self._plans: dict[tuple[str, ...], dict[Name, None]] = {}
        self._gone: dict[str, dict[Name, int]] = {kind.__name__: {} for kind in KINDS}
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every change from now on, whoever brings it; from any thread."""
        self._listeners.append(listener)

    def put(self, body: dict[str, Any]) -> Kind | None:
        """Take in an object unless it or a newer one is known; None when it cannot be parsed.

        None as well for one that was deleted since: a list that lags behind brings nothing back.
        """
        kind, name = _key(body)
        if 0 < _version_of(body) <= self._gone[kind].get(name, 0):
            return None
        known = self.get(kind, *name)
        if known is not None and _version(known) == _version_of(body) > 0:
            return known
        try:
            parsed = parse(body)
        except ValueError as error:
            _LOG.warning("%s %s/%s cannot be read: %s", kind, *name, error)
            self.remove(body)
            return None
        with self._lock:
            old = self._objects[kind].get(name)
            if old is not None and _version(old) > _version(parsed):
                return old
            self._store(kind, name, old, parsed)
        self._tell(old, parsed)
        return parsed

    def knows(self, body: dict[str, Any]) -> bool:
        """Whether this very spec is known already: same uid and generation."""
        kind, name = _key(body)
        old = self.get(kind, *name)
        meta = body["metadata"]
        return old is not None and (old.metadata.uid, old.metadata.generation) == (
            meta["uid"],
            meta.get("generation", 0),
        )

    def remove(self, body: dict[str, Any]) -> None:
        """Forget a deleted object; by its version older ones are known as such."""
        kind, name = _key(body)
        with self._lock:
            old = self._objects[kind].get(name)
            self._store(kind, name, old, None)
            if version := _version_of(body):
                self._gone[kind][name] = version
        if old is not None:
            self._tell(old, None)

    def keep_only(
        self, kind: type[Kind], names: set[Name], version: int | None = None
    ) -> list[Name]:
        """After a list: forget what was not in it; returns the names forgotten.

        Parameters
        ----------
        version
            Of the list. What is known in a later one is kept: the list lags behind it.
        """
        with self._lock:
            there = self._objects[kind.__name__]
            lost = [key for key in there if key not in names]
            if version is not None:
                lost = [key for key in lost if _version(there[key]) <= version]
                past = self._gone[kind.__name__]
                self._gone[kind.__name__] = {k: v for k, v in past.items() if v > version}
            gone = [there[name] for name in lost]
            for name, old in zip(lost, gone, strict=True):
                self._store(kind.__name__, name, old, None)
        for old in gone:
            self._tell(old, None)
        return lost

    def _store(self, kind: str, name: Name, old: Kind | None, new: Kind | None) -> None:
        for group in _groups(old):
            members = self._plans.get(group, {})
            members.pop(name, None)
            if not members:
                self._plans.pop(group, None)
        for group in _groups(new):
            self._plans.setdefault(group, {})[name] = None
        if new is None:
            self._objects[kind].pop(name, None)
        else:
            self._objects[kind][name] = new

    def _tell(self, before: Kind | None, after: Kind | None) -> None:
        for listener in self._listeners:
            listener(before, after)

    def get(self, kind: str, namespace: str, name: str) -> Kind | None:
        """An object, or None."""
        with self._lock:
            return self._objects[kind].get((namespace, name))

    def all(self, kind: type[K]) -> list[K]:
        """All objects of a kind."""
        with self._lock:
            found = list(self._objects[kind.__name__].values())
        return [item for item in found if isinstance(item, kind)]

    def plans_of_farm(self, kind: str, name: str) -> list[PlacementPlan]:
        """Plans that name a farm."""
        return self._plans_of(("farm", kind, name))

    def plans_of_policy(self, name: str) -> list[PlacementPlan]:
        """Plans that name a policy."""
        return self._plans_of(("policy", name))

    def _plans_of(self, group: tuple[str, ...]) -> list[PlacementPlan]:
        with self._lock:
            plans = self._objects[PlacementPlan.__name__]
            found = [plans[name] for name in self._plans.get(group, ())]
        return [plan for plan in found if isinstance(plan, PlacementPlan)]

    def farm(self, kind: str, name: str) -> Farm | None:
        """A farm by kind and name."""
        found = self.get(kind, "", name)
        return found if isinstance(found, GPUFarm | NPUFarm) else None

    def farms(self) -> list[Farm]:
        """All farms of both kinds."""
        return [*self.all(GPUFarm), *self.all(NPUFarm)]

    def profiles(self) -> dict[str, AcceleratorProfile]:
        """All profiles by name."""
        return {profile.metadata.name: profile for profile in self.all(AcceleratorProfile)}

    def policy(self, name: str) -> ValidationPolicy | None:
        """A policy by name."""
        found = self.get("ValidationPolicy", "", name)
        return found if isinstance(found, ValidationPolicy) else None

    def plan(self, namespace: str, name: str) -> PlacementPlan | None:
        """A plan by namespace and name."""
        found = self.get("PlacementPlan", namespace, name)
        return found if isinstance(found, PlacementPlan) else None

    def ledger(self, name: str) -> NodeLedger | None:
        """A ledger by name."""
        found = self.get("NodeLedger", "", name)
        return found if isinstance(found, NodeLedger) else None


def _key(body: dict[str, Any]) -> tuple[str, Name]:
    meta = body["metadata"]
    return body["kind"], (meta.get("namespace") or "", meta["name"])


def _groups(item: Kind | None) -> list[tuple[str, ...]]:
    """What a plan is looked up by beside its name."""
    if not isinstance(item, PlacementPlan):
        return []
    farms = {("farm", ref.kind, ref.name) for ref in item.spec.farms}
    return [*sorted(farms), ("policy", item.spec.policy)]


def _version(item: Kind) -> int:
    return int(item.metadata.resource_version or 0)


def _version_of(body: dict[str, Any]) -> int:
    return int(body["metadata"].get("resourceVersion") or 0)
