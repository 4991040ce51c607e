"""The failure engine against a plain Python one that shares no code with it, in distribution."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfarm_twin.fit.futures import Record, measures, play_record
from kfarm_twin.fit.model import Parameters
from kfarm_twin.fit.shifts import Calendar

NAIVE = runpy.run_path(str(Path(__file__).parents[1] / "naive_fleet.py"))
Fleet, Mend, Law = NAIVE["Fleet"], NAIVE["Mend"], NAIVE["Law"]
NODES, HOURS, FUTURES = 400, 4800.0, 80
RATE = 400 / NODES / HOURS
FAR_Z = 4.5
"""Some 100 comparisons of means: one that far has a chance of 1e-3."""
COMPARED = (
    "faults", "nodesHit", "topDecileShare", "downMean", "downP50", "downP95", "downMost",
    "outageMeanHours", "outageP50Hours", "outageP90Hours", "gapVariation", "dispersionHour",
    "dispersionDay", "dispersionWeek", "nearAnotherShare",
)  # fmt: skip


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"frailty": 0.8},
        {"recurrence": 0.2},
        {"bursts": (0.3, 4.0, 1.0)},
        {"unrest": (0.15, 4.0, 400.0)},
        {"bursts": (0.3, 4.0, 1.0), "unrest": (0.15, 4.0, 400.0)},
        {"unrest": (0.3, 2.0, 600.0), "holds": 0.7, "part": 0.4},
        {"unrest": (0.3, 2.0, 600.0), "holds": 0.5, "crews": 4},
        {"crews": 2, "shift": (8, 9, 5)},
        {"quick": 0.3, "part": 0.3, "frailty": 0.8, "crews": 6, "shift": (8, 10, 6)},
    ],
    ids=lambda parts: "-".join(parts) or "plain",
)
def test_engine_and_plain_python_agree(parts: dict[str, Any]) -> None:
    quick, part = parts.get("quick", 0.0), parts.get("part", 0.0)
    shift = parts.get("shift")
    mend = Mend(
        Law(5.0),
        (quick, 0.5) if quick else None,
        (part, Law(300.0, "lognormal", 1.0)) if part else None,
        "crews" in parts,
        parts.get("recurrence", 0.0),
        5.0,
    )
    fleet = Fleet(
        NODES, (RATE,), (mend,), parts.get("frailty"), parts.get("bursts"), parts.get("unrest"),
        parts.get("crews"), shift or (0.0, 24.0, 7), parts.get("holds", 0.0),
    )  # fmt: skip
    calendar = Calendar(0, shift[0], shift[1], shift[2], 0.0, 1.0) if shift else Calendar()
    mine = Parameters(
        ("a",), np.array([RATE]), parts.get("frailty"), parts.get("recurrence", 0.0), 5.0,
        parts.get("bursts"), parts.get("unrest"), "Exponential", 5.0, None, 0.5, 300.0, 1.0,
        np.array([[quick, (1 - quick) * (1 - part), (1 - quick) * part]]), parts.get("crews"),
        NODES, calendar, parts.get("holds", 0.0),
    )  # fmt: skip
    ours, theirs = [], []
    for seed in range(FUTURES):
        ours.append(measures(play_record(mine, NODES, HOURS, seed), NODES, 0.0, HOURS))
        closed = [o for o in NAIVE["play"](fleet, HOURS, seed).outages if o[1] <= HOURS]
        table = np.array([outage[:3] for outage in closed])
        record = Record(table[:, 0], table[:, 1], table[:, 2].astype(np.int64))
        theirs.append(measures(record, NODES, 0.0, HOURS))
    far = {}
    for name in COMPARED:
        a, b = (np.array([one[name] for one in side]) for side in (ours, theirs))
        error = np.sqrt((a.var() + b.var()) / FUTURES)
        if abs(a.mean() - b.mean()) > FAR_Z * error + 1e-9:
            far[name] = (a.mean(), b.mean(), error)
    assert not far
