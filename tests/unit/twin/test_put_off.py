"""Repairs that unrest puts off: what is exact about them, whatever is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kfarm_api.reliability import Reliability
from kfarm_twin.arrays import STARTS_UP, Ints
from kfarm_twin.fleet import play
from kfarm_twin.fleet_classes import FleetCluster, plain_cluster
from kfarm_twin.fleet_tables import compile_fleet
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.reliability import own_mode

HOUR = 3_600_000_000_000
NODES, HORIZON, ROWS = 50, 20_000 * HOUR, 1 << 16
UNREST = {"share": 50, "factor": "3", "spell": "200h"}


def changes(repair: dict[str, Any], unrest: dict[str, Any], **more: Any) -> Ints:
    """What one future of a fleet does, in rows of time, what, node, class, detail, detection."""
    body: dict[str, Any] = {"name": "it", "failuresPer1000NodeDays": "20", "meanTimeToRepair": "1h"}
    body |= {"repair": repair, **more}
    block: dict[str, Any] = {"classes": [body], "unrest": unrest, "detection": "0s"}
    if "crew" in repair:
        block["crews"] = {"count": 1}
    told = Reliability.model_validate(block)
    cluster: FleetCluster = plain_cluster([own_mode(told.classes[0])], told, NODES, 4)
    up = FleetCluster(**{**cluster.__dict__, "start": np.full(NODES, STARTS_UP)})
    fleet = compile_fleet([up])
    log = play(fleet, seed=3, futures=1, horizon_ns=HORIZON, warm_ns=0, log=ROWS).log
    assert len(log) < ROWS
    return np.asarray(log)


def outages(log: Ints, went: int, came: int) -> tuple[Ints, Ints]:
    """Starts and ends of closed outages [ns], node by node."""
    starts, ends = [], []
    for node in range(NODES):
        mine = log[log[:, 2] == node]
        down, up = mine[mine[:, 1] == went, 0], mine[mine[:, 1] == came, 0]
        assert 0 <= len(down) - len(up) <= 1
        assert (up >= down[: len(up)]).all()
        assert (down[1:] >= up[: len(down) - 1]).all()
        starts.append(down[: len(up)])
        ends.append(up)
    return np.concatenate(starts), np.concatenate(ends)


PART = {"distribution": "Fixed", "part": {"share": 100, "leadTime": "10h"}}


def test_what_is_put_off_comes_back_together_and_without_a_lead_time() -> None:
    start, end = outages(changes(PART, UNREST | {"holds": 100}), c.WENT_DOWN, c.CAME_UP)
    plain = end - start == 11 * HOUR
    assert 0.1 < plain.mean() < 0.9
    releases = np.unique(end[~plain])
    assert len(releases) < 0.3 * (~plain).sum()
    for release in releases:
        # nothing that fell due before a spell's end and after the last plain one is left behind
        held = start[(end == release) & ~plain]
        assert not plain[(start > held.min()) & (start < release - HOUR)].any()


def test_a_crew_takes_what_was_put_off_in_the_order_in_which_it_fell_due() -> None:
    repair = {"distribution": "Fixed", "crew": True}
    start, end = outages(changes(repair, UNREST | {"holds": 100}), c.WENT_DOWN, c.CAME_UP)
    order = np.argsort(start, kind="stable")
    assert (np.diff(end[order]) >= 0).all()
    assert (end - start > 24 * HOUR).sum() > 50


def test_nothing_put_off_changes_nothing() -> None:
    without = changes(PART, UNREST)
    assert np.array_equal(without, changes(PART, UNREST | {"holds": 0}))
    start, end = outages(without, c.WENT_DOWN, c.CAME_UP)
    assert (end - start == 11 * HOUR).all()


@pytest.mark.parametrize("holds", [40, 100])
def test_a_patient_that_fails_again_leaves_the_line(holds: int) -> None:
    """A node that lost a device goes on, fails again, and is mended of both at once."""
    log = changes(PART, UNREST | {"holds": holds}, takes="Device", per="Device")
    down, up = (int((log[:, 1] == what).sum()) for what in (c.LOST_DEVICE, c.GOT_DEVICE))
    assert 0 <= down - up <= NODES
    for node in range(NODES):
        mine = log[(log[:, 2] == node) & np.isin(log[:, 1], (c.LOST_DEVICE, c.GOT_DEVICE))]
        assert (np.diff(mine[:, 1] == c.LOST_DEVICE) != 0).all()
    again = (
        (np.diff(log[:, 0]) == 0) & (log[:-1, 1] == c.GOT_DEVICE) & (log[1:, 1] == c.LOST_DEVICE)
    )
    assert again.sum() > 10
