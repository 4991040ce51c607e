"""What an image brings is used where it lies, and nothing is compiled a second time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kfarm_twin.given_kernels import VARIABLE, link_given_kernels, link_tree

RUN = """
from kfarm_twin.given_kernels import link_given_kernels
print(link_given_kernels())
import numpy as np
from kfarm_twin.kernels.fleet_measure import sort
values = np.array([3, 1, 2])
sort(values, 3)
print(*values)
"""


def test_files_become_links_in_private_folders(tmp_path: Path) -> None:
    given, cache = tmp_path / "given", tmp_path / "cache/kernels"
    (given / "digest/module").mkdir(parents=True)
    (given / "digest/module/index.nbi").write_bytes(b"index")
    assert link_tree(given, cache) == 1
    link = cache / "digest/module/index.nbi"
    assert link.is_symlink()
    assert link.read_bytes() == b"index"
    assert link.parent.stat().st_mode & 0o777 == 0o700
    assert link_tree(given, cache) == 0


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    given, cache = tmp_path / "given", tmp_path / "cache"
    for folder, text in ((given, "old"), (cache, "own")):
        folder.mkdir()
        (folder / "index.nbi").write_text(text)
    (given / "later.nbc").write_text("code")
    assert link_tree(given, cache) == 1
    assert (cache / "index.nbi").read_text() == "own"


def test_a_cache_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "given/digest").mkdir(parents=True)
    (tmp_path / "file").touch()
    assert link_tree(tmp_path / "given", tmp_path / "file" / "cache") == 0


@pytest.mark.parametrize("unset", [VARIABLE, "KFARM_CACHE"])
def test_without_an_image_nothing_happens(
    unset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    monkeypatch.setenv("KFARM_CACHE", str(tmp_path / "cache"))
    assert link_given_kernels() == 0
    monkeypatch.delenv(unset)
    assert link_given_kernels() == 0
    assert not (tmp_path / "cache").exists()


def test_numba_loads_through_links_and_writes_nothing(tmp_path: Path) -> None:
    """Compiled once into what stands for the image, then used from another, empty cache."""

    def run(**environment: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", RUN],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    filled = run(KFARM_CACHE=str(tmp_path / "image"))
    given, cache = tmp_path / "image/kernels", tmp_path / "pod"
    brought = [path for path in given.rglob("*") if path.is_file()]
    stamps = {path: path.stat().st_mtime_ns for path in brought}
    used = run(KFARM_CACHE=str(cache), **{VARIABLE: str(given)})
    assert filled == ["0", "1", "2", "3"]
    assert used == [str(len(brought)), "1", "2", "3"]
    assert brought
    assert all(path.is_symlink() for path in cache.rglob("*") if not path.is_dir())
    assert {path: path.stat().st_mtime_ns for path in brought} == stamps
