"""The kfarm objects as last seen, parsed; fed by kopf's watches and by our own lists."""

from __future__ import annotations

import logging
import threading
from typing import Any, TypeVar

from kfarm_api.v1alpha1 import (
    KINDS,
    AcceleratorProfile,
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
GATE_KINDS: tuple[type[Kind], ...] = tuple(kind for kind in KINDS if kind is not TwinRun)
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


class Index:
    """Parsed objects by kind, namespace and name. Safe from many threads."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Kind] = {}
        self._lock = threading.Lock()

    def put(self, body: dict[str, Any]) -> Kind | None:
        """Take in an object unless a newer one is known; None when it cannot be parsed."""
        key = _key(body)
        try:
            parsed = parse(body)
        except ValueError as error:
            _LOG.warning("%s %s/%s cannot be read: %s", *key, error)
            self.remove(body)
            return None
        with self._lock:
            old = self._objects.get(key)
            if old is not None and _version(old) > _version(parsed):
                return old
            self._objects[key] = parsed
        return parsed

    def knows(self, body: dict[str, Any]) -> bool:
        """Whether this very spec is known already: same uid and generation."""
        with self._lock:
            old = self._objects.get(_key(body))
        meta = body["metadata"]
        return old is not None and (old.metadata.uid, old.metadata.generation) == (
            meta["uid"],
            meta.get("generation", 0),
        )

    def remove(self, body: dict[str, Any]) -> None:
        """Forget a deleted object."""
        with self._lock:
            self._objects.pop(_key(body), None)

    def keep_only(self, kind: type[Kind], names: set[tuple[str, str]]) -> list[tuple[str, str]]:
        """After a list: forget what was not in it; returns the names forgotten."""
        with self._lock:
            lost = [
                key for key in self._objects if key[0] == kind.__name__ and key[1:] not in names
            ]
            for key in lost:
                del self._objects[key]
        return [key[1:] for key in lost]

    def all(self, kind: type[K]) -> list[K]:
        """All objects of a kind."""
        with self._lock:
            return [item for item in self._objects.values() if isinstance(item, kind)]

    def farm(self, kind: str, name: str) -> Farm | None:
        """A farm by kind and name."""
        found = self._get(kind, "", name)
        return found if isinstance(found, GPUFarm | NPUFarm) else None

    def farms(self) -> list[Farm]:
        """All farms of both kinds."""
        return [*self.all(GPUFarm), *self.all(NPUFarm)]

    def profiles(self) -> dict[str, AcceleratorProfile]:
        """All profiles by name."""
        return {profile.metadata.name: profile for profile in self.all(AcceleratorProfile)}

    def policy(self, name: str) -> ValidationPolicy | None:
        """A policy by name."""
        found = self._get("ValidationPolicy", "", name)
        return found if isinstance(found, ValidationPolicy) else None

    def plan(self, namespace: str, name: str) -> PlacementPlan | None:
        """A plan by namespace and name."""
        found = self._get("PlacementPlan", namespace, name)
        return found if isinstance(found, PlacementPlan) else None

    def ledger(self, name: str) -> NodeLedger | None:
        """A ledger by name."""
        found = self._get("NodeLedger", "", name)
        return found if isinstance(found, NodeLedger) else None

    def _get(self, kind: str, namespace: str, name: str) -> Kind | None:
        with self._lock:
            return self._objects.get((kind, namespace, name))


def _key(body: dict[str, Any]) -> tuple[str, str, str]:
    meta = body["metadata"]
    return body["kind"], meta.get("namespace") or "", meta["name"]


def _version(item: Kind) -> int:
    return int(item.metadata.resource_version or 0)
