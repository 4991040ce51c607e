"""The library of drills on a kind cluster: ``make drill-kind``.

Creates the cluster where Docker and kind are at hand (KIND_IMAGE names a node image of Kubernetes
1.36 or newer), loads the operator's image, installs KWOK and the chart, and runs the drills. With
KUBECONFIG set, that kind cluster is taken as it is: kfarm has to be installed on it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from kfarm_controlplane import cache_directory
from kfarm_operator.drillrun.files import read_drill

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "examples/drills"
KUEUE_GROUND = LIBRARY / "kueue/ground.yaml"
CLUSTER = "kfarm-drills"
IMAGE = "kfarm-operator:drills"
RELEASE = "kfarm-system"
KWOK = "https://github.com/kubernetes-sigs/kwok/releases/download/v0.8.0/kwok.yaml"
STAGES = ROOT / "tests/controlplane/src/kfarm_controlplane/stages.yaml"
CONFIRM = "kind"
LIMITS = {"maxNodes": "64", "maxPercent": "34", "domains": "16", "maxDuration": "30m"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run; the exit code is 0 when all drills passed, 3 when there is no kind cluster to be had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="files whose names begin so")
    parser.add_argument("--keep", action="store_true", help="leave the cluster that was created")
    arguments = parser.parse_args(argv)
    given = os.environ.get("KUBECONFIG")
    if given:
        return Runs(Path(given)).all(arguments.only)
    missing = [name for name in ("docker", "kind", "kubectl", "helm") if not shutil.which(name)]
    if missing:
        print(
            f"No kind cluster can be had: {', '.join(missing)} not on PATH. Install them, or set"
            " KUBECONFIG to a kind cluster with kfarm; without Docker, make drill runs the same"
            " drills on a local control plane."
        )
        return 3
    work = cache_directory().parent / "drill-kind"
    work.mkdir(parents=True, exist_ok=True)
    kubeconfig = work / "kubeconfig"
    try:
        create(kubeconfig)
        return Runs(kubeconfig).all(arguments.only)
    finally:
        if not arguments.keep:
            _call("kind", "delete", "cluster", "--name", CLUSTER, "--kubeconfig", str(kubeconfig))


def create(kubeconfig: Path) -> None:
    """Cluster, image, KWOK, chart."""
    image = os.environ.get("KIND_IMAGE")
    _call("kind", "create", "cluster", "--name", CLUSTER, "--kubeconfig", str(kubeconfig),
          "--config", str(LIBRARY / "kind/cluster.yaml"), "--wait", "180s",
          *(("--image", image) if image else ()))  # fmt: skip
    _call("docker", "build", "-t", IMAGE, str(ROOT))
    _call("kind", "load", "docker-image", IMAGE, "--name", CLUSTER)
    kube = ("kubectl", "--kubeconfig", str(kubeconfig))
    _call(*kube, "apply", "-f", KWOK)
    _call(*kube, "apply", "-f", str(STAGES))
    repository, _, tag = IMAGE.partition(":")
    values = {
        "operator.image.repository": repository,
        "operator.image.tag": tag,
        "drills.enabled": "true",
        "drills.clusterName": CONFIRM,
        **{f"drills.limits.{name}": value for name, value in LIMITS.items()},
    }
    sets = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    _call("helm", "--kubeconfig", str(kubeconfig), "upgrade", "--install", "kfarm",
          str(ROOT / "charts/kfarm"), "--namespace", RELEASE, "--create-namespace",
          "--wait", "--timeout", "15m", *sets)  # fmt: skip


def behind_kueue(path: Path) -> bool:
    """Whether a drill's plans are those of the ground that needs Kueue."""
    placed = {
        body["metadata"]["name"]
        for body in yaml.safe_load_all(KUEUE_GROUND.read_text("utf-8"))
        if body["kind"] == "PlacementPlan"
    }
    return bool(placed & set(read_drill([path]).drill.spec.plans))


class Runs:
    """Drills on one kind cluster."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = str(kubeconfig)

    def all(self, only: Sequence[str] | None) -> int:
        """Prepare both grounds, run every drill, write the report of all."""
        results = cache_directory().parent / "drill-kind" / "results"
        results.mkdir(parents=True, exist_ok=True)
        kueue = self._has_kueue()
        self._prepare(kueue=kueue)
        code = 0
        files = [LIBRARY / "kind/node-paused.yaml", *sorted(LIBRARY.glob("[0-9]*.yaml"))]
        for path in files:
            if only and not path.name.startswith(tuple(only)):
                continue
            if not kueue and behind_kueue(path):
                print(f"==> {path.name} is left out: this cluster has no Kueue")
                continue
            print(f"==> {path.name}", flush=True)
            code = max(code, self._run(path, results / f"{path.stem}.json"))
        page = results.parent / "library.html"
        kfarm = str(Path(sys.executable).parent / "kfarm")
        report = [kfarm, "drill", "report", "--all", str(results), "--html", str(page)]
        if subprocess.run(report, check=False, stdout=subprocess.DEVNULL).returncode in (0, 1):
            print(f"==> the report of all: {page}")
        return code

    def _has_kueue(self) -> bool:
        crds = ("get", "crd", "workloads.kueue.x-k8s.io", "--ignore-not-found", "-o", "name")
        return bool(_call("kubectl", "--kubeconfig", self._kubeconfig, *crds).strip())

    def _prepare(self, *, kueue: bool) -> None:
        """Accelerators for the workers, both grounds, consent."""
        kube = ("kubectl", "--kubeconfig", self._kubeconfig)
        workers = json.loads(_call(*kube, "get", "nodes", "-l", "kfarm-drill-worker=true",
                                   "-o", "json"))["items"]  # fmt: skip
        patch = json.dumps({"status": {"capacity": {"nvidia.com/gpu": "8"}}})
        for node in workers:
            _call(*kube, "patch", "node", node["metadata"]["name"], "--subresource=status",
                  "--type=merge", "-p", patch)  # fmt: skip
        _call(*kube, "apply", "-f", str(LIBRARY / "ground.yaml"),
              *(("-f", str(LIBRARY / "kind/ground.yaml")) if workers else ()),
              *(("-f", str(KUEUE_GROUND)) if kueue else ()))  # fmt: skip
        for farm in ("gpufarm/drill-gpu", "npufarm/drill-npu"):
            _call(*kube, "wait", farm, "--for=condition=Ready", "--timeout=300s")
        _call(*kube, "label", "--overwrite", "nodes", "-l", "kfarm.dev/farm",
              "kfarm.dev/drill=allowed")  # fmt: skip
        _call(*kube, "wait", "placementplan", "--all", "-n", "drills",
              "--for=condition=Released", "--timeout=600s")  # fmt: skip

    def _run(self, path: Path, saved: Path) -> int:
        command = [
            sys.executable, "-m", "kfarm_operator.drillrun", "-f", str(path),
            *(() if read_drill([path]).drill.spec.mode == "Twin" else ("--confirm", CONFIRM)),
            "--kubeconfig", self._kubeconfig, "--driver", "kind",
            "--delay", "nodeEvictionRate=1", "--replace", "--save", str(saved),
        ]  # fmt: skip
        return subprocess.run(command, check=False).returncode


def _call(*command: str) -> str:
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(f"    {' '.join(command)} ({time.monotonic() - began:.0f} s)", flush=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stdout}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
