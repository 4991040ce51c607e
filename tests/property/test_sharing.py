"""Shared GPUs, whatever pods come and go: nothing is given twice, nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfarm_twin.sharing import (
    Need,
    Pool,
    SharePolicy,
    mix_columns,
    node_columns,
    pod_kinds,
    popular,
)

MODELS = ("", "A", "B")


@st.composite
def needs(draw: st.DrawFn) -> Need:
    gpus = draw(st.sampled_from((0, 1, 1, 1, 2, 3)))
    milli = draw(st.integers(1, 1000)) if gpus == 1 else 1000 if gpus else 0
    models = draw(st.sampled_from(((), ("A",), ("A", "B")))) if gpus else ()
    return Need(draw(st.integers(0, 9_000)), draw(st.integers(0, 40)), gpus, milli, models)


NODES = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(0, 100), st.integers(0, 4), st.integers(0, 2)),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("policy", SharePolicy)
@settings(max_examples=25, deadline=None)
@given(
    rows=NODES,
    pods=st.lists(needs(), min_size=1, max_size=6),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60),
)
def test_free_and_taken_make_up_what_there_is(
    policy: SharePolicy,
    rows: list[tuple[int, int, int, int]],
    pods: list[Need],
    moves: list[tuple[bool, int]],
) -> None:
    cpu, memory, gpus, model = (
        np.array([row[place] for row in rows], dtype=np.int64) for place in range(4)
    )
    nodes, kinds = node_columns(cpu, memory, gpus, model), pod_kinds(pods, MODELS)
    pool = Pool(policy, 11, nodes, kinds.types, mix_columns(popular(pods), MODELS))
    empty = [column.copy() for column in pool.state[:8]]
    running: list[tuple[int, int, int]] = []
    for ends, which in moves:
        if ends and running:
            pod, node, bits = running.pop(which % len(running))
            pool.release(int(kinds.of_pod[pod]), node, bits)
        elif not ends:
            pod = which % len(pods)
            node, bits = pool.choose(int(kinds.of_pod[pod]))
            if node >= 0:
                pool.take(int(kinds.of_pod[pod]), node, bits)
                running.append((pod, node, bits))
        check(pool, rows, pods, running)
    for pod, node, bits in running:
        pool.release(int(kinds.of_pod[pod]), node, bits)
    for before, now in zip(empty, pool.state[:8], strict=True):
        assert np.array_equal(before, now)


def check(
    pool: Pool,
    rows: list[tuple[int, int, int, int]],
    pods: list[Need],
    running: list[tuple[int, int, int]],
) -> None:
    state = pool.state
    used_cpu, used_memory = np.zeros(len(rows)), np.zeros(len(rows))
    used_gpu = np.zeros(state.gpu_free.shape)
    for pod, node, bits in running:
        need, devices = pods[pod], [gpu for gpu in range(62) if bits >> gpu & 1]
        assert len(devices) == need.gpus, "a pod that shares has one GPU, others all they ask for"
        assert all(gpu < rows[node][2] for gpu in devices)
        assert not need.models or not need.gpus or MODELS[rows[node][3]] in need.models
        used_cpu[node] += need.cpu_milli
        used_memory[node] += need.memory_mib
        used_gpu[node, devices] += need.gpu_milli
    there = np.arange(state.gpu_free.shape[1]) < np.array([row[2] for row in rows])[:, None]
    assert np.array_equal(state.cpu_free + used_cpu, [row[0] for row in rows])
    assert np.array_equal(state.memory_free + used_memory, [row[1] for row in rows])
    assert np.array_equal(state.gpu_free + used_gpu, there * 1000)
    for column in (state.cpu_free, state.memory_free, state.gpu_free):
        assert column.min() >= 0
    assert pool.used_gpus * 1000 == pytest.approx(used_gpu.sum())
    idle = state.gpu_free.sum() / 1000
    assert -1e-9 <= pool.fragmented_gpus <= idle + 1e-9
