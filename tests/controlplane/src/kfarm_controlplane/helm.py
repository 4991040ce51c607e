"""The real Helm on a cluster."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from kfarm_controlplane.client import Cluster
from kfarm_controlplane.errors import ControlPlaneError

Object = dict[str, Any]


class HelmError(ControlPlaneError):
    """Helm ended with an error; `said` is what it printed about it."""

    def __init__(self, arguments: Sequence[str], said: str) -> None:
        super().__init__(f"helm {' '.join(arguments)} failed: {said}", "correct the command.")
        self.said = said


class Helm:
    """Helm as the administrator of a cluster, with folders of its own.

    Parameters
    ----------
    cluster
        Where releases go.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __call__(self, *arguments: str, timeout: float = 180.0) -> str:
        """Run it and return what it printed.

        Raises
        ------
        HelmError
            When it ends with an error.
        """
        folder = self._cluster.directory / "helm"
        places = {
            "KUBECONFIG": str(self._cluster.kubeconfig),
            "HELM_CACHE_HOME": str(folder / "cache"),
            "HELM_CONFIG_HOME": str(folder / "config"),
            "HELM_DATA_HOME": str(folder / "data"),
        }
        done = subprocess.run(
            [str(self._cluster.bin("helm")), *arguments],
            capture_output=True, text=True, check=False, timeout=timeout, env=os.environ | places,
        )  # fmt: skip
        if done.returncode:
            raise HelmError(arguments, done.stderr.strip())
        return done.stdout

    def template(
        self, chart: Path, *arguments: str, name: str = "kfarm", namespace: str = "kfarm-system"
    ) -> list[Object]:
        """Objects that a chart renders, without asking the cluster."""
        version = ("--kube-version", "1.36.0")
        text = self("template", name, str(chart), "--namespace", namespace, *version, *arguments)
        return objects_of(text)

    def manifest(self, name: str = "kfarm", namespace: str = "kfarm-system") -> list[Object]:
        """Objects of a release as they were installed, hooks left out."""
        return objects_of(self("get", "manifest", name, "--namespace", namespace))


def objects_of(text: str) -> list[Object]:
    """Objects in a stream of YAML documents."""
    return [item for item in yaml.load_all(text, Loader=yaml.CSafeLoader) if item]


def settings(*values: str) -> list[str]:
    """``--set`` for each ``key=value``."""
    return [part for value in values for part in ("--set", value)]
