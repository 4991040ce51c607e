"""A real kube-scheduler whose every decision can be read: scores, reasons, preemption.

An API server and a scheduler, no controllers: nodes and bound pods are plain objects, nothing moves
but what the caller writes. The scheduler's log is followed; see `SchedulingLab.observe`.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO, Self

from kfarm_controlplane.cluster import ControlPlane
from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.options import Options

Body = dict[str, Any]
_PATIENCE_S = 60.0
_REQUEUED_S = 5.0
_LOOK = "read the scheduler's log."
_WORDS = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\{[^}]*\}|\S+)')
_LINE = re.compile(r'^[A-Z]\d{4} [\d:.]+\s+\d+ [\w.]+:\d+\] "([^"]*)"(.*)$')


@dataclass
class Observed:
    """One scheduling cycle as the log tells it.

    Attributes
    ----------
    node, feasible
        Where the pod was bound, and how many nodes were feasible.
    scores
        Weighted scores by node and plugin; empty when fewer than two nodes were feasible.
    totals
        Sums by node.
    message
        Why no node was feasible.
    nominated, victims
        What preemption chose: a node, and the pods that it evicted.
    """

    node: str = ""
    feasible: int = 0
    scores: dict[str, dict[str, int]] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    message: str = ""
    nominated: str = ""
    victims: set[str] = field(default_factory=set)


def lab_options(profiles: Sequence[Mapping[str, Any]] = (), *, log: bool = True) -> Options:
    """Options of a control plane for a lab.

    Parameters
    ----------
    profiles
        Profiles of the ``KubeSchedulerConfiguration``; the default one when empty.
    log
        Whether the scheduler logs its scores, which costs it time.
    """
    detail = ["--vmodule=schedule_one=10,eventhandlers=4,preemption=2,executor=2"] if log else []
    return Options(
        components=("kube-scheduler",),
        client_qps=5000,
        extra_arguments={
            "kube-apiserver": [
                "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            ],
            "kube-scheduler": ["-v=2", *detail],
        },
        scheduler_configuration={
            "percentageOfNodesToScore": 100,
            "podInitialBackoffSeconds": 1,
            "podMaxBackoffSeconds": 1,
            **({"profiles": list(profiles)} if profiles else {}),
        },
    )


class Api:
    """Requests to the API server over one kept connection."""

    def __init__(self, plane: ControlPlane) -> None:
        pair = plane.site.credentials.admin
        context = ssl.create_default_context(cafile=str(plane.ca))
        context.load_cert_chain(pair.certificate, pair.key)
        port = plane.site.ports["kube-apiserver"]
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_PATIENCE_S, context=context
        )

    def __call__(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, patch: bool = False
    ) -> Body:
        """Send a request and return the answer."""
        kind = "application/merge-patch+json" if patch else "application/json"
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, {"Content-Type": kind})
        answer = self._connection.getresponse()
        raw = answer.read()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise ControlPlaneError(f"{method} {path}: {answer.status} {raw.decode()}.", _LOOK)
        return dict(json.loads(raw))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


_PATHS = {
    "Node": "/api/v1/nodes",
    "Namespace": "/api/v1/namespaces",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Service": "/api/v1/namespaces/{}/services",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
}


class SchedulingLab:
    """A control plane with a scheduler that is watched; a context manager.

    Parameters
    ----------
    options
        As `lab_options` makes them.
    """

    def __init__(self, options: Options) -> None:
        self.plane = ControlPlane(options)
        self._log: BinaryIO
        self._rest = b""
        self._seen: set[tuple[str, str]] = set()
        self._cycles: dict[str, Observed] = {}
        self._ended: dict[str, Observed] = {}
        self._preempted: set[str] = set()
        self._preemptors: dict[str, Observed] = {}
        self._made: list[tuple[str, str]] = []
        self.api: Api

    def __enter__(self) -> Self:
        self.plane.start()
        self.api = Api(self.plane)
        self._log = self.plane.log("kube-scheduler").open("rb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.api.close()
        self._log.close()
        self.plane.keep |= kind is not None
        self.plane.stop()

    # Objects

    def create(self, body: Mapping[str, Any]) -> Body:
        """Create an object, with its status; return what the API server made of it."""
        kind, metadata = body["kind"], body["metadata"]
        path = _PATHS[kind].format(metadata.get("namespace", "default"))
        made = self.api("POST", path, body)
        one = f"{path}/{metadata['name']}"
        self._made.append((kind, one))
        if body.get("status") and kind != "Node":
            made = self.api("PATCH", f"{one}/status", {"status": body["status"]}, patch=True)
        return made

    def create_many(self, bodies: Iterable[Mapping[str, Any]], lanes: int = 8) -> None:
        """Create objects over several connections; nothing is waited for."""
        waiting = list(bodies)

        def create(lane: int) -> None:
            api = Api(self.plane)
            for body in waiting[lane::lanes]:
                namespace = body["metadata"].get("namespace", "default")
                api("POST", _PATHS[body["kind"]].format(namespace), body)
            api.close()

        with ThreadPoolExecutor(lanes) as pool:
            list(pool.map(create, range(lanes)))

    def binding_seconds(self, pods: int, patience_s: float) -> float:
        """Seconds between the first and the last of so many bindings, by the scheduler's log."""
        times: list[float] = []
        deadline = time.monotonic() + patience_s
        while len(times) < pods:
            *lines, self._rest = (self._rest + self._log.read()).split(b"\n")
            for line in lines:
                if b'"Successfully bound pod to node"' in line:
                    hours, minutes, seconds = line.split()[1].decode().split(":")
                    times.append(int(hours) * 3600 + int(minutes) * 60 + float(seconds))
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"{len(times)} of {pods} pods were bound.", _LOOK)
            time.sleep(0.05)
        return max(times) - min(times)

    def delete(self, body: Mapping[str, Any]) -> None:
        """Delete an object at once."""
        metadata = body["metadata"]
        path = _PATHS[body["kind"]].format(metadata.get("namespace", "default"))
        one = f"{path}/{metadata['name']}"
        self.api("DELETE", one, {"gracePeriodSeconds": 0})
        self._made.remove((body["kind"], one))

    def populate(self, bodies: Iterable[Mapping[str, Any]]) -> list[Body]:
        """Create objects and wait until the scheduler knows nodes and bound pods."""
        made = [self.create(body) for body in bodies]
        for body in made:
            name = body["metadata"]["name"]
            if body["kind"] == "Node":
                self._until(("Add event for node", name))
            elif body["kind"] == "Pod" and body["spec"].get("nodeName"):
                key = f"{body['metadata']['namespace']}/{name}"
                self._until(("Add event for scheduled pod", key))
                if body["status"].get("startTime"):
                    self._until(("Update event for scheduled pod", key))
        return made

    def clear(self) -> None:
        """Delete everything made since the start or the last call, and wait for the scheduler."""
        for kind in ("Pod", "PodDisruptionBudget", "Service", "ReplicaSet", "StatefulSet", "Node"):
            for made in [one for one in self._made if one[0] == kind]:
                self._remove(*made)
        self._seen.clear()
        self._cycles.clear()
        self._ended.clear()
        self._preempted.clear()
        self._preemptors.clear()

    def _remove(self, kind: str, path: str) -> None:
        self._made.remove((kind, path))
        try:
            gone = self.api("DELETE", path, {"gracePeriodSeconds": 0})
        except ControlPlaneError as error:
            if " 404 " in str(error):
                return
            raise
        if kind == "Node":
            self._until(("Delete event for node", path.rsplit("/", 1)[1]))
        elif kind == "Pod" and gone.get("spec", {}).get("nodeName"):
            parts = path.split("/")
            self._until(("Delete event for scheduled pod", f"{parts[-3]}/{parts[-1]}"))

    # The log

    def observe(self, pod: Mapping[str, Any]) -> tuple[Body, Observed]:
        """Create a pod and wait for the end of its first scheduling cycle.

        Returns
        -------
        tuple
            The pod as the API server stored it, and what the scheduler did. After a preemption the
            pod is bound in a second cycle; see `settled`.
        """
        made = self.create(pod)
        key = f"{made['metadata']['namespace']}/{made['metadata']['name']}"
        self._wait(lambda: key in self._ended, f"a decision on {key}")
        observed = self._ended.pop(key)
        if observed.nominated:
            self._wait(lambda: key in self._preempted, f"the preemption for {key}")
        elif observed.message:
            self.delete(made)
        else:
            self._until(("Add event for scheduled pod", key))
        return made, observed

    def settled(self, pod: Mapping[str, Any]) -> str:
        """Node of a pod that preempted others, once it is bound; empty when it is not, and deleted.

        A pod with several anti-affinity terms may wait for minutes although its victims are gone:
        the scheduler's queueing hint wakes it only for a victim that all terms match.
        """
        key = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        deadline = time.monotonic() + _REQUEUED_S
        self._wait(lambda: key in self._ended or time.monotonic() > deadline, key)
        second = self._ended.pop(key, Observed())
        if not second.node:
            self.delete(pod)
            return ""
        self._until(("Add event for scheduled pod", key))
        return second.node

    def abandon(self, pod: Mapping[str, Any]) -> None:
        """Delete a pod that preempted others, whether it has been bound since or not."""
        metadata = pod["metadata"]
        path = f"{_PATHS['Pod'].format(metadata['namespace'])}/{metadata['name']}"
        self._remove("Pod", path)
        self._ended.pop(f"{metadata['namespace']}/{metadata['name']}", None)

    def start(self, pod: Mapping[str, Any], time_text: str) -> None:
        """Set the start time of a bound pod, as its kubelet would, and wait for the scheduler."""
        metadata = pod["metadata"]
        path = f"{_PATHS['Pod'].format(metadata['namespace'])}/{metadata['name']}/status"
        event = ("Update event for scheduled pod", f"{metadata['namespace']}/{metadata['name']}")
        self._read()
        self._seen.discard(event)
        status = {"status": {"phase": "Running", "startTime": time_text}}
        self.api("PATCH", path, status, patch=True)
        self._until(event)

    def _until(self, event: tuple[str, str]) -> None:
        self._wait(lambda: event in self._seen, f"{event[0]} {event[1]}")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            if not self._read() and not condition():
                if time.monotonic() > deadline:
                    raise ControlPlaneError(f"{what} is not in the log.", _LOOK)
                time.sleep(0.002)

    def _read(self) -> bool:
        """Take the lines that came since; whether there were any."""
        chunk = self._log.read(1 << 22)
        if not chunk:
            return False
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            match = _LINE.match(line.decode("utf-8", "replace"))
            if match is not None:
                self._take(match[1], match[2])
        return True

    def _take(self, event: str, rest: str) -> None:
        if event not in _EVENTS:
            return
        words = {key: _unquoted(value) for key, value in _WORDS.findall(rest)}
        pod = words.get("pod", "")
        if event.endswith(("for node", "for scheduled pod")):
            self._seen.add((event, words.get("node") or pod))
        elif event == "Async Preemption finished completely":
            self._preempted.add(words["preemptor"])
        elif event == "Preemptor Pod preempted victim Pod":
            self._preemptors[words["preemptor"]].victims.add(words["victim"])
        else:
            self._cycle(event, self._cycles.setdefault(pod, Observed()), words)
            if event in _ENDS:
                self._ended[pod] = self._cycles.pop(pod)

    def _cycle(self, event: str, cycle: Observed, words: Mapping[str, str]) -> None:
        node = words.get("node", "")
        if event == "Plugin scored node for pod":
            cycle.scores.setdefault(node, {})[words["plugin"]] = int(words["score"])
        elif event == "Calculated node's final score for pod":
            cycle.totals[node] = int(words["score"])
        elif event == "Successfully bound pod to node":
            cycle.node, cycle.feasible = node, int(words["feasibleNodes"])
        elif event == "Unable to schedule pod; no fit; waiting":
            cycle.message = words["err"]
        elif event == "the target node for the preemption is determined":
            cycle.nominated = node
            self._preemptors[words["pod"]] = cycle


_ENDS = frozenset(("Successfully bound pod to node", "Unable to schedule pod; no fit; waiting"))
_EVENTS = _ENDS | frozenset(
    (
        "Add event for node",
        "Delete event for node",
        "Add event for scheduled pod",
        "Update event for scheduled pod",
        "Delete event for scheduled pod",
        "Plugin scored node for pod",
        "Calculated node's final score for pod",
        "the target node for the preemption is determined",
        "Preemptor Pod preempted victim Pod",
        "Async Preemption finished completely",
    )
)


def _unquoted(value: str) -> str:
    return str(json.loads(value)) if value.startswith('"') else value
