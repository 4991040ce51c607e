"""How an entry is taken back, one patch at a time. Pure.

A Lease is not handed back but let expire: KWOK takes an expired Lease as its own again and then
plays what the node and its pods missed. Were its name simply written back, it would not notice
that it had been away, and pods deleted meanwhile would stay Terminating for ever.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from kfarm_api.drill_status import JournalEntry

from kfarm_operator.drills.clock import read_moment
from kfarm_operator.drills.inject import LEASE_SECONDS_FIELD, held
from kfarm_operator.drills.journal import Patches, canonical, patches, read_field, undo

JSON = dict[str, Any]
State = Literal["Restored", "Foreign", "Gone"]
AGAIN_S = 1.0
PATIENCE_S = 5.0
"""Beyond KWOK's own round of a quarter of the Lease's duration."""


@dataclass(frozen=True)
class Step:
    """What to do with an entry's object: patch it, wait, or call it done.

    Attributes
    ----------
    state
        What the entry becomes after the patches; None: not yet.
    again_s
        When to look again [s]; only where `state` is None.
    """

    patches: Patches
    state: State | None
    again_s: float = 0.0


NOTHING = Patches(None, None)


def step(
    entry: JournalEntry, body: JSON | None, marks: Mapping[str, str | None], now: datetime
) -> Step:
    """The next step to take an entry back.

    Parameters
    ----------
    marks
        Annotations of the object once the entry is taken back.
    """
    if body is None or body["metadata"].get("uid") != entry.uid:
        return Step(NOTHING, "Gone")
    if entry.kind == "Lease" and held(entry, body):
        return _release(entry, body, marks, now)
    undone = undo(entry, body)
    if entry.kind == "Lease":
        # whoever has it now has set the rest as well
        foreign = not _given_back(entry, body)
        return Step(patches(body, {}, marks), "Foreign" if foreign else "Restored")
    return Step(patches(body, undone.wanted, marks), undone.state)


def _given_back(entry: JournalEntry, body: JSON) -> bool:
    return all(
        read_field(body, change.field) == change.before
        for change in entry.changes
        if change.field != LEASE_SECONDS_FIELD
    )


def _release(
    entry: JournalEntry, body: JSON, marks: Mapping[str, str | None], now: datetime
) -> Step:
    expired_at = _expires(body)
    if expired_at is not None and expired_at > now:
        short = {LEASE_SECONDS_FIELD: canonical(_short(body, now))}
        return Step(patches(body, short, {}), None, AGAIN_S)
    waited = (now - expired_at).total_seconds() if expired_at else 0.0
    if waited < patience_s(entry):
        return Step(NOTHING, None, AGAIN_S)
    back = {change.field: change.before for change in entry.changes}
    return Step(patches(body, back, marks), "Restored")


def _short(body: JSON, now: datetime) -> int:
    """A duration by which a Lease has just run out."""
    renewed = read_moment(body["spec"]["renewTime"])
    return max(1, math.floor((now - renewed).total_seconds()))


def patience_s(entry: JournalEntry) -> float:
    """How long KWOK may take to take an expired Lease back [s]."""
    before = next((c.before for c in entry.changes if c.field == LEASE_SECONDS_FIELD), None)
    lasts = float(json.loads(before)) if before else 0.0
    return 0.26 * lasts + PATIENCE_S


def _expires(body: JSON) -> datetime | None:
    spec = body.get("spec") or {}
    renewed, lasts = spec.get("renewTime"), spec.get("leaseDurationSeconds")
    if not renewed or lasts is None:
        return None
    return read_moment(renewed) + timedelta(seconds=float(lasts))
