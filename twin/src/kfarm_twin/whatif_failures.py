"""What-ifs whose jobs meet the failures of the farm."""

from __future__ import annotations

from collections.abc import Sequence

from kfarm_twin.disciplines import SHARING, Placement
from kfarm_twin.job_failures import FailingNodes, failing_farms, failing_shape
from kfarm_twin.replay import Discipline, Shape
from kfarm_twin.request import InputError
from kfarm_twin.whatif_request import WhatIfRequest


def check_policies(request: WhatIfRequest, disciplines: Sequence[Discipline]) -> None:
    """Refuse policies that are not played with failures.

    Raises
    ------
    InputError
        With the first one.
    """
    if request.spec.failures is None:
        return
    for index, discipline in enumerate(disciplines):
        if discipline.placement is Placement.COUNT or discipline.placement in SHARING:
            raise InputError(
                f"spec.policies[{index}].placement",
                request.spec.policies[index].placement,
                "FirstFit, BestFit, Spread or Random: failures hit nodes by name, whole devices",
            )


def failing_nodes(request: WhatIfRequest, shape: Shape) -> FailingNodes | None:
    """The nodes as they fail; None where nothing does.

    Raises
    ------
    InputError
        When a reference is not known.
    """
    spec = request.spec
    if spec.failures is None:
        return None
    if spec.shape is None:
        return failing_farms(list(request.named_farms()))
    if spec.shape.reliability is None:
        raise InputError("spec.shape.reliability", "none", "how the nodes fail, or no failures")
    return failing_shape(shape, spec.shape.reliability, "spec.shape.reliability")


def said(request: WhatIfRequest) -> tuple[str, ...]:
    """What to note about failures."""
    spec = request.spec
    if spec.failures is None:
        return ()
    saves = spec.failures.checkpoint
    if saves is None:
        how = "no job saves: each stop costs all its work"
    else:
        every = f"every {saves.interval}" if saves.interval else f"as {saves.optimum} says"
        how = f"jobs save {every} in {saves.save} and restart in {saves.restart}"
    return (
        f"jobs meet the farm's failures; {how}",
        "replicas with failures are broken off 30 days and one longest limit after the last "
        "arrival",
    )
