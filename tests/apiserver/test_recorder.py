"""The recorder misses no version, not even while the API server is killed and started again."""

from __future__ import annotations

import pytest
from kfarm_controlplane import ControlPlane, wait_until
from kfarm_controlplane.faults.history import Recorder, Scope, Version
from kfarm_operator.client import CONFIG_MAPS, KubeClient

WATCHED = {"ConfigMap": CONFIG_MAPS}


def _changes(recorder: Recorder, namespace: str, name: str) -> list[tuple[str, str]]:
    history = recorder.history(Scope(namespace, "no-farm"))
    mine: list[Version] = [v for v in history.versions if v.name == name]
    assert [v.number for v in mine] == sorted({v.number for v in mine})
    return [(v.change, (v.body.get("data") or {}).get("n", "")) for v in mine]


def test_every_version_is_recorded_over_a_kill(clean_cluster: ControlPlane, namespace: str) -> None:
    if not isinstance(clean_cluster, ControlPlane):
        pytest.skip("kills an API server: needs a control plane of our own")
    client = KubeClient.connect(clean_cluster.kubeconfig)
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"n": "0"}}
    with Recorder(KubeClient.connect(clean_cluster.kubeconfig), WATCHED) as recorder:
        client.create(CONFIG_MAPS, made, namespace)
        client.patch(CONFIG_MAPS, "a", {"data": {"n": "1"}}, namespace=namespace)
        start = recorder.number
        clean_cluster.kill_component("kube-apiserver")
        clean_cluster.start_component("kube-apiserver")
        for number in ("2", "3"):  # mostly before the recorder is back
            client.patch(CONFIG_MAPS, "a", {"data": {"n": number}}, namespace=namespace)
        client.delete(CONFIG_MAPS, "a", uid=None, namespace=namespace)
        wait_until(lambda: recorder.latest("ConfigMap", "a", namespace) is None, 60, "the end")
        assert _changes(recorder, namespace, "a") == [
            ("ADDED", "0"), ("MODIFIED", "1"), ("MODIFIED", "2"), ("MODIFIED", "3"),
            ("DELETED", "3"),
        ]  # fmt: skip
        assert recorder.gaps == 0
        assert recorder.number > start
        recorder.forget()
        assert _changes(recorder, namespace, "a") == []
    client.close()
