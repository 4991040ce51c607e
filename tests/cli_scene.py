"""A small farm as files, and the command line run on it."""

from __future__ import annotations

from pathlib import Path

from kfarm_twin.cli import app
from typer.testing import CliRunner, Result

EXAMPLES = Path(__file__).parents[1] / "examples"
FARM = """\
apiVersion: kfarm.dev/v1alpha1
kind: GPUFarm
metadata: {name: small}
spec:
  site: {name: 광주}
  clusters:
    - name: b200
      accelerator: b200
      nodes: 12
      acceleratorsPerNode: 8
      spares: 1
      rack: {nodes: 4, powerLimit: 60k, perRow: 2}
      fabric: {topology: FatTree, nodesPerScalableUnit: 6}
      cooling: {type: Liquid, liquidShare: 75, nodesPerCdu: 8, cduCapacity: 2M, \
supplyTemperature: 32, airSupplyTemperature: 24, redundantPumps: 1}
      reliability: {reference: llama3-h100}
      source: {simulated: {}}
"""
POLICY = """\
apiVersion: kfarm.dev/v1alpha1
kind: ValidationPolicy
metadata: {name: small}
spec:
  checks: [{metric: it_power_peak, atMost: 1M, quantile: 80, confidence: 80}]
  survives: [CduPump]
  simulation: {horizon: 48h, futures: {min: 16, max: 64}, seed: 7}
"""
PLAN = """\
apiVersion: kfarm.dev/v1alpha1
kind: PlacementPlan
metadata: {namespace: team, name: serve}
spec:
  policy: small
  farms: [{kind: GPUFarm, name: small}]
  workloads:
    - {name: serve, class: Inference, pods: 4, acceleratorsPerPod: 8, accelerators: [b200]}
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files(tmp_path: Path, **texts: str) -> list[str]:
    """Write the texts to files and return the options that name them."""
    options: list[str] = []
    for name, text in texts.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        options += ["-f", str(path)]
    return options
