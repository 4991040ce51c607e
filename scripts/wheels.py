"""Build the wheels of kfarm so that the same source gives the same bytes, whoever builds it.

``scripts/wheels.py FOLDER``. Times in the archives are `EPOCH`, as in the image; hatchling sorts
the files and sets their modes. It is called as it is locked, without an environment of its own, so
that nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("crds", "twin", "operator")
EPOCH = "1767225600"
"""2026-01-01; the image's default too."""


def wheels(folder: Path) -> list[Path]:
    """Build one wheel for each part into `folder`."""
    for part in PARTS:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": EPOCH}
        subprocess.run(
            command, cwd=ROOT / part, env=environment, check=True, stderr=subprocess.DEVNULL
        )
    return sorted(folder.glob("kfarm_*.whl"))


def main() -> int:
    """Build and print the digests, as sha256sum does."""
    if len(sys.argv) != 2:
        print("usage: scripts/wheels.py FOLDER", file=sys.stderr)
        return 2
    for wheel in wheels(Path(sys.argv[1]).absolute()):
        print(f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
