"""The parts of the operator put together: clients, mirrors, controllers, re-lists."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kopf
from kfarm_api.v1alpha1 import AcceleratorProfile, GPUFarm, Kind, NPUFarm, PlacementPlan

from kfarm_operator.admission.part import AdmissionPart
from kfarm_operator.asking import Runner
from kfarm_operator.catalogue import CataloguePart
from kfarm_operator.client import NODES, ApiError, bearer, kfarm_resource
from kfarm_operator.drills.part import DrillPart
from kfarm_operator.drills.predict import Predictor
from kfarm_operator.drills.settings import DrillSettings
from kfarm_operator.farms.part import FarmPart
from kfarm_operator.gate_watch import GateWatch
from kfarm_operator.health import Finding, Hearing, fresh
from kfarm_operator.index import GATE_KINDS, Index
from kfarm_operator.instruments import Instruments
from kfarm_operator.live.part import LivePart
from kfarm_operator.mirror import Cadence, Mirror
from kfarm_operator.parts import Accounts, Part, Role, Shared
from kfarm_operator.plans.part import PlanPart
from kfarm_operator.podmirrors import PodMirrors
from kfarm_operator.readings import (
    farm_samples,
    health_samples,
    hearing_samples,
    measure_queue,
    measure_requests,
    mirror_samples,
    plans_now,
    queue_samples,
)
from kfarm_operator.twinmeter import MeteredPlayer, MeteredPredictor, MeteredRunner
from kfarm_operator.twinruns.part import RunPart
from kfarm_operator.twinruns.reconcile import Player
from kfarm_operator.views import OUR_NODES, NodeView, PodView, node_view
from kfarm_operator.workqueue import WorkQueue

WRITERS = 16
LOOP_TICK_S = 1.0
LOOP_BOUND_S = 30.0
ROLE_KINDS: dict[Role, tuple[type[Kind], ...]] = {
    "farm": (AcceleratorProfile, GPUFarm, NPUFarm),
    "whatif": (AcceleratorProfile, GPUFarm, NPUFarm),
    "drill": (AcceleratorProfile, GPUFarm, NPUFarm, PlacementPlan),
    "gate": GATE_KINDS,
    "all": GATE_KINDS,
}
"""What kopf watches; TwinRuns and drills come from mirrors under their own accounts."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """How often everything is listed again, and what silence is too long.

    Attributes
    ----------
    relist_s
        Between lists of our own kinds; their watches are kopf's.
    alive_s
        Age of the last such list from which on the operator is not healthy.
    mirrors
        Of Nodes, Pods and TwinRuns.
    """

    relist_s: float = 30.0
    alive_s: float = 90.0
    mirrors: Cadence = field(default_factory=Cadence)


class Service:
    """Everything that runs beside kopf, for one role or all."""

    def __init__(
        self,
        accounts: Accounts,
        role: Role,
        runner: Runner,
        player: Player | None = None,
        timing: Timing | None = None,
        policies: Path | None = None,
        drills: DrillSettings | None = None,
        predictor: Predictor | None = None,
    ) -> None:
        self.role = role
        self._drills = drills or DrillSettings()
        self._predictor = predictor
        self._policies = policies
        self.timing = timing or Timing()
        self._kinds = ROLE_KINDS[role]
        self.plurals = [kind.info.plural for kind in self._kinds]
        self.accounts = accounts
        self._reader = accounts.reader(role)
        self._index = Index()
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="write")
        self.instruments = Instruments(role)
        self.hearing = Hearing()
        self._nodes: Mirror[NodeView] = Mirror(
            self._reader, NODES, node_view, self._node_changed,
            groups={"farm": lambda node: node.farm}, cadence=self.timing.mirrors, **OUR_NODES,
        )  # fmt: skip
        self._pods = self._pod_mirrors() if role in ("gate", "all") else None
        metered = MeteredRunner(runner, self.instruments, _cores)
        self.shared = Shared(
            role, accounts, self._index, self._nodes, self._pods, self._threads,
            metered, MeteredPlayer(player, self.instruments, _cores) if player else None,
            self.instruments,
        )  # fmt: skip
        self.parts = self._make_parts()
        self._index.listen(self._object_changed)
        self._tasks: list[asyncio.Task[None]] = []
        self._listed = 0.0
        self._ticked = 0.0
        self._lag = 0.0
        self.ready = threading.Event()
        self._measure()

    def _measure(self) -> None:
        """Let the metrics read what there is to know."""
        read = self.instruments.read
        read(lambda: [("kfarm_event_loop_lag_seconds", (), self._lag)])
        read(lambda: health_samples([*self.findings(), *self.informed()]))
        read(lambda: queue_samples(self.queues()))
        read(lambda: mirror_samples(self.mirrors()))
        read(lambda: hearing_samples(self.hearing, self.plurals, self._listed))
        if self.shared.does("gate"):
            read(plans_now(self._index))
        if self.shared.does("farm"):
            read(lambda: farm_samples(self._index))
        for queue in self.queues():
            measure_queue(self.instruments, queue)
        for client in self.accounts.all():
            client.observer = measure_requests(self.instruments)

    def _make_parts(self) -> list[Part]:
        """The controllers of this role, in the order in which they start."""
        shared, parts = self.shared, list[Part]()
        catalogue = CataloguePart(shared)
        parts.append(catalogue)
        if shared.does("farm"):
            parts += [FarmPart(shared), LivePart(shared)]
        if shared.does("gate") and shared.pods is not None:
            plans = PlanPart(shared, shared.pods)
            admission = AdmissionPart(shared, shared.pods, self.timing.mirrors)
            gate = GateWatch(shared, (plans, admission, catalogue), self._policies)
            catalogue.watch_gate(lambda: gate.faults)
            plans.reconciler.gate_faults = gate.before_release
            admission.reconciler.gate_faults = gate.before_release
            parts += [plans, admission, gate]
        whatif = self.accounts.whatif
        if shared.does("whatif") and whatif is not None and shared.player is not None:
            parts.append(RunPart(shared, whatif, shared.player, self.timing.mirrors))
        if shared.does("drill") and self.accounts.drill is not None:
            parts.append(
                DrillPart(
                    shared, self.accounts.drill, self._drills, self._metered(), self.timing.mirrors
                )
            )
        return parts

    def _metered(self) -> Predictor | None:
        if self._predictor is None:
            return None
        return MeteredPredictor(self._predictor, self.instruments, _cores)

    def _pod_mirrors(self) -> PodMirrors:
        return PodMirrors(
            self.accounts.gate, self._planned_changed, self._foreign_changed, self.timing.mirrors
        )

    def mirrors(self) -> list[Mirror[Any]]:
        """Those that this role needs, each once."""
        nodes = [] if self.role in ("whatif", "drill") else [self._nodes]
        found: list[Mirror[Any]] = [*nodes, *(m for part in self.parts for m in part.mirrors)]
        return list(dict.fromkeys(found))

    def queues(self) -> list[WorkQueue[Any]]:
        """All queues of all controllers."""
        return [queue for part in self.parts for queue in part.queues]

    def queue(self, name: str) -> WorkQueue[Any]:
        """A queue by its name."""
        return next(queue for queue in self.queues() if queue.name == name)

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
        self._tasks = [asyncio.create_task(self._tick())]
        for mirror in self.mirrors():
            mirror.start()
        await _until(self._list_kinds)
        for mirror in self.mirrors():
            while not mirror.synced.is_set():
                await asyncio.sleep(0.02)
        for part in self.parts:
            await part.prepare()
        for queue in self.queues():
            queue.start()
        self._tasks.append(asyncio.create_task(self._relist()))
        for part in self.parts:
            part.enqueue_all()
        self.ready.set()
        _LOG.info("ready: role %s", self.role)

    async def stop(self) -> None:
        """Stop working; what was begun is finished by preconditions after the next start."""
        self.ready.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for queue in self.queues():
            await queue.stop()
        for mirror in self.mirrors():
            mirror.stop()
        for client in self.accounts.all():
            client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def findings(self) -> list[Finding]:
        """How each part does; the operator is healthy when all are good."""
        if not self.ready.is_set():
            return [Finding("start", True, "listing everything, or stopping; see /readyz")]
        now = time.monotonic()
        found = [
            fresh("event-loop", "last tick", now - self._ticked, LOOP_BOUND_S),
            fresh("lists", "kfarm objects listed", now - self._listed, self.timing.alive_s),
        ]
        for mirror in self.mirrors():
            age = now - mirror.pulse.heard
            found.append(fresh(f"watch-{mirror.name}", "heard", age, mirror.silence_s))
        for plural in self.plurals:
            behind, bound = self.hearing.behind_s(plural), self.timing.mirrors.silence_s
            detail = f"owes a change for {behind:.1f} s; at most {bound:g} s"
            found.append(Finding(f"watch-{plural}", behind <= bound, detail))
        return found

    def informed(self) -> list[Finding]:
        """What /readyz says beside whether everything was listed once."""
        ready = self.ready.is_set()
        done = Finding("listed", ready, "everything listed once" if ready else "still listing")
        return [done, *(found for part in self.parts if (found := part.finding()) is not None)]

    def alive(self) -> bool:
        """Whether all watches and lists come through."""
        return all(finding.good for finding in self.findings())

    def seen(self, event: str | None, body: dict[str, Any]) -> None:
        """Take in an event of one of our kinds; called on the event loop by kopf."""
        meta = body["metadata"]
        plural = next(k.info.plural for k in self._kinds if k.__name__ == body["kind"])
        name = (meta.get("namespace") or "", meta["name"])
        deleted = event == "DELETED"
        self.hearing.event(plural, name, int(meta["resourceVersion"]), deleted=deleted)
        if deleted:
            self._index.remove(body)
        else:
            self._index.put(body)

    def _object_changed(self, before: Kind | None, after: Kind | None) -> None:
        """From any thread: a kfarm object came, changed or went, whoever brought it."""
        for part in self.parts:
            part.object_changed(before, after)

    def _node_changed(self, before: NodeView | None, after: NodeView | None) -> None:
        """From the mirror's thread: a node came, went or changed in what matters."""
        if before and after and _same(before, after):
            return
        for part in self.parts:
            part.node_changed(before, after)

    def _planned_changed(self, before: PodView | None, after: PodView | None) -> None:
        for part in self.parts:
            part.planned_changed(before, after)

    def _foreign_changed(self, before: PodView | None, after: PodView | None) -> None:
        for part in self.parts:
            part.foreign_changed(before, after)

    async def _tick(self) -> None:
        """Show that the event loop turns."""
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(LOOP_TICK_S)
            self._lag = max(0.0, time.monotonic() - self._ticked - LOOP_TICK_S)

    async def _relist(self) -> None:
        """Catch what a watch missed: list our kinds again and look at every object."""
        while True:
            await asyncio.sleep(self.timing.relist_s)
            try:
                await asyncio.to_thread(self._list_kinds)
                for part in self.parts:
                    part.look_again()
                    await part.relisted()
            except ApiError as error:
                _LOG.warning("re-list failed: %s", error)

    def _list_kinds(self) -> None:
        for kind in self._kinds:
            self._list_kind(kind)
        self._listed = time.monotonic()

    def _list_kind(self, kind: type[Kind]) -> None:
        versions: dict[tuple[str, str], int] = {}
        listed = 0
        for page in self._reader.pages(kfarm_resource(kind.info.plural)):
            listed = int(page["metadata"]["resourceVersion"])
            for body in page.get("items") or ():
                full = {**body, "kind": kind.__name__, "apiVersion": "kfarm.dev/v1alpha1"}
                meta = body["metadata"]
                versions[meta.get("namespace") or "", meta["name"]] = int(meta["resourceVersion"])
                self._index.put(full)
        self._index.keep_only(kind, set(versions), listed)
        self.hearing.listed(kind.info.plural, versions)


def _same(old: NodeView, new: NodeView) -> bool:
    """Whether nothing changed that any decision looks at; heartbeats end here."""
    return (old.ready, old.schedulable, old.deleting, old.fingerprint, old.faults) == (
        new.ready,
        new.schedulable,
        new.deleting,
        new.fingerprint,
        new.faults,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


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
