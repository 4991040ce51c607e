"""What a run of failures is asked: a fleet alone or one gang. Models only, for the operator too."""

from __future__ import annotations

from typing import Any

from kfarm_api.base import Strict
from kfarm_api.farm import GPUFarm, NPUFarm
from kfarm_api.plan import Checkpoint
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.snapshot import digest
from kfarm_api.twinrun import GangWorkload, TwinRunSpec
from kfarm_api.units import parse_duration_ns
from pydantic import Field

from kfarm_twin.request import InputError

RESULT_VERSION = 1
"""Goes into the digest: a change of rules makes a new result of the same inputs."""
NS_PER_S = 1_000_000_000


class FleetRequest(Strict):
    """All that a result depends on; the same request gives the same result anywhere.

    Attributes
    ----------
    name
        What the result is called; no part of the digest.
    farms, profiles
        At least those that the spec names; profiles only where a gang runs on farms.
    """

    name: str
    spec: TwinRunSpec
    farms: list[GPUFarm | NPUFarm] = Field(default_factory=list)
    profiles: list[AcceleratorProfile] = Field(default_factory=list)

    @property
    def gang(self) -> GangWorkload | None:
        """The gang; None for a fleet alone."""
        return self.spec.workload.gang if self.spec.workload else None

    @property
    def horizon_ns(self) -> int:
        """Time played in each future [ns]."""
        return parse_duration_ns(self.spec.horizon)

    def digest(self) -> str:
        """Digest of the spec (`suspend` apart) and of the specs of what it names."""
        farms = [{"kind": f.kind, **_content(f)} for f in self.named_farms()]
        profiles = [_content(profile) for profile in self.named_profiles()]
        return digest(
            {
                "version": RESULT_VERSION,
                "spec": self.spec.model_dump(mode="json", by_alias=True, exclude={"suspend"}),
                "farms": farms,
                "profiles": sorted(profiles, key=lambda content: str(content["name"])),
            }
        )

    def named_farms(self) -> list[GPUFarm | NPUFarm]:
        """The farms that the spec names, in its order.

        Raises
        ------
        InputError
            When one is not there.
        """
        known = {(farm.kind, farm.metadata.name): farm for farm in self.farms}
        for index, ref in enumerate(self.spec.farms):
            if (ref.kind, ref.name) not in known:
                there = ", ".join(f"{kind} {name}" for kind, name in sorted(known)) or "none"
                raise InputError(
                    f"spec.farms[{index}]",
                    f"{ref.kind} {ref.name}",
                    f"a farm that is given (there: {there})",
                )
        return [known[ref.kind, ref.name] for ref in self.spec.farms]

    def named_profiles(self) -> list[AcceleratorProfile]:
        """The profiles of the named farms' clusters; none where nothing but failures is played.

        Raises
        ------
        InputError
            When one is not there.
        """
        if self.gang is None:
            return []
        known = {profile.metadata.name: profile for profile in self.profiles}
        named: dict[str, AcceleratorProfile] = {}
        for farm in self.named_farms():
            for index, cluster in enumerate(farm.spec.clusters):
                if cluster.accelerator not in known:
                    raise InputError(
                        f"{farm.kind}/{farm.metadata.name}: spec.clusters[{index}].accelerator",
                        repr(cluster.accelerator),
                        "an AcceleratorProfile that is given (there: "
                        f"{', '.join(sorted(known)) or 'none'}); kfarm ships its profiles in "
                        "examples/catalogue",
                    )
                named[cluster.accelerator] = known[cluster.accelerator]
        return list(named.values())


FLEET_MARK = b'{"failures":'
"""How the JSON of a `FleetOrder` begins."""


class FleetOrder(Strict):
    """A run of failures to be played in a process of its own."""

    failures: FleetRequest


def _content(named: GPUFarm | NPUFarm | AcceleratorProfile) -> dict[str, Any]:
    spec = named.spec.model_dump(mode="json", by_alias=True)
    return {"name": named.metadata.name, "spec": spec}


def plays_failures(spec: TwinRunSpec) -> bool:
    """Whether a TwinRun plays failures alone, without jobs to schedule."""
    return spec.workload is None or spec.workload.gang is not None


def check(request: FleetRequest) -> None:
    """Refuse what the models let pass and yet contradicts itself.

    Raises
    ------
    InputError
        With the field at fault and the remedy.
    """
    spec, gang = request.spec, request.gang
    if not plays_failures(spec):
        raise InputError(
            "spec.workload",
            "a trace or generator",
            "a gang, or no workload; kfarm compare -f plays jobs under policies",
        )
    request.named_farms()
    request.named_profiles()
    if gang is not None:
        _check_gang(request, gang)


def _check_gang(request: FleetRequest, gang: GangWorkload) -> None:
    working = [
        cluster.nodes - cluster.spares
        for farm in request.named_farms()
        for cluster in farm.spec.clusters
    ]
    if working and gang.nodes > max(working):
        raise InputError(
            "spec.workload.gang.nodes",
            str(gang.nodes),
            f"at most {max(working)}: no cluster has more nodes beside its spares",
        )
    cycle = checkpoint_cycle_ns(gang.checkpoint)
    if cycle > request.horizon_ns:
        raise InputError(
            "spec.horizon",
            request.spec.horizon,
            f"more than {cycle / NS_PER_S:g} s, the checkpoint interval and its save: within a "
            "shorter horizon nothing is ever saved",
        )


def checkpoint_cycle_ns(checkpoint: Checkpoint) -> int:
    """Shortest time in which something is saved [ns]; without a fixed interval that of a save."""
    interval = parse_duration_ns(checkpoint.interval) if checkpoint.interval else 0
    return interval + parse_duration_ns(checkpoint.save)
