"""Driver for a local control plane: its processes are stopped and killed by their ids.

Only processes that the file's owner started itself are touched: of our user, children of the
process that wrote the file, of the command that the name says.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from kfarm_operator.drillrun.errors import BadInput, DriverError
from kfarm_operator.drillrun.guard import Guard, start_time
from kfarm_operator.drillrun.moments import Act

API_SERVER, OPERATOR = "kube-apiserver", "operator"
_COMMANDS = {API_SERVER: b"kube-apiserver", OPERATOR: b"kfarm_operator.main"}
_VICTIMS = {"ApiOutage": API_SERVER, "OperatorKill": OPERATOR}


@dataclass
class KwokDriver:
    """Stops the API server (SIGSTOP) and kills the operator (SIGKILL), whose owner restarts it.

    Parameters
    ----------
    file
        JSON as the owner keeps it: ``{"pid": OWNER, "pids": {NAME: PID}}``.
    """

    file: Path
    name: str = "kwok"
    _guards: dict[str, Guard] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path | None) -> Self:
        """The driver, once the file is there and ours.

        Raises
        ------
        BadInput
            When there is none, or others may write it.
        """
        if file is None:
            raise BadInput(
                "--driver kwok needs --processes FILE: state.json of make cluster, or the"
                " file that make drill names"
            )
        try:
            facts = file.stat()
        except OSError as error:
            raise BadInput(
                f"--processes {file}: {(error.strerror or 'unreadable').lower()}"
            ) from None
        if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            raise BadInput(f"--processes {file}: others may write it; use a file of your own")
        return cls(file)

    def check(self, act: Act) -> None:
        """Refuse what has no process here."""
        if act.action not in _VICTIMS:
            raise DriverError(
                f"fault {act.fault}: nodes {', '.join(act.nodes[:3])} are no simulated nodes; only"
                " --driver kind can take their containers away"
            )
        self._victim(_VICTIMS[act.action])

    def begin(self, act: Act) -> None:
        """Stop or kill."""
        name = _VICTIMS[act.action]
        pid = self._victim(name)
        if name == OPERATOR:
            os.kill(pid, signal.SIGKILL)
            return
        self._guards[act.fault] = Guard(act.seconds, {"continue": [[pid, start_time(pid)]]})
        os.kill(pid, signal.SIGSTOP)

    def keep(self, act: Act) -> None:
        """Kill the operator again where its owner has started it again."""
        if act.action != "OperatorKill":
            return
        try:
            pid = self._victim(OPERATOR)
        except DriverError:
            return  # not there again as yet
        os.kill(pid, signal.SIGKILL)

    def end(self, act: Act) -> None:
        """Let the API server go on; the operator's owner starts it."""
        guard = self._guards.pop(act.fault, None)
        if guard is not None:
            guard.release()

    def _victim(self, name: str) -> int:
        """The process of that name, after all that can be checked is checked."""
        try:
            state: dict[str, Any] = json.loads(self.file.read_text("utf-8"))
            owner, pid = int(state["pid"]), int(state["pids"][name])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DriverError(
                f"{self.file} names no running {name} ({type(error).__name__}); start it with"
                " make drill, or leave this drill out"
            ) from None
        why = _not_ours(pid, owner, _COMMANDS[name])
        if why:
            raise DriverError(f"{self.file} says that {name} is process {pid}, but {why}")
        return pid


def _not_ours(pid: int, owner: int, command: bytes) -> str | None:
    """Why a process is not the one that the file's owner started; None when it is."""
    folder = Path(f"/proc/{pid}")
    try:
        if folder.stat().st_uid != os.getuid():
            return "it belongs to another user"
        parent = int((folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[1])
        line = (folder / "cmdline").read_bytes()
    except (OSError, ValueError):
        return "there is none"
    if command not in line:
        return "that runs another command"
    if parent != owner:
        return f"its parent is {parent}, not the file's owner {owner}"
    return None
