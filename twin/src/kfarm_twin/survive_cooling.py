"""Faults of the cooling that a placement must survive, judged by playing the heat engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from kfarm_api.policy import Fault, FaultLimits
from kfarm_api.units import parse_duration_ns

from kfarm_twin.arrays import Ints
from kfarm_twin.compile import Model
from kfarm_twin.cooling import CoolingPlayer, CoolingRow
from kfarm_twin.cooling_faults import COOLING, CoolingFault, cooling_faults, touched
from kfarm_twin.cooling_load import placed_load
from kfarm_twin.cooling_text import sentence
from kfarm_twin.heat_describe import DescribedHeat, describe_heat

NS_PER_S = 1e9


@dataclass(frozen=True)
class CoolingVerdict:
    """What comes of one instance of a cooling fault for a plan.

    Attributes
    ----------
    touches
        Whether a pod of the plan stands where it is felt.
    lost
        Nodes that go off.
    pods
        Pods of the plan there.
    """

    label: str
    row: CoolingRow
    touches: bool
    lost: int
    pods: int

    @property
    def text(self) -> str:
        """What happens, in words."""
        return sentence(self.row)


class CoolingInjector:
    """Plays faults of the cooling with all workloads running.

    Parameters
    ----------
    slot_node
        [S] node of each slot.
    up
        [N] 1 for nodes that are up.
    """

    def __init__(self, model: Model, slot_node: Ints, up: Ints, limits: FaultLimits) -> None:
        self.model, self.slot_node = model, slot_node
        self.heat: DescribedHeat = describe_heat(model.clusters)
        load = placed_load(self.heat, model, slot_node, up)
        lasts = math.inf if limits.lasts is None else parse_duration_ns(limits.lasts) / NS_PER_S
        self.player = CoolingPlayer(self.heat, model.clusters, load, lasts)

    def verdicts(self, kind: Fault) -> list[CoolingVerdict]:
        """One for each instance of a kind of fault."""
        return [self._verdict(fault) for fault in self.player.faults(kind)]

    def _verdict(self, fault: CoolingFault) -> CoolingVerdict:
        row = self.player.row(fault)
        feels = touched(self.heat, fault) == 1
        feels[list(fault.dark)] = True
        here = int(feels[self.slot_node[self.slot_node >= 0]].sum())
        off = row.shutdown_s is not None or row.dark > 0
        return CoolingVerdict(
            label=fault.label,
            row=row,
            touches=here > 0,
            lost=row.down + row.dark,
            pods=here if off else 0,
        )

    def least_times(self) -> tuple[float | None, float | None]:
        """Least time to throttling and to a shutdown after any single fault [s]."""
        study = self.player.study()
        return study.throttle_min_s, study.shutdown_min_s


def cooling_matters(model: Model, faults: Sequence[Fault]) -> bool:
    """Whether any of these faults takes more than what stands beside what is needed."""
    asked = [kind for kind in COOLING if kind in faults]
    if not asked:
        return False
    heat = describe_heat(model.clusters)
    return any(
        not fault.harmless for kind in asked for fault in cooling_faults(heat, model.clusters, kind)
    )


def certain(row: CoolingRow) -> bool:
    """Whether a shutdown comes whatever the inputs: nothing is left, and nothing comes back."""
    endless = row.back_s is None and row.left == 0
    return bool(np.any([row.dark > 0, endless and row.shutdown_s is not None]))
