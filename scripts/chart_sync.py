"""Copy what the Helm chart carries from where it is made: the CRDs and the catalogue.

Run without arguments to copy, with ``--check`` to fail when a copy is stale. Helm installs
``charts/kfarm/crds`` before anything else, keeps it on uninstall and never upgrades it: apply
``crds/`` before ``helm upgrade``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIES = (
    ("crds", "charts/kfarm/crds"),
    ("examples/catalogue", "charts/kfarm/files/catalogue"),
)


def differences(source: Path, target: Path) -> list[str]:
    """Names of the YAML files that are missing, superfluous or different in `target`."""
    wanted = {path.name: path.read_bytes() for path in source.glob("*.yaml")}
    found = {path.name: path.read_bytes() for path in target.glob("*.yaml")}
    return sorted(name for name in wanted | found if wanted.get(name) != found.get(name))


def synchronise(source: Path, target: Path, names: list[str]) -> None:
    """Make the named files of `target` equal to those of `source`."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).exists():
            (target / name).write_bytes((source / name).read_bytes())
        else:
            (target / name).unlink()


def main() -> int:
    """Copy or check; the exit code is 1 when a copy is stale or a source is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail on stale copies, copy nothing")
    check = parser.parse_args().check
    stale = []
    for source, target in COPIES:
        if not any((ROOT / source).glob("*.yaml")):
            print(f"{source} holds no YAML: generate it before the chart", file=sys.stderr)
            return 1
        names = differences(ROOT / source, ROOT / target)
        stale += [f"{target}/{name}" for name in names]
        if not check:
            synchronise(ROOT / source, ROOT / target, names)
    for name in stale:
        print(f"{name}: {'stale, run scripts/chart_sync.py' if check else 'copied'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
