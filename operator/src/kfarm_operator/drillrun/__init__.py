"""``kfarm drill run``: a drill from a file, run on a cluster, followed and saved.

Registered under the entry point group ``kfarm.drill``. What a drill does to nodes is the operator's
work; the runner applies the files, does what can only be done from outside (the API server away,
the operator killed, a node's container paused), tells what happens and keeps the result.
"""

from __future__ import annotations

from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Run one drill; returns the exit code.

    Parameters
    ----------
    arguments
        As after ``kfarm drill run``.

    Returns
    -------
    int
        0 when the drill passed or was a dry run, 1 when it failed or was aborted, 2 when the input
        is wrong, 3 when it could not be carried through.
    """
    from kfarm_operator.drillrun.command import main  # noqa: PLC0415 - loads the client

    return main(arguments)
