"""From a run of failures to what is played: a fleet alone, or a farm with one gang on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from kfarm_api.farm import Cluster, Farm, GPUFarm
from kfarm_api.layout import cluster_places
from kfarm_api.plan import PlacementPlan, Workload
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.twinrun import GangWorkload, Shape

from kfarm_twin.arrays import BY_EQUILIBRIUM, Ints
from kfarm_twin.fleet_classes import FleetCluster
from kfarm_twin.fleet_tables import CompiledFleet, compile_fleet
from kfarm_twin.fleetrun_request import FleetRequest
from kfarm_twin.reliability import failure_modes, idle_parts
from kfarm_twin.request import InputError

SHAPE_FARM = "shape"
GANG = "gang"
_LONG = "87600h"
"""Work of a gang that runs for the whole horizon."""
_PROFILE: dict[str, Any] = {
    "metadata": {"name": "any"},
    "spec": {
        "vendor": "none",
        "model": "a device of which nothing is known",
        "uses": ["Training", "Inference"],
        "resourceNames": ["kfarm.dev/any"],
        "power": {"tdp": "0", "idle": "0"},
        "memory": {"capacity": "1"},
        "temperature": {"throttle": "199", "shutdown": "200"},
        "thermalResistance": {"air": "1m"},
        "nodeOverhead": {"idle": "0", "loaded": "0"},
    },
}
"""Stands in where a shape names no device: draws no power and is never too hot."""


def farm_of_shape(shape: Shape) -> GPUFarm:
    """A plain farm of one cluster; racks may be larger than the API lets people write."""
    body: dict[str, Any] = {
        "name": "nodes",
        "accelerator": "any",
        "nodes": 2,
        "acceleratorsPerNode": shape.accelerators_per_node,
        "rack": {"nodes": 1, "perRow": 1000, "rowsPerHall": 1000},
        "cooling": {"type": "Air", "supplyTemperature": "20", "airSupplyTemperature": "20"},
        "reliability": {"reference": "none"},
        "source": {"simulated": {}},
    }
    if shape.nodes_per_unit:
        body["fabric"] = {"topology": "RailOptimizedFatTree", "nodesPerScalableUnit": 1}
    cluster = Cluster.model_validate(body)
    fabric = cluster.fabric and cluster.fabric.model_copy(
        update={"nodes_per_scalable_unit": shape.nodes_per_unit}
    )
    cluster = cluster.model_copy(
        update={
            "nodes": shape.nodes,
            "spares": shape.spares,
            "rack": cluster.rack.model_copy(update={"nodes": shape.nodes_per_rack}),
            "fabric": fabric,
            "reliability": shape.reliability,
        }
    )
    farm = GPUFarm.model_validate(
        {"metadata": {"name": SHAPE_FARM}, "spec": {"site": {"name": "-"}, "clusters": [body]}}
    )
    return farm.model_copy(update={"spec": farm.spec.model_copy(update={"clusters": [cluster]})})


def farms_of(request: FleetRequest) -> list[Farm]:
    """The farms that are played."""
    shape = request.spec.shape
    return [farm_of_shape(shape)] if shape is not None else list(request.named_farms())


def profiles_of(request: FleetRequest) -> list[AcceleratorProfile]:
    """Their profiles; a shape has a neutral one."""
    if request.spec.shape is not None:
        return [AcceleratorProfile.model_validate(_PROFILE)]
    return request.named_profiles()


def compile_alone(request: FleetRequest) -> tuple[CompiledFleet, tuple[str, ...], tuple[str, ...]]:
    """Tables of the fleet without work, the labels of its clusters, and what has no effect.

    Raises
    ------
    InputError
        When a reference is not known.
    """
    clusters: list[FleetCluster] = []
    labels: list[str] = []
    told: list[str] = []
    taken = [0] * 5
    for number, farm in enumerate(farms_of(request)):
        for index, cluster in enumerate(farm.spec.clusters):
            where = f"{farm.kind}/{farm.metadata.name}: spec.clusters[{index}]"
            domains = _domains(farm, cluster, number, taken)
            taken = [
                max(start, int(column.max(initial=-1)) + 1)
                for start, column in zip(taken, domains.T, strict=False)
            ]
            fabric = cluster.fabric
            clusters.append(
                FleetCluster(
                    modes=failure_modes(cluster, where),
                    reliability=cluster.reliability,
                    devices=cluster.accelerators_per_node,
                    domains=domains,
                    start=np.full(cluster.nodes, BY_EQUILIBRIUM, np.int64),
                    rails=fabric is not None and fabric.topology.startswith("Rail"),
                )
            )
            labels.append(f"{farm.metadata.name}/{cluster.name}")
            told += idle_parts(labels[-1], cluster.reliability)
    return compile_fleet(clusters), tuple(labels), tuple(told)


def _domains(farm: Farm, cluster: Cluster, number: int, taken: list[int]) -> Ints:
    """[n, 6] rack, scalable unit, PDU, loop, hall and farm, from the first free index on."""
    rows = [
        (
            taken[0] + place.rack,
            taken[1] + place.scalable_unit,
            -1 if place.pdu is None else taken[2] + place.pdu,
            taken[3] + (place.cdu or 0),
            taken[4] + place.hall,
            number,
        )
        for place in cluster_places(farm, cluster)
    ]
    return np.array(rows, np.int64)


def home_of(farms: list[Farm], gang: GangWorkload) -> Cluster:
    """The first cluster with enough nodes beside its spares.

    Raises
    ------
    InputError
        When there is none.
    """
    clusters = [cluster for farm in farms for cluster in farm.spec.clusters]
    for cluster in clusters:
        if cluster.nodes - cluster.spares >= gang.nodes:
            return cluster
    most = max(cluster.nodes - cluster.spares for cluster in clusters)
    raise InputError(
        "spec.workload.gang.nodes",
        str(gang.nodes),
        f"at most {most}: no cluster has more nodes beside its spares",
    )


def plan_of(farms: list[Farm], gang: GangWorkload) -> PlacementPlan:
    """A plan with the gang alone, on whole nodes."""
    home = home_of(farms, gang)
    body: dict[str, Any] = {
        "name": GANG,
        "class": "Training",
        "pods": 2,
        "acceleratorsPerPod": home.accelerators_per_node,
        "accelerators": [home.accelerator],
        "gang": True,
        "duration": _LONG,
        "checkpoint": gang.checkpoint.as_manifest(),
        "load": gang.load,
        "topology": {
            "required": gang.required,
            **({"preferred": gang.preferred} if gang.preferred else {}),
        },
        **({"elastic": {"minPods": 1}} if gang.min_nodes is not None else {}),
    }
    workload = Workload.model_validate(body)
    elastic = workload.elastic and workload.elastic.model_copy(update={"min_pods": gang.min_nodes})
    workload = workload.model_copy(update={"pods": gang.nodes, "elastic": elastic})
    plan = PlacementPlan.model_validate(
        {
            "metadata": {"name": GANG, "namespace": "default"},
            "spec": {
                "policy": "none",
                "farms": [{"kind": f.kind, "name": f.metadata.name} for f in farms],
                "workloads": [body],
            },
        }
    )
    spec = plan.spec.model_copy(update={"workloads": [workload]})
    return plan.model_copy(update={"spec": spec})


def with_spares(request: FleetRequest, spares: int) -> FleetRequest:
    """The gang's nodes and so many spares, and nothing else.

    Raises
    ------
    InputError
        When there is no gang, or no cluster that holds it.
    """
    gang, shape = request.gang, request.spec.shape
    if gang is None:
        raise InputError("spec.workload", "no gang", "a gang: spares are for its nodes")
    size = {"nodes": gang.nodes + spares, "spares": spares}
    if shape is not None:
        spec = request.spec.model_copy(update={"shape": shape.model_copy(update=size)})
        return request.model_copy(update={"spec": spec})
    for farm, ref in zip(request.named_farms(), request.spec.farms, strict=True):
        for cluster in farm.spec.clusters:
            if cluster.nodes - cluster.spares >= gang.nodes:
                own = farm.spec.model_copy(update={"clusters": [cluster.model_copy(update=size)]})
                changed = farm.model_copy(update={"spec": own})
                spec = request.spec.model_copy(update={"farms": [ref]})
                return request.model_copy(update={"spec": spec, "farms": [changed]})
    home_of(farms_of(request), gang)
    raise AssertionError("home_of refuses a gang without a home")


def without_gang(request: FleetRequest) -> FleetRequest:
    """The same fleet without work."""
    return request.model_copy(update={"spec": request.spec.model_copy(update={"workload": None})})


def named_in_run(error: InputError) -> InputError:
    """The same with the field of the run, where the farm was made of its shape."""
    shape = f"GPUFarm/{SHAPE_FARM}: spec.clusters[0]"
    if not error.where.startswith(shape):
        return error
    return InputError("spec.shape" + error.where[len(shape) :], error.found, error.expected)
