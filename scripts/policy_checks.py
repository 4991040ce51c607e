"""Hold the rendered chart and the Dockerfile against checkov's rules; offline once set up.

The chart is rendered by the real Helm with the values of `RENDERED`. checkov has its own locked
environment, since its dependencies would hold back ours. What is skipped stands with its reason in
``scripts/checkov/checkov.yaml``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kfarm_controlplane import ControlPlaneError
from kfarm_controlplane.build import build
from requirements_sync import ROOT, UV

PROJECT = ROOT / "scripts" / "checkov"
ENVIRONMENT = ROOT / ".tools" / "checkov"
DIGEST = "sha256:" + "0" * 64
PINNED = ("--set", f"operator.image.digest={DIGEST}")
RENDERED: dict[str, tuple[str, ...]] = {
    "default": PINNED,
    "everything": (*PINNED, "--values", str(PROJECT / "everything.yaml")),
}
"""Name and arguments of Helm for each set of values; images are named by digest, as installed."""


class ChecksUnavailable(Exception):
    """The checks could not be made at all, which is not the same as passing them."""


def main() -> int:
    """Render and check; 1 when a rule is broken, 2 when it could not be found out."""
    try:
        checkov = prepare()
        with tempfile.TemporaryDirectory() as folder:
            manifests = render(Path(folder))
            broken = failures(checkov, [*manifests, ROOT / "Dockerfile"])
    except (ChecksUnavailable, ControlPlaneError) as error:
        print(f"policy checks: {error}", file=sys.stderr)
        return 2
    for line in broken:
        print(line)
    if broken:
        print(
            "policy checks: mend it, or say in scripts/checkov/checkov.yaml why it does not apply"
        )
    return 1 if broken else 0


def prepare() -> Path:
    """Install what the lock says, with its hashes, and return the program."""
    command = [UV, "sync", "--project", str(PROJECT), "--locked", "--no-progress", "-q"]
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChecksUnavailable(f"checkov could not be installed:\n{done.stderr.strip()}")
    return ENVIRONMENT / "bin" / "checkov"


def render(folder: Path) -> list[Path]:
    """Render the chart once for each set of values."""
    helm = build(["helm"])["helm"]
    files = []
    for name, values in RENDERED.items():
        target = folder / f"{name}.yaml"
        command = [str(helm), "template", "kfarm", str(ROOT / "charts/kfarm")]
        command += ["--namespace", "kfarm-system", *values]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChecksUnavailable(f"helm cannot render the chart ({name}):\n{done.stderr}")
        target.write_text(done.stdout, encoding="utf-8")
        files.append(target)
    return files


def failures(checkov: Path, files: list[Path]) -> list[str]:
    """A line for each broken rule.

    Raises
    ------
    ChecksUnavailable
        When a file was not understood, or nothing in it was checked.
    """
    command = [str(checkov), "--config-file", str(PROJECT / "checkov.yaml"), "--output", "json"]
    command += ["--framework", "kubernetes", "dockerfile", "--skip-download"]
    for file in files:
        command += ["--file", str(file)]
    offline = os.environ | {"BC_SKIP_MAPPING": "TRUE", "LOG_LEVEL": "ERROR"}
    done = subprocess.run(command, env=offline, capture_output=True, text=True, check=False)
    try:
        found: Any = json.loads(done.stdout)
    except ValueError:
        raise ChecksUnavailable(
            f"checkov ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        ) from None
    reports = found if isinstance(found, list) else [found]
    passed = {report.get("check_type"): report.get("summary", {}) for report in reports}
    for kind in ("kubernetes", "dockerfile"):
        summary = passed.get(kind, {})
        if not summary.get("passed") or summary.get("parsing_errors"):
            raise ChecksUnavailable(f"checkov checked nothing of kind {kind}: {summary}")
    counts = sum(summary["passed"] for summary in passed.values())
    print(f"policy checks: {counts} passed in {len(files)} files")
    return [_line(one) for report in reports for one in report["results"]["failed_checks"]]


def _line(check: dict[str, Any]) -> str:
    place = f"{Path(check['file_path']).name}:{check['file_line_range'][0]}"
    return f"{place}: {check['check_id']} {check['check_name']} ({check['resource']})"


if __name__ == "__main__":
    sys.exit(main())
