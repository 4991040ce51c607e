"""Outcomes of futures: joined, and summarised by order statistics. Arrays only."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kfarm_twin.arrays import Floats, Outcome


def join_outcomes(parts: Iterable[Outcome]) -> Outcome:
    """Results of consecutive batches as one."""
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Outcome(*columns)


def order_statistics(values: Floats, shares: Iterable[float]) -> list[float]:
    """The least value that at least `share` of all values do not exceed, for each share."""
    ordered = np.sort(values)
    ranks = [max(int(np.ceil(share * len(ordered) - 1e-9)), 1) for share in shares]
    return [float(ordered[rank - 1]) for rank in ranks]
