"""What a scenario is given, what it has to offer, and what comes of a play."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kfarm_operator.client import KubeClient

from kfarm_controlplane.client import Cluster
from kfarm_controlplane.faults.plans import FaultPlan
from kfarm_controlplane.faults.signature import Signature

if TYPE_CHECKING:
    from kfarm_controlplane.faults.history import History
    from kfarm_controlplane.faults.oracle import Masks


class Door(Protocol):
    """Holds answers of the real twin, so that a scenario acts in the middle of a simulation."""

    def shut(self) -> None:
        """Answers wait from now on."""

    def open(self) -> None:
        """Answers pass, those that wait as well."""

    def waiting(self) -> int:
        """Runs that are done and whose answers wait."""


class Stage(Protocol):
    """Where a scenario plays: names of its own on a shared control plane."""

    @property
    def names(self) -> str:
        """Prefix that nothing outside this play has."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def farm(self) -> str:
        """Its farm, and its validation policy."""

    @property
    def client(self) -> KubeClient:
        """An administrator's client straight at the API server: no fault, and quick."""

    @property
    def cluster(self) -> Cluster:
        """The same by kubectl, where something is wanted that `client` cannot; slow."""

    @property
    def door(self) -> Door:
        """In front of the twin."""

    def shift(self, role: str) -> None:
        """kill -9 who is on duty, and let another role take over: ``all`` or ``sweeper``."""

    def history(self) -> History:
        """All versions of the play's objects so far."""

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        """Wait until a condition holds; errors of the API server count as not yet."""


class Scenario(Protocol):
    """A user's story."""

    @property
    def name(self) -> str:
        """As plans call it."""

    @property
    def kueue(self) -> bool:
        """Whether Kueue must run."""

    @property
    def drills(self) -> bool:
        """Whether drills must be allowed."""

    @property
    def nodes(self) -> int:
        """Of its farm."""

    @property
    def keeps_farm(self) -> bool:
        """Whether it leaves its farm as it was, so that another play may have it."""

    @property
    def sampled(self) -> bool:
        """Whether campaigns draw it; one that touches what all share is played on its own."""

    @property
    def masks(self) -> Masks:
        """What of its end is free to differ."""

    def prepare(self, stage: Stage) -> None:
        """Make namespace, farm and policy; no fault strikes here."""

    def play(self, stage: Stage) -> None:
        """The user's acts; they wait for what the cluster shows, never for time."""

    def settled(self, stage: Stage) -> bool:
        """Whether the end is reached, as far as one can see."""

    def restore(self, stage: Stage) -> None:
        """Undo what others would notice; called at the end, whatever came of the play."""


@dataclass(frozen=True)
class Outcome:
    """What came of one play.

    Attributes
    ----------
    struck
        Whether every fault found its place; a plan that did not strike proves nothing.
    violations
        What the oracle found; empty when all is well.
    converge_s
        From the last fault (or the user's last act, where that came later) to the right end.
    seen
        Signatures of the operator's writes and of events delivered to it, in order.
    log
        The operator's log of this play.
    """

    plan: FaultPlan
    struck: bool
    violations: tuple[str, ...]
    converge_s: float
    wall_s: float
    starts: int = 0
    seen: tuple[Signature, ...] = ()
    end: Any = None
    log: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def clean(self) -> bool:
        """Whether the faults struck and nothing is amiss."""
        return self.struck and not self.violations
