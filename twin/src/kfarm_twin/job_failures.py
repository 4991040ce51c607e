"""From reliability and a checkpoint, as people write them, to the failures that jobs meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from kfarm_api.farm import Cluster, Farm
from kfarm_api.layout import cluster_places
from kfarm_api.plan import Checkpoint
from kfarm_api.reliability import Reliability
from kfarm_api.units import parse_duration_ns

from kfarm_twin.arrays import BY_EQUILIBRIUM, Ints
from kfarm_twin.checkpoints import Rule, interval_ns
from kfarm_twin.fleet_classes import FleetCluster, plain_cluster
from kfarm_twin.fleet_record import record
from kfarm_twin.fleet_tables import CompiledFleet, compile_fleet
from kfarm_twin.interruptions import Sizes, cluster_sizes, interruptions_per_ns
from kfarm_twin.jobs import Jobs
from kfarm_twin.kernels.rng import FAR_NS
from kfarm_twin.reliability import failure_modes, modes_of
from kfarm_twin.replay import Shape
from kfarm_twin.replay_failures import Failures, last_instant

_PLACED = 5
"""Levels of domains that a cluster's nodes are placed in, before the farm: rack to hall."""


@dataclass(frozen=True)
class Saving:
    """How jobs save and restart; without interval and rule they never save.

    Attributes
    ----------
    rule
        Instead of an interval, that of Young or Daly for each job's own failure rate.
    """

    interval_ns: int | None = None
    rule: Rule | None = None
    save_ns: int = 0
    restart_ns: int = 0

    @classmethod
    def of(cls, checkpoint: Checkpoint | None) -> Saving:
        """As a manifest says."""
        if checkpoint is None:
            return cls()
        return cls(
            parse_duration_ns(checkpoint.interval) if checkpoint.interval else None,
            checkpoint.optimum,
            parse_duration_ns(checkpoint.save),
            parse_duration_ns(checkpoint.restart),
        )


@dataclass(frozen=True)
class FailingNodes:
    """The nodes of a farm as they fail.

    Attributes
    ----------
    rate
        Interruptions [1/ns] of a gang on so many nodes side by side.
    """

    fleet: CompiledFleet
    devices: int
    rate: Callable[[int], float]

    def failures(
        self, jobs: Jobs, saving: Saving, *, seed: int, future: int, until_ns: int | None = None
    ) -> Failures:
        """What jobs meet in one future; the same for every discipline.

        Parameters
        ----------
        until_ns
            When the run is broken off; None: `replay_failures.last_instant`.
        """
        until_ns = last_instant(jobs) if until_ns is None else until_ns
        return Failures(
            record(self.fleet, seed=seed, future=future, until_ns=until_ns),
            self._intervals(jobs, saving),
            saving.save_ns,
            saving.restart_ns,
        )

    def _intervals(self, jobs: Jobs, saving: Saving) -> Ints | None:
        count = len(jobs.run_ns)
        if saving.rule is None:
            every = saving.interval_ns
            return None if every is None else np.full(count, every, np.int64)
        most = self.fleet.nodes
        nodes = np.clip(-(-(jobs.pods * jobs.gpus) // self.devices), 1, most)
        sizes, which = np.unique(nodes, return_inverse=True)
        found = [
            interval_ns(saving.rule, saving.save_ns, self.rate(int(size)), FAR_NS - 1)
            for size in sizes
        ]
        return np.array(found, np.int64)[which]


def failing_shape(shape: Shape, reliability: Reliability, where: str) -> FailingNodes:
    """A plain farm whose nodes fail.

    Raises
    ------
    InputError
        When the reference is not known, under `where`.
    """
    modes = modes_of(reliability, where)
    units = shape.nodes_per_unit
    cluster = plain_cluster(
        modes,
        reliability,
        shape.nodes,
        shape.gpus_per_node,
        per_rack=shape.rack_size,
        per_unit=units,
    )
    sizes: Sizes = {
        "Rack": (shape.rack_size, 1),
        "Leaf": (shape.unit_size, shape.gpus_per_node if units else 1),
        "Cdu": (shape.nodes, 1),
        "Plant": (shape.nodes, 1),
    }

    def rate(nodes: int) -> float:
        devices = shape.gpus_per_node
        return interruptions_per_ns(modes, reliability, sizes, nodes=nodes, devices=devices)

    return FailingNodes(compile_fleet([cluster]), shape.gpus_per_node, rate)


def failing_farms(farms: list[Farm]) -> FailingNodes:
    """The nodes of farms but for spares, one cluster after the other.

    The rate of a gang is that on the first cluster.

    Raises
    ------
    InputError
        When a reference is not known.
    """
    clusters, taken = [], [0] * _PLACED
    for number, farm in enumerate(farms):
        for index, cluster in enumerate(farm.spec.clusters):
            where = f"{farm.kind}/{farm.metadata.name}: spec.clusters[{index}]"
            clusters.append(_failing_cluster(farm, cluster, number, taken, where))
    first = farms[0].spec.clusters[0]
    modes = clusters[0].modes

    def rate(nodes: int) -> float:
        return interruptions_per_ns(
            modes,
            first.reliability,
            cluster_sizes(first),
            nodes=nodes,
            devices=first.accelerators_per_node,
        )

    return FailingNodes(compile_fleet(clusters), first.accelerators_per_node, rate)


def _failing_cluster(
    farm: Farm, cluster: Cluster, number: int, taken: list[int], where: str
) -> FleetCluster:
    """One cluster; its domains count from `taken` on, which moves past them."""
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
        if not place.spare
    ]
    domains = np.array(rows, np.int64)
    for level in range(_PLACED):
        taken[level] = max(taken[level], int(domains[:, level].max()) + 1)
    fabric = cluster.fabric
    return FleetCluster(
        modes=failure_modes(cluster, where),
        reliability=cluster.reliability,
        devices=cluster.accelerators_per_node,
        domains=domains,
        start=np.full(len(rows), BY_EQUILIBRIUM, np.int64),
        rails=fabric is not None and fabric.topology.startswith("Rail"),
    )
