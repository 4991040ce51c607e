"""From manifests to the question about a drill: its farm, plans, snapshot and targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kfarm_api.drill import RUNNER_ONLY, FailureDrill
from kfarm_api.drill_targets import beyond, blast, choose, farm_candidates
from kfarm_api.plan import PlacementPlan
from kfarm_api.snapshot import FarmSnapshot, synthetic_snapshot

from kfarm_twin.cli_inputs import CATALOGUE_HINT, Inputs, located, problem
from kfarm_twin.drill_floor import Floor
from kfarm_twin.drill_request import DrillRequest
from kfarm_twin.load import Document, ManifestError, Problem
from kfarm_twin.request import InputError


def drills(inputs: Inputs, wanted: str | None) -> list[tuple[Document, FailureDrill]]:
    """The drills in the files, or the one that is named.

    Raises
    ------
    ManifestError
        When there is none.
    """
    there = [(d, d.object) for d in inputs.documents if isinstance(d.object, FailureDrill)]
    found = [pair for pair in there if wanted in (None, pair[1].metadata.name)]
    if found:
        return found
    names = ", ".join(drill.metadata.name for _, drill in there) or "none"
    first = inputs.documents[0].file if inputs.documents else Path("-")
    told = f"no FailureDrill named {wanted!r}" if wanted and there else "no FailureDrill"
    raise ManifestError(
        [Problem(first, 0, "kind", told, f"one in the files given with -f (there: {names})")]
    )


def drill_request(
    inputs: Inputs, document: Document, drill: FailureDrill, snapshot: FarmSnapshot | None
) -> tuple[DrillRequest, list[str]]:
    """All that a prediction depends on, and which limit of its own the drill would break.

    Targets are chosen among all nodes that the farm describes, as if all had given consent.

    Raises
    ------
    ManifestError
        When farm, profile or plan is missing, or a fault has no target.
    """
    wanted = drill.spec.farm
    farm = next(
        (f for f in inputs.farms() if (f.kind, f.metadata.name) == (wanted.kind, wanted.name)),
        None,
    )
    if farm is None:
        known = ", ".join(f"{f.kind} {f.metadata.name}" for f in inputs.farms()) or "none"
        expected = f"a farm among the files (there: {known}): add its file with -f"
        raise ManifestError(
            [problem(document, "spec.farm", f"{wanted.kind} {wanted.name}", expected)]
        )
    request = DrillRequest(
        drill=drill,
        farm=farm,
        profiles=inputs.profiles(),
        plans=_plans(inputs, document, drill),
        snapshot=snapshot or synthetic_snapshot([farm]),
        coming=_coming(inputs, document, drill),
    )
    try:
        return _with_targets(request, document)
    except InputError as error:
        hinted = error
        if "AcceleratorProfile" in error.expected:
            hinted = InputError(error.where, error.found, f"{error.expected}; {CATALOGUE_HINT}")
        raise ManifestError([located(inputs, document, hinted)]) from error


def _plans(inputs: Inputs, document: Document, drill: FailureDrill) -> list[PlacementPlan]:
    namespace = drill.metadata.namespace or "default"
    known = {
        plan.metadata.name: plan
        for _, plan in inputs.plans()
        if (plan.metadata.namespace or "default") == namespace
    }
    missing = [
        problem(
            document,
            f"spec.plans[{index}]",
            repr(name),
            f"a PlacementPlan of namespace {namespace} among the files"
            f" (there: {', '.join(sorted(known)) or 'none'})",
        )
        for index, name in enumerate(drill.spec.plans)
        if name not in known
    ]
    if missing:
        raise ManifestError(missing)
    return [known[name] for name in drill.spec.plans]


def _coming(inputs: Inputs, document: Document, drill: FailureDrill) -> list[str]:
    """Plans that stand after the drill in its file: kfarm drill run applies them while it is on."""
    return [
        plan.metadata.name
        for place, plan in inputs.plans()
        if place.file == document.file
        and place.index > document.index
        and plan.metadata.name in drill.spec.plans
        and plan.metadata.namespace == drill.metadata.namespace
    ]


def _with_targets(request: DrillRequest, document: Document) -> tuple[DrillRequest, list[str]]:
    spec = request.drill.spec
    floor = Floor(request)
    standing: dict[str, Sequence[str]] = {
        one.name: [one.model.names.nodes[int(row)] for row in one.slot_node if row >= 0]
        for one in floor.plans
    }
    candidates = farm_candidates(request.farm, standing)
    choice = choose(spec, request.farm, candidates)
    if choice.problems:
        raise ManifestError(
            [
                problem(document, "spec.faults", text, "a selector that finds what it fails")
                for text in choice.problems
            ]
        )
    reach = blast(choice.targets, spec, request.farm, candidates)
    limits = spec.limits
    broken = beyond(reach, limits.max_nodes, limits.max_percent, limits.domains)
    notes = [f"the drill would be refused: {broken}"] if broken else []
    notes += [
        f"fault {fault.name}: {fault.action} is done by kfarm drill run; the twin holds up"
        " verdicts and bindings until it is over"
        for fault in spec.faults
        if fault.action in RUNNER_ONLY
    ]
    return request.model_copy(update={"targets": list(choice.targets)}), notes
