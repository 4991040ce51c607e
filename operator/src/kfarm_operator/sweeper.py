"""``kfarm-sweeper``: take back what drills left behind when their time is over.

It needs no drill, no CRD and no operator: nodes and Leases carry what was done to them, by whom and
until when. It runs under an account of its own, shares no code with the controller of drills, and
its clock is the API server's.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kfarm_api.drill_marks import ANNOTATION_DRILL

from kfarm_operator.client import LEASES, NODES, ApiError, KubeClient, Resource
from kfarm_operator.events import Events, Subject
from kfarm_operator.logs import about, set_up
from kfarm_operator.sweep_object import (
    Sweep,
    lock_overdue,
    marks,
    overdue,
    sweep_lease,
    sweep_node,
)

JSON = dict[str, Any]
NODE_LEASES = "kube-node-lease"
LOCKS = "kfarm-drill-"
TRIES = 5
_LOG = logging.getLogger("kfarm_operator.sweeper")


@dataclass(frozen=True)
class Round:
    """What one look at everything came to.

    Attributes
    ----------
    taken_back
        Nodes, Leases and locks that were overdue and are now clean.
    waiting
        Leases that are left to whoever plays the node, for a short time.
    failed
        Objects that could not be taken back, or not all of them.
    """

    taken_back: int = 0
    waiting: int = 0
    failed: int = 0


class Sweeper:
    """Looks for what is overdue and takes it back."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._events = Events(client)

    def round(self) -> Round:
        """Look at all nodes, Leases and locks once.

        Raises
        ------
        ApiError
            When the API server cannot be asked what there is.
        """
        now = self._client.server_time()
        found = [
            self._sweep(resource, where, body, now) for resource, where, body in self._left(now)
        ]
        found += [self._drop(body) for body in self._locks(now)]
        return Round(found.count("done"), found.count("waits"), found.count("failed"))

    def _left(self, now: datetime) -> Iterator[tuple[Resource, str | None, JSON]]:
        """Nodes and Leases that are overdue, as the API server's cache has them."""
        for resource, where in ((LEASES, NODE_LEASES), (NODES, None)):
            for body in self._client.items(resource, where, resourceVersion="0"):
                if overdue(body, now):
                    yield resource, where, body

    def _locks(self, now: datetime) -> Iterator[JSON]:
        for body in self._client.items(LEASES, self._namespace):
            if body["metadata"]["name"].startswith(LOCKS) and lock_overdue(body, now):
                yield body

    def _sweep(self, resource: Resource, where: str | None, listed: JSON, now: datetime) -> str:
        """Take one object back, read anew at each try; done, waits, clean or failed."""
        kind, name = "Lease" if resource is LEASES else "Node", listed["metadata"]["name"]
        fields = about(kind, where, name)
        for _ in range(TRIES):
            try:
                body = self._client.get(resource, name, where)
                if body is None or not overdue(body, now):
                    return "clean"
                sweep = sweep_lease(body, now) if resource is LEASES else sweep_node(body)
                if sweep is None:
                    return "waits"
                self._write(resource, where, body, sweep)
            except ApiError as error:
                if error.conflict:
                    continue
                _LOG.error("not taken back: %s", error, extra=fields)
                return "failed"
            self._tell(kind, where, body, sweep)
            return "failed" if sweep.problem else "done"
        _LOG.error("not taken back: others write to it all the time", extra=fields)
        return "failed"

    def _write(self, resource: Resource, where: str | None, body: JSON, sweep: Sweep) -> None:
        """Status first: the marks, which say how, come off last."""
        version = body["metadata"]["resourceVersion"]
        for patch, sub in ((sweep.status, "status"), (sweep.main, "")):
            if patch is None:
                continue
            held = {"uid": body["metadata"]["uid"], "resourceVersion": version}
            wanted = {**patch, "metadata": {**patch.get("metadata", {}), **held}}
            name = body["metadata"]["name"]
            answer = self._client.patch(resource, name, wanted, namespace=where, sub=sub)
            version = answer["metadata"]["resourceVersion"]

    def _tell(self, kind: str, where: str | None, body: JSON, sweep: Sweep) -> None:
        meta = body["metadata"]
        drill = marks(body).get(ANNOTATION_DRILL, "unknown")
        said = f"what drill {drill} left here was overdue and is taken back"
        if sweep.kept:
            said += f"; changed by somebody else and kept: {', '.join(sweep.kept)}"
        if sweep.problem:
            said += f"; not everything: {sweep.problem}"
        _LOG.warning("%s", said, extra=about(kind, where, meta["name"]))
        version = "coordination.k8s.io/v1" if kind == "Lease" else "v1"
        subject = Subject(version, kind, where or "", meta["name"], meta["uid"])
        self._events.tell(subject, "Warning", "DrillSweptUp", said)

    def _drop(self, body: JSON) -> str:
        """Delete a lock that nobody took over meanwhile."""
        meta = body["metadata"]
        fields = about("Lease", self._namespace, meta["name"])
        try:
            self._client.delete(
                LEASES, meta["name"], uid=meta["uid"], namespace=self._namespace,
                version=meta["resourceVersion"],
            )  # fmt: skip
        except ApiError as error:
            if error.conflict:
                return "clean"
            _LOG.error("lock not dropped: %s", error, extra=fields)
            return "failed"
        _LOG.warning("the lock of a drill was overdue and is dropped", extra=fields)
        return "done"


def sweep_for(
    look: Callable[[], Round], every_s: float, lasts_s: float | None, *,
    clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
) -> bool:  # fmt: skip
    """Look again and again; whether the last look left nothing that failed.

    Parameters
    ----------
    lasts_s
        For how long; 0: one look; None: for ever.
    """
    began = clock()
    while True:
        try:
            well = look().failed == 0
        except ApiError as error:
            _LOG.error("nothing could be looked at: %s", error)
            well = False
        if lasts_s is not None and clock() - began + every_s > lasts_s:
            return well
        sleep(every_s)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="kfarm-sweeper", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, help="left out: the pod's own account")
    parser.add_argument("--namespace", default="kfarm-system", help="where locks of drills are")
    parser.add_argument("--every", type=_seconds, default=15.0, metavar="SECONDS")
    parser.add_argument("--for", dest="lasts", type=_seconds, metavar="SECONDS",
                        help="left out: until it is stopped")  # fmt: skip
    parser.add_argument("--once", action="store_true", help="one look")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    if arguments.once:
        arguments.lasts = 0.0
    return arguments


def _seconds(text: str) -> float:
    """A whole number of seconds, up to an hour."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 3600 and len(text) <= 4):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 3600")
    return float(text)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; 0: nothing failed at the last look, 1: something did."""
    arguments = parse_arguments(argv)
    set_up(arguments.log_format, verbose=False)
    try:
        client = KubeClient.connect(arguments.kubeconfig)
    except ApiError as error:
        _LOG.error("%s", error)
        sys.exit(2)
    sweeper = Sweeper(client, arguments.namespace)
    sys.exit(0 if sweep_for(sweeper.round, arguments.every, arguments.lasts) else 1)


if __name__ == "__main__":
    main()
