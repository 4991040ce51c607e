"""Write the bill of materials of the release: CycloneDX 1.5, one file.

``scripts/sbom.py FILE [--root FOLDER]``. Python packages come from uv's lock, with the digest of
each archive; with the root of an image, Debian's packages come from its ``status.d``. Time and
serial number follow from the content, so that the same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import email.parser
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from requirements_sync import ROOT, RUNTIME, UV

TIME = "2026-01-01T00:00:00Z"
"""As in the wheels: what is stated is content, not when it was listed."""
Component = dict[str, Any]


def main() -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="file to write")
    parser.add_argument("--root", type=Path, help="root of an image: Debian's packages too")
    arguments = parser.parse_args()
    document = python_packages()
    if arguments.root:
        document["components"] += debian_packages(arguments.root)
    text = finished(document)
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    arguments.file.write_text(text, encoding="utf-8", newline="\n")
    print(f"{arguments.file}: {len(document['components'])} components")
    return 0


def python_packages() -> dict[str, Any]:
    """What uv knows of everything that the operator and the twin are installed with."""
    command = [UV, "export", "--locked", "--quiet"]
    command += ["--preview-features", "sbom-export", "--format", "cyclonedx1.5"]
    done = subprocess.run(
        [*command, *RUNTIME, "--extra", "dask"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def debian_packages(root: Path) -> list[Component]:
    """A component for each package that was unpacked into the image.

    Raises
    ------
    SystemExit
        When there is none, which would be a bill with things left out.
    """
    files = sorted((root / "var/lib/dpkg/status.d").glob("*"))
    if not files:
        raise SystemExit(f"{root}: not the root of an image: var/lib/dpkg/status.d is empty")
    fields = [email.parser.Parser().parsestr(file.read_text(encoding="utf-8")) for file in files]
    return [_debian(one["Package"], one["Version"], one["Architecture"]) for one in fields]


def _debian(name: str, version: str, architecture: str) -> Component:
    where = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
    named = {"type": "library", "name": name, "version": version}
    return {**named, "bom-ref": f"{name}-deb@{version}", "purl": where}


def finished(document: dict[str, Any]) -> str:
    """Make time and serial number a function of the content."""
    document["metadata"]["timestamp"] = TIME
    del document["serialNumber"]
    body = json.dumps(document, sort_keys=True)
    serial = uuid.uuid5(uuid.NAMESPACE_URL, body)
    document["serialNumber"] = f"urn:uuid:{serial}"
    return json.dumps(document, sort_keys=True, indent=1) + "\n"


if __name__ == "__main__":
    sys.exit(main())
