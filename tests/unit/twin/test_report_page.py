"""The page of the report: well formed, loads nothing from outside, and escapes what it shows."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from kfarm_api.plan import AssumedInput, AssumptionResult, CheckResult, SurvivalResult
from kfarm_twin.pictures.floor import RackCell
from kfarm_twin.report_page import render
from kfarm_twin.report_view import (
    Distribution,
    Line,
    ReportView,
    influences,
    thin,
)
from kfarm_twin.request import MetricSummary, Verdict

EVIL = "</script><script>alert('사전학습 & <b>')</script>"
VOID = {"meta", "link", "br", "hr", "img", "input", "wbr", "base", "source"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; fails where a tag is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text.append(data)

    @property
    def visible(self) -> str:
        return "".join(self.text)


def check(metric: str, result: str = "Passed") -> CheckResult:
    return CheckResult.model_validate(
        {
            "metric": metric,
            "bound": "≥ 0.9",
            "quantile": 95,
            "confidence": 95,
            "result": result,
            "estimate": "0.93",
            "low": "0.92",
            "high": "0.94",
            "futuresMet": 64,
            "futures": 64,
            "message": f"about {metric}: {EVIL}",
        }
    )


def assumed(name: str, low: str, high: str, **more: object) -> AssumedInput:
    figures = {"unit": "K/W", "stated": "0.04", "low": "0.03", "high": "0.05", "check": "ettr"}
    margins = {"marginStated": "1.000", "marginLow": low, "marginHigh": high}
    told = {"input": name, "name": name, "message": f"about {name}"}
    return AssumedInput.model_validate({**told, **figures, **margins, **more})


ASSUMED = AssumptionResult(
    draws=64,
    approving=57,
    futures=16,
    inputs=[
        assumed(EVIL, "1.400", "-0.200", unknown=True, flips=True, sought=True, breakEven="0.048"),
        assumed("moves-nothing", "1.000", "1.001"),
    ],
    message="57 of 64",
)


def sample() -> ReportView:
    verdict = Verdict(
        verdict="Rejected",
        reason="ChecksFailed",
        message=f"the message {EVIL}",
        checks=[check("ettr"), check("it_power_peak", "Failed"), check("x", "Undecided")],
        survives=[
            SurvivalResult(
                fault="CduPump", instances=4, survived=3, result="Failed", worst=EVIL, message=EVIL
            )
        ],
        assumptions=ASSUMED,
        futures=64,
        seed=42,
        horizon="2160h",
        worst_future=17,
        inputs_digest="sha256:abc",
        estimates={"ettr": MetricSummary(unit="1", applicable=64, mean=0.93)},
        warnings=[EVIL],
    )
    rack = RackCell(EVIL, EVIL, 0, 0, 0, EVIL, 4, 2, 24.0, 61.0, 85.0, 50e3, 60e3)
    return ReportView(
        title=EVIL,
        verdict=verdict,
        command=f"kfarm validate -f '{EVIL}'",
        facts=[("Policy", EVIL)],
        racks=[rack, RackCell("c", "r1", 0, 0, 1, None, 4, 0, None, None, None, None, None)],
        lines=[Line(EVIL, "W", [0.0, 1.0], [1.0, None], [(EVIL, 2.0)])],
        distributions=[Distribution("ettr", EVIL, "1", [0.9, 0.95], 0.9, "atLeast", 95)],
        assumptions=influences(verdict),
    )


@pytest.fixture(scope="module")
def html() -> str:
    return render(sample())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    parser = Page()
    parser.feed(html)
    parser.close()
    return parser


def test_the_page_is_well_formed(html: str, page: Page) -> None:
    assert html.startswith("<!DOCTYPE html>")
    assert page.open == []
    assert ("html", "lang", "en") in page.attributes
    assert ("meta", "charset", "utf-8") in page.attributes


def test_the_page_loads_nothing(html: str, page: Page) -> None:
    loading = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}
    assert [a for a in page.attributes if a[1] in loading] == []
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    assert "url(" not in style.group(1)
    assert "@import" not in style.group(1)


def test_names_cannot_become_code(page: Page) -> None:
    """Three scripts of ours and no other, whatever the names hold."""
    assert len(page.scripts) == 3
    assert "alert(" not in page.scripts[1] + page.scripts[2]
    assert EVIL in page.visible
    data = json.loads(page.scripts[0])
    assert data["racks"][0]["label"] == EVIL
    assert data["lines"][0]["title"] == EVIL
    assert [bar["name"] for bar in data["assumptions"]] == [EVIL]


def test_the_page_says_everything(page: Page) -> None:
    for result in sample().verdict.checks:
        assert result.message in page.visible
        assert result.metric in page.visible
    for words in (
        "Rejected",
        "ChecksFailed",
        "3 of 4",
        "CduPump",
        "sha256:abc",
        "future 17 of seed 42",
        "kfarm validate -f",
        "64 of 64",
        "0.92 … 0.94",
        "57 of 64 sets of inputs",
        "0.03 … 0.05",
        "0.048",
        "no source",
    ):
        assert words in page.visible


def test_what_is_missing_is_left_out() -> None:
    verdict = sample().verdict.model_copy(
        update={
            "checks": [],
            "survives": [],
            "assumptions": None,
            "estimates": {},
            "worst_future": None,
        }
    )
    view = ReportView("t", verdict, "kfarm", [], [], [], [])
    parser = Page()
    html = render(view)
    parser.feed(html)
    assert parser.open == []
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["Reproduce"]


def test_only_what_moves_the_margin_is_drawn() -> None:
    [bar] = influences(sample().verdict)
    assert (bar.stated, bar.low, bar.high, bar.unknown) == (1.0, 1.4, -0.2, True)
    assert bar.high_text == "0.05 K/W"


def test_thinning_keeps_the_ends() -> None:
    assert thin(range(5), 10) == [0, 1, 2, 3, 4]
    kept = thin(range(100_000), 100)
    assert (kept[0], kept[-1], len(kept)) == (0, 99_999, 100)
