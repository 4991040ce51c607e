"""Fields of a manifest of Kueue, one by one; what is wrong is noted with its line, never raised."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from kfarm_api.base import DNS_SUBDOMAIN_PATTERN
from kfarm_api.parse import path_text, show

from kfarm_twin.kube.quantity import NANO, parse_nano
from kfarm_twin.load import Problem
from kfarm_twin.manifest_text import TextDocument
from kfarm_twin.quota_tree import CPU, MEMORY, MILLI, PODS

T = TypeVar("T")
Place = tuple[str | int, ...]
SMALLEST_WEIGHT = 1e-9
"""Kueue 0.19.2 takes a weight of 0 or of more than this."""
_RESOURCE = re.compile(
    r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
)


@dataclass(frozen=True)
class Field:
    """A value in a document, with the place where it stands."""

    file: Path
    text: TextDocument
    path: Place
    value: Any
    problems: list[Problem]

    def wrong(self, expected: str, found: str | None = None) -> None:
        """Note that something else should stand here."""
        self.problems.append(
            Problem(
                self.file,
                self.text.index,
                path_text(self.path),
                show(self.value) if found is None else found,
                expected,
                self.text.line_of(self.path),
            )
        )

    def get(self, key: str) -> Field:
        """A field of this object; its value is None where it is absent."""
        value = self.value.get(key) if isinstance(self.value, Mapping) else None
        return replace(self, path=(*self.path, key), value=value)

    @property
    def given(self) -> bool:
        """Whether anything stands here."""
        return self.value is not None

    def object(self, known: Iterable[str] | None = None) -> Field:
        """An object, an empty one where it is absent; unknown fields are noted."""
        if self.value is None:
            return replace(self, value={})
        if not isinstance(self.value, Mapping):
            self.wrong("an object")
            return replace(self, value={})
        if known is not None:
            names = tuple(known)
            for key in self.value:
                if key not in names:
                    self.get(key).wrong(f"one of the fields {', '.join(names)}", f"field {key!r}")
        return self

    def entries(self) -> Iterator[Field]:
        """Entries of a list; none where it is absent."""
        if self.value is None:
            return
        if not isinstance(self.value, list):
            self.wrong("a list")
            return
        for index, value in enumerate(self.value):
            yield replace(self, path=(*self.path, index), value=value)

    def name(self, *, optional: bool = False) -> str | None:
        """A name as Kubernetes takes them; None where it is absent or is none."""
        if optional and self.value in (None, ""):
            return None
        good = isinstance(self.value, str) and len(self.value) <= 253
        if not (good and re.fullmatch(DNS_SUBDOMAIN_PATTERN, self.value)):
            self.wrong(
                "a name of lower-case letters, digits, '-' and '.'",
                None if self.given else "nothing",
            )
            return None
        return str(self.value)

    def resource(self) -> str | None:
        """Name of a resource."""
        if isinstance(self.value, str) and _RESOURCE.fullmatch(self.value):
            return self.value
        self.wrong("a resource such as cpu or nvidia.com/gpu", None if self.given else "nothing")
        return None

    def choice(self, choices: Mapping[str, T], default: T) -> T:
        """One of some words."""
        if self.value is None:
            return default
        if isinstance(self.value, str) and self.value in choices:
            return choices[self.value]
        self.wrong(f"one of {', '.join(choices)}")
        return default

    def whole(self) -> int | None:
        """A number of 32 bits."""
        if self.value is None:
            return None
        good = isinstance(self.value, int) and not isinstance(self.value, bool)
        if good and -(2**31) <= self.value < 2**31:
            return int(self.value)
        self.wrong("a whole number of 32 bits")
        return None

    def nano(self) -> int | None:
        """A quantity in billionths; None where it is absent or is none."""
        if self.value is None:
            return None
        try:
            return parse_nano(self.value)
        except ValueError as error:
            self.wrong(str(error))
            return None

    def amount(self, resource: str) -> int | None:
        """A quantity in the unit of quota of a resource.

        As Kueue counts: CPU in thousandths, all else in whole units, both rounded up; the twin
        keeps devices in thousandths, since traces share them.
        """
        nano = self.nano()
        if nano is None:
            return None
        if resource == CPU:
            return -(-nano * MILLI // NANO)
        whole = -(-nano // NANO)
        return whole if resource in (MEMORY, PODS) else whole * MILLI

    def weight(self) -> float:
        """A weight of fair sharing; 1 where it is absent."""
        nano = self.nano()
        if nano is None:
            return 1.0
        if nano == 1:
            self.wrong(f"0, or more than {SMALLEST_WEIGHT:g}")
        return nano / NANO


def without(field: Field, unplayed: Mapping[str, str], notes: dict[str, None]) -> None:
    """Note the fields that are given and that the twin does not play; each is said once."""
    for key, meaning in unplayed.items():
        if field.get(key).value not in (None, {}, []):
            notes[f"{key}: {meaning}"] = None
