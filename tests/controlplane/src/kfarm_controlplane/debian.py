"""Programs from Debian's packages, unpacked into the cache and never installed.

The packages are downloaded by apt with its checks of signatures and unpacked by dpkg-deb; nothing
is started by it and no root is needed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kfarm_controlplane.errors import ControlPlaneUnavailable

DOWNLOAD_S = 300


def unpack(packages: Sequence[str], folder: Path, proof: str) -> None:
    """Unpack packages into a folder, unless a file in it shows that they are there.

    Parameters
    ----------
    proof
        Path of a file within the folder.

    Raises
    ------
    ControlPlaneUnavailable
        When they cannot be had.
    """
    if (folder / proof).is_file():
        return
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise ControlPlaneUnavailable(
            f"no {packages[0]} at hand, and no {missing[0]} to get Debian's.",
            f"install {packages[0]}, or run on Debian or Ubuntu.",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as made:
        work = Path(made)
        for package in _download(packages, work):
            _run(["dpkg-deb", "-x", package.name, "tree"], work)
        # another process may have been faster: whose rename comes first does not matter
        if not (folder / proof).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            (work / "tree").rename(folder)


def _download(packages: Sequence[str], folder: Path) -> list[Path]:
    """Debian's packages; apt's own lists are fetched into the folder where the system's are old."""
    try:
        _run(["apt-get", "download", *packages], folder)
    except ControlPlaneUnavailable:
        (folder / "lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        own = [f"Dir::State::Lists={folder / 'lists'}", f"Dir::Cache={folder / 'cache'}"]
        options = [part for option in own for part in ("-o", option)]
        _run(["apt-get", *options, "update"], folder)
        _run(["apt-get", *options, "download", *packages], folder)
    found = sorted(folder.glob("*.deb"))
    if len(found) != len(packages):
        raise ControlPlaneUnavailable(
            f"apt-get download left {len(found)} of {len(packages)} packages.", "run it by hand."
        )
    return found


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ControlPlaneUnavailable(
            f"{' '.join(command)} took more than {DOWNLOAD_S} s.", "check the package mirror."
        ) from error
    if done.returncode:
        said = " ".join(done.stderr.split())[-300:]
        raise ControlPlaneUnavailable(
            f"{' '.join(command)} failed: {said}.", "run apt-get update, check the package mirror."
        )
