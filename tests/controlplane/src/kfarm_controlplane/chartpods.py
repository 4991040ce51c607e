"""A Deployment of the chart as a process: what the kubelet would make of its pod template.

Command, arguments, environment, volumes and account are the chart's own. In a mount namespace of
its own the process finds its token where a pod finds it, cannot write to the root filesystem where
the chart says so, and has no capabilities where the chart drops them. Other than in a pod: the
probes listen on loopback at a free port, the user is the one who runs the tests, and the binaries
are those of the virtual environment.
"""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from kfarm_controlplane.client import Cluster
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.ports import PortReservation
from kfarm_controlplane.process import Popen, kill_child, start_child, stop_child

Object = Mapping[str, Any]
START_S = 240.0
TREE = Path(__file__).resolve().parents[4]
_KEEP = "/run/keep"


def isolation() -> list[str] | None:
    """The command that gives a process mounts of its own; None where the system refuses it."""
    for command in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        try:
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            return None
    return None


class ChartPod:
    """One Deployment's pod, to be used in a ``with``.

    Parameters
    ----------
    cluster
        Where the release is installed; it issues the account's token.
    deployment
        The Deployment as Helm rendered it.
    folder
        For volumes and log.
    kernels
        Compiled kernels, which an image carries; shown at ``$KFARM_CACHE/kernels``.
    """

    def __init__(self, cluster: Cluster, deployment: Object, folder: Path, kernels: Path) -> None:
        self._cluster = cluster
        self.name = str(deployment["metadata"]["name"])
        self._namespace = str(deployment["metadata"]["namespace"])
        self._spec: Object = deployment["spec"]["template"]["spec"]
        (self._container,) = self._spec["containers"]
        self._folder = folder / self.name
        self._kernels = kernels
        self._ports = PortReservation()
        self._port = self._ports.take()
        self._process: Popen | None = None
        self.log = self._folder / "log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def begin(self) -> None:
        """Start, without waiting."""
        self._folder.mkdir(parents=True, exist_ok=True)
        volumes = {volume["name"]: self._volume(volume) for volume in self._spec["volumes"]}
        command = isolation()
        if command is None:
            raise ControlPlaneError("no mount namespace to be had", "run as root, or allow them.")
        with self.log.open("ab") as log:
            self._process = start_child(
                [*command, "/bin/sh", "-ec", self._script(volumes)], stdout=log
            )

    def start(self) -> None:
        """Start and wait until the pod's readiness probe passes."""
        self.begin()
        wait_until(self.ready, START_S, f"{self.name} to be ready; its log is {self.log}")

    def ready(self) -> bool:
        """Whether the readiness probe passes.

        Raises
        ------
        ControlPlaneError
            When the process ended.
        """
        if self._process is not None and self._process.poll() is not None:
            tail = self.log.read_text("utf-8", "replace")[-2000:]
            raise ControlPlaneError(f"{self.name} ended: {tail}", f"read {self.log}.")
        path = self._container["readinessProbe"]["httpGet"]["path"]
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def url(self) -> str:
        """Where probes and metrics are served."""
        return f"http://127.0.0.1:{self._port}"

    def read(self, path: str) -> str:
        """What it serves at a path, also with an error status."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:  # noqa: S310
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def stop(self) -> None:
        """End it within the grace period that the chart gives."""
        process, self._process = self._process, None
        if process is not None:
            stop_child(process, float(self._spec.get("terminationGracePeriodSeconds", 30)))
        self._ports.release()

    def kill(self) -> None:
        """End it with SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            kill_child(process)
        self._ports.release()

    def _volume(self, volume: Object) -> Path:
        """A folder that holds what the volume shows."""
        path = self._folder / "volumes" / str(volume["name"])
        path.mkdir(parents=True, exist_ok=True)
        sources = volume["projected"]["sources"] if "projected" in volume else [volume]
        for source in sources:
            if "serviceAccountToken" in source:
                token = source["serviceAccountToken"]
                (path / token["path"]).write_text(self._token(token), encoding="utf-8")
            elif "configMap" in source:
                self._config_map(path, source["configMap"])
            elif "downwardAPI" in source:
                for item in source["downwardAPI"]["items"]:
                    field = item["fieldRef"]["fieldPath"]
                    value = {"metadata.namespace": self._namespace}[field]
                    (path / item["path"]).write_text(value, encoding="utf-8")
            elif "emptyDir" not in source:
                raise ControlPlaneError(f"volume of an unknown kind: {source}", "teach ChartPod.")
        return path

    def _token(self, wanted: Object) -> str:
        duration = f"--duration={wanted.get('expirationSeconds', 3600)}s"
        audience = [f"--audience={wanted['audience']}"] if "audience" in wanted else []
        account = ("token", self._spec["serviceAccountName"], "--namespace", self._namespace)
        return self._cluster.kubectl("create", *account, duration, *audience).strip()

    def _config_map(self, path: Path, wanted: Object) -> None:
        found = self._cluster.get("configmap", wanted["name"], "--namespace", self._namespace)
        values = {name: text.encode() for name, text in found.get("data", {}).items()}
        values |= {n: base64.b64decode(t) for n, t in found.get("binaryData", {}).items()}
        items = wanted.get("items") or [{"key": name, "path": name} for name in values]
        for item in items:
            (path / item["path"]).write_bytes(values[item["key"]])

    def _environment(self) -> dict[str, str]:
        address = self._cluster.get_server()
        own = {item["name"]: item["value"] for item in self._container.get("env", ())}
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": "/tmp",  # noqa: S108  (as the image says; it is a volume of the pod)
            "PYTHONDONTWRITEBYTECODE": "1",
            "KUBERNETES_SERVICE_HOST": str(urlsplit(address).hostname),
            "KUBERNETES_SERVICE_PORT": str(urlsplit(address).port or 443),
            **own,
        }

    def _command(self) -> list[str]:
        words = [*self._container.get("command", ()), *self._container.get("args", ())]
        probed = self._container["ports"][0]["containerPort"]
        wanted = f"0.0.0.0:{probed}"
        if wanted not in words:
            raise ControlPlaneError(f"the command does not serve {wanted}", "correct the chart.")
        return [f"127.0.0.1:{self._port}" if word == wanted else word for word in words]

    def _script(self, volumes: Mapping[str, Path]) -> str:
        """Mount what the pod sees, then become the container's command."""
        keep, kernels = f"{_KEEP}/tree", f"{_KEEP}/kernels"
        lines = [
            "mount -t tmpfs tmpfs /run",
            f"mkdir -p {keep} {kernels}",
            f"mount --bind {shlex.quote(str(TREE))} {keep}",
            f"mount --bind {shlex.quote(str(self._kernels))} {kernels}",
        ]
        for name, path in volumes.items():  # before a volume covers the place where they are
            lines.append(f"mkdir -p {_KEEP}/volumes/{name}")
            lines.append(f"mount --bind {shlex.quote(str(path))} {_KEEP}/volumes/{name}")
        for mount in sorted(self._container["volumeMounts"], key=lambda m: str(m["mountPath"])):
            target = str(mount["mountPath"])
            if target.startswith("/var/run/"):
                lines.append(f"mkdir -p {shlex.quote(target)}")
            lines.append(f"mount --bind {_KEEP}/volumes/{mount['name']} {shlex.quote(target)}")
            if mount.get("readOnly"):
                lines.append(f"mount -o remount,bind,ro {shlex.quote(target)}")
        environment = self._environment()
        shown = shlex.quote(f"{environment['KFARM_CACHE']}/kernels")
        tree = shlex.quote(str(TREE))
        lines += [f"mkdir -p {tree} {shown}", f"mount --bind {keep} {tree}"]
        lines += [f"mount --bind {kernels} {shown}", "cd /"]
        return "\n".join([*lines, *self._security(), self._exec(environment)])

    def _security(self) -> list[str]:
        context = self._container["securityContext"]
        read_only = context.get("readOnlyRootFilesystem")
        return ["mount -o remount,bind,ro /"] if read_only else []

    def _exec(self, environment: Mapping[str, str]) -> str:
        context = self._container["securityContext"]
        fence = ["setpriv"]
        if "ALL" in context.get("capabilities", {}).get("drop", ()):
            fence += ["--bounding-set=-all", "--inh-caps=-all"]
        if context.get("allowPrivilegeEscalation") is False:
            fence.append("--no-new-privs")
        values = [f"{name}={value}" for name, value in sorted(environment.items())]
        prefix = fence if len(fence) > 1 else []
        return "exec " + shlex.join([*prefix, "env", "-i", *values, *self._command()])


def kernels_of_this_machine() -> Path:
    """Where compiled kernels are kept."""
    declared = os.environ.get("KFARM_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kfarm"
    return (Path(declared) if declared else base) / "kernels"
