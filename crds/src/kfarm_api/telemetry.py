"""What a farm says of its monitoring, and what the operator makes of it."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kfarm_api.base import Cel, ListOf, Name, ObjectName, Percent, ServerDefault, Strict
from kfarm_api.units import Bounds, Duration, Quantity, parse_duration_ns

URL_PATTERN = r"^https?://[A-Za-z0-9.:_\[\]-]+(/[A-Za-z0-9._~/%+-]*)?$"
"""Scheme, host, port and path; no user, password, query or fragment."""
LABEL_NAME_PATTERN = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
MAX_ROWS = 96
MAX_UNHEALTHY = 1024
MAX_SUGGESTIONS = 64
LabelName = Annotated[str, Field(min_length=1, max_length=64, pattern=LABEL_NAME_PATTERN)]
"""A label of a Prometheus series."""
Figure = Annotated[str, Field(max_length=32)]
"""A number that was computed, as text."""
_SECOND_NS = 1_000_000_000


def _within(field: str, least: str, most: str) -> Cel:
    return Cel(
        f"!has(self.{field}) || (duration(self.{field}) >= duration('{least}')"
        f" && duration(self.{field}) <= duration('{most}'))",
        f"{field} must be at least {least} and at most {most}",
        lambda model: (
            parse_duration_ns(least)
            <= parse_duration_ns(getattr(model, field))
            <= parse_duration_ns(most)
        ),
    )


class Prometheus(Strict):
    """Where measured values are read, by the HTTP API.

    `url` is that of the server, with a path prefix where it has one; credentials do not belong
    there and are refused. `timeout` is for one query, `interval` between two rounds of queries.
    `matchers` are labels that every series must carry, for a server that watches more than this
    farm.
    """

    url: Annotated[str, Field(min_length=8, max_length=512, pattern=URL_PATTERN)]
    timeout: Duration = "5s"
    interval: Duration = "30s"
    matchers: Annotated[dict[str, Annotated[str, Field(max_length=128)]], Field(max_length=8)] = (
        Field(default_factory=dict)
    )
    rules: ClassVar[tuple[Cel, ...]] = (
        _within("timeout", "100ms", "60s"),
        _within("interval", "1s", "1h"),
        Cel(
            "!has(self.matchers) || self.matchers.all(k, k.size() <= 128 &&"
            f" k.matches('{LABEL_NAME_PATTERN}'))",
            "matchers: a label's name has at most 128 letters, digits and _ and does not begin with"
            " a digit",
            lambda p: all(
                len(name) <= 128 and re.fullmatch(LABEL_NAME_PATTERN, name) for name in p.matchers
            ),
        ),
    )


class DriftBounds(Strict):
    """How far off the twin may be before it says so.

    Mean error of a cluster's device temperatures [K], and of its device powers in percent of what
    a device draws at most.
    """

    temperature: Annotated[Quantity, Bounds("0.1", "100", "K")] = "5"
    power: Percent = 10


class Telemetry(Strict):
    """Measurements of the farm, and what they are used for.

    Predicted is set beside observed once in each `record`. With `correct` ``Inlet`` the twin takes
    the air or coolant of a cluster to be warmer by the mean error of the last record, rounded to
    whole kelvins; with ``None`` the error is only told.
    """

    prometheus: Prometheus
    drift: Annotated[DriftBounds, ServerDefault] = Field(default_factory=DriftBounds)
    record: Duration = "1h"
    correct: Literal["None", "Inlet"] = "None"
    rules: ClassVar[tuple[Cel, ...]] = (_within("record", "1s", "24h"),)


class Unhealthy(Strict):
    """Accelerators of a node that are there but reported bad; they count as lost."""

    node: ObjectName
    cluster: Name
    accelerators: Annotated[int, Field(ge=1, le=128)]
    source: Annotated[str, Field(max_length=64)]
    reason: Annotated[str, Field(max_length=256)]


class DriftRow(Strict):
    """Predicted beside observed over one period, of one cluster.

    Temperatures of devices in degC, errors (observed less predicted) in K; `power_error` in percent
    of what a device draws at most. `failures` are nodes that stopped being Ready in `node_hours`.
    """

    at: Annotated[str, Field(max_length=40)]
    cluster: Name
    devices: Annotated[int, Field(ge=0)] = 0
    observed: Figure | None = None
    predicted: Figure | None = None
    error: Figure | None = None
    error_p95: Figure | None = None
    power: Figure | None = None
    power_error: Figure | None = None
    node_hours: Figure = "0"
    failures: Annotated[int, Field(ge=0)] = 0


class Suggestion(Strict):
    """A parameter as the measurements would have it; nothing takes it over by itself.

    `low` and `high` bound it with 95 percent confidence; `samples` is what it rests on.
    """

    cluster: Name
    parameter: Annotated[str, Field(max_length=128)]
    present: Figure
    suggested: Figure
    low: Figure
    high: Figure
    unit: Annotated[str, Field(max_length=32)]
    samples: Annotated[int, Field(ge=0)]
    basis: Annotated[str, Field(max_length=512)]


class Correction(Strict):
    """By how much the twin takes a cluster's coolant to be warmer than described [K].

    Never colder: that a twin is too careful is told and suggested, but not acted upon.
    """

    farm_kind: Literal["GPUFarm", "NPUFarm"]
    farm: Name
    cluster: Name
    inlet: Annotated[int, Field(ge=1, le=50)]


UnhealthyList = Annotated[list[Unhealthy], Field(max_length=MAX_UNHEALTHY), ListOf(("node",))]
DriftRows = Annotated[list[DriftRow], Field(max_length=MAX_ROWS)]
Suggestions = Annotated[
    list[Suggestion], Field(max_length=MAX_SUGGESTIONS), ListOf(("cluster", "parameter"))
]
