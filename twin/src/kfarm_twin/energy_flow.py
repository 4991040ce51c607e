"""From the bands of a year to the tree that the power diagram draws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kfarm_twin.pictures.sankey import Kind, PowerBranch

if TYPE_CHECKING:
    from kfarm_twin.energy_result import EnergyYear, Link

_PARENT = {"UPS": "Grid", "PDUs": "UPS", "Racks": "PDUs", "Nodes": "Racks"}
"""Stations that power passes, and where it comes from: a part of a node may bear such a name."""
_COOLING = {"Chillers", "Heat rejection", "Pumps", "Air handlers", "CDUs", "Fans"}
_SITE = {"Transformer loss", "UPS loss", "PDU loss", "Rectifier loss", "Power supply loss"}
_ROOT = "Grid"
_OTHER = {"Other load"}
_SUM = "Cooling"


def kind_of(name: str) -> Kind:
    """What a use is, by its name; parts of a node have names of their own."""
    if name in _SITE:
        return "loss"
    if name in _COOLING:
        return "cooling"
    if name in _OTHER:
        return "other"
    return "device" if name.startswith("Accelerators ") else "node"


def power_flow(year: EnergyYear) -> PowerBranch:
    """Mean power of a year from the grid to its uses [W]."""
    return flow_of(year.links)


def flow_of(links: Iterable[Link]) -> PowerBranch:
    """A tree from bands; each station is entered from one place only.

    Stations where nothing branches off are left out, as is the sum of what the plant draws: its
    parts leave the grid.
    """
    after: dict[str, list[tuple[str, float]]] = {}
    for link in links:
        after.setdefault(link.source, []).append((link.target, link.watts))
    return _branch(_ROOT, after)


def _branch(name: str, after: dict[str, list[tuple[str, float]]]) -> PowerBranch:
    stations, ends = [], []
    for target, watts in _targets(name, after):
        if _PARENT.get(target) == name and target in after:
            stations.append(_branch(target, after))
        else:
            ends.append(PowerBranch(target, kind_of(target), watts))
    stations.sort(key=lambda branch: -sum(end.power_w for end in branch.ends()))
    ends.sort(key=lambda end: (end.kind != "device", end.kind == "loss", -end.power_w))
    if len(stations) == 1 and not ends and name != _ROOT:
        return stations[0]
    return PowerBranch(name, parts=(*stations, *ends))


def _targets(name: str, after: dict[str, list[tuple[str, float]]]) -> list[tuple[str, float]]:
    found = after.get(name, [])
    if name != _ROOT:
        return found
    direct = [entry for entry in found if entry[0] != _SUM]
    return [*direct, *after.get(_SUM, [])]
