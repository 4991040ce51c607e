"""Text files in blocks of whole lines: gzip, byte order marks, files that end too early.

Everything that reads a trace as text goes through `blocks`, so that a file is never held whole and
a fault in it always has a line.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from kfarm_twin.load import ManifestError, Problem

BLOCK_BYTES = 4 << 20
MAX_LINE_BYTES = 1 << 16
"""A longer line is no line of a trace; the bound keeps memory in proportion to a block."""
MAX_PROBLEMS = 20
"""So many problems of a file are told; the others are counted."""
MAX_COUNTED = 1000
"""After so many problems a reader stops."""
_GZIP = b"\x1f\x8b"
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Block(NamedTuple):
    """Some whole lines of a file.

    Attributes
    ----------
    data
        The lines with their ends; only the last line of a file may lack one.
    first_line
        Number of the first of them in the file, from 1.
    is_last
        Whether the file ends here.
    """

    data: bytes
    first_line: int
    is_last: bool

    @property
    def lines(self) -> int:
        """Number of lines."""
        ends = self.data.count(b"\n")
        return ends if self.data.endswith(b"\n") or not self.data else ends + 1


class Findings:
    """Problems of one file, the first `MAX_PROBLEMS` in words."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.count = 0
        self._problems: list[Problem] = []

    def add(self, found: str, expected: str, *, line: int | None = None, column: str = "") -> None:
        """Note a problem; raises when there are too many to go on."""
        self.count += 1
        if self.count <= MAX_PROBLEMS:
            self._problems.append(Problem(self.file, 0, column, found, expected, line))
        if self.count >= MAX_COUNTED:
            self.check()

    def check(self) -> None:
        """Raise `ManifestError` when there is any problem."""
        if not self.count:
            return
        problems = list(self._problems)
        more = self.count - len(problems)
        if more:
            least = "at least " if self.count >= MAX_COUNTED else ""
            problems.append(
                Problem(self.file, 0, "", f"{least}{more} more problems", "none; see those above")
            )
        raise ManifestError(problems)


def failure(
    file: Path, found: str, expected: str, *, line: int | None = None, column: str = ""
) -> ManifestError:
    """The error for a file with one problem."""
    return ManifestError([Problem(file, 0, column, found, expected, line)])


def shown(text: str, most: int = 40) -> str:
    """A cell as an error shows it."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "nothing" if not cut else repr(cut)


def check_file(path: Path) -> None:
    """Refuse what is no regular file: a trace is looked at more than once, a pipe cannot be."""
    if path.is_dir():
        raise failure(path, "a directory", "a trace file: name a file in it")
    if path.exists() and not path.is_file():
        raise failure(path, "a pipe or device", "a file: write its content to one first")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where they are gzip; a directory or no file is an error."""
    check_file(path)
    try:
        raw = path.open("rb")
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise failure(path, reason, "a readable file") from None
    with raw:
        head = raw.peek(len(_GZIP))[: len(_GZIP)]
        if head == _GZIP:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield io.BufferedReader(unpacked, BLOCK_BYTES)
        elif path.suffix == ".gz":
            found = "an empty file" if not head else "a name that ends in .gz but no gzip data"
            raise failure(path, found, "gzip data, or a name without .gz")
        else:
            yield raw


def blocks(path: Path) -> Iterator[Block]:
    """Whole lines in blocks of about `BLOCK_BYTES`, without a byte order mark of UTF-8.

    Raises
    ------
    ManifestError
        File that cannot be read, is empty, is cut off (gzip), is UTF-16 or holds zero bytes, or a
        line longer than `MAX_LINE_BYTES`.
    """
    with opened(path) as stream:
        line, rest, begun = 1, b"", False
        while True:
            data = _read(path, stream, line + rest.count(b"\n"))
            if not begun:
                data = _without_mark(path, data)
                begun = True
            ends_here = not data
            data = rest + data
            cut = len(data) if ends_here else data.rfind(b"\n") + 1
            block, rest = Block(data[:cut], line, ends_here), data[cut:]
            _check(path, block, rest)
            if block.data:
                yield block
            if ends_here:
                return
            line += block.data.count(b"\n")


def _read(path: Path, stream: IO[bytes], line: int) -> bytes:
    try:
        return stream.read(BLOCK_BYTES)
    except EOFError:
        raise failure(
            path, "gzip data that end too early", "a whole file: fetch it again", line=line
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise failure(
            path, f"broken gzip data ({error})", "a whole file: fetch it again", line=line
        ) from None
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise failure(path, reason, "a readable file") from None


def _without_mark(path: Path, data: bytes) -> bytes:
    if not data:
        raise failure(path, "an empty file", "a trace")
    if data.startswith(_WIDE_MARKS):
        remedy = f"UTF-8: convert with iconv -f UTF-16 -t UTF-8 {path.name}"
        raise failure(path, "text in UTF-16", remedy, line=1)
    return data.removeprefix(codecs.BOM_UTF8)


def _check(path: Path, block: Block, rest: bytes) -> None:
    if b"\0" in block.data:
        line = block.first_line + block.data.count(b"\n", 0, block.data.index(b"\0"))
        raise failure(path, "a zero byte", "text; is this a binary file?", line=line)
    if len(rest) > MAX_LINE_BYTES:
        line = block.first_line + block.data.count(b"\n")
        found = f"a line of more than {MAX_LINE_BYTES:,} bytes"
        raise failure(path, found, "lines of a trace; is this a binary file?", line=line)


def text_lines(
    block: Block, findings: Findings, *, comment: bytes = b""
) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank; those that are not UTF-8 become problems.

    Lines that begin with `comment` are decoded as well as can be.
    """
    for offset, raw in enumerate(block.data.split(b"\n")):
        stripped = raw.strip()
        if not stripped:
            continue
        number = block.first_line + offset
        if comment and stripped.startswith(comment):
            yield number, raw.decode("utf-8", "replace").rstrip("\r")
            continue
        if len(raw) > MAX_LINE_BYTES:
            findings.add(f"a line of {len(raw):,} bytes", "a line of a trace", line=number)
            continue
        try:
            yield number, raw.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError:
            findings.add(*encoding_fault(raw, findings.file), line=number)


def encoding_fault(raw: bytes, file: Path) -> tuple[str, str]:
    """What is wrong with a line that is not UTF-8, and the remedy."""
    try:
        raw.decode("cp949")
    except UnicodeDecodeError:
        return "bytes that are not UTF-8", "text in UTF-8"
    remedy = f"UTF-8: convert with iconv -f CP949 -t UTF-8 {file.name}"
    return "bytes that are not UTF-8 but may be CP949 (EUC-KR)", remedy
