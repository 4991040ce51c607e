"""The flow of power from nodes to the site: what each level draws for what it delivers.

Nodes say at once what they draw; racks, PDUs, feeds and the site follow before the state lasts.
PDUs of a group share its load evenly, and so do the feeds of a cluster.
"""

from __future__ import annotations

from kfarm_twin._jit import inner, spliced
from kfarm_twin.arrays import DIRTY_RACKS, NOW, TOTAL_MW, Farm, State
from kfarm_twin.kernels.converters import drawn_mw
from kfarm_twin.kernels.grid_columns import (
    ASKED,
    BRANCH_LOAD,
    DRAWN,
    FARM,
    FEED_STAGES,
    FEEDS,
    FIRST_BRANCH,
    MOST_FEEDS,
    NODE_STAGES,
    OTHER_MW,
    PDU,
    PDU_STAGES,
    RACK_CLUSTER,
    RACK_STAGES,
    SITE_STAGES,
    Grid,
    GridState,
)
from kfarm_twin.kernels.peaks import show, tick
from kfarm_twin.policy.gangs import NONE


@inner
def node_draw(grid: Grid, cluster: int, load_mw: int) -> int:
    """What a node draws from its rack for what its parts take [mW]."""
    row = grid.cluster[cluster]
    return drawn_mw(grid.stages, row[NODE_STAGES], row[NODE_STAGES + 1], 1, load_mw)


@inner
def _book(grid: Grid, now: GridState, case: int, branch: int, cluster: int, drawn: int) -> None:
    """What a branch draws, from its PDU or, where there is none, from the feeds."""
    change = drawn - now.branch_mw[case, branch, DRAWN]
    now.branch_mw[case, branch, DRAWN] = drawn
    pdu = grid.branch[branch, PDU]
    if pdu == NONE:
        now.cluster_mw[case, cluster] += change
        return
    now.pdu_mw[case, pdu, ASKED] += change
    if now.pdu_dirty[0, pdu] == 0:
        now.pdu_dirty[0, pdu] = 1
        last = now.pdu_dirty.shape[1] - 1
        now.pdu_dirty[1, now.pdu_dirty[1, last]] = pdu
        now.pdu_dirty[1, last] += 1


@inner
def _settle_rack(grid: Grid, now: GridState, case: int, rack: int) -> int:
    """What a rack draws, from each PDU in proportion to what hangs on it; returns the change."""
    cluster, total = grid.rack[rack, RACK_CLUSTER], 0
    first, end = grid.rack[rack, FIRST_BRANCH], grid.rack[rack + 1, FIRST_BRANCH]
    for branch in range(first, end):
        total += now.branch_mw[case, branch, ASKED] + grid.branch[branch, BRANCH_LOAD]
    row = grid.cluster[cluster]
    drawn = drawn_mw(grid.stages, row[RACK_STAGES], row[RACK_STAGES + 1], 1, total)
    change = drawn - now.rack_mw[case, rack]
    now.rack_mw[case, rack] = drawn
    now.cluster_mw[case, now.cluster_mw.shape[1] - 1] += change
    given = 0
    for branch in range(first, end):
        asked = now.branch_mw[case, branch, ASKED] + grid.branch[branch, BRANCH_LOAD]
        part = drawn - given
        if branch + 1 < end:
            part = int(float(drawn) * (float(asked) / float(max(total, 1))))
        given += part
        _book(grid, now, case, branch, cluster, part)
    return int(change)


@inner
def _settle_pdus(grid: Grid, now: GridState, at: int) -> None:
    cases, last = now.node_mw.shape[0], now.pdu_dirty.shape[1] - 1
    for index in range(now.pdu_dirty[1, last]):
        pdu = now.pdu_dirty[1, index]
        now.pdu_dirty[0, pdu] = 0
        cluster = grid.pdu_cluster[pdu]
        row = grid.cluster[cluster]
        feeds = row[FEEDS]
        for case in range(cases):
            asked = now.pdu_mw[case, pdu, ASKED]
            drawn = drawn_mw(grid.stages, row[PDU_STAGES], row[PDU_STAGES + 1], feeds, asked)
            now.cluster_mw[case, cluster] += drawn - now.pdu_mw[case, pdu, DRAWN]
            now.pdu_mw[case, pdu, DRAWN] = drawn
        second = now.pdu_mw[min(1, cases - 1), pdu, ASKED] // feeds
        if cases == 1:
            show(now, pdu, second, second, second, at)
        else:
            minute, quarter = now.pdu_mw[2, pdu, ASKED], now.pdu_mw[3, pdu, ASKED]
            show(now, pdu, second, minute // feeds, quarter // feeds, at)
    now.pdu_dirty[1, last] = 0


@inner
def site_draw(grid: Grid, now: GridState, case: int, site: int) -> int:
    """What a farm draws from the grid, without its cooling [mW]."""
    row, total = grid.site[site], 0
    for feed in range(MOST_FEEDS):
        carried, there = 0, False
        for cluster in range(grid.cluster.shape[0]):
            feeds = grid.cluster[cluster, FEEDS]
            if grid.cluster[cluster, FARM] == site and feed < feeds:
                there = True
                carried += now.cluster_mw[case, cluster] // feeds
        if there:
            total += drawn_mw(grid.stages, row[FEED_STAGES], row[FEED_STAGES + 1], 1, carried)
    total += row[OTHER_MW]
    return drawn_mw(grid.stages, row[SITE_STAGES], row[SITE_STAGES + 1], 1, total)


@inner
def _settle_sites(grid: Grid, now: GridState, at: int) -> None:
    pdus, clusters, sites = grid.pdu_cluster.shape[0], grid.cluster.shape[0], grid.site.shape[0]
    cases = now.node_mw.shape[0]
    one, two, three = min(1, cases - 1), min(2, cases - 1), min(3, cases - 1)
    for cluster in range(clusters):
        feeds, power = grid.cluster[cluster, FEEDS], now.cluster_mw[:, cluster]
        second, minute, quarter = power[one], power[two], power[three]
        show(now, pdus + cluster, second // feeds, minute // feeds, quarter // feeds, at)
    for site in range(sites):
        second = site_draw(grid, now, one, site)
        minute, quarter = second, second
        if cases > 1:
            minute, quarter = site_draw(grid, now, 2, site), site_draw(grid, now, 3, site)
        show(now, pdus + clusters + site, second, minute, quarter, at)
    total = now.cluster_mw[:, clusters]
    show(now, pdus + clusters + sites, total[one], total[two], total[three], at)


@spliced
def flow(farm: Farm, state: State) -> None:
    """Bring racks whose nodes changed, and all behind them, up to date."""
    grid, now, at = farm.grid, state.grid, state.tally.counts[NOW]
    tick(now, at)
    for index in range(state.tally.counts[DIRTY_RACKS]):
        rack = state.nodes.rack_dirty[1, index]
        change = _settle_rack(grid, now, 0, rack)
        cluster = grid.rack[rack, RACK_CLUSTER]
        state.nodes.plant_mw[grid.cluster[cluster, FARM]] += change
        state.nodes.cluster_mw[cluster] += change
        for case in range(1, now.node_mw.shape[0]):
            _settle_rack(grid, now, case, rack)
    _settle_pdus(grid, now, at)
    _settle_sites(grid, now, at)
    state.tally.counts[TOTAL_MW] = now.cluster_mw[0, grid.cluster.shape[0]]


@spliced
def clear_grid(farm: Farm, state: State) -> None:
    """Nothing draws anything; all racks are to be looked at."""
    now, racks = state.grid, state.nodes.rack_mw.shape[0]
    for table in (now.swing_mw, now.node_mw, now.rack_mw, now.cluster_mw, now.pdu_dirty, now.meter):
        table[:, :] = 0
    now.branch_mw[:, :, :] = 0
    now.pdu_mw[:, :, :] = 0
    now.energy[:, :] = 0.0
    for rack in range(racks):
        state.nodes.rack_dirty[0, rack] = 1
        state.nodes.rack_dirty[1, rack] = rack
    state.tally.counts[DIRTY_RACKS] = racks
