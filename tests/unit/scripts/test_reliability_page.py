"""The page of figures: what was recorded is shown, what was not is said."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from kfarm_controlplane.figures import VARIABLE, record

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    module = importlib.reload(importlib.import_module("reliability"))
    monkeypatch.setattr(module, "KEPT", tmp_path / "reliability.json")
    monkeypatch.setattr(module, "PAGE", tmp_path / "reliability.md")
    return module


def test_nothing_is_recorded_unless_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    record("campaign", {"plans": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_section_is_one_file_and_nan_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "new"))
    record("campaign", {"b": 2, "a": "가"})
    assert (tmp_path / "new/campaign.json").read_text() == '{\n "a": "가",\n "b": 2\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        record("campaign", {"a": float("nan")})
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["campaign.json"]


def test_sections_without_figures_say_so(script: ModuleType) -> None:
    text = script.page({})
    assert text.count("Not measured yet") == len(script.SECTIONS)


def test_text_above_the_marker_is_kept(script: ModuleType) -> None:
    script.PAGE.write_text(f"# Mine\n\n{script.BEGIN}old\n")
    text = script.page({})
    assert text.startswith(f"# Mine\n\n{script.BEGIN}")
    assert "old" not in text
    script.PAGE.write_text(text)
    assert script.check({}) == 0
    script.PAGE.write_text(text.replace("Not measured", "Well measured", 1))
    assert script.check({}) == 1


def test_mappings_become_tables(script: ModuleType) -> None:
    figures = {
        "plans": 1234,
        "refused": ["a", "b|c"],
        "rate": 0.98765,
        "converge_s": {"all": {"p50": 1.5, "p99": 9.25}, "KillBefore": {"p99": 2.0}},
    }
    kept = {
        "campaign": {"command": "try hard", "date": "2026-01-01", "cores": 2, "figures": figures}
    }
    text = script.page(kept)
    assert "`try hard`, 2026-01-01, 2 cores:" in text
    assert "| plans | 1,234 |" in text
    assert "| refused | a, b\\|c |" in text
    assert "| rate | 0.9877 |" in text
    assert "| converge [s] | p50 | p99 |\n|---|---:|---:|\n| all | 1.5 | 9.25 |" in text
    assert "| KillBefore |  | 2 |" in text


def test_a_failed_command_leaves_old_figures(script: ModuleType) -> None:
    kept = {"bugs": {"date": "2026-01-01", "cores": 2, "figures": {"found": 3}}}
    for command in ("false", "true"):  # ends with 1; ends well but records nothing
        section = script.Section("bugs", "Bugs", "…", command)
        assert not script.renew(section, kept)
    assert kept["bugs"]["figures"] == {"found": 3}
    assert not script.KEPT.exists()
    program = 'from kfarm_controlplane.figures import record as r; r("bugs", {"found": 4}); '
    program += 'r("bugs-more", {"tried": 5}); r("bugsy", {"not": "ours"})'
    assert script.renew(
        script.Section("bugs", "Bugs", "…", f"{sys.executable} -c '{program}'"), kept
    )
    found = json.loads(script.KEPT.read_text())["bugs"]["figures"]
    assert found == {"found": 4, "more": {"tried": 5}}
