"""The files of a drill: what it stands on, the drill itself, and what comes while it runs.

Documents before the FailureDrill are its ground and are applied first; those after it are applied
once it runs. The comment at the head of the drill's file is its runbook.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kfarm_api.drill import FailureDrill
from kfarm_api.drill_marks import ANNOTATION_COMING
from kfarm_api.parse import InvalidObject, as_stored, parse, show
from kfarm_twin.manifest_text import read_text

from kfarm_operator.admission.kueue import ADMISSION_CHECKS, KUEUE_GROUP, KUEUE_VERSION
from kfarm_operator.client import Resource, kfarm_resource
from kfarm_operator.drillrun.errors import BadInput

Body = dict[str, Any]
ANNOTATION_RUNBOOK = "kfarm.dev/runbook"
MAX_RUNBOOK = 8192
MAX_COMING = 128 << 10
"""All annotations of an object together may have 256 KiB."""
_OURS = "kfarm.dev/v1alpha1"
_KUEUE = f"{KUEUE_GROUP}/{KUEUE_VERSION}"
KINDS: dict[tuple[str, str], tuple[Resource, bool]] = {
    ("v1", "Namespace"): (Resource("", "v1", "namespaces"), False),
    ("batch/v1", "Job"): (Resource("batch", "v1", "jobs"), True),
    ("apps/v1", "Deployment"): (Resource("apps", "v1", "deployments"), True),
    (_OURS, "GPUFarm"): (kfarm_resource("gpufarms"), False),
    (_OURS, "NPUFarm"): (kfarm_resource("npufarms"), False),
    (_OURS, "ValidationPolicy"): (kfarm_resource("validationpolicies"), False),
    (_OURS, "PlacementPlan"): (kfarm_resource("placementplans"), True),
    (_KUEUE, "AdmissionCheck"): (ADMISSION_CHECKS, False),
    (_KUEUE, "ClusterQueue"): (Resource(KUEUE_GROUP, KUEUE_VERSION, "clusterqueues"), False),
    (_KUEUE, "LocalQueue"): (Resource(KUEUE_GROUP, KUEUE_VERSION, "localqueues"), True),
}
"""What a drill's file may hold beside the drill, and whether it has a namespace."""
DRILLS = kfarm_resource("failuredrills")


@dataclass(frozen=True)
class Item:
    """An object to apply.

    Attributes
    ----------
    where
        File and document, for messages.
    """

    where: str
    body: Body

    @property
    def resource(self) -> Resource:
        """How the API server serves its kind."""
        return KINDS[self.body["apiVersion"], self.body["kind"]][0]

    @property
    def namespaced(self) -> bool:
        """Whether it lies in a namespace."""
        return KINDS[self.body["apiVersion"], self.body["kind"]][1]

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return str(self.body["metadata"]["name"])

    @property
    def space(self) -> str | None:
        """Its namespace; None where its kind has none."""
        return str(self.body["metadata"]["namespace"]) if self.namespaced else None

    def __str__(self) -> str:
        return f"{self.body['kind']} {f'{self.space}/' if self.space else ''}{self.name}"


@dataclass(frozen=True)
class DrillFiles:
    """What the files of one run say.

    Attributes
    ----------
    body
        The drill as it is applied, the runbook among its annotations.
    ground, meanwhile
        Applied before the drill, and once it runs.
    """

    drill: FailureDrill
    body: Body
    ground: tuple[Item, ...]
    meanwhile: tuple[Item, ...]
    runbook: str

    @property
    def namespace(self) -> str:
        """Of the drill."""
        return self.drill.metadata.namespace or "default"

    @property
    def name(self) -> str:
        """Of the drill."""
        return self.drill.metadata.name

    def armed(self, confirm: str) -> DrillFiles:
        """The same with ``spec.confirm``.

        Raises
        ------
        BadInput
            When the drill's mode touches nothing anyway, or names another cluster.
        """
        spec = self.body["spec"]
        stated = spec.get("confirm")
        if stated is not None and stated != confirm:
            raise BadInput(
                f"spec.confirm names cluster {show(stated)}, --confirm {show(confirm)}: take one"
                " of them out"
            )
        return self._with({**spec, "confirm": confirm})

    def on_cluster(self, delays: Mapping[str, str]) -> DrillFiles:
        """The same with `spec.delays` of the cluster at hand."""
        spec = self.body["spec"]
        return self._with({**spec, "delays": {**(spec.get("delays") or {}), **delays}})

    def _with(self, spec: Body) -> DrillFiles:
        body = {**self.body, "spec": spec}
        return replace(self, body=body, drill=_drill(body, f"drill {self.name}"))


def read_drill(paths: Sequence[Path]) -> DrillFiles:
    """Read the files of a run, in their order; exactly one FailureDrill is among them.

    Raises
    ------
    BadInput
        With everything that is wrong, where, and what is expected.
    """
    items: list[Item] = []
    found: list[tuple[int, Item, str]] = []
    problems: list[str] = []
    for path in paths:
        raw = _read(path)
        for item in _items(path, raw, problems):
            if item.body.get("kind") == "FailureDrill":
                found.append((len(items), item, _head_comment(raw)))
            else:
                _check(item, problems)
                items.append(item)
    if len(found) != 1 and not problems:
        told = ", ".join(item.where for _, item, _ in found) or "none"
        problems.append(f"found FailureDrills: {told}; expected exactly one in all files together")
    if problems:
        raise BadInput("\n".join(problems))
    at, item, runbook = found[0]
    notes = {ANNOTATION_RUNBOOK: runbook, ANNOTATION_COMING: _coming(items[at:])}
    body = _annotated(item.body, {key: text for key, text in notes.items() if text})
    return DrillFiles(_drill(body, item.where), body, tuple(items[:at]), tuple(items[at:]), runbook)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "not readable").lower()
        raise BadInput(f"{path}: {reason}; give a file of manifests with -f") from None


def _items(path: Path, raw: bytes, problems: list[str]) -> list[Item]:
    items = []
    for text in read_text(raw, as_json=True if path.suffix == ".json" else None):
        where = f"{path}, document {text.index}"
        problems += [f"{where}: found {p.found}; expected {p.expected}" for p in text.problems]
        if text.problems or text.value is None:
            continue
        if not isinstance(text.value, Mapping):
            problems.append(f"{where}: found {show(text.value)}; expected an object")
            continue
        items.append(Item(where, dict(as_stored(text.value))))
    return items


def _check(item: Item, problems: list[str]) -> None:
    body = item.body
    known = (body.get("apiVersion"), body.get("kind"))
    if known not in KINDS:
        kinds = ", ".join(kind for _, kind in KINDS)
        found = f"{show(body.get('apiVersion'))}, {show(body.get('kind'))}"
        problems.append(f"{item.where}: found {found}; a drill's file holds FailureDrill, {kinds}")
        return
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str):
        problems.append(f"{item.where}: found no metadata.name; expected one")
    elif item.namespaced and not isinstance(metadata.get("namespace"), str):
        problems.append(f"{item.where}: found no metadata.namespace; expected one")
    elif body["apiVersion"] == _OURS:
        try:
            parse(body, strict=True)
        except InvalidObject as invalid:
            problems.append(f"{item.where}: {invalid}")


def _drill(body: Body, where: str) -> FailureDrill:
    try:
        drill = parse(body, strict=True)
    except InvalidObject as invalid:
        raise BadInput(f"{where}: {invalid}") from None
    if not isinstance(drill, FailureDrill):
        raise BadInput(f"{where}: found {drill.kind}; expected a FailureDrill")
    if drill.spec.schedule is not None:
        raise BadInput(
            f"{where}: spec.schedule is for drills that the operator starts by itself: kubectl"
            " apply it, or take the schedule out to run it once"
        )
    return drill


def _coming(items: Sequence[Item]) -> str:
    """Plans that are applied while the drill is on, for a prediction that is made before.

    Without them, and where they are too long for an annotation, it leaves them out.
    """
    plans = [item.body for item in items if item.body["kind"] == "PlacementPlan"]
    text = json.dumps(plans, ensure_ascii=False, separators=(",", ":")) if plans else ""
    return text if len(text.encode()) <= MAX_COMING else ""


def _annotated(body: Body, notes: Mapping[str, str]) -> Body:
    metadata = body.get("metadata")
    if not notes or not isinstance(metadata, Mapping):
        return body
    annotations = {**notes, **(metadata.get("annotations") or {})}
    return {**body, "metadata": {**metadata, "annotations": annotations}}


def _head_comment(raw: bytes) -> str:
    """The lines of comment at the head of a file, without their marks."""
    lines = []
    for line in raw.decode("utf-8-sig", "replace").splitlines():
        if line.startswith("#"):
            lines.append(line[1:].removeprefix(" ").rstrip())
        elif line.strip():
            break
    return "\n".join(lines).strip()[:MAX_RUNBOOK]
