"""Runs of drills as rows of ``docs/drills.json``: what was predicted beside what was observed."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfarm_controlplane.families import families

ANNOTATION_RUNBOOK = "kfarm.dev/runbook"
ANNOTATION_RESIDUE = "kfarm.dev/residue"


def row(body: Mapping[str, Any], nodes: int, seconds: float) -> dict[str, Any]:
    """One finished drill, as ``kfarm drill run --save`` kept it.

    Parameters
    ----------
    nodes
        Of the control plane that it ran on.
    seconds
        From its start to its end, by the clock on the wall.
    """
    metadata, status = body["metadata"], body.get("status") or {}
    annotations = metadata.get("annotations") or {}
    results = Counter(one["result"].lower() for one in status.get("expectations", ()))
    return {
        "name": metadata["name"],
        "title": annotations.get(ANNOTATION_RUNBOOK, metadata["name"]).splitlines()[0],
        "nodes": nodes,
        "mode": body["spec"].get("mode", "Twin"),
        "verdict": status.get("verdict") or status.get("phase"),
        "touched": status.get("touched", 0),
        "residue": int(annotations.get(ANNOTATION_RESIDUE, "-1")),
        "seconds": round(seconds, 1),
        "expectations": {name: results[name] for name in ("passed", "failed", "unknown")},
        "metrics": status.get("metrics", []),
    }


def write(path: Path, command: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the file that ``docs/validation.md`` is made from."""
    record = {
        "schema": 1,
        "recorded": command,
        "date": datetime.now(UTC).date().isoformat(),
        "environment": environment(),
        "drills": list(rows),
    }
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def environment() -> dict[str, str]:
    """What the figures were taken on."""
    versions = {name: family.version for name, family in families().items()}
    return {
        "kubernetes": versions["kubernetes"],
        "kwok": versions["kwok"],
        "python": platform.python_version(),
        "processors": str(os.cpu_count()),
    }
