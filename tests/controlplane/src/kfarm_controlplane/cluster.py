"""The control plane that tests and the demo start."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kfarm_controlplane import components as commands
from kfarm_controlplane.build import build
from kfarm_controlplane.client import Cluster, KubectlError
from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.kubeconfig import write_kubeconfig
from kfarm_controlplane.kueue import Kueue
from kfarm_controlplane.options import Options
from kfarm_controlplane.ports import PortReservation
from kfarm_controlplane.process import Component
from kfarm_controlplane.progress import say
from kfarm_controlplane.readiness import answers, wait_for

_PREFIX = "kfarm-cp-"
_STALE_S = 24 * 3600
_NODE_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_LOOK = "look at the cluster with kubectl and at the logs of the control plane."
_ALWAYS = ("etcd", "kube-apiserver")
_COMMANDS: dict[str, Callable[[commands.Site], Component]] = {
    "etcd": commands.etcd,
    "kube-apiserver": commands.kube_apiserver,
    "kube-controller-manager": commands.kube_controller_manager,
    "kube-scheduler": commands.kube_scheduler,
    "kwok": commands.kwok,
}


class ControlPlane(Cluster):
    """A real control plane on free loopback ports; a context manager.

    Everything dies with this process, even when that is killed with -9.

    Parameters
    ----------
    options
        What to run and how; the defaults of `Options` when None.
    directory
        Folder for data, logs and certificates; a new temporary one when None.

    Attributes
    ----------
    kubeconfig
        Kubeconfig of an administrator (group ``system:masters``).
    url
        Address of the API server.
    ca
        Certificate of the authority that signed the server's and the users' certificates.
    keep
        Whether the folder is kept at the end; set when the block ends with an error.
    """

    def __init__(self, options: Options | None = None, *, directory: Path | None = None) -> None:
        self.options = options or Options()
        self.keep = False
        self._temporary = directory is None
        self._parts: dict[str, Component] = {}
        self._ports = PortReservation()
        self._site: commands.Site | None = None
        chosen = directory or Path(tempfile.gettempdir()) / _PREFIX  # named at the start
        super().__init__(chosen / "admin.kubeconfig", chosen)

    @property
    def site(self) -> commands.Site:
        """Folder, ports, binaries and credentials."""
        if self._site is None:
            raise ControlPlaneError("the control plane is not started.", "call start() first.")
        return self._site

    @property
    def url(self) -> str:
        """Address of the API server."""
        return self.site.url

    @property
    def ca(self) -> Path:
        """Certificate of the cluster's authority."""
        return self.site.credentials.cluster.certificate

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each running component."""
        return {name: part.pid for name, part in self._parts.items() if part.pid is not None}

    def bin(self, name: str) -> Path:
        """Return the path of a binary, built if it must be."""
        known = self._site.binaries if self._site else {}
        return known[name] if name in known else super().bin(name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.keep |= kind is not None
        self.stop()

    def start(self) -> None:
        """Start all components and wait until they are ready.

        Raises
        ------
        ControlPlaneUnavailable
            If binaries are missing and cannot be built.
        ControlPlaneError
            If a component does not start; its folder is kept.
        """
        if unknown := set(self.options.components) - _COMMANDS.keys():
            known = ", ".join(_COMMANDS)
            raise ControlPlaneError(f"no components {sorted(unknown)}.", f"choose from: {known}.")
        binaries = build(["kubernetes", "etcd", "kwok"])
        self._prepare_directory()
        atexit.register(self.stop)
        try:
            self._site = self._make_site(binaries)
            authority, admin = self.ca, self._site.credentials.admin
            write_kubeconfig(
                self.kubeconfig, url=self.url, authority=authority, user="kfarm-admin", pair=admin
            )
            for name in (*_ALWAYS, *self.options.components):
                self._parts.setdefault(name, self._make(name))
            self._start_all()
        except BaseException:
            self.keep = True
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything by pid; delete the folder, unless `keep` is set."""
        atexit.unregister(self.stop)
        etcd = [part for name, part in self._parts.items() if name == "etcd"]
        others = [part for name, part in self._parts.items() if name != "etcd"]
        for group in (others, etcd):
            for part in group:  # no thread pool: this also runs at interpreter exit
                part.ask()
            for part in group:
                part.stop()
        self._parts.clear()
        self._ports.release()
        if not self.directory.is_dir():
            return
        if self.keep:
            say(f"control plane logs are kept in {self.directory / 'logs'}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def stop_component(self, name: str) -> None:
        """Stop one component; its data and port are kept."""
        self._part(name).stop()

    def kill_component(self, name: str) -> None:
        """Kill one component with -9; its data and port are kept."""
        self._part(name).kill()

    def start_component(self, name: str) -> None:
        """Start one component again, with the same data and port, and wait for it."""
        part = self._part(name)
        if name == "kwok" and not part.running:
            # Leases of a KWOK that was killed would keep its successor off for minutes.
            self.kubectl("delete", "--raw", _NODE_LEASES)
        part.start()
        wait_for(part, lambda: self._is_ready(name))

    def kubeconfig_for(self, user: str, groups: Iterable[str] = ()) -> Path:
        """Return a kubeconfig with a new client certificate; the user has no rights yet."""
        folder = self.directory / "kubeconfigs"
        pair = self.site.credentials.cluster.issue(user, groups)
        path = folder / f"{user.replace(':', '-').replace('/', '-')}.kubeconfig"
        return write_kubeconfig(path, url=self.url, authority=self.ca, user=user, pair=pair)

    def start_kueue(self, configuration: Mapping[str, Any] | None = None) -> None:
        """Install Kueue's CRDs and webhooks, start its manager and wait for it.

        It is the component ``kueue`` from then on.

        Parameters
        ----------
        configuration
            Top-level fields of Kueue's ``Configuration`` to replace.
        """
        kueue = Kueue(self.site, build(["kueue"])["kueue"])
        self.apply(*kueue.objects())
        self._parts["kueue"] = kueue.component(configuration or {})
        self.start_component("kueue")

    def log(self, name: str) -> Path:
        """Return the path of a component's log."""
        return self._part(name).log

    def _prepare_directory(self) -> None:
        if self._temporary:
            _sweep()
            self.directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
            self.kubeconfig = self.directory / "admin.kubeconfig"
        for folder in ("pki", "config", "logs", "kubeconfigs"):
            (self.directory / folder).mkdir(mode=0o700, parents=True, exist_ok=True)

    def _make_site(self, binaries: dict[str, Path]) -> commands.Site:
        names = ("etcd-peer", "kueue", "kueue-webhook", *_COMMANDS)
        return commands.Site(
            directory=self.directory,
            ports={name: self._ports.take() for name in names},
            binaries=binaries,
            credentials=commands.Credentials.create(self.directory / "pki"),
            options=self.options,
        )

    def _make(self, name: str) -> Component:
        """How a component is started; a subclass may have it run elsewhere."""
        return _COMMANDS[name](self.site)

    def _start_all(self) -> None:
        for name in _ALWAYS:
            self.start_component(name)
        rest = [name for name in self._parts if name not in _ALWAYS]
        for name in rest:
            self._parts[name].start()
        for name in rest:
            self.start_component(name)
        if "kube-controller-manager" in rest:
            self._wait_for_service_account()

    def _wait_for_service_account(self) -> None:
        """Pods can be created once the controller made the default service account."""
        part = self._part("kube-controller-manager")
        path = "/api/v1/namespaces/default/serviceaccounts/default"
        keys = self.site.credentials
        port = self.site.ports["kube-apiserver"]
        wait_for(part, lambda: answers(port, path, keys.admin, keys.cluster.certificate))

    def _part(self, name: str) -> Component:
        if name not in self._parts:
            known = ", ".join(self._parts) or "none"
            raise ControlPlaneError(f"there is no component {name!r}.", f"choose from: {known}.")
        return self._parts[name]

    def _is_ready(self, name: str) -> bool:
        keys, port = self.site.credentials, self.site.ports[name]
        if name == "etcd":
            return answers(port, "/health", keys.etcd_pair, keys.etcd.certificate)
        if name == "kube-apiserver":
            return answers(port, "/readyz", keys.admin, keys.cluster.certificate)
        if name in {"kwok", "kueue"}:
            return answers(port, "/healthz" if name == "kwok" else "/readyz", None, None)
        return answers(port, "/healthz", keys.admin, None)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait until a condition holds.

    Raises
    ------
    ControlPlaneError
        If it does not within the time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except KubectlError:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise ControlPlaneError(f"{what} did not happen within {timeout_s:g} s.", _LOOK)
        time.sleep(0.1)


def _sweep() -> None:
    """Remove folders that control planes killed more than a day ago left behind."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        match = re.fullmatch(rf"{_PREFIX}(\d+)-\w+", path.name)
        if match is None or Path(f"/proc/{match[1]}").exists():
            continue
        if time.time() - path.stat().st_mtime > _STALE_S:
            shutil.rmtree(path, ignore_errors=True)
