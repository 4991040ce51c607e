"""Fill a cluster until more GPUs are asked for than it has: the experiment of the FGD paper.

The pods of a list arrive in random order and stay. How they are drawn, and what each point of the
curves is, follows the authors' simulator and analysis
(hkust-adsl/kubernetes-scheduler-simulator); functions below name the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.go_random import GoRandom
from kfarm_twin.load import ManifestError, Problem
from kfarm_twin.policy.sharing_columns import WHOLE
from kfarm_twin.sharing import (
    Need,
    Pool,
    SharePolicy,
    mix_columns,
    node_columns,
    pod_kinds,
    popular,
)
from kfarm_twin.traces.openb import OpenbNodes, OpenbPods

CLIENT_DRAWS = 10
"""Random numbers that the client libraries of the simulator take (for the jitter of their timers)
between the pods and the ranks of the nodes. Not written down anywhere: found by comparison, with it
the published curves of all seeds follow to the last digit (``tests/validation/test_fgd.py``)."""
MOST_ARRIVALS = 20_000_000
"""More pods than this in one experiment are refused."""


@dataclass(frozen=True)
class Filling:
    """One experiment: a policy and a seed. Curves are over 0, 1, ... `until` percent arrived.

    Attributes
    ----------
    allocated_percent
        GPUs in use, in percent of all, shares added up; NaN beyond the last arrival.
    fragmented_gpus
        Free GPUs that a pod drawn from the list could not use, in expectation.
    fragmented_percent, fragmented_share_of_idle_percent
        The same in percent of all GPUs, and of those that are free.
    types, nodes, gpus
        [arrivals] type, node (-1: fits nowhere) and GPUs (as bits) of each pod.
    """

    policy: SharePolicy
    seed: int
    allocated_percent: Floats
    fragmented_gpus: Floats
    fragmented_percent: Floats
    fragmented_share_of_idle_percent: Floats
    types: Ints
    nodes: Ints
    gpus: Ints

    @property
    def placed(self) -> int:
        """Pods that found a node."""
        return int((self.nodes >= 0).sum())


class Experiment:
    """A cluster and a list of pods, ready to be filled under any policy and seed.

    Parameters
    ----------
    nodes, pods
        As read from a trace.
    tune
        GPUs that all arriving pods ask for together, as a multiple of what the cluster has.
    until
        Last point of the curves [percent of the cluster's GPUs].
    """

    def __init__(self, nodes: OpenbNodes, pods: OpenbPods, tune: float, until: int) -> None:
        self.nodes, self.tune, self.until = nodes, tune, until
        self.total_gpus = int(nodes.gpus.sum())
        self.needs = needs_of(pods)
        self.kinds = pod_kinds(self.needs, nodes.models)
        self.mix = mix_columns(popular(self.needs), nodes.models)
        self.demand = pods.gpus * pods.gpu_milli
        self.target = tune * (self.total_gpus * WHOLE)
        self._pods_by_name = np.argsort(pods.names, kind="stable")
        self._check(nodes, pods)

    def _check(self, nodes: OpenbNodes, pods: OpenbPods) -> None:
        problems = _unknown_models(nodes, pods)
        if not self.total_gpus:
            problems.append(Problem(nodes.file, 0, "gpu", "no node with a GPU", "at least one"))
        asked = int(self.demand.sum())
        if not asked:
            found = "no pod that asks for a GPU"
            problems.append(Problem(pods.file, 0, "num_gpu", found, "at least one"))
        elif self.target / asked * len(self.needs) > MOST_ARRIVALS:
            found = f"pods so small that {self.tune:g} times the GPUs takes too many"
            problems.append(Problem(pods.file, 0, "", found, f"at most {MOST_ARRIVALS:,}"))
        if problems:
            raise ManifestError(problems)

    def run(self, policy: SharePolicy, seed: int) -> Filling:
        """Fill the empty cluster."""
        nodes = self.nodes
        pods, drawn = self.order(seed)
        rank = None if policy is SharePolicy.FIRST_FIT else drawn
        columns = node_columns(nodes.cpu_milli, nodes.memory_mib, nodes.gpus, nodes.model, rank)
        pool = Pool(policy, seed, columns, self.kinds.types, self.mix)
        before = pool.fragmented_gpus
        out = pool.fill(self.kinds.of_pod[pods])
        gpus = self.total_gpus
        used = np.concatenate([[0], out[:, 2]]) / WHOLE
        fragment = np.concatenate([[before], out[:, 3] / (WHOLE * int(self.mix.total[0]))])
        share = np.divide(fragment, gpus - used, out=np.zeros(used.size), where=used < gpus)
        curves = curve(
            np.rint(np.cumsum(self.demand[pods]) / gpus / (WHOLE // 100)).astype(np.int64),
            np.stack([100 * used / gpus, fragment, 100 * fragment / gpus, 100 * share]),
            round(100 * self.tune),
            self.until,
        )
        types = self.kinds.of_pod[pods]
        allocated, pieces, percent, of_idle = curves
        return Filling(
            policy, seed, allocated, pieces, percent, of_idle, types, out[:, 0], out[:, 1]
        )

    def order(self, seed: int) -> tuple[Ints, Ints]:
        """Pods as they arrive, and ranks of the nodes, with the random numbers of the simulator.

        All pods in random order; while they ask for more than the target, one is left out at
        random; where they ask for less, pods of the list are drawn with replacement, up to the
        first whose share of one GPU would go beyond (``pkg/simulator/simulator.go``,
        SortClusterPods and TunePodsByNodeTotalResource). Then nodes are ranked at random
        (syncClusterResourceList). A seed gives the order that it gives there.

        Returns
        -------
        tuple of arrays
            Pods as places in the list [arrivals], rank of each node [N].
        """
        random = GoRandom(seed)
        random.int63()  # Simulate, ``pkg/simulator/core.go``, logs one number
        pods = self._pods_by_name.tolist()
        random.shuffle(pods)
        asked, demand = int(self.demand.sum()), self.demand.tolist()
        while asked > self.target:
            asked -= demand[pods.pop(random.below(len(pods)))]
        if len(pods) == len(demand) and asked < self.target:
            self._draw(random, pods, asked)
        for _ in range(CLIENT_DRAWS):
            random.int63()
        rank = np.empty(self.nodes.gpus.size, dtype=np.int64)
        rank[np.argsort(self.nodes.names, kind="stable")] = random.permutation(rank.size)
        return np.array(pods, dtype=np.int64), rank

    def _draw(self, random: GoRandom, pods: list[int], asked: int) -> None:
        """Add pods of the list, drawn with replacement, until the target is reached."""
        listed, demand = self._pods_by_name.tolist(), self.demand.tolist()
        milli = self.kinds.types.gpu_milli[self.kinds.of_pod].tolist()
        while True:
            pod = listed[random.below(len(listed))]
            if asked + milli[pod] > self.target:
                return
            asked += demand[pod]
            pods.append(pod)


def needs_of(pods: OpenbPods) -> list[Need]:
    """What each pod asks for."""
    rows = zip(pods.cpu_milli, pods.memory_mib, pods.gpus, pods.gpu_milli, pods.spec, strict=True)
    return [
        Need(int(cpu), int(memory), int(gpus), int(milli), pods.specs[spec])
        for cpu, memory, gpus, milli, spec in rows
    ]


def curve(points: Ints, values: Floats, reach: int, until: int) -> Floats:
    """Means of what was seen after each arrival, by percent arrived.

    ``experiments/analysis/merge_*_discrete.py``: point k is the mean over the arrivals after which
    the demand, rounded to whole percents (half to even), is k; without any, over k - 1 to k + 1.
    Where there are none either (small clusters; left out there), what was last seen holds.

    Parameters
    ----------
    points
        [E] percent arrived after each arrival, never falling.
    values
        [C, 1 + E] what was seen before the first arrival and after each.
    reach
        Percent that was meant to arrive.

    Returns
    -------
    Floats
        [C, until + 1]; NaN beyond `reach` and the last arrival.
    """
    inside = points <= until + 1
    length = until + 2
    counts = np.bincount(points[inside], minlength=length)
    wide = np.convolve(counts, np.ones(3, dtype=np.int64), mode="same")
    last = np.searchsorted(points, np.arange(length), side="right")
    beyond = np.arange(length) > max(points[-1] + 1, reach)
    made = np.empty((len(values), until + 1))
    for place, row in enumerate(values):
        sums = np.bincount(points[inside], weights=row[1:][inside], minlength=length)
        around = np.convolve(sums, np.ones(3), mode="same")
        top, below = np.where(counts > 0, (sums, counts), (around, wide))
        means = np.divide(top, below, out=row[last], where=below > 0)
        made[place] = np.where(beyond, np.nan, means)[: until + 1]
    return made


def _unknown_models(nodes: OpenbNodes, pods: OpenbPods) -> list[Problem]:
    """Pods none of whose models any node has; the first of each specification."""
    known, problems = set(nodes.models), []
    for place, spec in enumerate(pods.specs):
        if spec and not known.intersection(spec):
            line = int(pods.line[np.flatnonzero(pods.spec == place)[0]])
            expected = f"one of the nodes' models: {', '.join(nodes.models[1:]) or 'none'}"
            problems.append(Problem(pods.file, 0, "gpu_spec", "|".join(spec), expected, line))
    return problems


def run_all(
    experiment: Experiment,
    runs: Sequence[tuple[SharePolicy, int]],
    advance: Callable[[int, int], None] | None = None,
) -> list[Filling]:
    """Several policies and seeds, side by side on all CPUs, in the order given.

    Parameters
    ----------
    advance
        Called with runs done and runs in all.
    """
    done = []
    with ThreadPoolExecutor(max_workers=min(len(runs), os.cpu_count() or 1)) as workers:
        for filling in workers.map(lambda run: experiment.run(*run), runs):
            done.append(filling)
            if advance is not None:
                advance(len(done), len(runs))
    return done
