"""Building the binaries: once, whole or not at all, with errors that say the way on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from kfarm_controlplane import ControlPlaneError, ControlPlaneUnavailable, build, wait_until
from kfarm_controlplane.build import family_directory, locate
from kfarm_controlplane.families import Family, families

SOURCE = Path(build.__code__.co_filename).resolve().parents[1]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SOURCE)} | more


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[dict[str, Family]]:
    """A family that builds in a second, or in twenty with an empty Go cache."""
    if shutil.which("go") is None:
        pytest.skip("needs Go on PATH; the pinned families would install it first")
    folder = tmp_path / "tiny"
    (folder / "cmd" / "tiny").mkdir(parents=True)
    (folder / "go.mod").write_text("module example.test/tiny\n\ngo 1.26.0\n")
    (folder / "cmd" / "tiny" / "main.go").write_text(
        'package main\n\nimport _ "net/http"\n\nfunc main() { println("tiny") }\n'
    )
    yield {"tiny": Family("tiny", "1.0.0", {"tiny": "example.test/tiny/cmd/tiny"}, folder)}


class TestBuild:
    def test_builds_once(self, tiny: dict[str, Family], tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        binary = build(known=tiny, cache=cache)["tiny"]
        done = subprocess.run([binary], capture_output=True, text=True, check=True)
        assert done.stderr == "tiny\n"
        made = binary.stat().st_mtime_ns
        assert build(["tiny"], known=tiny, cache=cache)["tiny"].stat().st_mtime_ns == made

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_an_interrupted_build_leaves_no_half_cache(
        self, tiny: dict[str, Family], tmp_path: Path, number: signal.Signals
    ) -> None:
        cache = tmp_path / "cache"
        target = family_directory(tiny["tiny"], cache)
        script = """
            import signal
            from pathlib import Path
            from kfarm_controlplane.build import build
            from kfarm_controlplane.families import Family
            # A shell's background job inherits SIGINT ignored; a person's terminal does not.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            folder = Path(%r)
            tiny = Family("tiny", "1.0.0", {"tiny": "example.test/tiny/cmd/tiny"}, folder)
            build(known={"tiny": tiny}, cache=Path(%r))
        """
        code = textwrap.dedent(script) % (str(tiny["tiny"].directory), str(cache))
        slow = environment(GOCACHE=str(tmp_path / "go-cache"))
        with subprocess.Popen([sys.executable, "-c", code], env=slow) as builder:
            wait_until(lambda: any(cache.glob(".tiny.partial-*")), 30, "start of the build")
            time.sleep(0.5)
            assert builder.poll() is None
            builder.send_signal(number)
            assert builder.wait(20) != 0
        assert not target.exists()
        assert build(known=tiny, cache=cache)["tiny"] == target / "tiny"
        assert [path.name for path in cache.iterdir() if path.is_dir()] == [target.name]

    def test_two_builders_take_turns(self, tiny: dict[str, Family], tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(build, known=tiny, cache=cache) for _ in range(2)]
            assert jobs[0].result() == jobs[1].result()

    def test_a_build_error_shows_what_go_said(
        self, tiny: dict[str, Family], tmp_path: Path
    ) -> None:
        source = tiny["tiny"].directory / "cmd" / "tiny" / "main.go"
        source.write_text("package main\n\nfunc main() { missing() }\n")
        with pytest.raises(ControlPlaneError, match="undefined: missing"):
            build(known=tiny, cache=tmp_path / "cache")

    def test_no_module_proxy_is_said_with_a_way_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if shutil.which("go") is None:
            pytest.skip("needs Go on PATH")
        etcd = replace(families()["etcd"], version_arguments={})
        monkeypatch.setenv("GOPROXY", "off")
        monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
        with pytest.raises(ControlPlaneUnavailable, match="modules cannot be fetched") as caught:
            build(known={"etcd": etcd}, cache=tmp_path / "cache")
        assert "KFARM_TEST_KUBECONFIG" in caught.value.remedy

    @pytest.mark.parametrize(("version", "accepted"), [("1.36.9", True), ("1.35.3", False)])
    def test_binaries_at_hand_are_taken_at_the_pinned_minor(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, accepted: bool
    ) -> None:
        binary = tmp_path / "kube-apiserver"
        binary.write_text(f"#!/bin/sh\necho Kubernetes v{version}\n")
        binary.chmod(0o755)
        monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
        found = locate(families()["kubernetes"], tmp_path / "cache")
        assert (found.get("kube-apiserver") == binary) is accepted

    def test_unknown_names_are_refused(self) -> None:
        with pytest.raises(ControlPlaneError, match="no family or binary named 'kubelet'"):
            build(["kubelet"])
