"""A real Kubernetes control plane for tests and the demo, built from pinned Go modules."""

from kfarm_controlplane.build import build, cache_directory
from kfarm_controlplane.client import Cluster, ExternalControlPlane, KubectlError
from kfarm_controlplane.cluster import ControlPlane, wait_until
from kfarm_controlplane.errors import BuildError, ControlPlaneError, ControlPlaneUnavailable
from kfarm_controlplane.options import COMPONENTS, Options

__all__ = [
    "COMPONENTS",
    "BuildError",
    "Cluster",
    "ControlPlane",
    "ControlPlaneError",
    "ControlPlaneUnavailable",
    "ExternalControlPlane",
    "KubectlError",
    "Options",
    "build",
    "cache_directory",
    "wait_until",
]
