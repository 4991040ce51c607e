"""Compiled code is never stale, works without a cache, and gives the bits of plain Python."""

from __future__ import annotations

import hashlib
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import kfarm_twin
import numpy as np
from kfarm_twin import _jit
from kfarm_twin.compile import compile_farm
from kfarm_twin.place import place
from kfarm_twin.simulate import Simulator

PACKAGE = Path(kfarm_twin.__file__).parent
FARMS = Path(__file__).parents[2] / "twin_farms.py"
farms = SimpleNamespace(**runpy.run_path(str(FARMS)))

CALLEE = """from kfarm_twin._jit import kernel

@kernel
def step(x: int) -> int:
    return x + {amount}
"""
CALLER = """from kfarm_twin._jit import kernel
from kfarm_twin.kernels.callee import step

@kernel
def twice(x: int) -> int:
    return step(step(x))
"""
RUN = "from kfarm_twin.kernels.caller import twice; print(twice(0))"
SHOW_CACHE = "import kfarm_twin._jit, numba; print(numba.config.CACHE_DIR)"
DIGEST = f"""
import runpy, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
print(runpy.run_path({str(Path(__file__))!r})["outcome_digest"]())
"""


def outcome_digest() -> str:
    """Digest of all results of three futures of a gang and some pods."""
    farm = farms.farm(farms.cluster(nodes=10))
    plan = farms.plan(farms.training(4), farms.serving(5))
    model = compile_farm([farm], [farms.profile()], plan, farms.snapshot(farm))
    placed = place(model)
    assert isinstance(placed, np.ndarray)
    outcome = Simulator(model, placed, 9, 900 * 3600 * 10**9, workers=1).play(0, 3)
    return hashlib.sha256(b"".join(column.tobytes() for column in outcome)).hexdigest()


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def copy_package(tmp_path: Path, amount: int) -> dict[str, str]:
    root = tmp_path / "src"
    if not root.exists():
        shutil.copytree(PACKAGE, root / "kfarm_twin", ignore=shutil.ignore_patterns("__pycache__"))
    kernels = root / "kfarm_twin" / "kernels"
    (kernels / "callee.py").write_text(CALLEE.format(amount=amount))
    (kernels / "caller.py").write_text(CALLER)
    return {"PYTHONPATH": str(root), "KFARM_CACHE": str(tmp_path / "cache")}


def test_editing_a_callee_changes_the_result(tmp_path: Path) -> None:
    """The caller's file is untouched; numba alone would go on using its cached code."""
    assert python(RUN, **copy_package(tmp_path, 1)).stdout == "2\n"
    again = python(RUN, **copy_package(tmp_path, 1))
    assert again.stdout == "2\n"
    assert len(list((tmp_path / "cache/kernels").iterdir())) == 1
    assert python(RUN, **copy_package(tmp_path, 10)).stdout == "20\n"
    assert len(list((tmp_path / "cache/kernels").iterdir())) == 2


def test_cache_directory_is_private(tmp_path: Path) -> None:
    python(RUN, **copy_package(tmp_path, 1))
    directory = next((tmp_path / "cache/kernels").iterdir())
    assert directory.stat().st_mode & 0o777 == 0o700


def test_unwritable_cache_costs_one_warning(tmp_path: Path) -> None:
    """A directory below a file can be made by nobody, root included."""
    environment = copy_package(tmp_path, 1)
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = python(RUN, **(environment | {"KFARM_CACHE": str(blocked)}))
    assert done.stdout == "2\n"
    assert done.stderr.count("RuntimeWarning") == 1
    assert "set KFARM_CACHE" in done.stderr


def test_cpu_name_is_part_of_the_key(tmp_path: Path) -> None:
    environment = {"KFARM_CACHE": str(tmp_path)}
    one = python(SHOW_CACHE, **environment).stdout
    other = python(
        SHOW_CACHE, NUMBA_CPU_NAME="x86-64-v2", NUMBA_CPU_FEATURES="", **environment
    ).stdout
    assert one != other
    assert _jit.sources_digest(PACKAGE, "1", "a") != _jit.sources_digest(PACKAGE, "1", "b")
    assert _jit.sources_digest(PACKAGE, "1", "a") != _jit.sources_digest(PACKAGE, "2", "a")


def test_compiled_equals_plain_and_processes_agree() -> None:
    here = outcome_digest()
    plain = python(DIGEST, NUMBA_DISABLE_JIT="1").stdout.strip()
    elsewhere = python(DIGEST, NUMBA_DISABLE_JIT="0").stdout.strip()
    assert plain == here
    assert elsewhere == here


def test_package_and_request_stay_light() -> None:
    code = (
        "import sys, kfarm_twin, kfarm_twin.request; "
        "print({'numba', 'numpy', 'pyarrow', 'plotly', 'yaml'} & set(sys.modules))"
    )
    assert python(code).stdout == "set()\n"
