"""``kfarm compare``: from files and options to a request, and from a result to what is printed."""

from __future__ import annotations

import base64
import binascii
import gzip
import shlex
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from kfarm_api.parse import InvalidObject, show, validate
from kfarm_api.twinrun import TwinRun, TwinRunSpec

from kfarm_twin.cli_inputs import Inputs, read_inputs
from kfarm_twin.cli_output import Output
from kfarm_twin.cli_policies import parse_policies
from kfarm_twin.load import ManifestError, Problem, load_foreign
from kfarm_twin.request import InputError
from kfarm_twin.whatif_request import Source, WhatIfRequest, source_key
from kfarm_twin.whatif_result import WhatIf

DEFAULT_POLICIES = ("fifo", "easy")
COMMAND_LINE = Path("command line")
MAX_RESULT_BYTES = 64 << 20
FORMATS = {"swf": "SWF", "openb": "Openb", "philly": "Philly", "kfarm": "Kfarm", "csv": "CSV"}


@dataclass(frozen=True)
class CompareOptions:
    """The command line as it was given."""

    files: tuple[Path, ...] = ()
    run: str | None = None
    trace: Path | None = None
    format: str | None = None
    nodes: int | None = None
    gpus_per_node: int = 8
    nodes_per_rack: int = 4
    nodes_per_unit: int = 0
    policies: tuple[str, ...] = ()
    seeds: int | None = None
    seed: int | None = None
    horizon: str | None = None
    heat: bool = False
    result: Path | None = None


def compare_policies(options: CompareOptions, report: Path | None, output: Output) -> None:
    """Play or read the result, write the page, print.

    Raises
    ------
    ManifestError
        With everything that is wrong with files and options.
    """
    found = read_result(options.result) if options.result else _play(options)
    if report is not None:
        from kfarm_twin.compare_page import render  # noqa: PLC0415 - plotly loads slowly

        report.write_text(render(found, reproduce(options, found)), encoding="utf-8")
    _print(found, report, output)


def _print(found: WhatIf, report: Path | None, output: Output) -> None:
    from rich.console import Console  # noqa: PLC0415

    from kfarm_twin.compare_output import print_result  # noqa: PLC0415

    if report is not None:
        Console(stderr=True).print(f"report: {report}", markup=False, highlight=False)
    print_result(Console(), found, output)


def _play(options: CompareOptions) -> WhatIf:
    request = build_request(options)
    from kfarm_twin.cli_progress import LateProgress  # noqa: PLC0415
    from kfarm_twin.whatif import play  # noqa: PLC0415 - numba

    try:
        with LateProgress(request.name, "replicas") as progress:
            return play(request, progress)
    except InputError as error:
        file = options.trace or (options.files[0] if options.files else COMMAND_LINE)
        raise ManifestError([Problem(file, 0, error.where, error.found, error.expected)]) from error


def build_request(options: CompareOptions) -> WhatIfRequest:
    """All that the result depends on.

    Raises
    ------
    ManifestError
        When something is missing, does not belong together, or is wrong.
    """
    inputs = read_inputs(options.files) if options.files else Inputs(())
    runs = [d.object for d in inputs.documents if isinstance(d.object, TwinRun)]
    if not runs:
        spec = _spec_of_options(options, inputs)
        return WhatIfRequest(
            name=options.trace.name if options.trace else "what-if",
            spec=spec,
            farms=inputs.farms(),
            source=_file_source(options.trace),
            profiles=inputs.profiles(),
        )
    run = select_run(runs, options.run)
    return WhatIfRequest(
        name=run.metadata.name,
        spec=_overridden(run.spec, options),
        farms=inputs.farms(),
        source=run_source(run, options),
        profiles=inputs.profiles(),
    )


def select_run(runs: Sequence[TwinRun], wanted: str | None) -> TwinRun:
    """The TwinRun that is named, or the only one.

    Raises
    ------
    ManifestError
        When that is not exactly one.
    """
    chosen = [run for run in runs if wanted in (None, run.metadata.name)]
    if len(chosen) != 1:
        names = ", ".join(run.metadata.name for run in runs)
        _refuse(
            "--run", f"{len(chosen)} TwinRuns", f"the name of one of the files' TwinRuns: {names}"
        )
    return chosen[0]


def _overridden(spec: TwinRunSpec, options: CompareOptions) -> TwinRunSpec:
    """The spec with the replicas and seed of the command line."""
    if options.policies or options.nodes is not None or options.format or options.horizon:
        _refuse(
            "--policy, --nodes, --format or --horizon",
            "an option beside a TwinRun",
            "these figures in the TwinRun itself; --seeds, --seed and --trace may be given",
        )
    changed = {"replicas": options.seeds, "seed": options.seed, "heat": options.heat or None}
    body = spec.as_manifest() | {k: v for k, v in changed.items() if v is not None}
    return _checked(body)


def _spec_of_options(options: CompareOptions, inputs: Inputs) -> TwinRunSpec:
    if options.trace is None:
        _refuse("", "nothing to play", "--trace FILE, a TwinRun in -f, or --result FILE")
    body: dict[str, Any] = {
        "workload": {
            "trace": {
                "configMap": {"name": "file", "key": "trace"},
                "format": _format(options),
                "gpusPerNode": options.gpus_per_node,
            }
        },
        "policies": parse_policies(options.policies or DEFAULT_POLICIES),
        "replicas": 8 if options.seeds is None else options.seeds,
        "seed": 42 if options.seed is None else options.seed,
        **({"horizon": options.horizon} if options.horizon else {}),
        **({"heat": True} if options.heat else {}),
    }
    farms = [{"kind": f.kind, "name": f.metadata.name} for f in inputs.farms()]
    if bool(farms) == (options.nodes is not None):
        found = "farms and --nodes" if farms else "neither a farm nor --nodes"
        _refuse("--nodes", found, "a farm with -f, or --nodes N")
    if farms:
        body["farms"] = farms
    else:
        body["shape"] = {
            "nodes": options.nodes,
            "acceleratorsPerNode": options.gpus_per_node,
            "nodesPerRack": options.nodes_per_rack,
            "nodesPerUnit": options.nodes_per_unit,
        }
    return _checked(body)


def _format(options: CompareOptions) -> str:
    name = (options.format or _suffix(options.trace)).lower()
    if name not in FORMATS:
        _refuse("--format", repr(options.format or "none"), f"one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _suffix(trace: Path | None) -> str:
    suffixes = {suffix.lstrip(".") for suffix in trace.suffixes} if trace else set()
    if "parquet" in suffixes:
        return "kfarm"
    return next((name for name in FORMATS if name in suffixes), "")


def _checked(body: Mapping[str, Any]) -> TwinRunSpec:
    try:
        return validate(TwinRunSpec, body, strict=True)
    except InvalidObject as invalid:
        raise ManifestError(
            [Problem(COMMAND_LINE, 0, p.where, p.found, p.expected) for p in invalid.problems]
        ) from invalid


def _refuse(path: str, found: str, expected: str) -> NoReturn:
    raise ManifestError([Problem(COMMAND_LINE, 0, path, found, expected)])


def _file_source(path: Path | None) -> Source | None:
    if path is None:
        return None
    if path.exists() and not path.is_file():
        expected = "a file; a pipe or device has to be written to one first"
        raise ManifestError([Problem(path, 0, "", "no regular file", expected)])
    try:
        return Source(name=path.name, raw=path.read_bytes())
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ManifestError([Problem(path, 0, "", reason, "a readable file")]) from error


def run_source(run: TwinRun, options: CompareOptions) -> Source | None:
    """From ``--trace``, else from a ConfigMap among the files, as the operator takes it."""
    wanted = source_key(run.spec)
    if wanted is None:
        return None
    if options.trace is not None:
        source = _file_source(options.trace)
        return source and replace_name(source, wanted.key)
    for body in load_foreign(options.files, "ConfigMap"):
        if (body.get("metadata") or {}).get("name") == wanted.name:
            raw = config_map_bytes(body, wanted.key)
            if raw is not None:
                return Source(name=wanted.key, raw=raw)
    _refuse(
        f"TwinRun {run.metadata.name}",
        f"no ConfigMap {wanted.name} with key {wanted.key} among the files",
        "its file with -f, or the same content with --trace FILE",
    )


def replace_name(source: Source, name: str) -> Source:
    """The same bytes under the name that the cluster knows."""
    return source.model_copy(update={"name": name})


def config_map_bytes(body: Mapping[str, Any], key: str) -> bytes | None:
    """Content of a key of a ConfigMap, text or binary; None when it is not there or no base64."""
    text = (body.get("data") or {}).get(key)
    if isinstance(text, str):
        return text.encode()
    coded = (body.get("binaryData") or {}).get(key)
    try:
        return base64.b64decode(coded, validate=True) if isinstance(coded, str) else None
    except (binascii.Error, ValueError):
        return None


def read_result(path: Path) -> WhatIf:
    """Read what ``kfarm compare -o json`` wrote, or the artifact of a TwinRun.

    Raises
    ------
    ManifestError
        When the file is no such result.
    """
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = _unzipped(raw)
        return WhatIf.model_validate_json(raw)
    except OSError as error:
        found = (error.strerror or str(error)).lower()
    except (EOFError, zlib.error):
        found = "a gzip file that ends too early or is damaged"
    except ValueError as error:
        found = show(str(error).replace("\n", " "), 160)
    raise ManifestError(
        [Problem(path, 0, "", found, "a result of kfarm compare -o json (kfarm.dev/compare/v1)")]
    )


def _unzipped(raw: bytes) -> bytes:
    """At most `MAX_RESULT_BYTES`, so that a small file does not become a huge one."""
    from io import BytesIO  # noqa: PLC0415

    with gzip.GzipFile(fileobj=BytesIO(raw)) as stream:
        text = stream.read(MAX_RESULT_BYTES + 1)
    if len(text) > MAX_RESULT_BYTES:
        raise ValueError(f"more than {MAX_RESULT_BYTES} bytes when unpacked")
    return text


def reproduce(options: CompareOptions, found: WhatIf) -> str:
    """Command line that gives the same result."""
    options = replace(options, seed=found.seed, seeds=found.replicas)
    words = ["kfarm", "compare"]
    words += [word for file in options.files for word in ("-f", file.name)]
    for name, value in (
        ("run", options.run),
        ("format", options.format),
        ("horizon", options.horizon),
    ):
        words += [f"--{name}", value] if value else []
    for name, path in (("trace", options.trace), ("result", options.result)):
        words += [f"--{name}", path.name] if path else []
    if options.nodes is not None:
        words += ["--nodes", str(options.nodes), "--gpus-per-node", str(options.gpus_per_node)]
        words += ["--nodes-per-rack", str(options.nodes_per_rack)]
        words += ["--nodes-per-unit", str(options.nodes_per_unit)]
    words += ["--heat"] if options.heat else []
    words += [word for policy in options.policies for word in ("--policy", policy)]
    if options.result is None:
        words += ["--seeds", str(found.replicas), "--seed", str(found.seed)]
    return shlex.join(words)
