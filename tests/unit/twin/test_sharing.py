"""Placement on shared GPUs: the kernels against the plain reference, and rules one by one."""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfarm_twin.sharing import (
    Need,
    Pool,
    SharePolicy,
    mix_columns,
    node_columns,
    pod_kinds,
    popular,
)

NAIVE = runpy.run_path(str(Path(__file__).parents[2] / "sharing_naive.py"))
MODELS = ("", "A", "B")
POD_SPECS = ((), ("A",), ("B",), ("A", "B"), ("none such",))


def scene(seed: int, nodes: int = 7, kinds: int = 9) -> tuple[Any, list[Need], list[int]]:
    """Nodes as rows, pods and ranks; shares and sizes come often enough to meet."""
    draw = random.Random(seed)  # noqa: S311 - cases of a test
    rows = []
    for _ in range(nodes):
        gpus = draw.choice((0, 1, 2, 4, 8))
        model = draw.randrange(1, 3) if gpus else 0
        rows.append((draw.choice((8, 32, 96, 160)) * 1000, draw.choice((16, 64)), gpus, model))
    pods = []
    for _ in range(kinds):
        gpus = draw.choice((0, 1, 1, 1, 1, 2, 4))
        milli = draw.choice((100, 250, 250, 500, 810, 1000)) if gpus == 1 else 1000 if gpus else 0
        spec = draw.choice(POD_SPECS[:4]) if gpus and draw.random() < 0.4 else ()
        pods.append(
            Need(draw.choice((0, 1, 4, 9)) * 1000, draw.choice((0, 1, 8)), gpus, milli, spec)
        )
    ranks = list(range(nodes))
    draw.shuffle(ranks)
    return rows, pods, ranks


def pool_of(policy: SharePolicy, seed: int, rows: Any, pods: list[Need], ranks: list[int]) -> Pool:
    columns = [np.array([row[place] for row in rows], dtype=np.int64) for place in range(4)]
    nodes = node_columns(*columns, np.array(ranks, dtype=np.int64))
    kinds = pod_kinds(pods, MODELS)
    return Pool(policy, seed, nodes, kinds.types, mix_columns(popular(pods), MODELS))


def naive_of(policy: SharePolicy, seed: int, rows: Any, pods: list[Need], ranks: list[int]) -> Any:
    nodes = [
        NAIVE["Node"](cpu, memory, MODELS[model], [1000] * gpus, rank)
        for (cpu, memory, gpus, model), rank in zip(rows, ranks, strict=True)
    ]
    return NAIVE["Cluster"](str(policy), seed, nodes, popular(pods))


def bits(gpus: list[int]) -> int:
    return sum(1 << gpu for gpu in gpus)


@pytest.mark.parametrize("policy", SharePolicy)
@pytest.mark.parametrize("seed", range(12))
def test_places_as_the_plain_reference_with_departures(policy: SharePolicy, seed: int) -> None:
    rows, pods, ranks = scene(seed)
    kinds = pod_kinds(pods, MODELS).of_pod
    ours, theirs = (
        pool_of(policy, seed, rows, pods, ranks),
        naive_of(policy, seed, rows, pods, ranks),
    )
    draw = random.Random(seed + 1000)  # noqa: S311 - cases of a test
    running: list[tuple[int, int, list[int]]] = []
    placed = 0
    for _ in range(90):
        if running and draw.random() < 0.3:
            pod, node, gpus = running.pop(draw.randrange(len(running)))
            ours.release(int(kinds[pod]), node, bits(gpus))
            theirs.release(pods[pod], node, gpus)
        else:
            pod = draw.randrange(len(pods))
            found, expected = ours.choose(int(kinds[pod])), theirs.choose(pods[pod])
            if expected is None:
                assert found == (-1, 0)
                continue
            assert found == (expected[0], bits(expected[1]))
            ours.take(int(kinds[pod]), *found)
            theirs.take(pods[pod], *expected)
            running.append((pod, *expected))
            placed += 1
        assert ours.fragmented_gpus == pytest.approx(float(theirs.fragmented()), rel=1e-12)
    assert placed > 20


@pytest.mark.parametrize("policy", SharePolicy)
def test_many_changes_between_two_decisions_of_a_type(policy: SharePolicy) -> None:
    """More changes than the log holds: the tree is brought up to date by scanning the nodes."""
    rows, pods, ranks = scene(3, nodes=4)
    kinds = pod_kinds(pods, MODELS).of_pod
    ours, theirs = pool_of(policy, 5, rows, pods, ranks), naive_of(policy, 5, rows, pods, ranks)
    for pod in [0, *(1 + turn % (len(pods) - 1) for turn in range(30)), 0, 0]:
        found, expected = ours.choose(int(kinds[pod])), theirs.choose(pods[pod])
        assert found == ((-1, 0) if expected is None else (expected[0], bits(expected[1])))
        if expected is not None:
            ours.take(int(kinds[pod]), *found)
            theirs.take(pods[pod], *expected)


@pytest.mark.parametrize("policy", SharePolicy)
def test_filling_equals_one_by_one(policy: SharePolicy) -> None:
    rows, pods, ranks = scene(21)
    kinds = pod_kinds(pods, MODELS).of_pod
    arrivals = np.array([kinds[turn * 5 % len(pods)] for turn in range(80)], dtype=np.int64)
    filled = pool_of(policy, 9, rows, pods, ranks).fill(arrivals)
    ours = pool_of(policy, 9, rows, pods, ranks)
    for event, kind in enumerate(arrivals.tolist()):
        found = ours.choose(kind)
        if found[0] >= 0:
            ours.take(kind, *found)
        assert found == tuple(filled[event, :2])
        assert filled[event, 2] == ours.used_gpus * 1000
    assert (filled[:, 0] >= 0).sum() > 10
    assert (filled[:, 0] < 0).any()


def test_random_choices_follow_the_seed() -> None:
    rows, pods, ranks = scene(4)
    arrivals = np.zeros(12, dtype=np.int64)
    once, again, other = (
        pool_of(SharePolicy.RANDOM, seed, rows, pods, ranks).fill(arrivals) for seed in (1, 1, 2)
    )
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_equal_scores_go_to_the_lowest_rank() -> None:
    rows = [(64_000, 64, 2, 1)] * 4
    pods = [Need(1000, 1, 1, 500, ())]
    for policy in (SharePolicy.BEST_FIT, SharePolicy.FGD, SharePolicy.GPU_PACKING):
        assert pool_of(policy, 0, rows, pods, [2, 0, 3, 1]).choose(0) == (1, 1)


def test_a_share_goes_to_the_gpu_that_the_policy_says() -> None:
    pods = [Need(0, 0, 1, 700, ()), Need(0, 0, 1, 300, ()), Need(0, 0, 1, 100, ())]
    expected = {"best-fit": 0b001, "spread": 0b100, "first-fit": 0b001, "gpu-packing": 0b001}
    for name, gpu in expected.items():
        pool = pool_of(SharePolicy(name), 0, [(64_000, 64, 3, 1)], pods, [0])
        pool.take(0, 0, 0b001)
        pool.take(1, 0, 0b010)
        assert pool.choose(2) == (0, gpu), name
    pool = pool_of(SharePolicy.FIRST_FIT, 0, [(64_000, 64, 3, 1)], pods, [0])
    pool.take(1, 0, 0b001)
    pool.take(0, 0, 0b010)
    assert pool.choose(2) == (0, 0b001), "first, though the second is tighter"


def test_models_that_no_node_has_fit_nowhere() -> None:
    pods = [Need(0, 0, 1, 1000, ("none such",)), Need(0, 0, 1, 1000, ("none such", "B"))]
    pool = pool_of(SharePolicy.FGD, 0, [(8000, 8, 1, 1), (8000, 8, 1, 2)], pods, [0, 1])
    assert pool.choose(0) == (-1, 0)
    assert pool.choose(1) == (1, 1)


def test_the_mix_is_the_most_frequent_pods() -> None:
    often, rare, rarest = (Need(cpu, 5, 1, 500, ()) for cpu in (1000, 2000, 3000))
    listed = [often] * 90 + [rare] * 6 + [rarest] * 4
    assert [(need.cpu_milli, weight) for need, weight in popular(listed)] == [(1000, 90), (2000, 6)]
    assert popular(listed)[0][0].memory_mib == 0
    assert len(popular([often, rare, rarest], percent=60)) == 2
    assert popular([often, rare, rarest], percent=30)[0][0].cpu_milli == 3000, "larger first"


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("FGD", SharePolicy.FGD),
        ("BestFit", SharePolicy.BEST_FIT),
        ("best_fit", SharePolicy.BEST_FIT),
        ("GpuClustering", SharePolicy.GPU_CLUSTERING),
        ("GPU-Packing", SharePolicy.GPU_PACKING),
        ("DotProd", SharePolicy.DOT_PROD),
        ("dot-product", SharePolicy.DOT_PROD),
        ("first fit", SharePolicy.FIRST_FIT),
        ("Random", SharePolicy.RANDOM),
        ("fg", None),
    ],
)
def test_names_in_their_usual_spellings(name: str, policy: SharePolicy | None) -> None:
    assert SharePolicy.named(name) is policy


def test_more_gpus_than_bits_are_refused() -> None:
    one = np.array([1000], dtype=np.int64)
    with pytest.raises(ValueError, match="63 GPUs"):
        node_columns(one, one, np.array([63]), np.array([1]))
