"""Write tests/data/power-steps.csv: a synthetic excerpt of what eight accelerators draw.

Idle, a step to load, and idle again, as in published power-step runs of one eight-GPU node; each
device has a level and a ripple of its own from a fixed linear congruential sequence. Synthetic
throughout: no measured value is in it.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "tests/data/power-steps.csv"
SAMPLES, DEVICES = 48, 8
IDLE_W, LOAD_W = 140, 640


def table() -> str:
    """The excerpt as CSV: one row for each sample, one column for each device [W]."""
    seed = 12345
    lines = [",".join(f"gpu{device}_w" for device in range(DEVICES))]
    for sample in range(SAMPLES):
        loaded = SAMPLES // 6 <= sample < SAMPLES * 5 // 6
        row = []
        for device in range(DEVICES):
            seed = (1103515245 * seed + 12345) % 2**31
            level = LOAD_W - 30 * device if loaded else IDLE_W + 2 * device
            row.append(str(level + seed % 13 - 6))
        lines.append(",".join(row))
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the file, or check it with ``--check``."""
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.read_text(encoding="utf-8") == table() else 1
    TARGET.write_text(table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
