"""The page of ``kfarm energy``: its figures are those of the JSON, and its diagram balances."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import twin_farms as farms
import yaml
from kfarm_twin.cli import app
from kfarm_twin.energy_flow import flow_of, power_flow
from kfarm_twin.energy_result import Link
from kfarm_twin.pictures.sankey import PowerBranch, balance
from typer.testing import CliRunner

EVIL = "</pre><script>alert('해남 \u202e & <b>')</script>"
PART = "<b>메모리</b>"
STAGES = [{"name": EVIL, "at": "Node", "efficiency": [{"load": 50, "efficiency": "94"}]}]
SITE_STAGES = [
    {"name": "ups", "at": "Feed", "efficiency": [{"load": 50, "efficiency": "96"}]},
    {"name": "transformer", "at": "Site", "efficiency": [{"load": 50, "efficiency": "99"}]},
]


class Words(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.scripts = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        assert tag != "link"
        assert not any(name in ("src", "href") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def kfarm(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["energy", *map(str, words)])
    return done.exit_code, done.stdout, done.stderr


def write(path: Path, *clusters: dict[str, Any], **changes: Any) -> Path:
    made = farms.farm(*clusters, **({"site": {"name": EVIL}} | changes))
    parts = [
        {"name": "Nodes", "idle": "200", "loaded": "900"},
        {"name": PART, "idle": "1", "loaded": "500"},
    ]
    overhead = {"idle": "2k", "loaded": "6300", "parts": parts}
    device = farms.profile(nodeOverhead=overhead, rates={"bf16": "2250T"})
    models = (made, device)
    bodies = [json.loads(x.model_dump_json(by_alias=True, exclude_none=True)) for x in models]
    path.write_text(yaml.safe_dump_all(bodies, allow_unicode=True), encoding="utf-8")
    return path


def both(folder: Path, file: Path, *words: object) -> tuple[dict[str, Any], Words]:
    page = folder / "page.html"
    code, out, err = kfarm("-f", file, "--html", page, "-o", "json", *words)
    assert code == 0, err
    assert f"report: {page}" in err
    return dict(json.loads(out)), Words(page.read_text(encoding="utf-8"))


def known(value: float) -> str:
    return f"{float(f'{value:.4g}'):,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def test_figures_are_those_of_the_json(tmp_path: Path) -> None:
    liquid = farms.cluster(feed={"nodesPerPdu": 4, "feeds": 2, "stages": STAGES})
    file = write(
        tmp_path / "farm.yaml", liquid,
        power={"tariff": "kepco-industrial", "stages": SITE_STAGES, "otherLoad": "5k"},
    )  # fmt: skip
    data, page = both(tmp_path, file)
    [farm] = data["farms"]
    for text in (
        f"{farm['pue']:.4f}",
        f"{farm['wue']:.3f} l/kWh",
        f"{farm['freeCoolingHours']:,} h, in part {farm['mixedHours']:,} h",
        f"{farm['freeCoolingHours']:,} h without chillers",
        known(farm["carbonKg"] / 1000) + " t",
        farm["tariff"],
        farm["climate"],
        EVIL,
    ):
        assert text in page.text, text
    for month in farm["months"]:
        assert f"{month['pue']:.4f}" in page.text
        assert f"{month['freeCoolingHours']:,}" in page.text
        assert f"{month['facilityKwh'] / 1000:,.1f}" in page.text
    for text in farm["assumptions"]:
        assert text in page.text
    for name in ("Transformer loss", "UPS loss", "Power supply loss", "Chillers", "Other load"):
        [watts] = [link["watts"] for link in farm["links"] if link["target"] == name]
        assert name in page.text
        assert any(f"{watts / 1000 + off:,.3f} kW" in page.text for off in (0, 0.001, -0.001))
    assert page.scripts == 2  # the empty data, and no more of ours


def test_the_diagram_carries_what_the_links_carry(tmp_path: Path) -> None:
    from kfarm_twin.energy import energy_year
    from kfarm_twin.energy_result import Work

    made = farms.farm(
        farms.cluster(feed={"nodesPerPdu": 4, "stages": STAGES}), power={"stages": SITE_STAGES}
    )
    year = energy_year(made, [farms.profile()], Work.steady(70.0))
    flow = power_flow(year)
    total = math.fsum(link.watts for link in year.links if link.source == "Grid")
    assert math.fsum(end.power_w for end in flow.ends()) == pytest.approx(total, rel=1e-12)
    assert total == pytest.approx(year.facility_kwh * 1000 / year.hours, rel=1e-9)
    found = balance(flow)
    for station in found.root.walk():
        if station.children:
            assert station.units == sum(child.units for child in station.children)
    kinds = {end.kind: 0.0 for end in flow.ends()}
    for end in flow.ends():
        kinds[end.kind] += end.power_w
    uses = {name: kwh * 1000 / year.hours for name, kwh in year.uses_kwh.items()}
    cooling = sum(uses[n] for n in ("chillers", "heatRejection", "pumps", "airHandlers", "cdus"))
    assert kinds["cooling"] == pytest.approx(cooling, rel=1e-9)


@pytest.mark.parametrize("name", ["Nodes", "Grid", "UPS", "Cooling", "Chillers", "Racks", EVIL])
def test_a_part_may_bear_the_name_of_a_station(name: str) -> None:
    links = [
        Link("Grid", "Cooling", 3.0),
        Link("Cooling", "Chillers", 3.0),
        Link("Grid", "UPS", 10.0),
        Link("UPS", "PDUs", 10.0),
        Link("PDUs", "Racks", 10.0),
        Link("Racks", "Nodes", 10.0),
        Link("Nodes", name, 4.0),
        Link("Nodes", "Accelerators x", 6.0),
    ]
    flow = flow_of(links)
    assert sorted(end.power_w for end in flow.ends()) == [3.0, 4.0, 6.0]
    assert [part.name for part in flow.parts] == ["Nodes", "Chillers"]


def test_stations_that_lose_nothing_are_left_out_and_the_grid_stays() -> None:
    links = [
        Link("Grid", "UPS", 5.0),
        Link("UPS", "UPS loss", 1.0),
        Link("UPS", "PDUs", 4.0),
        Link("PDUs", "Racks", 4.0),
        Link("Racks", "Switches", 4.0),
    ]
    flow = flow_of(links)
    assert flow.name == "Grid"
    [ups] = flow.parts
    assert [part.name for part in ups.parts] == ["Racks", "UPS loss"]
    assert flow_of([]) == PowerBranch("Grid")


def test_farms_without_plant_liquid_tariff_or_work(tmp_path: Path) -> None:
    air = {"type": "Air", "supplyTemperature": 22}
    file = write(tmp_path / "farm.yaml", farms.cluster(nodes=1, cooling=air, feed=None), plant=None)
    data, page = both(tmp_path, file, "--load", 0, "--busy", 0)
    [farm] = data["farms"]
    assert farm["energyCost"] is None
    assert "Energy cost" not in page.text
    assert f"{farm['pue']:.4f}" in page.text


def test_a_span_that_is_no_year_has_no_curve(tmp_path: Path) -> None:
    hours = tmp_path / "hours.csv"
    hours.write_text("load\n" + "80\n" * 48, encoding="utf-8")
    file = write(tmp_path / "farm.yaml", farms.cluster())
    data, page = both(tmp_path, file, "--hours", hours)
    assert data["farms"][0]["hours"] == 48
    assert "PUE of the span" in page.text
    assert "PUE over the year" not in page.text


def test_air_and_liquid_side_by_side(tmp_path: Path) -> None:
    cluster = farms.cluster(nodes=64, nodePrice="500M", lifetimeYears=5)
    file = write(tmp_path / "farm.yaml", cluster, power={"tariff": "kepco-industrial"})
    data, page = both(tmp_path, file, "--cooling", "Air,Liquid")
    air, liquid = data["farms"]
    assert "Side by side" in page.text
    assert f"PUE {air['pue']:.3f}" in page.text
    assert f"PUE {liquid['pue']:.3f}" in page.text
    word = "less" if liquid["facilityKwh"] < air["facilityKwh"] else "more"
    assert f"{word} than air" in page.text
    assert "--cooling Air,Liquid" in page.text
    assert len(data["ranking"]) == 2
    for row in data["ranking"]:
        assert f"{row['perWatt'] / 1e12:.4g} Top/J" in page.text
        assert f"{row['perCurrency'] / 1e15:.4g} Pop" in page.text


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    file = write(tmp_path / "farm.yaml", farms.cluster())
    code, out, err = kfarm("-f", file, "--html", tmp_path / "none" / "page.html")
    assert code == 2
    assert out == ""
    assert "none" in err
