"""Columns of the way of power: node -> rack -> PDU -> feed -> site, and what is metered there.

Letters as in `arrays`; B branches (the nodes of one rack that hang on one PDU group), P PDU groups
(one PDU of each of a cluster's feeds), X capped racks, M meters: those of PDUs, of clusters' feeds,
of sites, and one of all. K cases: the mean, and where jobs have phases the highest window of each
length of `WINDOWS`.
"""

from __future__ import annotations

from typing import NamedTuple

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels.converters import Converters

NODE_STAGES, RACK_STAGES, PDU_STAGES = 0, 1, 2
"""Second place of `Grid.chain`."""
FEED_STAGES, SITE_STAGES = 0, 1
"""Second place of `Grid.site_chain`."""
WINDOWS = 3
SECOND_NS = 10**9
WINDOW_NS = (SECOND_NS, 60 * SECOND_NS, 900 * SECOND_NS)
"""Lengths of the windows of which the highest mean is kept [ns]: 1 s, 1 min, 15 min."""
ONE_SECOND, ONE_MINUTE, QUARTER = 0, 1, 2
"""Places of the windows."""
MOST_FEEDS = 4


class Grid(NamedTuple):
    """What does not change; powers in mW."""

    stages: Converters
    chain: Ints  # [C, 3, 2] first stage and number of stages of node, rack and PDU
    site_chain: Ints  # [F, 2, 2] the same of feed and site
    cluster: Ints  # [C, 2] farm, feeds that share the load
    node: Ints  # [N, 2] branch, capped rack as row of LoopState (-1 where not)
    first_branch: Ints  # [R + 1]
    branch: Ints  # [B, 2] PDU group or -1, part of what the rack draws beside its nodes
    rack_cluster: Ints  # [R]
    pdu_cluster: Ints  # [P]
    limit_mw: Ints  # [U + X] of loops and capped racks, on what their nodes draw; 0 where none
    first_member: Ints  # [U + X + 1] their nodes, as rows of `member`
    member: Ints
    swing_mw: Ints  # [K - 1, W, C] what a pod draws above its mean in its highest window
    other_mw: Ints  # [F] drawn at the site whatever happens
    meter_limit_mw: Ints  # [M] 0 where none


class GridState(NamedTuple):
    """Power as of now [mW], by case, and meters."""

    swing_mw: Ints  # [K - 1, N] of the pods that work, above their mean
    node_mw: Ints  # [K, N] drawn
    branch_mw: Ints  # [K, B] drawn by the nodes of a branch
    drawn_mw: Ints  # [K, B] its part of what the rack draws
    rack_mw: Ints  # [K, R] drawn
    pdu_mw: Ints  # [K, P] delivered by all PDUs of a group
    pdu_in_mw: Ints  # [K, P] drawn by them
    cluster_mw: Ints  # [K, C] drawn from all feeds
    total_mw: Ints  # [K] drawn by all racks
    pdu_dirty: Ints  # [2, P + 1] whether power changed; the PDUs where it did; last: how many
    value_mw: Ints  # [WINDOWS, M] that each meter shows
    since_ns: Ints  # [M] since when
    block: Ints  # [WINDOWS, M] number of the window that is open
    energy: Floats  # [WINDOWS, M] in it so far [mW ns]
    peak_mw: Floats  # [WINDOWS, M] highest mean of a window
