"""From replicas to a result: plain arithmetic, so that the operator can do it too."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kfarm_twin.whatif_request import WhatIfRequest, jobs_workload, rules_of
from kfarm_twin.whatif_result import (
    PERCENTILES,
    Farmland,
    Part,
    PolicyResult,
    SizeClass,
    WhatIf,
    Workload,
    metrics_of,
)
from kfarm_twin.whatif_stats import Value, difference, interval, significant
from kfarm_twin.whatif_text import best_policy, headline


def conclude(request: WhatIfRequest, farm: Farmland, parts: Sequence[Part]) -> WhatIf:
    """Put the replicas together.

    Parameters
    ----------
    parts
        One for each replica, in any order.
    """
    parts = sorted(parts, key=lambda part: part.replica)
    policies = [_policy(request, parts, index) for index in range(len(request.spec.policies))]
    workload = _workload(request, parts[0])
    best = best_policy(policies)
    return WhatIf(
        name=request.name,
        inputs_digest=request.digest(),
        seed=request.spec.seed,
        replicas=len(parts),
        **farm.model_dump(),
        accelerators=farm.nodes * farm.accelerators_per_node,
        horizon=request.spec.horizon,
        workload=workload,
        percentiles=[float(p) for p in PERCENTILES],
        grid_s=parts[0].grid_s,
        policies=policies,
        best=best.name if best else None,
        headline=headline(policies, best, workload, len(parts)),
        notes=list(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _workload(request: WhatIfRequest, first: Part) -> Workload:
    workload = jobs_workload(request.spec)
    trace, generator = workload.trace, workload.generator
    if trace is not None:
        source = request.source.name if request.source else trace.config_map.key
        between = (
            "replica 0 plays the trace as recorded; each other one plays a trace made of its "
            f"blocks of {trace.block}, drawn with replacement"
        )
    else:
        mix = generator.mix if generator else None
        source = mix or (request.source.name if request.source else "model")
        between = "each replica draws its own jobs from the generator"
    return Workload(
        kind="Trace" if trace else "Generator",
        source=source,
        format=trace.format if trace else None,
        jobs=first.jobs,
        window_s=first.window_s,
        offered=first.offered,
        left_out=first.left_out,
        between_replicas=between + "; every policy plays the same jobs",
    )


def _policy(request: WhatIfRequest, parts: Sequence[Part], index: int) -> PolicyResult:
    policy = request.spec.policies[index]
    mine = [part.policies[index] for part in parts]
    better = metrics_of(mine[0].metrics)
    values = {name: [part.metrics.get(name) for part in mine] for name in better}
    differences = {}
    if index:
        base = [part.policies[0] for part in parts]
        differences = {
            name: difference(
                values[name], [part.metrics.get(name) for part in base], lower_is_better=lower
            )
            for name, lower in better.items()
        }
    return PolicyResult(
        name=policy.name,
        described=rules_of(policy),
        policy=policy,
        metrics={name: interval(column) for name, column in values.items()},
        differences=differences,
        sizes=_sizes([part.sizes for part in mine]),
        waits_s=[
            _mean(column) or 0.0 for column in zip(*(part.waits_s for part in mine), strict=True)
        ],
        series=mine[0].series,
        never_run=_mean([float(part.never_run) for part in mine]) or 0.0,
    )


def _sizes(replicas: Sequence[list[SizeClass]]) -> list[SizeClass]:
    """Mean over the replicas of each class that holds a job anywhere."""
    labels = {size.label: size for sizes in replicas for size in sizes}
    merged = []
    for label, first in sorted(labels.items(), key=lambda item: item[1].gpus_min):
        mine = [size for sizes in replicas for size in sizes if size.label == label]
        figures = {
            name: _mean([getattr(size, name) for size in mine])
            for name in ("wait_mean_s", "wait_p50_s", "wait_p90_s", "wait_p99_s", "slowdown_mean")
        }
        jobs = significant(math.fsum(size.jobs for size in mine) / len(replicas))
        merged.append(first.model_copy(update={**figures, "jobs": jobs}))
    return merged


def _mean(values: Sequence[Value]) -> Value:
    known = [value for value in values if value is not None]
    return significant(math.fsum(known) / len(known)) if known else None
