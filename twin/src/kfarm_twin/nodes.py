"""Nodes that differ, one by one: GPUs, models, CPU and memory, for placement on shared devices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfarm_twin.arrays import Ints

MOST_CPU_MILLI = 100_000_000
"""Most CPU of a node: 100,000 cores; scores of all policies then fit 32 bits."""
MOST_MEMORY_MIB = 1 << 30
"""Most memory of a node: 1 PiB."""


class NodeError(ValueError):
    """Nodes that cannot be used; the message says what to change."""


@dataclass(frozen=True)
class NodeTable:
    """Nodes one by one [N].

    Attributes
    ----------
    gpus
        [N] devices.
    cpu_milli, memory_mib
        [N] CPU [m] and memory [MiB]; None: not counted, whatever pods ask for.
    model
        [N] row of `models`; None: not known, and what pods say of models is not looked at.
    models
        Names of device models; the first is empty and stands for none.
    """

    gpus: Ints
    cpu_milli: Ints | None = None
    memory_mib: Ints | None = None
    model: Ints | None = None
    models: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        if not len(self.gpus):
            raise NodeError("no nodes; give at least one")
        for name, values, most in (
            ("gpus", self.gpus, 1024),
            ("cpu_milli", self.cpu_milli, MOST_CPU_MILLI),
            ("memory_mib", self.memory_mib, MOST_MEMORY_MIB),
            ("model", self.model, len(self.models) - 1),
        ):
            if values is None:
                continue
            if len(values) != len(self.gpus):
                raise NodeError(f"{len(values)} values of {name} for {len(self.gpus)} nodes")
            wrong = np.flatnonzero((values < 0) | (values > most))
            if len(wrong):
                node = int(wrong[0])
                raise NodeError(f"node {node}: {name} is {int(values[node])}; give 0 to {most}")
        if not self.gpus.any():
            raise NodeError("no node has a device; give at least one")

    @staticmethod
    def uniform(
        nodes: int, gpus: int, cpu_milli: int | None = None, memory_mib: int | None = None
    ) -> NodeTable:
        """Equal nodes; CPU [m] and memory [MiB] where they count."""

        def all_of(value: int | None) -> Ints | None:
            return None if value is None else np.full(nodes, value, dtype=np.int64)

        return NodeTable(
            np.full(nodes, gpus, dtype=np.int64), all_of(cpu_milli), all_of(memory_mib)
        )
