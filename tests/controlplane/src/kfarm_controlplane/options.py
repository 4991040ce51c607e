"""What a caller can choose about a control plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")


@dataclass(frozen=True)
class Options:
    """Choices for one control plane; the defaults suit tests with thousands of nodes.

    Parameters
    ----------
    components
        Components to run; etcd and kube-apiserver are always among them.
    node_lease_seconds
        Lease of a KWOK node [s]; it is renewed four times as often. At 40 s, 1,642
        nodes cost 164 writes a second.
    node_monitor_grace_seconds
        Silence after which the controller manager calls a node unreachable [s].
        Lower both for tests of lost heartbeats; to fail a node at once, use
        `Cluster.fail_node`.
    eviction_seconds
        How long pods stay on a node that is not ready or unreachable [s].
    client_qps
        Requests per second allowed to scheduler and controller manager; their own
        defaults (50 and 20) cap binding at 55 pods a second.
    feature_gates
        Kubernetes feature gates, given to every Kubernetes component.
    runtime_config
        Further API groups or versions to serve, for example ``batch/v1=false``.
    audit_policy
        Audit policy file; the log is then written to ``logs/audit.log``.
    extra_arguments
        Component name to arguments added at the end of its command.
    scheduler_configuration
        Top-level fields of the ``KubeSchedulerConfiguration`` to replace.
    """

    components: Sequence[str] = COMPONENTS
    node_lease_seconds: int = 600
    node_monitor_grace_seconds: int = 1800
    eviction_seconds: int = 300
    client_qps: int = 1000
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    runtime_config: Sequence[str] = ()
    audit_policy: Path | None = None
    extra_arguments: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scheduler_configuration: Mapping[str, Any] = field(default_factory=dict)
