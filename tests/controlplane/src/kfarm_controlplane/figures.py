"""Where tests and campaigns leave the figures that docs/reliability.md shows.

A run that is to renew the page sets ``KFARM_FIGURES`` to a directory; every other run records
nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "KFARM_FIGURES"
"""Environment variable that names the directory."""


def record(section: str, figures: Mapping[str, Any]) -> None:
    """Write the figures of one section of the page, if they are asked for.

    Parameters
    ----------
    section
        Name of the section, for example ``campaign``; also the name of the file.
    figures
        What to show: numbers, text, and lists or mappings of them. NaN is refused.
    """
    directory = os.environ.get(VARIABLE)
    if not directory:
        return
    text = json.dumps(dict(figures), sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    target = Path(directory) / f"{section}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.write_text(text + "\n", encoding="utf-8", newline="\n")
    partial.replace(target)
