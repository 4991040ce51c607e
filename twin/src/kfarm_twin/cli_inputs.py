"""From files on the command line to requests: what belongs together, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kfarm_api.base import Reference
from kfarm_api.farm import Farm, GPUFarm, NPUFarm
from kfarm_api.plan import PlacementPlan
from kfarm_api.policy import ValidationPolicy
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.snapshot import FarmSnapshot, synthetic_snapshot

from kfarm_twin.load import Document, ManifestError, Problem, load_files, load_model
from kfarm_twin.request import InputError, ValidationRequest

CATALOGUE_HINT = (
    "the profiles that kfarm ships are in examples/catalogue: add -f examples/catalogue"
)
POLICY_HINT = "the policies that kfarm ships are in examples/policies: add -f examples/policies"


@dataclass(frozen=True)
class Options:
    """What overrides the policy.

    Attributes
    ----------
    snapshot
        State to start from; synthetic when left out.
    snapshot_file
        Where it was read from.
    """

    snapshot: FarmSnapshot | None = None
    seed: int | None = None
    futures: int | None = None
    snapshot_file: Path | None = None


@dataclass(frozen=True)
class Inputs:
    """All objects of the given files, in the order of the files."""

    documents: tuple[Document, ...]

    def farms(self) -> list[Farm]:
        """Farms of both kinds."""
        return [d.object for d in self.documents if isinstance(d.object, GPUFarm | NPUFarm)]

    def profiles(self) -> list[AcceleratorProfile]:
        """Accelerator profiles."""
        return [d.object for d in self.documents if isinstance(d.object, AcceleratorProfile)]

    def plans(self) -> list[tuple[Document, PlacementPlan]]:
        """Plans, each with the document that it stands in."""
        return [(d, d.object) for d in self.documents if isinstance(d.object, PlacementPlan)]

    def document(self, kind: str, name: str) -> Document | None:
        """The document of a cluster-scoped object."""
        for found in self.documents:
            if found.kind == kind and found.object.metadata.name == name:
                return found
        return None


def read_inputs(paths: Sequence[Path]) -> Inputs:
    """Load files and folders.

    Raises
    ------
    ManifestError
        With one problem for each thing that is wrong.
    """
    return Inputs(tuple(load_files(paths)))


def problem(document: Document, path: str, found: str, expected: str) -> Problem:
    """A problem at a field of a document."""
    return Problem(
        file=document.file,
        document=document.index,
        path=path,
        found=found,
        expected=expected,
        line=document.line_of(path),
    )


def located(inputs: Inputs, document: Document, error: InputError) -> Problem:
    """Point to the object that the twin complains about (``Kind/name: path``), else to the plan."""
    named, _, path = error.where.partition(": ")
    kind, _, name = named.partition("/")
    holder = inputs.document(kind, name) if path and kind != "PlacementPlan" else None
    if holder is None:
        return problem(document, path or error.where, error.found, error.expected)
    return problem(holder, path, error.found, error.expected)


def plan_name(plan: PlacementPlan) -> str:
    """``namespace/name``; the namespace is ``default`` when the manifest names none."""
    return f"{plan.metadata.namespace or 'default'}/{plan.metadata.name}"


def select_plans(inputs: Inputs, wanted: str | None) -> list[tuple[Document, PlacementPlan]]:
    """The plans to validate: all, or the one that is named (``name`` or ``namespace/name``).

    Raises
    ------
    ManifestError
        When there is none, or the name is not unique.
    """
    plans = inputs.plans()
    if wanted is not None:
        plans = [p for p in plans if wanted in {p[1].metadata.name, plan_name(p[1])}]
    if not plans or (wanted is not None and len(plans) > 1):
        known = ", ".join(plan_name(plan) for _, plan in inputs.plans()) or "none"
        first = inputs.documents[0] if inputs.documents else None
        raise ManifestError(
            [
                Problem(
                    file=first.file if first else Path("-"),
                    document=first.index if first else 0,
                    path="metadata.name",
                    found=f"{len(plans)} plans" + (f" named {wanted}" if wanted else ""),
                    expected=f"a PlacementPlan in the files given with -f (there: {known})",
                )
            ]
        )
    return plans


def build_request(
    inputs: Inputs, document: Document, plan: PlacementPlan, options: Options
) -> ValidationRequest:
    """Put together all that the verdict on one plan depends on.

    Raises
    ------
    ManifestError
        When the files lack the policy, a farm or a profile, each with the place that names it.
    """
    problems = [*_missing_policy(inputs, document, plan), *_missing_farms(inputs, document, plan)]
    farms = [farm for farm in inputs.farms() if _named(plan.spec.farms, farm)]
    problems += _missing_profiles(inputs, document, plan, farms)
    if problems:
        raise ManifestError(problems)
    policy = inputs.document("ValidationPolicy", plan.spec.policy)
    if policy is None or not isinstance(policy.object, ValidationPolicy):
        raise AssertionError("the policy was found a moment ago")
    return ValidationRequest(
        farms=farms,
        profiles=inputs.profiles(),
        policy=policy.object,
        plan=plan,
        snapshot=options.snapshot or synthetic_snapshot(farms),
        seed=options.seed,
        futures=options.futures,
    )


def _named(references: Iterable[Reference], farm: Farm) -> bool:
    return any((r.kind, r.name) == (farm.kind, farm.metadata.name) for r in references)


def _missing_policy(inputs: Inputs, document: Document, plan: PlacementPlan) -> list[Problem]:
    if inputs.document("ValidationPolicy", plan.spec.policy) is not None:
        return []
    known = [d.object.metadata.name for d in inputs.documents if d.kind == "ValidationPolicy"]
    expected = f"a ValidationPolicy among the files ({_list(known)}); {POLICY_HINT}"
    return [problem(document, "spec.policy", repr(plan.spec.policy), expected)]


def _missing_farms(inputs: Inputs, document: Document, plan: PlacementPlan) -> list[Problem]:
    known = [f"{farm.kind} {farm.metadata.name}" for farm in inputs.farms()]
    return [
        problem(
            document,
            f"spec.farms[{index}]",
            f"{wanted.kind} {wanted.name}",
            f"a farm among the files ({_list(known)}): add its file with -f",
        )
        for index, wanted in enumerate(plan.spec.farms)
        if f"{wanted.kind} {wanted.name}" not in known
    ]


def _missing_profiles(
    inputs: Inputs, document: Document, plan: PlacementPlan, farms: Sequence[Farm]
) -> list[Problem]:
    known = {profile.metadata.name for profile in inputs.profiles()}
    expected = f"an AcceleratorProfile among the files ({_list(known)}); {CATALOGUE_HINT}"
    places: list[tuple[Document, str, str]] = []
    for farm in farms:
        holder = inputs.document(farm.kind, farm.metadata.name) or document
        places += [
            (holder, f"spec.clusters[{i}].accelerator", cluster.accelerator)
            for i, cluster in enumerate(farm.spec.clusters)
        ]
    places += [
        (document, f"spec.workloads[{i}].accelerators[{j}]", name)
        for i, workload in enumerate(plan.spec.workloads)
        for j, name in enumerate(workload.accelerators)
    ]
    return [problem(d, path, repr(name), expected) for d, path, name in places if name not in known]


def _list(names: Iterable[str]) -> str:
    return "there: " + (", ".join(sorted(names)) or "none")


def read_snapshot(path: Path) -> FarmSnapshot:
    """Read a snapshot that ``kfarm snapshot`` wrote.

    Raises
    ------
    ManifestError
        When the file is wrong or holds no snapshot.
    """
    return load_model(path, FarmSnapshot)
