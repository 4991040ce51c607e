"""Event logs of faults: JSON as of the InfiniteHBD trace, and CSV with one fault a row."""

from __future__ import annotations

import csv
import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfarm_twin.fit import Unit
from kfarm_twin.fit.log import Fault, FaultLog, LeftOut, build_log
from kfarm_twin.traces.lines import Findings, blocks, encoding_fault, failure, shown

MOST_BYTES = 256 << 20
LONGEST_DAYS = 36_600.0
FEWEST_FAULTS = 5
START_WORDS = {"fault_start", "start", "down", "failed"}
END_WORDS = {"fault_end", "end", "up", "repaired", "recovered"}


HOURS = {Unit.SECONDS: 1 / 3600, Unit.MINUTES: 1 / 60, Unit.HOURS: 1.0, Unit.DAYS: 24.0}
SUFFIXES = {
    "s": Unit.SECONDS, "sec": Unit.SECONDS, "seconds": Unit.SECONDS,
    "min": Unit.MINUTES, "minutes": Unit.MINUTES,
    "h": Unit.HOURS, "hours": Unit.HOURS,
    "d": Unit.DAYS, "days": Unit.DAYS,
}  # fmt: skip
COLUMNS = {
    "start": ("start", "start_time", "begin", "down", "failed", "fault_start", "from", "opened"),
    "end": ("end", "end_time", "up", "repaired", "fault_end", "to", "closed", "recovered"),
    "node": ("node", "node_id", "host", "hostname", "machine", "server", "nodename"),
    "class": ("class", "kind", "type", "fault_type", "category", "cause", "fault_class"),
}


class Clock:
    """Turns cells into hours; plain numbers by their unit, else times of ISO 8601."""

    def __init__(self, unit: Unit) -> None:
        self.factor = HOURS[unit]
        self.unit = unit
        self.dated: bool | None = None

    def hours(self, value: Any) -> float:
        """Hours of the log; for dates since 1970, a Thursday, in UTC.

        Raises
        ------
        ValueError
            With what is wrong.
        """
        number = _number(value)
        if number is None:
            number = _iso_hours(str(value).strip())
            self._agree(True)
            return number
        self._agree(False)
        if not math.isfinite(number):
            raise ValueError("a finite time")
        if abs(number) * self.factor > LONGEST_DAYS * 24:
            raise ValueError(
                f"a time within {LONGEST_DAYS:,.0f} days; say --unit if not {self.unit}"
            )
        return number * self.factor

    def _agree(self, dated: bool) -> None:
        if self.dated is not None and self.dated != dated:
            raise ValueError("all times as numbers, or all as dates of ISO 8601")
        self.dated = dated


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        raise ValueError("a time")
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _iso_hours(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("a number or a date such as 2026-01-31T08:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp() / 3600


def read_log(
    path: Path, *, unit: Unit | None = None, since: str | None = None, until: str | None = None
) -> FaultLog:
    """Read a log; see docs/cli.md for the forms.

    Parameters
    ----------
    unit
        Of plain numbers; without it days, or what the header of a CSV file says.
    since, until
        What to look at, as times of the log.

    Raises
    ------
    ManifestError
        Each problem with its line.
    """
    text = whole_text(path)
    left_out, notes = LeftOut(), []
    findings = Findings(path)
    if text.lstrip().startswith(("[", "{")):
        clock = Clock(unit or Unit.DAYS)
        faults = _json_faults(path, text, clock, findings, left_out)
    else:
        faults, clock, unused = _csv_faults(path, text, unit, findings, left_out)
        notes += [f"column {name} is not used" for name in unused]
    findings.check()
    if len(faults) < FEWEST_FAULTS:
        raise failure(path, f"{len(faults)} usable faults", f"at least {FEWEST_FAULTS} to fit")
    if unit is None and not clock.dated:
        notes.append(f"times read as {clock.unit}; --unit says otherwise")
    log = build_log(
        faults, left_out, since_h=_bound(clock, since, "--since"),
        until_h=_bound(clock, until, "--until"), notes=tuple(notes),
    )  # fmt: skip
    closed = int((~log.is_open).sum())
    if closed < FEWEST_FAULTS:
        found = f"{closed} outages that are over, between --since and --until"
        raise failure(path, found, f"at least {FEWEST_FAULTS} to fit")
    return log


def _bound(clock: Clock, text: str | None, option: str) -> float | None:
    if text is None:
        return None
    try:
        return clock.hours(text)
    except ValueError as error:
        raise failure(Path(option), shown(text), str(error)) from None


def whole_text(path: Path) -> str:
    """The whole file as text without marks; blocks() names what is wrong with its bytes."""
    size, parts = 0, []
    for block in blocks(path):
        size += len(block.data)
        if size > MOST_BYTES:
            raise failure(path, f"more than {MOST_BYTES:,} bytes", "a log of faults")
        try:
            parts.append(block.data.decode("utf-8"))
        except UnicodeDecodeError as error:
            line = block.first_line + block.data.count(b"\n", 0, error.start)
            begin = block.data.rfind(b"\n", 0, error.start) + 1
            found, expected = encoding_fault(block.data[begin : error.end], path)
            raise failure(path, found, expected, line=line) from None
    return "".join(parts)


def _events(path: Path, text: str) -> list[tuple[int, Any]]:
    """Line and value of each element of a JSON list."""
    decoder = json.JSONDecoder(parse_constant=float)
    space = re.compile(r"[\s]*")
    at = space.match(text).end()  # type: ignore[union-attr]
    if text[at : at + 1] != "[":
        raise failure(path, "a JSON object", "a list of events", line=1)
    at += 1
    events: list[tuple[int, Any]] = []
    line, counted = 1, 0
    while True:
        at = space.match(text, at).end()  # type: ignore[union-attr]
        line, counted = line + text.count("\n", counted, at), at
        if text[at : at + 1] == "]":
            break
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            if error.pos >= len(text.rstrip()) or at >= len(text):
                raise failure(
                    path, "a list that ends too early", "a whole file", line=error.lineno
                ) from None
            raise failure(path, f"broken JSON ({error.msg})", "JSON", line=error.lineno) from None
        except RecursionError:
            raise failure(path, "too deep a nesting", "a list of events", line=line) from None
        events.append((line, value))
        at = space.match(text, at).end()  # type: ignore[union-attr]
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] != "]":
            end = text.count("\n") + 1
            at_end = at >= len(text)
            found = "a list that ends too early" if at_end else "something after an event"
            raise failure(path, found, "a comma or ]", line=end if at_end else line)
    if text[at + 1 :].strip():
        raise failure(path, "text after the list", "one list", line=line)
    return events


def _json_faults(
    path: Path, text: str, clock: Clock, findings: Findings, out: LeftOut
) -> list[Fault]:
    """Pair starts and ends of each node; an end goes to the open fault of its type first."""
    seen: set[str] = set()
    waiting: dict[str, list[tuple[float, str, int, str]]] = {}
    faults: list[Fault] = []
    rows = [_event(line, value, clock, findings) for line, value in _events(path, text)]
    findings.check()
    for row in sorted((r for r in rows if r is not None), key=lambda r: (r[1], r[2] in END_WORDS)):
        line, time, word, node, kind, key, raw = row
        if raw in seen:
            out.add("duplicate", line)
            continue
        seen.add(raw)
        if word in START_WORDS:
            waiting.setdefault(node, []).append((time, kind, line, key))
        elif word not in END_WORDS:
            out.add("unknownEvent", line)
        elif not waiting.get(node):
            out.add("endWithoutStart", line)
        else:
            mine = waiting[node]
            at = next((i for i, w in enumerate(mine) if w[3] == key), 0)
            start, begun_kind, begun_line, _ = mine.pop(at)
            faults.append(Fault(start, time, node, begun_kind, begun_line))
    for node, left in waiting.items():
        faults += [Fault(start, None, node, kind, line) for start, kind, line, _ in left]
    return faults


def _event(
    line: int, value: Any, clock: Clock, findings: Findings
) -> tuple[int, float, str, str, str, str, str] | None:
    """Line, time, word, node, class, type as text, and all as text; None with a problem noted."""
    if not isinstance(value, dict):
        findings.add(shown(str(value)), "an object with node_id, event_time, event_type", line=line)
        return None
    missing = [k for k in ("node_id", "event_time", "event_type") if value.get(k) in (None, "")]
    if missing:
        findings.add("nothing", "a value", line=line, column=missing[0])
        return None
    try:
        time = clock.hours(value["event_time"])
    except ValueError as error:
        findings.add(shown(str(value["event_time"])), str(error), line=line, column="event_time")
        return None
    kind = value.get("fault_type")
    name = kind.get("Class") if isinstance(kind, dict) else kind
    key = json.dumps(kind, sort_keys=True, ensure_ascii=False, default=str)
    raw = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return (
        line, time, str(value["event_type"]).strip().lower(), str(value["node_id"]).strip(),
        str(name).strip() if name else "fault", key, raw,
    )  # fmt: skip


def _csv_faults(
    path: Path, text: str, unit: Unit | None, findings: Findings, out: LeftOut
) -> tuple[list[Fault], Clock, list[str]]:
    sample = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=sample.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
    try:
        header = next((row for row in reader if any(c.strip() for c in row)), None)
    except csv.Error as error:
        raise failure(path, f"a broken header ({error})", "names of columns", line=1) from None
    if header is None:
        raise failure(path, "blank lines only", "a header that names the columns")
    place, told = _columns(path, header, reader.line_num)
    clock = Clock(unit or told or Unit.DAYS)
    faults, seen = [], set()
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            findings.add(f"broken CSV ({error})", "closed quotes", line=reader.line_num)
            break
        if row is None:
            break
        if not any(c.strip() for c in row):
            continue
        line = reader.line_num
        if tuple(row) in seen:
            out.add("duplicate", line)
            continue
        seen.add(tuple(row))
        fault = _csv_fault(row, place, len(header), clock, findings, line)
        if fault is not None and fault.end_h is not None and fault.end_h < fault.start_h:
            out.add("endBeforeStart", line)
        elif fault is not None:
            faults.append(fault)
    used = set(place.values())
    return faults, clock, [name for i, name in enumerate(header) if i not in used]


def _columns(path: Path, header: list[str], line: int) -> tuple[dict[str, int], Unit | None]:
    """Place of each column and the unit that the header tells."""
    plain = [re.sub(r"[\s\-]+", "_", name.strip().lower()) for name in header]
    place: dict[str, int] = {}
    units: set[Unit] = set()
    for wanted, names in COLUMNS.items():
        for index, name in enumerate(plain):
            stem, _, tail = name.rpartition("_")
            bracket = re.fullmatch(r"(\w+?)_?[\[(](\w+)[\])]", name)
            if bracket:
                stem, tail = bracket[1], bracket[2]
            if name in names or (stem in names and tail in SUFFIXES):
                if wanted in place:
                    raise failure(path, f"column {wanted} twice", "every column once", line=line)
                place[wanted] = index
                if name not in names and wanted in ("start", "end"):
                    units.add(SUFFIXES[tail])
    missing = [name for name in ("start", "end", "node") if name not in place]
    if missing:
        expected = "start, end, node and perhaps class"
        raise failure(path, f"no column {', '.join(missing)}", expected, line=line)
    if len(units) > 1:
        raise failure(path, "start and end in different units", "one unit", line=line)
    return place, next(iter(units), None)


def _csv_fault(
    row: list[str], place: dict[str, int], width: int, clock: Clock, findings: Findings, line: int
) -> Fault | None:
    if len(row) != width:
        findings.add(f"{len(row)} cells", f"{width} as in the header", line=line)
        return None
    cells = {name: row[index].strip() for name, index in place.items()}
    times: dict[str, float | None] = {"end": None}
    for name in ("start", "end"):
        if name == "end" and cells["end"] == "":
            continue
        try:
            times[name] = clock.hours(cells[name])
        except ValueError as error:
            findings.add(shown(cells[name]), str(error), line=line, column=name)
            return None
    if not cells["node"]:
        findings.add("nothing", "the name of a node", line=line, column="node")
        return None
    start = times["start"]
    assert start is not None  # noqa: S101 - set or returned above
    return Fault(start, times["end"], cells["node"], cells.get("class") or "fault", line)
