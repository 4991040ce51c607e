"""What the study of assumptions adds to ``kfarm validate``, beside the verdict without it.

``python bench/assumptions.py [--json FILE]`` prints a table; nothing is asserted. Validates the
examples' training on nhn-cloud with `assumptions.draws` 0 (the baseline) and 64, each in processes
of its own with kernels cached beforehand. Times are CPU seconds of the least of `REPEATS` runs, the
start of the process and its imports included where the column says so.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PLAN = "foundation-model/pretrain"
REPEATS = 3


def measure(draws: int) -> dict[str, float]:
    """CPU seconds of a validation in this process, and of the process up to the verdict."""
    from kfarm_api.policy import Assumptions  # noqa: PLC0415 - part of what is measured
    from kfarm_twin.cli_inputs import Options, build_request, read_inputs, select_plans  # noqa: PLC0415
    from kfarm_twin.validate import validate  # noqa: PLC0415

    folders = [EXAMPLES / name for name in ("catalogue", "farms", "policies", "plans")]
    inputs = read_inputs(folders)
    [(document, plan)] = select_plans(inputs, PLAN)
    asked = build_request(inputs, document, plan, Options())
    spec = asked.policy.spec.model_copy(update={"assumptions": Assumptions(draws=draws)})
    policy = asked.policy.model_copy(update={"spec": spec})
    asked = asked.model_copy(update={"policy": policy})
    start = time.process_time()
    verdict = validate(asked)
    done = time.process_time()
    found = verdict.assumptions
    return {
        "validate_cpu_s": done - start,
        "process_cpu_s": done,
        "futures": verdict.futures,
        "draws": found.draws if found else 0,
        "approving": found.approving if found else 0,
        "resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    }


def _in_process(draws: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", str(draws)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def collect() -> dict[str, dict[str, float]]:
    """Least of the repeats for each number of draws, and the ratio to none."""
    _in_process(0)
    found = {}
    for draws in (0, 64):
        runs = [_in_process(draws) for _ in range(REPEATS)]
        found[str(draws)] = min(runs, key=lambda run: run["process_cpu_s"])
    found["ratio"] = {
        name: found["64"][name] / found["0"][name] for name in ("validate_cpu_s", "process_cpu_s")
    }
    return found


def main() -> None:
    """Measure one case for the caller, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.measure is not None:
        sys.stdout.write(json.dumps(measure(options.measure)))
        return
    found = collect()
    table = Table("draws", "validate [CPU s]", "process [CPU s]", "approving", "memory [MiB]")
    for draws in ("0", "64"):
        row = found[draws]
        table.add_row(
            draws,
            f"{row['validate_cpu_s']:.2f}",
            f"{row['process_cpu_s']:.2f}",
            f"{row['approving']:.0f} of {row['draws']:.0f}",
            f"{row['resident_mib']:.0f}",
        )
    ratio = found["ratio"]
    table.add_row(
        "ratio", f"{ratio['validate_cpu_s']:.1f}", f"{ratio['process_cpu_s']:.1f}", "", ""
    )
    Console().print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
