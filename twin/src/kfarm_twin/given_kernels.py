"""Kernels that an image brings: found compiled, so that a new pod compiles nothing.

An image is read-only, but numba asks for a cache that it may write to. The image therefore names
its own cache in ``$KFARM_KERNELS``, and a process that is about to load kernels fills its private
cache with links to the files there. Nothing is copied, and what is linked to cannot be changed from
inside; a file that numba writes anew replaces the link alone.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "KFARM_KERNELS"
"""Environment variable that names the cache of the image."""


def link_given_kernels() -> int:
    """Link what the image brings into the cache of this process.

    Returns
    -------
    int
        Links made now; zero without an image, and on every later call.
    """
    given = os.environ.get(VARIABLE)
    cache = os.environ.get("KFARM_CACHE")
    if not given or not cache:
        return 0
    return link_tree(Path(given), Path(cache) / "kernels")


def link_tree(given: Path, cache: Path) -> int:
    """Make the folders of `given` below `cache`, for this user alone, and a link for each file.

    A file that is there already is left as it is, so that any number of processes may do this at
    once. A cache that cannot be written to is left to `kfarm_twin._jit`, which says so.
    """
    made = 0
    for source in sorted(given.rglob("*")):
        target = cache / source.relative_to(given)
        try:
            if source.is_dir():
                target.mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                target.symlink_to(source)
                made += 1
        except FileExistsError:
            continue
        except OSError:
            return made
    return made
