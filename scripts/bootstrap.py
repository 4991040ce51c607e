"""Put a pinned uv into a virtual environment of its own; needs only Python's standard library.

Debian's Python comes without ``ensurepip``; there the environment is made without pip and filled
by the system's pip, or the one line to type is named.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

REMEDY = "install the Debian packages python3-venv and python3-pip, then run make again"


def main(version: str, target: Path) -> int:
    """Make the environment and install uv into it; returns an exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036  (runs before any check of the version)
        return _fail(f"Python {sys.version.split()[0]} is too old: kfarm needs 3.11 or newer")
    partial = target.with_name(f"{target.name}.partial")
    try:
        venv.EnvBuilder(clear=True, with_pip=True).create(partial)
        pip = [str(partial / "bin" / "python"), "-m", "pip"]
    except (subprocess.CalledProcessError, OSError):
        venv.EnvBuilder(clear=True, with_pip=False).create(partial)
        pip = [sys.executable, "-m", "pip", "--python", str(partial / "bin" / "python")]
    done = subprocess.run([*pip, "install", "-q", f"uv=={version}"], check=False)
    if done.returncode:
        return _fail("uv could not be installed")
    if target.exists():
        return 0
    partial.rename(target)
    return 0


def _fail(what: str) -> int:
    print(f"bootstrap: {what}; {REMEDY}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
