"""Errors that say what happened, where, and the remedy."""

from __future__ import annotations


class ControlPlaneError(RuntimeError):
    """A control plane that was asked for did not do what it should.

    Parameters
    ----------
    reason
        What happened and where.
    remedy
        What the reader can do about it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} Remedy: {remedy}")
        self.reason = reason
        self.remedy = remedy


class ControlPlaneUnavailable(ControlPlaneError):
    """No control plane can be had on this machine as it is now.

    Raised when binaries are missing and cannot be built: no Go toolchain, or no
    module proxy. Tests skip on it, unless ``KFARM_REQUIRE_CLUSTER=1``.
    """


class BuildError(ControlPlaneError):
    """The sources are there, but the Go build itself failed."""
