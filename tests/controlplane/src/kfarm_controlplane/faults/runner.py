"""Plays a scenario under a plan of faults, and judges what came of it."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from kfarm_operator.client import PODS, ApiError, Resource, kfarm_resource

from kfarm_controlplane.faults import oracle
from kfarm_controlplane.faults.arena import Arena, PlayStage, StageTimeout
from kfarm_controlplane.faults.history import History, Scope
from kfarm_controlplane.faults.invariants import Violation
from kfarm_controlplane.faults.oracle import Reference
from kfarm_controlplane.faults.plans import SLOW, FaultPlan, Learned, learned
from kfarm_controlplane.faults.session import Session
from kfarm_controlplane.faults.stage import Outcome, Scenario

QUIET_S = 1.0
"""Nothing may be written for so long once the end is reached."""
CONVERGE_S = 30.0
SLOW_S = 60.0
PATIENCE = 4.0
"""Beyond that, a play may take so many times as long as undisturbed."""
FIRST_S = 30.0
"""How long a scenario takes undisturbed, before anybody knows."""
UNSTRUCK_S = 4.0
"""A fault that has not struck so long after the end will not: everything was listed again."""
FREE_S = 3.0
"""How long to wait for the only farm that another play had; a new one costs as much."""
ROLE = "all"
"""Who is on duty when a play begins."""
_STEP_S = 0.1
_HEALS = frozenset(("end", "count", "orphan", "residue"))
"""Rules that may be broken for a while; all others never."""
_SURE_S = 1.0
"""Kinds are recorded by a stream each; an earlier version of another kind may come a bit later."""
_NAMESPACES = Resource("", "v1", "namespaces")
_FARMS, _POLICIES = kfarm_resource("gpufarms"), kfarm_resource("validationpolicies")
_THINGS = (
    kfarm_resource("failuredrills"), Resource("batch", "v1", "jobs"),
    kfarm_resource("placementplans"), PODS,
)  # fmt: skip


@dataclass
class Act:
    """A play under way."""

    scenario: Scenario
    stage: PlayStage
    session: Session
    scope: Scope
    since: int
    expected: Reference | None
    began: float
    log: int

    def history(self) -> History:
        """Since the play began."""
        return self.stage.recorder.history(self.scope, self.since)

    def violations(self) -> list[Violation]:
        """What is amiss at this moment."""
        return oracle.judge(self.history(), self.scope, self.expected, self.scenario.masks)


class Unsteady(Exception):
    """A scenario does not end the same each time without any fault."""


class Runner:
    """Plays one after the other in an arena.

    Parameters
    ----------
    scenarios
        By name.

    Attributes
    ----------
    references
        Ends of undisturbed plays, by scenario.
    quiet_s
        How long nothing may be written once the end is reached.
    """

    def __init__(self, arena: Arena, scenarios: Mapping[str, Scenario]) -> None:
        self._arena = arena
        self._scenarios = scenarios
        self._farms: defaultdict[int, dict[str, str]] = defaultdict(dict)
        self._usual_s: dict[str, float] = {}
        self.references: dict[str, Reference] = {}
        self.quiet_s = QUIET_S

    def learn(self, name: str, runs: int = 2) -> Learned:
        """Play undisturbed, and remember the end and what can be struck.

        Raises
        ------
        Unsteady
            When an undisturbed play is not clean, or does not end as the one before it.
        """
        if self._scenarios[
            name
        ].keeps_farm:  # a farm's first plan makes its ledger; later ones do not
            self._undisturbed(name)
        outcomes = [self._undisturbed(name) for _ in range(runs)]
        return learned(name, [outcome.seen for outcome in outcomes])

    def _undisturbed(self, name: str) -> Outcome:
        outcome = self.play(FaultPlan(name))
        if not outcome.clean:
            raise Unsteady(f"{name} fails undisturbed: {'; '.join(outcome.violations)}")
        self._usual_s[name] = max(outcome.converge_s, self._usual_s.get(name, 0.0))
        return outcome

    def play(self, plan: FaultPlan) -> Outcome:
        """Play once."""
        scenario, arena = self._scenarios[plan.scenario], self._arena
        self._cast(plan.bug)
        starts, began = arena.crew.starts, time.monotonic()
        stage = self._stage(scenario)
        reusable = False
        try:
            scenario.prepare(stage)
            arena.recorder.forget()
            act = Act(
                scenario, stage, arena.begin(stage, plan.faults),
                Scope(stage.namespace, stage.farm), arena.revision(),
                self.references.get(scenario.name), began, arena.log_size(),
            )  # fmt: skip
            outcome = self._perform(act, plan)
            reusable = scenario.keeps_farm and not outcome.violations
        finally:
            arena.proxy.end()
            arena.house.open()
            arena.crew.alone()
            self._clear(scenario, stage, reusable=reusable)
        return replace(outcome, wall_s=time.monotonic() - began, starts=arena.crew.starts - starts)

    def _cast(self, bug: str) -> None:
        """An operator with the bug that is asked for, mostly none."""
        crew = self._arena.crew
        if crew.launch.bug != bug or crew.launch.role != ROLE:
            crew.renew(replace(crew.launch, bug=bug, role=ROLE))

    def _perform(self, act: Act, plan: FaultPlan) -> Outcome:
        try:
            act.scenario.play(act.stage)
        except (StageTimeout, ApiError) as error:
            found = [f"stuck: {error}", *(str(item) for item in act.violations())]
            return self._outcome(act, plan, found, 0.0)
        return self._conclude(act, plan)

    def _conclude(self, act: Act, plan: FaultPlan) -> Outcome:
        """Wait for the right end, then for quiet; at most for so long after the last fault."""
        session, played = act.session, time.monotonic()
        bound = SLOW_S if any(fault.kind in SLOW for fault in plan.faults) else CONVERGE_S
        bound += PATIENCE * self._usual_s.get(plan.scenario, FIRST_S)
        right = wrong = 0.0
        while True:
            found = act.violations()
            now, last = time.monotonic(), max(played, session.struck_at)
            broken = any(item.rule not in _HEALS for item in found)
            wrong = (wrong or now) if broken else 0.0
            if broken and now - wrong > _SURE_S:
                return self._outcome(act, plan, [str(item) for item in found], now - last)
            good = not found and self._settled(act)
            right = (right or now) if good else 0.0
            if good:
                self._arena.proxy.awake.set()
            calm = right and now - max(session.wrote_at, last, right - _STEP_S) >= self.quiet_s
            if calm and (session.struck or now - last > UNSTRUCK_S) and self._rested():
                break
            if now - last > bound:
                late = [str(item) for item in found] or ["restless: it writes on and on"]
                return self._outcome(act, plan, late, now - last)
            time.sleep(_STEP_S)
        if act.scenario.name not in self.references and not plan.faults:
            seen = oracle.reference(act.history(), act.scope, act.scenario.masks)
            self.references[act.scenario.name] = seen
        return self._outcome(act, plan, [], max(0.0, right - last))

    def _settled(self, act: Act) -> bool:
        try:
            return act.scenario.settled(act.stage)
        except ApiError:
            return False

    def _rested(self) -> bool:
        """Whether nobody sleeps who could still do harm."""
        return not self._arena.crew.paused

    def _outcome(self, act: Act, plan: FaultPlan, found: list[str], converge_s: float) -> Outcome:
        log = self._arena.log_since(act.log) if found else ""
        return Outcome(
            plan, act.session.struck, tuple(found), converge_s, 0.0,
            seen=tuple(act.session.seen), log=log,
        )  # fmt: skip

    def _stage(self, scenario: Scenario) -> PlayStage:
        """Names for a play; a farm that another left as it was, where one is free by now."""
        stage = self._arena.stage()
        pool = self._farms[scenario.nodes] if scenario.keeps_farm else {}
        deadline = time.monotonic() + (FREE_S if len(pool) == 1 else 0.0)
        while True:
            for farm, namespace in list(pool.items()):
                if self._arena.is_free(farm, namespace):
                    del pool[farm]
                    return replace(stage, farm=farm)
            if time.monotonic() >= deadline:
                return stage
            time.sleep(_STEP_S)

    def _clear(self, scenario: Scenario, stage: PlayStage, *, reusable: bool) -> None:
        """Take everything away without waiting for it to be gone."""
        client = self._arena.client
        self._arena.crew.shift(ROLE)
        scenario.restore(stage)
        for resource in _THINGS:  # the namespace alone would take five seconds
            with contextlib.suppress(ApiError):
                client.clear(resource, stage.namespace)
        with contextlib.suppress(ApiError):
            client.delete(_NAMESPACES, stage.namespace, uid=None)
        if reusable:
            self._farms[scenario.nodes][stage.farm] = stage.namespace
            return
        for resource in (_FARMS, _POLICIES):
            with contextlib.suppress(ApiError):
                client.delete(resource, stage.farm, uid=None)
