"""Telemetry of farms: gather, compare, status. Nothing here runs the twin in this process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from kfarm_api.farm import Farm
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.telemetry import Telemetry, Unhealthy
from kfarm_api.units import parse_duration_ns
from kfarm_twin.live_request import Compared, CompareRequest

from kfarm_operator.client import ApiError, KubeClient, Resource, kfarm_resource
from kfarm_operator.conditions import transitions
from kfarm_operator.events import Events
from kfarm_operator.index import Index
from kfarm_operator.live import compare as comparing
from kfarm_operator.live.gauges import LiveGauges
from kfarm_operator.live.prometheus import ask
from kfarm_operator.live.reports import (
    Report,
    device_reports,
    health_reports,
    metric_reports,
    node_faults,
    unhealthy,
)
from kfarm_operator.live.series import BadAnswer, Reading, queries, read_answer, take
from kfarm_operator.live.status import (
    OWNED,
    TELEMETRY,
    Heard,
    differs,
    drifted,
    heard,
    history,
    live_status,
    rows_of,
    suggestions,
)
from kfarm_operator.live.window import Window, question
from kfarm_operator.mirror import Mirror
from kfarm_operator.views import NodeView

HEALTHS = Resource("npu.ai", "v1alpha1", "acceleratorhealths")
DEVICE_REPORTS = Resource("npu.ai", "v1alpha1", "nodedevicereports")
"""Of kcloud-operator; a cluster without them has nothing to tell."""
LOOK_S = 30.0
AGAIN_S = 0.5
_LOG = logging.getLogger(__name__)
Key = tuple[str, str]
Compare = Callable[[CompareRequest], Awaitable[Compared]]


@dataclass(frozen=True)
class _Round:
    """What one look at a farm gave; reading and telemetry are None where it has none."""

    nodes: dict[str, NodeView]
    lost: list[Unhealthy]
    reading: Reading | None
    telemetry: Heard | None


class LiveReconciler:
    """Reads what monitoring says of farms and keeps it in their status, as the farm account."""

    def __init__(
        self,
        client: KubeClient,
        index: Index,
        nodes: Mirror[NodeView],
        *,
        gauges: LiveGauges | None = None,
        compare: Compare = comparing.compare,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._index = index
        self._nodes = nodes
        self._gauges = gauges
        self._compare = compare
        self._clock = clock
        self._events = Events(client)
        self._windows: dict[Key, Window] = {}
        self._bad: dict[Key, dict[str, Report]] = {}
        self._due: dict[Key, tuple[int, float]] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Look at one farm, `key` is (kind, name); returns when to look again."""
        farm = self._index.farm(*key)
        if farm is None or farm.metadata.deletion_timestamp:
            self._forget(key)
            return None
        began = time.monotonic()
        generation, due = self._due.get(key, (-1, 0.0))
        if generation == farm.metadata.generation and began < due:
            return due - began
        found = await asyncio.to_thread(self._look, key, farm)
        closed = await self._close(key, farm, found)
        again = await asyncio.to_thread(self._write, key, found, closed)
        if again is not None:
            return again
        interval = LOOK_S
        if farm.spec.telemetry is not None:
            interval = _seconds(farm.spec.telemetry.prometheus.interval)
        self._due[key] = (farm.metadata.generation, began + interval)
        return max(0.1, began + interval - time.monotonic())

    def node_changed(self, old: NodeView | None, new: NodeView | None) -> None:
        """From the mirror's thread: count nodes that stop being Ready, notice faults at once."""
        if new is not None and (old.faults if old else ()) != new.faults:
            self._due.pop(new.farm, None)
        if old is not None and new is not None and old.ready and not new.ready:
            window = self._windows.get(new.farm)
            if window is not None:
                window.fail(new.cluster)

    def _look(self, key: Key, farm: Farm) -> _Round:
        nodes = {node.name: node for node in self._nodes.values() if node.farm == key}
        reports = [*self._reported(), *node_faults(nodes.values())]
        telemetry = farm.spec.telemetry
        if telemetry is None:
            return _Round(nodes, unhealthy(farm, nodes, reports), None, None)
        profiles = self._profiles(farm)
        said: Reading | BadAnswer
        wrong: list[str] = []
        try:
            said, wrong = read_farm(telemetry, profiles, _names(farm, nodes), self._clock())
        except BadAnswer as error:
            said = error
        wanted = sum(c.nodes * c.accelerators_per_node for c in farm.spec.clusters)
        judged = heard(said, wanted, wrong)
        reading = said if isinstance(said, Reading) and judged.good else None
        reports += self._metric_reports(key, reading)
        return _Round(nodes, unhealthy(farm, nodes, reports), reading, judged)

    def _metric_reports(self, key: Key, reading: Reading | None) -> list[Report]:
        """What exporters call bad; the last that was believed stands while nothing is."""
        if reading is not None:
            self._bad[key] = {report.node: report for report in metric_reports(reading)}
        return list(self._bad.get(key, {}).values())

    def _reported(self) -> list[Report]:
        return [
            *health_reports(self._list(HEALTHS)),
            *device_reports(self._list(DEVICE_REPORTS)),
        ]

    def _list(self, resource: Resource) -> list[dict[str, Any]]:
        """All objects of a kind that may not exist, or that we may not be allowed to read."""
        try:
            return list(self._client.items(resource))
        except ApiError as error:
            if error.not_found or error.status == 403:
                return []
            raise

    def _profiles(self, farm: Farm) -> dict[str, AcceleratorProfile]:
        named = {cluster.accelerator for cluster in farm.spec.clusters}
        return {name: p for name, p in self._index.profiles().items() if name in named}

    async def _close(
        self, key: Key, farm: Farm, found: _Round
    ) -> tuple[list[Any], list[Any], Heard] | None:
        """At the end of a period: what was predicted beside what was observed."""
        telemetry, now = farm.spec.telemetry, self._clock()
        if telemetry is None:
            self._windows.pop(key, None)
            return None
        window = self._windows.setdefault(key, Window(now))
        window.watch(_counts(found.nodes), now)
        if found.reading is not None:
            window.add(found.reading)
        if (now - window.opened).total_seconds() < _seconds(telemetry.record):
            return None
        asked = question(farm, self._profiles(farm), found.nodes, window)
        compared: Compared | None = None
        if asked.nodes:
            try:
                compared = await self._compare(asked)
            except comparing.CompareFailed as error:
                _LOG.warning("%s/%s: predicted and observed not compared: %s", *key, error)
        self._windows[key] = Window(now)
        rows = rows_of(compared, farm, window, now)
        before = farm.status.drift if farm.status else ()
        judged = drifted(rows, telemetry.drift)
        if self._gauges is not None:
            self._gauges.drift(farm, rows)
        return rows, suggestions(compared, history(before, rows)), judged

    def _write(
        self, key: Key, found: _Round, closed: tuple[list[Any], list[Any], Heard] | None
    ) -> float | None:
        """Bring the status up to date; returns when to try again where it changed meanwhile."""
        resource = kfarm_resource(f"{key[0].lower()}s")
        farm = self._index.farm(*key)
        if farm is None:
            return None
        for _ in range(5):
            self._show(farm, found)
            wanted = live_status(
                farm, lost=found.lost, telemetry=found.telemetry, closed=closed, now=self._clock()
            )
            have = farm.status.as_manifest() if farm.status else {}
            if not differs(have, wanted):
                return None
            meta = farm.metadata
            body = {
                "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
                "status": wanted,
            }
            try:
                answer = self._client.patch(resource, meta.name, body, sub="status")
            except ApiError as error:
                if error.not_found:
                    return None
                if not error.conflict:
                    raise
                fresh = self._client.get(resource, meta.name)
                again = self._index.put(fresh) if fresh else None
                if again is None or again.kind not in ("GPUFarm", "NPUFarm"):
                    return None
                farm = self._index.farm(*key) or farm
                continue
            self._index.put(answer)
            self._tell(farm, wanted)
            return None
        return AGAIN_S

    def _show(self, farm: Farm, found: _Round) -> None:
        if self._gauges is not None:
            self._gauges.show(
                farm,
                up=found.telemetry.good if found.telemetry else None,
                devices=found.reading.devices if found.reading else 0,
                lost=sum(entry.accelerators for entry in found.lost),
            )

    def _tell(self, farm: Farm, wanted: dict[str, Any]) -> None:
        """An Event for each of our conditions that changed."""
        known = farm.status.conditions if farm.status else ()
        for turned in transitions(known, wanted["conditions"]):
            if turned.type in OWNED:
                fine = (turned.type == TELEMETRY) == (turned.status == "True")
                kind: Literal["Normal", "Warning"] = "Normal" if fine else "Warning"
                self._events.post(farm, kind, turned.reason, turned.message)

    def _forget(self, key: Key) -> None:
        self._windows.pop(key, None)
        self._bad.pop(key, None)
        self._due.pop(key, None)
        if self._gauges is not None:
            self._gauges.forget(*key)


def read_farm(
    telemetry: Telemetry,
    profiles: dict[str, AcceleratorProfile],
    names: dict[str, dict[str, str]],
    now: datetime,
) -> tuple[Reading, list[str]]:
    """One round of queries, and the metric names that are none.

    Parameters
    ----------
    names
        By profile: the nodes that carry it, by whatever a label may call them.

    Raises
    ------
    BadAnswer
        When the Prometheus gives nothing to go by.
    """
    prometheus = telemetry.prometheus
    asked, wrong = queries(profiles.values(), prometheus.matchers)
    if not asked and not wrong:
        raise BadAnswer(
            "NoMetricNames",
            "no profile of the farm has spec.metrics; say there under which names its exporter "
            "publishes the device",
        )
    reading, answers = Reading(), dict[str, Any]()
    timeout_s = _seconds(prometheus.timeout)
    for query in asked:
        if query.expression not in answers:
            raw = ask(prometheus.url, query.expression, timeout_s, now.timestamp())
            answers[query.expression] = read_answer(raw)
        profile = profiles[query.profile]
        samples = answers[query.expression]
        take(reading, query, samples, profile, names.get(query.profile, {}), now.timestamp())
    return reading, wrong


def _names(farm: Farm, nodes: dict[str, NodeView]) -> dict[str, dict[str, str]]:
    accelerator = {cluster.name: cluster.accelerator for cluster in farm.spec.clusters}
    found: dict[str, dict[str, str]] = {}
    for node in nodes.values():
        names = found.setdefault(accelerator.get(node.cluster, ""), {})
        names[node.name] = node.name
        names[node.labels.get("kubernetes.io/hostname", node.name)] = node.name
    return found


def _counts(nodes: dict[str, NodeView]) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in nodes.values():
        found[node.cluster] = found.get(node.cluster, 0) + 1
    return found


def _seconds(duration: str) -> float:
    return parse_duration_ns(duration) / 1e9
