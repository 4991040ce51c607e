"""Digital twin of accelerator farms: scheduling, failures, heat.

The public names load on first use, so that importing the package stays light (no numba).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfarm_twin.compile import Model, compile_farm
    from kfarm_twin.request import InputError, MetricSummary, ValidationRequest, Verdict
    from kfarm_twin.results import SimulationResult
    from kfarm_twin.simulate import simulate
    from kfarm_twin.validate import validate, validate_detailed

_HOME = {
    "InputError": "request",
    "MetricSummary": "request",
    "Model": "compile",
    "SimulationResult": "results",
    "ValidationRequest": "request",
    "Verdict": "request",
    "compile_farm": "compile",
    "simulate": "simulate",
    "validate": "validate",
    "validate_detailed": "validate",
}

__all__ = [
    "InputError",
    "MetricSummary",
    "Model",
    "SimulationResult",
    "ValidationRequest",
    "Verdict",
    "compile_farm",
    "simulate",
    "validate",
    "validate_detailed",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
