"""All scenarios by name."""

from __future__ import annotations

from kfarm_controlplane.faults.farm_scenarios import (
    FarmDeleted,
    FarmScaled,
    GateOpened,
    ProfileChanged,
)
from kfarm_controlplane.faults.kueue_scenarios import KueueEvicted, KueueReady, KueueRetry
from kfarm_controlplane.faults.plan_scenarios import (
    Approved,
    Base,
    DeletedMidSimulation,
    EditedAfterApproval,
    EditedMidSimulation,
    FiftyPlans,
    NodeLostHalfReleased,
    PodRecreated,
    RecreatedSameName,
    Rejected,
    TwoPlansRace,
)

_ALL: tuple[Base, ...] = (
    Approved(),
    Rejected(),
    EditedMidSimulation(),
    EditedAfterApproval(),
    DeletedMidSimulation(),
    RecreatedSameName(),
    PodRecreated(),
    NodeLostHalfReleased(),
    TwoPlansRace(),
    FarmScaled(),
    FarmDeleted(),
    ProfileChanged(),
    KueueReady(),
    KueueRetry(),
    KueueEvicted(),
    FiftyPlans(),
    GateOpened(),
)
SCENARIOS: dict[str, Base] = {scenario.name: scenario for scenario in _ALL}
