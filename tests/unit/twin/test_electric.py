"""Converters: closed forms, order to the last bit, and what cannot be described."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import naive_power
import numpy as np
import pytest
from kfarm_api.electric import PowerStage
from kfarm_twin.electric import NODE, RACK, Chain, Stage, chain_at, converters, downstream, upstream
from kfarm_twin.request import InputError
from pydantic import ValidationError

PSU = {
    "name": "psu", "at": "Node", "rated": "19800", "constantLoss": "20",
    "efficiency": [{"load": 10, "efficiency": "90"}, {"load": 50, "efficiency": "96.5"},
                   {"load": 100, "efficiency": "94"}],
}  # fmt: skip
RECTIFIER = {"name": "rect", "at": "Rack", "efficiency": [{"load": 100, "efficiency": "96"}]}


def stage(**changes: Any) -> PowerStage:
    return PowerStage.model_validate(PSU | changes)


def chain(*stages: dict[str, Any]) -> Chain:
    return tuple(Stage.of(PowerStage.model_validate(one), "here") for one in stages)


def test_points_lines_between_and_the_nearest_outside() -> None:
    found = upstream(chain(PSU), [0, 1980, 5940, 9900, 14850, 19800, 40000])
    line = (0.90 + 0.965) / 2, (0.965 + 0.94) / 2
    expected = [0, 1980 / 0.9, 5940 / line[0], 9900 / 0.965, 14850 / line[1], 19800 / 0.94,
                40000 / 0.94]  # fmt: skip
    np.testing.assert_allclose(found, np.array(expected) + 20.0, rtol=1e-14)
    assert float(upstream(chain(PSU), 990.0)) == pytest.approx(990 / 0.9 + 20, rel=1e-14)


def test_a_chain_goes_outwards_and_keeps_shapes() -> None:
    loads = np.array([[1000.0, 5000.0], [9000.0, 12000.0]])
    found = upstream(chain(PSU, RECTIFIER), loads)
    np.testing.assert_allclose(found, upstream(chain(PSU), loads) / 0.96, rtol=1e-14)
    swapped = upstream(chain(RECTIFIER, PSU), loads)
    assert not np.allclose(found, swapped, rtol=1e-6)
    np.testing.assert_array_equal(upstream((), loads), loads)


def test_alike_units_share_a_load() -> None:
    both = upstream(chain(PSU), 9900.0, units=2)
    assert float(both) == pytest.approx(2 * float(upstream(chain(PSU), 4950.0)), rel=1e-14)
    assert float(both) > float(upstream(chain(PSU), 9900.0))


def test_kernel_equals_exact_fractions() -> None:
    exact = stage()
    for load in (0, 1, 1979_999, 1980_000, 7_123_456, 19_800_001, 10**13):
        found = float(upstream(chain(PSU), load / 1000.0)) * 1000.0
        assert found == pytest.approx(float(naive_power.stage_input(exact, Fraction(load))))


@pytest.mark.parametrize("seed", range(20))
def test_more_out_never_takes_less_in(seed: int) -> None:
    """To the last bit, also where efficiency rises almost as steeply as it may."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    loads = sorted(draw.sample(range(1, 150), 5))
    share, rows = draw.uniform(1, 20), []
    for index, load in enumerate(loads):
        rows.append({"load": load, "efficiency": f"{share:.6f}"})
        if index + 1 < len(loads):
            most = min(share * loads[index + 1] / load * 0.999999, 100.0)
            share = draw.choice([most, draw.uniform(1, most)])
    table = chain(PSU | {"efficiency": rows, "rated": "1"})
    outputs = np.sort(
        np.concatenate(
            [np.array(loads) / 100.0, np.array([draw.uniform(0, 2) for _ in range(20000)])]
        )
    )
    assert (np.diff(upstream(table, outputs)) >= 0.0).all()
    near = np.nextafter(outputs, np.inf)
    assert (upstream(table, near) >= upstream(table, outputs)).all()


def test_downstream_is_the_most_that_fits() -> None:
    table = chain(PSU, RECTIFIER)
    for limit in (100.0, 2300.0, 10_300.0, 50_000.0):
        most = downstream(table, limit)
        assert float(upstream(table, most)) <= limit
        assert float(upstream(table, np.nextafter(most, np.inf))) > limit or most == limit
        assert float(upstream(table, most * (1 + 1e-9))) > limit
    assert downstream(table, 10.0) == 0.0
    assert downstream((), 1234.5) == 1234.5


def test_stages_of_one_kind_in_order_with_losses() -> None:
    stages = [stage(), PowerStage.model_validate(RECTIFIER)]
    assert [one.name for one in chain_at(stages, NODE, "here")] == ["psu"]
    [twice] = chain_at(stages, RACK, "here", {"rect": 2.0})
    assert float(upstream((twice,), 960.0)) == pytest.approx(960 + 2 * 40)
    [worse] = chain_at(stages, NODE, "here", {"psu": 3.0})
    lost = float(upstream((worse,), 9900.0)) - 9900
    assert lost == pytest.approx(3 * (9900 / 0.965 + 20 - 9900))


def test_a_draw_of_high_losses_keeps_the_order() -> None:
    steep = stage(efficiency=[{"load": 10, "efficiency": "50"}, {"load": 11, "efficiency": "54"}])
    table = (Stage.of(steep, "here", 9.0),)
    assert (np.diff(upstream(table, np.linspace(0, 3000, 5000))) >= 0.0).all()


def test_tables_of_several_chains() -> None:
    tables, rows = converters([chain(PSU), (), chain(RECTIFIER, PSU)])
    assert rows.tolist() == [[0, 1], [1, 0], [1, 2]]
    assert tables.first.tolist() == [0, 4, 5, 9]


def test_less_for_more_is_refused_with_place_and_remedy() -> None:
    rows = [{"load": 10, "efficiency": "20"}, {"load": 20, "efficiency": "90"}]
    with pytest.raises(InputError, match=r"here\[0\].efficiency.*below 40 % at load 20"):
        chain_at([stage(efficiency=rows)], NODE, "here")
    just = [{"load": 10, "efficiency": "20"}, {"load": 20, "efficiency": "39.99"}]
    assert chain_at([stage(efficiency=just)], NODE, "here")


@pytest.mark.parametrize(
    "changes",
    [
        {"rated": None},
        {"rated": "0"},
        {"rated": "NaN"},
        {"rated": "-5"},
        {"rated": "1E"},
        {"efficiency": []},
        {"efficiency": [{"load": 10, "efficiency": "0"}]},
        {"efficiency": [{"load": 10, "efficiency": "101"}]},
        {"efficiency": [{"load": 10, "efficiency": "nan"}]},
        {"efficiency": [{"load": 10, "efficiency": "90"}, {"load": 10, "efficiency": "91"}]},
        {"efficiency": [{"load": 201, "efficiency": "90"}]},
        {"constantLoss": "-1"},
        {"constantLoss": "inf"},
        {"at": "Hall"},
        {"name": ""},
    ],
)
def test_what_no_stage_can_be(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        stage(**changes)
