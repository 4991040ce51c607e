"""Power on its way from the grid to the chip: stages with losses, limits, phases of jobs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import Cel, Strict, Text
from kfarm_api.thermal import PositiveWatts, Watts
from kfarm_api.units import Bounds, Duration, Quantity, parse_duration_ns


class EfficiencyPoint(Strict):
    """Output over input [percent] at `load` percent of the rated output."""

    load: Annotated[int, Field(ge=0, le=200)]
    efficiency: Annotated[Quantity, Bounds("1", "100", "percent")]


class PowerStage(Strict):
    """A converter on the way from the grid to the node.

    `at` says of what there is one: ``Node`` (its power supplies together), ``Rack`` (rectifier),
    ``Pdu``, ``Feed`` (UPS) or ``Site`` (transformer). Between the points of `efficiency` a straight
    line is drawn, outside the nearest one holds; with one point `rated` [W] is not needed.
    `constant_loss` [W] is lost in each whatever it carries.
    """

    name: Text
    at: Literal["Node", "Rack", "Pdu", "Feed", "Site"]
    efficiency: Annotated[list[EfficiencyPoint], Field(min_length=1, max_length=12)]
    rated: PositiveWatts | None = None
    constant_loss: Watts = "0"
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.efficiency.size() == 1 || has(self.rated)",
            "a stage with an efficiency by load needs rated (W)",
            lambda s: len(s.efficiency) == 1 or s.rated is not None,
        ),
        Cel(
            "self.efficiency.all(p, self.efficiency.exists_one(q, q.load == p.load))",
            "efficiency must not name a load twice",
            lambda s: len({p.load for p in s.efficiency}) == len(s.efficiency),
        ),
    )


class Phases(Strict):
    """A job's devices rise and fall together: `peak` percent of the mean power above idle.

    They are at the peak for `share` percent of each `period`, and as far below the mean in the rest
    as keeps it.
    """

    period: Duration
    peak: Annotated[int, Field(ge=101, le=1000)]
    share: Annotated[int, Field(ge=1, le=99)]
    rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "duration(self.period) >= duration('10ms') && duration(self.period) <= duration('24h')",
            "phases.period must lie between 10ms and 24h",
            lambda p: 10_000_000 <= parse_duration_ns(p.period) <= 24 * 3600 * 10**9,
        ),
        Cel(
            "self.peak * self.share <= 10000",
            "phases: peak x share must not exceed 100 %: the mean is kept, and power is not"
            " negative",
            lambda p: p.peak * p.share <= 10_000,
        ),
    )
