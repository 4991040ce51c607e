"""One hour of a facility in scalar arithmetic, as docs/energy.md has it; shares no code with it.

Takes a `kfarm_twin.facility.Facility` for its figures only. Stages must have one efficiency.
"""

from __future__ import annotations

import math
from typing import Any


def saturation(t: float) -> float:
    return 611.2 * math.exp(17.62 * t / (243.12 + t))


def through(chain: Any, load: float, units: int) -> float:
    """Power drawn [W] by `units` chains alike for a load."""
    each = load / units
    for stage in chain:
        (share,) = stage.efficiencies
        each = each / share + stage.loss / 1000.0
    return each * units


def latent(dry: float, wet: float, water: float, pressure: float) -> float:
    e = max(saturation(wet) - 6.53e-4 * (1 + 0.000944 * wet) * pressure * (dry - wet), 0.0)
    enters = 0.621945 * e / (pressure - e)
    leaves = 0.621945 * saturation(water) / (pressure - saturation(water))
    h_in = 1006.0 * dry + enters * (2.501e6 + 1860.0 * dry)
    h_out = 1006.0 * water + leaves * (2.501e6 + 1860.0 * water)
    if h_out <= h_in:
        return 1.0
    return min(max((leaves - enters) * (2.501e6 - 2361.0 * water) / (h_out - h_in), 0.0), 1.0)


def hour(facility: Any, it_w: list[float], dry: float, wet: float) -> tuple[float, float]:
    """Power from the grid [W] and water of the hour [m3]."""
    heat = feeds = fans = own = 0.0
    for cluster, it in zip(facility.clusters, it_w, strict=True):
        drawn = through(cluster.pdu, it, cluster.pdus)
        air = it * (1.0 - cluster.liquid_share) + drawn - it
        speed = min(max(air / (cluster.air_units * cluster.air_capacity_w), 0.3), 1.0)
        handlers = cluster.air_units * cluster.air_fan_w * speed**3
        heat += drawn + handlers + cluster.cdu_w
        fans += handlers
        own += cluster.cdu_w
        feeds += through(facility.feed, drawn, cluster.feeds)
    plant = facility.plant
    outdoor = wet if plant.tower else dry
    rise = 1000.0 / (1.5 / 60.0 / 1000.0 * 997.0 * 4180.0)
    cold = outdoor + plant.approach_k
    share = 0.0
    if plant.free_cooling:
        share = min(max((plant.supply_c + rise - cold) / rise, 0.0), 1.0)

    def carnot(t: float) -> float:
        lift = max(t + plant.approach_k + 3.0 - (plant.supply_c - 3.0), 15.0)
        return (plant.supply_c - 3.0 + 273.15) / lift

    cop = plant.cop / carnot(plant.cop_outdoor_c) * carnot(outdoor)
    made = min(heat * (1.0 - share), plant.chillers * plant.chiller_w)
    running = math.ceil(made / plant.chiller_w)
    chillers = (0.9 * made + 0.1 * running * plant.chiller_w) / cop
    rejected = heat * share + made + chillers
    full = plant.chillers * plant.chiller_w
    ease = 1.0
    if share >= 1.0:
        ease = plant.approach_k / max(plant.supply_c - outdoor, plant.approach_k)
    speed = max(rejected / (full * (1.0 + 1.0 / plant.cop)) * ease, 0.2)
    towers = plant.fan_share * full * speed**3 if rejected > 0.0 else 0.0
    pumps = plant.pump_share * (heat * share + made)
    water = 0.0
    if plant.tower:
        warm = max(cold, plant.supply_c if share >= 1.0 else cold) + rise / 2.0
        gone = rejected * latent(dry, wet, warm, facility.climate.pressure_pa)
        kilograms = gone * 3600.0 / (2.501e6 - 2361.0 * warm)
        water = kilograms / 997.0 * plant.cycles / (plant.cycles - 1.0)
    behind = feeds + fans + own + chillers + towers + pumps + facility.other_w
    return through(facility.site, behind, 1), water
