"""What a what-if is asked: models only, light enough for the operator."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from kfarm_api.base import Strict
from kfarm_api.farm import GPUFarm, NPUFarm
from kfarm_api.profile import AcceleratorProfile
from kfarm_api.snapshot import digest
from kfarm_api.twinrun import ConfigMapKey, RunPolicy, RunWorkload, TwinRunSpec
from pydantic import ConfigDict, Field

from kfarm_twin.request import InputError

RESULT_VERSION = 1
"""Goes into the digest: a change of rules makes a new result of the same inputs."""


class Source(Strict):
    """The file that a trace or a fitted model is read from.

    Attributes
    ----------
    name
        What to call it in results and errors: a base name or a key, never a path.
    raw
        Its bytes, as they are stored (gzip included).
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    name: Annotated[str, Field(max_length=512)]
    raw: bytes


class WhatIfRequest(Strict):
    """All that a result depends on; the same request gives the same result anywhere.

    Attributes
    ----------
    name
        What the result is called; no part of the digest.
    farms
        At least those that the spec names.
    source
        The trace or fitted model; None with a built-in mix.
    profiles
        At least those of the named farms' devices, where heat is played; else not looked at.
    """

    name: str
    spec: TwinRunSpec
    farms: list[GPUFarm | NPUFarm] = Field(default_factory=list)
    source: Source | None = None
    profiles: list[AcceleratorProfile] = Field(default_factory=list)

    def digest(self) -> str:
        """Digest of the spec (`suspend` apart), the named farms' specs and the source's bytes.

        Where heat is played, of the farms' profiles too.
        """
        named = {(ref.kind, ref.name) for ref in self.spec.farms}
        farms = [farm for farm in self.farms if (farm.kind, farm.metadata.name) in named]
        farms.sort(key=lambda farm: (farm.kind, farm.metadata.name))
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude={"suspend"})
        content = {
            "version": RESULT_VERSION,
            "spec": spec,
            "farms": [_farm_content(farm) for farm in farms],
            "source": hashlib.sha256(self.source.raw).hexdigest() if self.source else None,
        }
        if self.spec.heat:
            used = {cluster.accelerator for farm in farms for cluster in farm.spec.clusters}
            content["profiles"] = [
                {
                    "name": each.metadata.name,
                    "spec": each.spec.model_dump(mode="json", by_alias=True),
                }
                for each in sorted(self.profiles, key=lambda one: one.metadata.name)
                if each.metadata.name in used
            ]
        return digest(content)

    def named_farms(self) -> list[GPUFarm | NPUFarm]:
        """The farms that the spec names, in its order.

        Raises
        ------
        InputError
            When one is not there.
        """
        known = {(farm.kind, farm.metadata.name): farm for farm in self.farms}
        found = []
        for index, ref in enumerate(self.spec.farms):
            farm = known.get((ref.kind, ref.name))
            if farm is None:
                raise InputError(
                    f"spec.farms[{index}]",
                    f"{ref.kind} {ref.name}, which is not there",
                    f"one of {', '.join(f'{k} {n}' for k, n in sorted(known)) or 'none'}",
                )
            found.append(farm)
        return found


class PlayOrder(Strict):
    """One replica to be played in a process of its own."""

    request: WhatIfRequest
    replica: Annotated[int, Field(ge=0)]


def jobs_workload(spec: TwinRunSpec) -> RunWorkload:
    """The trace or generator whose jobs are played under each policy.

    Raises
    ------
    InputError
        When the run plays failures alone: a gang, or no workload.
    """
    if spec.workload is None or spec.workload.gang is not None:
        found = "none" if spec.workload is None else "one gang"
        raise InputError(
            "spec.workload",
            f"{found}: no jobs to compare policies on",
            "a trace or generator; what failures do to a farm or a gang is played by"
            " kfarm simulate -f FILE",
        )
    return spec.workload


def source_key(spec: TwinRunSpec) -> ConfigMapKey | None:
    """The ConfigMap key that the workload is read from; None where there is none to read."""
    if spec.workload is None:
        return None
    if spec.workload.trace is not None:
        return spec.workload.trace.config_map
    return spec.workload.generator.config_map if spec.workload.generator else None


def _farm_content(farm: GPUFarm | NPUFarm) -> dict[str, Any]:
    spec = farm.spec.model_dump(mode="json", by_alias=True)
    return {"kind": farm.kind, "name": farm.metadata.name, "spec": spec}


def rules_of(policy: RunPolicy) -> str:
    """A policy in words, for example ``FIFO, EASY backfill, best fit, rack preferred``."""
    words: list[str] = [policy.order]
    if policy.backfill != "None":
        words.append(
            {"Easy": "EASY", "Conservative": "conservative"}[policy.backfill] + " backfill"
        )
    words.append(_PLACEMENTS[policy.placement])
    if policy.required:
        words.append(f"within one {policy.required}")
    if policy.preferred:
        words.append(f"{policy.preferred} preferred")
    return ", ".join(words)


_PLACEMENTS = {
    "Count": "accelerators counted",
    "FirstFit": "first fit",
    "BestFit": "best fit",
    "Spread": "spread",
    "Random": "random node",
    "DotProd": "DotProd",
    "GpuClustering": "GpuClustering",
    "GpuPacking": "GpuPacking",
    "FGD": "FGD",
    "ThermalAware": "thermal-aware",
}
