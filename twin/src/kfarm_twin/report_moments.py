"""The worst future rack by rack: which moments the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kfarm_twin.pictures.moments import Moments, choose, most_moments, worst_moment

if TYPE_CHECKING:
    from kfarm_twin.results import Replay


def moments(replay: Replay, labels: Sequence[str], seed: int) -> Moments:
    """States of racks `labels` in a replay; the worst moment is among them.

    Parameters
    ----------
    labels
        Racks as the page orders them, all of the model.
    """
    row = {label: at for at, label in enumerate(replay.rack_labels)}
    order = np.array([row[label] for label in labels])
    time_s = replay.series["time_s"].to_numpy()
    power = replay.rack_power_w[:, order]
    worst, why = worst_moment(None, power)
    kept = choose(time_s, power.sum(axis=1), [worst], most_moments(len(labels)))
    return Moments(
        title="Worst future",
        note=f"Future {replay.future} of seed {seed}; a state lasts until the next.",
        time_s=[float(t) for t in time_s[kept]],
        values={"power_w": power[kept]},
        start=kept.index(worst),
        worst=why,
    )
