"""Serve the chart's three Deployments from the image, on a real control plane, until a verdict.

What a kubelet would do is done by `kfarm_controlplane.chartpods`, with the root of the image in
place of the machine's: user 65532 without capabilities, the root read-only, the account's token
where a pod finds it. A farm, a policy and a plan are applied; the plan has to be approved, and no
kernel may have been compiled on the way.
"""

from __future__ import annotations

import contextlib
import shlex
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from image import USER
from kfarm_controlplane import Cluster, ControlPlane, wait_until
from kfarm_controlplane.chartpods import ChartPod
from kfarm_controlplane.helm import Helm
from requirements_sync import ROOT

SYSTEM = "kfarm-system"
START_S = 240.0
DEVICES = ("null", "zero", "random", "urandom")
SCENE: tuple[dict[str, Any], ...] = (
    {
        "kind": "GPUFarm",
        "metadata": {"name": "image"},
        "spec": {
            "site": {"name": "test"},
            "clusters": [
                {
                    "name": "c",
                    "accelerator": "b200",
                    "nodes": 2,
                    "acceleratorsPerNode": 8,
                    "rack": {"nodes": 2},
                    "cooling": {"type": "Air", "supplyTemperature": 22},
                    "reliability": {
                        "classes": [
                            {
                                "name": "rare",
                                "failuresPer1000NodeDays": "0.001",
                                "meanTimeToRepair": "1h",
                            }
                        ]
                    },
                    "source": {"simulated": {}},
                }
            ],
        },
    },
    {
        "kind": "ValidationPolicy",
        "metadata": {"name": "image"},
        "spec": {
            "checks": [
                {"metric": "nodes_down_max", "atMost": "100", "quantile": 50, "confidence": 50}
            ],
            "simulation": {"horizon": "24h", "futures": {"min": 8, "max": 64}, "seed": 7},
        },
    },
    {
        "kind": "PlacementPlan",
        "metadata": {"name": "image", "namespace": "default"},
        "spec": {
            "policy": "image",
            "farms": [{"kind": "GPUFarm", "name": "image"}],
            "workloads": [
                {
                    "name": "w",
                    "class": "Training",
                    "pods": 2,
                    "acceleratorsPerPod": 8,
                    "gang": True,
                    "accelerators": ["b200"],
                    "duration": "8h",
                    "checkpoint": {"interval": "30m", "save": "20s", "restart": "5m"},
                }
            ],
        },
    },
)


class ImagePod(ChartPod):
    """A pod of the chart whose root is an image's.

    Parameters
    ----------
    root
        Root of the image, which stays as it is.
    declared
        Environment that the image declares.
    """

    def __init__(
        self,
        cluster: Cluster,
        deployment: Mapping[str, Any],
        folder: Path,
        root: Path,
        declared: Mapping[str, str],
    ) -> None:
        super().__init__(cluster, deployment, folder, root)
        self._root, self._declared = root, declared
        self.empty = folder / self.name / "volumes" / "tmp"

    def _script(self, volumes: Mapping[str, Path]) -> str:
        root = shlex.quote(str(self._root))
        lines = [f"mount --bind {root} {root}", f"mount -t tmpfs tmpfs {root}/dev"]
        for name in DEVICES:
            lines.append(f"touch {root}/dev/{name}; mount --bind /dev/{name} {root}/dev/{name}")
        lines += [f"mount -t proc proc {root}/proc", f"mount -t tmpfs tmpfs {root}/run"]
        for mount in self._container["volumeMounts"]:
            path = volumes[mount["name"]]
            target = shlex.quote(str(self._root) + self._place(str(mount["mountPath"])))
            lines += [f"mkdir -p {target}", f"chown -R {USER}:{USER} {shlex.quote(str(path))}"]
            lines.append(f"mount --bind {shlex.quote(str(path))} {target}")
        lines.append(f"mount -o remount,bind,ro {root}")
        fence = ["setpriv", "--no-new-privs", "unshare", f"--root={self._root}", "--wd=/tmp"]
        user = [f"--setgid={USER}", f"--setuid={USER}", "--"]
        values = [f"{name}={value}" for name, value in sorted(self._in_pod().items())]
        program, *words = self._command()
        command = [f"/opt/kfarm/bin/{program}", *words]
        lines.append("exec " + shlex.join(["env", "-i", *values, *_found(fence), *user, *command]))
        return "\n".join(lines)

    def _place(self, path: str) -> str:
        """Where a path of the container lies: /var/run may be a link to /run."""
        linked = (self._root / "var/run").is_symlink() and path.startswith("/var/run/")
        return path.removeprefix("/var") if linked else path

    def _in_pod(self) -> dict[str, str]:
        address = urlsplit(self._cluster.get_server())
        own = {item["name"]: item["value"] for item in self._container.get("env", ())}
        where = {
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port or 443),
        }
        return {**self._declared, **where, **own}


def _found(words: list[str]) -> list[str]:
    """Tools of this machine by their full path, since the image's PATH has none of them."""
    return [f"/usr/bin/{word}" if word in ("setpriv", "unshare") else word for word in words]


def serve(root: Path, declared: Mapping[str, str]) -> list[str]:
    """Run it all; returns what is wrong."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        plane = stack.enter_context(ControlPlane())
        helm = Helm(plane)
        place = ("--namespace", SYSTEM, "--create-namespace")
        helm("upgrade", "--install", "kfarm", str(ROOT / "charts/kfarm"), *place)
        found = [item for item in helm.manifest() if item["kind"] == "Deployment"]
        began = time.monotonic()
        pods = [ImagePod(plane, item, folder, root, declared) for item in found]
        for pod in pods:
            stack.callback(pod.stop)
            pod.begin()
        for pod in pods:
            wait_until(pod.ready, START_S, f"{pod.name}: {tail(pod)}")
            print(f"{pod.name}: ready after {time.monotonic() - began:.1f} s")
        said = decided(plane)
        own = [path for pod in pods for path in pod.empty.rglob("*.nb?") if not path.is_symlink()]
    wrong = [] if said == "Approved" else [f"the plan's verdict is {said or 'none'}"]
    print(f"verdict: {said}; kernels compiled in the pods: {len(own)}")
    return wrong + ([f"kernels were compiled in a pod: {own[:3]}"] if own else [])


def tail(pod: ImagePod) -> str:
    """The last that a pod said."""
    return pod.log.read_text("utf-8", "replace")[-2000:] if pod.log.is_file() else ""


def decided(cluster: Cluster) -> str:
    """Verdict on the plan of the scene."""
    for item in SCENE:
        cluster.apply({"apiVersion": "kfarm.dev/v1alpha1", **item})

    def verdict() -> str:
        plan = cluster.get("placementplan", "image", "--namespace", "default")
        return str(plan.get("status", {}).get("verdict", ""))

    wait_until(lambda: bool(verdict()), START_S, "a verdict")
    return verdict()
