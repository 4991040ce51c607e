"""What a controller gets from the service, and what the service asks of it.

A controller is a `Part`: its mirrors, its queues, and what makes it look again. The service lists,
watches and starts; it knows nothing of what a part decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from kfarm_api.v1alpha1 import Kind

from kfarm_operator.asking import Runner
from kfarm_operator.client import KubeClient
from kfarm_operator.health import Finding
from kfarm_operator.index import Index
from kfarm_operator.instruments import Instruments
from kfarm_operator.mirror import Mirror
from kfarm_operator.podmirrors import PodMirrors
from kfarm_operator.twinruns.reconcile import Player
from kfarm_operator.views import NodeView, PodView
from kfarm_operator.workqueue import WorkQueue

Role = Literal["gate", "farm", "whatif", "drill", "all"]
FARM_KINDS = ("GPUFarm", "NPUFarm")


@dataclass(frozen=True)
class Accounts:
    """A client per account.

    Attributes
    ----------
    gate
        Lifts gates.
    farm
        Writes nodes.
    whatif
        Keeps results of TwinRuns; without it none is played.
    drill
        Carries out FailureDrills; without it none is looked at.
    """

    gate: KubeClient
    farm: KubeClient
    whatif: KubeClient | None = None
    drill: KubeClient | None = None

    def reader(self, role: Role) -> KubeClient:
        """The account that a role lists and watches with."""
        own = {
            "farm": self.farm,
            "whatif": self.whatif or self.farm,
            "drill": self.drill or self.farm,
        }
        return own.get(role, self.gate)

    def all(self) -> list[KubeClient]:
        """Every client once."""
        clients = (self.gate, self.farm, self.whatif, self.drill)
        return list({id(client): client for client in clients if client is not None}.values())


@dataclass(frozen=True)
class Shared:
    """What all controllers of one process have in common.

    Attributes
    ----------
    nodes
        Nodes of farms; empty for ever in the roles whatif and drill.
    pods
        Pods that name a plan and pods that hold devices; None where the role lifts no gates.
    threads
        For writes side by side.
    """

    role: Role
    accounts: Accounts
    index: Index
    nodes: Mirror[NodeView]
    pods: PodMirrors | None
    threads: ThreadPoolExecutor
    runner: Runner
    player: Player | None
    instruments: Instruments

    def does(self, role: Role) -> bool:
        """Whether this process has the role."""
        return self.role in (role, "all")


class Part:
    """One controller; override what concerns it. All notices may come from any thread.

    Attributes
    ----------
    queues
        Started after everything has been listed once, stopped at the end.
    mirrors
        Started first; work begins when each has been listed once.
    """

    queues: Sequence[WorkQueue[Any]] = ()
    mirrors: Sequence[Mirror[Any]] = ()

    async def prepare(self) -> None:
        """Find out what must be known before the queues start."""

    def object_changed(self, before: Kind | None, after: Kind | None) -> None:
        """Take note that an object of ours came, changed (its status too) or went."""

    def node_changed(self, before: NodeView | None, after: NodeView | None) -> None:
        """Take note that a farm's node came, went or changed in what matters."""

    def planned_changed(self, before: PodView | None, after: PodView | None) -> None:
        """Take note of a pod that names a plan."""

    def foreign_changed(self, before: PodView | None, after: PodView | None) -> None:
        """Take note of a bound pod that names no plan."""

    def enqueue_all(self) -> None:
        """Look at everything, at the start."""

    def look_again(self) -> None:
        """Look again after a re-list, although nothing is known to have changed."""
        self.enqueue_all()

    def finding(self) -> Finding | None:
        """How the part does, for the verbose form of /readyz; it does not decide it."""
        return None

    async def relisted(self) -> None:
        """Do what is due after each re-list beside that."""


def respecified(before: Kind | None, after: Kind | None) -> bool:
    """Whether an object came, went or was edited; its status alone does not count."""
    if before is None or after is None:
        return True
    old, new = before.metadata, after.metadata
    return (old.uid, old.generation, old.deletion_timestamp) != (
        new.uid,
        new.generation,
        new.deletion_timestamp,
    )
