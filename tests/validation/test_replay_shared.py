"""Alibaba's GPU-sharing trace with its times on its own nodes and on a few of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kfarm_twin.jobs import JobTrace
from kfarm_twin.replay import (
    Backfill,
    Discipline,
    NodeTable,
    Order,
    Placement,
    Shape,
    replay,
    summarize,
)
from kfarm_twin.traces.openb import read_openb_nodes
from kfarm_twin.traces.reader import read

KEPT = 12
"""Nodes of the small cluster: every hundredth of the list, on which jobs wait."""


def nodes(path: Path, every: int) -> NodeTable:
    listed = read_openb_nodes(path)
    some = slice(None, None, every)
    columns = (listed.gpus, listed.cpu_milli, listed.memory_mib, listed.model)
    return NodeTable(*(column[some].copy() for column in columns), listed.models)


@pytest.fixture(scope="module")
def openb(shared: Callable[[str], Path]) -> tuple[JobTrace, Path]:
    trace = read(shared("traces/openb/openb_pod_list_default.csv.gz"), None, gpus_per_node=8).trace
    return trace, shared("traces/openb/openb_node_list_gpu_node.csv")


@pytest.mark.parametrize("placement", [Placement.FGD, Placement.BEST_FIT])
def test_the_whole_cluster_is_nearly_idle(
    openb: tuple[JobTrace, Path], placement: Placement
) -> None:
    trace, listed = openb
    shape = Shape.of(nodes(listed, 1))
    found = replay(trace.jobs, shape, Discipline(placement=placement), models=trace.models)
    summary = summarize(trace.jobs, found, shape)
    assert (summary.ended, summary.never, summary.waited) == (7255, 0, 0)
    assert summary.utilisation < 0.01, "recorded times load the cluster to well under 1 %"


@pytest.mark.parametrize("backfill", [Backfill.NONE, Backfill.EASY])
def test_on_few_nodes_no_resource_is_given_twice(
    openb: tuple[JobTrace, Path], backfill: Backfill
) -> None:
    trace, listed = openb
    table = nodes(listed, 1213 // KEPT)
    jobs, rules = trace.jobs, Discipline(Order.FIFO, backfill, Placement.FGD)
    found = replay(jobs, Shape.of(table), rules, models=trace.models)
    assert found.places is not None
    ran = np.flatnonzero(found.end_ns >= 0)
    assert len(ran) + len(found.never) == len(jobs.run_ns)
    assert int((found.start_ns[ran] > jobs.submit_ns[ran]).sum()) > 0
    node, bits = found.places.node, found.places.gpus
    gpu = np.zeros((len(table.gpus), 8), np.int64)
    cpu, memory = np.zeros(len(table.gpus), np.int64), np.zeros(len(table.gpus), np.int64)
    moments = [(found.end_ns[job], 0, job) for job in ran] + [
        (found.start_ns[job], 1, job) for job in ran
    ]
    for _, starts, job in sorted(moments):
        row, sign = found.places.first[job], 1 if starts else -1
        at, held = node[row], bits[row] >> np.arange(8) & 1
        assert held.sum() == jobs.gpus[job]
        allowed = trace.models[jobs.models[job]]
        assert not jobs.gpus[job] or not allowed or table.models[table.model[at]] in allowed
        gpu[at] += sign * held * jobs.gpu_milli[job]
        cpu[at] += sign * jobs.cpu_milli[job]
        memory[at] += sign * jobs.memory_mib[job]
        assert np.all(gpu[at, : table.gpus[at]] <= 1000)
        assert not gpu[at, table.gpus[at] :].any()
        assert cpu[at] <= table.cpu_milli[at]
        assert memory[at] <= table.memory_mib[at]
    assert not gpu.any()


def test_first_come_first_served_on_whole_nodes(shared: Callable[[str], Path]) -> None:
    """Jobs of whole nodes wait as where nodes are counted (README of the data), by any policy."""
    jobs = read(shared("traces/farm-week/farm-week.swf.gz"), None, gpus_per_node=8).trace.jobs
    shape = Shape(1642)
    found = replay(jobs, shape, Discipline(placement=Placement.FGD))
    wait_ns = found.start_ns - jobs.submit_ns
    assert round(wait_ns.mean() / 1e9, 2) == 1179.92
    assert (int(wait_ns.max()) // 10**9, int((wait_ns > 0).sum())) == (7445, 16475)
    assert int(found.end_ns.max()) == 858_007 * 10**9
