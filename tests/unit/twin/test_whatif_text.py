"""The sentences say what the figures say, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from kfarm_api.twinrun import TwinRunSpec
from kfarm_twin.whatif_conclude import conclude
from kfarm_twin.whatif_request import WhatIfRequest, rules_of
from kfarm_twin.whatif_result import Farmland, Part, PolicyPart, SizeClass, WhatIf

FARM = Farmland(farm="f", nodes=2, accelerators_per_node=8, nodes_per_rack=2, nodes_per_unit=0)
TRACE = {"trace": {"configMap": {"name": "w", "key": "week.swf"}, "format": "SWF"}}
MADE = {"generator": {"mix": "farm-week", "jobs": 10}}


def size(label: str, least: int, wait: float) -> SizeClass:
    return SizeClass(
        label=label, gpus_min=least, gpus_max=None, jobs=5, wait_mean_s=wait, wait_p50_s=None,
        wait_p90_s=None, wait_p99_s=None, slowdown_mean=None,
    )  # fmt: skip


def compare(waits: dict[str, list[float]], workload: dict[str, Any] = MADE, **more: Any) -> WhatIf:
    """A result from the mean waits [s] of each policy in each replica."""
    names = list(waits)
    spec = TwinRunSpec.model_validate(
        {"shape": {"nodes": 2}, "workload": workload, "policies": [{"name": n} for n in names]}
    )
    longest, never = more.get("longest", {}), more.get("never", {})
    sizes = more.get("sizes", {})
    parts = [
        Part(
            replica=replica,
            jobs=10,
            offered=0.5,
            window_s=60,
            policies=[
                PolicyPart(
                    metrics={
                        "waitMeanS": waits[name][replica],
                        "waitMaxS": longest.get(name, [1.0] * 99)[replica],
                    },
                    sizes=sizes.get(name, []),
                    waits_s=[],
                    never_run=never.get(name, 0),
                )
                for name in names
            ],
        )
        for replica in range(len(waits[names[0]]))
    ]
    return conclude(WhatIfRequest(name="x", spec=spec), FARM, parts)


def test_a_gain_is_told_with_its_certainty() -> None:
    told = compare({"fifo": [1200.0, 1300.0, 1100.0], "easy": [480.0, 520.0, 440.0]})
    assert told.best == "easy"
    assert told.headline == [
        "easy cuts the mean wait from 20 min to 8 min on farm-week, by 60 % over all replicas "
        "(95 % confidence: 60 to 60 %; better in 3 of 3)."
    ]


def test_of_a_trace_the_recorded_week_comes_first() -> None:
    told = compare({"fifo": [1200.0, 3600.0], "easy": [600.0, 1800.0]}, TRACE)
    assert "from 20 min to 10 min on week.swf as recorded" in told.headline[0]


def test_a_gain_that_may_be_chance_is_called_so() -> None:
    told = compare({"fifo": [100.0, 100.0, 100.0], "easy": [10.0, 160.0, 90.0]})
    assert "may be chance (better in 2 of 3)" in told.headline[0]


def test_the_price_is_told() -> None:
    told = compare(
        {"fifo": [1200.0, 1300.0], "easy": [480.0, 520.0]},
        longest={"fifo": [3600.0, 3700.0], "easy": [7200.0, 7400.0]},
        sizes={
            "fifo": [size("1", 1, 600), size("9 to 64", 9, 600)],
            "easy": [size("1", 1, 6), size("9 to 64", 9, 1200)],
        },
    )
    assert told.headline[1] == (
        "The price: the longest wait grows from 60.8 min to 2.03 h; longer mean waits for jobs of "
        "9 to 64 accelerators (10 min to 20 min)."
    )


def test_the_others_are_told_by_what_they_change() -> None:
    told = compare(
        {
            "fifo": [1000.0, 1100.0, 900.0],
            "easy": [100.0, 110.0, 90.0],
            "twin": [100.1, 109.9, 90.0],
            "half": [500.0, 550.0, 450.0],
            "same": [1000.0, 1100.0, 900.0],
            "worse": [2000.0, 2200.0, 1800.0],
        }
    )
    text = " ".join(told.headline)
    assert "As good as easy, as far as chance lets one see: twin (saves 90 %)." in text
    assert "Less is gained by half (saves 50 %)." in text
    assert "Nothing is gained by same (the same wait)." in text
    assert "Worse than fifo: worse (adds 100 %)." in text


def test_no_gain_is_no_gain() -> None:
    told = compare({"fifo": [10.0, 11.0], "slow": [20.0, 22.0]})
    assert told.best == "fifo"
    assert told.headline[0] == "No policy cuts the mean wait of fifo, 10.5 s on farm-week."


def test_a_policy_that_leaves_jobs_is_not_the_best() -> None:
    told = compare({"fifo": [10.0, 10.0], "picky": [1.0, 1.0]}, never={"picky": 3})
    assert told.best == "fifo"
    assert "picky leaves 3 jobs that can never run on this farm." in told.headline


def test_one_replica_says_nothing_of_chance() -> None:
    told = compare({"fifo": [10.0], "easy": [1.0]})
    assert told.headline[-1] == "One replica was played, so nothing can be said about chance."
    assert "confidence" not in told.headline[0]


def test_one_policy_is_described() -> None:
    assert compare({"fifo": [90.0, 90.0]}).headline == [
        "Under fifo jobs wait 90 s on average on farm-week."
    ]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"name": "a"}, "FIFO, accelerators counted"),
        (
            {"name": "a", "order": "SJF", "backfill": "Easy", "placement": "BestFit",
             "required": "scalable-unit", "preferred": "rack"},
            "SJF, EASY backfill, best fit, within one scalable-unit, rack preferred",
        ),
    ],
)  # fmt: skip
def test_rules_in_words(policy: dict[str, Any], words: str) -> None:
    spec = {"shape": {"nodes": 2, "nodesPerUnit": 4}, "workload": MADE, "policies": [policy]}
    assert rules_of(TwinRunSpec.model_validate(spec).policies[0]) == words
