"""A cluster whose nodes are containers, as kind has them, for what the driver ``kind`` does.

The API server runs in the container of the control plane, and is published on loopback; in each
container runs what stands in for a kubelet: KWOK for this one node. Etcd, scheduler and
controllers run beside. Names, labels and the network are kind's; the images are not.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kfarm_controlplane.cluster import ControlPlane
from kfarm_controlplane.components import ADMIN_GROUP, stages
from kfarm_controlplane.docker import EMPTY_TAR, Docker
from kfarm_controlplane.drillhost import DrillHost
from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.options import Options
from kfarm_controlplane.process import Component

CLUSTER = "k"
CONTROL_PLANE = f"{CLUSTER}-control-plane"
NETWORK = "kind"
IMAGE = "kfarm-test/nothing:1"
_UNIX = "localhost"
"""Name of etcd's socket: a client holds the certificate against it."""


class ContainerPlane(ControlPlane):
    """A control plane whose API server is a container; to be used in a ``with``.

    Parameters
    ----------
    docker
        The daemon.
    workers
        How many worker nodes there are besides.
    """

    def __init__(self, docker: Docker, options: Options, workers: int) -> None:
        super().__init__(options)
        self.docker = docker
        self.workers = tuple(f"{CLUSTER}-worker{n if n > 1 else ''}" for n in range(1, workers + 1))
        self._image = self._network = False

    def start(self) -> None:
        """Start the components; nodes follow by `add_nodes`."""
        if self._names() & {CONTROL_PLANE, *self.workers}:
            raise ControlPlaneError(
                f"containers of a kind cluster {CLUSTER} are there.", "delete that cluster."
            )
        self.docker("import", "-", IMAGE, stdin=EMPTY_TAR)
        self._image = True
        if NETWORK not in self.docker("network", "ls", "--format", "{{.Name}}").split():
            self.docker("network", "create", *self._bridge(), NETWORK)
            self._network = True
        super().start()

    def stop(self) -> None:
        """Take containers, network and image away, then stop the rest."""
        try:
            if self._image:
                self._remove()
        finally:
            self._image = self._network = False
            super().stop()

    def add_nodes(self, labels: dict[str, str], capacity: dict[str, str]) -> None:
        """Register the nodes, and start what stands in for their kubelets."""
        control = {"node-role.kubernetes.io/control-plane": ""}
        self._register(CONTROL_PLANE, control, {"cpu": "8", "memory": "16Gi", "pods": "110"})
        self.docker("exec", "--detach", CONTROL_PLANE, *self._kubelet(CONTROL_PLANE))
        for name in self.workers:
            self._register(name, labels, capacity)
            self.run(name, "worker")

    def run(self, name: str, role: str | None) -> None:
        """Start a container with a kubelet's part, and with kind's labels if it has a role."""
        command = self._kubelet(name)
        readable = [self.bin("kwok"), *sorted(self._config.glob(f"kubelet-{name}.*"))]
        self.docker("run", "--detach", *self._form(name, role, readable), IMAGE, *command)

    def inspect(self, name: str) -> dict[str, Any]:
        """What Docker says of a container."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", name))
        found[0]["Mounts"].sort(key=str)  # Docker tells them in any order
        return found[0]

    def state(self, name: str) -> str:
        """``running``, ``paused`` or ``exited``."""
        return str(self.inspect(name)["State"]["Status"])

    def address(self, name: str) -> str | None:
        """A container's address in kind's network; None when it is cut off."""
        networks = self.inspect(name)["NetworkSettings"]["Networks"]
        return (networks.get(NETWORK) or {}).get("IPAddress") or None

    @property
    def _config(self) -> Path:
        return self.directory / "config"

    def _make(self, name: str) -> Component:
        part = super()._make(name)
        socket = f"unixs://{self._config / _UNIX}"
        if name == "etcd":
            client = f"https://127.0.0.1:{self.site.ports['etcd']}"
            part.command.append(f"--listen-client-urls={client},{socket}")
        if name == "kube-apiserver":
            kept = [a for a in part.command if not a.startswith(("--etcd-servers", "--bind-"))]
            port = self.site.ports[name]
            binaries = (self.bin(name), self.bin("kwok"))
            readable = (*binaries, self.directory / "pki", self._config)
            part.command = [
                *self.docker.command, "run", "--rm",
                *self._form(CONTROL_PLANE, "control-plane", readable),
                "--publish", f"127.0.0.1:{port}:{port}", IMAGE,
                # the container's own network: outside there is the port on loopback alone
                *kept, f"--etcd-servers={socket}", "--bind-address=0.0.0.0",
            ]  # fmt: skip
        return part

    def _form(self, name: str, role: str | None, readable: Iterable[Path]) -> Iterator[str]:
        """Options of ``docker run``: no capabilities, nothing of the machine to write to."""
        yield from ("--name", name, "--hostname", name, "--network", NETWORK)
        if role is not None:
            yield from ("--label", f"io.x-k8s.kind.cluster={CLUSTER}")
            yield from ("--label", f"io.x-k8s.kind.role={role}")
        yield from ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only")
        yield from ("--user", f"{os.getuid()}:{os.getgid()}")
        yield from ("--tmpfs", "/tmp")  # noqa: S108 - the container's own
        for path in readable:
            yield from ("--volume", f"{path}:{path}:ro")

    def _bridge(self) -> tuple[str, ...]:
        """No subnet of ours, as kind makes its network."""
        named = f"com.docker.network.bridge.name={self.docker.bridge}"
        return ("--opt", named) if self.docker.bridge else ()

    def _remove(self) -> None:
        ours = self.docker("ps", "--all", "--quiet", "--filter", f"ancestor={IMAGE}").split()
        if ours:
            self.docker("rm", "--force", *ours)
        if self._network:
            self.docker("network", "rm", NETWORK)
        self.docker("rmi", IMAGE)

    def _names(self) -> set[str]:
        return set(self.docker("ps", "--all", "--format", "{{.Names}}").split())

    def _register(self, name: str, labels: dict[str, str], capacity: dict[str, str]) -> None:
        node = {
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
            "spec": {"providerID": f"kind://docker/{CLUSTER}/{name}"},
        }  # fmt: skip
        self.apply(node)
        status = {"status": {"capacity": capacity, "allocatable": capacity}}
        self.kubectl("patch", "node", name, "--subresource=status", "-p", json.dumps(status))

    def _kubelet(self, name: str) -> list[str]:
        config = self._config / f"kubelet-{name}.yaml"
        config.write_text(stages(), "utf-8")
        # holds the API server's certificate against a name in it, not against its address
        own = json.loads(self.site.user_kubeconfig(f"kubelet:{name}", (ADMIN_GROUP,)).read_text())
        port = self.site.ports["kube-apiserver"]
        own["clusters"][0]["cluster"] |= {
            "server": f"https://{self.address(CONTROL_PLANE)}:{port}",
            "tls-server-name": "localhost",
        }
        kubeconfig = self._config / f"kubelet-{name}.json"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(json.dumps(own), "utf-8")
        lease = self.options.node_lease_seconds
        return [
            str(self.bin("kwok")), f"--kubeconfig={kubeconfig}", f"--config={config}",
            f"--manage-single-node={name}", "--manage-all-nodes=false", "--node-ip=10.0.0.1",
            f"--node-lease-duration-seconds={lease}", "-v=WARN",
        ]  # fmt: skip


class ContainerHost(DrillHost):
    """A host of drills by the driver ``kind``.

    Attributes
    ----------
    node_action
        What happens to the container of a node that is down.
    """

    def __init__(
        self, chart: Path, work: Path, plane: ContainerPlane, limits: Mapping[str, str]
    ) -> None:
        super().__init__(chart, work, plane.options, limits, plane)
        self.containers = plane
        self.node_action = "pause"

    def driver(self) -> Sequence[str]:
        """Docker, and what is done to a node."""
        command = shlex.join(self.containers.docker.command)
        return ("--driver", "kind", "--docker", command, "--node-action", self.node_action)
