"""Runs inside of the image, as a pod would: says what does not work there."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from kfarm_operator.runner import VERDICTS, WHATIFS, TwinRunner
from kfarm_twin.warm import warm_request
from kfarm_twin.work.forkclient import ServerCommand


def say_wrong(what: str) -> None:
    """One line for each thing that is wrong."""
    print(f"WRONG {what}")


def confinement() -> None:
    """The user is the chart's, without rights, and only /tmp takes files."""
    facts = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    print(f"user {os.getuid()}, capabilities {facts['CapEff']}, no new {facts['NoNewPrivs']}")
    if os.getuid() == 0 or int(facts["CapEff"], 16):
        say_wrong("the probe itself has rights")
    for folder in ("/", "/etc", "/opt/kfarm", "/opt/kfarm/kernels", "/var", "/usr/lib"):
        try:
            (Path(folder) / "written").touch()
        except OSError:
            continue
        say_wrong(f"{folder} can be written to")
    for program in ("sh", "bash", "dash", "busybox", "cc", "gcc", "ld", "perl", "pip", "apt-get"):
        found = shutil.which(program, path="/bin:/usr/bin:/sbin:/usr/sbin:/opt/kfarm/bin")
        if found:
            say_wrong(f"there is {found}")


def programs() -> None:
    """Both entry points start."""
    for words in (("kfarm-operator", "--help"), ("kfarm", "--help"), ("kfarm", "crds")):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            say_wrong(f"{' '.join(words)}: {done.returncode}: {done.stderr[-500:]}")


async def verdict() -> None:
    """The operator's own way to a verdict and to a warm server of what-ifs."""
    for entry in (VERDICTS, WHATIFS):
        began = time.monotonic()
        runner = TwinRunner(1, ServerCommand(entry=entry.entry, warm=entry.warm))
        await runner.start()
        print(f"{entry.entry}: warm after {time.monotonic() - began:.1f} s")
        if entry is VERDICTS:
            found = await runner.run(warm_request(), deadline_s=300, memory_bytes=2**30)
            print(f"verdict: {found.verdict}")
        await runner.close()


def compiled() -> None:
    """Whatever was compiled here is a file in the cache that is no link to the image."""
    cache = Path(os.environ["KFARM_CACHE"])
    files = [path for path in cache.rglob("*") if not path.is_dir()]
    own = [path.relative_to(cache).as_posix() for path in files if not path.is_symlink()]
    print(f"kernels: {len(files) - len(own)} files of the image, {len(own)} compiled here")
    if own or not files:
        say_wrong(f"kernels were compiled at run time: {own[:3]}")


def main() -> None:
    """Probe everything."""
    confinement()
    programs()
    asyncio.run(verdict())
    compiled()
    print("PROBED")


if __name__ == "__main__":
    main()
    sys.exit(0)
