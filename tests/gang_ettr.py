"""A gang in the twin beside the exact share of time that renewal lets it retain.

A gang of failure rate k works d between saves of w; each failure throws it back to its last save
and costs u of detection and restart, in which it may fail again. Then it retains

    d k exp(-k u) / (exp(k (d + w)) - 1)

of a long time (J. T. Daly, Future Generation Computer Systems 22, 2006, equation 20, as a ratio).
The three rows are those of arXiv 2410.21680 for 12,000 GPUs, at the optimal interval sqrt(2 w / k).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import twin_farms as farms
from kfarm_twin.arrays import METRIC_ORDER, Floats
from kfarm_twin.compile import compile_farm
from kfarm_twin.place import place
from kfarm_twin.simulate import Simulator

DAY_S = 86_400.0
SPARES = 6


@dataclass(frozen=True)
class Case:
    """A gang of so many nodes; times in seconds, rate in failures per 1,000 node-days."""

    nodes: int
    rate: float
    interval: float
    save: float
    restart: float
    detection: float = 0.0
    days: int = 1000
    futures: int = 16

    @property
    def gang_rate(self) -> float:
        """Failures of the gang [1/s]."""
        return self.nodes * self.rate / 1000.0 / DAY_S

    @property
    def exact(self) -> float:
        """Share of time retained."""
        k = self.gang_rate
        lost = math.exp(-k * (self.restart + self.detection))
        return self.interval * k * lost / math.expm1(k * (self.interval + self.save))


def text(seconds: float) -> str:
    """A duration as manifests write it, to the millisecond."""
    milliseconds = round(seconds * 1000.0)
    return f"{milliseconds // 1000}s{milliseconds % 1000}ms" if milliseconds else "0s"


def at_optimum(rate: float, save: float, nodes: int = 15, shared_by: int = 1500) -> Case:
    """A row of the paper, its 1,500 nodes' failures on fewer nodes; Young's interval."""
    best = math.sqrt(2.0 * save * DAY_S * 1000.0 / (shared_by * rate))
    best = round(best * 1000.0) / 1000.0
    return Case(nodes, rate * shared_by / nodes, best, save, 300.0)


ROWS = {
    "rate 6.5, save 300 s": (at_optimum(6.5, 300.0), 0.7358),
    "rate 1.0, save 300 s": (replace(at_optimum(1.0, 300.0), days=3000), 0.8966),
    "rate 6.5, save 10 s": (at_optimum(6.5, 10.0), 0.9215),
}


def played(case: Case) -> Floats:
    """ETTR of each future."""
    saves = {
        "interval": text(case.interval),
        "save": text(case.save),
        "restart": text(case.restart),
    }
    workload = farms.training(case.nodes, checkpoint=saves, duration="999999h")
    failures = farms.one_class(f"{case.rate:g}", "10m", text(case.detection))
    cluster = farms.cluster(
        nodes=case.nodes + SPARES, spares=SPARES, reliability=failures,
        fabric={"topology": "FatTree", "nodesPerScalableUnit": 4096},
        cooling={"type": "Air", "supplyTemperature": 24}, feed=None,
    )  # fmt: skip
    # two of its chillers carry 16 kW a node, more than one draws: this is about failures alone
    plant = {"chillers": 3, "chillerCapacity": f"{8 * (case.nodes + SPARES)}k", "redundancy": 1}
    farm = farms.farm(cluster, plant=plant)
    seen = farms.snapshot(farm)
    model = compile_farm([farm], [farms.profile()], farms.plan(workload), seen)
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    horizon = case.days * 86_400 * 10**9
    outcome = Simulator(model, placed, 11, horizon).play(0, case.futures)
    return outcome.metrics[:, METRIC_ORDER.index("ettr")]


def distance(values: Floats, exact: float) -> float:
    """How far the mean is from the exact value, in standard errors of at most 0.001."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert 0.0 < error <= 0.001
    return abs(float(np.mean(values)) - exact) / error
