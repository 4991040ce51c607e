"""Build the image without a daemon, and hold the result against what the chart asks of it.

``scripts/image.py build [--base NAME | --debootstrap]`` runs buildah; ``check`` looks at the tree
and runs the image as a pod would: user 65532, read-only root, no network, nothing writable but
``/tmp``. ``--debootstrap`` makes the base from Debian's archive where no container registry can be
reached. Both need root: isolation is chroot, so that it works inside of a container, too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfarm_controlplane.build import cache_directory
from requirements_sync import ROOT

LOCAL_BASE = "localhost/kfarm-base:bookworm"
SUITE = "bookworm"
ARCHIVES = """deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
"""
"""As in Debian's own base image."""
USER = 65532
MAY_RUN = ("usr/bin/python3.11", "opt/kfarm/bin/")
"""Executables of the image, besides libraries: the interpreter and the scripts for it."""
PROBE = ROOT / "scripts" / "image_probe.py"


def main() -> int:
    """Build or check; 1 when the image is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("build", "check"))
    parser.add_argument("--tag", default="localhost/kfarm-operator:dev")
    parser.add_argument("--base", help="base image instead of the one in the Dockerfile")
    parser.add_argument("--debootstrap", action="store_true", help="make a base of one's own")
    parser.add_argument("--pip-config", type=Path, help="pip.conf for a mirror of PyPI")
    parser.add_argument("--certificates", type=Path, help="that the mirror is trusted by")
    parser.add_argument("--pods", action="store_true", help="check: serve the chart from it, too")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("buildah") is None:
        print("image: run scripts/image_tools.sh, and this, as root", file=sys.stderr)
        return 2
    if arguments.what == "check":
        return check(arguments.tag, pods=arguments.pods)
    base = make_base() if arguments.debootstrap else arguments.base
    return build(arguments.tag, base, arguments.pip_config, arguments.certificates)


def buildah(*words: str) -> list[str]:
    """Command line of buildah with a store of its own."""
    store = cache_directory().parent / "image"
    where = ("--root", str(store / "root"), "--runroot", str(store / "run"))
    return ["buildah", *where, "--storage-driver", "overlay", *words]


def told(*words: str) -> str:
    """Run buildah and return what it says."""
    done = subprocess.run(buildah(*words), check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def make_base() -> str:
    """Debian's smallest system as an image, unless there is one; apt checks its signatures."""
    if subprocess.run(buildah("inspect", LOCAL_BASE), capture_output=True, check=False).returncode:
        with tempfile.TemporaryDirectory() as folder:
            command = ["debootstrap", "--variant=minbase", SUITE, folder]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            (Path(folder) / "etc/apt/sources.list").write_text(ARCHIVES)
            container = told("from", "scratch")
            told("add", "-q", container, folder, "/")
            told("commit", "-q", container, LOCAL_BASE)
            told("rm", container)
    return LOCAL_BASE


def build(tag: str, base: str | None, config: Path | None, certificates: Path | None) -> int:
    """Run the Dockerfile; returns buildah's exit code."""
    command = buildah("build", "--isolation", "chroot", "--layers", "--format", "docker")
    command += ["--tag", tag]
    if base:
        command += ["--build-arg", f"BASE={base}"]
    trusted = certificates or (Path(os.environ["PIP_CERT"]) if "PIP_CERT" in os.environ else None)
    with tempfile.TemporaryDirectory() as folder:
        if trusted:
            command += ["--secret", f"id=ca,src={trusted}"]
            if config is None:
                config = Path(folder) / "pip.conf"
                config.write_text("[global]\ncert = /run/secrets/ca\n")
        if config:
            command += ["--secret", f"id=pip,src={config}"]
        return subprocess.run([*command, str(ROOT)], check=False).returncode


def check(tag: str, *, pods: bool) -> int:
    """Say all that is wrong with an image; with `pods`, also when the chart runs it."""
    config = json.loads(told("inspect", "--type", "image", tag))["Docker"]["config"]
    wrong = list(wrong_config(config))
    with mounted(tag) as root:
        wrong += wrong_tree(root)
        wrong += wrong_run(root, config)
        if pods:
            from image_serve import serve  # noqa: PLC0415 - needs a control plane

            wrong += serve(root, environment(config))
        size = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_symlink())
    print(f"image: {tag}, {size / 1e6:.0f} MB, {len(wrong)} complaints")
    for line in wrong:
        print(f"image: {line}")
    return 1 if wrong else 0


@contextmanager
def mounted(tag: str) -> Iterator[Path]:
    """Root of an image while the block lasts."""
    container = told("from", tag)
    try:
        yield Path(told("mount", container))
    finally:
        told("umount", container)
        told("rm", container)


def wrong_config(config: dict[str, Any]) -> Iterator[str]:
    """What the chart counts on."""
    if config.get("User") != f"{USER}:{USER}":
        yield f"runs as {config.get('User') or 'root'}, not as {USER}"
    if config.get("Entrypoint") != ["kfarm-operator"]:
        yield f"starts {config.get('Entrypoint')}"


def wrong_tree(root: Path) -> list[str]:
    """Files that a pod has no use for, or could change."""
    wrong = []
    for path in root.rglob("*"):
        name, facts = path.relative_to(root).as_posix(), path.lstat()
        if stat.S_ISLNK(facts.st_mode):
            continue
        if facts.st_mode & (stat.S_ISUID | stat.S_ISGID) and stat.S_ISREG(facts.st_mode):
            wrong.append(f"{name}: sets the user or group")
        if facts.st_mode & stat.S_IWOTH and not facts.st_mode & stat.S_ISVTX:
            wrong.append(f"{name}: everybody may write to it")
        if USER in (facts.st_uid, facts.st_gid):
            wrong.append(f"{name}: belongs to the user that the pod runs as")
        if stat.S_ISREG(facts.st_mode) and facts.st_mode & 0o111 and not expected(name):
            wrong.append(f"{name}: an executable that nothing needs")
    return wrong


def environment(config: dict[str, Any]) -> dict[str, str]:
    """What the image declares."""
    return dict(entry.split("=", 1) for entry in config.get("Env") or ())


def expected(name: str) -> bool:
    """Whether a file may be executable."""
    return name.startswith(MAY_RUN) or ".so" in Path(name).name


def wrong_run(root: Path, config: dict[str, Any]) -> list[str]:
    """Run the probe as a pod would run; it says a line for each thing that is wrong."""
    command = ["/opt/kfarm/bin/python3.11", "-I", "-c", PROBE.read_text()]
    done = subprocess.run(
        confined(root, command),
        env=environment(config),
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, end="")
    said = [line.removeprefix("WRONG ") for line in done.stdout.splitlines() if "WRONG" in line]
    if done.returncode or "PROBED" not in done.stdout:
        said.append(f"the probe ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return said


def confined(root: Path, command: Sequence[str]) -> list[str]:
    """Command line with the limits of the chart: read-only root, its user, no network, new pids."""
    tool = {name: shutil.which(name) for name in ("mount", "unshare", "setpriv", "sh", "touch")}
    devices = " ".join(f"/dev/{name}" for name in ("null", "zero", "random", "urandom"))
    script = f"""set -e
{tool["mount"]} --bind "$1" "$1"
{tool["mount"]} -o remount,bind,ro "$1"
{tool["mount"]} -t proc proc "$1/proc"
{tool["mount"]} -t tmpfs -o size=256m,mode=1777 tmpfs "$1/tmp"
{tool["mount"]} -t tmpfs tmpfs "$1/dev"
for device in {devices}; do
  {tool["touch"]} "$1$device"; {tool["mount"]} --bind $device "$1$device"
done
root=$1; shift
exec {tool["setpriv"]} --no-new-privs {tool["unshare"]} --root="$root" --wd=/tmp \\
  --setgid={USER} --setuid={USER} -- "$@"
"""
    spaces = ["--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"]
    return [str(tool["unshare"]), *spaces, str(tool["sh"]), "-c", script, "sh", str(root), *command]


if __name__ == "__main__":
    sys.exit(main())
