"""Columns of workloads: needs, behaviour, load on each cluster; and their units and slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from kfarm_api.layout import LABEL_ACCELERATOR
from kfarm_api.plan import Workload
from kfarm_api.units import parse_duration_ns

from kfarm_twin import arrays
from kfarm_twin.arrays import Ints
from kfarm_twin.checkpoints import interval_ns
from kfarm_twin.columns_node import mebibytes
from kfarm_twin.interruptions import cluster_sizes, interruptions_per_ns
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.request import InputError

if TYPE_CHECKING:
    from kfarm_twin.compile import ClusterRef

_LEVEL = {
    "node": arrays.NODE,
    "rack": arrays.RACK,
    "scalable-unit": arrays.SCALABLE_UNIT,
    "cluster": arrays.CLUSTER,
}
PPM = 1_000_000
_CLUSTER_WIDE = ("kfarm.dev/farm", "kfarm.dev/farm-kind", "kfarm.dev/cluster")


def _column(values: object) -> Ints:
    column = np.ascontiguousarray(values, dtype=np.int64)
    column.setflags(write=False)
    return column


def _millicores(text: str | None) -> int:
    if text is None:
        return 0
    return int(text[:-1]) if text.endswith("m") else int(text) * 1000


def _need(workload: Workload) -> list[int]:
    memory = mebibytes(workload.memory) if workload.memory else 0
    return [workload.accelerators_per_pod, _millicores(workload.cpu), memory, 1]


def gang_rate_per_ns(workload: Workload, refs: Sequence[ClusterRef]) -> float:
    """Interruptions of a gang by failures of its nodes and of what they share [1/ns].

    Its nodes stand in the first cluster of the accelerator that it names first.
    """
    takers = [ref for ref in refs if _rank(workload, ref) >= 0]
    if not takers:
        return 0.0
    home = min(takers, key=lambda ref: _rank(workload, ref))
    devices = home.cluster.accelerators_per_node
    return interruptions_per_ns(
        home.facts.modes,
        home.cluster.reliability,
        cluster_sizes(home.cluster),
        nodes=-(-workload.pods // (devices // workload.accelerators_per_pod)),
        devices=devices,
    )


def _interval(workload: Workload, refs: Sequence[ClusterRef]) -> int:
    """Work between saves [ns], as given or by Young's or Daly's rule; FAR_NS without saves."""
    saves = workload.checkpoint
    if saves is None:
        return FAR_NS
    if saves.optimum is None:
        return parse_duration_ns(saves.interval or "")
    most = parse_duration_ns(workload.duration) if workload.duration else FAR_NS
    rate = gang_rate_per_ns(workload, refs)
    return interval_ns(saves.optimum, parse_duration_ns(saves.save), rate, most)


def _least(workload: Workload) -> int:
    """Pods with which a unit of a workload goes on."""
    if workload.elastic is not None:
        return workload.elastic.min_pods
    return workload.pods if workload.gang else 1


def _behaviour(workload: Workload, refs: Sequence[ClusterRef]) -> list[int]:
    """gang, training, inference, required, preferred, interval, save, restart, duration, least."""
    topology, saves = workload.topology, workload.checkpoint
    required = _LEVEL[topology.required] if topology else arrays.CLUSTER
    preferred = required
    if topology and topology.preferred:
        preferred = min(_LEVEL[topology.preferred], required)
    return [
        int(workload.gang),
        int(workload.class_ == "Training"),
        int(workload.class_ == "Inference"),
        required,
        preferred,
        _interval(workload, refs),
        parse_duration_ns(saves.save) if saves else 0,
        parse_duration_ns(saves.restart) if saves else 0,
        parse_duration_ns(workload.duration) if workload.duration else FAR_NS,
        _least(workload),
    ]


def _known_labels(ref: ClusterRef) -> dict[str, str]:
    labels = ref.places[0].labels()
    known = {key: labels[key] for key in _CLUSTER_WIDE}
    return known | {LABEL_ACCELERATOR: ref.cluster.accelerator} | dict(ref.profile.spec.node_labels)


def _rank(workload: Workload, ref: ClusterRef) -> int:
    """Place of the cluster's accelerator in the workload's list, -1 where it cannot run."""
    labels = _known_labels(ref)
    if any(labels.get(key) != value for key, value in workload.node_selector.items()):
        return -1
    accelerator = ref.cluster.accelerator
    fits = workload.accelerators_per_pod <= ref.cluster.accelerators_per_node
    if accelerator not in workload.accelerators or not fits:
        return -1
    return workload.accelerators.index(accelerator)


def _load(ref: ClusterRef, load: int, cpu_load: int, devices: int) -> tuple[int, int, int, int]:
    """Power of a pod above the idle node, of one device, of the pod beside devices [mW]; speed.

    The speed [ppm] of a capped device falls with its power above idle; what else is in the node is
    loaded by `cpu_load` percent, however fast its devices are.
    """
    facts = ref.facts
    asked, capped = facts.device_mw(load)
    speed, idle = PPM, facts.idle_device_mw
    if capped < asked:
        speed = (capped - idle) * PPM // (asked - idle)
    span = facts.loaded_overhead_mw - facts.idle_overhead_mw
    beside = devices * (span * cpu_load // 100 // facts.devices)
    return devices * (capped - idle) + beside, capped, beside, speed


def _check(workload: Workload, index: int, refs: Sequence[ClusterRef], plan: str) -> None:
    where = f"PlacementPlan/{plan}: spec.workloads[{index}]"
    offered = {ref.cluster.accelerator: ref for ref in refs}
    if not any(name in offered for name in workload.accelerators):
        raise InputError(
            f"{where}.accelerators",
            ", ".join(workload.accelerators),
            f"an accelerator of the plan's farms ({', '.join(sorted(offered))})",
        )
    known = {name for ref in refs for name in _known_labels(ref)}
    for key in workload.node_selector:
        if key not in known:
            raise InputError(
                f"{where}.nodeSelector",
                f"label {key!r}",
                f"labels of whole clusters, which the twin knows: {', '.join(sorted(known))}; "
                "leave placement within a cluster to topology",
            )


def _warnings(workloads: Sequence[Workload], refs: Sequence[ClusterRef]) -> list[str]:
    used = {ref.profile.metadata.name: ref.profile.spec for ref in refs}
    told = []
    for workload in workloads:
        if workload.class_ == "Interactive":
            continue
        unfit = [
            name
            for name in workload.accelerators
            if name in used and workload.class_ not in used[name].uses
        ]
        if unfit:
            told.append(
                f"workload {workload.name}: {', '.join(unfit)} is not meant for {workload.class_} "
                "by its profile"
            )
    return told


def workload_columns(
    workloads: Sequence[Workload], refs: Sequence[ClusterRef], plan: str
) -> tuple[arrays.Workloads, arrays.Loads, list[str]]:
    """Columns of workloads with a last row for one device that others use, and warnings."""
    for index, workload in enumerate(workloads):
        _check(workload, index, refs, plan)
    need = [_need(workload) for workload in workloads] + [[1, 0, 0, 0]]
    others = [0, 0, 0, arrays.CLUSTER, arrays.CLUSTER, FAR_NS, 0, 0, FAR_NS, 1]
    behaviour = np.array([_behaviour(w, refs) for w in workloads] + [others], np.int64).T
    rank = [[_rank(workload, ref) for ref in refs] for workload in workloads] + [[-1] * len(refs)]
    asks = [
        (w.load, w.load if w.cpu_load is None else w.cpu_load, w.accelerators_per_pod)
        for w in workloads
    ] + [(100, 100, 1)]
    loads = np.array([[_load(ref, *ask) for ref in refs] for ask in asks], np.int64)
    return (
        arrays.Workloads(_column(need), *(_column(column) for column in behaviour)),
        arrays.Loads(_column(rank), *(_column(loads[:, :, part]) for part in range(4))),
        _warnings(workloads, refs),
    )


def unit_columns(workloads: Sequence[Workload]) -> tuple[arrays.Units, Ints, Ints]:
    """Units with their slots; workload [S] and index within it [S] of each slot."""
    units: list[tuple[int, int, int, int]] = []
    slot_unit: list[int] = []
    slot_workload: list[int] = []
    slot_index: list[int] = []
    for index, workload in enumerate(workloads):
        pods = workload.pods + workload.surge
        for slot in range(pods):
            if slot == 0 or not workload.gang:
                size = pods if workload.gang else 1
                units.append((index, len(slot_unit), size, int(slot < workload.pods)))
            slot_unit.append(len(units) - 1)
            slot_workload.append(index)
            slot_index.append(slot)
    owner, first_slot, slots, counted = (_column(c) for c in zip(*units, strict=True))
    return (
        arrays.Units(owner, first_slot, slots, counted, _column(slot_unit)),
        _column(slot_workload),
        _column(slot_index),
    )
