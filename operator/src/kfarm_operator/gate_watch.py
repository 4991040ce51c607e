"""Looks after the gate's own policies: while one is missing or weakened nothing is released.

What was validated holds only as long as nothing else may enter the farm. A policy that is gone lets
unvalidated pods in, so the operator fails closed until it is back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path

from kfarm_operator.client import ApiError, KubeClient, Resource
from kfarm_operator.events import Events, Subject
from kfarm_operator.gate_ready import policy_faults
from kfarm_operator.gate_wanted import KINDS, BadPolicies, altered, read_wanted
from kfarm_operator.health import Finding
from kfarm_operator.parts import Part, Shared

FRESH_S = 2.0
"""A look at the policies that is older is repeated before a release."""
REMEDY = "helm upgrade --install --force restores the chart's policies"
"""Without ``--force`` Helm leaves alone what was added to an object by hand."""
_GROUP, _VERSION = "admissionregistration.k8s.io", "v1"
_LISTS = tuple(
    Resource(_GROUP, _VERSION, plural)
    for plural in (
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    )
)
UNSEEN = ("the policies of the gate have not been read yet",)
_LOG = logging.getLogger(__name__)


class GateWatch(Part):
    """Reads the policies of the gate at the start, after each re-list and before releases.

    Attributes
    ----------
    faults
        What is amiss; empty when the gate is shut. Kept while the API server does not answer.

    Parameters
    ----------
    after
        Who looks again at everything when the picture changes.
    wanted
        File in which the chart wrote what its policies say; without it an edited expression goes
        unnoticed. Read at each look, since it changes with the chart.
    """

    def __init__(self, shared: Shared, after: tuple[Part, ...], wanted: Path | None = None) -> None:
        self._client: KubeClient = shared.accounts.gate
        self._events = Events(shared.accounts.gate)
        self._after = after
        self._wanted = wanted
        self._lock = threading.Lock()
        self._read_at = 0.0
        self.faults: tuple[str, ...] = UNSEEN
        shared.instruments.read(lambda: [("kfarm_gate_faults", (), float(len(self.faults)))])

    async def prepare(self) -> None:
        """Read the policies before anything is decided."""
        await self.relisted()

    async def relisted(self) -> None:
        """Read the policies; where that changes the picture, say so and look at every plan."""
        try:
            await asyncio.to_thread(self._look)
        except ApiError as error:
            _LOG.warning("policies of the gate not read: %s", error)

    def before_release(self) -> tuple[str, ...]:
        """What is amiss right now; to be asked in a thread, before pods are given places.

        Raises
        ------
        ApiError
            When nobody can tell; then nothing may be released.
        """
        with self._lock:
            recent = time.monotonic() - self._read_at < FRESH_S
        return self.faults if recent else self._look()

    def _look(self) -> tuple[str, ...]:
        with self._lock:
            try:
                faults = self._read()
            except ApiError as error:
                if error.status not in (401, 403, 404):
                    raise
                faults = (f"the policies of the gate cannot be read: {error}",)
            self._read_at = time.monotonic()
            before, self.faults = self.faults, faults
        if faults != before:
            self._announce(before)
            for part in self._after:
                part.enqueue_all()
        return faults

    def finding(self) -> Finding:
        """How the gate does, for the verbose form of the probes."""
        detail = f"open: {'; '.join(self.faults)}. {REMEDY}" if self.faults else "shut"
        return Finding("gate", not self.faults, detail)

    def _read(self) -> tuple[str, ...]:
        lists = [list(self._client.items(resource)) for resource in _LISTS]
        faults = policy_faults(*lists)
        if self._wanted is None:
            return faults
        try:
            edited = altered(read_wanted(self._wanted), dict(zip(KINDS, lists, strict=True)))
        except BadPolicies as error:
            return (*faults, f"nobody can tell whether policies were altered: {error}")
        # what is plainly open is said in those words, and not again as altered
        return (*faults, *(fault for fault in edited if not _said(fault, faults)))

    def _announce(self, before: tuple[str, ...]) -> None:
        about = Subject(f"{_GROUP}/{_VERSION}", "MutatingAdmissionPolicy", "", "kfarm-gate", "")
        if self.faults:
            message = f"nothing is released: {'; '.join(self.faults)}. {REMEDY}"
            _LOG.error("the gate is open: %s", message)
            self._events.tell(about, "Warning", "GateDegraded", message)
        elif before != UNSEEN:
            _LOG.info("the gate is shut again")
            self._events.tell(about, "Normal", "GateShut", "all policies are back")


def _said(fault: str, faults: tuple[str, ...]) -> bool:
    """Whether another fault is already about the same policy or its binding."""
    kind, name = fault.split(" ", 2)[:2]
    policy = f"{kind.removesuffix('Binding')} {name}"
    return any(f"{policy} " in f"{other} " for other in faults)
