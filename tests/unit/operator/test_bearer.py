"""The token of an account, however the client library gives it."""

from __future__ import annotations

from pathlib import Path

import pytest
from kfarm_operator.client import bearer
from kubernetes import client
from kubernetes.config import incluster_config


@pytest.mark.parametrize("given", ["abc.def", "Bearer abc.def", "bearer abc.def", "BEARER abc.def"])
@pytest.mark.parametrize("key", ["authorization", "BearerToken"])
def test_the_scheme_is_taken_off_once(key: str, given: str) -> None:
    configuration = client.Configuration()
    configuration.api_key[key] = given
    assert bearer(configuration) == "abc.def"


def test_without_a_token_there_is_none() -> None:
    assert bearer(client.Configuration()) == ""


def test_the_token_of_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the library itself reads it where a pod has it."""
    for name, text in (("token", "abc.def"), ("ca.crt", "a certificate")):
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    configuration = client.Configuration()
    loader = incluster_config.InClusterConfigLoader(
        token_filename=str(tmp_path / "token"), cert_filename=str(tmp_path / "ca.crt")
    )
    loader.load_and_set(configuration)
    assert bearer(configuration) == "abc.def"
