"""The pinned tool families: one Go module each, so that their requirements do not fight."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass, field
from pathlib import Path

FAMILY_NAMES = ("kubernetes", "etcd", "kwok", "kueue", "helm")

_COMPONENT_BASE = "k8s.io/component-base/version"
_CLIENT_GO = "k8s.io/client-go/pkg/version"


@dataclass(frozen=True)
class Family:
    """One pinned Go module and the binaries built from it.

    Parameters
    ----------
    name
        Family name, also the folder that holds ``go.mod`` and ``go.sum``.
    version
        Pinned version without the leading ``v``.
    binaries
        Binary name to Go package path.
    directory
        Folder with ``go.mod`` and ``go.sum``.
    variables
        Linker variables (``-X``) that give the binaries their version.
    version_arguments
        Binary name to the arguments that print its version, to judge one found
        elsewhere; a binary without an entry is always built here.
    assets
        Module path and sub-folder copied beside the binaries, if any.
    """

    name: str
    version: str
    binaries: dict[str, str]
    directory: Path
    variables: tuple[tuple[str, str], ...] = ()
    version_arguments: dict[str, tuple[str, ...]] = field(default_factory=dict)
    assets: tuple[str, str] | None = None

    @property
    def minor(self) -> str:
        """Major and minor version, for example ``1.36``."""
        return ".".join(self.version.split(".")[:2])

    @property
    def ldflags(self) -> str:
        """Value for ``go build -ldflags``."""
        return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in self.variables)])

    @property
    def build_flags(self) -> tuple[str, ...]:
        """Flags for ``go build`` that decide the bytes of the result."""
        return ("-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", self.ldflags)

    @property
    def digest(self) -> str:
        """Short digest of ``go.mod``, ``go.sum``, packages, flags and platform."""
        hasher = hashlib.sha256()
        for part in ("go.mod", "go.sum"):
            path = self.directory / part
            hasher.update(path.read_bytes() if path.exists() else b"")
            hasher.update(b"\0")
        facts = (*self.build_flags, repr(sorted(self.binaries.items())), repr(self.assets))
        for fact in (*facts, platform.system(), platform.machine()):
            hasher.update(fact.encode() + b"\0")
        return hasher.hexdigest()[:16]


def modules_directory() -> Path:
    """Return the folder with one sub-folder per family, in a checkout or in a wheel."""
    here = Path(__file__).resolve().parent
    packaged = here / "modules"
    return packaged if packaged.is_dir() else here.parents[1]


def _kubernetes(root: Path) -> Family:
    version = "1.36.3"
    base = {"gitVersion": f"v{version}", "gitMajor": "1", "gitMinor": "36"}
    facts = {**base, "gitTreeState": "clean"}
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    return Family(
        name="kubernetes",
        version=version,
        binaries={name: f"k8s.io/kubernetes/cmd/{name}" for name in names},
        directory=root / "kubernetes",
        variables=tuple(
            (f"{package}.{key}", value)
            for package in (_COMPONENT_BASE, _CLIENT_GO)
            for key, value in facts.items()
        ),
        version_arguments={
            name: ("version", "--client") if name == "kubectl" else ("--version",) for name in names
        },
    )


def _helm(root: Path) -> Family:
    charts = "helm.sh/helm/v3/pkg/chartutil"
    return Family(
        name="helm",
        version="3.22.0",
        binaries={"helm": "helm.sh/helm/v3/cmd/helm"},
        directory=root / "helm",
        variables=(
            ("helm.sh/helm/v3/internal/version.version", "v3.22.0"),
            (f"{charts}.k8sVersionMajor", "1"),
            (f"{charts}.k8sVersionMinor", "36"),
        ),
        version_arguments={"helm": ("version", "--short")},
    )


def families() -> dict[str, Family]:
    """Return all pinned families by name, the longest build first."""
    root = modules_directory()
    etcd = Family(
        name="etcd",
        version="3.6.8",
        binaries={
            "etcd": "go.etcd.io/etcd/server/v3",
            "etcdctl": "go.etcd.io/etcd/etcdctl/v3",
        },
        directory=root / "etcd",
        version_arguments={"etcd": ("--version",), "etcdctl": ("version",)},
    )
    kwok = Family(
        name="kwok",
        version="0.8.0",
        binaries={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        directory=root / "kwok",
        version_arguments={"kwok": ("--version",)},
    )
    kueue = Family(
        name="kueue",
        version="0.19.2",
        binaries={"kueue": "sigs.k8s.io/kueue/cmd/kueue"},
        directory=root / "kueue",
        variables=(("sigs.k8s.io/kueue/pkg/version.GitVersion", "v0.19.2"),),
        assets=("sigs.k8s.io/kueue", "config"),
    )
    found = (_kubernetes(root), etcd, kwok, kueue, _helm(root))
    return {family.name: family for family in found}
