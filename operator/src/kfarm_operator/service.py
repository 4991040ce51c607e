"""The parts of the operator put together: clients, mirrors, queues, re-lists."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import kopf
from kfarm_api.v1alpha1 import (
    AcceleratorProfile,
    GPUFarm,
    Kind,
    NPUFarm,
    PlacementPlan,
    ValidationPolicy,
)

from kfarm_operator.catalogue import CatalogueReconciler
from kfarm_operator.client import NODES, PODS, ApiError, KubeClient, bearer, kfarm_resource
from kfarm_operator.farms.reconcile import FarmReconciler
from kfarm_operator.index import GATE_KINDS, Index
from kfarm_operator.live.reconcile import LiveReconciler
from kfarm_operator.mirror import Mirror
from kfarm_operator.plans.reconcile import PlanReconciler, Runner
from kfarm_operator.twinruns.reconcile import TWIN_RUNS, Player, TwinRunReconciler
from kfarm_operator.views import (
    FOREIGN_PODS,
    OUR_NODES,
    PLANNED_PODS,
    NodeView,
    PodView,
    RunView,
    node_view,
    pod_view,
    run_view,
)
from kfarm_operator.workqueue import WorkQueue

Role = Literal["gate", "farm", "whatif", "all"]
RELIST_S = 30.0
WRITERS = 16
FARM_DEBOUNCE_S = 0.5
PLAN_DEBOUNCE_S = 0.1
NODE_DEBOUNCE_S = 1.0
LIVE_DEBOUNCE_S = 1.0
ALIVE_S = 90.0
_FARM_KINDS = ("GPUFarm", "NPUFarm")
CATALOGUE_KINDS = ("AcceleratorProfile", "ValidationPolicy")
ROLE_KINDS: dict[Role, tuple[type[Kind], ...]] = {
    "farm": (AcceleratorProfile, GPUFarm, NPUFarm),
    "whatif": (AcceleratorProfile, GPUFarm, NPUFarm),
    "gate": GATE_KINDS,
    "all": GATE_KINDS,
}
"""What kopf watches; TwinRuns come from a mirror of their own, under their own account."""
_LOG = logging.getLogger(__name__)


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
    """

    gate: KubeClient
    farm: KubeClient
    whatif: KubeClient | None = None

    def reader(self, role: Role) -> KubeClient:
        """The account that a role lists and watches with."""
        own = {"farm": self.farm, "whatif": self.whatif or self.farm}
        return own.get(role, self.gate)

    def all(self) -> list[KubeClient]:
        """Every client once."""
        clients = (self.gate, self.farm, self.whatif)
        return list({id(client): client for client in clients if client is not None}.values())


class Service:
    """Everything that runs beside kopf, for one role or all."""

    def __init__(
        self, accounts: Accounts, role: Role, runner: Runner, player: Player | None = None
    ) -> None:
        self.role = role
        self._kinds = ROLE_KINDS[role]
        self.plurals = [kind.info.plural for kind in self._kinds]
        self.accounts = accounts
        self._reader = accounts.reader(role)
        self._index = Index()
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="write")
        self._nodes = Mirror(self._reader, NODES, node_view, self._node_changed, **OUR_NODES)
        self._pods = self._pod_mirrors() if self._does("gate") else []
        self.farm_queue = WorkQueue[tuple[str, str]](self._farm_reconciler().reconcile)
        self._live = LiveReconciler(accounts.farm, self._index, self._nodes)
        self.live_queue = WorkQueue[tuple[str, str]](self._live.reconcile)
        self._plan_reconciler = PlanReconciler(
            accounts.gate, self._index, self._nodes, self._pods, runner, self._threads
        )
        self.plan_queue = WorkQueue[tuple[str, str]](self._plan_reconciler.reconcile)
        self._plan_reconciler.interrupted = self.plan_queue.changed_meanwhile
        self.catalogue_queue = WorkQueue[tuple[str, str]](self._catalogue().reconcile, workers=1)
        self._runs: Mirror[RunView] | None = None
        self.run_queue = WorkQueue[tuple[str, str]](self._no_run)
        if accounts.whatif is not None and player is not None and self._does("whatif"):
            self._runs = Mirror(accounts.whatif, TWIN_RUNS, run_view, self._run_changed)
            runs = TwinRunReconciler(accounts.whatif, self._index, player, self._latest_run)
            self.run_queue = WorkQueue[tuple[str, str]](runs.reconcile)
        self._tasks: list[asyncio.Task[None]] = []
        self._listed = 0.0
        self.ready = threading.Event()

    def _does(self, role: Role) -> bool:
        return self.role in (role, "all")

    def _mirrors(self) -> list[Mirror[Any]]:
        """Those that this role needs."""
        nodes = [] if self.role == "whatif" else [self._nodes]
        return [*nodes, *self._pods, *([self._runs] if self._runs else [])]

    def connection(self) -> kopf.ConnectionInfo:
        """How kopf reaches the API server: as the account that reads."""
        conf = self._reader.configuration
        token = bearer(conf)
        return kopf.ConnectionInfo(
            server=conf.host,
            ca_path=conf.ssl_ca_cert,
            insecure=not conf.verify_ssl,
            certificate_path=conf.cert_file,
            private_key_path=conf.key_file,
            scheme="Bearer" if token else None,
            token=token or None,
        )

    async def start(self) -> None:
        """List everything once, then work: no decision is made on half a picture."""
        mirrors = self._mirrors()
        for mirror in mirrors:
            mirror.start()
        await _until(self._list_kinds)
        for mirror in mirrors:
            while not mirror.synced.is_set():
                await asyncio.sleep(0.02)
        for queue in self._working():
            queue.start()
        self._tasks = [asyncio.create_task(self._relist())]
        self._enqueue_all()
        self.ready.set()
        _LOG.info("ready: role %s", self.role)

    async def stop(self) -> None:
        """Stop working; what was begun is finished by preconditions after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for queue in (self.catalogue_queue, self.farm_queue, self.plan_queue, self.run_queue):
            await queue.stop()
        await self.live_queue.stop()
        for mirror in self._mirrors():
            mirror.stop()
        for client in self.accounts.all():
            client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _working(self) -> list[WorkQueue[tuple[str, str]]]:
        """Queues that this role works on."""
        queues = [self.catalogue_queue]
        queues += [self.farm_queue, self.live_queue] if self._does("farm") else []
        queues += [self.plan_queue] if self._does("gate") else []
        return queues + ([self.run_queue] if self._runs else [])

    def alive(self) -> bool:
        """Whether our own lists still come through."""
        return self.ready.is_set() and self._listed > time.monotonic() - ALIVE_S

    def seen(self, event: str | None, body: dict[str, Any]) -> None:
        """Take in an event of one of our kinds; called on the event loop by kopf."""
        kind, name = body["kind"], body["metadata"]["name"]
        if kind in CATALOGUE_KINDS:
            self.catalogue_queue.add_threadsafe((kind, name))
            if event == "MODIFIED" and self._index.knows(body):
                return
        if event == "DELETED":
            self._index.remove(body)
        else:
            self._index.put(body)
        self._enqueue(kind, body["metadata"].get("namespace") or "", name)

    def _enqueue(self, kind: str, namespace: str, name: str) -> None:
        if kind == "PlacementPlan":
            self.plan_queue.add_threadsafe((namespace, name), 0.0)
        elif kind in _FARM_KINDS:
            self.farm_queue.add_threadsafe((kind, name), 0.0)
            self.live_queue.add_threadsafe((kind, name), LIVE_DEBOUNCE_S)
            self._plans_of((kind, name), PLAN_DEBOUNCE_S)
            self._runs_of((kind, name))
        elif kind == "AcceleratorProfile":
            self._enqueue_all()
        elif kind == "ValidationPolicy":
            for plan in self._index.all(PlacementPlan):
                if plan.spec.policy == name:
                    self.plan_queue.add_threadsafe(_plan_key(plan), PLAN_DEBOUNCE_S)
        elif kind == "NodeLedger":
            self._waiting_plans()

    def _enqueue_all(self) -> None:
        described: list[AcceleratorProfile | ValidationPolicy] = [
            *self._index.all(AcceleratorProfile),
            *self._index.all(ValidationPolicy),
        ]
        for item in described:
            self.catalogue_queue.add_threadsafe((item.kind, item.metadata.name))
        for farm in self._index.farms():
            self.farm_queue.add_threadsafe((farm.kind, farm.metadata.name), 0.0)
            self.live_queue.add_threadsafe((farm.kind, farm.metadata.name), LIVE_DEBOUNCE_S)
        for plan in self._index.all(PlacementPlan):
            self.plan_queue.add_threadsafe(_plan_key(plan), 0.0)
        for run in self._runs.values() if self._runs else ():
            self.run_queue.add_threadsafe((run.namespace, run.name), 0.0)

    def _plans_of(self, farm: tuple[str, str], delay_s: float) -> None:
        for plan in self._index.all(PlacementPlan):
            if any((ref.kind, ref.name) == farm for ref in plan.spec.farms):
                self.plan_queue.add_threadsafe(_plan_key(plan), delay_s)

    def _runs_of(self, farm: tuple[str, str]) -> None:
        for run in self._runs.values() if self._runs else ():
            if farm in run.farms:
                self.run_queue.add_threadsafe((run.namespace, run.name), PLAN_DEBOUNCE_S)

    def _run_changed(self, old: RunView | None, new: RunView | None) -> None:
        """From the mirror's thread: a TwinRun came, went or was edited."""
        run = new or old
        if run is not None and (old is None or new is None or old != new):
            self.run_queue.add_threadsafe((run.namespace, run.name), 0.0)

    def _latest_run(self, key: tuple[str, str]) -> tuple[str, int] | None:
        run = self._runs.get(*key) if self._runs else None
        return None if run is None else (run.uid, run.generation)

    async def _no_run(self, _: tuple[str, str]) -> None:
        """Nothing: TwinRuns are not this role's business."""

    def _waiting_plans(self) -> None:
        for plan in self._index.all(PlacementPlan):
            if plan.status is None or plan.status.verdict != "Approved":
                self.plan_queue.add_threadsafe(_plan_key(plan), NODE_DEBOUNCE_S)

    def _node_changed(self, old: NodeView | None, new: NodeView | None) -> None:
        """From the mirror's thread: a node came, went or changed in what matters."""
        self._live.node_changed(old, new)
        if old and new and _same(old, new):
            return
        for node in (old, new):
            if node is not None:
                self.farm_queue.add_threadsafe(node.farm, FARM_DEBOUNCE_S)
                self.live_queue.add_threadsafe(node.farm, LIVE_DEBOUNCE_S)
                self._plans_of(node.farm, NODE_DEBOUNCE_S)

    def _pod_mirrors(self) -> list[Mirror[PodView]]:
        """Pods that name a plan, and bound pods that do not (they may hold devices)."""
        client = self.accounts.gate
        planned = Mirror(client, PODS, pod_view, self._pod_changed, **PLANNED_PODS)
        foreign = Mirror(client, PODS, pod_view, self._foreign_changed, **FOREIGN_PODS)
        return [planned, foreign]

    def _pod_changed(self, old: PodView | None, new: PodView | None) -> None:
        pod = new or old
        if pod is not None and pod.plan:
            self.plan_queue.add_threadsafe((pod.namespace, pod.plan), PLAN_DEBOUNCE_S)

    def _foreign_changed(self, old: PodView | None, new: PodView | None) -> None:
        pod = new or old
        if pod is not None and pod.shape.devices and (old is None or new is None):
            self._waiting_plans()

    def _catalogue(self) -> CatalogueReconciler:
        clients: dict[str, KubeClient] = {}
        if self._does("farm"):
            clients["AcceleratorProfile"] = self.accounts.farm
        if self._does("gate"):
            clients["ValidationPolicy"] = self.accounts.gate
        return CatalogueReconciler(clients, self._index)

    def _farm_reconciler(self) -> FarmReconciler:
        return FarmReconciler(self.accounts.farm, self._index, self._nodes, self._threads)

    async def _relist(self) -> None:
        """Catch what a watch missed: list our kinds again and look at every object."""
        while True:
            await asyncio.sleep(RELIST_S)
            try:
                await asyncio.to_thread(self._list_kinds)
                self._enqueue_all()
                if self._does("gate"):
                    await self._plan_reconciler.collect()
            except ApiError as error:
                _LOG.warning("re-list failed: %s", error)

    def _list_kinds(self) -> None:
        for kind in self._kinds:
            self._list_kind(kind)
        self._listed = time.monotonic()

    def _list_kind(self, kind: type[Kind]) -> None:
        names: set[tuple[str, str]] = set()
        for body in self._reader.items(kfarm_resource(kind.info.plural)):
            full = {**body, "kind": kind.__name__, "apiVersion": "kfarm.dev/v1alpha1"}
            names.add((body["metadata"].get("namespace") or "", body["metadata"]["name"]))
            self._index.put(full)
        self._index.keep_only(kind, names)


def _same(old: NodeView, new: NodeView) -> bool:
    """Whether nothing changed that any decision looks at; heartbeats end here."""
    return (old.ready, old.schedulable, old.deleting, old.fingerprint, old.faults) == (
        new.ready,
        new.schedulable,
        new.deleting,
        new.fingerprint,
        new.faults,
    )


def _plan_key(plan: PlacementPlan) -> tuple[str, str]:
    return plan.metadata.namespace or "", plan.metadata.name


async def _until(work: Callable[[], None]) -> None:
    """Repeat until the API server answers."""
    pause = 0.2
    while True:
        try:
            await asyncio.to_thread(work)
        except ApiError as error:
            _LOG.warning("waiting for the API server: %s", error)
            await asyncio.sleep(pause)
            pause = min(10.0, pause * 2)
        else:
            return
