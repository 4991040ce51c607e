"""Traces of jobs: readers of the common forms, a form of our own, generators.

The readers, and numpy with them, load on first use: the command line needs only the names of the
forms to start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kfarm_twin.traces.formats import Reading, Target, TraceFormat

if TYPE_CHECKING:
    from kfarm_twin.traces.reader import read, read_trace

__all__ = ["Reading", "Target", "TraceFormat", "read", "read_trace"]


def __getattr__(name: str) -> Any:
    if name not in ("read", "read_trace"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.reader"), name)
