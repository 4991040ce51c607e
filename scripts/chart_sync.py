"""Make what the Helm chart carries from where it is written: the CRDs and the catalogue.

Run without arguments to write, with ``--check`` to fail when a file is stale. The CRDs become
templates, so that ``helm upgrade`` upgrades them, and are kept on uninstall.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
METADATA = """metadata:
  annotations:
    helm.sh/resource-policy: keep
  labels: {{- include "kfarm.labels" . | nindent 4 }}
"""


def template_of(source: str) -> str:
    """A CRD as a template of the chart.

    Raises
    ------
    ValueError
        When the CRD holds what Helm would take for a template, or metadata of another form.
    """
    if "{{" in source:
        raise ValueError("a CRD holds '{{', which Helm would take for a template: reword it")
    before, found, after = source.partition("\nmetadata:\n  name: ")
    if not found or "annotations:" in after.partition("\nspec:\n")[0]:
        raise ValueError("a CRD's metadata is not a name alone: teach this script the other form")
    body = f"{before}\n{METADATA}  name: {after}".rstrip()
    return f"{{{{- if .Values.crds.enabled }}}}\n{body}\n{{{{- end }}}}\n"


def as_it_is(source: str) -> str:
    """The same text."""
    return source


COPIES: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("crds", "charts/kfarm/templates/crds", template_of),
    ("examples/catalogue", "charts/kfarm/files/catalogue", as_it_is),
)


def wanted(source: Path, change: Callable[[str], str]) -> dict[str, str]:
    """Names and texts of the files that the chart should hold."""
    paths = sorted(source.glob("*.yaml"))
    return {path.name: change(path.read_text(encoding="utf-8")) for path in paths}


def synchronise(target: Path, texts: dict[str, str], *, check: bool) -> list[str]:
    """Names of files that are missing, superfluous or different; mended unless `check`."""
    paths = target.glob("*.yaml")
    found = {path.name: path.read_text(encoding="utf-8") for path in paths}
    stale = sorted(name for name in texts | found if texts.get(name) != found.get(name))
    if not check:
        target.mkdir(parents=True, exist_ok=True)
        for name in stale:
            if name in texts:
                (target / name).write_text(texts[name], encoding="utf-8")
            else:
                (target / name).unlink()
    return stale


def main() -> int:
    """Write or check; the exit code is 1 when a file is stale or a source is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail on stale files, write nothing")
    check = parser.parse_args().check
    stale = []
    for source, target, change in COPIES:
        texts = wanted(ROOT / source, change)
        if not texts:
            print(f"{source} holds no YAML: generate it before the chart", file=sys.stderr)
            return 1
        stale += [f"{target}/{name}" for name in synchronise(ROOT / target, texts, check=check)]
    for name in stale:
        print(f"{name}: {'stale, run scripts/chart_sync.py' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
