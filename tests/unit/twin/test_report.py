"""The report's data: what a real verdict puts on the page."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from kfarm_twin.report import collect, finite, rack_cells, write_report
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


def test_a_map_without_results_has_no_figures(
    answer: tuple[ValidationRequest, Verdict, Detail],
) -> None:
    request, verdict, _ = answer
    cells = list(rack_cells(request, verdict, None))
    assert {cell.power_w for cell in cells} == {None}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_left_out(value: float | None) -> None:
    assert finite(value) is None
