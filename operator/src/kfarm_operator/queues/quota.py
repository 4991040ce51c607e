"""How many devices of which cluster stand behind each share. Pure functions.

A share's guarantee is met by the clusters that name the share, in the farm's order, then by those
that name none; shares are served in the farm's order. Spares are held back (``kueue.spares``), so
that a node that fails can be replaced: they count for a guarantee, but are in no quota. What no
share claims is common to all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kfarm_api.farm import Cluster, Farm
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.queues import Share

Amounts = dict[str, int]
"""Devices by flavor."""


@dataclass(frozen=True)
class Flavor:
    """What one cluster has to give.

    Attributes
    ----------
    name
        Of the ResourceFlavor; also the value of the label ``kfarm.dev/cluster``.
    share
        Share that the cluster names, if any.
    resource
        How its devices are requested.
    devices, spares
        Devices that quota may give out, and those held back.
    cpu, memory
        Of all its nodes, as quantities.
    """

    name: str
    share: str | None
    resource: str
    devices: int
    spares: int
    cpu: str
    memory: str


@dataclass(frozen=True)
class Spread:
    """Devices of each share by flavor.

    Attributes
    ----------
    given
        By share; what it is guaranteed.
    rest
        What no share claims.
    spared
        By share: devices that are guaranteed and held back as spares.
    missing
        By share: devices that are guaranteed but not there.
    """

    given: Mapping[str, Amounts]
    rest: Amounts
    spared: Mapping[str, int]
    missing: Mapping[str, int]


def flavor_name(farm: Farm, cluster: Cluster) -> str:
    """Name of a cluster's ResourceFlavor."""
    return f"{farm.metadata.name}-{cluster.name}"


def flavors_of(farm: Farm, profiles: Mapping[str, AcceleratorProfile]) -> list[Flavor]:
    """Flavors of a farm's clusters, in the farm's order; every profile must be there."""
    keep = farm.spec.kueue is None or farm.spec.kueue.spares == "Keep"
    return [_flavor(farm, cluster, profiles[cluster.accelerator], keep) for cluster in _all(farm)]


def _all(farm: Farm) -> Sequence[Cluster]:
    return farm.spec.clusters


def _flavor(farm: Farm, cluster: Cluster, profile: AcceleratorProfile, keep: bool) -> Flavor:
    held = cluster.spares if keep else 0
    size, unit = int(cluster.node.memory[:-2]), cluster.node.memory[-2:]
    return Flavor(
        name=flavor_name(farm, cluster),
        share=cluster.share,
        resource=profile.spec.resource_names[0],
        devices=(cluster.nodes - held) * cluster.accelerators_per_node,
        spares=held * cluster.accelerators_per_node,
        cpu=str(cluster.nodes * cluster.node.cpu),
        memory=f"{cluster.nodes * size}{unit}",
    )


def spread(shares: Sequence[Share], flavors: Sequence[Flavor]) -> Spread:
    """Meet the guarantees of all shares, each from its own clusters first."""
    left = {flavor.name: flavor.devices for flavor in flavors}
    spares = {flavor.name: flavor.spares for flavor in flavors}
    owed = {share.name: share.guaranteed for share in shares}
    given = _meet(shares, flavors, owed, left)
    held = _meet(shares, flavors, owed, spares)
    return Spread(
        given=given,
        rest=_counted(left),
        spared=_counted({name: sum(amounts.values()) for name, amounts in held.items()}),
        missing=_counted(owed),
    )


def _meet(
    shares: Sequence[Share], flavors: Sequence[Flavor], owed: Amounts, left: Amounts
) -> dict[str, Amounts]:
    """Take what is owed from what is left; both are reduced."""
    given: dict[str, Amounts] = {share.name: {} for share in shares}
    for own in (True, False):
        for share in shares:
            source = [f.name for f in flavors if f.share == (share.name if own else None)]
            taken = take(owed[share.name], source, left)
            given[share.name] |= taken
            owed[share.name] -= sum(taken.values())
    return given


def _counted(amounts: Amounts) -> Amounts:
    return {name: count for name, count in amounts.items() if count}


def take(wanted: int, order: Sequence[str], left: Amounts) -> Amounts:
    """Take devices from `left`, flavor by flavor; `left` is reduced."""
    taken: Amounts = {}
    for name in order:
        count = min(wanted, left.get(name, 0))
        if count:
            taken[name] = count
            left[name] -= count
            wanted -= count
    return taken


def preference(share: Share, flavors: Sequence[Flavor]) -> list[Flavor]:
    """Flavors as a share's jobs try them: its own clusters, those of no share, those of others."""

    def rank(flavor: Flavor) -> int:
        return 0 if flavor.share == share.name else 1 if flavor.share is None else 2

    return sorted(flavors, key=rank)


def lent(share: Share, given: Amounts, order: Sequence[Flavor]) -> Amounts | None:
    """Devices that a share lends at most, by flavor; None without a limit.

    Kueue limits each flavor by itself, so the limit is spread from the flavor that the share's own
    jobs try last: what they try first stays theirs.
    """
    if share.lending_limit is None:
        return None
    back_to_front = [flavor.name for flavor in reversed(order)]
    taken = take(share.lending_limit, back_to_front, dict(given))
    return {flavor.name: taken.get(flavor.name, 0) for flavor in order}


def borrowed(share: Share, given: Amounts, order: Sequence[Flavor]) -> Amounts | None:
    """Devices that a share borrows at most, by flavor; None without a limit.

    Spread in the order in which its jobs try the flavors, each up to what others have there.
    """
    if share.borrowing_limit is None:
        return None
    others = {flavor.name: flavor.devices - given.get(flavor.name, 0) for flavor in order}
    taken = take(share.borrowing_limit, [flavor.name for flavor in order], others)
    return {flavor.name: taken.get(flavor.name, 0) for flavor in order}
