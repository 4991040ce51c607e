"""What is installed is what was locked, and building it again gives the same bytes."""

from __future__ import annotations

import http.server
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
UV = os.environ.get("KFARM_UV", str(ROOT / ".tools/uv/bin/uv"))
REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", re.MULTILINE)
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: bad, namespace: default}
spec:
  selector: {matchLabels: {app: bad}}
  template:
    metadata: {labels: {app: bad}}
    spec:
      containers:
        - {name: main, image: "example:latest", securityContext: {privileged: true}}
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Imports one of the scripts, and forgets it afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setenv("KFARM_UV", UV)
    known = set(sys.modules)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(ROOT / "scripts")):
            del sys.modules[name]


def uv(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([UV, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_wheels_have_the_same_bytes_wherever_and_whenever_they_are_built(script, tmp_path) -> None:
    """The copy has another place, other times and other modes, as in another checkout."""
    module = script("wheels")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = module.wheels(tmp_path / "one")
    for part in module.PARTS:
        copied = shutil.copytree(
            ROOT / part,
            tmp_path / "copy" / part,
            ignore=shutil.ignore_patterns("__pycache__"),
            copy_function=shutil.copyfile,
        )
        for path in Path(copied).rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
            os.utime(path, (1_700_000_000, 1_700_000_000))
    module.ROOT = tmp_path / "copy"
    second = module.wheels(tmp_path / "two")
    assert [wheel.name for wheel in first] == [wheel.name for wheel in second]
    assert len(first) == 3
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name
    (tmp_path / "copy/crds/src/kfarm_api/base.py").write_text("changed = 1\n")
    third = module.wheels(tmp_path / "two")
    assert third[0].read_bytes() != first[0].read_bytes()


def test_a_file_with_another_hash_is_not_installed(script, tmp_path) -> None:
    module = script("wheels")
    wheel = module.wheels(tmp_path)[0]
    version = wheel.name.split("-")[1]
    digest = module.hashlib.sha256(wheel.read_bytes()).hexdigest()

    def install(sha256: str) -> subprocess.CompletedProcess[str]:
        listed = tmp_path / "requirements.txt"
        listed.write_text(f"kfarm-api=={version} --hash=sha256:{sha256}\n")
        words = ("--require-hashes", "--no-deps", "--no-index", "--no-cache")
        where = ("--find-links", str(tmp_path), "--target", str(tmp_path / "installed"))
        return uv("pip", "install", *words, *where, "-r", str(listed))

    refused = install("0" * 64)
    assert refused.returncode != 0
    assert "hash" in refused.stderr.lower()
    assert not (tmp_path / "installed/kfarm_api").exists()
    assert install(digest).returncode == 0
    assert (tmp_path / "installed/kfarm_api").is_dir()


@pytest.mark.parametrize("name", ["runtime.txt", "build.txt"])
def test_every_requirement_of_the_image_is_pinned_with_hashes(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    entries = re.split(r"\n(?=[A-Za-z])", "\n" + text.split("\n", 1)[1])[1:]
    assert len(entries) >= 5
    for entry in entries:
        assert REQUIREMENT.match(entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_image_installs_nothing_without_hashes() -> None:
    """Everything comes by a digest: the base, wheels from outside, our wheels from this source."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    stages = [line.split()[1] for line in steps if line.startswith("FROM")]
    assert set(stages) == {"${BASE}", "tools", "scratch"}
    installs = re.findall(r"pip (?:--python \S+ )?install (.*?)(?:&&|$)", text, re.MULTILINE)
    assert len(installs) == 4
    for words in installs:
        assert "--require-hashes" in words or ("--no-index" in words and "--no-deps" in words)
    last = steps[max(i for i, line in enumerate(steps) if line.startswith("FROM")) :]
    assert "USER 65532:65532" in last
    assert not [line for line in last if line.startswith("RUN")]


def test_the_bill_names_what_the_image_installs(script, tmp_path) -> None:
    module = script("sbom")
    document = module.python_packages()
    named = {(c["name"], c["version"]) for c in document["components"]}
    wanted = set(REQUIREMENT.findall((ROOT / "requirements/runtime.txt").read_text()))
    assert wanted <= named
    assert all(
        c["name"].startswith("kfarm") for c in document["components"] if _key(c) not in wanted
    )
    status = tmp_path / "var/lib/dpkg/status.d"
    with pytest.raises(SystemExit, match=r"status\.d is empty"):
        module.debian_packages(tmp_path)
    status.mkdir(parents=True)
    (status / "libc6").write_text("Package: libc6\nVersion: 2.36-9+deb12u1\nArchitecture: amd64\n")
    (found,) = module.debian_packages(tmp_path)
    assert found["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64"
    assert module.finished(document) == module.finished(module.python_packages())


def _key(component: dict[str, str]) -> tuple[str, str]:
    return component["name"], component["version"]


@contextmanager
def advisory_service(answer: str) -> Iterator[str]:
    """A service on loopback that says the same to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            results = [
                {"vulns": [{"id": "GHSA-x", "modified": "2026-01-01T00:00:00Z"}]}
                if answer == "bad" and query["package"]["name"] == "kopf"
                else {}
                for query in asked["queries"]
            ]
            self._say("<html>" if answer == "html" else json.dumps({"results": results}))

        def do_GET(self) -> None:
            found = {"id": "GHSA-x", "modified": "2026-01-01T00:00:00Z", "affected": []}
            self._say(json.dumps(found))

        def _say(self, text: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("answer", "code"), [("bad", 1), ("html", 2)])
def test_the_advisory_check_does_not_fail_open(answer: str, code: int) -> None:
    """A vulnerability found is 1; a service that cannot be understood or reached is 2."""
    with advisory_service(answer) as url:
        done = _audit(url)
    assert done.returncode == code, done.stderr
    gone = _audit(url)
    assert gone.returncode == 2


def _audit(url: str) -> subprocess.CompletedProcess[str]:
    words = ("--locked", "--preview-features", "audit-command", "--service-url", url)
    return subprocess.run(
        [UV, "audit", *words],
        cwd=ROOT,
        env=os.environ | {"UV_HTTP_RETRIES": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_threat_model_names_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[^`]+)`", text)
    assert len(named) > 8
    assert [path for path in named if not (ROOT / path).exists()] == []
    facts = yaml.safe_load((ROOT / "SECURITY-INSIGHTS.yml").read_text())
    assert set(facts) == {"header", "project", "repository"}
    anchors = re.findall(r"SECURITY\.md#([a-z-]+)", str(facts))
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", text, re.M)}
    assert anchors
    assert set(anchors) <= titles


def test_policy_checks_find_a_privileged_container(script, tmp_path) -> None:
    """And say that they could not look, rather than that all is well, when nothing was read."""
    module = script("policy_checks")
    checkov = module.prepare()
    bad = tmp_path / "bad.yaml"
    bad.write_text(DEPLOYMENT)
    found = module.failures(checkov, [bad, ROOT / "Dockerfile"])
    assert [line for line in found if "CKV_K8S_16" in line]
    assert not [line for line in found if line.startswith("Dockerfile")]
    with pytest.raises(module.ChecksUnavailable, match="nothing of kind kubernetes"):
        module.failures(checkov, [ROOT / "Dockerfile"])
