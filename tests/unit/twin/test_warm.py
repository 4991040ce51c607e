"""What is compiled in two processes side by side is what a verdict needs, each kernel in one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from kfarm_twin._jit import COMPILED

pytestmark = pytest.mark.skipif(not COMPILED, reason="without numba there are no kernels")
SHARED = {"kernels.rng", "kernels.samplers"}
"""What both sides call is compiled by both: a second of 140."""
LEFT = {"policy.gangs.filter_nodes", "kernels.converters.chain_inputs"}
"""What only faults of the power and of nodes call is left to the warm-up that follows: half a
second."""
SCRIPT = """
import gc, json, sys
from kfarm_twin import warm
from numba.core.dispatcher import Dispatcher
usual = gc.get_threshold()
for name in sys.argv[1:]:
    getattr(warm, name)()
assert gc.get_threshold() == usual
loaded = {
    f"{found.py_func.__module__}.{found.py_func.__name__}({signature})"
    for found in gc.get_objects() if isinstance(found, Dispatcher)
    for signature in found.overloads
}
print(json.dumps(sorted(loaded)))
"""


def kernels_of(*parts: str) -> set[str]:
    """Kernels and signatures that a process has after these functions of the warm-up."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *parts], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def function(kernel: str) -> str:
    """Without package and signature."""
    return kernel.partition("(")[0].removeprefix("kfarm_twin.")


def module(kernel: str) -> str:
    return function(kernel).rpartition(".")[0]


def test_two_processes_compile_what_a_verdict_needs_and_nothing_large_twice() -> None:
    kernels_of("warm")  # fills the cache; who compiles holds the inside of kernels as well
    everything = kernels_of("warm")
    futures, others = kernels_of("warm_futures"), kernels_of("warm_others")
    assert "kernels.loop.run_batch" in set(map(function, futures))
    assert "kernels.cooling.play_fault" in set(map(function, others))
    assert futures | others <= everything
    assert set(map(function, everything - futures - others)) <= LEFT
    assert set(map(module, futures & others)) <= SHARED
