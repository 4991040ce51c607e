"""Queues with quotas: equal to the plain reference to the last event, and within all limits."""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfarm_twin.quota_tree import QueueTree, compile_tree
from kfarm_twin.quotas import Event, QuotaError, QuotaOptions, QuotaReplay, Strategy, replay_quotas

TESTS = Path(__file__).parents[1]
SCENES = runpy.run_path(str(TESTS / "quota_scenes.py"))
NAIVE = runpy.run_path(str(TESTS / "naive_quota.py"))
SECOND = 10**9
UNTIL_NS = 60 * SECOND
STRATEGIES = (
    (Strategy.FINAL_SHARE, Strategy.INITIAL_SHARE),
    (Strategy.FINAL_SHARE,),
    (Strategy.INITIAL_SHARE,),
)


def scene(seed: int, count: int) -> tuple[QueueTree, list[Any], QuotaOptions]:
    """A tree, jobs that crowd it, and options."""
    rng = random.Random(seed)
    fair = seed % 2 == 1
    tree = SCENES["tree_of"](rng, "s", weights=fair)
    jobs = [SCENES["job_of"](rng, tree, rng.randint(0, 20)) for _ in range(count)]
    jobs.sort(key=lambda job: job.submit)
    for job in jobs:
        job.ends = rng.randint(1, 15)
    options = QuotaOptions(
        fair_sharing=fair,
        strategies=rng.choice(STRATEGIES),
        eviction_ns=rng.choice([0, 1, 3]) * SECOND,
        requeue_ns=rng.choice([0, 1]) * SECOND,
        keep_progress=rng.random() < 0.3,
        device=SCENES["GPU"],
    )
    return tree, jobs, options


def replay(tree: QueueTree, jobs: list[Any], options: QuotaOptions) -> QuotaReplay:
    names = [queue.name for queue in tree.queues]
    return replay_quotas(SCENES["jobs_of"](jobs), tree, names, options, until_ns=UNTIL_NS)


def log_by_root(tree: QueueTree, jobs: list[Any], played: QuotaReplay) -> dict[str, list[Any]]:
    """Trees take turns at one instant: what happens in each is compared by itself."""
    compiled = compile_tree(tree)
    made: dict[str, list[Any]] = {}
    columns = (played.log_ns, played.log_kind, played.log_job, played.log_other)
    for time, kind, job, other in zip(*(column.tolist() for column in columns), strict=True):
        root = compiled.node_names[compiled.tree.nodes.root[jobs[job].queue]]
        made.setdefault(root, []).append((time, Event(kind).name, job, other))
    return made


def check_against_reference(seed: int, count: int) -> int:
    """Compare; returns the number of preemptions."""
    tree, jobs, options = scene(seed, count)
    try:
        played = replay(tree, jobs, options)
    except QuotaError as error:
        assert "preempt one another for ever" in str(error)
        return 0
    logs = NAIVE["play"](tree, SCENES["plain_of"](jobs, tree), options, UNTIL_NS)
    assert log_by_root(tree, jobs, played) == {name: log for name, log in logs.items() if log}
    return int(played.preemptions.sum())


def test_equals_the_plain_reference_to_the_last_event() -> None:
    preempted = sum(check_against_reference(seed, 14) for seed in range(120))
    assert preempted > 100


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(1000, 10**9), count=st.integers(1, 20))
def test_equals_the_plain_reference_on_other_scenes(seed: int, count: int) -> None:
    check_against_reference(seed, count)


@pytest.mark.slow
def test_equals_the_plain_reference_on_many_scenes() -> None:
    for seed in range(10_000, 12_000):
        check_against_reference(seed, 24)


def usage_over_time(
    tree: QueueTree, jobs: list[Any], played: QuotaReplay
) -> list[dict[str, np.ndarray]]:
    """Usage [F] of each node after each event, from the columns that jobs took.

    A job's flavors may change from run to run, so that only jobs of one run are counted; the scene
    has one flavor where this is called.
    """
    compiled = compile_tree(tree)
    nodes, columns = compiled.tree.nodes, compiled.columns
    held: dict[int, np.ndarray] = {}
    samples = []
    for kind, job in zip(played.log_kind.tolist(), played.log_job.tolist(), strict=True):
        if kind == Event.ADMITTED:
            row = np.zeros(len(columns), np.int64)
            for at, (flavor, resource) in enumerate(columns):
                mine = any(
                    flavor == name
                    for group in tree.queues[jobs[job].queue].groups
                    for name, _ in group.flavors
                )
                asked = {"cpu": jobs[job].cpu, SCENES["GPU"]: jobs[job].gpu}[resource]
                row[at] = asked * jobs[job].pods * 1000 if mine else 0
            held[job] = row
        elif kind in (Event.ENDED, Event.RELEASED):
            del held[job]
        usage = {}
        for node, name in enumerate(compiled.node_names):
            if node < len(tree.queues):
                mine = [held[j] for j in held if jobs[j].queue == node]
                usage[name] = np.sum(mine, axis=0, dtype=np.int64) * np.ones(len(columns), np.int64)
            else:
                usage[name] = np.zeros(len(columns), np.int64)
                for child, label in enumerate(compiled.node_names):
                    if nodes.parent[child] == node:
                        local = np.array(compiled.tree.quota.local[child])
                        usage[name] += np.maximum(usage[label] - local, 0)
        samples.append(usage)
    return samples


def single_flavor(seed: int, count: int) -> tuple[QueueTree, list[Any], QuotaOptions]:
    """A scene in which the flavor of a job is no question."""
    while True:
        tree, jobs, options = scene(seed, count)
        if all(len(g.flavors) == 1 for queue in tree.queues for g in queue.groups):
            return tree, jobs, options
        seed += 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_usage_stays_within_quota_and_limits(seed: int) -> None:
    tree, jobs, options = single_flavor(seed, 16)
    try:
        played = replay(tree, jobs, options)
    except QuotaError:
        return
    compiled = compile_tree(tree)
    quota, nodes = compiled.tree.quota, compiled.tree.nodes
    for usage in usage_over_time(tree, jobs, played):
        for node, name in enumerate(compiled.node_names):
            subtree, used = np.array(quota.subtree[node]), usage[name]
            if nodes.parent[node] < 0:  # nothing comes from outside a tree
                assert (used <= subtree).all()
                continue
            borrowing = np.array(quota.borrowing[node])
            assert (used <= subtree + borrowing).all()
            # what others use of a node's quota is at most what it lends
            others = usage[compiled.node_names[nodes.parent[node]]]
            lendable = subtree - np.array(quota.local[node])
            rest = np.array(quota.subtree[nodes.parent[node]]) - lendable
            mine = np.maximum(used - np.array(quota.local[node]), 0)
            assert (others - mine <= rest + lendable).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_equal_inputs_give_equal_logs(seed: int) -> None:
    tree, jobs, options = scene(seed, 16)
    try:
        first = replay(tree, jobs, options)
    except QuotaError:
        return
    second = replay(tree, jobs, options)
    for name in ("first_ns", "start_ns", "end_ns", "preemptions", "log_ns", "log_job", "log_other"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_a_job_runs_as_long_as_it_says_and_no_event_goes_back_in_time(seed: int) -> None:
    tree, jobs, options = scene(seed, 16)
    try:
        played = replay(tree, jobs, options)
    except QuotaError:
        return
    assert (np.diff(played.log_ns) >= 0).all()
    ended = np.flatnonzero(played.end_ns >= 0)
    for row in ended:
        lasted = played.end_ns[row] - played.start_ns[row]
        whole = jobs[row].ends * SECOND
        assert lasted == whole or (options.keep_progress and lasted < whole)
        assert played.first_ns[row] >= jobs[row].submit * SECOND
