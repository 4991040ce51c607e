"""A what-if: the same jobs under several policies, replica by replica, on the same chance."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from kfarm_api.units import parse_duration_ns

from kfarm_twin.job_failures import FailingNodes, Saving
from kfarm_twin.jobs import Jobs, JobTrace
from kfarm_twin.replay import Discipline, Replay, ReplayError, replay
from kfarm_twin.replay import Shape as ReplayShape
from kfarm_twin.replay_failures import Failures
from kfarm_twin.replay_heat import FULL_PPM, HotNodes, JobHeat
from kfarm_twin.request import InputError
from kfarm_twin.whatif_conclude import conclude
from kfarm_twin.whatif_failures import check_policies, failing_nodes, said
from kfarm_twin.whatif_farm import discipline_of, farmland_of, shape_of
from kfarm_twin.whatif_heat import check_heat_policies, heat_notes, hot_nodes
from kfarm_twin.whatif_measure import GRID_CELLS, job_sizes, measure
from kfarm_twin.whatif_request import WhatIfRequest, jobs_workload
from kfarm_twin.whatif_result import Farmland, Part, WhatIf
from kfarm_twin.whatif_stats import significant
from kfarm_twin.whatif_workload import cut, draw, resample, source_trace

NANOSECONDS = 1e9
MOST_THREADS = 8
"""Replicas played at once: kernels release the interpreter, but each replica takes memory."""


@dataclass(frozen=True)
class Stage:
    """All that the replicas share.

    Attributes
    ----------
    notes
        What a reader of the result should know about how the farm was read.
    """

    request: WhatIfRequest
    farm: Farmland
    shape: ReplayShape
    disciplines: tuple[Discipline, ...]
    notes: tuple[str, ...]

    @cached_property
    def failing(self) -> FailingNodes | None:
        """The nodes as they fail, where the jobs meet failures."""
        return failing_nodes(self.request, self.shape)

    @cached_property
    def hot(self) -> HotNodes | None:
        """The nodes as they warm, where heat is played."""
        return hot_nodes(self.request)

    @cached_property
    def trace(self) -> JobTrace:
        """The recorded jobs, read once; only where the workload is a trace."""
        return source_trace(self.request, self.farm)


def prepare(request: WhatIfRequest) -> Stage:
    """Read farm and policies.

    Raises
    ------
    InputError
        When there are no jobs to play, or a farm is missing or cannot be played as one pool of
        equal nodes.
    """
    jobs_workload(request.spec)
    farm, notes = farmland_of(request)
    disciplines = tuple(
        discipline_of(policy, index) for index, policy in enumerate(request.spec.policies)
    )
    check_policies(request, disciplines)
    check_heat_policies(request, disciplines)
    return Stage(request, farm, shape_of(farm), disciplines, (*notes, *said(request)))


def play(
    request: WhatIfRequest,
    progress: Callable[[int, int], None] | None = None,
    *,
    workers: int | None = None,
) -> WhatIf:
    """Play every policy in every replica.

    Parameters
    ----------
    progress
        Called with the replicas done and their number.
    workers
        Replicas played at once; with 1 no thread is made, which a process that forks needs.

    Raises
    ------
    InputError, ManifestError
        When farm, trace or model is wrong.
    """
    stage, total = prepare(request), request.spec.replicas
    threads = min(workers or os.cpu_count() or 1, MOST_THREADS, total)
    parts = [play_replica(stage, 0)]  # also reads what all share
    pool = ThreadPoolExecutor(threads)  # its threads are made as work comes

    def one(replica: int) -> Part:
        return play_replica(stage, replica)

    try:
        rest = (map if threads == 1 else pool.map)(one, range(1, total))
        for done in range(1, total + 1):
            if progress is not None:
                progress(done, total)
            if done < total:
                parts.append(next(rest))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for those that have begun only
    return conclude(request, stage.farm, parts)


def jobs_of(stage: Stage, replica: int) -> JobTrace:
    """The jobs of one replica, the same for every policy."""
    spec = stage.request.spec
    recorded = jobs_workload(spec).trace
    if recorded is not None:
        block_ns = parse_duration_ns(recorded.block)
        trace = cut(stage.trace, parse_duration_ns(spec.horizon))
        return resample(trace, block_ns, spec.seed, replica) if replica else trace
    return cut(draw(stage.request, stage.farm, replica), parse_duration_ns(spec.horizon))


def play_replica(stage: Stage, replica: int) -> Part:
    """One replica under every policy."""
    trace = jobs_of(stage, replica)
    jobs, accelerators = trace.jobs, stage.shape.nodes * stage.shape.gpus_per_node
    window_ns = max(1, int(jobs.submit_ns[-1])) if jobs.submit_ns.size else 1
    offered = float(np.dot(job_sizes(jobs).astype(float), jobs.run_ns.astype(float)))
    edges = np.linspace(0.0, window_ns, GRID_CELLS + 1)
    failures = _failures(stage, jobs, replica)
    heat = None if stage.hot is None else JobHeat.of(stage.hot, jobs, trace.loads, FULL_PPM)
    policies = [
        measure(
            jobs,
            _replayed(stage, jobs, discipline, replica, failures, heat),
            stage.shape,
            edges,
            keep_series=replica == 0,
        )
        for discipline in stage.disciplines
    ]
    return Part(
        replica=replica,
        jobs=int(jobs.submit_ns.size),
        offered=significant(offered / (accelerators * window_ns)),
        window_s=significant(window_ns / NANOSECONDS),
        left_out=dict(trace.left_out),
        notes=[*stage.notes, *heat_notes(stage.hot, trace.loads)],
        grid_s=[significant(edge / NANOSECONDS) for edge in edges[1:]] if replica == 0 else [],
        policies=policies,
    )


def _failures(stage: Stage, jobs: Jobs, replica: int) -> Failures | None:
    """What happens to the nodes in one replica, the same for every policy."""
    spec = stage.request.spec
    if spec.failures is None or stage.failing is None:
        return None
    saving = Saving.of(spec.failures.checkpoint)
    return stage.failing.failures(jobs, saving, seed=spec.seed, future=replica)


def _replayed(
    stage: Stage,
    jobs: Jobs,
    discipline: Discipline,
    replica: int,
    failures: Failures | None,
    heat: JobHeat | None,
) -> Replay:
    """One policy; what it draws by lot depends on the replica, not on the policy."""
    seed = stage.request.spec.seed
    try:
        return replay(
            jobs, stage.shape, discipline, seed=seed, future=replica, failures=failures, heat=heat
        )
    except ReplayError as error:
        raise InputError("jobs", str(error), "jobs that can be played") from error
