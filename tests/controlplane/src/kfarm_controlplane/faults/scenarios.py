"""All scenarios by name."""

from __future__ import annotations

from kfarm_controlplane.faults.drill_scenarios import (
    DrillAborted,
    DrillDeleted,
    DrillDeviceFault,
    DrillEditedNode,
    DrillNodeDown,
    DrillNodeRecreated,
    DrillRack,
    DrillRefused,
    DrillsOnOneDomain,
    DrillTimeToLive,
    DrillTwoFaults,
)
from kfarm_controlplane.faults.farm_scenarios import (
    FarmDeleted,
    FarmScaled,
    GateOpened,
    ProfileChanged,
)
from kfarm_controlplane.faults.kueue_scenarios import KueueEvicted, KueueReady, KueueRetry
from kfarm_controlplane.faults.plan_scenarios import (
    Approved,
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
from kfarm_controlplane.faults.stage import Scenario

_ALL: tuple[Scenario, ...] = (
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
    DrillNodeDown(),
    DrillDeviceFault(),
    DrillRack(),
    DrillTwoFaults(),
    DrillAborted(),
    DrillDeleted(),
    DrillEditedNode(),
    DrillNodeRecreated(),
    DrillsOnOneDomain(),
    DrillRefused(),
    DrillTimeToLive(),
)
SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
