"""The form of our own: Parquet, with the unit of each column in its metadata.

One row per job in order of submission. The file's metadata carry the version of the schema, the
names of queues and model sets in their order, the time of second 0, and what an earlier reader left
out, so that a trace comes back as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from kfarm_twin.arrays import Ints
from kfarm_twin.jobs import WHOLE_MILLI, JobTrace
from kfarm_twin.traces.build import (
    DEFAULT_QUEUE,
    ModelSets,
    Names,
    Part,
    Tally,
    build,
    check_shares,
    whole_milli,
)
from kfarm_twin.traces.cells import MAX_COUNT, MAX_TEXT, MAX_TIME_NS
from kfarm_twin.traces.formats import Reading, TraceFormat
from kfarm_twin.traces.lines import Findings, check_file, failure, shown

MAGIC = b"PAR1"
SCHEMA = "kfarm.dev/trace/v1"
MODEL_SEPARATOR = "|"
MAX_MODELS_TEXT = 4096
_BATCH_ROWS = 65_536
_KEY = b"kfarm"


@dataclass(frozen=True)
class Number:
    """A whole-number column of the Parquet form.

    Attributes
    ----------
    default
        Value of all jobs where the file lacks the column; None where it must be there.
    """

    name: str
    unit: str
    doc: str
    least: int
    most: int
    default: int | None = None


FIELDS = (
    Number("submit_ns", "ns", "time of submission since the start of the trace", 0, MAX_TIME_NS),
    Number("run_ns", "ns", "true run time at full speed", 1, MAX_TIME_NS),
    Number("limit_ns", "ns", "run time the user asked for; run_ns if not given", 1, MAX_TIME_NS, 0),
    Number("pods", "1", "members of the gang", 1, MAX_COUNT),
    Number("gpus", "1", "devices of each pod", 0, MAX_COUNT),
    Number("gpu_milli", "1/1000", "share of each device; whole if absent", 0, WHOLE_MILLI, -1),
    Number("cpu_milli", "m", "CPU of each pod, 0 if not known", 0, MAX_COUNT, 0),
    Number("memory_mib", "MiB", "memory of each pod, 0 if not known", 0, MAX_COUNT, 0),
    Number("priority", "1", "larger goes first", -MAX_COUNT, MAX_COUNT, 0),
)
LOADS = (
    Number("gpu_ppm", "ppm", "load of the devices, -1 if not known", -1, 1_000_000),
    Number("cpu_ppm", "ppm", "load of the node's other parts, -1 if not known", -1, 1_000_000),
)
"""Only where the trace knows any."""
NAMES = {
    "id": "name of the job, unique",
    "queue": "queue, virtual cluster or tenant",
    "models": f"device models that will do, {MODEL_SEPARATOR} between them; empty: any",
}


def arrow_schema(trace: JobTrace, source: Mapping[str, Any]) -> Any:
    """Arrow's schema of a trace, with units and metadata."""
    import pyarrow as pa  # noqa: PLC0415 - loads slowly

    def field(name: str, kind: Any, unit: str, doc: str) -> Any:
        return pa.field(name, kind, nullable=False, metadata={"unit": unit, "doc": doc})

    words = pa.dictionary(pa.int32(), pa.string())
    kinds = {"id": pa.string(), "queue": words, "models": words}
    fields = [field("id", kinds["id"], "", NAMES["id"])]
    fields += [field(each.name, pa.int64(), each.unit, each.doc) for each in FIELDS]
    fields += [field(name, kinds[name], "", NAMES[name]) for name in ("queue", "models")]
    known = LOADS if trace.loads is not None else ()
    fields += [field(each.name, pa.int64(), each.unit, each.doc) for each in known]
    return pa.schema(fields, metadata={_KEY: _metadata(trace, source)})


def _metadata(trace: JobTrace, source: Mapping[str, Any]) -> bytes:
    start = trace.start
    zone = start.tzinfo.key if start is not None and isinstance(start.tzinfo, ZoneInfo) else None
    said = {
        "schema": SCHEMA,
        "start": start.isoformat() if start else None,
        "startZone": zone,
        "queues": list(trace.queues),
        "models": [MODEL_SEPARATOR.join(sorted(names)) for names in trace.models],
        "leftOut": dict(trace.left_out),
        **source,
    }
    return json.dumps(said, ensure_ascii=False, allow_nan=False).encode()


def write_parquet(trace: JobTrace, stream: IO[bytes], source: Mapping[str, Any] = {}) -> None:
    """Write a trace; equal traces give equal bytes.

    Parameters
    ----------
    source
        More to keep in the metadata, such as where the jobs came from.

    Raises
    ------
    ValueError
        For a trace that could not be read back: names that are not unique.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    models = [MODEL_SEPARATOR.join(sorted(names)) for names in trace.models]
    if any(MODEL_SEPARATOR in name for names in trace.models for name in names):
        message = f"a device model has {MODEL_SEPARATOR} in its name"
        raise ValueError(message)
    for kind, names in (("queues", list(trace.queues)), ("model sets", models)):
        if len(set(names)) < len(names):
            message = f"{kind} with equal names cannot be told apart: {sorted(names)}"
            raise ValueError(message)
    columns = [pa.array(trace.ids.tolist(), pa.string())]
    columns += [pa.array(getattr(trace.jobs, field.name)) for field in FIELDS]
    for codes, names in ((trace.jobs.queue, list(trace.queues)), (trace.jobs.models, models)):
        words = pa.array(names, pa.string())
        columns.append(pa.DictionaryArray.from_arrays(codes.astype(np.int32), words))
    if trace.loads is not None:
        columns += [pa.array(getattr(trace.loads, each.name)) for each in LOADS]
    table = pa.Table.from_arrays(columns, schema=arrow_schema(trace, source))
    parquet.write_table(table, stream, compression="zstd", row_group_size=_BATCH_ROWS)


def read_parquet(path: Path) -> Reading:
    """Read a trace in the Parquet form; problems as in `read`, with rows instead of lines."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    check_file(path)
    findings = Findings(path)
    try:
        with parquet.ParquetFile(path) as file:
            said = _said(path, file.schema_arrow)
            _check_columns(file.schema_arrow, findings)
            return _read_batches(file, said, findings)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise failure(
            path, f"no readable Parquet ({reason})", "a whole Parquet file, not packed"
        ) from None


class Said(BaseModel):
    """Our part of the file's metadata, as docs/traces.md has it; other keys are passed over."""

    start: datetime | None = None
    start_zone: str | None = Field(None, alias="startZone")
    queues: list[str] = []
    models: list[str] = []
    left_out: dict[str, Annotated[int, Field(ge=0)]] = Field({}, alias="leftOut")


def _said(path: Path, schema: Any) -> Said:
    """Our metadata; empty where another program wrote the file."""
    raw = (schema.metadata or {}).get(_KEY)
    if raw is None:
        return Said()
    try:
        body = json.loads(raw)
        version = body["schema"]
    except (ValueError, KeyError, TypeError):
        raise failure(path, f"metadata {shown(str(raw))}", f"{SCHEMA} as JSON") from None
    if version != SCHEMA:
        remedy = f"{SCHEMA}; a newer kfarm may have written it"
        raise failure(path, f"schema {shown(str(version))}", remedy)
    try:
        return Said.model_validate(body)
    except ValidationError as error:
        findings = Findings(path)
        for each in error.errors(include_url=False, include_input=True):
            place = ".".join(map(str, each["loc"]))
            findings.add(shown(str(each["input"])), each["msg"], column=f"metadata {place}")
        findings.check()
        raise


def _check_columns(schema: Any, findings: Findings) -> None:
    """Required columns are there and all have types that can be read."""
    from pyarrow import types  # noqa: PLC0415

    for field in (*FIELDS, *LOADS):
        if field.name not in schema.names:
            if field.default is None and field in FIELDS:
                findings.add("no such column", f"whole numbers [{field.unit}]", column=field.name)
        elif not types.is_integer(schema.field(field.name).type):
            found = str(schema.field(field.name).type)
            findings.add(found, f"whole numbers [{field.unit}]", column=field.name)
    for name, doc in NAMES.items():
        if name not in schema.names:
            if name == "id":
                findings.add("no such column", f"text: {doc}", column=name)
            continue
        kind = schema.field(name).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_string(kind) or types.is_large_string(kind)):
            findings.add(str(kind), f"text: {doc}", column=name)
    findings.check()


def _read_batches(file: Any, said: Said, findings: Findings) -> Reading:
    tally, queues, models = Tally(), Names(), ModelSets()
    queues.codes_of(np.array(said.queues, dtype=np.str_))
    models.codes_of(np.array(said.models, dtype=np.str_))
    known = [field.name for field in (*FIELDS, *LOADS)] + list(NAMES)
    present = [name for name in file.schema_arrow.names if name in known]
    parts = [
        _part(batch, first, queues, models, findings)
        for first, batch in _numbered(file.iter_batches(_BATCH_ROWS, columns=present))
    ]
    tally.records = sum(len(part.line) for part in parts)
    tally.left_out = dict(said.left_out)
    tally.records += sum(tally.left_out.values())
    return build(
        parts,
        tally,
        findings,
        TraceFormat.KFARM,
        queues=queues.all,
        models=models.all,
        start=_start(said),
        unused=tuple(name for name in file.schema_arrow.names if name not in known),
    )


def _numbered(batches: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    first = 1
    for batch in batches:
        yield first, batch
        first += batch.num_rows


def _part(batch: Any, first: int, queues: Names, models: ModelSets, findings: Findings) -> Part:
    row = np.arange(first, first + batch.num_rows, dtype=np.int64)
    columns = {
        field.name: _numbers(batch, field, first, findings)
        for field in (*FIELDS, *LOADS)
        if field.name in batch.schema.names
    }
    run, gpus = columns["run_ns"], columns["gpus"]
    absent = {"limit_ns": run, "gpu_milli": whole_milli(gpus)}
    for field in FIELDS:
        columns.setdefault(field.name, absent.get(field.name, np.zeros_like(run)))
    words = {name: _texts(batch, name, first, findings) for name in NAMES}
    columns["queue"] = queues.codes_of(words["queue"])
    columns["models"] = models.codes_of(words["models"])
    check_shares(gpus, columns["gpu_milli"], row, findings)
    return Part(columns, words["id"], row)


def _numbers(batch: Any, field: Number, first: int, findings: Findings) -> Ints:
    """Values of a column; rows that are null or out of bounds are noted."""
    column = batch.column(field.name)
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    try:
        values = column.fill_null(0).cast("int64").to_numpy(zero_copy_only=False)
    except ValueError as error:  # uint64 beyond int64
        findings.add(str(error), _bounds(field), column=field.name)
        return np.full(batch.num_rows, field.least, dtype=np.int64)
    is_bad = is_null | (values < field.least) | (values > field.most)
    for row in np.flatnonzero(is_bad):
        found = "null" if is_null[row] else f"{values[row]:,}"
        findings.add(found, _bounds(field), column=_row(field.name, first + int(row)))
    return np.asarray(values, dtype=np.int64)


def _bounds(field: Number) -> str:
    return f"a whole number from {field.least:,} to {field.most:,} [{field.unit}]"


def _row(name: str, row: int) -> str:
    return f"{name}, row {row}"


def _texts(batch: Any, name: str, first: int, findings: Findings) -> Any:
    if name not in batch.schema.names:
        return np.full(batch.num_rows, DEFAULT_QUEUE if name == "queue" else "")
    words = batch.column(name).cast("string")
    is_null = words.is_null().to_numpy(zero_copy_only=False)
    found = words.fill_null("").to_numpy(zero_copy_only=False)
    lengths = np.char.str_len(np.asarray(found, dtype=np.str_))
    least = 1 if name == "id" else 0
    most = MAX_TEXT if name != "models" else MAX_MODELS_TEXT
    for row in np.flatnonzero(is_null | (lengths < least) | (lengths > most)):
        text = "null" if is_null[row] else shown(str(found[row]))
        expected = f"text of {least} to {most} characters"
        findings.add(text, expected, column=_row(name, first + int(row)))
    return np.asarray(found, dtype=np.str_)


def _start(said: Said) -> datetime | None:
    """Time of second 0 as it was written; without its zone where that is not known here."""
    if said.start is None or said.start_zone is None or said.start.tzinfo is None:
        return said.start
    try:
        return said.start.astimezone(ZoneInfo(said.start_zone))
    except (ZoneInfoNotFoundError, ValueError, OSError, OverflowError):
        return said.start
