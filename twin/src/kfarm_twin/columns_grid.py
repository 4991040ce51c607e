"""Columns of the way of power: branches, PDUs, feeds and sites with their stages and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from kfarm_api.electric import PowerStage
from kfarm_api.farm import Cluster, Farm
from kfarm_api.plan import Workload

from kfarm_twin import arrays
from kfarm_twin.arrays import ACCELERATORS, Ints
from kfarm_twin.columns_cluster import milliwatts
from kfarm_twin.electric import (
    FEED,
    NODE,
    PDU,
    RACK,
    SITE,
    Chain,
    chain_at,
    converters,
    downstream,
)
from kfarm_twin.kernels.grid_columns import WINDOW_NS, Grid
from kfarm_twin.phases import highest_mean

if TYPE_CHECKING:
    from kfarm_twin.compile import ClusterRef, Trees

Losses = Mapping[str, float]
"""By name of a stage (`loss_key` without its kind) the factor on what it loses."""


class HasStages(Protocol):
    """A cluster of a farm, with all that stands before it on the way of power."""

    @property
    def farm(self) -> Farm:
        """That it belongs to."""

    @property
    def farm_index(self) -> int:
        """Number of the farm."""

    @property
    def cluster(self) -> Cluster:
        """As described."""

    @property
    def label(self) -> str:
        """For people."""


@dataclass(frozen=True)
class ClusterChains:
    """Stages of a cluster, from the node outwards."""

    node: Chain
    rack: Chain
    pdu: Chain


@dataclass(frozen=True)
class SiteChains:
    """Stages of a farm, from the feed outwards."""

    feed: Chain
    site: Chain


def stage_name(owner: str, stage: str) -> str:
    """What names a stage among those of all farms: `owner` is `farm/cluster` or the farm."""
    return f"{owner}/{stage}"


def _owned(owner: str, losses: Losses) -> dict[str, float]:
    start = f"{owner}/"
    return {key[len(start) :]: losses[key] for key in losses if key.startswith(start)}


def cluster_chains(ref: HasStages, losses: Losses | None = None) -> ClusterChains:
    """The stages of a cluster; `losses` as in `Losses`.

    Raises
    ------
    InputError
        When a stage would draw less for more.
    """
    feed = ref.cluster.feed
    stages = feed.stages if feed is not None else []
    farm = ref.farm
    index = [cluster.name for cluster in farm.spec.clusters].index(ref.cluster.name)
    where = f"{farm.kind}/{farm.metadata.name}: spec.clusters[{index}].feed.stages"
    mine = _owned(ref.label, losses or {})
    return ClusterChains(*(chain_at(stages, at, where, mine) for at in (NODE, RACK, PDU)))


def site_chains(farm: Farm, losses: Losses | None = None) -> SiteChains:
    """The stages between a farm's PDUs and the grid; see `cluster_chains`."""
    power = farm.spec.power
    stages = power.stages if power is not None else []
    where = f"{farm.kind}/{farm.metadata.name}: spec.power.stages"
    mine = _owned(farm.metadata.name, losses or {})
    return SiteChains(*(chain_at(stages, at, where, mine) for at in (FEED, SITE)))


def feeds_of(ref: HasStages) -> int:
    """Feeds that share a cluster's load."""
    return ref.cluster.feed.feeds if ref.cluster.feed is not None else 1


def _ints(values: object) -> Ints:
    column = np.ascontiguousarray(values, dtype=np.int64)
    column.setflags(write=False)
    return column


def _limit(text: str | None) -> int:
    return milliwatts(text) if text is not None else 0


@dataclass(frozen=True)
class _Branches:
    """Nodes of one rack that hang on one PDU group, ordered by rack."""

    node: Ints
    rack: Ints
    pdu: Ints
    size: Ints

    @classmethod
    def of(cls, trees: Trees) -> _Branches:
        pairs = np.stack([trees.node_rack, trees.node_pdu], axis=1)
        found, node, size = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
        return cls(node.reshape(-1), found[:, 0], found[:, 1], size)

    def parts(self, loads_mw: Ints) -> Ints:
        """Part of a load of each rack on each of its branches, by number of nodes."""
        through = np.cumsum(self.size)
        before = through - self.size
        first = np.searchsorted(self.rack, np.arange(len(loads_mw)))
        whole = np.bincount(self.rack, weights=self.size, minlength=len(loads_mw)).astype(np.int64)
        load, origin = loads_mw[self.rack], before[first][self.rack]
        up_to = load * (through - origin) // whole[self.rack]
        found: Ints = up_to - load * (before - origin) // whole[self.rack]
        return found


@dataclass(frozen=True)
class _Groups:
    """Groups of nodes with one limit: the loops, then the racks that are capped."""

    limit_mw: list[int]
    node_row: Ints
    first: Ints
    member: Ints

    @classmethod
    def of(
        cls, trees: Trees, refs: Sequence[ClusterRef], rack_cluster: Ints, loop_limit_mw: Ints,
        chains: Sequence[ClusterChains],
    ) -> _Groups:  # fmt: skip
        loops = len(loop_limit_mw)
        room = [_rack_room(ref, own) for ref, own in zip(refs, chains, strict=True)]
        rows = np.full(len(rack_cluster), -1, np.int64)
        capped = [rack for rack, home in enumerate(rack_cluster) if room[home] is not None]
        rows[capped] = loops + np.arange(len(capped))
        node_row = rows[trees.node_rack]
        group = np.concatenate([trees.node_loop, node_row[node_row >= 0]])
        members = np.concatenate([np.arange(len(node_row)), np.flatnonzero(node_row >= 0)])
        order = np.argsort(group, kind="stable")
        count = loops + len(capped)
        limits = [room[rack_cluster[rack]] or 1 for rack in capped]
        return cls(
            [*(int(limit) for limit in loop_limit_mw), *limits],
            node_row,
            np.searchsorted(group[order], np.arange(count + 1)),
            members[order],
        )


def _rack_room(ref: ClusterRef, chains: ClusterChains) -> int | None:
    """What the nodes of a capped rack may draw [mW]; None where racks are not capped."""
    rack = ref.cluster.rack
    if rack.capping == "None" or rack.power_limit is None:
        return None
    room = downstream(chains.rack, milliwatts(rack.power_limit) / 1000.0) * 1000.0
    return max(int(room) - milliwatts(rack.load), 1)


def swings(workloads: Sequence[Workload], needs: Ints, loads: arrays.Loads, idle_mw: Ints) -> Ints:
    """What pods draw above their mean in their highest windows [K - 1, W, C] [mW]."""
    if all(workload.phases is None for workload in workloads):
        return _ints(np.zeros((0, *loads.device_mw.shape)))
    dynamic = needs[:, ACCELERATORS, None] * (loads.device_mw - idle_mw)
    more = np.zeros((len(WINDOW_NS), len(needs)))
    for index, workload in enumerate(workloads):
        if workload.phases is not None:
            for place, window in enumerate(WINDOW_NS):
                more[place, index] = float(highest_mean(workload.phases, window) - 1)
    return _ints(np.rint(dynamic * more[:, :, None]))


def _meter_limits(
    farms: Sequence[Farm], refs: Sequence[ClusterRef], pdu_cluster: Ints
) -> list[int]:
    feeds = [ref.cluster.feed for ref in refs]
    pdus = [_limit(feed.pdu_limit) if feed is not None else 0 for feed in feeds]
    power = [farm.spec.power for farm in farms]
    return [
        *(pdus[cluster] for cluster in pdu_cluster),
        *(_limit(feed.feed_limit) if feed is not None else 0 for feed in feeds),
        *(_limit(site.capacity) if site is not None else 0 for site in power),
        0,
    ]


def farms_of(refs: Sequence[HasStages]) -> list[Farm]:
    """The farms that clusters belong to, by `farm_index`."""
    return list({ref.farm_index: ref.farm for ref in refs}.values())


def stages_of(refs: Sequence[HasStages]) -> dict[str, PowerStage]:
    """All stages by `stage_name`."""
    found: dict[str, PowerStage] = {}
    for farm in farms_of(refs):
        power = farm.spec.power
        for stage in power.stages if power is not None else []:
            found[stage_name(farm.metadata.name, stage.name)] = stage
    for ref in refs:
        feed = ref.cluster.feed
        for stage in feed.stages if feed is not None else []:
            found[stage_name(ref.label, stage.name)] = stage
    return found


def grid_columns(
    refs: Sequence[ClusterRef],
    trees: Trees,
    sites: arrays.Sites,
    swing_mw: Ints,
    losses: Losses | None = None,
) -> Grid:
    """The way of power as columns.

    Parameters
    ----------
    swing_mw
        As from `swings`.
    losses
        As in `Losses`; what is left out loses what is stated.

    Raises
    ------
    InputError
        When a stage would draw less for more.
    """
    farms, branches = farms_of(refs), _Branches.of(trees)
    racks = len(sites.rack_limit_mw)
    node_cluster = np.repeat(np.arange(len(refs)), [ref.cluster.nodes for ref in refs])
    rack_cluster, pdu_cluster = np.zeros(racks, np.int64), np.zeros(len(trees.pdu_feed), np.int64)
    rack_cluster[trees.node_rack] = node_cluster
    hung = trees.node_pdu >= 0
    pdu_cluster[trees.node_pdu[hung]] = node_cluster[hung]
    own = [cluster_chains(ref, losses) for ref in refs]
    ends = [site_chains(farm, losses) for farm in farms]
    stages, rows = converters(
        [chain for c in own for chain in (c.node, c.rack, c.pdu)]
        + [chain for s in ends for chain in (s.feed, s.site)]
    )
    groups = _Groups.of(trees, refs, rack_cluster, sites.loop_limit_mw, own)
    load = np.array([milliwatts(ref.cluster.rack.load) for ref in refs], np.int64)[rack_cluster]
    site_power = [farm.spec.power for farm in farms]
    other = [milliwatts(p.other_load) if p is not None else 0 for p in site_power]
    homes = [[ref.farm_index, feeds_of(ref)] for ref in refs]
    of_clusters, of_sites = rows[: 3 * len(refs)], rows[3 * len(refs) :]
    first_branch = np.searchsorted(branches.rack, np.arange(racks + 1))
    return Grid(
        stages=stages,
        cluster=_ints(np.hstack([homes, of_clusters.reshape(-1, 6)])),
        site=_ints(np.column_stack([of_sites.reshape(-1, 4), other])),
        node=_ints(np.column_stack([branches.node, groups.node_row])),
        rack=_ints(np.column_stack([first_branch, np.append(rack_cluster, 0)])),
        branch=_ints(np.column_stack([branches.pdu, branches.parts(load)])),
        pdu_cluster=_ints(pdu_cluster),
        group=_ints(np.column_stack([[*groups.limit_mw, 0], groups.first])),
        member=_ints(groups.member),
        swing_mw=swing_mw,
        limit_mw=_ints(_meter_limits(farms, refs, pdu_cluster)),
    )
