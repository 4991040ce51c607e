"""The fit finds what a log was made with, says what it does not support, and covers the truth."""

from __future__ import annotations

import json
import math
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from kfarm_api.reliability import Reliability
from kfarm_twin.cli import app
from kfarm_twin.fit.arrivals import MODELS, dispersion, log_likelihood
from kfarm_twin.fit.block import reliability
from kfarm_twin.fit.futures import Record, down_at_once, play_record, quantile
from kfarm_twin.fit.likelihood import maximise
from kfarm_twin.fit.log import Fault, FaultLog, LeftOut, build_log
from kfarm_twin.fit.model import Fit, best, draw, fit_log
from kfarm_twin.fit.returns import fit_returns, histories
from kfarm_twin.fit.returns import log_likelihood as returns_likelihood
from kfarm_twin.fit.shifts import Calendar, fit_calendar
from typer.testing import CliRunner

NAIVE = runpy.run_path(str(Path(__file__).parents[2] / "naive_fleet.py"))
Fleet, Mend, Law = NAIVE["Fleet"], NAIVE["Mend"], NAIVE["Law"]
LOGS, FEWEST_COVERED = 20, 15
"""Of 95 % intervals over 20 logs: fewer than 15 cover the truth with a chance of 3e-4."""


def faults_of(fleet: Any, days: float, seed: int, *, lists_open: bool = False) -> list[Fault]:
    played = NAIVE["play"](fleet, days * 24, seed)
    return [
        Fault(start, None if math.isinf(end) else end, f"n{node}", f"class {kind}", line)
        for line, (start, end, node, kind) in enumerate(played.outages)
        if lists_open or not math.isinf(end)
    ]


def log_of(fleet: Any, days: float, seed: int, *, lists_open: bool = False) -> FaultLog:
    faults = faults_of(fleet, days, seed, lists_open=lists_open)
    return build_log(faults, LeftOut(), since_h=0.0, until_h=days * 24)


def plain(faults: float, nodes: int, days: float, hours: float = 10.0, **more: Any) -> Any:
    return Fleet(nodes, (faults / nodes / days / 24,), (Mend(Law(hours), crew=False),), **more)


RICH = Fleet(
    400,
    (300 / 400 / 7200, 200 / 400 / 7200),
    (
        Mend(Law(5.0), (0.3, 0.5), (0.3, Law(300.0, "lognormal", 1.0)), True, 0.2, 5.0),
        Mend(Law(5.0), None, (0.1, Law(300.0, "lognormal", 1.0)), True, 0.2, 5.0),
    ),
    frailty=0.8,
    bursts=(0.3, 4.0, 1.0),
    unrest=(0.15, 4.0, 400.0),
    shift=(8.0, 10.0, 6),
)


@cache
def rich_fit(seed: int = 2) -> Fit:
    return fit_log(log_of(RICH, 300, seed), 400)


def inside(estimate: Any, truth: float) -> bool:
    return bool(estimate is not None and estimate.low <= truth <= estimate.high)


def test_a_small_plain_log_supports_nothing_but_a_rate_and_a_mean() -> None:
    fit = fit_log(log_of(plain(20, 100, 100), 100, 3), 100)
    p = best(fit)
    assert (p.frailty, p.recurrence, p.bursts, p.unrest) == (None, 0.0, None, None)
    assert p.calendar.always
    assert fit.repairs.allowed == (False, True, False)
    assert fit.crews.high is None
    declared = reliability(p)
    assert declared.frailty is declared.bursts is declared.unrest is declared.crews is None


def test_intervals_of_rate_and_repair_cover_the_truth() -> None:
    rate, repair = 0, 0
    for seed in range(LOGS):
        log = log_of(plain(80, 200, 100), 100, seed)
        nodes, lengths = histories(log, 200), log.end_h - log.start_h
        found = maximise(
            lambda x, n=nodes: returns_likelihood(n, x["rate"], math.inf, 0.0, 1.0), {"rate": 1e-3}
        )
        rate += inside(found.estimate("rate", 0.95), 80 / 200 / 2400)
        found = maximise(
            lambda x, d=lengths: float(-d.size * math.log(x["mean"]) - d.sum() / x["mean"]),
            {"mean": 5.0},
        )
        repair += inside(found.estimate("mean", 0.95), 10.0)
    assert rate >= FEWEST_COVERED
    assert repair >= FEWEST_COVERED


def test_intervals_of_frailty_and_recurrence_cover_the_truth() -> None:
    covered = {"shape": 0, "odds": 0, "mu": 0}
    truth = {"shape": 0.8, "odds": 0.25 / 0.75, "mu": 1 / 5}
    mend = Mend(Law(10.0), crew=False, recurrence=0.25, within=5.0)
    fleet = Fleet(300, (350 / 300 / 4800,), (mend,), frailty=0.8)
    for seed in range(8):
        returns = fit_returns(histories(log_of(fleet, 200, seed), 300))
        for name, value in truth.items():
            covered[name] += inside(returns.estimate(name, 0.95), value)
    # fewer than 5 of 8 has a chance of 4e-4 each
    assert min(covered.values()) >= 5, covered


def test_all_parts_of_a_rich_log_are_found() -> None:
    fit = rich_fit()
    p = best(fit)
    assert fit.arrivals.chosen == "both"
    assert p.calendar == Calendar(
        p.calendar.offset_h, p.calendar.start, 10, 6, 0.0, p.calendar.gain
    )
    assert (p.calendar.offset_h + p.calendar.start) % 168 == 8
    assert fit.repairs.allowed == (True, True, True)
    assert inside(fit.returns.estimate("shape", 0.99), 0.8)
    assert inside(fit.repairs.best.estimate("mean", 0.99), 5.0)
    assert inside(fit.repairs.best.estimate("spread", 0.99), 1.0)
    assert p.bursts is not None
    assert p.unrest is not None
    assert p.bursts[0] == pytest.approx(0.3, abs=0.12)
    assert p.unrest[1] == pytest.approx(4.0, rel=0.4)
    assert p.shares[0, 0] == pytest.approx(0.3, abs=0.06)
    assert p.shares[1, 0] < 0.05
    assert fit.crews.high is None


def test_few_crews_are_counted_and_their_queue_is_not_taken_for_work() -> None:
    fleet = Fleet(300, (350 / 300 / 2880,), (Mend(Law(6.0)),), crews=3, shift=(8.0, 9.0, 5))
    fit = fit_log(log_of(fleet, 120, 1), 300)
    waited = float((fit.log.end_h - fit.log.start_h).mean())
    assert (fit.crews.low, fit.crews.best, fit.crews.high) == (3, 3, 3)
    assert fit.crews.at["mean"] == pytest.approx(6.0, rel=0.15)
    assert waited > 30  # most of what was recorded is waiting
    declared = reliability(best(fit))
    assert declared.crews is not None
    assert declared.crews.count == 3


def test_what_a_closed_log_does_not_list_is_made_up_for() -> None:
    fleet = plain(400, 300, 60, hours=600.0)
    cut, full = (fit_log(log_of(fleet, 60, 5, lists_open=o), 300) for o in (False, True))
    naive = float((cut.log.end_h - cut.log.start_h).mean())
    assert naive < 450  # the long ones are missing
    for fit in (cut, full):
        assert inside(fit.repairs.best.estimate("mean", 0.99), 600.0)
        assert best(fit).rates.sum() * 300 * 1440 == pytest.approx(400, rel=0.2)
    assert cut.unseen == pytest.approx(0.34, abs=0.1)
    assert full.unseen == 0.0


def test_the_likelihood_of_steady_arrivals_is_that_of_a_poisson_process() -> None:
    gaps = np.array([1.0, 2.5, 0.3])
    expected = 3 * math.log(0.7) - 0.7 * (gaps.sum() + 2.0)
    assert log_likelihood(gaps, 2.0, 0.7, {}) == pytest.approx(expected)
    # and richer models come down to it
    same = {"odds": 1e-9, "size": 1.0, "end": 1.0, "excess": 1e-9, "share": 0.5, "cease": 0.01}
    assert log_likelihood(gaps, 2.0, 0.7, same) == pytest.approx(expected, abs=1e-6)


def test_dispersion_agrees_with_counts_of_played_arrivals() -> None:
    x = {"odds": 0.1, "size": 3.0, "end": 2.0, "excess": 3.0, "share": 0.2, "cease": 1 / 100}
    begins, followers = 0.1 / 1.1, 3.0
    share = begins * (1 + followers) / (1 + begins * followers)
    fleet = Fleet(
        100, (0.0005,), (), bursts=(share, 1 + followers, 1.0), unrest=(1 / 6, 4.0, 100.0)
    )
    random = __import__("random").Random(1)
    counts = [len(NAIVE["arrivals"](fleet, 20_000.0, random)) for _ in range(300)]
    ratio = float(np.var(counts) / np.mean(counts))
    assert dispersion(0.05, x) == pytest.approx(ratio, rel=0.25)
    assert set(MODELS["both"]) == set(x)


def test_a_calendar_needs_evidence() -> None:
    random = np.random.default_rng(3)
    assert fit_calendar(random.uniform(0, 5000, 400)).always
    hours = np.floor(random.uniform(0, 200, 300)) * 24 + random.uniform(9, 17, 300)
    found = fit_calendar(hours)
    assert (found.hours, found.days) == (8, 7)
    assert (found.offset_h + found.start) % 24 == 9
    assert found.worked(np.array([24.0 * 7]))[0] - found.worked(np.array([0.0]))[
        0
    ] == pytest.approx(56)


def test_the_fitted_fleet_plays_like_the_one_behind_the_log() -> None:
    fit = rich_fit()
    mine, theirs = [], []
    for seed in range(40):
        mine.append(play_record(best(fit), 400, 7200.0, seed))
        outages = [o for o in NAIVE["play"](RICH, 7200.0, 1000 + seed).outages if o[1] <= 7200]
        table = np.array([(a, b, n) for a, b, n, _ in outages])
        theirs.append(Record(table[:, 0], table[:, 1], table[:, 2].astype(np.int64)))
    for q in (0.5, 0.95):
        ours, other = (
            np.array([quantile(down_at_once(r, 0.0, 7200.0), q) for r in records])
            for records in (mine, theirs)
        )
        assert np.median(ours) == pytest.approx(np.median(other), rel=0.4, abs=2)


def test_draws_are_spread_about_the_best_and_are_valid_manifests() -> None:
    fit, random = rich_fit(), np.random.default_rng(1)
    drawn = [draw(fit, random) for _ in range(60)]
    assert all(isinstance(reliability(p), Reliability) for p in drawn)
    means = np.array([p.mean_h for p in drawn])
    assert means.min() < best(fit).mean_h < means.max()


def test_counting_of_nodes_down() -> None:
    record = Record(np.array([0.0, 1.0, 5.0]), np.array([2.0, 3.0, 6.0]), np.array([0, 1, 0]))
    assert down_at_once(record, 0.0, 10.0).tolist() == pytest.approx([0.6, 0.3, 0.1])
    assert down_at_once(record, 4.0, 6.0).tolist() == pytest.approx([0.5, 0.5])
    assert quantile(np.array([0.6, 0.3, 0.1]), 0.9) == 1
    assert quantile(np.array([0.6, 0.3, 0.1]), 0.95) == 2


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "faults.csv"
    faults = faults_of(plain(40, 60, 60), 60, 7)
    rows = "".join(f"{f.start_h:.4f},{f.end_h:.4f},{f.kind},{f.node}\n" for f in faults)
    path.write_text("start_h,end_h,class,node\n" + rows)
    return path


def test_the_command_prints_stable_keys_and_writes_a_block(csv: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "block.yaml", tmp_path / "page.html"
    words = ["fit", "failures", str(csv), "--nodes", "60", "--futures", "20", "-o", "json"]
    first = CliRunner().invoke(app, [*words, "--block", str(out), "--plot", str(page)])
    assert first.exit_code == 0, first.output
    data = json.loads(first.stdout)
    assert list(data) == [
        "schema", "file", "log", "confidence", "parameters", "support", "reliability",
        "warnings", "futures", "seed", "goodness",
    ]  # fmt: skip
    assert data["schema"] == "kfarm.dev/fit-failures/v1"
    assert set(data["parameters"]) == {
        "rates", "frailtyShape", "recurrence", "bursts", "unrest", "repair", "shift", "crews",
    }  # fmt: skip
    assert data["parameters"]["frailtyShape"] is None
    assert data["goodness"]["faults"]["within"]
    written = yaml.safe_load(out.read_text())["reliability"]
    assert written == data["reliability"]
    Reliability.model_validate(written)
    assert "Quantiles of outages" in page.read_text()
    assert CliRunner().invoke(app, words).stdout == first.stdout


def test_the_table_says_what_is_not_there(csv: Path) -> None:
    done = CliRunner().invoke(app, ["fit", "failures", str(csv), "--futures", "0"])
    assert done.exit_code == 0, done.output
    assert "not seen in this log" in done.stdout
    assert "say --nodes" in done.stdout
    assert "back within [h]" not in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nodes", "3"], "at least the"),
        (["--confidence", "1.5"], "--confidence"),
        (["--plot", "x.html", "--futures", "0"], "--futures"),
        (["--since", "1e9"], "--since"),
    ],
)
def test_bad_options_end_with_code_2(csv: Path, words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["fit", "failures", str(csv), *words])
    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.parametrize(
    "rows",
    [
        [(i, i, f"n{i}") for i in range(8)],
        [(1, 2, f"n{i}") for i in range(8)],
        [(i, i + 0.2, "n") for i in range(1, 20)],
        [(-i, -i + 0.5, f"n{i % 3}") for i in range(1, 20)],
    ],
    ids=["no length", "all at once", "one node", "before zero"],
)
def test_odd_logs_are_fitted_without_a_warning(tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("start,end,node\n" + "".join(f"{a},{b},{n}\n" for a, b, n in rows))
    words = ["fit", "failures", str(path), "--nodes", "50", "--futures", "20", "-o", "json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    mean = json.loads(done.stdout)["parameters"]["repair"]["handsOn"]["meanHours"]["value"]
    assert 0.05 <= mean <= 40
