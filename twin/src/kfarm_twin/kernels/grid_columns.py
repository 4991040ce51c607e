"""Columns of the way of power: node -> rack -> PDU -> feed -> site, and what is metered there.

Letters as in `arrays`; B branches (the nodes of one rack that hang on one PDU group), P PDU groups
(one PDU of each of a cluster's feeds), X capped racks, M meters: those of PDUs, of clusters' feeds,
of sites, and one of all. K cases: the mean, and where jobs have phases the highest window of each
length of `WINDOW_NS`. Few tables with many columns: each table of a farm or state makes all kernels
of the event loop slower to compile.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels.converters import Converters

WINDOWS = 3
SECOND_NS = 10**9
WINDOW_NS = (SECOND_NS, 60 * SECOND_NS, 900 * SECOND_NS)
"""Lengths of the windows of which the highest mean is kept [ns]: 1 s, 1 min, 15 min."""
ONE_SECOND, ONE_MINUTE, QUARTER = 0, 1, 2
"""Places of the windows."""
MOST_FEEDS = 4

FARM, FEEDS, NODE_STAGES, RACK_STAGES, PDU_STAGES = 0, 1, 2, 4, 6
"""Columns of `Grid.cluster`; stages: the first and how many."""
FEED_STAGES, SITE_STAGES, OTHER_MW = 0, 2, 4
"""Columns of `Grid.site`."""
BRANCH, CAPPED = 0, 1
"""Columns of `Grid.node`: a capped rack as row of `LoopState`, -1 where it is not."""
FIRST_BRANCH, RACK_CLUSTER = 0, 1
"""Columns of `Grid.rack`."""
PDU, BRANCH_LOAD = 0, 1
"""Columns of `Grid.branch`: PDU group or -1, its part of what the rack draws beside its nodes."""
LIMIT_MW, FIRST_MEMBER = 0, 1
"""Columns of `Grid.group`: limit on what its nodes draw, 0 where none; their place in `member`."""
ASKED, DRAWN = 0, 1
"""Columns of `GridState.branch_mw` (of nodes; of the rack for them) and `GridState.pdu_mw`."""
SINCE, VALUE, BLOCK, METER = 0, 1, 4, 7
"""Columns of `GridState.meter`: since when it shows its values [ns]; those for each window [mW];
number of the window that is open."""
OPEN, HIGHEST, ENERGIES = 0, 3, 6
"""Columns of `GridState.energy` [mW ns]: of the open windows, highest of those that are closed."""


class Grid(NamedTuple):
    """What does not change; powers in mW."""

    stages: Converters
    cluster: Ints  # [C, 8]
    site: Ints  # [F, 5]
    node: Ints  # [N, 2]
    rack: Ints  # [R + 1, 2]
    branch: Ints  # [B, 2]
    pdu_cluster: Ints  # [P]
    group: Ints  # [U + X + 1, 2] loops and capped racks
    member: Ints  # nodes of the groups
    swing_mw: Ints  # [K - 1, W, C] what a pod draws above its mean in its highest window
    limit_mw: Ints  # [M] of meters; 0 where none


class GridState(NamedTuple):
    """Power as of now [mW], by case, and meters."""

    swing_mw: Ints  # [K - 1, N] of the pods that work, above their mean
    node_mw: Ints  # [K, N] drawn
    branch_mw: Ints  # [K, B, 2]
    rack_mw: Ints  # [K, R] drawn
    pdu_mw: Ints  # [K, P, 2] delivered and drawn by all PDUs of a group
    cluster_mw: Ints  # [K, C + 1] drawn from all feeds; last: drawn by all racks
    pdu_dirty: Ints  # [2, P + 1] whether power changed; the PDUs where it did; last: how many
    block: Ints  # [WINDOWS] numbers of the windows that are open now
    meter: Ints  # [M, METER]
    energy: Floats  # [M, ENERGIES]
