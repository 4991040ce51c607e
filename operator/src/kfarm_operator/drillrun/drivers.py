"""What the runner can do from outside, on each kind of cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from kfarm_operator.drillrun.errors import DriverError
from kfarm_operator.drillrun.kind import KindDriver
from kfarm_operator.drillrun.kwok import KwokDriver
from kfarm_operator.drillrun.moments import Act

DRIVERS = ("auto", "none", "kwok", "kind")


class Driver(Protocol):
    """Does and undoes acts; each is undone by itself at its end, even if the runner is dead."""

    name: str

    def check(self, act: Act) -> None:
        """Raise DriverError when the act cannot be done here; nothing is touched."""

    def begin(self, act: Act) -> None:
        """Do it."""

    def keep(self, act: Act) -> None:
        """Called again and again while it lasts."""

    def end(self, act: Act) -> None:
        """Undo it; once more does nothing."""


class NoDriver:
    """A cluster that is not ours: nothing can be done from outside."""

    name = "none"

    def check(self, act: Act) -> None:
        """Refuse."""
        raise DriverError(
            f"fault {act.fault}: {act.action} is done from outside the cluster, which takes a"
            " driver: --driver kwok with --processes FILE for a local control plane, --driver kind"
            " for a kind cluster"
        )

    def begin(self, act: Act) -> None:
        """Refuse."""
        self.check(act)

    def keep(self, act: Act) -> None:
        """Nothing to do."""

    def end(self, act: Act) -> None:
        """Nothing to do."""


def choose(
    name: str,
    *,
    processes: Path | None,
    docker: Sequence[str],
    node_action: str,
    kill_operator: Callable[[], int],
    is_kind: bool,
) -> Driver:
    """The driver of that name; ``auto`` goes by what is known of the cluster."""
    if name == "auto":
        name = "kwok" if processes is not None else "kind" if is_kind else "none"
    if name == "kwok":
        return KwokDriver.read(processes)
    if name == "kind":
        return KindDriver(docker, node_action, kill_operator)
    return NoDriver()
