"""The one place that imports numba: how kernels are compiled and where compiled code is kept.

numba checks only the file of the function that is called, so that an edit of a callee in another
file would leave stale code in use. The cache directory is therefore named by a digest of all kernel
sources, the numba version and the CPU.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = Path(__file__).parent
_DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


def _import_numba() -> ModuleType | None:
    if _DISABLED:
        return None
    try:
        import numba  # noqa: PLC0415 - the plain path must work without it
    except ImportError:
        return None
    return numba


def _cpu_name() -> str:
    """The CPU that code is generated for: numba's setting, or the host's name with its features."""
    named = os.environ.get("NUMBA_CPU_NAME")
    if named:
        return f"{named}:{os.environ.get('NUMBA_CPU_FEATURES', '')}"
    from llvmlite import binding  # type: ignore[import-untyped]  # noqa: PLC0415

    return f"{binding.get_host_cpu_name()}:{binding.get_host_cpu_features().flatten()}"


def sources_digest(package: Path, numba_version: str, cpu: str) -> str:
    """Name of the cache: 16 hex digits over kernel sources, numba version and CPU."""
    digest = hashlib.sha256(f"{numba_version}\0{cpu}\0{platform.machine()}".encode())
    shared = [package / name for name in ("_jit.py", "arrays.py")]
    rules = [
        *sorted((package / "policy").glob("*.py")),
        *sorted((package / "kernels").glob("*.py")),
    ]
    for source in [*shared, *rules]:
        name = source.relative_to(package).as_posix()
        digest.update(b"\0" + name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def cache_root() -> Path:
    """Directory under which compiled kernels are kept: $KFARM_CACHE or the user's cache."""
    declared = os.environ.get("KFARM_CACHE")
    if declared:
        return Path(declared) / "kernels"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "kfarm" / "kernels"


def _is_writable(directory: Path) -> bool:
    """Whether a file can really be made there; permission bits do not say so for all users."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def _choose_cache(numba: ModuleType) -> bool:
    """Point numba to our cache; False, with one warning, where none can be written."""
    directory = cache_root() / sources_digest(_PACKAGE, numba.__version__, _cpu_name())
    if not _is_writable(directory):
        warnings.warn(
            f"kernel cache {directory} is not writable: kernels are compiled anew in each process; "
            "set KFARM_CACHE to a directory of your own",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    numba.config.CACHE_DIR = str(directory)
    return True


DEFERRABLE = ("0.68.",)
"""Versions of numba whose insides are as `_deferred_pipeline` knows them."""


def _deferred_pipeline(numba: ModuleType) -> type | None:
    """Compile a function up to the code of its own body, which callers link and optimise.

    numba makes machine code of each function together with all that it calls, however deep, so
    that a chain of callers is optimised and written out once for each of its links. What only
    kernels call needs no machine code of its own: the failure engine compiles in 17 s of CPU time
    so, else in 24 s, and plays the same. None for versions of numba that were not tried.
    """
    if not numba.__version__.startswith(DEFERRABLE):
        return None
    codegen, compiler, typed_passes, machinery = (
        import_module(f"numba.core.{name}")
        for name in ("codegen", "compiler", "typed_passes", "compiler_machinery")
    )

    class Unplaced:
        """The code generator, for code that has no address."""

        def __init__(self, real: Any) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def set_env(self, name: str, env: object) -> None:
            pass

    class Library(codegen.JITCodeLibrary):  # type: ignore[misc]
        @property
        def codegen(self) -> Unplaced:
            return Unplaced(self._codegen)

        def _optimize_final_module(self) -> None:
            pass

        def _finalize_final_module(self) -> None:
            self._finalize_dynamic_globals()
            self._verify_declare_only_symbols()
            self._finalized = True

        def get_pointer_to_function(self, name: str) -> int:
            self._ensure_finalized()
            return 0

    @machinery.register_pass(mutates_CFG=True, analysis_only=False)
    class Lowering(typed_passes.NativeLowering):  # type: ignore[misc]
        _name = "deferred_lowering"

        def run_pass(self, state: Any) -> bool:
            name = state.func_id.func_qualname
            state.library = Library(state.targetctx.codegen(), name)
            return bool(super().run_pass(state))

    class Pipeline(compiler.CompilerBase):  # type: ignore[misc]
        def define_pipelines(self) -> list[Any]:
            passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
            steps = [
                (Lowering if step is typed_passes.NativeLowering else step, text)
                for step, text in passes.passes
            ]
            passes.passes[:] = steps
            passes._finalized = False
            passes.finalize()
            return [passes]

    return Pipeline


_NUMBA = _import_numba()
_DEFERRED = _deferred_pipeline(_NUMBA) if _NUMBA is not None else None
COMPILED = _NUMBA is not None
"""Whether kernels are compiled in this process."""
_CACHE = _choose_cache(_NUMBA) if _NUMBA is not None else False


def _compile(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """Strict IEEE arithmetic (no fastmath), no GIL while it runs.

    Kernels neither make arrays nor keep them, so reference counting is left out (`_nrt`): it took
    nine tenths of the time of the event loop, which passes tuples of arrays around.
    """
    if _NUMBA is None:
        return function
    compiled: Any = _NUMBA.njit(
        nogil=True, fastmath=False, error_model="numpy", _nrt=False, **options
    )
    return cast("Callable[P, R]", compiled(function))


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function on arrays and keep the code; without numba it stays as it is."""
    return _compile(function, cache=_CACHE)


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """As `kernel`, for functions that only kernels call.

    No entry from Python is made for them and no code of their own is kept (it is part of the
    caller's), which halves the time of a first compilation.
    """
    options: dict[str, Any] = {"pipeline_class": _DEFERRED} if _DEFERRED else {}
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """As `inner`, and made part of each caller.

    A tuple of arrays is handed over as all its pointers and sizes: for small functions with large
    tuples the call cost seventeen times the work (9.3 against 0.5 us for a decision of the kube
    driver). Longer first compilation: for what runs per node.
    """
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)


def spliced(function: Callable[P, R]) -> Callable[P, R]:
    """As `inner`, for functions of one caller: the body is part of the caller's before all else.

    Each compiled function is optimised again within each that calls it, so that chains of callers
    cost a multiple. The driver of queues compiles in 26 s of CPU time so, else in 34 s, and plays
    twice as fast, since its tables of arrays are not handed over as their pointers and sizes.
    """
    return _compile(function, inline="always")
