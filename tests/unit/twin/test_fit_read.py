"""Reading logs of faults: every fault of a file is named by line, or counted by name."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from kfarm_twin.fit import Unit
from kfarm_twin.fit.read import read_log
from kfarm_twin.load import ManifestError


def event(node: str, day: float, kind: str, name: str = "GPU") -> dict[str, Any]:
    return {
        "node_id": node,
        "event_time": day,
        "event_type": kind,
        "fault_type": {"Level": "Hardware Failure", "Class": name, "Desc": "x"},
    }


def pairs(count: int = 6) -> list[dict[str, Any]]:
    made = []
    for index in range(count):
        made.append(event(f"n{index}", index + 1.0, "fault_start"))
        made.append(event(f"n{index}", index + 1.5, "fault_end"))
    return made


def written(path: Path, events: object) -> Path:
    path.write_text(json.dumps(events, indent=1), encoding="utf-8")
    return path


ROWS = "start,end,class,node\n" + "".join(f"{i},{i + 0.5},팬,노드{i}\n" for i in range(1, 7))


def problem(path: Path, **options: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        read_log(path, **options)
    return str(caught.value)


def test_json_events_become_outages(tmp_path: Path) -> None:
    log = read_log(written(tmp_path / "a.json", pairs()))
    assert log.start_h.tolist() == [24.0 * i for i in range(1, 7)]
    assert (log.end_h - log.start_h).tolist() == [12.0] * 6
    assert log.kinds == ("GPU",)
    assert not log.lists_open
    assert (log.since_h, log.until_h) == (0.0 if log.since_h == 0 else 24.0, 6.5 * 24)
    assert log.left_out.as_data() == []


def test_csv_units_come_from_the_header_or_the_option(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Host;down_h;up_h\n" + "".join(f"n{i};{i};{i + 2}\n" for i in range(6)))
    assert (read_log(path).end_h - read_log(path).start_h).tolist() == [2.0] * 6
    path.write_text(ROWS, encoding="utf-8")
    log = read_log(path)
    assert log.kinds == ("팬",)
    assert log.nodes[0] == "노드1"
    assert log.end_h[0] - log.start_h[0] == 12.0
    assert read_log(path, unit=Unit.HOURS).start_h[0] == 1.0


def test_dates_and_marks_and_line_ends(tmp_path: Path) -> None:
    rows = "".join(
        f"2026-01-0{i}T00:00:00+09:00,2026-01-0{i}T03:00:00+09:00,n{i}\r\n" for i in range(1, 9)
    )
    path = tmp_path / "a.csv"
    path.write_bytes("\ufeffstart,end,node\r\n".encode() + rows.encode())
    log = read_log(path, until="2026-01-06T04:00:00+09:00")
    assert (log.end_h - log.start_h).tolist() == [3.0] * 6
    assert log.left_out.count["startedAfter"] == 2
    with gzip.open(tmp_path / "b.csv.gz", "wb") as file:
        file.write(path.read_bytes())
    assert read_log(tmp_path / "b.csv.gz").start_h.size == 8


def test_odd_faults_are_counted_by_name(tmp_path: Path) -> None:
    events = pairs(8)
    events += [
        events[0],  # again
        event("n9", 3.0, "fault_end"),
        event("n9", 3.0, "maintenance"),
        event("n7", 8.2, "fault_start", "Fan"),
        event("n7", 8.7, "fault_end", "Fan"),
    ]
    log = read_log(written(tmp_path / "a.json", events))
    counts = {one["reason"]: one["count"] for one in log.left_out.as_data()}
    assert counts == {"duplicate": 1, "endWithoutStart": 1, "unknownEvent": 1, "overlapping": 1}
    assert all(one["lines"] for one in log.left_out.as_data())
    assert (log.faults, log.start_h.size) == (9, 8)
    assert log.end_h[-1] == pytest.approx(8.7 * 24)


def test_ends_before_starts_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(ROWS + "9,8,x,n9\n", encoding="utf-8")
    assert read_log(path).left_out.as_data()[0]["lines"] == [8]


def test_an_end_goes_to_the_open_fault_of_its_type(tmp_path: Path) -> None:
    events = pairs()
    events += [event("a", 1, "fault_start", "Fan"), event("a", 2, "fault_start", "NIC")]
    events += [event("a", 2.5, "fault_end", "Fan"), event("a", 4, "fault_end", "NIC")]
    log = read_log(written(tmp_path / "a.json", events))
    mine = log.node == log.nodes.index("a")
    assert log.start_h[mine].tolist() == [24.0]
    assert log.end_h[mine].tolist() == [96.0]


def test_open_faults_say_that_the_log_lists_them(tmp_path: Path) -> None:
    log = read_log(written(tmp_path / "a.json", [*pairs(), event("z", 6, "fault_start")]))
    assert log.lists_open
    assert log.is_open.sum() == 1
    assert log.end_h[log.is_open].tolist() == [log.until_h]


def test_a_log_as_it_was_earlier_lists_what_was_closed_then(tmp_path: Path) -> None:
    log = read_log(written(tmp_path / "a.json", pairs(9)), until="6.2")
    counts = {one["reason"]: one["count"] for one in log.left_out.as_data()}
    assert counts == {"endedAfter": 1, "startedAfter": 3}
    assert log.start_h.size == 5
    assert log.until_h == pytest.approx(6.2 * 24)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"event_time": float("nan")}, "finite"),
        ({"event_time": "soon"}, "'soon'"),
        ({"event_time": 1e9}, "--unit"),
        ({"event_time": True}, "time"),
        ({"node_id": ""}, "node_id"),
    ],
)
def test_a_bad_value_is_told_with_its_line(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    events = pairs()
    events[3] |= change
    told = problem(written(tmp_path / "a.json", events))
    assert said in told
    assert "line 32" in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n\n", "blank"),
        ("{}", "list"),
        ("[1, 2]", "object"),
        ("[]", "usable faults"),
        ("start,end\n1,2\n", "no column node"),
        ("start,start,end,node\n", "twice"),
        ("start_h,end_d,node\n1,2,a\n", "units"),
        ("start,end,node\n1,2\n", "2 cells"),
        ("start,end,node\n1,2,\n", "name of a node"),
        ('start,end,node\n1,"2,a\n', "broken CSV"),
        ("start,end,node\nx,2,a\n", "'x'"),
        ("start,end,node\n1,2026-01-01,a\n", "all times"),
        ("start,end,node\n1,2,a\n", "at least 5"),
        ("start,end,node\n" + "".join(f"{i},,n{i}\n" for i in range(9)), "0 outages that are over"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.log"
    path.write_text(text)
    assert said in problem(path)


def test_a_cut_file_is_refused_with_its_line(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.json", pairs()).read_text()
    for cut in (len(whole) // 2, len(whole) - 3, whole.rindex("}") - 5, whole.rindex(",\n {") + 1):
        path = tmp_path / "cut.json"
        path.write_text(whole[:cut])
        told = problem(path)
        assert "ends too early" in told or "broken JSON" in told
        assert "line " in told
    packed = tmp_path / "c.json.gz"
    packed.write_bytes(gzip.compress(whole.encode())[:-20])
    assert "end too early" in problem(packed)


def test_times_to_look_at_are_checked(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", pairs())
    assert "--since" in problem(path, since="never")
    assert "0 outages" in problem(path, since="100")
