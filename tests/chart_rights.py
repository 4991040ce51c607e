"""Rights granted by ClusterRoles, and rights used according to an audit log of the API server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Right = tuple[str, str, str]
"""Account, verb, resource.group with subresource."""

POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:serviceaccounts:kfarm-system"]
  - level: None
"""
PREFIX = "system:serviceaccount:kfarm-system:"
CREATED = 201
FORBIDDEN = 403


def granted(objects: Iterable[Mapping[str, Any]]) -> set[Right]:
    """What the ClusterRoles give to the accounts that they are bound to, somewhere at least."""
    items = list(objects)
    roles = {o["metadata"]["name"]: o["rules"] for o in items if o["kind"] == "ClusterRole"}
    rights: set[Right] = set()
    for binding in (o for o in items if o["kind"] in ("ClusterRoleBinding", "RoleBinding")):
        accounts = [subject["name"] for subject in binding["subjects"]]
        for account, rule in itertools.product(accounts, roles[binding["roleRef"]["name"]]):
            for group, resource in itertools.product(rule["apiGroups"], rule["resources"]):
                rights |= {(account, verb, f"{resource}.{group}") for verb in rule["verbs"]}
    return rights


def used(log: Path, start: int = 0) -> tuple[set[Right], set[Right]]:
    """What was asked for since an offset of the log and allowed, and what was forbidden.

    A server-side apply that makes an object is recorded as ``patch`` and needs ``create`` too.
    """
    allowed: set[Right] = set()
    refused: set[Right] = set()
    with log.open("rb") as lines:
        lines.seek(start)
        for line in lines:
            event = json.loads(line)
            resource = event.get("objectRef")
            account = str(event["user"]["username"]).removeprefix(PREFIX)
            if resource is None or "resource" not in resource:
                continue
            name = "/".join(filter(None, (resource["resource"], resource.get("subresource"))))
            right = (account, event["verb"], f"{name}.{resource.get('apiGroup', '')}")
            decision = event["annotations"].get("authorization.k8s.io/decision", "forbid")
            if decision != "allow":
                refused.add(right)
                continue
            allowed.add(right)
            code = event.get("responseStatus", {}).get("code")
            if event["verb"] == "patch" and code == CREATED:
                allowed.add((account, "create", right[2]))
    return allowed, refused
