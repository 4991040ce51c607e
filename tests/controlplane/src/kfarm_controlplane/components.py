"""Command lines of the components, and the files they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from kfarm_controlplane.certificates import Authority, KeyPair, service_account_key
from kfarm_controlplane.kubeconfig import write_kubeconfig
from kfarm_controlplane.options import Options
from kfarm_controlplane.process import Component

ADMIN_GROUP = "system:masters"
FAKE_NODE = "kwok.x-k8s.io/node=fake"
_KWOK_LANES = 16


@dataclass(frozen=True)
class Credentials:
    """Authorities and certificates of one control plane.

    Parameters
    ----------
    cluster
        Signs users and the API server.
    etcd
        Signs etcd and its one client, so that no user's certificate opens etcd.
    front
        Signs the aggregator.
    admin
        Client certificate in ``system:masters``.
    """

    cluster: Authority
    etcd: Authority
    front: Authority
    server: KeyPair
    admin: KeyPair
    etcd_pair: KeyPair
    front_pair: KeyPair
    service_accounts: Path

    @classmethod
    def create(cls, folder: Path) -> Credentials:
        """Create everything in a folder."""
        cluster = Authority(folder, "kfarm-ca")
        etcd = Authority(folder, "etcd-ca")
        front = Authority(folder, "front-proxy-ca")
        return cls(
            cluster=cluster,
            etcd=etcd,
            front=front,
            server=cluster.issue("kube-apiserver"),
            admin=cluster.issue("kfarm-admin", [ADMIN_GROUP]),
            etcd_pair=etcd.issue("etcd"),
            front_pair=front.issue("front-proxy-client"),
            service_accounts=service_account_key(folder / "service-accounts.key"),
        )


@dataclass(frozen=True)
class Site:
    """Where one control plane lives: folder, ports, binaries and credentials."""

    directory: Path
    ports: Mapping[str, int]
    binaries: Mapping[str, Path]
    credentials: Credentials
    options: Options

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"https://127.0.0.1:{self.ports['kube-apiserver']}"

    def component(self, name: str, arguments: list[str]) -> Component:
        """Return a component with the caller's extra arguments added."""
        extra = self.options.extra_arguments.get(name, ())
        command = [str(self.binaries[name]), *arguments, *extra]
        return Component(name, command, self.directory / "logs" / f"{name}.log")

    def user_kubeconfig(self, user: str, groups: tuple[str, ...] = ()) -> Path:
        """Write a kubeconfig for a component."""
        pair = self.credentials.cluster.issue(user, groups)
        path = self.directory / "config" / f"{user.replace(':', '-')}.kubeconfig"
        authority = self.credentials.cluster.certificate
        return write_kubeconfig(path, url=self.url, authority=authority, user=user, pair=pair)

    @property
    def gates(self) -> list[str]:
        """Feature gates as an argument, if any."""
        gates = self.options.feature_gates.items()
        joined = ",".join(f"{name}={str(on).lower()}" for name, on in gates)
        return [f"--feature-gates={joined}"] if joined else []


def etcd(site: Site) -> Component:
    """One etcd member: TLS, loopback only, no fsync since the data is thrown away."""
    client = f"https://127.0.0.1:{site.ports['etcd']}"
    peer = f"https://127.0.0.1:{site.ports['etcd-peer']}"
    pair, authority = site.credentials.etcd_pair, site.credentials.etcd.certificate
    arguments = [
        "--name=kfarm",
        f"--data-dir={site.directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=kfarm={peer}",
        "--unsafe-no-fsync=true",
        "--quota-backend-bytes=4294967296",
        "--log-level=warn",
    ]
    for prefix in ("", "peer-"):
        arguments += [
            f"--{prefix}cert-file={pair.certificate}",
            f"--{prefix}key-file={pair.key}",
            f"--{prefix}trusted-ca-file={authority}",
            f"--{prefix}client-cert-auth=true",
        ]
    return site.component("etcd", arguments)


def kube_apiserver(site: Site) -> Component:
    """The API server: RBAC on, client certificates, aggregation, loopback only."""
    options, keys = site.options, site.credentials
    arguments = [
        f"--etcd-servers=https://127.0.0.1:{site.ports['etcd']}",
        f"--etcd-cafile={keys.etcd.certificate}",
        f"--etcd-certfile={keys.etcd_pair.certificate}",
        f"--etcd-keyfile={keys.etcd_pair.key}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # an Endpoints object may not name loopback
        f"--secure-port={site.ports['kube-apiserver']}",
        f"--tls-cert-file={keys.server.certificate}",
        f"--tls-private-key-file={keys.server.key}",
        f"--client-ca-file={keys.cluster.certificate}",
        "--authorization-mode=Node,RBAC",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys.service_accounts}",
        f"--service-account-signing-key-file={keys.service_accounts}",
        f"--requestheader-client-ca-file={keys.front.certificate}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={keys.front_pair.certificate}",
        f"--proxy-client-key-file={keys.front_pair.key}",
        f"--default-not-ready-toleration-seconds={options.eviction_seconds}",
        f"--default-unreachable-toleration-seconds={options.eviction_seconds}",
        "--max-requests-inflight=2000",
        "--max-mutating-requests-inflight=1000",
        "--allow-privileged=true",
        "--profiling=false",
        *site.gates,
    ]
    if options.runtime_config:
        arguments.append(f"--runtime-config={','.join(options.runtime_config)}")
    if options.audit_policy is not None:
        log = site.directory / "logs" / "audit.log"
        arguments += [f"--audit-policy-file={options.audit_policy}", f"--audit-log-path={log}"]
    return site.component("kube-apiserver", arguments)


def kube_controller_manager(site: Site) -> Component:
    """The controllers, each with its own service account as in a real cluster."""
    options, keys = site.options, site.credentials
    kubeconfig = site.user_kubeconfig("system:kube-controller-manager")
    arguments = [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={site.ports['kube-controller-manager']}",
        f"--root-ca-file={keys.cluster.certificate}",
        f"--service-account-private-key-file={keys.service_accounts}",
        f"--cluster-signing-cert-file={keys.cluster.certificate}",
        f"--cluster-signing-key-file={keys.cluster.files.key}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        f"--kube-api-qps={options.client_qps}",
        f"--kube-api-burst={2 * options.client_qps}",
        f"--node-monitor-grace-period={options.node_monitor_grace_seconds}s",
        "--concurrent-namespace-syncs=20",
        "--concurrent-job-syncs=20",
        "--profiling=false",
        *site.gates,
    ]
    return site.component("kube-controller-manager", arguments)


def kube_scheduler(site: Site) -> Component:
    """The real scheduler, with its client limits raised."""
    kubeconfig = site.user_kubeconfig("system:kube-scheduler")
    qps = site.options.client_qps
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": qps, "burst": 2 * qps},
        "leaderElection": {"leaderElect": False},
        "enableProfiling": False,
        **site.options.scheduler_configuration,
    }
    path = site.directory / "config" / "kube-scheduler.yaml"
    path.write_text(yaml.safe_dump(config))
    arguments = [
        f"--config={path}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={site.ports['kube-scheduler']}",
        *site.gates,
    ]
    return site.component("kube-scheduler", arguments)


def stages() -> str:
    """What KWOK plays."""
    return resources.files("kfarm_controlplane").joinpath("stages.yaml").read_text()


def kwok(site: Site) -> Component:
    """KWOK, playing `stages.yaml` on every node annotated as fake."""
    lanes = ("nodePlayStageParallelism", "podPlayStageParallelism", "nodeLeaseParallelism")
    config = {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "options": {**dict.fromkeys(lanes, _KWOK_LANES), "cidr": "10.64.0.1/10"},
    }
    path = site.directory / "config" / "kwok.yaml"
    path.write_text(f"{yaml.safe_dump(config)}---\n{stages()}")
    arguments = [
        f"--kubeconfig={site.user_kubeconfig('kwok', (ADMIN_GROUP,))}",
        f"--config={path}",
        f"--manage-nodes-with-annotation-selector={FAKE_NODE}",
        "--manage-all-nodes=false",
        f"--node-lease-duration-seconds={site.options.node_lease_seconds}",
        "--node-ip=10.0.0.1",
        "-v=WARN",
        f"--server-address=127.0.0.1:{site.ports['kwok']}",
    ]
    return site.component("kwok", arguments)
