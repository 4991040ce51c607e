"""Parameters of the failure model from an event log of a fleet."""

from __future__ import annotations

from enum import StrEnum


class Unit(StrEnum):
    """Units of plain numbers in a log."""

    SECONDS = "seconds"
    MINUTES = "minutes"
    HOURS = "hours"
    DAYS = "days"
