"""Kernels compiled in processes beside other work, with the twin itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from kfarm_controlplane import kernels
from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.kernels import PARTS, Kernels


def compiling() -> list[str]:
    """Commands of this process's children that run parts of the warm-up."""
    children = [
        pid
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    ]
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in children]
    return [command for command in commands if "kfarm_twin.warm" in command]


def test_parts_run_at_once_and_are_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_TELL_S", 0.0)
    log = tmp_path / "kernels.log"
    with Kernels(log) as begun:
        assert len(compiling()) == len(PARTS)
        begun.wait()
        assert not compiling()
    assert log.read_text() == ""
    assert f"kernels: 0 of {len(PARTS)} parts compiled" in capsys.readouterr().err


def test_a_part_that_fails_says_where_to_read(tmp_path: Path) -> None:
    log = tmp_path / "kernels.log"
    with (
        pytest.raises(ControlPlaneError, match=f"could not be compiled.*{log}"),
        Kernels(log, ("warm_nothing",)) as begun,
    ):
        begun.wait()
    assert "ImportError" in log.read_text()


def test_nobody_goes_on_compiling_for_a_block_that_was_left(tmp_path: Path) -> None:
    with Kernels(tmp_path / "kernels.log"):
        assert compiling()
    assert not compiling()
