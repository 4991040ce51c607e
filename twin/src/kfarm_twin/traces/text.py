"""Columns out of blocks of lines: Arrow where a block is plain, cell by cell where it is not.

Both ways give the same values. The fast way refuses a block at the slightest doubt; the slow way
then says what is wrong and in which line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfarm_twin.arrays import Ints
from kfarm_twin.traces.cells import MAX_TEXT, NS_PER_S, Column, Kind, Layout
from kfarm_twin.traces.lines import Block, Findings, text_lines

_SPACE, _TAB, _RETURN, _END = 32, 9, 13, 10
_PLAIN = b"0123456789+-. \t\r\n"
_DECIMALS = 9
_MOMENT_LENGTH = 19


@dataclass(frozen=True)
class Cells:
    """Values of some lines [R].

    Attributes
    ----------
    line
        Line of each row in the file, from 1.
    numbers
        Column -> counts, or times in ns.
    texts
        Column -> text.
    """

    line: Ints
    numbers: dict[str, Ints]
    texts: dict[str, NDArray[np.str_]]


def read_cells(block: Block, layout: Layout, findings: Findings, *, is_fast: bool = True) -> Cells:
    """The used columns of a block; lines with problems are noted in `findings` and left away."""
    cells = _read_plain(block, layout) if is_fast else None
    return cells if cells is not None else _read_each(block, layout, findings)


def _read_each(block: Block, layout: Layout, findings: Findings) -> Cells:
    lines: list[int] = []
    rows: list[list[int | str]] = []
    last = block.first_line + block.lines - 1
    is_cut = block.is_last and not block.data.endswith(b"\n")
    for number, line in text_lines(block, findings, comment=layout.comment):
        if layout.comment and line.lstrip().startswith(layout.comment.decode()):
            continue
        values = layout.parse_line(number, line, is_cut and number == last, findings)
        if values is not None:
            lines.append(number)
            rows.append(values)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(layout.used)
    numbers, texts = {}, {}
    for column, values_of in zip(layout.used, columns, strict=True):
        if column.kind is Kind.TEXT:
            texts[column.name] = np.array(values_of, dtype=np.str_)
        else:
            numbers[column.name] = np.array(values_of, dtype=np.int64)
    return Cells(np.array(lines, dtype=np.int64), numbers, texts)


def _read_plain(block: Block, layout: Layout) -> Cells | None:
    """The same by Arrow; None where the block needs a closer look."""
    plain = block.data.rstrip(b"\r\n")
    data = _single_spaced(plain) if layout.is_spaced else plain
    if not data or b'"' in data or (layout.comment and layout.comment in data):
        return None
    table = _arrow_table(data, layout)
    if table is None or table.num_rows != plain.count(b"\n") + 1:  # blank lines: rows are not lines
        return None
    numbers, texts = {}, {}
    for column in layout.used:
        values = table.column(column.name)
        if column.kind is Kind.TEXT:
            words = _texts(column, values)
            if words is None:
                return None
            texts[column.name] = words
        else:
            read = _moments if column.kind is Kind.MOMENT else _numbers
            found = read(column, values)
            if found is None:
                return None
            numbers[column.name] = found
    line = np.arange(block.first_line, block.first_line + table.num_rows, dtype=np.int64)
    return Cells(line, numbers, texts)


def _arrow_table(data: bytes, layout: Layout) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - loads slowly
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    decimal, text = pa.decimal128(38, _DECIMALS), pa.string()
    types = {Kind.TEXT: text, Kind.MOMENT: text}
    kinds = {column.name: types.get(column.kind, decimal) for column in layout.used}
    if layout.is_spaced:  # the other columns are looked at as well: all are numbers
        kinds = {name: pa.float64() for name in layout.names} | kinds
    convert = arrow_csv.ConvertOptions(
        include_columns=list(kinds),
        column_types=kinds,
        null_values=[""],
        strings_can_be_null=False,
    )
    delimiter = " " if layout.is_spaced else ","
    try:
        return arrow_csv.read_csv(
            pa.py_buffer(data),
            read_options=arrow_csv.ReadOptions(column_names=list(layout.names)),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, quote_char=False),
            convert_options=convert,
        )
    except pa.ArrowInvalid:
        return None


def _single_spaced(data: bytes) -> bytes | None:
    """Lines with single spaces between numbers and none around; None for other characters."""
    if data.translate(None, _PLAIN):
        return None
    odd = (b"\t", b"\r", b"  ", b" \n", b"\n ")
    if not (data.startswith(b" ") or data.endswith(b" ") or any(each in data for each in odd)):
        return data
    raw = np.frombuffer(data, dtype=np.uint8)
    if b"\t" in data or b"\r" in data:
        raw = np.where((raw == _TAB) | (raw == _RETURN), np.uint8(_SPACE), raw)
    is_space = raw == _SPACE
    follows = np.empty(len(raw), dtype=bool)
    follows[:1] = True
    follows[1:] = is_space[:-1] | (raw[:-1] == _END)
    raw = raw[~(is_space & follows)]
    before_end = np.zeros(len(raw), dtype=bool)
    before_end[:-1] = (raw[:-1] == _SPACE) & (raw[1:] == _END)
    before_end[-1:] = raw[-1:] == _SPACE
    if before_end.any():
        raw = raw[~before_end]
    return bytes(raw.tobytes())


def _numbers(column: Column, values: Any) -> Ints | None:
    """Counts or ns from decimals of nine places, whose 128-bit form is the number of ns."""
    if values.null_count and not isinstance(column.blank, int):
        return None
    parts = []
    for chunk in values.chunks:
        ok = np.ones(len(chunk), dtype=bool)
        if chunk.null_count:
            ok = chunk.is_valid().to_numpy(zero_copy_only=False)
        words = np.frombuffer(chunk.buffers()[1], dtype=np.int64)
        low, high = words.reshape(-1, 2)[chunk.offset : chunk.offset + len(chunk)].T
        if (high[ok] != low[ok] >> 63).any():
            return None
        scale = NS_PER_S if column.kind is Kind.COUNT else 1
        value = low // scale
        is_good = (low == value * scale) & (value >= column.least) & (value <= column.most)
        if not is_good[ok].all():
            return None
        parts.append(np.where(ok, value, column.blank) if chunk.null_count else value)
    return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, dtype=np.int64)


def _moments(column: Column, values: Any) -> Ints | None:
    """Times in ns since 1970 from text of the one form that is read."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    lengths = pc.min_max(pc.binary_length(values)).as_py()
    if set(lengths.values()) != {_MOMENT_LENGTH}:
        return None
    try:
        moment = values.cast(pa.timestamp("s")).cast("int64").to_numpy()
    except pa.ArrowInvalid:
        return None
    if (np.abs(moment) > column.most // NS_PER_S).any():
        return None
    return np.asarray(moment * NS_PER_S, dtype=np.int64)


def _texts(column: Column, values: Any) -> NDArray[np.str_] | None:
    import pyarrow.compute as pc  # noqa: PLC0415

    trimmed = pc.utf8_trim_whitespace(values)
    if (pc.max(pc.utf8_length(trimmed)).as_py() or 0) > MAX_TEXT:
        return None
    if column.blank is None or column.blank:
        empty = pc.sum(pc.equal(pc.utf8_length(trimmed), 0)).as_py() or 0
        if empty:
            return None
    return np.asarray(trimmed.to_numpy(), dtype=np.str_)
