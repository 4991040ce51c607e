"""What can go wrong with a run, by exit code."""

from __future__ import annotations

from typing import ClassVar

PASSED = 0
NOT_PASSED = 1
BAD_INPUT = 2
NOT_DONE = 3


class RunError(Exception):
    """Says what is wrong, where, and the remedy; ends the run with its code."""

    code: ClassVar[int] = NOT_DONE


class BadInput(RunError):
    """A file, an option or the state of the cluster does not allow the run."""

    code: ClassVar[int] = BAD_INPUT


class DriverError(RunError):
    """A driver cannot do what the drill asks of it."""
