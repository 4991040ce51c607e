"""What a pod asks for: the sums of k8s.io/component-helpers `resource.PodRequests`, written anew.

Amounts are billionths (nano) until a sum is complete, since the API server rounds sums, not parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kfarm_api.parse import show

from kfarm_twin.kube.quantity import NANO, milli, parse_nano, units
from kfarm_twin.kube.reading import Field

Amounts = dict[str, int]
"""Billionths by resource name."""

CPU, MEMORY, EPHEMERAL, PODS = "cpu", "memory", "ephemeral-storage", "pods"
HUGE_PAGES = "hugepages-"
DEFAULT_REQUESTS: Amounts = {CPU: NANO // 10, MEMORY: 200 * 2**20 * NANO}
"""What a container that asks for nothing counts in scores: 100m, 200Mi (pkg/scheduler/util)."""


class Asked(NamedTuple):
    """Whole numbers a pod asks for: CPU in thousandths, others in units.

    Attributes
    ----------
    requests
        What must fit, by name, sorted.
    counted
        What the pod itself adds in the score of NodeResourcesFit: `DEFAULT_REQUESTS` for containers
        that name nothing, and requests of the pod as a whole left out (the scorer of the plugin is
        made without them in 1.36).
    non_zero
        CPU [m] and memory [B] that a bound pod adds in the scores of later ones.
    """

    requests: tuple[tuple[str, int], ...]
    counted: tuple[tuple[str, int], ...]
    non_zero: tuple[int, int]


def is_scalar(name: str) -> bool:
    """Whether the scheduler tracks a resource beside CPU, memory and ephemeral storage.

    As `schedutil.IsScalarResourceName`: extended resources, huge pages, ``*kubernetes.io/`` and
    attachable volumes.
    """
    if name.startswith((HUGE_PAGES, "attachable-volumes-")):
        return True
    return "/" in name and not name.startswith("requests.")


def is_tracked(name: str) -> bool:
    """Whether the scheduler tracks a resource at all."""
    return name in (CPU, MEMORY, EPHEMERAL) or is_scalar(name)


def read_amounts(field: Field, key: str) -> Amounts | None:
    """A resource list; None when absent."""
    if not field.has(key):
        return None
    child, made = field.child(key), {}
    for name, value in child.body.items():
        try:
            made[name] = parse_nano(value)
        except ValueError as error:
            field.report((*child.path, name), show(value), str(error))
    return made


def whole(name: str, nano: int) -> int:
    """Thousandths of CPU, units of anything else."""
    return milli(nano) if name == CPU else units(nano)


def asked_by(spec: Field, status: Field) -> Asked:
    """What a pod asks for, after the defaults that the API server would set.

    Parameters
    ----------
    spec, status
        Of the pod. The status counts where the pod was resized in place.
    """
    statuses = _container_statuses(status)
    infeasible = any(
        condition.text("type") == "PodResizePending" and condition.text("reason") == "Infeasible"
        for condition in status.items("conditions")
    )
    main = [_container(c, statuses, infeasible) for c in spec.items("containers")]
    first = [
        (_container(c, statuses, infeasible), c.text("restartPolicy") == "Always")
        for c in spec.items("initContainers")
    ]
    overhead = read_amounts(spec, "overhead") or {}
    pod_level = _pod_level(spec, status, _aggregate(main, first, {}), infeasible)
    requests = _total(_aggregate(main, first, {}), pod_level, overhead)
    counted = _total(_aggregate(main, first, DEFAULT_REQUESTS), {}, overhead)
    missing = {n: v for n, v in DEFAULT_REQUESTS.items() if not pod_level or n not in requests}
    non_zero = _total(_aggregate(main, first, missing), pod_level, overhead)
    return Asked(
        _wholes(requests),
        _wholes(counted),
        (whole(CPU, non_zero.get(CPU, 0)), whole(MEMORY, non_zero.get(MEMORY, 0))),
    )


def _wholes(amounts: Amounts) -> tuple[tuple[str, int], ...]:
    tracked = {name: whole(name, nano) for name, nano in amounts.items() if is_tracked(name)}
    return tuple(sorted((name, value) for name, value in tracked.items() if value))


def _container_statuses(status: Field) -> dict[str, Field]:
    found = {}
    for key in ("containerStatuses", "initContainerStatuses"):
        for entry in status.items(key):
            found[entry.text("name")] = entry
    return found


def _container(container: Field, statuses: dict[str, Field], infeasible: bool) -> Amounts:
    """Requests of one container; limits stand in for requests that are not named."""
    resources = container.child("resources")
    requests = read_amounts(resources, "requests") or {}
    for name, nano in (read_amounts(resources, "limits") or {}).items():
        requests.setdefault(name, nano)
    status = statuses.get(container.text("name"))
    if status is None or not status.has("resources"):
        return requests
    actual = read_amounts(status.child("resources"), "requests") or {}
    allocated = read_amounts(status, "allocatedResources") or {}
    return _most([actual, allocated] if infeasible else [requests, actual, allocated])


def _most(parts: Iterable[Amounts]) -> Amounts:
    made: Amounts = {}
    for part in parts:
        for name, nano in part.items():
            made[name] = max(made.get(name, nano), nano)
    return made


def _add(total: Amounts, part: Amounts) -> None:
    for name, nano in part.items():
        total[name] = total.get(name, 0) + nano


def _aggregate(main: list[Amounts], first: list[tuple[Amounts, bool]], missing: Amounts) -> Amounts:
    """The most that containers ask for at any time.

    Ordinary init containers run one by one, beside the sidecars (``restartPolicy: Always``) that
    started before them; sidecars then stay beside the main containers (KEP-753).
    """
    total: Amounts = {}
    for requests in main:
        _add(total, missing | requests)
    sidecars: Amounts = {}
    peak: Amounts = {}
    for requests, stays in first:
        here = dict(missing | requests)
        if stays:
            _add(total, here)
            _add(sidecars, here)
            here = dict(sidecars)
        else:
            _add(here, sidecars)
        peak = _most([peak, here])
    return _most([total, peak])


def _pod_level(spec: Field, status: Field, containers: Amounts, infeasible: bool) -> Amounts:
    """Requests of the pod as a whole, by the resources that allow it; empty when it has none."""
    resources = spec.child("resources")
    requests = read_amounts(resources, "requests") or {}
    limits = read_amounts(resources, "limits") or {}
    if limits:
        for name, nano in containers.items():
            if name in (CPU, MEMORY):
                requests.setdefault(name, nano)
        for name, nano in limits.items():
            requests.setdefault(name, nano)
    requests = {n: v for n, v in requests.items() if n in (CPU, MEMORY) or n.startswith(HUGE_PAGES)}
    if requests and status.has("resources"):
        actual = read_amounts(status.child("resources"), "requests") or {}
        allocated = read_amounts(status, "allocatedResources") or {}
        known = _most([actual, allocated] if infeasible else [requests, actual, allocated])
        requests = {name: known.get(name, 0) for name in requests}
    return requests


def _total(containers: Amounts, pod_level: Amounts, overhead: Amounts) -> Amounts:
    total = dict(containers) | pod_level
    _add(total, overhead)
    return total
