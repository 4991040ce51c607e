"""A Docker daemon for tests: the one at hand, else one of our own from Debian's packages.

Our own lives in namespaces of processes and mounts of its own, so that its containers and mounts
end with it whatever happens, and serves one unix socket in a temporary folder. What a kernel keeps
beyond that, empty cgroups and bridges, is taken away at its end, or when the next one starts.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kfarm_controlplane.build import cache_directory
from kfarm_controlplane.cluster import wait_until
from kfarm_controlplane.debian import unpack
from kfarm_controlplane.errors import ControlPlaneError, ControlPlaneUnavailable
from kfarm_controlplane.process import Component

PACKAGES = ("docker.io", "containerd", "runc")
COMMAND_S = 120.0
START_S = 60.0
STOP_S = 20.0
EMPTY_TAR = bytes(1024)
"""The image of containers that bring their programs as volumes."""
_PREFIX = "kfarm-docker-"
_BRIDGE = "kfarm"
_CGROUPS = Path("/sys/fs/cgroup")
_NAMESPACES = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")


@dataclass(frozen=True)
class Docker:
    """A daemon that answers.

    Attributes
    ----------
    command
        Arguments that begin each command.
    bridge
        Name for the bridge of a network that is made; None leaves it to the daemon.
    """

    command: tuple[str, ...]
    bridge: str | None = None

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run a command and return what it printed.

        Raises
        ------
        ControlPlaneError
            When it ends with an error.
        """
        done = subprocess.run(
            [*self.command, *arguments],
            input=stdin, capture_output=True, check=False, timeout=COMMAND_S,
        )  # fmt: skip
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise ControlPlaneError(
                f"docker {' '.join(arguments)} ended with {done.returncode}: {said}.",
                "look at the daemon's log.",
            )
        return done.stdout.decode().strip()

    @property
    def answers(self) -> bool:
        """Whether a daemon is there."""
        try:
            self("info")
        except (ControlPlaneError, OSError, subprocess.SubprocessError):
            return False
        return True


@contextlib.contextmanager
def docker() -> Iterator[Docker]:
    """A daemon for a ``with``: that of ``$DOCKER_HOST`` or the usual socket, else our own.

    Raises
    ------
    ControlPlaneUnavailable
        When there is none and none can be started.
    """
    at_hand = Docker(("docker",))
    if at_hand.answers:
        yield at_hand
        return
    with _our_own(_programs()) as own:
        yield own


def refusal(daemon: Docker, program: Path) -> str | None:
    """Why no container can be run here though a daemon answers; None: one was run.

    Parameters
    ----------
    program
        A program that is linked statically and knows ``--version``.
    """
    name = f"{_PREFIX}probe-{os.getpid()}"
    bridge = ("--opt", f"com.docker.network.bridge.name={daemon.bridge}") if daemon.bridge else ()
    try:
        daemon("import", "-", name, stdin=EMPTY_TAR)
        daemon("network", "create", *bridge, name)
        daemon("run", "--rm", "--network", name, "--volume", f"{program}:/program:ro", name,
               "/program", "--version")  # fmt: skip
    except (ControlPlaneError, subprocess.SubprocessError) as error:
        return f"a Docker daemon answers, but runs no container: {error}"
    finally:
        for thing in (("network", "rm", name), ("image", "rm", "--force", name)):
            with contextlib.suppress(ControlPlaneError, subprocess.SubprocessError):
                daemon(*thing)
    return None


def _programs() -> Path:
    """Folder into which Debian's packages are unpacked."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        raise ControlPlaneUnavailable(
            "no Docker daemon answers, and one of our own takes root, unshare and ip.",
            "start Docker, or set DOCKER_HOST.",
        )
    folder = cache_directory().parent / "docker"
    unpack(PACKAGES, folder, "usr/sbin/dockerd")
    return folder


@contextlib.contextmanager
def _our_own(programs: Path) -> Iterator[Docker]:
    _sweep()
    number = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{number}-"))
    socket = f"unix://{folder / 'socket'}"
    client = Docker((str(programs / "usr/bin/docker"), "-H", socket), f"{_BRIDGE}{number}")
    path = f"{programs / 'usr/sbin'}:{programs / 'usr/bin'}:{os.environ.get('PATH', '')}"
    daemon = Component(
        "dockerd",
        [
            *_NAMESPACES, str(programs / "usr/sbin/dockerd"), "--host", socket,
            "--data-root", str(folder / "data"), "--exec-root", str(folder / "run"),
            "--pidfile", str(folder / "pid"), "--cgroup-parent", f"/{_PREFIX}{number}",
            # networks are made by whoever needs one; nothing is to reach the outside
            "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
            "--bridge=none", "--storage-driver=vfs",
        ],
        folder / "dockerd.log",
        {"PATH": path},
    )  # fmt: skip
    try:
        daemon.start()
        _wait(daemon, client)
        yield client
    finally:
        daemon.stop(STOP_S)
        _tidy(number)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(daemon: Component, client: Docker) -> None:
    remedy = "run where cgroups and namespaces may be made."
    try:
        wait_until(lambda: client.answers or not daemon.running, START_S, "Docker answers")
    except ControlPlaneError as error:
        raise ControlPlaneUnavailable(f"dockerd does not answer: {error}", remedy) from error
    if not daemon.running:
        raise ControlPlaneUnavailable(f"dockerd ended: {daemon.tail()}.", remedy)


def _sweep() -> None:
    """Take away what daemons of processes that are gone left behind."""
    temporary = Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")
    for path in (*temporary, *_cgroups("*")):
        match = re.fullmatch(rf"{_PREFIX}(\d+)(-\w+)?", path.name)
        if match is None or Path(f"/proc/{match[1]}").exists():
            continue
        _tidy(int(match[1]))
        if match[2]:
            shutil.rmtree(path, ignore_errors=True)


def _tidy(number: int) -> None:
    """The bridge and the cgroups of a daemon that has ended."""
    if Path(f"/sys/class/net/{_BRIDGE}{number}").exists():
        subprocess.run(["ip", "link", "delete", f"{_BRIDGE}{number}"], check=False)
    for top in _cgroups(str(number)):
        inner = (Path(folder) for folder, _, _ in os.walk(top, topdown=False))
        for group in inner:
            with contextlib.suppress(OSError):  # still busy: for the next sweep
                group.rmdir()


def _cgroups(number: str) -> Iterator[Path]:
    """Cgroups of a daemon, in each hierarchy of version 1 and in that of version 2."""
    for pattern in ("", "*/"):
        yield from _CGROUPS.glob(f"{pattern}{_PREFIX}{number}")
