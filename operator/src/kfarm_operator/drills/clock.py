"""Moments of drills: UTC with milliseconds, as they stand in status."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from kfarm_api.units import parse_duration_ns


def moment(at: datetime) -> str:
    """A moment with milliseconds, such as ``2026-01-31T12:00:00.123Z``."""
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def whole(at: datetime) -> str:
    """The next whole second, such as ``2026-01-31T12:00:00Z``: what annotations carry."""
    seconds = math.ceil(at.timestamp())
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def read_moment(text: str) -> datetime:
    """Read what `moment` or `whole` wrote.

    Raises
    ------
    ValueError
        When it is no moment in UTC.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text}: a moment in UTC ends with Z")
    return at.astimezone(UTC)


def seconds(duration: str) -> float:
    """A duration of the API [s]."""
    return parse_duration_ns(duration) / 1e9


def after(at: datetime, duration: str) -> datetime:
    """A moment so much later."""
    return at + timedelta(seconds=seconds(duration))
