"""Driver for a kind cluster: its nodes are containers, paused, stopped or cut off.

Containers are named as their nodes. Commands are lists of arguments, never a shell's line, and a
container is touched only when its labels say that it is kind's.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kfarm_operator.drillrun.errors import DriverError
from kfarm_operator.drillrun.guard import Guard, sequence
from kfarm_operator.drillrun.moments import Act

NODE_ACTIONS = ("pause", "stop", "disconnect")
NETWORK = "kind"
CLUSTER_LABEL, ROLE_LABEL = "io.x-k8s.kind.cluster", "io.x-k8s.kind.role"
CONTROL_PLANE = "control-plane"
COMMAND_S = 60.0


@dataclass
class KindDriver:
    """Takes containers of a kind cluster away and gives them back.

    Parameters
    ----------
    docker
        Arguments that begin each command, for example ``("docker",)`` or ``("podman",)``.
    node_action
        What is done to a node's container: one of `NODE_ACTIONS`.
    kill_operator
        Deletes the operator's pods without grace; returns how many there were.
    """

    docker: Sequence[str]
    node_action: str
    kill_operator: Callable[[], int]
    name: str = "kind"
    control_plane: str | None = None
    _guards: dict[str, Guard] = field(default_factory=dict)

    def check(self, act: Act) -> None:
        """Refuse containers that are not kind's, and control planes as nodes."""
        if act.action == "OperatorKill":
            return
        for name in self._containers(act):
            self._inspect(name, control_plane=act.action == "ApiOutage")

    def begin(self, act: Act) -> None:
        """Do it; the guard that undoes it is started first."""
        if act.action == "OperatorKill":
            if not self.kill_operator():
                raise DriverError(
                    f"fault {act.fault}: no ready pod of the operator was found to kill"
                )
            return
        way = "pause" if act.action == "ApiOutage" else self.node_action
        facts = {
            name: self._inspect(name, control_plane=act.action == "ApiOutage")
            for name in self._containers(act)
        }
        # in the order of their addresses: whoever asks first is given the lowest that is free
        ordered = sorted(facts, key=lambda name: _address(facts[name]))
        back = [one for name in ordered for one in self._back(way, name, facts[name])]
        self._guards[act.fault] = Guard(act.seconds, sequence(*back))
        try:
            for name in ordered:
                self._run(self._away(way, name))
        except DriverError:
            self.end(act)
            raise

    def keep(self, act: Act) -> None:
        """Kill the operator's pods again where they are back."""
        if act.action == "OperatorKill":
            self.kill_operator()

    def end(self, act: Act) -> None:
        """Give the containers back."""
        guard = self._guards.pop(act.fault, None)
        if guard is not None:
            guard.release()

    def _containers(self, act: Act) -> tuple[str, ...]:
        if act.action != "ApiOutage":
            return act.nodes
        if self.control_plane is None:
            raise DriverError(f"fault {act.fault}: no control-plane node is known")
        return (self.control_plane,)

    def _away(self, way: str, name: str) -> list[str]:
        """The command that takes a container away."""
        if way == "pause":
            return [*self.docker, "pause", name]
        if way == "stop":
            return [*self.docker, "stop", "--time", "0", name]
        return [*self.docker, "network", "disconnect", NETWORK, name]

    def _back(self, way: str, name: str, facts: dict[str, Any]) -> list[list[str]]:
        """The commands that give it back; one that is not needed fails and changes nothing."""
        if way == "pause":
            return [[*self.docker, "unpause", name]]
        if way == "stop":
            return [[*self.docker, "start", name]]
        connect = [*self.docker, "network", "connect"]
        address = _place(facts).get("IPAddress")
        # with its address, which its peers know; but Docker takes one only in a network whose
        # subnet somebody chose, which kind leaves to Docker: then any address, the lowest free
        exact = [[*connect, "--ip", address, NETWORK, name]] if address else []
        return [*exact, [*connect, NETWORK, name]]

    def _inspect(self, name: str, *, control_plane: bool) -> dict[str, Any]:
        """What the container runtime says of a container of kind's."""
        answer = self._run([*self.docker, "inspect", "--type", "container", name])
        try:
            facts: dict[str, Any] = json.loads(answer)[0]
            labels = (facts.get("Config") or {}).get("Labels") or {}
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            raise DriverError(
                f"container {name}: the answer of inspect is not understood"
            ) from error
        if CLUSTER_LABEL not in labels:
            raise DriverError(f"container {name} is no node of a kind cluster: it is left alone")
        if (labels.get(ROLE_LABEL) == CONTROL_PLANE) != control_plane:
            raise DriverError(
                f"container {name} has the role {labels.get(ROLE_LABEL)!r}: nodes of the control"
                " plane are touched for ApiOutage only, and nothing else is"
            )
        return facts

    def _run(self, command: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                list(command), capture_output=True, text=True, check=False, timeout=COMMAND_S
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise DriverError(f"{' '.join(command)}: {error}") from None
        if done.returncode:
            raise DriverError(
                f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[:300]}"
            )
        return done.stdout


def _place(facts: dict[str, Any]) -> dict[str, Any]:
    """What a container has in kind's network."""
    networks = (facts.get("NetworkSettings") or {}).get("Networks") or {}
    return networks.get(NETWORK) or {}


def _address(facts: dict[str, Any]) -> tuple[int, ...]:
    """Its address as numbers, to be put in order."""
    text = str(_place(facts).get("IPAddress") or "")
    return tuple(int(part) for part in text.split(".") if part.isdigit())
