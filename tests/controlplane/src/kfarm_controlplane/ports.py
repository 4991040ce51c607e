"""Free loopback ports, reserved among all control planes of one user."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

from kfarm_controlplane.errors import ControlPlaneError

# Below the ephemeral range (32768 and up), so that no outgoing connection takes
# a port between its choice and its use, or while a component is down.
_FIRST, _LAST = 20_000, 30_000


class PortReservation:
    """Ports held by file locks until released, or until the process ends."""

    def __init__(self) -> None:
        self._locks: list[IO[str]] = []
        self._folder = Path(tempfile.gettempdir()) / f"kfarm-ports-{os.getuid()}"
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def take(self) -> int:
        """Return a port that nobody listens on and that no other control plane chose."""
        for _ in range(500):
            port = random.SystemRandom().randrange(_FIRST, _LAST)
            lock = (self._folder / str(port)).open("w")
            if self._hold(lock) and _is_free(port):
                self._locks.append(lock)
                return port
            lock.close()
        raise ControlPlaneError(
            f"no free loopback port between {_FIRST} and {_LAST}.",
            "stop control planes left running: python -m kfarm_controlplane down.",
        )

    def release(self) -> None:
        """Give all ports back."""
        while self._locks:
            self._locks.pop().close()

    @staticmethod
    def _hold(lock: IO[str]) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
