"""The report's data: what a real verdict puts on the page."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from kfarm_twin.report import collect, drawn, finite, rack_cells, write_report
from kfarm_twin.report_page import render
from kfarm_twin.report_view import ReportView
from kfarm_twin.request import ValidationRequest, Verdict
from kfarm_twin.validate import Detail, validate_detailed
from kfarm_twin.warm import warm_request

COMMAND = "kfarm validate -f farm.yaml --plan default/warm --seed 42"


@pytest.fixture(scope="module")
def answer() -> tuple[ValidationRequest, Verdict, Detail]:
    request = warm_request()
    return request, *validate_detailed(request)


@pytest.fixture(scope="module")
def view(answer: tuple[ValidationRequest, Verdict, Detail]) -> ReportView:
    return collect(*answer, COMMAND)


def test_every_rack_is_on_the_map(view: ReportView) -> None:
    """Two clusters of eight nodes, two to a rack; four nodes to a coolant loop in the first."""
    assert len(view.racks) == 8
    assert len({rack.label for rack in view.racks}) == 8
    assert {rack.cdu for rack in view.racks if rack.cluster == "warm-air"} == {None}
    loops = {rack.cdu for rack in view.racks if rack.cluster == "warm-liquid"}
    assert loops == {"warm-liquid-cdu00", "warm-liquid-cdu01"}
    assert sum(rack.nodes for rack in view.racks) == 16
    assert all(rack.power_w is not None and rack.power_w > 0 for rack in view.racks)
    assert all(rack.hottest_c is not None and rack.hottest_c > 20 for rack in view.racks)


def test_the_plan_is_on_the_map(view: ReportView) -> None:
    nodes = {slot.node for p in view.verdict.placements for slot in p.slots}
    assert sum(rack.plan_nodes for rack in view.racks) == len(nodes) > 0


def test_used_racks_draw_more(view: ReportView) -> None:
    liquid = [rack for rack in view.racks if rack.cluster == "warm-liquid"]
    full = [rack.power_w or 0.0 for rack in liquid if rack.plan_nodes == 2]
    idle = [rack.power_w or 0.0 for rack in liquid if rack.plan_nodes == 0]
    assert full
    assert not idle or min(full) > max(idle)


def test_timelines_span_the_horizon(view: ReportView) -> None:
    assert [line.title for line in view.lines] == [
        "Power of all nodes",
        "Hottest accelerator",
        "Nodes down",
    ]
    for line in view.lines:
        assert line.hours[0] == 0
        assert line.hours[-1] == pytest.approx(48)
        assert line.hours == sorted(line.hours)
        assert len(line.hours) == len(line.values)
    assert view.lines[0].limits == [("it_power_peak ≤ 10 MW", 10e6)]


def test_each_check_has_its_distribution(view: ReportView) -> None:
    assert [d.metric for d in view.distributions] == ["ettr", "it_power_peak"]
    for shown in view.distributions:
        assert len(shown.values) == view.verdict.futures
        assert all(math.isfinite(value) for value in shown.values)
    assert (view.distributions[0].bound, view.distributions[0].side) == (0.1, "atLeast")
    assert (view.distributions[1].bound, view.distributions[1].side) == (10e6, "atMost")


def test_the_file_holds_every_check(
    answer: tuple[ValidationRequest, Verdict, Detail], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    write_report(path, *answer, COMMAND)
    text = path.read_text(encoding="utf-8")
    verdict = answer[1]
    for check in verdict.checks:
        assert check.metric.replace("_", "_<wbr>") in text
    for survival in verdict.survives:
        assert survival.fault in text
    assert verdict.inputs_digest in text
    assert COMMAND in text
    data = text.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert len(json.loads(data)["racks"]) == 8


def test_a_page_draws_racks_of_the_plan_first_then_the_hottest(view: ReportView) -> None:
    assert drawn(view.racks) == (view.racks, 0)
    used = [rack for rack in view.racks if rack.plan_nodes]
    kept, left_out = drawn(view.racks, len(used) + 1)
    assert left_out == len(view.racks) - len(used) - 1 > 0
    assert [rack for rack in view.racks if rack in kept] == kept
    assert set(map(id, used)) <= set(map(id, kept))
    [other] = [rack for rack in kept if not rack.plan_nodes]
    rest = [rack.hottest_c or 0.0 for rack in view.racks if not rack.plan_nodes]
    assert other.hottest_c == max(rest)


def test_racks_over_time_are_those_of_the_replay(
    answer: tuple[ValidationRequest, Verdict, Detail], view: ReportView
) -> None:
    """Racks stand as the page orders them; the worst moment is the hottest."""
    replay = answer[2].replay
    assert replay is not None
    [shown] = view.moments
    labels = [rack.label for rack in view.racks]
    assert len(shown.time_s) == len(replay.moment_s) > 1
    for name, values in (("power_w", replay.rack_power_w), ("inlet_c", replay.rack_inlet_c)):
        for column, label in enumerate(labels):
            row = replay.rack_labels.index(label)
            assert shown.values[name][:, column] == pytest.approx(values[:, row])
    hottest = shown.values["hottest_c"]
    assert np.nanmax(hottest) == np.nanmax(hottest[shown.start])
    assert np.nanmin(hottest) > 15
    assert shown.curve is not None
    assert list(shown.curve[1]) == view.lines[1].values
    assert shown.curve[0][-1] == pytest.approx(48 * 3600)
    series = replay.series.to_pydict()
    for at, time in enumerate(shown.time_s):
        last = int(np.searchsorted(series["time_s"], time, side="right")) - 1
        power = math.fsum(shown.values["power_w"][at])
        assert power == pytest.approx(series["it_power_w"][last], rel=1e-9)


def test_faults_and_energy_are_on_the_page(
    answer: tuple[ValidationRequest, Verdict, Detail], view: ReportView
) -> None:
    detail, html = answer[2], render(view)
    assert detail.cooling is not None
    assert view.cooling is not None
    assert len(view.cooling) == len(detail.cooling.rows) > 0
    for row in detail.cooling.rows:
        assert f"{row.hottest_c:.1f} °C" in html
        assert row.rack in html
    [year] = view.years
    assert year.whole_year
    assert f"{year.pue:.4f}" in html
    nodes = {slot.node for p in view.verdict.placements for slot in p.slots}
    assert sum(cluster.working_nodes for cluster in year.clusters) == len(nodes)


def test_a_map_without_results_has_no_figures(
    answer: tuple[ValidationRequest, Verdict, Detail],
) -> None:
    request, verdict, _ = answer
    cells = list(rack_cells(request, verdict, None))
    assert {cell.power_w for cell in cells} == {None}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_left_out(value: float | None) -> None:
    assert finite(value) is None
