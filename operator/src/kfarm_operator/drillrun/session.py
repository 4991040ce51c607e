"""One run of a drill: apply, act from outside, tell, wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kfarm_api.drill import DrillFault, FailureDrill
from kfarm_api.drill_status import FailureDrillStatus

from kfarm_operator.client import ApiError
from kfarm_operator.drillrun.cluster import DrillCluster, Surroundings
from kfarm_operator.drillrun.drivers import Driver
from kfarm_operator.drillrun.errors import BadInput, RunError
from kfarm_operator.drillrun.files import Body, DrillFiles
from kfarm_operator.drillrun.moments import (
    BEGUN,
    OVER,
    Act,
    begins,
    has_reached,
    moment,
    node_acts,
    runner_faults,
    seconds,
    stamp,
)
from kfarm_operator.drillrun.progress import news

POLL_S = 0.25
HEARD_S = 60.0
"""So long a controller may take to say anything about a new drill."""
LATE_S = 300.0
"""Beyond its time to live a drill is waited for so long."""
ABORT_S = 120.0
Say = Callable[[str], None]


@dataclass
class _Running:
    """An act that is being done."""

    act: Act
    began: datetime
    until: float
    noted: bool


@dataclass
class Session:
    """The run of one drill on one cluster.

    Attributes
    ----------
    silent
        Set while the runner itself keeps the API server from answering.
    """

    cluster: DrillCluster
    files: DrillFiles
    driver: Driver
    around: Surroundings
    say: Say
    seen: FailureDrillStatus | None = None
    _running: dict[str, _Running] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _triggered: dict[str, datetime] = field(default_factory=dict)
    _late: bool = False

    def start(self) -> None:
        """Apply the ground and the drill."""
        for fault in runner_faults(self.files.drill):
            self.driver.check(Act(fault.name, fault.action, seconds(fault.duration)))
        for item in self.files.meanwhile:
            if self.cluster.find(item) is not None:
                raise BadInput(f"{item} is there already, but this drill makes it: delete it first")
        for item in self.files.ground:
            self.cluster.apply(item)
            self.say(f"applied {item}")
        self.cluster.create(self.files)
        self.say(f"created FailureDrill {self.cluster.namespace}/{self.cluster.name}")

    def follow(self) -> Body:
        """Tell what happens until the drill is over, and act where the runner has to.

        Returns
        -------
        dict
            The finished drill.
        """
        life = self.files.drill.spec.time_to_live_ns / 1e9 + LATE_S
        heard, deadline = time.monotonic() + HEARD_S, time.monotonic() + life
        try:
            while True:
                body = self._look()
                if body is not None and self.seen is not None and self._is_over():
                    return body
                if self.seen is None and time.monotonic() > heard:
                    raise RunError(
                        "no controller says anything about the drill: is the chart installed with"
                        " drills.enabled=true, and does the role drill run?"
                    )
                if time.monotonic() > deadline:
                    raise RunError(f"the drill is not over {life:g} s after it was applied")
                time.sleep(POLL_S / 2 if self._running else POLL_S)
        finally:
            for running in list(self._running.values()):
                self.driver.end(running.act)

    def abort(self) -> Body | None:
        """End the drill before its time; waits until all is taken back."""
        for running in list(self._running.values()):
            self._end(running)
        self.cluster.abort()
        self.say("aborted; waiting until everything is taken back (Ctrl-C again: do not wait)")
        deadline = time.monotonic() + ABORT_S
        while time.monotonic() < deadline:
            body = self._look()
            if body is not None and self._is_over():
                return body
            time.sleep(POLL_S)
        return None

    def tidy(self) -> None:
        """Take away what was applied while the drill ran."""
        for item in reversed(self.files.meanwhile if self._late else ()):
            self.cluster.take_away(item)
            self.say(f"deleted {item}")

    def _is_over(self) -> bool:
        return self.seen is not None and self.seen.phase in OVER and not self._running

    def _look(self) -> Body | None:
        """One turn: end and keep what runs, read the drill, tell, begin what is due."""
        for running in list(self._running.values()):
            if time.monotonic() >= running.until:
                self._end(running)
            else:
                self.driver.keep(running.act)
        if any(running.act.action == "ApiOutage" for running in self._running.values()):
            return None
        try:
            body = self.cluster.body()
        except ApiError as error:
            if error.status not in (0, 429, 500, 503):
                raise
            return None
        if body is None:
            raise RunError(
                "the drill was deleted meanwhile; what it did is taken back all the same"
            )
        self._read(body)
        return body

    def _read(self, body: Body) -> None:
        raw = body.get("status")
        if not raw or not raw.get("phase"):
            return
        status = FailureDrillStatus.model_validate(raw, extra="ignore")
        for line in news(self.seen, status):
            self.say(line)
        self.seen = status
        if status.phase in BEGUN:
            self._apply_late()
            self._act(self.files.drill, status)
            return
        for running in list(self._running.values()):  # aborted, or stopped by a fence
            self._end(running)

    def _apply_late(self) -> None:
        if self._late:
            return
        for item in self.files.meanwhile:
            self.cluster.apply(item)
            self.say(f"applied {item}")
        self._late = True

    def _act(self, drill: FailureDrill, status: FailureDrillStatus) -> None:
        for fault in runner_faults(drill):
            if fault.name not in self._done and self._is_due(fault, status):
                self._begin(Act(fault.name, fault.action, seconds(fault.duration)))
        for act in node_acts(drill, status, self.around.containers):
            if act.fault not in self._done:
                self._begin(act)

    def _is_due(self, fault: DrillFault, status: FailureDrillStatus) -> bool:
        trigger = fault.trigger
        if trigger is not None and fault.name not in self._triggered:
            if not has_reached(trigger.event, self.cluster.plan(trigger.plan)):
                return False
            self._triggered[fault.name] = datetime.now(UTC)
        due = begins(fault, moment(status.started_at), self._triggered.get(fault.name))
        return due is not None and datetime.now(UTC) >= due

    def _begin(self, act: Act) -> None:
        self.driver.check(act)
        self._done.add(act.fault)
        began = datetime.now(UTC)
        noted = self._note(act.fault, f"{stamp(began)}/")
        self._running[act.fault] = _Running(act, began, time.monotonic() + act.seconds, noted)
        self.driver.begin(act)
        self.say(f"{act.fault}: {act} ({self.driver.name})")

    def _end(self, running: _Running) -> None:
        self.driver.end(running.act)
        del self._running[running.act.fault]
        ended = datetime.now(UTC)
        self.say(f"{running.act.fault}: over")
        deadline = time.monotonic() + HEARD_S
        while not self._note(running.act.fault, f"{stamp(running.began)}/{stamp(ended)}"):
            if time.monotonic() > deadline:
                raise RunError("the API server does not come back after the outage")
            time.sleep(POLL_S)

    def _note(self, fault: str, text: str) -> bool:
        """Write it on the drill; False when the API server did not answer."""
        try:
            self.cluster.note(fault, text)
        except ApiError as error:
            if error.status not in (0, 429, 500, 503):
                raise
            return False
        return True
