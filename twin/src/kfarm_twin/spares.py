"""How many spare nodes a gang needs: the same chance played with ever more of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kfarm_twin.answers_result import SpareRow, Spares, Textbook
from kfarm_twin.arrays import Floats
from kfarm_twin.erlang import erlang_b, erlang_c, poisson_tail
from kfarm_twin.fleetrun import Futures, play_futures
from kfarm_twin.fleetrun_farm import with_spares, without_gang
from kfarm_twin.fleetrun_request import FleetRequest
from kfarm_twin.kernels import fleet_columns as c
from kfarm_twin.outcomes import order_statistics
from kfarm_twin.request import InputError
from kfarm_twin.spares_text import headline
from kfarm_twin.whatif_stats import significant

WORTH = 0.001
"""A spare that gains less of mean ETTR does not pay: a tenth of a point."""
MOST = 64
"""Spares that are tried unless told otherwise, at most."""
Z95 = 1.959963984540054
"""Of the normal distribution: 95 % lie within so many standard errors."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Target:
    """What is wanted: ETTR that 95 % of futures reach, share of time waiting, and a limit."""

    ettr: float | None = None
    wait: float | None = None
    most: int | None = None


def answer_spares(
    request: FleetRequest,
    target: Target,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Spares:
    """Play the gang with 0, 1, 2, ... spares until the target is met and one more does not pay.

    Raises
    ------
    InputError
        When there is no gang, or the request contradicts itself.
    """
    gang = request.gang
    if gang is None:
        raise InputError("spec.workload", "no gang", "a gang: spares are for its nodes")
    most = MOST if target.most is None else target.most
    rows: list[SpareRow] = []
    before: Floats | None = None
    for spares in range(most + 1):
        if progress is not None:
            progress(spares, most + 1)
        changed = with_spares(request, spares)
        played = play_futures(changed, None, workers)
        alone = play_futures(without_gang(changed), None, workers)
        rows.append(_row(spares, request, played, alone, before))
        before = played.metrics["ettr"]
        if _is_enough(rows, target):
            break
    found = chosen(rows, target)
    result = Spares(
        name=request.name,
        inputs_digest=request.digest(),
        gang_nodes=gang.nodes,
        futures=request.spec.replicas,
        seed=request.spec.seed,
        horizon=request.spec.horizon,
        target_ettr=target.ettr,
        target_wait=target.wait,
        answer=None if found is None else found.spares,
        offered_load=significant(_load(alone, gang.nodes + rows[-1].spares)),
        headline=[],
        rows=rows,
        notes=_notes(request, played),
    )
    return result.model_copy(update={"headline": headline(result)})


def _notes(request: FleetRequest, played: Futures) -> list[str]:
    shape, gang = request.spec.shape, request.gang
    notes = list(played.notes)
    if shape is not None and gang is not None:
        others = shape.nodes - shape.spares - gang.nodes
        if others:
            notes.append(
                f"the {others:,} other nodes of the shape are left out: they run other work, and "
                "neither stand in for the gang's nodes nor wait for the same crews and parts"
            )
    elif shape is None:
        notes.append("only the gang's own cluster is played, cut down to its nodes and the spares")
    return notes


def _load(alone: Futures, nodes: int) -> float:
    """Nodes out on average where failures are independent and nobody waits [Erlang]."""
    return nodes * float(alone.fleet.tables.rates[0, c.DOWN])


def _row(
    spares: int, request: FleetRequest, played: Futures, alone: Futures, before: Floats | None
) -> SpareRow:
    ettr, gang = played.metrics["ettr"], request.gang
    if gang is None or played.waited is None or played.wait_share is None:
        raise AssertionError("a gang was played")
    down, nodes = alone.metrics, gang.nodes + spares
    load = _load(alone, nodes)
    gain = (None, None, None) if before is None else paired(ettr - before)
    span = alone.down_ns.astype(np.float64)
    return SpareRow(
        spares=spares,
        ettr=significant(_mean(ettr)),
        ettr_p05=significant(order_statistics(ettr, (0.05,))[0]),
        goodput=significant(_mean(played.metrics["goodput"])),
        gain=gain[0],
        gain_low=gain[1],
        gain_high=gain[2],
        waiting=significant(_mean(played.wait_share)),
        futures_waiting=significant(_mean(played.waited)),
        none_left=significant(float(span[spares:].sum() / span.sum())),
        nodes_down_mean=significant(_mean(down["nodes_down_mean"])),
        nodes_down_p95=float(_time_quantile(span, 0.95)),
        nodes_down_p99=float(_time_quantile(span, 0.99)),
        nodes_down_max=float(np.flatnonzero(span)[-1]),
        textbook=Textbook(
            erlang_b=significant(erlang_b(spares, load)),
            erlang_c=significant(erlang_c(spares, load)),
            independent=significant(poisson_tail(spares, load)),
        ),
    )


def _time_quantile(span: Floats, share: float) -> int:
    """Least number of nodes that were down at once, or fewer, for `share` of all time."""
    return int(np.searchsorted(np.cumsum(span), share * span.sum() - 0.5))


def _mean(values: Floats) -> float:
    return math.fsum(values) / len(values)


def paired(differences: Floats) -> tuple[float, float | None, float | None]:
    """Mean of paired differences with its 95 % interval; no interval of a single future."""
    mean = _mean(differences)
    if len(differences) < 2:
        return significant(mean), None, None
    error = Z95 * float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    return significant(mean), significant(mean - error), significant(mean + error)


def _meets(row: SpareRow, target: Target) -> bool:
    if target.ettr is not None and row.ettr_p05 < target.ettr:
        return False
    return target.wait is None or row.waiting <= target.wait


def _pays_no_more(rows: list[SpareRow], at: int) -> bool:
    """Whether the spare after `rows[at]` gains too little; unknown where it was not played."""
    return at + 1 < len(rows) and (rows[at + 1].gain or 0.0) < WORTH


def chosen(rows: list[SpareRow], target: Target) -> SpareRow | None:
    """The least spares that meet the target; without one, after which no more pays."""
    free = target.ettr is None and target.wait is None
    for at, row in enumerate(rows):
        if _meets(row, target) and (not free or _pays_no_more(rows, at)):
            return row
    return None


def _is_enough(rows: list[SpareRow], target: Target) -> bool:
    """The answer is among the rows, and two rows beyond it, or more is of no use."""
    found = chosen(rows, target)
    if found is not None:
        return rows[-1].spares >= found.spares + 2
    return rows[-1].futures_waiting == 0.0 and len(rows) > 1 and rows[-2].futures_waiting == 0.0
