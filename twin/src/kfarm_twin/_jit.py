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


_NUMBA = _import_numba()
COMPILED = _NUMBA is not None
"""Whether kernels are compiled in this process."""
_CACHE = _choose_cache(_NUMBA) if _NUMBA is not None else False


def _pipelines(numba: ModuleType) -> tuple[Any, Any]:
    """Compilers of kernels and of inner functions that link and optimise each program once.

    numba makes a library of machine code of every function, callees included, and optimises them
    anew in each caller: with chains of a hundred functions most of the time of a first compilation
    goes into code that is thrown away. Here inner functions keep only their own code; a kernel
    links all that it reaches, makes them private to itself, so that arguments which nobody uses
    are dropped, and is optimised once. (Fleet of 400 nodes with crews: 2.66 to 0.74 ms per future;
    all kernels of a verdict: 72 to 44 s of CPU; of the farm driver: 41 to 20 s.)
    """
    names = ("_dynfunc", "core.codegen", "core.compiler", "core.typed_passes")
    inside: list[Any] = [import_module(f"{numba.__name__}.{name}") for name in names]
    dynfunc, codegen, compiler, typed_passes = inside
    register_pass: Any = import_module(f"{numba.__name__}.core.compiler_machinery").register_pass

    class KernelLibrary(codegen.JITCodeLibrary):  # type: ignore[misc, name-defined]
        inner = False

        def add_linking_library(self, library: Any) -> None:
            self._linking_libraries.append(library)

        def reached(self, found: dict[Any, None]) -> dict[Any, None]:
            """Libraries of all callees, those of callees first."""
            for library in self._linking_libraries:
                if library not in found:
                    if getattr(library, "inner", False):
                        library.reached(found)
                    found[library] = None
            return found

        def finalize(self) -> None:
            self._raise_if_finalized()
            own = {f.name for f in self._final_module.functions if not f.is_declaration}
            for library in reversed(self.reached({})):  # callers first: else nobody wants callees
                self._reload_init.update(library._reload_init)
                self._final_module.link_in(library._get_module_for_linking(), preserve=True)
            for code in self._final_module.functions:
                if not code.is_declaration and code.name not in own:
                    code.linkage = "internal"
            self._optimize_final_module()
            self._final_module.verify()
            self._finalize_final_module()

    class InnerLibrary(KernelLibrary):
        inner = True

        def finalize(self) -> None:
            self._finalized = True

    @register_pass(mutates_CFG=True, analysis_only=False)
    class KernelLowering(typed_passes.NativeLowering):  # type: ignore[misc, name-defined]
        _name = "kfarm_kernel_lowering"

        def run_pass(self, state: Any) -> bool:
            name = state.func_id.func_qualname
            state.library = KernelLibrary(state.targetctx.codegen(), name)
            state.library.enable_object_caching()
            return bool(super().run_pass(state))

    @register_pass(mutates_CFG=True, analysis_only=False)
    class InnerLowering(typed_passes.NativeLowering):  # type: ignore[misc, name-defined]
        _name = "kfarm_inner_lowering"

        def run_pass(self, state: Any) -> bool:
            name = state.func_id.func_qualname
            state.library = InnerLibrary(state.targetctx.codegen(), name)
            state.flags.no_compile = True
            super().run_pass(state)
            made = state["cr"]
            # no machine code behind it: it stands for the function in callers' type inference
            entry = dynfunc.make_function(
                made.fndesc.lookup_module(), name, "inner", 0, made.env, (state.library,)
            )
            state.targetctx.insert_user_function(entry, made.fndesc, [state.library])
            state["cr"] = made._replace(cfunc=entry)
            return True

    def with_lowering(lowering: Any) -> Any:
        class Compiler(compiler.CompilerBase):  # type: ignore[misc, name-defined]
            def define_pipelines(self) -> list[Any]:
                manager = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
                manager.passes[:] = [
                    (lowering if step is typed_passes.NativeLowering else step, text)
                    for step, text in manager.passes
                ]
                manager._finalized = False
                manager.finalize()
                return [manager]

        return Compiler

    return with_lowering(KernelLowering), with_lowering(InnerLowering)


def _choose_pipelines(numba: ModuleType | None) -> tuple[Any, Any]:
    """The pipelines above, or numba's own where its inside has changed."""
    if numba is None:
        return None, None
    try:
        return _pipelines(numba)
    except (ImportError, AttributeError):
        return None, None


_KERNELS, _INNERS = _choose_pipelines(_NUMBA)


def _compile(function: Callable[P, R], pipeline: Any, **options: Any) -> Callable[P, R]:
    """Strict IEEE arithmetic (no fastmath), no GIL while it runs.

    Kernels neither make arrays nor keep them, so reference counting is left out (`_nrt`): it took
    nine tenths of the time of the event loop, which passes tuples of arrays around.
    """
    if _NUMBA is None:
        return function
    if pipeline is not None:
        options["pipeline_class"] = pipeline
    compiled: Any = _NUMBA.njit(
        nogil=True, fastmath=False, error_model="numpy", _nrt=False, **options
    )
    return cast("Callable[P, R]", compiled(function))


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function on arrays and keep the code; without numba it stays as it is."""
    return _compile(function, _KERNELS, cache=_CACHE)


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """As `kernel`, for functions that only kernels call.

    No entry from Python is made for them and no code of their own is kept (it is part of the
    caller's), which halves the time of a first compilation.
    """
    return _compile(function, _INNERS, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """As `inner`, and made part of each caller.

    A tuple of arrays is handed over as all its pointers and sizes: for small functions with large
    tuples the call cost seventeen times the work (9.3 against 0.5 us for a decision of the kube
    driver). Longer first compilation: for what runs per node.
    """
    return _compile(
        function, _INNERS, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
    )


def spliced(function: Callable[P, R]) -> Callable[P, R]:
    """As `inner`, for functions of one caller: they are written apart to be read, not to be shared.

    Since a kernel is linked and optimised once, LLVM makes the body of a function with one caller
    part of it by itself. Splicing the source, as before, made functions so long that inferring
    their types took longer than all else (all kernels of a verdict: 206 to 168 s of CPU, futures
    as fast).
    """
    return inner(function)
