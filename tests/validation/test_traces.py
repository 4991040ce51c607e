"""Figures of the public traces, as their README and their papers state them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kfarm_twin.jobs import WHOLE_MILLI
from kfarm_twin.traces import TraceFormat, read
from kfarm_twin.traces.fit import fit, goodness
from kfarm_twin.traces.generate import generate
from kfarm_twin.traces.summary import describe

Shared = Callable[[str], Path]
README = "traces/README.md"


def test_openb_holds_the_pods_and_gpu_hours_of_the_published_list(shared, published):
    """What was left out is counted by kind, so that all pods of the file add up."""
    reading = read(shared("traces/openb/openb_pod_list_default.csv.gz"), gpus_per_node=8)
    jobs, left_out = reading.trace.jobs, reading.trace.left_out
    kept = int((jobs.gpus > 0).sum())
    shared_kept = int(((jobs.gpus > 0) & (jobs.gpu_milli < WHOLE_MILLI)).sum())
    by_kind = {
        kind: n
        for reason, n in left_out.items()
        for kind in ("shares a GPU", "whole GPUs")
        if kind in reason
    }
    gpu_pods = kept + sum(by_kind.values())
    case = "openb default list"
    published(case, "GPU pods", published=7064, ours=gpu_pods, tolerance=0, source=README)
    published(
        case,
        "pods that share a GPU",
        published=3078,
        ours=shared_kept + by_kind["shares a GPU"],
        tolerance=0,
        source=README,
    )
    hours = describe(reading, 8)["gpuHours"]
    published(
        case, "GPU-hours", published=51_471, ours=hours, tolerance=0.5, source=README, unit="h"
    )
    assert reading.records == len(reading.trace.ids) + sum(left_out.values())


def test_philly_has_its_durations_and_gpu_hours(shared, published):
    """Nodes of four GPUs divide all its jobs, so that no pod is rounded up."""
    path = shared("traces/philly/philly.csv.gz")
    facts = describe(read(path, gpus_per_node=4), 8)
    case = "Philly (Pollux form)"
    rows = [
        ("jobs", 82_247, facts["jobs"], 0, ""),
        ("GPU-hours", 978_078, facts["gpuHours"], 0.5, "h"),
        (
            "GPU-hours in jobs of 8 GPUs or more",
            62,
            100 * facts["gpuHoursShareOfWholeNodes"],
            0.5,
            "%",
        ),
        ("mean duration", 13_136, facts["runS"]["mean"], 0.5, "s"),
        ("median duration", 1_144, facts["runS"]["p50"], 0.5, "s"),
        ("p90 duration", 11_265, facts["runS"]["p90"], 0.5, "s"),
    ]
    for figure, stated, ours, tolerance, unit in rows:
        published(
            case, figure, published=stated, ours=ours, tolerance=tolerance, source=README, unit=unit
        )


def test_philly_on_nodes_of_eight_says_what_it_rounds_up(shared):
    reading = read(shared("traces/philly/philly.csv.gz"), gpus_per_node=8)
    assert len(reading.notes) == 1
    assert "7 jobs" in reading.notes[0]
    assert (np.diff(reading.trace.jobs.submit_ns) >= 0).all()


def test_kth_keeps_the_jobs_of_the_stated_rules(shared, published):
    """The stated use counts whole run times; a job that overran is cut to what it asked for."""
    reading = read(shared("traces/swf/kth_sp2.swf.gz"), gpus_per_node=8)
    facts = describe(reading, 8, nodes=100)
    published("KTH-SP2", "jobs", published=28_467, ours=facts["jobs"], tolerance=0, source=README)
    published(
        "KTH-SP2",
        "utilised",
        published=70.1,
        ours=100 * facts["offeredLoad"],
        tolerance=0.25,
        source=README + " (whole run times; ours end at the limit)",
        unit="%",
    )
    assert reading.records == 28_476
    assert reading.trace.start.isoformat() == "1996-09-23T14:00:31+02:00"


def test_the_farm_week_offers_its_load(shared, published):
    path = shared("traces/farm-week/farm-week.csv.gz")
    facts = describe(read(path, gpus_per_node=8), 8, nodes=1642)
    whole = describe(
        read(shared("traces/farm-week/farm-week.swf.gz"), gpus_per_node=8), 8, nodes=1642
    )
    case = "farm week"
    published(case, "jobs", published=35_000, ours=facts["jobs"], tolerance=0, source=README)
    published(
        case,
        "offered GPU load",
        published=0.819,
        ours=facts["offeredLoad"],
        tolerance=5e-4,
        source=README,
    )
    published(
        case,
        "whole-node load",
        published=0.931,
        ours=whole["offeredLoad"],
        tolerance=1e-3,
        source=README,
    )


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("philly/philly.csv.gz", TraceFormat.PHILLY),
        ("openb/openb_pod_list_gpuspec10.csv.gz", TraceFormat.OPENB),
        ("swf/kth_sp2.swf.gz", TraceFormat.SWF),
        ("farm-week/farm-week.csv.gz", TraceFormat.CSV),
    ],
)
def test_generated_jobs_look_like_those_of_the_trace(shared, name, format):
    """Medians within 10 %, means within 25 %: the tails hold a large part of the device-hours."""
    reading = read(shared(f"traces/{name}"), gpus_per_node=8)
    assert reading.format is format
    trace = reading.trace
    made = generate(fit(trace, name, gpus_per_node=8), 40_000, 7)
    rows = {row["figure"]: row for row in goodness(trace, made)}
    for figure in ("run time, p50", "run time, p90", "GPUs, mean", "limit over run, p50"):
        assert rows[figure]["made"] == pytest.approx(rows[figure]["trace"], rel=0.10), figure
    for figure in (
        "run time, mean",
        "limit, mean",
        "GPU-hours a job, mean",
        "gap between jobs, mean",
    ):
        assert rows[figure]["made"] == pytest.approx(rows[figure]["trace"], rel=0.25), figure
    dispersion = rows["jobs an hour, variance over mean"]
    assert dispersion["made"] == pytest.approx(dispersion["trace"], rel=0.3)
    share = "GPU-hours in jobs of 8 or more"
    assert rows[share]["made"] == pytest.approx(rows[share]["trace"], abs=0.08)
