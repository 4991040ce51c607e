"""Metrics ``kfarm_*`` of the operator, in a registry of their own; the list is in `CATALOGUE`."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Type = Literal["counter", "gauge", "histogram"]
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}


@dataclass(frozen=True)
class Described:
    """One metric as it is documented."""

    type: Type
    help: str
    labels: tuple[str, ...] = ()


CATALOGUE: dict[str, Described] = {
    "kfarm_build_info": Described("gauge", "Always 1; what runs.", ("version", "python", "role")),
    "kfarm_plans": Described(
        "gauge",
        "Placement plans by namespace and verdict (Pending before the first).",
        ("namespace", "verdict"),
    ),
    "kfarm_plan_oldest_verdict_age_seconds": Described(
        "gauge", "Age of the oldest approved verdict that is still in force.", ()
    ),
    "kfarm_verdicts_total": Described(
        "counter", "Verdicts written by this process.", ("verdict", "reason")
    ),
    "kfarm_admission_answers_total": Described(
        "counter", "Answers to Kueue's AdmissionChecks.", ("state", "reason")
    ),
    "kfarm_gate_releases_total": Described("counter", "Pods whose gate was lifted.", ()),
    "kfarm_gate_faults": Described(
        "gauge", "Policies of the gate that are missing or weakened; releases stop above 0.", ()
    ),
    "kfarm_farm_nodes": Described(
        "gauge", "Nodes of a farm by state.", ("farm_kind", "farm", "state")
    ),
    "kfarm_farm_accelerators": Described(
        "gauge", "Accelerators of a farm by state.", ("farm_kind", "farm", "state")
    ),
    "kfarm_drills": Described("gauge", "Failure drills by phase.", ("phase",)),
    "kfarm_drill_verdicts": Described(
        "gauge", "Failure drills that have ended, by verdict.", ("verdict",)
    ),
    "kfarm_drill_injected": Described(
        "gauge", "Changes of drills to Nodes and Leases that are not taken back yet.", ()
    ),
    "kfarm_drill_residue": Described(
        "gauge", "Such changes of drills that have ended; always 0 unless there is a bug.", ()
    ),
    "kfarm_drill_overdue_seconds": Described(
        "gauge", "How long after its time to live a drill has something not taken back.", ()
    ),
    "kfarm_reconcile_seconds": Described(
        "histogram", "Time that one reconcile took, by queue.", ("queue",)
    ),
    "kfarm_reconcile_errors_total": Described(
        "counter", "Reconciles that failed and are repeated, by queue.", ("queue",)
    ),
    "kfarm_queue_wait_seconds": Described(
        "histogram", "Time that a key waited for a worker, by queue.", ("queue",)
    ),
    "kfarm_queue_depth": Described(
        "gauge", "Keys by queue that wait or are worked on.", ("queue", "state")
    ),
    "kfarm_queue_oldest_seconds": Described(
        "gauge", "How long the key at the head of a queue has waited.", ("queue",)
    ),
    "kfarm_api_requests_total": Described(
        "counter",
        "Requests to the API server by verb, resource and HTTP status (0: no answer).",
        ("verb", "resource", "code"),
    ),
    "kfarm_api_request_seconds": Described(
        "histogram", "Time until the API server answered, by verb.", ("verb",)
    ),
    "kfarm_watch_events_total": Described(
        "counter", "Events and bookmarks that a watch brought.", ("watch",)
    ),
    "kfarm_watch_relists_total": Described("counter", "Complete lists.", ("watch",)),
    "kfarm_watch_errors_total": Described(
        "counter", "Streams and lists that broke, by watch.", ("watch",)
    ),
    "kfarm_watch_missed_total": Described(
        "counter", "Changes that a list showed and the watch never brought.", ("watch",)
    ),
    "kfarm_watch_heard_age_seconds": Described(
        "gauge", "Time since a watch last showed a sign of life.", ("watch",)
    ),
    "kfarm_watch_list_age_seconds": Described(
        "gauge", "Time since the last complete list.", ("watch",)
    ),
    "kfarm_watch_objects": Described("gauge", "Objects kept of a watch.", ("watch",)),
    "kfarm_twin_run_seconds": Described(
        "histogram", "Time from asking the twin to its answer, waiting included.", ("work",)
    ),
    "kfarm_twin_failures_total": Described(
        "counter", "Twin runs without an answer, by reason.", ("work", "reason")
    ),
    "kfarm_twin_runs": Described(
        "gauge", "Twin runs under way, and those that wait for a core.", ("work", "state")
    ),
    "kfarm_healthy": Described(
        "gauge", "1 while the part works, else 0; the parts are those of /healthz?verbose.",
        ("part",),
    ),
    "kfarm_event_loop_lag_seconds": Described(
        "gauge", "How late the event loop was with its last timer.", ()
    ),
}  # fmt: skip
"""Every metric that the operator serves. Labels name kinds, farms and namespaces, never pods."""

Sample = tuple[str, tuple[str, ...], float]
Source = Callable[[], Iterable[Sample]]
"""Gives, when scraped: name of a gauge or counter of the catalogue, label values, value."""


class Instruments(Collector):
    """All metrics of one process; those read when scraped come from sources."""

    def __init__(self, role: str = "all") -> None:
        self.registry = CollectorRegistry()
        self._sources: list[Source] = []
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._counted = {
            "kfarm_verdicts_total", "kfarm_admission_answers_total", "kfarm_gate_releases_total",
            "kfarm_reconcile_errors_total", "kfarm_api_requests_total", "kfarm_twin_failures_total",
        }  # fmt: skip
        for name, described in CATALOGUE.items():
            if described.type == "histogram":
                self._histograms[name] = Histogram(
                    name, described.help, described.labels, buckets=SECONDS, registry=self.registry
                )
            elif name in self._counted:
                self._counters[name] = Counter(
                    name, described.help, described.labels, registry=self.registry
                )
        build = (version("kfarm-operator"), platform.python_version(), role)
        self.read(lambda: [("kfarm_build_info", build, 1.0)])
        self.registry.register(self)

    def read(self, source: Source) -> None:
        """Ask `source` at each scrape."""
        self._sources.append(source)

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Add to a counter."""
        counter = self._counters[name]
        (counter.labels(*labels) if labels else counter).inc(by)

    def took(self, name: str, *labels: str, seconds: float) -> None:
        """Add to a histogram."""
        self._histograms[name].labels(*labels).observe(max(0.0, seconds))

    def collect(self) -> Iterable[Metric]:
        """Gauges and counters of the sources, for the registry."""
        families: dict[str, Metric] = {}
        for source in self._sources:
            for name, labels, value in source():
                described = CATALOGUE[name]
                if name not in families:
                    families[name] = _family(name, described)
                values = dict(zip(described.labels, labels, strict=True))
                families[name].add_sample(name, values, value)
        return families.values()

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: sources are asked when scraped."""
        return ()

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return bytes(generate_latest(self.registry))


def _family(name: str, described: Described) -> Metric:
    if described.type == "gauge":
        return GaugeMetricFamily(name, described.help, labels=described.labels)
    return Metric(name.removesuffix("_total"), described.help, described.type)


def resource_of(path: str) -> str:
    """The resource and subresource in a URL path, without names of objects."""
    parts = _parts(path)
    return f"{parts[0]}/{parts[2]}" if len(parts) > 2 else "".join(parts[:1])


def verb_of(method: str, path: str) -> str:
    """The Kubernetes verb of a request; a watch is none of those that are timed."""
    if method != "GET":
        return VERBS[method]
    return "get" if len(_parts(path)) > 1 else "list"


def _parts(path: str) -> list[str]:
    """Resource, name, subresource."""
    parts = path.strip("/").split("/")
    parts = parts[3:] if parts[0] == "apis" else parts[2:]
    namespaced = parts[:1] == ["namespaces"] and len(parts) > 2
    return parts[2:] if namespaced else parts
