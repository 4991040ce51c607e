"""Build what the control plane needs; where that cannot be had, say so and let callers go on.

With ``KFARM_REQUIRE_CLUSTER=1`` leaving it out is a failure.
"""

from __future__ import annotations

import os
import sys

from kfarm_controlplane import ControlPlaneUnavailable, build


def main() -> int:
    """Build the missing binaries; returns an exit code."""
    if os.environ.get("KFARM_TEST_KUBECONFIG"):
        print("==> using the cluster of KFARM_TEST_KUBECONFIG")
        return 0
    try:
        build()
    except ControlPlaneUnavailable as error:
        print(f"==> no control plane: {error}", file=sys.stderr)
        return 1 if os.environ.get("KFARM_REQUIRE_CLUSTER") == "1" else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
