"""What the twin is asked and what it answers: models only, light enough for the operator."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from kfarm_api.base import Strict
from kfarm_api.farm import GPUFarm, NPUFarm
from kfarm_api.plan import (
    AssumptionResult,
    CheckResult,
    PlacementPlan,
    SurvivalResult,
    WorkloadPlacement,
)
from kfarm_api.policy import MAX_FUTURES, ValidationPolicy
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.snapshot import FarmSnapshot, canonical_json, digest
from pydantic import Field

Reason = Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$")]
"""A CamelCase word for machines, as in the reason of a condition."""


class InputError(ValueError):
    """Input that is well-formed but cannot be simulated.

    Attributes
    ----------
    where
        Object and field path, for example ``PlacementPlan/pretrain: spec.farms[0]``.
    found
        What stands there.
    expected
        What would have been right, and so the remedy.
    """

    def __init__(self, where: str, found: str, expected: str) -> None:
        super().__init__(f"{where}: found {found}; expected {expected}")
        self.where = where
        self.found = found
        self.expected = expected

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        return InputError, (self.where, self.found, self.expected)


class ValidationRequest(Strict):
    """All that a verdict depends on; the same request gives the same verdict anywhere.

    Attributes
    ----------
    farms, profiles
        At least those that the plan names; further ones do no harm.
    seed
        Overrides ``policy.spec.simulation.seed``.
    futures
        Overrides ``policy.spec.simulation.futures.max``, and ``min`` where that is larger.
    """

    farms: list[GPUFarm | NPUFarm]
    profiles: list[AcceleratorProfile]
    policy: ValidationPolicy
    plan: PlacementPlan
    snapshot: FarmSnapshot
    seed: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)] | None = None
    futures: Annotated[int, Field(ge=1, le=MAX_FUTURES)] | None = None

    @property
    def effective_seed(self) -> int:
        """The seed that the futures are drawn from."""
        return self.policy.spec.simulation.seed if self.seed is None else self.seed

    @property
    def futures_range(self) -> tuple[int, int]:
        """Least and most futures to play."""
        declared = self.policy.spec.simulation.futures
        most = declared.max if self.futures is None else self.futures
        return min(declared.min, most), most

    def digest(self) -> str:
        """Digest of the specs, the snapshot and the seed.

        Left out are metadata beside names, statuses, telemetry and the uids of nodes, so that the
        same farm described on a laptop and on a cluster has the same digest. Farms and profiles
        that the plan does not name are left out as well.
        """
        return digest(
            {
                "farms": [_spec_of(farm) for farm in self._named_farms()],
                "profiles": [_spec_of(profile) for profile in self._named_profiles()],
                "policy": _spec_of(self.policy),
                "plan": _spec_of(self.plan),
                "snapshot": self._snapshot_content(),
                "seed": self.effective_seed,
                "futures": list(self.futures_range),
            }
        )

    def _named_farms(self) -> list[GPUFarm | NPUFarm]:
        named = {(ref.kind, ref.name) for ref in self.plan.spec.farms}
        farms = [farm for farm in self.farms if (farm.kind, farm.metadata.name) in named]
        return sorted(farms, key=lambda farm: (farm.kind, farm.metadata.name))

    def _named_profiles(self) -> list[AcceleratorProfile]:
        named = {
            cluster.accelerator for farm in self._named_farms() for cluster in farm.spec.clusters
        }
        profiles = [profile for profile in self.profiles if profile.metadata.name in named]
        return sorted(profiles, key=lambda profile: profile.metadata.name)

    def _snapshot_content(self) -> dict[str, Any]:
        named = {(farm.kind, farm.metadata.name) for farm in self._named_farms()}
        nodes = [
            node.model_dump(mode="json", exclude={"uid", "free_at"})
            for node in self.snapshot.nodes
            if (node.farm_kind, node.farm) in named
        ]
        survivors = [survivor.model_dump(mode="json") for survivor in self.snapshot.survivors]
        corrections = sorted(
            (correction.as_manifest() for correction in self.snapshot.corrections),
            key=canonical_json,
        )
        return {
            "nodes": sorted(nodes, key=lambda node: str(node["name"])),
            "survivors": sorted(survivors, key=lambda s: (str(s["workload"]), int(s["slot"]))),
            "epoch": self.snapshot.epoch,
            **({"corrections": corrections} if corrections else {}),
        }


def _spec_of(
    manifest: GPUFarm | NPUFarm | AcceleratorProfile | ValidationPolicy | PlacementPlan,
) -> dict[str, Any]:
    """Kind, names and spec of an object, without what the API server adds.

    Where a farm is measured is left out: what the twin takes from it stands in the snapshot.
    """
    spec = manifest.spec.as_manifest()
    if isinstance(manifest, GPUFarm | NPUFarm):
        spec.pop("telemetry", None)
    return {
        "kind": manifest.kind,
        "namespace": manifest.metadata.namespace,
        "name": manifest.metadata.name,
        "spec": spec,
    }


class MetricSummary(Strict):
    """One metric over the futures played; None where it has no value.

    `p05` to `p99` are order statistics of the futures, `applicable` how many futures have a value.
    """

    unit: str
    applicable: int
    mean: float | None = None
    p05: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Verdict(Strict):
    """The answer: may the workloads be released, where to, and why (not).

    Attributes
    ----------
    reason
        CamelCase word: ``AllChecksPassed``, ``ChecksFailed``, ``FaultsNotSurvived``,
        ``Unplaceable``; or for Inconclusive ``AssumptionDominated``, ``Undecided``,
        ``HorizonTooShort``, ``MetricNotApplicable``, ``TooLarge``.
    message
        What a person should know, with the remedy where there is one.
    worst_future
        Index of the future that should be replayed, with `seed`.
    assumptions
        What the verdict is worth where inputs are not known well; None where that was not asked for
        or nothing was played.
    """

    verdict: Literal["Approved", "Rejected", "Inconclusive"]
    reason: Reason
    message: str
    checks: list[CheckResult] = Field(default_factory=list)
    survives: list[SurvivalResult] = Field(default_factory=list)
    assumptions: AssumptionResult | None = None
    placements: list[WorkloadPlacement] = Field(default_factory=list)
    futures: int
    seed: int
    horizon: str
    worst_future: int | None = None
    inputs_digest: str
    estimates: dict[str, MetricSummary] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
