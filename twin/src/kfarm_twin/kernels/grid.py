"""The flow of power from nodes to the site: what each level draws for what it delivers.

Nodes say at once what they draw; racks, PDUs, feeds and the site follow before the state lasts.
PDUs of a group share its load evenly, and so do the feeds of a cluster.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.arrays import DIRTY_RACKS, NOW, TOTAL_MW, Farm, State
from kfarm_twin.kernels.converters import drawn_mw
from kfarm_twin.kernels.grid_columns import (
    FEED_STAGES,
    MOST_FEEDS,
    NODE_STAGES,
    PDU_STAGES,
    RACK_STAGES,
    SITE_STAGES,
    WINDOWS,
)
from kfarm_twin.kernels.peaks import show
from kfarm_twin.policy.gangs import NONE


@inner
def node_draw(farm: Farm, cluster: int, load_mw: int) -> int:
    """What a node draws from its rack for what its parts take [mW]."""
    grid = farm.grid
    first, count = grid.chain[cluster, NODE_STAGES, 0], grid.chain[cluster, NODE_STAGES, 1]
    return drawn_mw(grid.stages, first, count, 1, load_mw)


@spliced
def _settle_rack(farm: Farm, state: State, case: int, rack: int) -> None:
    """What a rack draws, and from which PDUs: in proportion to what hangs on each."""
    grid, now = farm.grid, state.grid
    cluster, first, end = (
        grid.rack_cluster[rack],
        grid.first_branch[rack],
        grid.first_branch[rack + 1],
    )
    total = 0
    for branch in range(first, end):
        total += now.branch_mw[case, branch] + grid.branch[branch, 1]
    chain = grid.chain[cluster, RACK_STAGES]
    drawn = drawn_mw(grid.stages, chain[0], chain[1], 1, total)
    change = drawn - now.rack_mw[case, rack]
    now.rack_mw[case, rack] = drawn
    now.total_mw[case] += change
    if case == 0:
        state.nodes.plant_mw[grid.cluster[cluster, 0]] += change
        state.nodes.cluster_mw[cluster] += change
    loss, through, given = drawn - total, 0, 0
    for branch in range(first, end):
        part = now.branch_mw[case, branch] + grid.branch[branch, 1]
        through += part
        lost = loss
        if branch + 1 < end:
            lost = int(float(loss) * (float(through) / float(max(total, 1))))
        part += lost - given
        given = lost
        change = part - now.drawn_mw[case, branch]
        now.drawn_mw[case, branch] = part
        pdu = grid.branch[branch, 0]
        if pdu == NONE:
            now.cluster_mw[case, cluster] += change
            continue
        now.pdu_mw[case, pdu] += change
        if now.pdu_dirty[0, pdu] == 0:
            now.pdu_dirty[0, pdu] = 1
            last = now.pdu_dirty.shape[1] - 1
            now.pdu_dirty[1, now.pdu_dirty[1, last]] = pdu
            now.pdu_dirty[1, last] += 1


@spliced
def _settle_pdus(farm: Farm, state: State, cases: int) -> None:
    grid, now, at = farm.grid, state.grid, state.tally.counts[NOW]
    last = now.pdu_dirty.shape[1] - 1
    for index in range(now.pdu_dirty[1, last]):
        pdu = now.pdu_dirty[1, index]
        now.pdu_dirty[0, pdu] = 0
        cluster = grid.pdu_cluster[pdu]
        chain, feeds = grid.chain[cluster, PDU_STAGES], grid.cluster[cluster, 1]
        for case in range(cases):
            drawn = drawn_mw(grid.stages, chain[0], chain[1], feeds, now.pdu_mw[case, pdu])
            now.cluster_mw[case, cluster] += drawn - now.pdu_in_mw[case, pdu]
            now.pdu_in_mw[case, pdu] = drawn
        for window in range(WINDOWS):
            case = min(window + 1, cases - 1)
            show(now, pdu, window, now.pdu_mw[case, pdu] // feeds, at)
    now.pdu_dirty[1, last] = 0


@inner
def site_draw(farm: Farm, state: State, case: int, site: int) -> int:
    """What a farm draws from the grid, without its cooling [mW]."""
    grid, total = farm.grid, 0
    chain = grid.site_chain[site, FEED_STAGES]
    for feed in range(MOST_FEEDS):
        carried, there = 0, False
        for cluster in range(grid.cluster.shape[0]):
            feeds = grid.cluster[cluster, 1]
            if grid.cluster[cluster, 0] == site and feed < feeds:
                there = True
                carried += state.grid.cluster_mw[case, cluster] // feeds
        if there:
            total += drawn_mw(grid.stages, chain[0], chain[1], 1, carried)
    chain = grid.site_chain[site, SITE_STAGES]
    return drawn_mw(grid.stages, chain[0], chain[1], 1, total + grid.other_mw[site])


@spliced
def _settle_sites(farm: Farm, state: State, cases: int) -> None:
    grid, now, at = farm.grid, state.grid, state.tally.counts[NOW]
    feeds = grid.pdu_cluster.shape[0]
    sites = feeds + grid.cluster.shape[0]
    every = sites + grid.other_mw.shape[0]
    for window in range(WINDOWS):
        case = min(window + 1, cases - 1)
        for cluster in range(grid.cluster.shape[0]):
            each = now.cluster_mw[case, cluster] // grid.cluster[cluster, 1]
            show(now, feeds + cluster, window, each, at)
        show(now, every, window, now.total_mw[case], at)
    for case in range(cases):
        for site in range(grid.other_mw.shape[0]):
            drawn = site_draw(farm, state, case, site)
            if cases == 1:
                for window in range(WINDOWS):
                    show(now, sites + site, window, drawn, at)
            elif case > 0:
                show(now, sites + site, case - 1, drawn, at)


@spliced
def flow(farm: Farm, state: State) -> None:
    """Bring racks whose nodes changed, and all behind them, up to date."""
    cases = state.grid.node_mw.shape[0]
    for at in range(state.tally.counts[DIRTY_RACKS]):
        for case in range(cases):
            _settle_rack(farm, state, case, state.nodes.rack_dirty[1, at])
    _settle_pdus(farm, state, cases)
    _settle_sites(farm, state, cases)
    state.tally.counts[TOTAL_MW] = state.grid.total_mw[0]


@spliced
def clear_grid(farm: Farm, state: State) -> None:
    """Nothing draws anything; all racks are to be looked at."""
    now, racks = state.grid, state.nodes.rack_mw.shape[0]
    for table in (now.node_mw, now.swing_mw, now.branch_mw, now.drawn_mw, now.rack_mw, now.pdu_mw):
        table[:, :] = 0
    for table in (now.pdu_in_mw, now.cluster_mw, now.pdu_dirty, now.value_mw, now.block):
        table[:, :] = 0
    now.total_mw[:] = 0
    now.since_ns[:] = 0
    now.energy[:, :] = 0.0
    now.peak_mw[:, :] = 0.0
    for rack in range(racks):
        state.nodes.rack_dirty[0, rack] = 1
        state.nodes.rack_dirty[1, rack] = rack
    state.tally.counts[DIRTY_RACKS] = racks
