"""The parameters of a sweep, and the requests that they make."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_scene import EXAMPLES
from kfarm_twin.cli_inputs import Inputs, read_inputs
from kfarm_twin.load import ManifestError
from kfarm_twin.request import ValidationRequest
from kfarm_twin.sweep.grid import Axis, points_of, read_axes
from kfarm_twin.sweep.points import Grid

FARM = "GPUFarm/nhn-cloud:spec.clusters[0].spares"
FILES = [EXAMPLES / "farms" / "nhn-cloud.yaml", EXAMPLES / "policies" / "standard.yaml"]


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return read_inputs(FILES)


def farm_of(inputs: Inputs) -> ValidationRequest:
    """In place of a request: the farm, which is a model, too."""
    return inputs.farms()[0]  # type: ignore[return-value]


def axes(*sets: str) -> tuple[Axis, ...]:
    return read_axes(sets, None)


def problems(*sets: str, grid: Path | None = None) -> str:
    with pytest.raises(ManifestError) as failed:
        read_axes(sets, grid)
    return str(failed.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0,2,4", (0, 2, 4)),
        ("[0, 2, 4]", (0, 2, 4)),
        ("1..5", (1, 2, 3, 4, 5)),
        ("0..8..4,100", (0, 4, 8, 100)),
        ("3..1..-1", (3, 2, 1)),
        ("-2..0", (-2, -1, 0)),
        ("24h, 48h", ("24h", "48h")),
        ('"1", 1', ("1", 1)),
        ("true,false", (True, False)),
        ("1,true", (1, True)),
        ("0.9,0.95", (0.9, 0.95)),
        ("서울, 부산", ("서울", "부산")),
    ],
)
def test_values(text: str, values: tuple[object, ...]) -> None:
    (axis,) = axes(f"{FARM}={text}")
    assert axis.values == values
    assert [type(value) for value in axis.values] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("spares=1", "KIND/NAME:PATH=VALUES"),
        (f"{FARM}", "KIND/NAME:PATH=VALUES"),
        (f"{FARM}=", "no value"),
        (f"{FARM}=[]", "no value"),
        (f"{FARM}=1,,2", "expected values"),
        (f"{FARM}=5..1", "an empty range"),
        (f"{FARM}=1..5..0", "an empty range"),
        (f"{FARM}=1..1000000", "1,000,000 values or more"),
        (f"{FARM}=1..999999999999999999", "values or more"),
        (f"{FARM}=1,2,1", "1 twice"),
        (f"{FARM}=1,.nan", "as in YAML"),
        (f"{FARM}=[[1]]", "a number, a text, true or false"),
        (f"{FARM}=[{{a: 1}}]", "a number, a text, true or false"),
        (f"{FARM}=[1, 2", "as in YAML"),
        ("Farm/nhn-cloud:spec.x=1", "a kind of"),
        ("GPUFarm/nhn-cloud:metadata.name=a", "a field from spec on"),
        ("GPUFarm/nhn-cloud:spec=1", "a field from spec on"),
        ("GPUFarm/nhn-cloud:spec..x=1", "a field from spec on"),
        ("GPUFarm/nhn-cloud:spec.clusters[0.x=1", "a field from spec on"),
        ("GPUFarm/nhn-cloud:spec.clusters[0]spares=1", "a field from spec on"),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    assert told in problems(text)


def test_too_many_points_and_fields_set_twice() -> None:
    other = "ValidationPolicy/standard:spec.simulation.seed"
    assert "200 x 51 = 10,200 points" in problems(f"{FARM}=1..200", f"{other}=0..50")
    assert "every field once" in problems(f"{FARM}=1", f"{FARM}=2")
    assert "no parameter" in problems()
    assert "at most 8" in problems(*(f"{FARM}{i}=1" for i in range(9)))


def test_a_file_states_parameters(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "schema: kfarm.dev/sweep/v1\r\nparameters:\r\n"
        "  - {object: GPUFarm/nhn-cloud, path: 'spec.clusters[0].spares',"
        " values: [0, 1..3], label: 예비 노드}\r\n"
    )
    (first, second) = read_axes((f"{FARM}x=1",), path)
    assert (first.label, first.values) == ("예비 노드", (0, 1, 2, 3))
    assert second.label == "sparesx"
    path.write_text("schema: kfarm.dev/sweep/v2\nparameters: []\nmore: 1\n")
    told = problems(grid=path)
    assert "kfarm.dev/sweep/v1" in told
    assert "more" in told
    path.write_text("schema: kfarm.dev/sweep/v1\nparameters:\n  - {object: GPUF")
    assert str(path) in problems(grid=path)
    assert "no such file" in problems(grid=tmp_path / "none.yaml")


def test_alike_names_are_told_apart() -> None:
    found = axes(f"{FARM}=1", "GPUFarm/nhn-cloud:spec.clusters[1].spares=1")
    assert len({axis.label for axis in found}) == 2


def test_points_in_their_order(inputs: Inputs) -> None:
    found = axes(f"{FARM}=0,2", "ValidationPolicy/standard:spec.simulation.seed=1..3")
    assert list(points_of(found)) == [(0, 1), (0, 2), (0, 3), (2, 1), (2, 2), (2, 3)]
    points = list(Grid(inputs, found, farm_of).points())
    assert [point.values for point in points] == list(points_of(found))
    assert [point.index for point in points] == list(range(6))
    assert points[0].digest == points[2].digest != points[3].digest
    assert b'"spares":2' in points[3].body


def test_entries_by_name(inputs: Inputs) -> None:
    by_number = Grid(inputs, axes(f"{FARM}=7"), farm_of)
    named = axes("GPUFarm/nhn-cloud:spec.clusters[b200-510].spares=7")
    by_name = Grid(inputs, named, farm_of)
    assert next(by_number.points()).digest == next(by_name.points()).digest
    with pytest.raises(ManifestError, match="every field once"):
        Grid(inputs, (*axes(f"{FARM}=7"), *named), farm_of)


def test_quantities_may_be_written_as_numbers(inputs: Inputs) -> None:
    found = Grid(inputs, axes("ValidationPolicy/standard:spec.checks[0].atLeast=0.9,1"), farm_of)
    assert found.axes[0].values == ("0.9", 1)
    assert not any(point.problems for point in found.points())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("GPUFarm/nhn:spec.clusters[0].spares=1", "there: nhn-cloud"),
        ("NPUFarm/nhn-cloud:spec.clusters[0].spares=1", "no NPUFarm nhn-cloud"),
        ("GPUFarm/nhn-cloud:spec.clusters[9].spares=1", "[0] to [2], or by name: b200-510"),
        ("GPUFarm/nhn-cloud:spec.clusters[b300].spares=1", "[0] to [2], or by name: b200-510"),
        ("GPUFarm/nhn-cloud:spec.clusters[0].spare=1", "spares"),
        ("GPUFarm/nhn-cloud:spec.clusters[0].spares=many", "'many'"),
        ("GPUFarm/nhn-cloud:spec.clusters[0].spares=-1", "found -1"),
        ("GPUFarm/nhn-cloud:spec.clusters[0].nodes=1000000000", "1000000000"),
        ("GPUFarm/nhn-cloud:spec.clusters[0].nodes.x=1", "spec.clusters.0.nodes is 510"),
        ("GPUFarm/nhn-cloud:spec.clusters.nodes=1", "an entry of spec.clusters"),
        ("GPUFarm/nhn-cloud:spec[0]=1", "a field"),
    ],
)
def test_fields_that_are_not_there(inputs: Inputs, text: str, told: str) -> None:
    with pytest.raises(ManifestError) as failed:
        Grid(inputs, axes(text), farm_of)
    assert told in str(failed.value)
    assert "command line" in str(failed.value)


def test_a_rule_over_two_fields_spoils_its_points_alone(inputs: Inputs) -> None:
    """More spares than nodes: wrong with few nodes, right with many."""
    nodes = "GPUFarm/nhn-cloud:spec.clusters[2].nodes"
    grid = Grid(inputs, axes(f"{nodes}=4,192", f"{nodes.replace('nodes', 'spares')}=2,8"), farm_of)
    found = [bool(point.problems) for point in grid.points()]
    assert found == [False, True, False, False]
    assert "nodes=4, spares=8" in str(list(grid.points())[1].problems[0])
