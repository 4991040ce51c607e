"""How fast a cluster notices and acts: figures of Kubernetes and KWOK, each with its source.

Paths are those of kubernetes v1.36.3 (``pkg/controller``), kwok v0.8.0 (``pkg/kwok``) and kueue
v0.19.2 (``pkg``). Each stream of random numbers has a key of its own, made of the seed and its
name, so that a delay that is added or left out moves no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from kfarm_api.drill import ClusterDelays
from kfarm_api.units import parse_duration_ns, parse_quantity

from kfarm_twin.arrays import Floats
from kfarm_twin.drill_request import MeasuredDelays

NS = 1e9
TAINT_PERIOD_S = 0.1
"""The queue of nodes to taint is looked at so often (nodelifecycle/scheduler,
NodeEvictionPeriod)."""
SECONDARY_RATE = 0.01
"""Nodes a second in a large zone that is disrupted (--secondary-node-eviction-rate)."""
LARGE_CLUSTER = 50
"""A zone of more nodes is large (--large-cluster-size-threshold); in a smaller one that is
disrupted no node is tainted any more (nodelifecycle, ReducedQPSFunc)."""
UNHEALTHY_SHARE = 0.55
"""From this share of nodes not ready, and more than two, a zone is disrupted
(--unhealthy-zone-threshold; nodelifecycle, ComputeZoneState)."""
BACKOFF_S = 10.0
"""After the first failure of a Job; doubled with each one more (job, DefaultJobPodFailureBackOff).
"""
BACKOFF_MOST_S = 600.0
"""(job, MaxJobPodFailureBackOff)"""
JOB_BATCH_S = 1.0
"""Events of pods are looked at together so long after the first (job, SyncJobBatchPeriod)."""
LEASE_JITTER = 0.04
"""A KWOK node's Lease is renewed every period and up to this share later
(controllers/controller.go, renewIntervalJitter)."""
WATCH_S = (0.005, 0.4)
"""From a write to what a controller does about it: a watch event, a queue, a write. Most are quick
and few are slow: the fourth power of a uniform number between the two (assumption, after 0.02 to
0.08 s in development runs on KWOK)."""
WATCH_POWER = 4
BIND_S = (0.02, 0.3)
"""From release to binding: one pass of the scheduler (assumption)."""
STEP_S = (0.02, 0.6)
"""From the moment at which a remedy or a drain is due to the eviction: the drill controller looks,
writes down, acts. By the law of `WATCH_S` (assumption, after 0.04 to 0.3 s in development runs on
KWOK)."""
SECOND_S = 1.0
"""Times of the API have whole seconds, rounded down: a back-off ends up to a second early."""
VERDICT_S = (0.1, 2.0)
"""Of the gate for a successor, where neither stated nor measured: collecting inputs, a run of the
twin, the writes of claim and release. By the law of `WATCH_S` (assumption, after 0.3 to 0.6 s in
development runs)."""
POD_START_S = (0.02, 0.5)
"""From release to Running, by the same law (assumption, after 0.02 to 0.1 s on KWOK; real images
take longer: state `podStart`)."""
FIRST_VERDICT_S = (0.26, 10.6)
"""From a plan to its first verdict, by the same law: alone on a warm operator, and the median of
100 plans at once (docs/architecture.md, Speed; `bench/operations.py`)."""
RELEASE_RATE = (50.0, 100.0)
"""Pods a second from release to binding in a roll-out: the scheduler's client sends 50 requests a
second by default (clientConnection.qps); 255 pods took 2.5 s (docs/architecture.md, Speed)."""
OPERATOR_START_S = (3.0, 60.0)
"""From a kill until the operator works, where not stated, by the law of `WATCH_S`: a pod is made,
Python and the twin's server start, everything is listed (assumption; 60 s with an image that has to
be pulled)."""
START_SPREAD = (0.9, 1.3)
"""A start differs by so much from the one that is stated: it shares its cores with all that goes on
(assumption)."""
HANG_S = 5.0
"""A connection to an API server that is silent is given up after that (client.py, connect; TLS
handshakes of client-go after 10 s); what was sent on an open one waits for 30 s."""
RETRY_S = 0.2
"""First pause of the operator's mirrors after that, doubled each time (mirror.py, _run). Reflectors
of client-go pause 0.8 s and more, once their connection is lost: after 45 s of silence
(tools/cache/reflector.go; util/net/http.go, ReadIdleTimeout and PingTimeout)."""
RETRY_MOST_S = 30.0
"""(mirror.py, _run; client-go, tools/cache/reflector.go)"""
KUEUE_LOOK_S = 0.1
"""Kueue looks at a node so long after an event of a pod on it (controller/tas/node_controller.go,
reconcileBatchPeriod)."""
SECOND_PASS_S = 1.0
"""Until Kueue looks for a node in place of one that failed (cache/queue/second_pass_queue.go,
initialBackoff)."""
KUEUE_BATCH_S = 1.0
"""Kueue gives pods their nodes so long after the first of them was made
(controller/tas/topology_ungater.go), and looks at a flavor so long after its nodes changed
(resource_flavor.go; both UpdatesBatchPeriod)."""
RETRY_BATCH_S = 1.0
"""After that, until Workloads that found no room are tried again
(cache/queue/inadmissible_workloads.go, requeueBatchPeriod)."""
KUEUE_PASS_S = (0.01, 0.5)
"""A pass of Kueue's scheduler: a snapshot of the nodes, the search, a write; by the law of
`WATCH_S`, like the next three (assumption)."""
SUSPEND_S = (0.02, 0.6)
"""From a Workload's eviction to its Job being suspended and its pods marked: writes of Kueue, a
sync of the Job controller (assumption)."""
CLEAR_S = (0.02, 0.6)
"""From there to the quota being given back and the Workload queued: the Job's status, writes of
Kueue (assumption)."""
RESUME_S = (0.02, 0.6)
"""From admission to the Job making its pods anew: a write of Kueue, a sync (assumption)."""
UNGATE_S = (0.02, 0.6)
"""Beyond `KUEUE_BATCH_S`, from a pod's creation to its release: a write of Kueue, a look and a
write of the gate, which has validated the nodes before; by the law of `WATCH_S` (assumption)."""


@dataclass(frozen=True)
class Delays:
    """Figures of one cluster [s].

    Attributes
    ----------
    eviction_rate
        Nodes tainted a second.
    verdict, pod_start, operator_start
        One figure: that; several: one of them by chance; two in a `range`: between them.
    api_return
        None: not stated.
    """

    period: float
    grace: float
    renew: float
    eviction_rate: float
    gc_period: float
    toleration: float
    verdict: tuple[float, ...]
    pod_start: tuple[float, ...]
    verdict_assumed: bool
    pod_start_assumed: bool
    operator_start: tuple[float, ...] = OPERATOR_START_S
    operator_start_assumed: bool = True
    api_return: float | None = None

    @classmethod
    def of(cls, stated: ClusterDelays, measured: MeasuredDelays) -> Delays:
        """As the drill states them, else as measured, else as assumed."""
        verdict, verdict_assumed = _samples(stated.verdict, measured.verdict_s, VERDICT_S)
        start, start_assumed = _samples(stated.pod_start, measured.pod_start_s, POD_START_S)
        operator, operator_assumed = _samples(stated.operator_start, (), OPERATOR_START_S)
        return cls(
            period=_seconds(stated.node_monitor_period),
            grace=_seconds(stated.node_monitor_grace_period),
            renew=_seconds(stated.lease_renew_interval),
            eviction_rate=parse_quantity(stated.node_eviction_rate),
            gc_period=_seconds(stated.pod_gc_period),
            toleration=_seconds(stated.toleration),
            verdict=verdict,
            pod_start=start,
            verdict_assumed=verdict_assumed,
            pod_start_assumed=start_assumed,
            operator_start=operator,
            operator_start_assumed=operator_assumed,
            api_return=None if stated.api_return is None else _seconds(stated.api_return),
        )

    def told(self) -> list[str]:
        """What was assumed, in sentences."""
        notes = [
            f"a node is missed after {self.grace:g} s (node-monitor-grace-period) without a renewed"
            f" Lease (every {self.renew:g} s), looked at every {self.period:g} s",
            f"{self.eviction_rate:g} nodes a second are tainted (node-eviction-rate); pods leave"
            f" {self.toleration:g} s later unless they state another toleration",
            "pods of a dead node stay Terminating until it is back or is said to be out of"
            f" service; then the next pass of pod GC (every {self.gc_period:g} s) lets them go",
        ]
        if self.grace < self.renew + self.period:
            notes.append(
                f"nodeMonitorGracePeriod {self.grace:g} s is shorter than a renewal and a look"
                f" ({self.renew + self.period:g} s): nodes are missed without any fault"
            )
        for what, assumed, values in (
            ("verdict of the gate", self.verdict_assumed, self.verdict),
            ("start of a pod", self.pod_start_assumed, self.pod_start),
        ):
            if assumed:
                notes.append(
                    f"{what}: {values[0]:g} to {values[1]:g} s (assumption; nothing was measured)"
                )
        return notes


@dataclass(frozen=True)
class KueueDelays:
    """Figures of a cluster on which Kueue admits and places [s]; see `Delays`.

    Attributes
    ----------
    check
        From an assignment to the twin's answer: a simulation, which `MeasuredDelays.verdict_s` does
        not show, since the gate has validated an assignment before there are pods for it.
    ungate
        From a pod's creation to its release, under an assignment that is validated.
    """

    check: tuple[float, ...]
    ungate: tuple[float, ...]
    check_assumed: bool
    ungate_assumed: bool

    @classmethod
    def of(cls, stated: ClusterDelays, measured: MeasuredDelays) -> KueueDelays:
        """The check as the drill states it, the release as measured, else as assumed."""
        check, check_assumed = _samples(stated.verdict, (), VERDICT_S)
        assumed = (KUEUE_BATCH_S + UNGATE_S[0], KUEUE_BATCH_S + UNGATE_S[1])
        ungate, ungate_assumed = _samples(None, measured.verdict_s, assumed)
        return cls(check, ungate, check_assumed, ungate_assumed)

    def told(self) -> list[str]:
        """What was assumed, in sentences."""
        notes = [
            "Kueue 0.19 with its default feature gates: it replaces a failed node"
            f" {SECOND_PASS_S:g} s after the last pod there was marked for deletion, else takes the"
            " whole Workload back into the queue",
            "nobody else waits for the quota or the nodes that a Workload gives back",
        ]
        for what, assumed, values in (
            ("the twin's answer to an AdmissionCheck", self.check_assumed, self.check),
            ("release of a pod that Kueue has placed", self.ungate_assumed, self.ungate),
        ):
            if assumed:
                notes.append(
                    f"{what}: {values[0]:g} to {values[1]:g} s (assumption; nothing was measured)"
                )
        return notes


def _seconds(text: str) -> float:
    return parse_duration_ns(text) / NS


def _samples(
    stated: str | None, measured: Sequence[float], assumed: tuple[float, float]
) -> tuple[tuple[float, ...], bool]:
    if stated is not None:
        return (_seconds(stated),), False
    if measured:
        return tuple(sorted(measured)), False
    return assumed, True


@dataclass(frozen=True)
class Draws:
    """Random numbers of the futures: the same for the same seed and name."""

    seed: int
    futures: int

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> Floats:
        """[F] between two bounds."""
        key = hashlib.sha256(f"{self.seed}\0{name}".encode()).digest()[:16]
        bits = np.random.Philox(key=np.frombuffer(key, np.dtype("<u8")))
        raw = bits.random_raw(self.futures) >> np.uint64(11)
        return np.asarray(low + (high - low) * (raw.astype(np.float64) * 2.0**-53))

    def quick(self, name: str, low: float, high: float) -> Floats:
        """[F] between two bounds, mostly near the lower."""
        return np.asarray(low + (high - low) * self.uniform(name) ** WATCH_POWER)

    def exponential(self, name: str, mean: float) -> Floats:
        """[F] with this mean."""
        return np.asarray(-mean * np.log1p(-self.uniform(name)))

    def sampled(self, name: str, values: tuple[float, ...], *, between: bool) -> Floats:
        """[F] of the values, or `between` the two of them, mostly near the lower."""
        if between:
            return self.quick(name, values[0], values[1])
        places = (self.uniform(name) * len(values)).astype(np.int64)
        return np.asarray(values, np.float64)[np.minimum(places, len(values) - 1)]
