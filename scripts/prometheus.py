"""Get what the tests of the live twin need; where it cannot be had, say so and go on.

With ``KFARM_REQUIRE_CLUSTER=1`` leaving it out is a failure.
"""

from __future__ import annotations

import sys

from kfarm_controlplane import ControlPlaneUnavailable
from kfarm_controlplane.prometheus import prometheus_binary, required


def main() -> int:
    """Unpack Prometheus into the cache unless it is there; returns an exit code."""
    try:
        prometheus_binary()
    except ControlPlaneUnavailable as error:
        print(f"==> no Prometheus: {error}", file=sys.stderr)
        return 1 if required() else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
