"""Loss of cooling against what was published: `facts/facility.yaml`, loss_of_cooling and F3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from kfarm_twin import heat_facts
from kfarm_twin.cli_inputs import read_inputs
from kfarm_twin.compile import cluster_refs
from kfarm_twin.cooling import CoolingPlayer, CoolingRow
from kfarm_twin.cooling_load import uniform_load
from kfarm_twin.heat_describe import describe_heat
from validation.conftest import Published

EXAMPLES = Path(__file__).parents[2] / "examples"


def faults() -> dict[str, CoolingRow]:
    """A liquid-cooled farm of B200 at full load; the worst of each kind of fault."""
    inputs = read_inputs([EXAMPLES / "catalogue", EXAMPLES / "farms/nhn-cloud.yaml"])
    refs = cluster_refs(inputs.farms(), inputs.profiles())
    heat = describe_heat(refs)
    rows = CoolingPlayer(heat, refs, uniform_load(heat)).study().rows
    found: dict[str, CoolingRow] = {}
    for row in rows:
        found.setdefault(row.fault, row)
    return found


def test_lost_flow_and_lost_water_keep_their_published_order(
    shared: Callable[[str], Path], published: Published
) -> None:
    """F3: less than 60 s without flow; minutes without facility water."""
    facts = yaml.safe_load(shared("facts/facility.yaml").read_text("utf-8"))
    assert facts["loss_of_cooling"]["dlc_flow_loss_shutdown_s"][0] == "<60"
    assert facts["validation_checks"]["F3"]["out"] == "<60 s / minutes"
    found = faults()
    flow, water = found["Cdu"], found["Plant"]
    assert flow.shutdown_s is not None
    published(
        "F3 loss of cooling",
        "first shutdown after a CDU stops, B200 at full load (published: less than)",
        published=60.0,
        ours=flow.shutdown_s,
        tolerance=None,
        source="facts/facility.yaml, F3",
        unit="s",
    )
    assert flow.shutdown_s < 60
    assert water.throttle_s is not None
    assert water.shutdown_s is not None
    assert 120 < water.throttle_s < water.shutdown_s


def test_assumed_time_constants_lie_in_the_published_ranges(
    shared: Callable[[str], Path],
) -> None:
    facts = yaml.safe_load(shared("facts/facility.yaml").read_text("utf-8"))
    ranges = facts["loss_of_cooling"]["time_constants_s"]
    devices = yaml.safe_load(shared("facts/accelerators.yaml").read_text("utf-8"))
    defaults = devices["twin_defaults"]
    for seconds, low, high in (
        (heat_facts.DIE_TIME_S, *defaults["tau_die_s"]),
        (heat_facts.SINK_TIME_S["Air"], *defaults["tau_heatsink_air_s"]),
        (heat_facts.SINK_TIME_S["Liquid"], *defaults["tau_coldplate_s"]),
        (heat_facts.AIR_TIME_S, *ranges["room_or_loop"]),
    ):
        assert low <= seconds <= high
    restart = facts["loss_of_cooling"]["chiller_restart_min"][0]
    assert restart * 60 == heat_facts.CHILLER_RESTART_S
