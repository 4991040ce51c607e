"""CSV with a header: which of its columns are used, and their cells block by block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from kfarm_twin.traces.cells import BadCell, Column, Layout, split_csv
from kfarm_twin.traces.lines import Block, Findings, blocks, encoding_fault, failure, shown
from kfarm_twin.traces.text import Cells, read_cells


class CsvTable:
    """A CSV file whose first line that is not blank names its columns, in any order.

    Parameters
    ----------
    required, optional
        Columns that the reader uses; it does without the optional ones.
    remedy
        What to do when required columns are missing.

    Attributes
    ----------
    unused
        Columns of the file that are not read, in their order.
    """

    def __init__(
        self,
        path: Path,
        findings: Findings,
        required: Sequence[Column],
        optional: Sequence[Column] = (),
        *,
        remedy: str = "",
    ) -> None:
        self._findings = findings
        self._blocks = blocks(path)
        line, names, self._first = header_of(path, self._blocks)
        missing = [column.name for column in required if column.name not in names]
        if missing:
            expected = ", ".join(column.name for column in required) + remedy
            raise failure(path, f"no column {', '.join(missing)}", expected, line=line)
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            raise failure(path, f"column {shown(twice[0])} twice", "every column once", line=line)
        used = [column for column in (*required, *optional) if column.name in names]
        self._layout = Layout(tuple(names), tuple(used))
        self.unused = tuple(name for name in names if name not in {c.name for c in used})

    def has(self, name: str) -> bool:
        """Whether the file has this column."""
        return name in self._layout.names

    def cells(self) -> Iterator[Cells]:
        """The used columns, block by block."""
        for block in chain([self._first], self._blocks):
            yield read_cells(block, self._layout, self._findings)


def header_of(path: Path, source: Iterator[Block]) -> tuple[int, list[str], Block]:
    """Line and names of the header, and what is left of the block that it stands in."""
    for block in source:
        at = 0
        line = block.first_line
        while at < len(block.data):
            end = block.data.find(b"\n", at) + 1 or len(block.data)
            raw = block.data[at:end].strip()
            at, line = end, line + 1
            if raw:
                names = _names(path, raw, line - 1)
                return line - 1, names, Block(block.data[at:], line, block.is_last)
    raise failure(path, "blank lines only", "a header that names the columns")


def _names(path: Path, raw: bytes, line: int) -> list[str]:
    try:
        return [name.strip() for name in split_csv(raw.decode("utf-8"))]
    except UnicodeDecodeError:
        found, expected = encoding_fault(raw, path)
        raise failure(path, found, expected, line=line) from None
    except BadCell as error:
        raise failure(path, str(error), "a header with closed quotes", line=line) from None
