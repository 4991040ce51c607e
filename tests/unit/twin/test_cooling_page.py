"""The page of ``kfarm cooling``: what the table says is what the JSON says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import twin_farms as farms
import yaml
from kfarm_twin.cli import app
from kfarm_twin.figures import brief_span
from typer.testing import CliRunner

EVIL = "</table><script>alert(1)</script>"
WORDS = {"Holds": "Holds", "Throttles": "Throttles", "ShutsDown": "Shuts down"}


def kfarm(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["cooling", *map(str, words)])
    return done.exit_code, done.stdout, done.stderr


def write(path: Path, *clusters: dict[str, Any], **changes: Any) -> Path:
    made = farms.farm(*clusters, **({"site": {"name": EVIL}} | changes))
    models = (made, farms.profile())
    bodies = [json.loads(x.model_dump_json(by_alias=True, exclude_none=True)) for x in models]
    path.write_text(yaml.safe_dump_all(bodies, allow_unicode=True), encoding="utf-8")
    return path


def both(folder: Path, file: Path) -> tuple[dict[str, Any], str]:
    page = folder / "page.html"
    code, out, err = kfarm("-f", file, "--html", page, "-o", "json")
    assert code == 0, err
    assert f"report: {page}" in err
    html = page.read_text(encoding="utf-8")
    assert html.count("<script") == 2  # no data, no code but our own
    assert "src=" not in html
    return dict(json.loads(out)), html


def test_rows_are_those_of_the_json(tmp_path: Path) -> None:
    data, html = both(tmp_path, write(tmp_path / "farm.yaml", farms.cluster(nodes=16)))
    [farm] = data["farms"]
    rows = html.split("<tbody>")[1].split("</tbody>")[0].split("<tr>")[1:]
    assert len(rows) == len(farm["faults"])
    states = [row["state"] for row in farm["faults"]]
    assert "ShutsDown" in states
    assert "Holds" in states
    for row in farm["faults"]:
        mine = [
            html_row
            for html_row in rows
            if f">{WORDS[row['state']]}<" in html_row
            and f"{row['hottest']:.1f} °C" in html_row
            and f"{abs(row['headroom']):.1f} K" in html_row
            and row["rack"].removeprefix("farm-") in html_row
            and row["instances"][0].removeprefix("farm-") in html_row
        ]
        assert len(mine) >= 1, row
        for key in ("timeToThrottle", "timeToShutdown"):
            word = "never" if row[key] is None else f"after {brief_span(row[key])}"
            assert any(word in html_row for html_row in mine), (key, row)
        assert row["message"] in html
    for text in farm["assumptions"]:
        assert text in html
    soonest = brief_span(min(r["timeToShutdown"] for r in farm["faults"] if r["timeToShutdown"]))
    heading = html.split("<h1")[1].split("</h1>")[0]
    assert f"nodes go off {soonest} after CDU" in heading


@pytest.mark.parametrize("plant", [None, {"chillers": 2, "chillerCapacity": "6M", "redundancy": 1}])
def test_farms_without_loops(tmp_path: Path, plant: dict[str, Any] | None) -> None:
    air = {"type": "Air", "supplyTemperature": 22}
    cluster = farms.cluster(nodes=1, cooling=air, feed=None)
    data, html = both(tmp_path, write(tmp_path / "farm.yaml", cluster, plant=plant))
    if plant is None:
        assert data["farms"][0]["faults"] == []
        assert "nothing of its cooling is described that could fail" in html
    else:
        assert "Chiller" in html
        assert {row["fault"] for row in data["farms"][0]["faults"]} == {"Chiller", "Plant"}


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    file = write(tmp_path / "farm.yaml", farms.cluster())
    code, out, err = kfarm("-f", file, "--html", tmp_path / "none" / "page.html")
    assert (code, out) == (2, "")
    assert "page.html" in err
