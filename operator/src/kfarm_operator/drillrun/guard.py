"""A process that undoes what a driver did when its runner cannot: the dead man's handle.

It is started before anything is done and knows how to undo it. It acts when the time is over, and
at once when its runner is gone (the pipe to it closes); told ``done``, it ends without acting.
Nothing else of the project is imported, so that little can go wrong in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

DONE = b"done\n"
COMMAND_S = 60.0


def main(argument: str) -> int:
    """Wait, then undo unless told that it is done; the argument is JSON of `Guard`."""
    plan: dict[str, Any] = json.loads(argument)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which then tells us
    if _told_done(float(plan["seconds"])):
        return 0
    undo(plan["undo"])
    return 0


def _told_done(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        ready, _, _ = select.select([sys.stdin], [], [], left)
        if ready:
            return os.read(sys.stdin.fileno(), len(DONE)) == DONE


def undo(how: Mapping[str, Any]) -> None:
    """Let a process go on, and run commands; each on its own, so that one failure harms no other.

    Parameters
    ----------
    how
        ``{"continue": [[pid, start time]], "commands": [[argument, ...]]}``.
    """
    for pid, started in how.get("continue", ()):
        if start_time(pid) == started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGCONT)
    for command in how.get("commands", ()):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, check=False, capture_output=True, timeout=COMMAND_S)


def start_time(pid: int) -> int | None:
    """When a process began, in ticks since the system did; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            text = file.read()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


class Guard:
    """The handle as the runner holds it; a context manager around what is done.

    Parameters
    ----------
    seconds
        After which it acts by itself.
    how
        How to undo, as in `undo`.
    """

    def __init__(self, seconds: float, how: Mapping[str, Any]) -> None:
        plan = json.dumps({"seconds": seconds, "undo": how})
        self._how = how
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kfarm_operator.drillrun.guard", plan],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def pid(self) -> int:
        """Process id of the guard."""
        return self._process.pid

    def release(self) -> None:
        """Undo, and let the guard end; once more does nothing."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        undo(self._how)
        with contextlib.suppress(OSError):
            self._process.stdin.write(DONE)
            self._process.stdin.flush()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait(COMMAND_S)


def sequence(*commands: Sequence[str]) -> dict[str, Any]:
    """Commands as `undo` takes them."""
    return {"commands": [list(command) for command in commands]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
