"""The way of power in plain Python and exact fractions, straight from manifests.

What converters draw is worked out anew for each moment; window means come from the list of all
moments. Shared with the twin are only the numbering of nodes, racks and PDUs.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

from kfarm_api.units import parse_decimal, parse_duration_ns

PPM = 10**6
WINDOWS_NS = (10**9, 60 * 10**9, 900 * 10**9)


def milliwatts(text: Any) -> Fraction:
    return Fraction(parse_decimal(str(text))) * 1000


def stage_input(stage: Any, output: Fraction) -> Fraction:
    """What one stage draws: straight lines between its points, the nearest point outside them."""
    loss = milliwatts(stage.constant_loss)
    points = sorted((p.load, Fraction(parse_decimal(p.efficiency)) / 100) for p in stage.efficiency)
    if len(points) == 1:
        return output / points[0][1] + loss
    load = output / milliwatts(stage.rated) * 100
    if load <= points[0][0]:
        return output / points[0][1] + loss
    if load >= points[-1][0]:
        return output / points[-1][1] + loss
    for (x, low), (y, high) in pairwise(points):
        if x <= load <= y:
            return output / (low + (high - low) * (load - x) / (y - x)) + loss
    raise AssertionError(load)


def draw(stages: list[Any], at: str, output: int, units: int = 1) -> int:
    """Whole mW that chains alike draw that share an output."""
    mine = [stage for stage in stages if stage.at == at]
    if not mine:
        return output
    power = Fraction(output, units)
    for stage in mine:
        power = stage_input(stage, power)
    return math.floor(power * units + Fraction(1, 2))


def wave(phases: Any, at: Fraction) -> Fraction:
    """Power over its mean at a time [ns] after a rise."""
    period = parse_duration_ns(phases.period)
    high, share = Fraction(phases.peak, 100), Fraction(phases.share, 100)
    low = (1 - high * share) / (1 - share)
    return high if at % period < share * period else low


def brute_highest_mean(phases: Any, window: int) -> Fraction:
    """Highest mean of a wave over windows that begin at any edge or end at any edge."""
    period = parse_duration_ns(phases.period)
    fall = Fraction(phases.share, 100) * period
    edges = [Fraction(0), fall]
    starts = edges + [(edge - window) % period for edge in edges]
    return max(_mean(phases, start, window, period, fall) for start in starts)


def _mean(phases: Any, start: Fraction, window: int, period: int, fall: Fraction) -> Fraction:
    at, end, total = start, start + window, Fraction(0)
    whole = max((window // period) - 1, 0)
    if whole:  # whole periods have the mean 1
        total, end = Fraction(whole * period), end - whole * period
    while at < end:
        inside = at % period
        step = (fall if inside < fall else period) - inside
        step = min(step, end - at)
        total += wave(phases, at) * step
        at += step
    return total / window


class Power:
    """What flows, for the pods that work now."""

    def __init__(self, model: Any) -> None:
        self.farm, self.refs, self.trees = model.columns, model.clusters, model.trees
        self.workloads, self.names = model.workloads, model.names
        self.cluster = [int(x) for x in self.farm.nodes.cluster]
        self.rack = [int(x) for x in self.trees.node_rack]
        self.pdu = [int(x) for x in self.trees.node_pdu]
        self.rack_cluster = dict(zip(self.rack, self.cluster, strict=True))
        self.pdu_cluster = dict(zip(self.pdu, self.cluster, strict=True))
        self.cases = 4 if any(w.phases for w in self.workloads) else 1
        self.moments: list[tuple[int, int, list[list[int]]]] = []
        self.farms = {ref.farm_index: ref.farm for ref in self.refs}

    def stages(self, cluster: int) -> list[Any]:
        feed = self.refs[cluster].cluster.feed
        return feed.stages if feed else []

    def feeds(self, cluster: int) -> int:
        feed = self.refs[cluster].cluster.feed
        return feed.feeds if feed else 1

    def swing(self, workload: int, cluster: int, case: int) -> int:
        """What a pod draws above its mean in its highest window."""
        if case == 0 or workload == len(self.workloads) or self.workloads[workload].phases is None:
            return 0
        more = brute_highest_mean(self.workloads[workload].phases, WINDOWS_NS[case - 1]) - 1
        f = self.farm
        above = int(f.loads.device_mw[workload, cluster]) - int(f.clusters.idle_device_mw[cluster])
        exact = int(f.workloads.need[workload, 0]) * above * more
        return round(float(exact))

    def node(self, node: int, load: int) -> int:
        return draw(self.stages(self.cluster[node]), "Node", load)

    def rack_mw(self, rack: int, nodes: list[int]) -> int:
        """What a rack draws for what its nodes draw."""
        cluster = self.rack_cluster[rack]
        load = int(milliwatts(self.refs[cluster].cluster.rack.load))
        total = sum(p for n, p in enumerate(nodes) if self.rack[n] == rack)
        return draw(self.stages(cluster), "Rack", total + load)

    def cap_ppm(self, rack: int, idle: list[int], pods: list[int], up: list[bool]) -> int:
        """Largest speed at which a rack keeps its limit, where it is capped."""
        spec = self.refs[self.rack_cluster[rack]].cluster.rack
        if spec.capping == "None" or spec.power_limit is None:
            return PPM
        mine = [n for n, r in enumerate(self.rack) if r == rack and up[n]]
        limit = milliwatts(spec.power_limit)

        def power(speed: int) -> Fraction:
            total = sum(self.node(n, idle[n] + pods[n] * speed // PPM) for n in mine)
            output = Fraction(total + int(milliwatts(spec.load)))
            for stage in self.stages(self.rack_cluster[rack]):
                if stage.at == "Rack":
                    output = stage_input(stage, output)
            return output

        plain = not any(stage.at == "Node" for stage in self.stages(self.rack_cluster[rack]))
        if plain:  # as one sum, so that rounding of single nodes does not count
            base, asked = sum(idle[n] for n in mine), sum(pods[n] for n in mine)

            def power(speed: int) -> Fraction:
                output = Fraction(base) + Fraction(asked * speed, PPM) + int(milliwatts(spec.load))
                for stage in self.stages(self.rack_cluster[rack]):
                    if stage.at == "Rack":
                        output = stage_input(stage, output)
                return output

        low, high = 0, PPM + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if power(middle) <= limit else (low, middle)
        return low

    def pdus(self, nodes: list[int]) -> tuple[dict[int, float], dict[int, float]]:
        """What each PDU group delivers, and each cluster draws, for what nodes draw."""
        groups: dict[int, float] = {}
        clusters = dict.fromkeys(range(len(self.refs)), 0.0)
        for rack, cluster in self.rack_cluster.items():
            mine = [n for n, r in enumerate(self.rack) if r == rack]
            load = milliwatts(self.refs[cluster].cluster.rack.load)
            drawn, out = self.rack_mw(rack, nodes), sum(nodes[n] for n in mine) + load
            for n in mine:
                part = (
                    float((nodes[n] + load / len(mine)) * drawn / out) if out else drawn / len(mine)
                )
                if self.pdu[n] >= 0:
                    groups[self.pdu[n]] = groups.get(self.pdu[n], 0.0) + part
                else:
                    clusters[cluster] += part
        for pdu, load_mw in groups.items():
            cluster = self.pdu_cluster[pdu]
            clusters[cluster] += draw(
                self.stages(cluster), "Pdu", round(load_mw), self.feeds(cluster)
            )
        return groups, clusters

    def meters(self, nodes: list[int]) -> list[float]:
        """What the meters show: PDUs, feeds, sites, all."""
        groups, clusters = self.pdus(nodes)
        shown = [g / self.feeds(self.pdu_cluster[p]) for p, g in sorted(groups.items())]
        shown += [power / self.feeds(c) for c, power in sorted(clusters.items())]
        for index, farm in sorted(self.farms.items()):
            power = farm.spec.power
            stages = power.stages if power else []
            total = 0
            for feed in range(4):
                on = [c for c, ref in enumerate(self.refs)
                      if ref.farm_index == index and feed < self.feeds(c)]  # fmt: skip
                if on:
                    total += draw(
                        stages, "Feed", round(sum(clusters[c] / self.feeds(c) for c in on))
                    )
            other = int(milliwatts(power.other_load)) if power else 0
            shown.append(draw(stages, "Site", total + other))
        return [*shown, sum(self.rack_mw(rack, nodes) for rack in self.rack_cluster)]

    def note(self, begin: int, end: int, cases: list[list[int]]) -> None:
        """From `begin` to `end` nodes draw so much, by case."""
        self.moments.append((begin, end, cases))

    def peaks(self, horizon: int) -> list[list[float]]:
        """Highest means of aligned windows, by window and meter."""
        found = []
        for place, length in enumerate(WINDOWS_NS):
            series = [(a, b, self.meters(cases[min(place + 1, self.cases - 1)]))
                      for a, b, cases in self.moments]  # fmt: skip
            best = [0.0] * len(series[0][2])
            energy: dict[int, list[float]] = {}
            for a, b, shown in series:
                first, last = a // length, (b - 1) // length
                if last - first > 2:
                    best = [max(x, v) for x, v in zip(best, shown, strict=True)]
                for block in {first, last}:
                    span = min(b, (block + 1) * length) - max(a, block * length)
                    held = energy.setdefault(block, [0.0] * len(best))
                    energy[block] = [e + v * span for e, v in zip(held, shown, strict=True)]
                if last - first == 2:
                    energy[first + 1] = [v * length for v in shown]
            for block, held in energy.items():
                time = min(length, horizon - block * length)
                best = [max(x, e / time) for x, e in zip(best, held, strict=True)]
            found.append(best)
        return found
