"""Power from the node to the grid: what stages draw for what they deliver.

`Chain` is a list of stages from the load outwards; `upstream` says what it draws, `downstream` how
much it can deliver. In the event loop the same tables are read by `kernels.converters`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from kfarm_api.electric import PowerStage
from kfarm_api.units import parse_quantity

from kfarm_twin.arrays import Floats, Ints
from kfarm_twin.kernels.converters import Converters, chain_inputs
from kfarm_twin.request import InputError

MW_PER_W = 1000.0
STEEPEST = 1.0 - 1e-9
"""Least rise of what is drawn with what is delivered, where a draw of losses would let it fall."""
NODE, RACK, PDU, FEED, SITE = "Node", "Rack", "Pdu", "Feed", "Site"
"""What there is one stage of."""


@dataclass(frozen=True)
class Stage:
    """One converter; powers in mW.

    Attributes
    ----------
    loads, efficiencies
        Output [mW] and output over input at the points, ascending.
    rated
        Output [mW]; 0 where none is stated.
    """

    name: str
    loads: tuple[float, ...]
    efficiencies: tuple[float, ...]
    loss: float
    rated: float = 0.0

    @classmethod
    def of(cls, stage: PowerStage, where: str, losses: float = 1.0) -> Stage:
        """A stage as described, with `losses` times what it loses for what it delivers.

        Raises
        ------
        InputError
            When more would be delivered for less.
        """
        points = sorted((p.load, parse_quantity(p.efficiency) / 100.0) for p in stage.efficiency)
        for (low, less), (high, more) in pairwise(points):
            if low * more >= high * less:
                raise InputError(
                    f"{where}.efficiency",
                    f"{100 * less:g} % at load {low} and {100 * more:g} % at load {high}",
                    "efficiencies with which a larger load draws more: below "
                    f"{100 * high * less / low:.4g} % at load {high}",
                )
        rated = parse_quantity(stage.rated) * MW_PER_W if stage.rated is not None else 0.0
        loads = tuple(load / 100.0 * rated for load, _ in points)
        found = [_efficiency(share, losses) for _, share in points]
        for index in range(1, len(found) if loads[0] > 0.0 else 0):  # a draw of high losses
            found[index] = min(
                found[index], STEEPEST * found[index - 1] * loads[index] / loads[index - 1]
            )
        loss = parse_quantity(stage.constant_loss) * MW_PER_W * losses
        return cls(stage.name, loads, tuple(found), loss, rated)


def _efficiency(stated: float, losses: float) -> float:
    """Output over input where `losses` times as much is lost for the same output."""
    return stated if losses == 1.0 else 1.0 / (1.0 + (1.0 / stated - 1.0) * losses)


Chain = tuple[Stage, ...]
"""Stages from the load outwards."""


def chain_at(
    stages: Sequence[PowerStage], at: str, where: str, losses: Mapping[str, float] | None = None
) -> Chain:
    """The stages of one kind, in order.

    Parameters
    ----------
    where
        Names the list in errors.
    losses
        By name of a stage a factor on what it loses.

    Raises
    ------
    InputError
        When a stage would draw less for more.
    """
    return tuple(
        Stage.of(stage, f"{where}[{index}]", (losses or {}).get(stage.name, 1.0))
        for index, stage in enumerate(stages)
        if stage.at == at
    )


def _points(stage: Stage) -> list[tuple[float, ...]]:
    """Rows of `Converters.point` of a stage; the first stands at 0."""
    loads, shares, loss = stage.loads, stage.efficiencies, stage.loss
    rows: list[tuple[float, ...]] = [(0.0, 0.0, shares[0], 0.0, loss)]
    if len(loads) > 1 and loads[0] == 0.0:
        rows = []
    if len(loads) == 1:
        return rows
    for index, (load, share) in enumerate(zip(loads, shares, strict=True)):
        slope = 0.0
        if index + 1 < len(loads):
            slope = (shares[index + 1] - share) / (loads[index + 1] - load)
        rows.append((load, load / share, share - slope * load, slope, loss))
    return rows


def converters(chains: Sequence[Chain]) -> tuple[Converters, Ints]:
    """Tables of all chains, and [chains, 2] first stage and number of stages of each."""
    points = [_points(stage) for chain in chains for stage in chain]
    table = np.array([row for rows in points for row in rows], np.float64).reshape(-1, 5)
    starts = np.cumsum([0, *(len(chain) for chain in chains)])[:-1]
    return (
        Converters(_ints(np.cumsum([0, *(len(rows) for rows in points)])), _floats(table)),
        _ints(np.stack([starts, [len(chain) for chain in chains]], axis=1)),
    )


def _floats(values: object) -> Floats:
    column = np.ascontiguousarray(values, np.float64)
    column.setflags(write=False)
    return column


def _ints(values: object) -> Ints:
    column = np.ascontiguousarray(values, np.int64)
    column.setflags(write=False)
    return column


def upstream(chain: Chain, load_w: Floats | float, units: int = 1) -> Floats:
    """What `units` chains alike draw that share a load evenly [W].

    Parameters
    ----------
    load_w
        Delivered in all [W], any shape.
    """
    loads = np.ascontiguousarray(np.atleast_1d(np.asarray(load_w, np.float64)))
    tables, rows = converters([chain])
    inputs, count = np.empty(loads.size), np.full(loads.size, rows[0, 1])
    each = np.ascontiguousarray(loads.ravel() * (MW_PER_W / units))
    chain_inputs(tables, np.zeros(loads.size, np.int64), count, each, inputs)
    found: Floats = (inputs * (units / MW_PER_W)).reshape(np.shape(load_w))
    return found


def downstream(chain: Chain, input_w: float) -> float:
    """The most that a chain can deliver when it draws at most `input_w` [W]; 0 when nothing.

    By halving, since `upstream` never falls.
    """
    low, high = 0.0, max(input_w, 0.0)
    if float(upstream(chain, 0.0)) > input_w:
        return 0.0
    while low < (middle := low + (high - low) / 2.0) < high:
        if float(upstream(chain, middle)) <= input_w:
            low = middle
        else:
            high = middle
    return high if float(upstream(chain, high)) <= input_w else low
