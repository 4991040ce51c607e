"""Kueue's topologyAssignment, as v1beta2 writes it, taken apart. Pure functions.

An assignment is a list of slices of domains. A slice gives one value per level: the same for all
of its domains (`universal`), or one for each as prefix + root + suffix (`individual`); pod counts
likewise. The last level is the lowest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON = Mapping[str, Any]
MAX_DOMAINS = 131_072
"""More nodes than any farm; beyond it the assignment is refused before it takes memory."""


@dataclass(frozen=True)
class Topology:
    """Pods by domain.

    Attributes
    ----------
    levels
        Node labels, the highest first.
    domains
        Values of the levels, and how many pods go there.
    """

    levels: tuple[str, ...]
    domains: tuple[tuple[tuple[str, ...], int], ...]


def decode(assignment: JSON) -> Topology:
    """Take an assignment apart.

    Raises
    ------
    ValueError
        When it does not fit its own schema, or names more domains than any farm has nodes.
    """
    levels = tuple(_text(level, "levels") for level in assignment.get("levels") or ())
    if not levels:
        raise ValueError("topologyAssignment.levels is empty")
    domains: list[tuple[tuple[str, ...], int]] = []
    for index, part in enumerate(assignment.get("slices") or ()):
        where = f"topologyAssignment.slices[{index}]"
        size = _count(part.get("domainCount"), f"{where}.domainCount")
        if len(domains) + size > MAX_DOMAINS:
            raise ValueError(f"{where}: more than {MAX_DOMAINS} domains")
        columns = part.get("valuesPerLevel") or ()
        if len(columns) != len(levels):
            raise ValueError(f"{where}.valuesPerLevel has {len(columns)} of {len(levels)} levels")
        values = [_values(c, size, f"{where}.valuesPerLevel[{i}]") for i, c in enumerate(columns)]
        counts = _counts(part.get("podCounts") or {}, size, f"{where}.podCounts")
        domains += zip(zip(*values, strict=True), counts, strict=True)
    return Topology(levels, tuple(domains))


def _values(column: JSON, size: int, where: str) -> list[str]:
    if (same := column.get("universal")) is not None:
        return [_text(same, where)] * size
    each = column.get("individual") or {}
    roots = each.get("roots") or ()
    if len(roots) != size:
        raise ValueError(f"{where} has {len(roots)} roots for {size} domains")
    prefix, suffix = each.get("prefix") or "", each.get("suffix") or ""
    return [f"{prefix}{_text(root, where)}{suffix}" for root in roots]


def _counts(counts: JSON, size: int, where: str) -> list[int]:
    if (same := counts.get("universal")) is not None:
        return [_count(same, where)] * size
    each = counts.get("individual") or ()
    if len(each) != size:
        raise ValueError(f"{where} has {len(each)} counts for {size} domains")
    return [_count(count, where) for count in each]


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} has {value!r} where text belongs")
    return value


def _count(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{where} has {value!r} where a number from 1 on belongs")
    return value
