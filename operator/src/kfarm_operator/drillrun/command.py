"""The command line of ``kfarm drill run``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from kfarm_api.drill_marks import CONSENT, LABEL_CONSENT
from kfarm_api.drill_status import FailureDrillStatus

from kfarm_operator.client import ApiError, KubeClient
from kfarm_operator.drillrun import drivers
from kfarm_operator.drillrun.cluster import DrillCluster, operator_killer
from kfarm_operator.drillrun.errors import (
    BAD_INPUT,
    NOT_DONE,
    NOT_PASSED,
    PASSED,
    BadInput,
    RunError,
)
from kfarm_operator.drillrun.files import Body, DrillFiles, read_drill
from kfarm_operator.drillrun.kind import NODE_ACTIONS, KindDriver
from kfarm_operator.drillrun.moments import OVER
from kfarm_operator.drillrun.progress import outcome
from kfarm_operator.drillrun.residue import State, differences
from kfarm_operator.drillrun.session import Session

ANNOTATION_RESIDUE = "kfarm.dev/residue"
"""In the saved drill: how many fields of nodes and Leases differ from before."""
PROCESSES = "KFARM_DRILL_PROCESSES"
SETTLE_S = 90.0
"""After the end: until nodes that were down are Ready again and KWOK has their Leases."""
TOLD = 10


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ends with code 2 on a mistake."""
    parser = argparse.ArgumentParser(
        prog="kfarm drill run",
        description="Run a FailureDrill from a file on a cluster, follow it and keep the result. "
        "Without --confirm it is a dry run: everything is computed and nothing is touched.",
        epilog="Exit code: 0 passed or dry run, 1 failed or aborted, 2 wrong input, 3 not done.",
    )
    add = parser.add_argument
    add("-f", "--filename", type=Path, action="append", required=True, metavar="FILE",
        help="manifests, in order: what stands before the drill is applied first, what stands "
        "after it once it runs; exactly one FailureDrill")  # fmt: skip
    add("--confirm", metavar="CLUSTER", help="arm the drill for the cluster of this name")
    add("--delay", action="append", default=[], metavar="NAME=VALUE",
        help="how fast this cluster notices and acts, where not as Kubernetes by default; fields "
        "of spec.delays, such as nodeMonitorGracePeriod=80s")  # fmt: skip
    add("--kubeconfig", type=Path, help="default: $KUBECONFIG, then ~/.kube/config")
    add("--context", help="context of the kubeconfig")
    add("--driver", choices=drivers.DRIVERS, default="auto",
        help="how API outages, kills of the operator and nodes of kind are done")  # fmt: skip
    add("--processes", type=Path, metavar="FILE",
        help=f"driver kwok: processes of a local control plane (else ${PROCESSES})")  # fmt: skip
    add("--docker", default="docker", metavar="COMMAND",
        help="driver kind: or podman, nerdctl; options may follow")  # fmt: skip
    add("--node-action", choices=NODE_ACTIONS, default="pause",
        help="driver kind: what happens to the container of a node that is down")  # fmt: skip
    add("--operator-namespace", default="kfarm-system", help="driver kind: where the operator runs")
    add("--replace", action="store_true", help="delete the finished drill of an earlier run first")
    add("--save", type=Path, metavar="FILE", help="write the finished drill: .yaml or .json")
    add("--no-residue-check", dest="residue", action="store_false",
        help="do not hold nodes and Leases after the drill against those before")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run one drill and return the exit code."""
    try:
        arguments = parse_arguments(argv)
    except SystemExit as ended:
        return int(ended.code or 0)
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return _run(arguments)
    except RunError as error:
        _complain(str(error))
        return error.code
    except ApiError as error:
        _complain(f"{error.message}; check --kubeconfig and --context")
        return BAD_INPUT if error.reason == "BadKubeconfig" else NOT_DONE
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: argparse.Namespace) -> int:
    files = read_drill(arguments.filename)
    if arguments.confirm is not None:
        files = files.armed(arguments.confirm)
    if arguments.delay:
        files = files.on_cluster(_delays(arguments.delay))
    client = KubeClient.connect(_kubeconfig(arguments.kubeconfig), arguments.context)
    try:
        cluster = DrillCluster(client, files.namespace, files.name)
        _make_room(cluster, arguments.replace)
        session = _session(arguments, cluster, files)
        before = cluster.state() if arguments.residue else None
        session.start()
        _check_consent(cluster)
        try:
            body, code = _follow(session)
        finally:
            session.tidy()
        left = _residue(cluster, before, body) if before is not None else []
    finally:
        client.close()
    for line in left[:TOLD]:
        _complain(f"left behind: {line}")
    return _finish(arguments, body, code, left, checked=before is not None)


def _delays(given: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` as a mapping."""
    pairs = [text.partition("=") for text in given]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise BadInput(f"--delay {name}{equals}{value}: give NAME=VALUE")
    return {name: value for name, _, value in pairs}


def command_words(command: str) -> list[str]:
    """A command and its options, split as a shell would; no shell ever sees them."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadInput(f"--docker {command}: {error}") from None
    if not words:
        raise BadInput("--docker: give a command, such as docker or podman")
    return words


def _session(arguments: argparse.Namespace, cluster: DrillCluster, files: DrillFiles) -> Session:
    around = cluster.surroundings()
    given = os.environ.get(PROCESSES)
    driver = drivers.choose(
        arguments.driver,
        processes=arguments.processes or (Path(given) if given else None),
        docker=command_words(arguments.docker),
        node_action=arguments.node_action,
        kill_operator=operator_killer(cluster.client, arguments.operator_namespace),
        is_kind=bool(around.containers or around.control_plane),
    )
    if isinstance(driver, KindDriver):
        driver.control_plane = around.control_plane
    return Session(cluster, files, driver, around, _say)


def _follow(session: Session) -> tuple[Body, int]:
    """The finished drill; a first Ctrl-C aborts it in good order."""
    try:
        body = session.follow()
    except KeyboardInterrupt:
        aborted = session.abort()
        if aborted is None:
            raise RunError("the drill is aborted, but not everything is taken back yet") from None
        return aborted, NOT_PASSED
    status = FailureDrillStatus.model_validate(body["status"], extra="ignore")
    passed = status.phase != "Completed" or status.verdict == "Passed"
    return body, PASSED if passed else NOT_PASSED


def _make_room(cluster: DrillCluster, replace: bool) -> None:
    """Take the drill of an earlier run away, where that is allowed."""
    body = cluster.body()
    if body is None:
        return
    phase = (body.get("status") or {}).get("phase")
    where = f"FailureDrill {cluster.namespace}/{cluster.name}"
    if phase not in OVER:
        raise BadInput(
            f"{where} is there already, in phase {phase or 'unknown'}: wait for it, or set"
            " spec.abort=true"
        )
    if not replace:
        raise BadInput(f"{where} of an earlier run is there: add --replace, or delete it")
    cluster.remove(str(body["metadata"]["uid"]))


def _check_consent(cluster: DrillCluster) -> None:
    if not cluster.consents(LABEL_CONSENT, CONSENT):
        _complain(
            f"namespace {cluster.namespace} does not carry {LABEL_CONSENT}={CONSENT}: the drill"
            f" touches nothing; kubectl label ns {cluster.namespace} {LABEL_CONSENT}={CONSENT}"
        )


def _residue(cluster: DrillCluster, before: State, body: Body) -> list[str]:
    """What differs from before once nodes have come back; fields of others settle first."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        left = differences(before, cluster.state(str(body["metadata"]["uid"])))
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(1.0)


def _finish(
    arguments: argparse.Namespace, body: Body, code: int, left: list[str], *, checked: bool
) -> int:
    status = FailureDrillStatus.model_validate(body["status"], extra="ignore")
    for line in outcome(status):
        _say(line)
    if checked:
        _say(f"residue: {len(left)} fields of nodes and Leases differ from before")
    if arguments.save is not None:
        _save(arguments.save, body, len(left) if checked else None)
        _say(f"saved: {arguments.save}; kfarm drill report -f {arguments.save} shows it")
    if left and code == PASSED:
        return NOT_PASSED
    return code


def _save(path: Path, body: Body, residue: int | None) -> None:
    metadata: dict[str, Any] = {k: v for k, v in body["metadata"].items() if k != "managedFields"}
    if residue is not None:
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            ANNOTATION_RESIDUE: str(residue),
        }
    kept: dict[str, Any] = {**body, "metadata": metadata}
    if path.suffix == ".json":
        text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
    else:
        text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def _kubeconfig(given: Path | None) -> Path | None:
    """The file to read; None when there is none, that is inside a pod."""
    if given is not None:
        return given
    usual = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")
    there = any(Path(part).exists() for part in usual.split(os.pathsep) if part)
    return Path(usual) if there else None


def _say(line: str) -> None:
    sys.stdout.write(f"{_printable(line)}\n")
    sys.stdout.flush()


def _complain(line: str) -> None:
    sys.stderr.write("".join(f"error: {_printable(part)}\n" for part in line.splitlines()))


def _printable(text: str) -> str:
    """Text of others without control characters, so that it cannot play with a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)
