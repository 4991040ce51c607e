"""Rows of a CSV file with a header, plain or gzip; what is wrong is said with file and line."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kfarm_twin.load import ManifestError, Problem

GZIP_MAGIC = b"\x1f\x8b"
MOST_LINE_BYTES = 1 << 16
MOST_PROBLEMS = 20
"""After so many problems the rest of a file is not read."""
SHOWN = 60
"""Most characters of a wrong value that are shown."""
_NUMBER = re.compile(r"[0-9]{1,18}(\.0+)?")


class Problems:
    """What is wrong with one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[Problem] = []

    def add(self, line: int | None, column: str, found: str, expected: str) -> None:
        """Note a problem; raises when there are too many to go on."""
        shown = found if len(found) <= SHOWN else found[:SHOWN] + "…"
        self.found.append(Problem(self.path, 0, column, shown, expected, line))
        if len(self.found) >= MOST_PROBLEMS:
            self.found.append(
                Problem(self.path, 0, "", f"{MOST_PROBLEMS} problems", "fewer; the rest is unread")
            )
            self.end()

    def end(self) -> None:
        """Raise when there are any."""
        if self.found:
            raise ManifestError(self.found)


class Row:
    """One line of data by column name."""

    def __init__(self, values: dict[str, str], line: int, problems: Problems) -> None:
        self.values, self.line, self._problems = values, line, problems

    def text(self, column: str) -> str:
        """The text of a column without surrounding blanks; empty where the file has no column."""
        return self.values.get(column, "").strip()

    def number(self, column: str, most: int, least: int = 0) -> int:
        """A whole number in a range; `least`, with a problem noted, where there is none."""
        text = self.text(column)
        if _NUMBER.fullmatch(text):
            value = int(text.partition(".")[0])
            if least <= value <= most:
                return value
        self.wrong(column, text or "nothing", f"a whole number from {least:,} to {most:,}")
        return least

    def wrong(self, column: str, found: str, expected: str) -> None:
        """Note a problem of this line."""
        self._problems.add(self.line, column, found, expected)


def read_rows(path: Path, required: Sequence[str], problems: Problems) -> Iterator[Row]:
    """Rows of a file, one by one.

    Blank lines are passed over. A mark of byte order, CRLF and gzip (known by its first bytes) are
    taken as they come. Quoted fields may not go over several lines.

    Parameters
    ----------
    required
        Columns that must be there; their order does not count.
    """
    with _opened(path, problems) as stream:
        header: list[str] | None = None
        line = 0
        for line, fields in _lines(stream, problems):
            if header is None:
                header = [field.strip() for field in fields]
                _check_header(header, required, problems, line)
            elif len(fields) != len(header):
                found, expected = f"{len(fields)} fields", f"{len(header)}, as in the header"
                problems.add(line, "", found, expected)
            else:
                yield Row(dict(zip(header, fields, strict=True)), line, problems)
        if header is None:
            problems.add(None, "", "an empty file", f"a header with {', '.join(required)}")
            problems.end()


@contextmanager
def _opened(path: Path, problems: Problems) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            raw.seek(0)
            if packed:
                with gzip.open(raw) as stream:
                    yield stream  # type: ignore[misc] # GzipFile reads bytes as IO[bytes] does
            else:
                yield raw
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        problems.add(None, "", reason, "a readable file")
        problems.end()


def _lines(stream: IO[bytes], problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank."""
    line = 0
    while True:
        line += 1
        try:
            raw = stream.readline(MOST_LINE_BYTES + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            problems.add(line, "", f"a damaged gzip file ({error})", "the whole file")
            problems.end()
        if not raw:
            return
        if len(raw) > MOST_LINE_BYTES:
            problems.add(line, "", "a very long line", f"at most {MOST_LINE_BYTES:,} bytes")
            problems.end()
        fields = _fields(raw, line, problems)
        if fields is not None:
            yield line, fields


def _fields(raw: bytes, line: int, problems: Problems) -> list[str] | None:
    try:
        text = raw.decode("utf-8-sig" if line == 1 else "utf-8").rstrip("\r\n")
        if not text.strip():
            return None
        return next(csv.reader([text], strict=True))
    except UnicodeDecodeError:
        problems.add(line, "", "bytes that are no UTF-8", "UTF-8 text")
    except csv.Error as error:
        problems.add(line, "", str(error), "comma-separated values")
    return None


def _check_header(
    header: Sequence[str], required: Sequence[str], problems: Problems, line: int
) -> None:
    missing = [column for column in required if column not in header]
    if missing:
        found = f"a header without {', '.join(missing)}"
        problems.add(line, "", found, f"the columns {', '.join(required)}")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        problems.add(line, "", f"{', '.join(twice)} more than once", "every column once")
    problems.end()
