"""Fixtures: one control plane for the session, a clean cluster for each module.

Load with ``pytest_plugins = ["kfarm_controlplane.pytest_plugin"]`` in the root
``conftest.py``, or with ``-p kfarm_controlplane.pytest_plugin``.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kfarm_controlplane.cleanup import TEST_LABEL, restore, take_baseline
from kfarm_controlplane.client import Cluster, ExternalControlPlane, KubectlError
from kfarm_controlplane.cluster import ControlPlane, wait_until
from kfarm_controlplane.errors import ControlPlaneUnavailable
from kfarm_controlplane.options import Options

_skipped = pytest.StashKey[str]()
_kept = pytest.StashKey[str]()
_SAID = {_skipped: "kfarm_skipped", _kept: "kfarm_kept"}


@pytest.fixture(scope="session")
def control_plane_options() -> Options:
    """Return the options of the session's control plane; override it to change them."""
    return Options()


@pytest.fixture(scope="session")
def control_plane(
    request: pytest.FixtureRequest, control_plane_options: Options
) -> Iterator[Cluster]:
    """Yield the session's control plane: started here, or ``$KFARM_TEST_KUBECONFIG``.

    Skips when none can be had; fails instead with ``KFARM_REQUIRE_CLUSTER=1``.
    """
    if given := os.environ.get("KFARM_TEST_KUBECONFIG"):
        if not Path(given).expanduser().is_file():
            pytest.fail(f"KFARM_TEST_KUBECONFIG={given} is not a file; unset or correct it", False)
        with tempfile.TemporaryDirectory(prefix="kfarm-external-") as folder:
            yield ExternalControlPlane(Path(given).expanduser().absolute(), Path(folder))
        return
    plane = ControlPlane(control_plane_options)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    try:
        if capture is None:
            plane.start()
        else:
            with capture.global_and_fixture_disabled():  # the first build takes minutes
                plane.start()
    except ControlPlaneUnavailable as error:
        _give_up(request.config, error)
    yield plane
    plane.keep = request.session.testsfailed > 0
    if plane.keep:
        request.config.stash[_kept] = f"control plane logs are kept in {plane.directory / 'logs'}"
    plane.stop()


def _give_up(config: pytest.Config, error: ControlPlaneUnavailable) -> None:
    line = f"no control plane: {error}"
    if os.environ.get("KFARM_REQUIRE_CLUSTER") == "1":
        pytest.fail(f"{line} (KFARM_REQUIRE_CLUSTER=1)", pytrace=False)
    config.stash[_skipped] = line
    pytest.skip(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where tests run in several processes, send what is to be said to the one that prints."""
    output: dict[str, str] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        stash = session.config.stash
        output |= {name: stash[key] for key, name in _SAID.items() if key in stash}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep what a process said before it ended."""
    output: dict[str, str] = getattr(node, "workeroutput", {})
    for key, name in _SAID.items():
        if name in output:
            known = node.config.stash.get(key, None)
            lines = [line for line in (known, output[name]) if line]
            node.config.stash[key] = "\n".join(dict.fromkeys(lines))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say at the end what was left out for want of a control plane, and where logs are."""
    if line := config.stash.get(_skipped, None):
        terminalreporter.section("left out: tests against a real control plane")
        terminalreporter.line(line)
    if line := config.stash.get(_kept, None):
        terminalreporter.line(line)


@pytest.fixture(scope="module")
def clean_cluster(control_plane: Cluster) -> Iterator[Cluster]:
    """Yield the control plane; what the module made is removed after its last test."""
    baseline = take_baseline(control_plane)
    yield control_plane
    restore(control_plane, baseline)


@pytest.fixture
def namespace(clean_cluster: Cluster) -> Iterator[str]:
    """Yield a new namespace in which pods can be created; it is gone after the module."""
    control_plane = clean_cluster
    name = f"test-{uuid.uuid4().hex[:10]}"
    control_plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {TEST_LABEL: "true"}},
        }
    )
    wait_until(lambda: _has_service_account(control_plane, name), 30, f"service account of {name}")
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def _has_service_account(cluster: Cluster, namespace: str) -> bool:
    arguments = ("serviceaccount", "default", f"--namespace={namespace}", "--ignore-not-found")
    try:
        return bool(cluster.kubectl("get", *arguments, "-o", "name"))
    except KubectlError:
        return False
