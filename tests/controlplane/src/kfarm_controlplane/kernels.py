"""The twin's kernels, compiled while a control plane starts.

Compiling takes minutes of a core, and only the first verdict waits for it. It is therefore begun
before anything else, in two processes that share no large kernel; the operator, which would
compile the same kernels once more, is to be started after `Kernels.wait`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from kfarm_controlplane.errors import ControlPlaneError
from kfarm_controlplane.process import Popen, kill_child, start_child
from kfarm_controlplane.progress import duration, say

PARTS = ("warm_futures", "warm_others")
"""Functions of ``kfarm_twin.warm``, the longest first."""
_LOOK_S = 0.2
_TELL_S = 15.0


class Kernels:
    """Compiles what verdicts need beside the block that it is the context of.

    Parameters
    ----------
    log
        What the compiling processes say.
    parts
        Functions of ``kfarm_twin.warm`` to run, each in a process of its own.
    """

    def __init__(self, log: Path, parts: tuple[str, ...] = PARTS) -> None:
        self._log, self._parts = log, parts
        self._children: list[Popen] = []
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to compile."""
        self._began = time.monotonic()
        with self._log.open("wb") as log:
            for part in self._parts:
                code = f"from kfarm_twin.warm import {part}; {part}()"
                self._children.append(start_child([sys.executable, "-c", code], stdout=log))

    def stop(self) -> None:
        """End what still compiles; what is compiled stays."""
        for child in self._children:
            kill_child(child)
        self._children.clear()

    def wait(self) -> None:
        """Return when all is compiled; say how far it is every 15 seconds.

        Raises
        ------
        ControlPlaneError
            When a process fails.
        """
        told = time.monotonic()
        while running := [child for child in self._children if child.poll() is None]:
            if time.monotonic() - told >= _TELL_S:
                told = time.monotonic()
                done = len(self._children) - len(running)
                say(f"  kernels: {done} of {len(self._children)} parts compiled, {self._elapsed}")
            time.sleep(_LOOK_S)
        if any(child.returncode for child in self._children):
            raise ControlPlaneError("kernels could not be compiled.", f"read {self._log}.")

    @property
    def _elapsed(self) -> str:
        return duration(time.monotonic() - self._began)
