"""What a generator of jobs needs: how jobs come, and how large and long they are.

A model is a small file of quantiles and shares, fitted to a trace (`fit`) or written by hand. All
tables hold quantiles at the probabilities of `GRID`, values between them are linear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from kfarm_twin.traces.cells import MAX_COUNT

HOURS_PER_WEEK = 168
GRID = (
    *(0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03),
    *(step / 40 for step in range(2, 39)),
    *(0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0),
)
"""Probabilities of the quantiles in a table; closer at both ends, where run times spread most."""
RATIO_GRID = (0.0, 0.02, *(step / 20 for step in range(1, 20)), 0.98, 0.99, 1.0)
"""The same for limits, of which a model has a table for each band of run times."""
MAX_SECONDS = 2_000_000_000.0

Positive = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Quantiles = Annotated[tuple[Positive, ...], Field(min_length=len(GRID), max_length=len(GRID))]
Ratios = Annotated[
    tuple[Positive, ...], Field(min_length=len(RATIO_GRID), max_length=len(RATIO_GRID))
]


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class Arrivals(_Part):
    """How jobs come.

    Attributes
    ----------
    jobs_per_hour
        Mean over a whole week.
    hour_of_week
        Rate in each hour since Monday 00:00 over the mean.
    gaps
        Quantiles of the gap to the next job over the mean gap, in a time in which the rate is
        constant.
    mood_share, mood_jobs
        Bursts and lulls: a mood is one eighth of the distribution of gaps, the shortest to the
        longest; it lasts `mood_jobs` jobs on average, and this share of the gaps follow it. The
        others are independent. The distribution of the gaps stays as it is.
    """

    jobs_per_hour: Positive
    hour_of_week: Annotated[
        tuple[NotNegative, ...], Field(min_length=HOURS_PER_WEEK, max_length=HOURS_PER_WEEK)
    ]
    gaps: Annotated[tuple[NotNegative, ...], Field(min_length=len(GRID), max_length=len(GRID))]

    mood_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    mood_jobs: Annotated[float, Field(ge=1, le=1e6)] = 1.0

    @model_validator(mode="after")
    def _comes(self) -> Self:
        if sum(self.hour_of_week) <= 0 or sum(self.gaps) <= 0:
            raise ValueError("hourOfWeek and gaps must not be 0 throughout")
        _check_rising("gaps", self.gaps)
        return self


class Shape(_Part):
    """A gang as a job asks for it, and how many of the jobs of its class do (any unit)."""

    weight: Positive
    pods: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    gpus: Count
    gpu_milli: Annotated[int, Field(ge=0, le=1000)]
    cpu_milli: Count = 0
    memory_mib: Count = 0
    models: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if (self.gpus > 0) != (self.gpu_milli > 0):
            raise ValueError("gpuMilli is 1 to 1000 with GPUs and 0 without")
        return self


class SizeMix(_Part):
    """Jobs of one size class.

    Attributes
    ----------
    label
        The class in words.
    weight
        Jobs of this class among all (any unit).
    run_s
        Quantiles of the true run time [s].
    limit_over_run
        Quantiles of limit over run time, at `RATIO_GRID`, in bands of run time of equal
        probability from the shortest: users state round limits, so that short runs have large
        ratios.
    queues
        Queue -> jobs (any unit).
    """

    label: str
    weight: Positive
    run_s: Quantiles
    limit_over_run: Annotated[tuple[Ratios, ...], Field(min_length=1, max_length=64)]
    shapes: Annotated[tuple[Shape, ...], Field(min_length=1)]
    queues: Annotated[dict[str, Positive], Field(min_length=1)]

    @model_validator(mode="after")
    def _rises(self) -> Self:
        _check_rising("runS", self.run_s)
        for band in self.limit_over_run:
            _check_rising("limitOverRun", band)
            if band[0] < 1:
                raise ValueError("limitOverRun must be at least 1: a job ends at its limit")
        return self


class TraceModel(_Part):
    """A generator's model.

    Attributes
    ----------
    source
        Where its figures come from, in words.
    gpus_per_node
        Devices of the nodes that the shapes were cut for.
    left_out_shapes
        Share of the source's jobs whose shape was too rare to be kept; they take a kept shape of
        their class.
    """

    schema_: Literal["kfarm.dev/trace-model/v1"] = Field("kfarm.dev/trace-model/v1", alias="schema")
    source: str
    gpus_per_node: Annotated[int, Field(ge=1, le=1024)]
    left_out_shapes: Annotated[float, Field(ge=0, le=1)] = 0.0
    arrivals: Arrivals
    sizes: Annotated[tuple[SizeMix, ...], Field(min_length=1)]


def _check_rising(name: str, values: Sequence[float]) -> None:
    if any(later < earlier for earlier, later in pairwise(values)):
        message = f"{name}: quantiles must not fall"
        raise ValueError(message)


_DEFAULT_SIZES = {
    1: 0.35, 2: 0.10, 4: 0.10, 8: 0.20, 16: 0.08, 32: 0.06,
    64: 0.05, 128: 0.03, 256: 0.02, 512: 0.008, 1024: 0.002,
}  # fmt: skip
_MEDIAN_S, _SIGMA, _SHORTEST_S, _LONGEST_S = 2400.0, 1.5, 60.0, 3 * 86_400.0
_EDGE = 0.0001


def default_model(gpus_per_node: int = 8) -> TraceModel:
    """A mix to begin with where there is no trace.

    assumption: sizes, run times (lognormal, median 2,400 s, sigma 1.5, 60 s to 3 days) and limits
    (1.05 to 3 times the run, uniform) are those of the synthetic farm week (traces/farm-week);
    arrivals are Poisson at its rate, 35,000 in 7 days. None of it was measured on a farm.
    """
    run = tuple(float(round(_default_run_s(p))) for p in GRID)
    ratios = tuple(round(1.05 + 1.95 * p, 6) for p in RATIO_GRID)
    sizes = [
        SizeMix(
            label=f"{devices:,}",
            weight=weight,
            run_s=run,
            limit_over_run=(ratios,),
            shapes=(_default_shape(devices, gpus_per_node),),
            queues={"default": 1.0},
        )
        for devices, weight in _DEFAULT_SIZES.items()
    ]
    gaps = tuple(round(-math.log(1 - min(p, 1 - _EDGE)), 6) for p in GRID)
    return TraceModel(
        source="assumption: the mix of the synthetic farm week, Poisson arrivals; not measured",
        gpus_per_node=gpus_per_node,
        arrivals=Arrivals(
            jobs_per_hour=35_000 / HOURS_PER_WEEK, hour_of_week=(1.0,) * HOURS_PER_WEEK, gaps=gaps
        ),
        sizes=tuple(sizes),
    )


def _default_run_s(probability: float) -> float:
    place = NormalDist().inv_cdf(min(max(probability, _EDGE), 1 - _EDGE))
    return min(max(_MEDIAN_S * math.exp(_SIGMA * place), _SHORTEST_S), _LONGEST_S)


def _default_shape(devices: int, gpus_per_node: int) -> Shape:
    pods = max(1, -(-devices // gpus_per_node))
    return Shape(weight=1.0, pods=pods, gpus=min(devices, gpus_per_node), gpu_milli=1000)
