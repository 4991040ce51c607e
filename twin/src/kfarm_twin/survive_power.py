"""Loss of a PDU or a feed: what is left carries all, or it is too much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.columns_grid import cluster_chains
from kfarm_twin.compile import ClusterRef, Model
from kfarm_twin.electric import MW_PER_W, NODE, Chain, upstream
from kfarm_twin.explain import with_unit
from kfarm_twin.kernels.grid_columns import FEEDS
from kfarm_twin.steady import Steady
from kfarm_twin.steady_grid import feed_loads, node_draws, pdu_loads


@dataclass(frozen=True)
class PowerLoss:
    """One PDU or feed that is lost.

    Attributes
    ----------
    nodes
        That hang on it.
    dark
        Of those, the nodes that lose power.
    why
        In words; empty where nothing is left to carry them.
    """

    label: str
    nodes: Ints
    dark: Ints
    why: str = ""


@dataclass(frozen=True)
class _Left:
    """The farm with one feed of each cluster lost; powers in mW.

    Attributes
    ----------
    supplies
        [N] load of the power supplies that are left over what they are rated for.
    pdus
        [P] that each PDU left of a group delivers.
    feeds
        [C] that each feed left of a cluster carries.
    """

    supplies: Floats
    pdus: Ints
    feeds: Ints

    @classmethod
    def of(cls, model: Model, state: Steady, up: Ints) -> _Left:
        feeds, home = model.columns.grid.cluster[:, FEEDS], model.columns.nodes.cluster
        share = np.where(feeds > 1, (feeds - 1) / feeds, 1.0)[home]
        load = np.where(up == 1, state.load_mw + state.swing_mw, 0)
        pdu_mw = pdu_loads(model, node_draws(model, load, up, share))
        left = np.maximum(feeds - 1, 1)
        supplies = np.zeros(model.nodes)
        for index, ref in enumerate(model.clusters):
            mine = home == index
            supplies[mine] = _strain(cluster_chains(ref).node, load[mine] / share[mine])
        return cls(
            supplies,
            pdu_mw // left[model.columns.grid.pdu_cluster],
            feed_loads(model, pdu_mw, 1) // left,
        )


def _strain(chain: Chain, load_mw: Floats) -> Floats:
    """Highest share of what any stage of a chain is rated for [N]; 0 where none is rated."""
    found = np.zeros(len(load_mw))
    for index, stage in enumerate(chain):
        if stage.rated > 0.0:
            out = upstream(chain[:index], load_mw / MW_PER_W) * MW_PER_W
            found = np.maximum(found, out / stage.rated)
    return found


def _watts(power_mw: float) -> str:
    return with_unit(power_mw / MW_PER_W, "W")


class _Losses:
    def __init__(self, model: Model, state: Steady, up: Ints) -> None:
        self.model, self.left = model, _Left.of(model, state, up)
        self.limits = model.columns.grid.limit_mw

    def supplies(self, nodes: Ints) -> tuple[Ints, str]:
        """Nodes whose power supplies that are left are too few."""
        over = nodes[self.left.supplies[nodes] > 1.0]
        if not len(over):
            return over, ""
        worst = float(self.left.supplies[over].max())
        return over, (
            f"the power supplies that are left are loaded to {100 * worst:.0f} % of their rating"
        )

    def group(self, pdu: int, nodes: Ints) -> tuple[Ints, str]:
        """Nodes of a PDU group that go dark without one of its PDUs."""
        limit, carried = int(self.limits[pdu]), int(self.left.pdus[pdu])
        if 0 < limit < carried:
            label = self.model.names.pdus[pdu]
            return nodes, (
                f"each PDU of {label} that is left would carry {_watts(carried)} of at most "
                f"{_watts(limit)}"
            )
        return self.supplies(nodes)

    def feed(self, cluster: int, ref: ClusterRef, nodes: Ints) -> tuple[Ints, str]:
        """Nodes of a cluster that go dark without one of its feeds."""
        limit = int(self.limits[len(self.left.pdus) + cluster])
        carried = int(self.left.feeds[cluster])
        if 0 < limit < carried:
            return nodes, (
                f"each feed of {ref.label} that is left would carry {_watts(carried)} of at most "
                f"{_watts(limit)}"
            )
        found = [
            self.group(int(pdu), nodes[self.model.trees.node_pdu[nodes] == pdu])
            for pdu in np.unique(self.model.trees.node_pdu[nodes])
        ]
        dark = np.concatenate([part for part, _ in found])
        return dark, next((why for _, why in found if why), "")


def pdu_losses(model: Model, state: Steady, up: Ints) -> Iterator[PowerLoss]:
    """One PDU of each group lost, with all workloads running as in `state`."""
    losses = _Losses(model, state, up)
    for pdu, label in enumerate(model.names.pdus):
        nodes = np.flatnonzero(model.trees.node_pdu == pdu)
        ref = model.clusters[int(model.columns.nodes.cluster[nodes[0]])]
        if ref.cluster.feed is None or ref.cluster.feed.feeds < 2:
            yield PowerLoss(label, nodes, nodes)
        else:
            yield PowerLoss(label, nodes, *losses.group(pdu, nodes))


def feed_losses(model: Model, state: Steady, up: Ints) -> Iterator[PowerLoss]:
    """One feed of each cluster that describes its feeds lost, with all workloads running."""
    losses = _Losses(model, state, up)
    for cluster, ref in enumerate(model.clusters):
        if ref.cluster.feed is None:
            continue
        nodes = np.flatnonzero(model.columns.nodes.cluster == cluster)
        label = f"a feed of {ref.label}"
        if ref.cluster.feed.feeds < 2:
            yield PowerLoss(label, nodes, nodes)
        else:
            yield PowerLoss(label, nodes, *losses.feed(cluster, ref, nodes))


def power_can_fail(model: Model) -> bool:
    """Whether what is left of PDUs, feeds or power supplies could be too little."""
    for ref in model.clusters:
        feed = ref.cluster.feed
        if feed is None or feed.feeds < 2:
            continue
        if feed.pdu_limit is not None or feed.feed_limit is not None:
            return True
        if any(stage.rated is not None for stage in feed.stages if stage.at == NODE):
            return True
    return False
