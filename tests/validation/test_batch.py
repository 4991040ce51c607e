"""Batch scheduling against figures made elsewhere by the same rules (traces/README.md)."""

from __future__ import annotations

from typing import Any

import pytest
from kfarm_twin.replay import (
    Backfill,
    Discipline,
    Level,
    Placement,
    Shape,
    Summary,
    replay,
    summarize,
)
from kfarm_twin.traces import TraceFormat, read_trace

KTH, WEEK = "traces/swf/kth_sp2.swf.gz", "traces/farm-week/farm-week.swf.gz"
NODES = {KTH: 100, WEEK: 1642}
SOURCE = "traces/README.md: a textbook simulation by the rules stated there"
PLACEMENTS = (Placement.COUNT, Placement.FIRST_FIT, Placement.BEST_FIT)


def played(shared: Any, name: str, backfill: Backfill, placement: Placement) -> Summary:
    jobs = read_trace(shared(name), TraceFormat.SWF, gpus_per_node=8).jobs
    shape = Shape(NODES[name], 8, nodes_per_rack=4, nodes_per_unit=32)
    preferred = Level.RACK if placement is Placement.BEST_FIT else None
    discipline = Discipline(backfill=backfill, placement=placement, preferred=preferred)
    return summarize(jobs, replay(jobs, shape, discipline), shape)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(
    ("backfill", "slowdown", "wait"),
    [(Backfill.EASY, 92.83, 6890.6), (Backfill.NONE, 6822.0, 354176.0)],
)
def test_kth_sp2(
    shared: Any, published: Any, backfill: Backfill, placement: Placement, slowdown: float,
    wait: float,
) -> None:  # fmt: skip
    found = played(shared, KTH, backfill, placement)
    assert found.wait is not None
    assert found.slowdown is not None
    case = f"KTH-SP2, backfill {backfill}, placement {placement}"
    published(case, "average bounded slowdown, tau 10 s", published=slowdown,
              ours=found.slowdown.mean, tolerance=slowdown / 1000, source=SOURCE)  # fmt: skip
    published(case, "mean wait", published=wait, ours=found.wait.mean, tolerance=wait / 1000,
              source=SOURCE, unit="s")  # fmt: skip
    assert found.jobs == 28467


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(
    ("backfill", "mean", "longest", "waited"),
    [(Backfill.NONE, 1179.92, 7445, 16475), (Backfill.EASY, 500.11, 9441, 14433)],
)
def test_farm_week(
    shared: Any, published: Any, backfill: Backfill, placement: Placement, mean: float,
    longest: int, waited: int,
) -> None:  # fmt: skip
    found = played(shared, WEEK, backfill, placement)
    assert found.wait is not None
    case = f"farm week, backfill {backfill}, placement {placement}"
    for figure, theirs, ours, tolerance, unit in (
        ("mean wait", mean, found.wait.mean, 0.005, "s"),
        ("longest wait", longest, found.wait.max, 0, "s"),
        ("jobs that waited", waited, found.waited, 0, ""),
        ("end of the last job", 858_007, found.last_end_s, 0, "s"),
    ):
        published(case, figure, published=theirs, ours=ours, tolerance=tolerance, source=SOURCE,
                  unit=unit)  # fmt: skip
