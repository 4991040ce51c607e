"""Gates are lifted here alone: one patch per pod, with its uid and resourceVersion."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kfarm_operator.client import PODS, ApiError, KubeClient
from kfarm_operator.podmirrors import PodMirrors
from kfarm_operator.views import PodView

Lift = tuple[PodView, str | None]
"""A pod, and the host to pin it to; None where Kueue has done so."""


def release_body(pod: PodView, host: str | None) -> dict[str, Any]:
    """The one patch that lifts our gate, and pins the pod to `host`; nothing else changes."""
    spec: dict[str, Any] = {
        "schedulingGates": [{"name": name} for name in pod.other_gates] or None,
    }
    if host is not None:
        spec["nodeSelector"] = {"kubernetes.io/hostname": host}
    return {
        "metadata": {"uid": pod.uid, "resourceVersion": pod.resource_version},
        "spec": spec,
    }


class Gates:
    """Lifts gates side by side, under the gate account."""

    def __init__(self, client: KubeClient, pods: PodMirrors, threads: ThreadPoolExecutor) -> None:
        self._client = client
        self._pods = pods
        self._threads = threads

    def lift(self, lifts: Iterable[Lift]) -> None:
        """Lift them all; a pod that is gone is none, one that changed is to be looked at again.

        Raises
        ------
        ApiError
            The first refusal, after all were tried.
        """
        errors = [error for error in self._threads.map(self._lift, lifts) if error]
        if errors:
            raise errors[0]

    def _lift(self, lift: Lift) -> ApiError | None:
        pod, host = lift
        try:
            body = release_body(pod, host)
            self._pods.put(self._client.patch(PODS, pod.name, body, namespace=pod.namespace))
        except ApiError as error:
            if not (error.not_found or error.conflict):
                return error
            fresh = self._client.get(PODS, pod.name, pod.namespace)
            if fresh is not None:
                self._pods.put(fresh)
            return error if error.conflict else None
        return None
