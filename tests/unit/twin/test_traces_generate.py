"""Generators: the same seed gives the same jobs; a model that cannot be is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from kfarm_twin.cli_trace import save_model
from kfarm_twin.load import ManifestError, load_model
from kfarm_twin.traces.fit import fit, goodness
from kfarm_twin.traces.generate import Purpose, generate, quantile_of, uniforms
from kfarm_twin.traces.model import GRID, RATIO_GRID, TraceModel, default_model
from kfarm_twin.traces.summary import devices_of, hour_of_week

HOUR_NS = 3600 * 10**9
DIGEST = "c80dde78a1e5934e"


def changed(model, **values):
    return TraceModel.model_validate(model.model_dump(by_alias=True) | values)


def test_the_same_seed_gives_the_same_bytes_everywhere():
    """The digest was made once; another machine or numpy that differs here differs in results."""
    trace = generate(default_model(), 1000, 42)
    digest = hashlib.sha256(b"".join(column.tobytes() for column in trace.jobs)).hexdigest()
    assert digest[:16] == DIGEST
    other = generate(default_model(), 1000, 43)
    assert not np.array_equal(trace.jobs.run_ns, other.jobs.run_ns)


def test_a_longer_trace_begins_as_a_shorter_one():
    short, long = (generate(default_model(), size, 1) for size in (50, 5000))
    for name in short.jobs._fields:
        assert np.array_equal(getattr(short.jobs, name), getattr(long.jobs, name)[:50]), name


def test_streams_are_uniform_and_apart():
    columns = [uniforms(7, purpose, 20_000) for purpose in Purpose]
    for column in columns:
        assert 0 <= column.min() < column.max() < 1
        assert column.mean() == pytest.approx(0.5, abs=0.01)
        assert np.histogram(column, 10)[0].min() > 1800
    correlation = np.corrcoef(columns)
    assert np.abs(correlation - np.eye(len(columns))).max() < 0.03


def test_quantiles_are_linear_between_the_points_of_a_table():
    found = quantile_of(
        np.array([0.0, 10.0, 30.0]), (0.0, 0.5, 1.0), np.array([0.0, 0.25, 0.5, 0.75])
    )
    assert found.tolist() == [0.0, 5.0, 10.0, 20.0]


def test_jobs_keep_the_rules_of_jobs():
    jobs = generate(default_model(4), 20_000, 3).jobs
    assert (np.diff(jobs.submit_ns) >= 0).all()
    assert (jobs.run_ns >= 10**9).all()
    assert (jobs.limit_ns >= jobs.run_ns).all()
    assert (jobs.gpus <= 4).all()
    assert set(devices_of(jobs)) == {2.0**power for power in range(11)}


def test_a_load_sets_the_rate():
    trace = generate(default_model(), 30_000, 5, load=0.6, nodes=500)
    jobs = trace.jobs
    work = float((devices_of(jobs) * jobs.run_ns).sum())
    assert work / (500 * 8 * float(jobs.submit_ns[-1])) == pytest.approx(0.6, rel=0.03)
    same = generate(default_model(), 30_000, 5)
    assert np.array_equal(same.jobs.run_ns, jobs.run_ns)


def test_jobs_come_by_the_course_of_the_week():
    model = default_model()
    arrivals = model.arrivals.model_dump(by_alias=True)
    arrivals["hourOfWeek"] = [
        3.0 if 9 <= hour % 24 < 18 and hour < 120 else 0.0 for hour in range(168)
    ]
    trace = generate(changed(model, arrivals=arrivals), 20_000, 1)
    came = hour_of_week(trace.jobs, None)
    assert {int(hour) % 24 for hour in came} == set(range(9, 18))
    assert came.max() < 120
    worked = 20_000 / model.arrivals.jobs_per_hour / 168 * 45  # of the 45 hours of a week
    assert trace.jobs.submit_ns[-1] / HOUR_NS == pytest.approx(48 + 9 + worked - 18, rel=0.05)


def test_bursts_leave_the_distribution_of_gaps_and_come_back_in_a_fit():
    model = default_model()
    arrivals = model.arrivals.model_dump(by_alias=True) | {"moodShare": 0.7, "moodJobs": 20.0}
    plain = generate(model, 100_000, 4)
    bursts = generate(changed(model, arrivals=arrivals), 100_000, 4)
    gaps = [np.diff(trace.jobs.submit_ns) for trace in (plain, bursts)]
    places = (0.1, 0.5, 0.9, 0.99)
    assert np.quantile(gaps[1], places) == pytest.approx(np.quantile(gaps[0], places), rel=0.1)
    found = fit(bursts, "bursts", gpus_per_node=8).arrivals
    assert found.mood_share == pytest.approx(0.7, abs=0.05)
    assert found.mood_jobs == pytest.approx(20, rel=0.2)
    assert fit(plain, "plain", gpus_per_node=8).arrivals.mood_share == 0


def test_a_model_fitted_to_generated_jobs_is_the_model():
    """What was put in comes out: rate, shares, medians."""
    model = default_model()
    again = fit(generate(model, 60_000, 9), "generated", gpus_per_node=8)
    assert again.arrivals.jobs_per_hour == pytest.approx(model.arrivals.jobs_per_hour, rel=0.02)
    total = sum(mix.weight for mix in model.sizes)
    for mix, found in zip(model.sizes, again.sizes, strict=True):
        assert found.weight / 60_000 == pytest.approx(mix.weight / total, abs=0.01)
    middle = GRID.index(0.5)
    assert again.sizes[0].run_s[middle] == pytest.approx(model.sizes[0].run_s[middle], rel=0.05)
    assert len(again.sizes[0].limit_over_run[0]) == len(RATIO_GRID)


@pytest.mark.parametrize("name", ["m.yaml", "m.json"])
def test_a_saved_model_gives_the_same_jobs(tmp_path, name):
    model = fit(generate(default_model(), 500, 9), "모형", gpus_per_node=8)
    save_model(model, tmp_path / name)
    loaded = load_model(tmp_path / name, TraceModel)
    assert loaded == model
    assert np.array_equal(generate(loaded, 99, 1).jobs.run_ns, generate(model, 99, 1).jobs.run_ns)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("schema: kfarm.dev/trace-model/v1", "schema: kfarm.dev/trace-model/v2", "schema"),
        ("jobsPerHour: 208", "jobsPerHour: .nan #", "jobsPerHour"),
        ("jobsPerHour: 208", "jobsPerHour: -1 #", "jobsPerHour"),
        ("gpuMilli: 1000", "gpuMilli: 0", "gpuMilli"),
        ("source:", "colour: red\nsource:", "colour"),
        ("  - 60.0\n", "  - 600000.0\n", "must not fall"),
    ],
)
def test_a_model_that_cannot_be_is_refused(tmp_path, old, new, words):
    path = tmp_path / "m.yaml"
    save_model(default_model(), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ManifestError, match=words):
        load_model(path, TraceModel)


def test_what_cannot_be_fitted_or_drawn_is_refused():
    one = generate(default_model(), 1, 1)
    with pytest.raises(ValueError, match="two jobs"):
        fit(one, "one", gpus_per_node=8)
    with pytest.raises(ValueError, match="nodes"):
        generate(default_model(), 5, 1, load=0.5)
    with pytest.raises(ValueError, match="longest"):
        generate(default_model(), 1000, 1, load=1e-9, nodes=1)


def test_goodness_of_a_trace_with_itself_is_exact():
    trace = generate(default_model(), 300, 2)
    assert all(row["trace"] == row["made"] for row in goodness(trace, replace(trace)))
    single = generate(default_model(), 1, 2)
    assert all(np.isfinite(row["made"]) for row in goodness(trace, single))
