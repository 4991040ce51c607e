"""The public names of ``kfarm.dev/v1alpha1``."""

from kfarm_api.base import API_VERSION, GROUP, VERSION, Condition, Metadata, Reference
from kfarm_api.drill import DrillFault, FailureDrill, FailureDrillSpec
from kfarm_api.drill_status import FailureDrillStatus
from kfarm_api.farm import Cluster, Cooling, Farm, FarmSpec, FarmStatus, GPUFarm, NPUFarm
from kfarm_api.ledger import Claim, NodeClaim, NodeLedger, ledger_name
from kfarm_api.plan import (
    CheckResult,
    PlacementPlan,
    PlacementPlanSpec,
    PlacementPlanStatus,
    Slot,
    SurvivalResult,
    Workload,
    WorkloadPlacement,
)
from kfarm_api.policy import Check, ValidationPolicy, ValidationPolicySpec
from kfarm_api.profile import AcceleratorProfile, AcceleratorProfileSpec
from kfarm_api.reliability import FailureClass, Reliability
from kfarm_api.twinrun import RunPolicy, Shape, TwinRun, TwinRunSpec
from kfarm_api.twinrun_status import Artifact, PolicyDigest, TwinRunStatus

Kind = (
    AcceleratorProfile
    | GPUFarm
    | NPUFarm
    | ValidationPolicy
    | PlacementPlan
    | NodeLedger
    | TwinRun
    | FailureDrill
)
KINDS: tuple[type[Kind], ...] = (
    AcceleratorProfile,
    GPUFarm,
    NPUFarm,
    ValidationPolicy,
    PlacementPlan,
    NodeLedger,
    TwinRun,
    FailureDrill,
)

__all__ = [
    "API_VERSION",
    "GROUP",
    "KINDS",
    "VERSION",
    "AcceleratorProfile",
    "AcceleratorProfileSpec",
    "Artifact",
    "Check",
    "CheckResult",
    "Claim",
    "Cluster",
    "Condition",
    "Cooling",
    "DrillFault",
    "FailureClass",
    "FailureDrill",
    "FailureDrillSpec",
    "FailureDrillStatus",
    "Farm",
    "FarmSpec",
    "FarmStatus",
    "GPUFarm",
    "Kind",
    "Metadata",
    "NPUFarm",
    "NodeClaim",
    "NodeLedger",
    "PlacementPlan",
    "PlacementPlanSpec",
    "PlacementPlanStatus",
    "PolicyDigest",
    "Reference",
    "Reliability",
    "RunPolicy",
    "Shape",
    "Slot",
    "SurvivalResult",
    "TwinRun",
    "TwinRunSpec",
    "TwinRunStatus",
    "ValidationPolicy",
    "ValidationPolicySpec",
    "Workload",
    "WorkloadPlacement",
    "ledger_name",
]
