"""Kueue outside the cluster: its own manifests, with the webhooks led to loopback.

Kueue's rotator keeps the webhook certificate in a Secret and expects the kubelet to
show it as files. There is no kubelet, so both are filled beforehand with the same
certificate of an own authority; the rotator finds it valid and keeps it.
"""

from __future__ import annotations

import base64
import copy
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kfarm_controlplane.certificates import Authority, KeyPair
from kfarm_controlplane.components import ADMIN_GROUP, Site
from kfarm_controlplane.process import Component

NAMESPACE = "kueue-system"
_SERVICE = "kueue-webhook-service"
_SECRET = "kueue-webhook-server-cert"  # noqa: S105  (a name, not a password)
_KINDS = (
    "Namespace",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
)

Object = dict[str, Any]


class Kueue:
    """Files, manifests and command of a Kueue manager for one control plane.

    Parameters
    ----------
    site
        The control plane.
    binary
        Kueue's manager, with the module's ``config`` folder beside it.
    """

    def __init__(self, site: Site, binary: Path) -> None:
        self._site = site
        self._binary = binary
        pki = site.directory / "pki"
        self._authority = Authority(pki, "kueue-ca", rsa_key=True)
        hosts = [f"{_SERVICE}.{NAMESPACE}.svc"]
        self._pair = self._authority.issue("kueue-webhook", hosts=hosts)

    def objects(self) -> list[Object]:
        """Return the objects to apply before the manager starts."""
        rendered = [item for item in self._rendered() if item["kind"] in _KINDS]
        return [*(self._led_to_loopback(item) for item in rendered), self._secret()]

    def component(self, overrides: Mapping[str, Any]) -> Component:
        """Write the manager's configuration and return the manager.

        Parameters
        ----------
        overrides
            Top-level fields of Kueue's ``Configuration`` to replace.
        """
        folder = self._site.directory / "config"
        self._write_serving_certificate(folder / "kueue-webhook")
        path = folder / "kueue.yaml"
        configuration = self._configuration(folder / "kueue-webhook") | dict(overrides)
        path.write_text(yaml.safe_dump(configuration))
        kubeconfig = self._site.user_kubeconfig("kueue-controller-manager", (ADMIN_GROUP,))
        return Component(
            "kueue",
            [str(self._binary), f"--config={path}", "--zap-log-level=2"],
            self._site.directory / "logs" / "kueue.log",
            {"KUBECONFIG": str(kubeconfig)},
        )

    def _rendered(self) -> list[Object]:
        source = self._binary.parent / "config" / "default"
        kubectl = self._site.binaries["kubectl"]
        done = subprocess.run(
            [kubectl, "kustomize", source], capture_output=True, text=True, check=True
        )
        return [item for item in yaml.safe_load_all(done.stdout) if item]

    def _led_to_loopback(self, original: Object) -> Object:
        item = copy.deepcopy(original)
        clients = [hook["clientConfig"] for hook in item.get("webhooks", ())]
        conversion = item.get("spec", {}).get("conversion", {})
        if "webhook" in conversion:
            clients.append(conversion["webhook"]["clientConfig"])
        for client in clients:
            path = client.pop("service")["path"]
            client["url"] = f"https://127.0.0.1:{self._site.ports['kueue-webhook']}{path}"
            client["caBundle"] = _encoded(self._authority.certificate)
        return item

    def _secret(self) -> Object:
        files = _files(self._authority.files, self._pair)
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": _SECRET, "namespace": NAMESPACE},
            "data": {name: _encoded(path) for name, path in files.items()},
        }

    def _write_serving_certificate(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, path in _files(self._authority.files, self._pair).items():
            (folder / name).write_bytes(path.read_bytes())

    def _configuration(self, certificates: Path) -> Object:
        qps = self._site.options.client_qps
        return {
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "kind": "Configuration",
            "namespace": NAMESPACE,
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self._site.ports['kueue']}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {
                "host": "127.0.0.1",
                "port": self._site.ports["kueue-webhook"],
                "certDir": str(certificates),
            },
            "internalCertManagement": {
                "enable": True,
                "webhookServiceName": _SERVICE,
                "webhookSecretName": _SECRET,
            },
            "leaderElection": {"leaderElect": False},
            "clientConnection": {"qps": qps, "burst": 2 * qps},
            "integrations": {"frameworks": ["batch/job", "pod", "deployment", "statefulset"]},
            "featureGates": {"TopologyAwareScheduling": True, "VisibilityOnDemand": False},
        }


def _files(authority: KeyPair, pair: KeyPair) -> dict[str, Path]:
    return {
        "ca.crt": authority.certificate,
        "ca.key": authority.key,
        "tls.crt": pair.certificate,
        "tls.key": pair.key,
    }


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
