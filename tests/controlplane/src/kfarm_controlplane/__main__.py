"""Command line: build, up, down, status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kfarm_controlplane import supervisor
from kfarm_controlplane.build import build
from kfarm_controlplane.errors import ControlPlaneError, ControlPlaneUnavailable
from kfarm_controlplane.families import FAMILY_NAMES
from kfarm_controlplane.options import Options
from kfarm_controlplane.progress import say

EXIT_FAILED = 1
EXIT_UNAVAILABLE = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 1 failed, 3 no control plane can be had."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except ControlPlaneUnavailable as error:
        say(f"No control plane can be had: {error}")
        return EXIT_UNAVAILABLE
    except ControlPlaneError as error:
        say(f"Failed: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        say("Interrupted; nothing half-built is left.")
        return 130


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "build":
        for name, path in build(arguments.names or None).items():
            _answer(f"{name}\t{path}")
        return 0
    if arguments.command == "down":
        stopped = supervisor.down(arguments.directory)
        _answer("control plane stopped" if stopped else "no control plane was running")
        return 0
    if arguments.command == "status":
        return _status(arguments.directory)
    if arguments.command == "supervise":
        supervisor.supervise(arguments.directory, _options(arguments), kueue=arguments.kueue)
        return 0
    state = supervisor.up(
        arguments.directory,
        kueue=arguments.kueue,
        arguments=["--node-lease-seconds", str(arguments.node_lease_seconds)],
    )
    say(f"control plane at {state.url}, supervisor pid {state.pid}")
    _answer(f"export KUBECONFIG={state.kubeconfig}")
    return 0


def _answer(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _status(directory: Path) -> int:
    state = supervisor.status(directory)
    if state is None:
        _answer(f"no control plane is running in {directory}")
        return EXIT_FAILED
    _answer(f"control plane at {state.url}, supervisor pid {state.pid}")
    for name, pid in state.pids.items():
        _answer(f"  {name:<25} pid {pid}")
    _answer(f"export KUBECONFIG={state.kubeconfig}")
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    lease = arguments.node_lease_seconds
    return Options(node_lease_seconds=lease, node_monitor_grace_seconds=3 * lease)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kfarm_controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    wanted = commands.add_parser("build", help="build missing binaries into the cache")
    wanted.add_argument("names", nargs="*", help=f"families or binaries: {', '.join(FAMILY_NAMES)}")
    texts = {
        "up": "start a control plane and leave it up",
        "supervise": "run a control plane in the foreground",
        "down": "stop it",
        "status": "say whether it runs",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--directory", type=_absolute, default=supervisor.default_directory())
        if name in {"up", "supervise"}:
            command.add_argument("--kueue", action="store_true", help="start Kueue too")
            command.add_argument("--node-lease-seconds", type=int, default=600)
    return parser


def _absolute(text: str) -> Path:
    return Path(text).expanduser().absolute()


if __name__ == "__main__":
    sys.exit(main())
