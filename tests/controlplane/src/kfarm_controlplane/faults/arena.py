"""One control plane with kfarm on it, an operator behind the proxy, and stages for plays."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kfarm_operator.client import PODS, ApiError, KubeClient, Resource, kfarm_resource

from kfarm_controlplane.client import Cluster
from kfarm_controlplane.cluster import ControlPlane
from kfarm_controlplane.faults.history import History, Recorder, Scope
from kfarm_controlplane.faults.launcher import Crew, Launch, Zygote
from kfarm_controlplane.faults.proxy import FaultProxy
from kfarm_controlplane.faults.session import Session
from kfarm_controlplane.faults.signature import Mask
from kfarm_controlplane.faults.stage import Door
from kfarm_controlplane.faults.twinhouse import TwinHouse
from kfarm_controlplane.installation import CLUSTER_NAME, LIMITS, install
from kfarm_controlplane.options import Options

LEASE_S = 4
GRACE_S = 30
"""Of nodes in drills [s]; a node that plays dead for a second is not missed."""
_STEP_S = 0.05
_OUTAGE_S = 60.0
_PASSING = (0, 429, 500, 503, 504)
_ALLOWED = (
    f"--cluster-name={CLUSTER_NAME}",
    f"--drill-max-nodes={LIMITS['maxNodes']}",
    f"--drill-max-percent={LIMITS['maxPercent']}",
    f"--drill-domains={LIMITS['domains']}",
    f"--drill-max-duration={LIMITS['maxDuration']}",
)
_DRILLS = kfarm_resource("failuredrills")
_LEDGERS = kfarm_resource("nodeledgers")


class PatientClient(KubeClient):
    """The user's client: asks again while the API server is away."""

    def _send(self, *args: Any, **more: Any) -> Any:
        deadline = time.monotonic() + _OUTAGE_S
        while True:
            try:
                return super()._send(*args, **more)
            except ApiError as error:
                if not (_passes(error) or error.status in _PASSING) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def clear(self, resource: Resource, namespace: str) -> None:
        """Delete all objects of a kind in a namespace, without grace."""
        query = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        self._json("DELETE", resource.path(namespace), query)


def _passes(error: ApiError) -> bool:
    """Whether a refusal is due to what somebody does not know yet.

    A webhook of Kueue's hears of a new namespace a moment after the server. An API server that was
    started again finds the kind of a policy's parameters up to half a minute later, and refuses
    pods until then.
    """
    if error.not_found:
        return "admission webhook" in error.message
    return "failed to configure policy" in error.message


@dataclass(frozen=True)
class PlayStage:
    """Names of one play, and the arena's tools; a `Stage`."""

    names: str
    namespace: str
    farm: str
    client: PatientClient
    cluster: Cluster
    door: Door
    recorder: Recorder
    crew: Crew

    @property
    def mask(self) -> Mask:
        """How its names are masked."""
        return Mask(self.namespace, self.farm)

    def shift(self, role: str) -> None:
        """kill -9 who is on duty, and let another role take over."""
        self.crew.shift(role)

    def history(self) -> History:
        """All versions of the play's objects so far."""
        return self.recorder.history(Scope(self.namespace, self.farm))

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        """Wait until a condition holds; errors of the API server count as not yet."""
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(ApiError):
                if condition():
                    return
            if time.monotonic() > deadline:
                raise StageTimeout(f"{what} did not happen within {timeout_s:g} s")
            time.sleep(_STEP_S)


class StageTimeout(Exception):
    """What a scenario waited for did not come."""


class Arena:
    """Everything that a campaign needs, started once.

    Parameters
    ----------
    chart
        Folder of the kfarm chart.
    kueue
        Whether to start Kueue as well.
    drills
        Whether to allow drills, within generous limits.
    plane
        A control plane that runs already; by default one of its own.
    keep
        A folder for logs, kept at the end; a temporary one when None.
    """

    def __init__(
        self,
        chart: Path,
        *,
        kueue: bool = False,
        drills: bool = False,
        plane: ControlPlane | None = None,
        keep: Path | None = None,
    ) -> None:
        self._chart, self._kueue, self._given = chart, kueue, plane
        self._drills = drills
        self._keep = keep
        self._stack = contextlib.ExitStack()
        self._numbers = itertools.count(1)
        self.directory = keep or Path(tempfile.mkdtemp(prefix="kfarm-faults-"))

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self, stack: contextlib.ExitStack) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._keep is None:
            stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.plane = self._given or stack.enter_context(ControlPlane(self._options()))
        installed = install(self.plane, self._chart)
        if self._kueue:
            self.plane.start_kueue()
        self.client = PatientClient.connect(self.plane.kubeconfig)
        stack.callback(self.client.close)
        self.recorder = stack.enter_context(Recorder(KubeClient.connect(self.plane.kubeconfig)))
        self.house = stack.enter_context(TwinHouse(self.directory / "twin.sock"))
        self.proxy = stack.enter_context(FaultProxy(self.plane.url, self.plane.ca, lambda: self))
        self.zygote = stack.enter_context(Zygote(self.directory / "zygote.log"))
        launch = Launch(
            gate=self._behind_proxy(installed.gate),
            farm=self._behind_proxy(installed.farm),
            twin=self.house.path,
            log=self.directory / "operator.log",
        )
        if self._drills and installed.drill is not None and installed.sweeper is not None:
            launch = replace(
                launch, drill=self._behind_proxy(installed.drill),
                sweeper=self._behind_proxy(installed.sweeper), limits=_ALLOWED,
            )  # fmt: skip
        self.crew = stack.enter_context(Crew(self.zygote, launch))

    def _options(self) -> Options:
        """KWOK looks for Leases that ran out every quarter of their duration."""
        if not self._drills:
            return Options()
        return Options(node_lease_seconds=LEASE_S, node_monitor_grace_seconds=GRACE_S)

    def _behind_proxy(self, kubeconfig: Path) -> Path:
        document = json.loads(kubeconfig.read_text())
        for cluster in document["clusters"]:
            cluster["cluster"] = {"server": self.proxy.url}
        path = self.directory / kubeconfig.name
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
        return path

    def crash(self) -> None:
        """kill -9 the operator and start another."""
        self.crew.crash()

    def pause(self) -> None:
        """Stop the operator and start a second replica."""
        self.crew.pause()

    def resume(self) -> None:
        """Wake the first one up."""
        self.crew.resume()

    def kill(self, component: str) -> None:
        """kill -9 a component of the control plane and start it again."""
        self.plane.kill_component(component)
        self.plane.start_component(component)

    def stage(self) -> PlayStage:
        """Names that nobody had before."""
        number = f"{next(self._numbers):04d}"
        return PlayStage(
            names=f"p{number}", namespace=f"p{number}", farm=f"f{number}",
            client=self.client, cluster=self.plane, door=self.house, recorder=self.recorder,
            crew=self.crew,
        )  # fmt: skip

    def is_free(self, farm: str, namespace: str) -> bool:
        """Whether nothing is left on a farm of the play that had it."""
        ledger = self.client.get(_LEDGERS, f"gpufarm.{farm}") or {}
        claims = (ledger.get("spec") or {}).get("claims")
        return not claims and not any(self._any(kind, namespace) for kind in (PODS, _DRILLS))

    def _any(self, resource: Resource, namespace: str) -> bool:
        found = self.client.items(resource, fieldSelector=f"metadata.namespace={namespace}")
        return any(True for _ in found)

    def revision(self) -> int:
        """The API server's resourceVersion now; the recorder may hear of it later."""
        page = next(self.client.pages(_LEDGERS, limit=1))
        return int(page["metadata"]["resourceVersion"])

    def log_size(self) -> int:
        """Bytes that operators have logged so far."""
        path = self.crew.launch.log
        return path.stat().st_size if path.exists() else 0

    def log_since(self, offset: int) -> str:
        """What operators have logged since."""
        with self.crew.launch.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    def begin(self, stage: PlayStage, faults: Sequence[Any] = ()) -> Session:
        """Let the proxy record a play, and faults strike it."""
        session = Session(stage.mask, faults)
        self.proxy.begin(session)
        return session
