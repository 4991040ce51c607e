"""Fields of foreign objects: what is wrong is reported, unknown fields are passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfarm_api.parse import show

from kfarm_twin.kube.selectors import Report

Path = tuple[str | int, ...]
_EMPTY: dict[str, Any] = {}
INT32 = 2**31


@dataclass(frozen=True)
class Field:
    """A mapping at a place in an object; wrong types below it are reported and read as absent."""

    body: Mapping[str, Any]
    path: Path
    report: Report

    def child(self, key: str) -> Field:
        """A mapping below; empty when absent or wrong."""
        return self.at(self.body.get(key), (*self.path, key))

    def at(self, value: Any, path: Path) -> Field:
        """A value as a mapping."""
        if value is None:
            return Field(_EMPTY, path, self.report)
        if not isinstance(value, Mapping):
            self.report(path, show(value), "an object with fields")
            return Field(_EMPTY, path, self.report)
        return Field(value, path, self.report)

    def has(self, key: str) -> bool:
        """Whether a field is there and not null."""
        return self.body.get(key) is not None

    def items(self, key: str) -> list[Field]:
        """Mappings of a list."""
        return [
            self.at(entry, (*self.path, key, index)) for index, entry in enumerate(self.list(key))
        ]

    def list(self, key: str) -> list[Any]:
        """A list; empty when absent or wrong."""
        value = self.body.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.report((*self.path, key), show(value), "a list")
            return []
        return value

    def text(self, key: str, default: str = "") -> str:
        """Text."""
        value = self.body.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.report((*self.path, key), show(value), "text: put it in quotes")
            return default
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.list(key)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.report((*self.path, key, index), show(value), "text: put it in quotes")
        return tuple(value for value in values if isinstance(value, str))

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        """An integer within bounds."""
        value = self.body.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.report((*self.path, key), show(value), f"an integer from {least} to {most}")
            return default
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self.body.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.report((*self.path, key), show(value), "true or false")
            return default
        return value

    def choice(self, key: str, default: str, among: tuple[str, ...]) -> str:
        """One of some words."""
        value = self.text(key, default)
        if value not in among:
            self.report((*self.path, key), show(value), f"one of {', '.join(among)}")
            return default
        return value

    def labels(self, key: str) -> dict[str, str]:
        """Labels: text to text."""
        made = {}
        for name, value in self.child(key).body.items():
            if isinstance(value, str):
                made[name] = value
            else:
                self.report((*self.path, key, name), show(value), "text: put it in quotes")
        return made
