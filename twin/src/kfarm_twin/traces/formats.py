"""Formats of traces, and what a reading gives besides the jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfarm_twin.jobs import JobTrace


class TraceFormat(StrEnum):
    """Forms of a trace that can be read; docs/traces.md has their columns and units."""

    SWF = "swf"
    OPENB = "openb"
    PHILLY = "philly"
    KFARM = "kfarm"
    CSV = "csv"


class Target(StrEnum):
    """Forms of a trace that can be written."""

    KFARM = "kfarm"
    SWF = "swf"
    CSV = "csv"


@dataclass(frozen=True)
class Reading:
    """A trace with what a person should know about how it was read.

    Attributes
    ----------
    records
        Records in the file: jobs and those left out.
    examples
        Reason in `trace.left_out` -> line of the first record left out for it, from 1; absent where
        a format has no lines.
    unused
        Columns of the file that no job column is made of.
    notes
        Choices that the reader made and that change the jobs, as sentences.
    """

    trace: JobTrace
    format: TraceFormat
    records: int
    examples: Mapping[str, int] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
