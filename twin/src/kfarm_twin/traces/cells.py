"""Cells of a text trace: which columns there are, and what each may hold."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from enum import Enum

from kfarm_twin.traces.lines import Findings, shown

NS_PER_S = 1_000_000_000
MAX_TIME_NS = 1 << 61
"""Longest time that a job may have [ns], 73 years: sums of a few still fit 64 bits."""
MAX_MOMENT_NS = 1 << 62
"""Farthest moment from 1970 [ns]: 1823 to 2116."""
MAX_COUNT = 1 << 31
MAX_TEXT = 253
"""Longest name of a job or queue, as in Kubernetes."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(Enum):
    """What a cell is read as."""

    COUNT = "a whole number"
    SECONDS = "seconds"  # decimal; kept as ns
    SHARE = "a share"  # decimal; kept in billionths
    MOMENT = "a time such as 2017-10-09 07:01:55"  # kept as ns since 1970, no time zone
    TEXT = "text"


@dataclass(frozen=True)
class Column:
    """One column that a reader uses.

    Attributes
    ----------
    least, most
        Bounds of the value: counts as they are, times in ns.
    blank
        Value of an empty cell; None where it must not be empty.
    """

    name: str
    kind: Kind
    least: int = 0
    most: int = MAX_COUNT
    blank: int | str | None = None

    @property
    def expected(self) -> str:
        """What a cell may hold, in words."""
        if self.kind is Kind.TEXT:
            return f"text of 1 to {MAX_TEXT} characters"
        if self.kind is Kind.MOMENT:
            return str(self.kind.value)
        scale = 1 if self.kind is Kind.COUNT else NS_PER_S
        text = f"{self.kind.value} from {self.least // scale:,} to {self.most // scale:,}"
        return text if self.blank is None else f"{text}, or nothing"


def count(name: str, least: int = 0, most: int = MAX_COUNT, blank: int | None = None) -> Column:
    """A column of whole numbers."""
    return Column(name, Kind.COUNT, least, most, blank)


def seconds(name: str, least: int = 0, blank: int | None = None) -> Column:
    """A column of times in seconds, decimals allowed, kept in ns; `least` in s, `blank` in ns."""
    return Column(name, Kind.SECONDS, least * NS_PER_S, MAX_TIME_NS, blank)


def share(name: str, blank: int | None = None) -> Column:
    """A column of numbers from 0 to 1, decimals allowed, kept in billionths."""
    return Column(name, Kind.SHARE, 0, NS_PER_S, blank)


def moment(name: str) -> Column:
    """A column of dates with times, kept in ns since 1970."""
    return Column(name, Kind.MOMENT, -MAX_MOMENT_NS, MAX_MOMENT_NS)


def text(name: str, blank: str | None = None) -> Column:
    """A column of names."""
    return Column(name, Kind.TEXT, blank=blank)


class BadCell(ValueError):
    """A cell that does not hold what its column asks for; the message is what was found."""


def parse(column: Column, cell: str) -> int | str:
    """The value of one cell, exactly; times to the nearest ns."""
    cell = cell.strip()
    if not cell and column.blank is not None:
        return column.blank
    match column.kind:
        case Kind.TEXT:
            if not cell or len(cell) > MAX_TEXT:
                raise BadCell(shown(cell))
            return cell
        case Kind.MOMENT:
            return _moment(column, cell)
    value = _decimal(cell)
    scaled = (value * NS_PER_S).to_integral_value(ROUND_HALF_EVEN)
    if column.kind is Kind.COUNT:
        scaled = value.to_integral_value()
        if scaled != value:
            raise BadCell(shown(cell))
    if not column.least <= scaled <= column.most:
        raise BadCell(shown(cell))
    return int(scaled)


def _decimal(cell: str) -> Decimal:
    if not _NUMBER.fullmatch(cell):
        raise BadCell(shown(cell))
    try:
        value = Decimal(cell)
    except InvalidOperation:
        raise BadCell(shown(cell)) from None
    if value.adjusted() > 18:  # beyond 64 bits whatever the unit, and slow to expand
        raise BadCell(shown(cell))
    return value


def _moment(column: Column, cell: str) -> int:
    if not _MOMENT.fullmatch(cell):
        raise BadCell(shown(cell))
    try:
        since = datetime.fromisoformat(cell).replace(tzinfo=UTC) - _EPOCH
    except ValueError:
        raise BadCell(shown(cell)) from None
    value = (since.days * 86_400 + since.seconds) * NS_PER_S
    if not column.least <= value <= column.most:
        raise BadCell(shown(cell))
    return value


def is_number(cell: str) -> bool:
    """Whether a cell that nobody uses is a number at least."""
    return _NUMBER.fullmatch(cell) is not None


def split_csv(line: str) -> list[str]:
    """Cells of one line of CSV; a quoted cell ends on its line.

    Raises
    ------
    BadCell
        Where quotes do not close.
    """
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise BadCell(f"{shown(line)} ({error})") from None


@dataclass(frozen=True)
class Layout:
    """How the lines of a text trace are made.

    Attributes
    ----------
    names
        All columns of the file in their order.
    used
        The columns that are read; each name is in `names`.
    is_spaced
        Cells stand apart by white space (SWF) rather than by commas.
    comment
        First character of a comment line; empty when there are none.
    """

    names: tuple[str, ...]
    used: tuple[Column, ...]
    is_spaced: bool = False
    comment: bytes = b""

    def parse_line(
        self, number: int, line: str, ends_here: bool, findings: Findings
    ) -> list[int | str] | None:
        """Values of the used columns; None, with problems noted, where one is wrong."""
        try:
            cells = line.split() if self.is_spaced else split_csv(line)
        except BadCell as error:
            findings.add(str(error), "cells with closed quotes", line=number)
            return None
        if len(cells) != len(self.names):
            self._note_length(number, cells, ends_here, findings)
            return None
        before = findings.count
        if self.is_spaced:
            self._note_words(number, cells, findings)
        values: list[int | str] = []
        for column in self.used:
            cell = cells[self.names.index(column.name)]
            try:
                values.append(parse(column, cell))
            except BadCell as error:
                findings.add(str(error), column.expected, line=number, column=column.name)
        return values if findings.count == before else None

    def _note_length(
        self, number: int, cells: Sequence[str], ends_here: bool, findings: Findings
    ) -> None:
        expected = f"{len(self.names)} ({self.names[0]} … {self.names[-1]})"
        if len(cells) < len(self.names):
            where = f"after {self.names[len(cells) - 1]}" if cells else ""
            if ends_here:
                expected += "; the file seems to be cut off: fetch it again"
        else:
            where = ""
        findings.add(f"{len(cells)} cells {where}".rstrip(), expected, line=number)

    def _note_words(self, number: int, cells: Sequence[str], findings: Findings) -> None:
        used = {column.name for column in self.used}
        for name, cell in zip(self.names, cells, strict=True):
            if name not in used and not is_number(cell):
                findings.add(shown(cell), "a number, -1 if not known", line=number, column=name)
