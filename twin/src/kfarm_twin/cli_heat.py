"""The option ``--heat`` of ``kfarm simulate``: which nodes warm, and what it says about that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfarm_twin.load import ManifestError, Problem

if TYPE_CHECKING:
    from kfarm_twin.cli_simulate import Request
    from kfarm_twin.jobs import JobTrace
    from kfarm_twin.replay import Replay, Shape
    from kfarm_twin.replay_heat import HotNodes, JobHeat

COMMAND_LINE = Path("command line")
JOULES_PER_KWH = 3.6e6


def hot_nodes(files: Sequence[Path]) -> HotNodes:
    """The nodes of the farms in files.

    Raises
    ------
    ManifestError
        When there is no farm, clusters differ in what a pool must have in common, or a profile is
        not there.
    """
    from kfarm_twin.cli_inputs import read_inputs  # noqa: PLC0415 - pydantic models
    from kfarm_twin.replay_heat import hot_farms  # noqa: PLC0415 - numba
    from kfarm_twin.request import InputError  # noqa: PLC0415

    inputs = read_inputs(files)
    farms = inputs.farms()
    if not farms:
        expected = "a GPUFarm or NPUFarm, with the profiles of its devices"
        raise ManifestError([Problem(COMMAND_LINE, 0, "--heat", "no farm", expected)])
    try:
        return hot_farms(farms, inputs.profiles())
    except InputError as error:
        raise ManifestError(
            [Problem(files[0], 0, error.where, error.found, error.expected)]
        ) from error


def shape_of(request: Request, nodes: HotNodes) -> Shape:
    """The farm that warms, as the driver takes it; topology as the options say, else the farm.

    Raises
    ------
    ReplayError
        Where other options describe the nodes too, or clusters differ.
    """
    from kfarm_twin.replay import ReplayError, Shape  # noqa: PLC0415 - numpy

    listed = request.node_list is not None
    counted = request.cpu_milli is not None or request.memory_mib is not None
    if request.nodes is not None or listed or counted:
        raise ReplayError(
            "--heat says which nodes there are; leave out --nodes, --node-list, CPU and memory"
        )
    sizes = {cluster.devices for cluster in nodes.farm.clusters}
    if len(sizes) > 1 or sizes != {request.gpus_per_node}:
        raise ReplayError(
            f"nodes of {', '.join(map(str, sorted(sizes)))} devices in --heat and --gpus-per-node "
            f"{request.gpus_per_node}: the farm is played as one pool of equal nodes"
        )
    rack = request.nodes_per_rack or nodes.nodes_per_rack
    unit = request.nodes_per_unit or nodes.nodes_per_unit
    return Shape(len(nodes.node), request.gpus_per_node, rack, unit)


def job_heat(nodes: HotNodes | None, trace: JobTrace, load: int) -> JobHeat | None:
    """What the jobs of a trace warm; `load` [%] where it states none."""
    if nodes is None:
        return None
    from kfarm_twin.replay_heat import JobHeat  # noqa: PLC0415 - numba

    return JobHeat.of(nodes, trace.jobs, trace.loads, load * 10_000)


def figures(request: Request, nodes: HotNodes | None, result: Replay) -> dict[str, Any] | None:
    """The key ``heat`` of the answer; null without."""
    found = result.heat
    if found is None or nodes is None:
        return None
    series = found.series
    return {
        "files": [str(path) for path in request.heat],
        "load": request.load,
        "assumptions": list(nodes.assumptions),
        "spanS": found.span_s,
        "hottestDeviceC": found.hottest_c,
        "hottestNode": found.hottest_node,
        "hottestDevice": found.hottest_device,
        "hottestAtS": found.hottest_at_s,
        "headroomMinK": found.headroom_k if abs(found.headroom_k) < 1e6 else None,
        "inletMaxC": found.inlet_max_c,
        "throttledDeviceHours": found.throttled_s / 3600,
        "throttledDevicesMax": found.throttled_max,
        "firstThrottleS": found.first_throttle_s,
        "shutdowns": found.shutdowns,
        "jobsStopped": found.stopped,
        "nodeEnergyKWh": found.energy_j / JOULES_PER_KWH,
        "deviceEnergyKWh": found.device_j / JOULES_PER_KWH,
        "fanEnergyKWh": found.fans_j / JOULES_PER_KWH,
        "overheadEnergyKWh": found.overhead_j / JOULES_PER_KWH,
        "jobEnergyKWh": float(found.job_j.sum()) / JOULES_PER_KWH,
        "series": {
            "timeS": series.time_s.tolist(),
            "nodePowerW": series.power_w.tolist(),
            "fanPowerW": series.fans_w.tolist(),
            "hottestDeviceC": series.hottest_c.tolist(),
            "hottestNode": series.hottest_node.tolist(),
            "inletMaxC": series.inlet_c.tolist(),
            "warmestRack": [
                nodes.racks[rack] if nodes.racks else str(rack)
                for rack in series.inlet_rack.tolist()
            ],
            "throttledDevices": series.throttled.tolist(),
            "nodesOff": series.off.tolist(),
        },
    }


def sentences(heat: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    lines = [
        f"nodes drew {heat['nodeEnergyKWh'] / 1000:,.1f} MWh, devices of jobs "
        f"{heat['jobEnergyKWh'] / 1000:,.1f} MWh; hottest device {heat['hottestDeviceC']:.1f} "
        f"degC, warmest inlet {heat['inletMaxC']:.1f} degC",
    ]
    if heat["throttledDeviceHours"]:
        lines.append(
            f"throttled: {heat['throttledDeviceHours']:,.1f} device-hours, at most "
            f"{heat['throttledDevicesMax']:,} devices at once, first after "
            f"{heat['firstThrottleS']:,.0f} s"
        )
    if heat["shutdowns"]:
        lines.append(
            f"{heat['shutdowns']:,} times a node went off by heat, which stopped "
            f"{heat['jobsStopped']:,} jobs"
        )
    return [*lines, *(f"assumed: {line}" for line in heat["assumptions"])]
