"""``kfarm snapshot``: the state of farms, made up from manifests or exported from a cluster.

The twin knows no Kubernetes client. A package that does registers a function under the entry point
group `GROUP`; ``kfarm-operator`` does so with ``export(kubeconfig, context, plan) -> dict``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

import typer
from kfarm_api.snapshot import FarmSnapshot, synthetic_snapshot
from pydantic import ValidationError

from kfarm_twin.cli_inputs import Inputs
from kfarm_twin.cli_output import ExitCode

GROUP = "kfarm.snapshot"

Exporter = Callable[[str | None, str | None, str | None], dict[str, Any]]


def synthetic(inputs: Inputs) -> FarmSnapshot:
    """All nodes of the farms in the files, ready and free."""
    farms = inputs.farms()
    if not farms:
        _refuse("no GPUFarm or NPUFarm in the files given with -f")
    return synthetic_snapshot(farms)


def exported(kubeconfig: Path | None, context: str | None, plan: str | None) -> FarmSnapshot:
    """What the operator would see in a cluster now."""
    export = _exporter()
    try:
        state = export(str(kubeconfig) if kubeconfig else None, context, plan)
        return FarmSnapshot.model_validate(state)
    except ValidationError as error:
        raise RuntimeError(f"the exporter returned no FarmSnapshot: {error}") from error
    except (OSError, LookupError, ValueError) as error:
        _refuse(f"cannot export from the cluster: {error}")


def manifest(state: FarmSnapshot) -> dict[str, Any]:
    """The snapshot as a manifest; fields at their defaults are left out, which keeps it small."""
    content = state.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    return {"apiVersion": state.api_version, "kind": state.kind, **content}


def _exporter() -> Exporter:
    found = list(entry_points(group=GROUP))
    if not found:
        _refuse(
            "reading a cluster needs the package kfarm-operator, which is not installed here: "
            "pip install kfarm-operator, or leave out --kubeconfig and --context and give the "
            "farms with -f"
        )
    exporter: Exporter = found[0].load()
    return exporter


def _refuse(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(ExitCode.BAD_INPUT)
