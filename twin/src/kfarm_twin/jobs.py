"""Jobs as columns: what trace readers and generators give and what the farm driver plays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints

WHOLE_MILLI = 1000
"""A device that is not shared, in thousandths of a device."""


class Jobs(NamedTuple):
    """One row per job [J], by time of submission, then by place in the file; read-only int64.

    A job is a gang of equal pods. All of them start together or none does.
    """

    submit_ns: Ints  # since the start of the trace
    run_ns: Ints  # true run time at full speed, > 0
    limit_ns: Ints  # run time that the user asked for; the scheduler sees this one
    pods: Ints  # members of the gang, >= 1
    gpus: Ints  # devices of each pod; 0 for a pod without
    gpu_milli: Ints  # share of each device [1/1000]; 1000 for whole devices, 0 without
    cpu_milli: Ints  # CPU of each pod [m]; 0 where the trace does not say
    memory_mib: Ints  # memory of each pod [MiB]; 0 where the trace does not say
    priority: Ints  # larger goes first
    queue: Ints  # row of JobTrace.queues
    models: Ints  # row of JobTrace.models: device models that will do


class JobLoads(NamedTuple):
    """How hard jobs work what they hold [J]; -1 where the trace does not say; read-only int64."""

    gpu_ppm: Ints  # of each device, share of the power between idle and its limit [ppm]
    cpu_ppm: Ints  # of the node's other parts, in proportion to the devices held [ppm]


@dataclass(frozen=True)
class JobTrace:
    """Jobs with their names, and what a reader left out.

    Attributes
    ----------
    ids
        [J] name of each job as in the file.
    queues
        Names of queues (virtual clusters, SWF queues, tenants).
    models
        Sets of device models; row 0 is the empty set and means any.
    left_out
        Reason -> number of records that gave no job; empty when all did.
    start
        Time of `submit_ns` 0, where the trace says so.
    loads
        None where the trace says nothing of loads.
    """

    jobs: Jobs
    ids: NDArray[np.str_]
    queues: tuple[str, ...]
    models: tuple[frozenset[str], ...] = (frozenset(),)
    left_out: Mapping[str, int] = field(default_factory=dict)
    start: datetime | None = None
    loads: JobLoads | None = None
