"""Find the pinned binaries, or build them into the cache."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kfarm_controlplane.errors import BuildError, ControlPlaneError, ControlPlaneUnavailable
from kfarm_controlplane.families import Family, families
from kfarm_controlplane.process import kill_child, start_child
from kfarm_controlplane.progress import duration, say, step
from kfarm_controlplane.toolchain import Toolchain, find_toolchain

_NETWORK = re.compile(
    r"dial tcp|no such host|i/o timeout|connection refused|network is unreachable|proxyconnect"
    r"|TLS handshake|403 Forbidden|404 Not Found|module lookup disabled|not available"
    r"|context deadline exceeded|bad gateway|Service Unavailable|server misbehaving",
    re.IGNORECASE,
)


def cache_directory() -> Path:
    """Return ``${KFARM_CACHE:-$XDG_CACHE_HOME or ~/.cache}/kfarm/controlplane``."""
    chosen = os.environ.get("KFARM_CACHE") or os.environ.get("XDG_CACHE_HOME")
    base = Path(chosen) if chosen else Path.home() / ".cache"
    return base.expanduser().absolute() / "kfarm" / "controlplane"


def family_directory(family: Family, cache: Path | None = None) -> Path:
    """Return the cache folder that holds, or will hold, a family's binaries."""
    return (cache or cache_directory()) / f"{family.name}-{family.digest}"


def build(
    names: Iterable[str] | None = None,
    *,
    known: Mapping[str, Family] | None = None,
    cache: Path | None = None,
) -> dict[str, Path]:
    """Return the path of each binary, building what is missing.

    ``$KUBEBUILDER_ASSETS`` and PATH are looked at first, then the cache. An
    interrupted build leaves nothing behind, and two processes never build the
    same family at once.

    Parameters
    ----------
    names
        Families or binaries wanted; all when None.
    known
        Families to choose from; the pinned ones when None.
    cache
        Cache folder; `cache_directory` when None.

    Returns
    -------
    dict
        Binary name to path, for every binary of the families wanted.

    Raises
    ------
    ControlPlaneUnavailable
        If something is missing and there is no Go or no module proxy.
    BuildError
        If the build itself fails.
    """
    known = families() if known is None else known
    cache = cache or cache_directory()
    wanted = _select(names, known)
    found = {name: path for family in wanted for name, path in locate(family, cache).items()}
    missing = [family for family in wanted if not family.binaries.keys() <= found.keys()]
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        go = find_toolchain(cache)
        listed = ", ".join(f"{family.name} {family.version}" for family in missing)
        say(f"Building {listed} into {cache}")
        if any(family.name == "kubernetes" for family in missing):
            say("The first build takes about ten minutes; later starts use the cache.")
        for family in missing:  # one after the other: linking needs 2 GB
            found |= _build_family(family, cache, go)
    return found


def locate(family: Family, cache: Path | None = None) -> dict[str, Path]:
    """Return the binaries of a family that need no build."""
    cached = family_directory(family, cache)
    found = {name: cached / name for name in family.binaries} if cached.is_dir() else {}
    for name in family.binaries:
        if elsewhere := _elsewhere(family, name):
            found[name] = elsewhere
    return found


def _select(names: Iterable[str] | None, known: Mapping[str, Family]) -> list[Family]:
    if names is None:
        return list(known.values())
    owners = {binary: family for family in known.values() for binary in family.binaries}
    chosen: dict[str, Family] = {}
    for name in names:
        family = known.get(name) or owners.get(name)
        if family is None:
            raise ControlPlaneError(
                f"there is no family or binary named {name!r}.",
                f"choose from {', '.join([*known, *owners])}.",
            )
        chosen[family.name] = family
    return [family for family in known.values() if family.name in chosen]


def _elsewhere(family: Family, name: str) -> Path | None:
    """Return a binary of the pinned minor version from the usual places."""
    if name not in family.version_arguments:
        return None
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    candidates = [Path(assets) / name] if assets else []
    if on_path := shutil.which(name):
        candidates.append(Path(on_path))
    for candidate in candidates:
        if candidate.is_file() and _has_version(candidate, family, name):
            return candidate.absolute()
    return None


def _has_version(binary: Path, family: Family, name: str) -> bool:
    command = [str(binary), *family.version_arguments[name]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    match = re.search(r"v?(\d+\.\d+)\.\d+", done.stdout + done.stderr)
    return match is not None and match[1] == family.minor


@contextmanager
def _locked(family: Family, cache: Path) -> Iterator[None]:
    with (cache / f".{family.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  {family.name}: another process is building it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_family(family: Family, cache: Path, go: Toolchain) -> dict[str, Path]:
    target = family_directory(family, cache)
    prefix = f".{family.name}.partial-"
    with _locked(family, cache):
        for left in cache.glob(f"{prefix}*"):  # of a build that was killed; we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        if not target.is_dir():
            partial = Path(tempfile.mkdtemp(prefix=prefix, dir=cache))
            try:
                _compile(family, partial, go)
                _copy_assets(family, partial, go)
                partial.chmod(0o755)
                partial.rename(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return {name: target / name for name in family.binaries}


def _compile(family: Family, into: Path, go: Toolchain) -> None:
    command = [str(go.go), "build", "-v", *family.build_flags, "-o", f"{into}/"]
    command += family.binaries.values()
    tail: list[str] = []
    with step(family.name, _count_packages(family, go)) as shown:
        child = start_child(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=family.directory,
            env=go.environment(),
        )
        try:
            for raw in child.stderr or ():
                line = raw.decode(errors="replace").rstrip()
                tail = [*tail[-19:], line]
                if "go: downloading" not in line:
                    shown.advance()
            if child.wait():
                raise _explain(family, "\n".join(tail), shown.elapsed)
        finally:
            kill_child(child)
            if child.stderr is not None:
                child.stderr.close()
    for name, package in family.binaries.items():
        built = into / _executable(package)
        if built.name != name:
            built.rename(into / name)


def _executable(package: str) -> str:
    """Return the file name ``go build`` chooses: the last element that is no version."""
    parts = package.split("/")
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]


def _count_packages(family: Family, go: Toolchain) -> int:
    """Return how many packages a build compiles; downloads the modules on the way."""
    say(f"  {family.name}: fetching modules")
    command = ["list", "-mod=readonly", "-deps", *family.binaries.values()]
    return len(_go(family, go, command).splitlines())


def _copy_assets(family: Family, into: Path, go: Toolchain) -> None:
    if family.assets is None:
        return
    module, folder = family.assets
    found = _go(family, go, ["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]).strip()
    shutil.copytree(Path(found) / folder, into / folder, copy_function=shutil.copyfile)
    for path in (into / folder).rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # the module cache is read-only


def _go(family: Family, go: Toolchain, arguments: list[str]) -> str:
    done = subprocess.run(
        [str(go.go), *arguments],
        cwd=family.directory,
        env=go.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise _explain(family, done.stderr, duration(0))
    return done.stdout


def _explain(family: Family, output: str, elapsed: str) -> ControlPlaneError:
    lines = [line for line in output.strip().splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if _NETWORK.search(line)), None)
    if last is not None:
        return ControlPlaneUnavailable(
            f"{family.name} is not built yet and its Go modules cannot be fetched "
            f"({last.strip()}).",
            "allow the Go module proxy (GOPROXY), or put binaries of the pinned versions into "
            "$KUBEBUILDER_ASSETS, or name an existing cluster in $KFARM_TEST_KUBECONFIG.",
        )
    shown = "\n".join(lines[-12:])
    return BuildError(
        f"go build of {family.name} failed in {family.directory} after {elapsed}:\n{shown}\n",
        "read the Go error above; free memory (3 GB) and disk (6 GB) are the usual causes.",
    )
