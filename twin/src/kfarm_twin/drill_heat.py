"""Faults of the cooling in a drill: played in the heat engine, with what they do to nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from kfarm_api.drill import DrillFault
from kfarm_api.drill_status import FaultTargets, PredictedEffect
from kfarm_api.policy import Fault
from kfarm_api.units import parse_duration_ns

from kfarm_twin.arrays import Ints
from kfarm_twin.compile import ClusterRef, Model, cluster_refs
from kfarm_twin.cooling import CoolingPlayer, CoolingRow
from kfarm_twin.cooling_faults import CoolingFault, touched
from kfarm_twin.cooling_load import CoolingLoad, placed_load, uniform_load
from kfarm_twin.drill_floor import Floor
from kfarm_twin.drill_metrics import quantity
from kfarm_twin.drill_request import CurvePoint, DrillRequest
from kfarm_twin.heat_describe import DescribedHeat, describe_heat
from kfarm_twin.priors import Amounts, draws, uncertain_inputs
from kfarm_twin.steady import running_nodes
from kfarm_twin.vary import varied

NS = 1e9
FINE = 100
"""Into so many parts a unit is split where a share of a zone's cooling is lost."""
COOL_SHARE = 1e-9
HEAT_DRAWS = 16
"""Sets of uncertain inputs that heat is played with, for its intervals."""


@dataclass(frozen=True)
class HeatOutcome:
    """What a fault of the cooling comes to.

    Attributes
    ----------
    hottest_c
        Of the worst domain.
    throttle_s, until_s
        From the fault to the first throttled device, and to where none is any more; None: never.
    throttled
        Nodes that throttle at most, of all that stand there, hottest first.
    shut_down
        Nodes that go off by heat, hottest first, at `shutdown_s`.
    """

    fault: str
    hottest_c: float
    throttle_s: float | None
    until_s: float | None
    throttled: tuple[str, ...]
    shutdown_s: float | None
    shut_down: tuple[str, ...]
    curve: tuple[CurvePoint, ...]

    def effects(self, shown_on: Sequence[str], lasts_s: float) -> list[PredictedEffect]:
        """What a cluster is to show of it, on nodes that a drill may touch."""
        found: list[PredictedEffect] = []
        shown = set(shown_on)
        off = [node for node in self.shut_down if node in shown]
        if self.throttle_s is not None and self.throttle_s < lasts_s:
            end = None if self.until_s is None else quantity(self.until_s)
            found += [
                PredictedEffect(fault=self.fault, node=node, effect="Throttling",
                                at=quantity(self.throttle_s), until=end)
                for node in self.throttled if node in shown
            ]  # fmt: skip
        if self.shutdown_s is not None:
            found += [
                PredictedEffect(fault=self.fault, node=node, effect="HeatShutdown",
                                at=quantity(self.shutdown_s), until=quantity(lasts_s))
                for node in off if self.shutdown_s < lasts_s
            ]  # fmt: skip
        return found


class DrillHeat:
    """The farm's cooling under the load of the drill's plans."""

    def __init__(self, request: DrillRequest, floor: Floor, amounts: Amounts | None = None) -> None:
        self.request = request
        self.model: Model | None = floor.plans[0].model if floor.plans else None
        self.refs: Sequence[ClusterRef] = cluster_refs([request.farm], request.profiles)
        self.heat: DescribedHeat = describe_heat(self.refs)
        if amounts is not None and self.model is not None:
            self.model = varied(self.model, amounts)
            self.refs, self.heat = self.model.clusters, self.model.described
        self.names = [place.name for ref in self.refs for place in ref.places]
        self.load, self.told = self._load(floor)
        self.told += list(self.heat.assumptions)

    def _load(self, floor: Floor) -> tuple[CoolingLoad, list[str]]:
        model = self.model
        if model is None:
            return uniform_load(self.heat), ["no plan is given: all devices are at full load"]
        first, rest = floor.plans[0], floor.plans[1:]
        others = model.columns.nodes.others.copy()
        for one in rest:
            placed = one.slot_node >= 0
            held = one.model.columns.workloads.need[one.model.slot_workload[placed], 0]
            np.add.at(others, one.slot_node[placed], held)
        nodes = model.columns.nodes._replace(others=others)
        loaded = replace(model, columns=model.columns._replace(nodes=nodes))
        told = ["pods of further plans and of others draw full load"] if others.any() else []
        return placed_load(self.heat, loaded, first.slot_node, running_nodes(model)), told

    def play(self, fault: DrillFault, target: FaultTargets) -> HeatOutcome | None:
        """The worst of the fault's domains; None where the farm describes none of them."""
        lasts = parse_duration_ns(fault.duration) / NS
        found = []
        for domain in self._domains(fault, target):
            heat, cooling = self._fault(fault, domain, len(target.domains))
            if cooling is None:
                continue
            player = CoolingPlayer(heat, self.refs, self.load, lasts)
            found.append(self._outcome(fault, cooling, player.row(cooling), lasts))
        if not found:
            return None
        worst = max(found, key=_severity)
        throttled = tuple(sorted({node for one in found for node in one.throttled}))
        off = tuple(sorted({node for one in found for node in one.shut_down}))
        return replace(worst, throttled=throttled, shut_down=off)

    @staticmethod
    def _domains(fault: DrillFault, target: FaultTargets) -> list[str]:
        return target.domains[:1] if fault.action == "Chiller" else target.domains

    def _fault(
        self, fault: DrillFault, domain: str, count: int
    ) -> tuple[DescribedHeat, CoolingFault | None]:
        """The fault as the heat engine takes it; a share of a zone in hundredths of its units."""
        if fault.action == "Chiller":
            plant = self.heat.plants[0]
            left, needed = plant.chillers - count, plant.chillers - plant.redundant
            lost = CoolingFault("Chiller", domain, True, 0, count, left, needed, math.inf)
            return self.heat, lost if plant.declared else None
        zones = list(self.heat.farm.zones)
        index = next((i for i, zone in enumerate(zones) if zone.name == domain), None)
        if index is None:
            return self.heat, None
        zone = zones[index]
        heat, units, lost_units = self.heat, zone.units, 1
        if fault.action == "CoolingDegraded":
            units = zone.units * FINE
            lost_units = round(units * (fault.share or 0) / 100)
            fine = replace(zone, units=units, units_needed=zone.units_needed * FINE)
            zones[index] = fine
            heat = replace(self.heat, farm=replace(self.heat.farm, zones=zones))
            zone = fine
        kind: Fault = "CduPump" if self.heat.zone_liquid[index] else "Crah"
        left = units - lost_units
        lost = CoolingFault(
            kind, domain, False, index, lost_units, left, zone.units_needed, math.inf
        )
        return heat, lost

    def _outcome(
        self, fault: DrillFault, cooling: CoolingFault, row: CoolingRow, lasts: float
    ) -> HeatOutcome:
        feels = touched(self.heat, cooling) == 1
        busy = self.load.busy.sum(axis=1)
        order = self._hottest(feels & (busy > 0))
        devices = round(row.throttled * max(int(self.load.busy.sum()), 1))
        slow, counted = 0, 0
        for node in order:
            if counted >= devices:
                break
            counted += int(busy[node])
            slow += 1
        off = self._hottest(feels & (self.load.up == 1))[: row.down]
        return HeatOutcome(
            fault=fault.name,
            hottest_c=row.hottest_c,
            throttle_s=row.throttle_s,
            until_s=_cool_again(row, lasts),
            throttled=tuple(self.names[node] for node in order[:slow]),
            shutdown_s=row.shutdown_s,
            shut_down=tuple(self.names[node] for node in off),
            curve=tuple(
                CurvePoint(at=at, hottest=hot, supply=supply, throttled=slow_share)
                for at, hot, supply, slow_share in row.curve
            ),
        )

    def _hottest(self, among: Ints) -> list[int]:
        """Nodes by what they draw, the most first."""
        power = self.load.device_mw.sum(axis=1)
        found = np.flatnonzero(among)
        return [int(node) for node in found[np.argsort(-power[found], kind="stable")]]


def other_inputs(floor: Floor, seed: int) -> list[Amounts]:
    """Sets of uncertain inputs, as a verdict's assumptions are varied; none without a plan."""
    if not floor.plans:
        return []
    model = floor.plans[0].model
    return list(draws(uncertain_inputs(model.clusters, model.workloads), HEAT_DRAWS, seed))


def _cool_again(row: CoolingRow, lasts: float) -> float | None:
    """When no device throttles any more, as far as the curve shows it."""
    slow = [at for at, _, _, share in row.curve if share > COOL_SHARE]
    if not slow:
        return None
    later = [at for at, _, _, _ in row.curve if at > slow[-1]]
    return max(min(later), lasts) if later else None


def _severity(one: HeatOutcome) -> tuple[float, float, float]:
    def soonness(time: float | None) -> float:
        return -math.inf if time is None else -time

    return soonness(one.shutdown_s), soonness(one.throttle_s), one.hottest_c
