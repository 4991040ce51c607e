"""Kubeconfig files that carry their certificates, so that they can be copied anywhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from kfarm_controlplane.certificates import KeyPair


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def write_kubeconfig(
    path: Path,
    *,
    url: str,
    authority: Path,
    user: str,
    pair: KeyPair | None = None,
    token: str | None = None,
) -> Path:
    """Write a kubeconfig with one context and return its path.

    Parameters
    ----------
    path
        File to write, readable by its owner only.
    url
        Address of the API server.
    authority
        Certificate of the authority that signed the server's certificate.
    user
        Name shown for the user.
    pair, token
        Client certificate or bearer token.
    """
    credentials: dict[str, str] = {}
    if pair is not None:
        credentials["client-certificate-data"] = _encoded(pair.certificate)
        credentials["client-key-data"] = _encoded(pair.key)
    if token is not None:
        credentials["token"] = token
    cluster = {"server": url, "certificate-authority-data": _encoded(authority)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kfarm", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "kfarm", "context": {"cluster": "kfarm", "user": user}}],
        "current-context": "kfarm",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1))
    return path
