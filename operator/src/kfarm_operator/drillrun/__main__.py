"""``python -m kfarm_operator.drillrun``: the same as ``kfarm drill run``."""

from __future__ import annotations

import sys

from kfarm_operator.drillrun import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
