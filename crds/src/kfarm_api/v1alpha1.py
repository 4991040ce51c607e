"""The public names of ``kfarm.dev/v1alpha1``."""

from kfarm_api.base import API_VERSION, GROUP, VERSION, Condition, Metadata, Reference
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

Kind = AcceleratorProfile | GPUFarm | NPUFarm | ValidationPolicy | PlacementPlan | NodeLedger
KINDS: tuple[type[Kind], ...] = (
    AcceleratorProfile,
    GPUFarm,
    NPUFarm,
    ValidationPolicy,
    PlacementPlan,
    NodeLedger,
)

__all__ = [
    "API_VERSION",
    "GROUP",
    "KINDS",
    "VERSION",
    "AcceleratorProfile",
    "AcceleratorProfileSpec",
    "Check",
    "CheckResult",
    "Claim",
    "Cluster",
    "Condition",
    "Cooling",
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
    "Reference",
    "Slot",
    "SurvivalResult",
    "ValidationPolicy",
    "ValidationPolicySpec",
    "Workload",
    "WorkloadPlacement",
    "ledger_name",
]
