"""Plans of faults: what strikes where; written as JSON, drawn by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from kfarm_controlplane.faults.signature import Signature

ANSWERS: Final = {
    "Answer403": 403,
    "Answer409": 409,
    "Answer422": 422,
    "Answer429": 429,
    "Answer500": 500,
    "Answer503": 503,
}
AT_WRITES: Final = (
    "KillBefore", "KillAfter", *ANSWERS, "Reset", "NoAnswer", "LostReply",
)  # fmt: skip
AT_EVENTS: Final = (
    "DropEvent", "DoubleEvent", "WatchGone", "WatchError", "SilentStream", "StaleList",
)  # fmt: skip
SLOW: Final = ("ApiServerKilled", "EtcdKilled", "LeaderPaused")
"""At writes as well; they take longer, so that few are drawn."""
KINDS: Final = (*AT_WRITES, *AT_EVENTS, *SLOW)


@dataclass(frozen=True)
class Fault:
    """One fault, and where it strikes.

    Attributes
    ----------
    kind
        One of `KINDS`.
    at
        The write or event that it strikes. Of a further fault of a plan the occurrence counts
        from when the one before it struck.
    """

    kind: str
    at: Signature

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(KINDS)}")
        if self.at.is_write == (self.kind in AT_EVENTS):
            raise ValueError(f"{self.kind} cannot strike {self.at}")

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {"kind": self.kind, "at": self.at.as_json()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote."""
        return cls(str(found["kind"]), Signature.from_json(found["at"]))

    def __str__(self) -> str:
        return f"{self.kind} at {self.at}"


@dataclass(frozen=True)
class FaultPlan:
    """A scenario and the faults that strike it, one after the other; none to learn from it.

    Attributes
    ----------
    bug
        A seeded bug in the operator; see `bugs`.
    """

    scenario: str
    faults: tuple[Fault, ...] = ()
    bug: str = ""

    @property
    def kind(self) -> str:
        """Kinds of its faults, for figures."""
        return "+".join(fault.kind for fault in self.faults) or "none"

    def to_json(self) -> str:
        """As a line of JSON."""
        body: dict[str, Any] = {
            "scenario": self.scenario,
            "faults": [fault.as_json() for fault in self.faults],
        }
        if self.bug:
            body["bug"] = self.bug
        return json.dumps(body, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            When it is no plan.
        """
        try:
            found = json.loads(text)
            faults = tuple(Fault.from_json(item) for item in found["faults"])
            return cls(str(found["scenario"]), faults, str(found.get("bug", "")))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a plan of faults: {error!r}") from error

    def __str__(self) -> str:
        what = ", then ".join(str(fault) for fault in self.faults) or "no fault"
        return f"{self.scenario}: {what}{f' (bug {self.bug})' if self.bug else ''}"


@dataclass(frozen=True)
class Learned:
    """Writes and events of a scenario that came in every undisturbed run.

    Attributes
    ----------
    order
        All of them, in the order in which they came.
    """

    scenario: str
    writes: tuple[Signature, ...] = ()
    events: tuple[Signature, ...] = ()
    order: tuple[Signature, ...] = ()

    def places(self, kind: str) -> tuple[Signature, ...]:
        """Where a fault of a kind can strike."""
        return self.events if kind in AT_EVENTS else self.writes


def learned(scenario: str, runs: Sequence[Iterable[Signature]]) -> Learned:
    """What came in all of the runs, in the order of the first."""
    first = list(dict.fromkeys(runs[0]))
    common = set(first).intersection(*(set(run) for run in runs[1:]))
    kept = [signature for signature in first if signature in common]
    return Learned(
        scenario,
        tuple(s for s in kept if s.is_write),
        tuple(s for s in kept if not s.is_write),
        tuple(kept),
    )


def enumerate_plans(known: Learned) -> list[FaultPlan]:
    """Every fault that is not slow at every place."""
    return [
        FaultPlan(known.scenario, (Fault(kind, place),))
        for kind in (*AT_WRITES, *AT_EVENTS)
        for place in known.places(kind)
    ]


@dataclass(frozen=True)
class Mix:
    """Shares of a sample: weights of a single fault, of a slow one, and of a pair."""

    single: float = 0.84
    slow: float = 0.04
    pair: float = 0.12
    kinds: Sequence[str] = field(default=(*AT_WRITES, *AT_EVENTS))


def sample(
    known: Sequence[Learned],
    count: int,
    seed: int,
    mix: Mix | None = None,
    rare: Mapping[str, int] | None = None,
) -> list[FaultPlan]:
    """Plans drawn by a seed: scenarios in turn, kinds and places by chance, none twice.

    Parameters
    ----------
    rare
        Scenarios that have their turn only every so many rounds.
    """
    mix, rare = mix or Mix(), rare or {}
    chance = random.Random(seed)  # noqa: S311
    found: dict[FaultPlan, None] = {}
    for turn in range(50 * count if known else 0):
        number, index = divmod(turn, len(known))
        if len(found) < count and number % rare.get(known[index].scenario, 1) == 0:
            found.setdefault(_draw(known[index], chance, mix))
    return list(found)


def _draw(known: Learned, chance: random.Random, mix: Mix) -> FaultPlan:
    shares = [mix.single, mix.slow, mix.pair]
    shape = chance.choices(("single", "slow", "pair"), shares)[0]
    first = _fault(known, chance, SLOW if shape == "slow" else mix.kinds)
    faults = (first, _after(known, first, chance, mix)) if shape == "pair" else (first,)
    return FaultPlan(known.scenario, faults)


def _fault(known: Learned, chance: random.Random, kinds: Sequence[str]) -> Fault:
    kind = chance.choice([kind for kind in kinds if known.places(kind)])
    return Fault(kind, chance.choice(known.places(kind)))


def _after(known: Learned, first: Fault, chance: random.Random, mix: Mix) -> Fault:
    """A second fault that can strike once the first has: there, where it comes again, or later."""
    order = known.order or (*known.events, *known.writes)
    begin = order.index(first.at)
    places = order[begin + 1 :] if first.kind in AT_EVENTS else order[begin:]
    if not places:
        return _fault(known, chance, mix.kinds)
    place = chance.choice(places)
    past = [other for other in order[begin + 1 : order.index(place) + 1] if other.key == place.key]
    usable = [kind for kind in mix.kinds if (kind in AT_EVENTS) != place.is_write]
    return Fault(chance.choice(usable), replace(place, occurrence=max(1, len(past))))
