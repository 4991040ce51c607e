"""Does a pod equal what was validated? Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from kfarm_api.plan import Workload
from kfarm_api.profile import AcceleratorProfile

from kfarm_operator.views import PodView, Shape, quantity


def mismatch(
    pod: PodView, workload: Workload, profiles: Mapping[str, AcceleratorProfile]
) -> str | None:
    """Say in what the pod differs from its workload; None when in nothing that matters."""
    difference = shape_mismatch(pod.shape, workload, profiles)
    if difference is None and pod.gated and pod.pinned is not None:
        return f"is pinned to node {pod.pinned} already; the plan decides where it goes"
    return difference


def shape_mismatch(
    shape: Shape, workload: Workload, profiles: Mapping[str, AcceleratorProfile]
) -> str | None:
    """Say in what a pod's shape differs from its workload, whatever node it is pinned to."""
    allowed = resource_names(workload, profiles)
    if len(shape.devices) != 1 or shape.devices[0][0] not in allowed:
        asked = ", ".join(f"{name}: {count}" for name, count in shape.devices) or "none"
        return (
            f"requests accelerators {asked}; the plan validated one of {', '.join(sorted(allowed))}"
        )
    count = shape.devices[0][1]
    if count != workload.accelerators_per_pod:
        return f"requests {count} accelerators; the plan validated {workload.accelerators_per_pod}"
    return _other_mismatch(shape, workload)


def _other_mismatch(shape: Shape, workload: Workload) -> str | None:
    declared = (
        ("CPU request", shape.cpu, _amount(workload.cpu)),
        ("memory request", shape.memory, _amount(workload.memory)),
        ("nodeSelector", shape.node_selector, tuple(sorted(workload.node_selector.items()))),
        ("tolerations", shape.tolerations, _tolerations(workload)),
        ("priorityClassName", shape.priority_class, workload.priority_class_name or ""),
        ("schedulerName", shape.scheduler, workload.scheduler_name),
    )
    for what, found, validated in declared:
        if found != validated:
            return f"{what} is {_show(found)}; the plan validated {_show(validated)}"
    if shape.oddities:
        return f"sets {', '.join(shape.oddities)}, which no plan can validate"
    return None


def _amount(text: str | None) -> Decimal:
    return quantity(text) if text is not None else Decimal(0)


def _show(value: object) -> str:
    return str(value) if value not in ((), "") else "empty"


def _tolerations(workload: Workload) -> tuple[tuple[str, str, str, str], ...]:
    return tuple(
        sorted((t.key, t.operator, t.value or "", t.effect or "") for t in workload.tolerations)
    )


def resource_names(workload: Workload, profiles: Mapping[str, AcceleratorProfile]) -> set[str]:
    """All names under which the workload's accelerators may be requested."""
    return {
        name
        for accelerator in workload.accelerators
        if accelerator in profiles
        for name in profiles[accelerator].spec.resource_names
    }
