"""A what-if: the same jobs under several policies, replica by replica, on the same chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from kfarm_api.units import parse_duration_ns

from kfarm_twin.jobs import Jobs, JobTrace
from kfarm_twin.replay import Discipline, Replay, ReplayError, replay
from kfarm_twin.replay import Shape as ReplayShape
from kfarm_twin.request import InputError
from kfarm_twin.whatif_conclude import conclude
from kfarm_twin.whatif_farm import discipline_of, farmland_of, shape_of
from kfarm_twin.whatif_measure import GRID_CELLS, job_sizes, measure
from kfarm_twin.whatif_request import WhatIfRequest, jobs_workload
from kfarm_twin.whatif_result import Farmland, Part, WhatIf
from kfarm_twin.whatif_stats import significant
from kfarm_twin.whatif_workload import cut, draw, resample, source_trace

NANOSECONDS = 1e9


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
    return Stage(request, farm, shape_of(farm), disciplines, notes)


def play(request: WhatIfRequest, progress: Callable[[int, int], None] | None = None) -> WhatIf:
    """Play every policy in every replica.

    Parameters
    ----------
    progress
        Called with the replicas done and their number.

    Raises
    ------
    InputError, ManifestError
        When farm, trace or model is wrong.
    """
    stage, total = prepare(request), request.spec.replicas
    parts = []
    for replica in range(total):
        parts.append(play_replica(stage, replica))
        if progress is not None:
            progress(replica + 1, total)
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
    seed = stage.request.spec.seed
    policies = [
        measure(
            jobs,
            _replayed(jobs, stage.shape, discipline, seed, replica),
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
        notes=list(stage.notes),
        grid_s=[significant(edge / NANOSECONDS) for edge in edges[1:]] if replica == 0 else [],
        policies=policies,
    )


def _replayed(
    jobs: Jobs, shape: ReplayShape, discipline: Discipline, seed: int, replica: int
) -> Replay:
    """One policy; what it draws by lot depends on the replica, not on the policy."""
    try:
        return replay(jobs, shape, discipline, seed=seed, future=replica)
    except ReplayError as error:
        raise InputError("jobs", str(error), "jobs that can be played") from error
