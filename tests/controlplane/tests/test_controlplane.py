"""The control plane that all other tests stand on, and the build that makes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfarm_controlplane import (
    COMPONENTS,
    Cluster,
    ControlPlane,
    ControlPlaneError,
    ExternalControlPlane,
    KubectlError,
    Options,
    build,
    supervisor,
    wait_until,
)
from kfarm_controlplane.cleanup import restore, take_baseline

SOURCE = Path(build.__code__.co_filename).resolve().parents[1]
GPUS = {"cpu": "96", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8"}


def node(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": GPUS, "allocatable": GPUS},
    }


def pod(name: str, namespace: str, **annotations: str) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": "8"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {f"kwok.kfarm.dev/{key}": value for key, value in annotations.items()},
        },
        "spec": {"containers": [{"name": "main", "image": "x", "resources": {"limits": limits}}]},
    }


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" not in status.read_text()
    except OSError:
        return False


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SOURCE)} | more


@pytest.fixture(scope="module")
def own(control_plane: Cluster) -> ControlPlane:
    """The session's control plane, where it is one that we started."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane of our own, not $KFARM_TEST_KUBECONFIG")
    return control_plane


class TestServing:
    def test_is_ready_and_runs_every_component(self, own: ControlPlane) -> None:
        assert own.kubectl("get", "--raw", "/readyz") == "ok"
        assert own.pids.keys() == set(COMPONENTS)
        assert "v1.36.3" in own.kubectl("get", "--raw", "/version")

    def test_explain_and_client_side_apply_work(
        self, control_plane: Cluster, namespace: str
    ) -> None:
        assert "nodeName" in control_plane.kubectl("explain", "pod.spec")
        text = yaml.safe_dump(pod("applied", namespace))
        assert "created" in control_plane.kubectl("apply", "-f", "-", input=text)
        assert "unchanged" in control_plane.kubectl("apply", "-f", "-", input=text)

    def test_serves_admission_policies_and_claims(self, control_plane: Cluster) -> None:
        served = control_plane.kubectl("api-resources", "-o", "name").split()
        for kind in ("mutating", "validating"):
            assert f"{kind}admissionpolicies.admissionregistration.k8s.io" in served
        assert "resourceclaims.resource.k8s.io" in served

    def test_an_admission_policy_is_enforced(self, control_plane: Cluster, namespace: str) -> None:
        name = f"kfarm-test-{namespace}"
        control_plane.apply(*refusing_bad_configmaps(name, namespace))

        def refused() -> bool:
            try:
                control_plane.kubectl("create", "configmap", "bad", "-n", namespace)
            except KubectlError as error:
                return "denied request" in error.stderr
            control_plane.kubectl("delete", "configmap", "bad", "-n", namespace)
            return False

        try:
            wait_until(refused, 20, "refusal by the policy")
            control_plane.kubectl("create", "configmap", "good", "-n", namespace)
        finally:
            kinds = "validatingadmissionpolicybinding,validatingadmissionpolicy"
            control_plane.kubectl("delete", kinds, name)


def refusing_bad_configmaps(name: str, namespace: str) -> list[dict[str, Any]]:
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["configmaps"],
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
        "validations": [{"expression": "object.metadata.name != 'bad'"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    return [
        {**head, "kind": "ValidatingAdmissionPolicy", "spec": policy},
        {**head, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    ]


class TestUsers:
    def test_an_unknown_user_is_refused_until_bound(
        self, control_plane: Cluster, namespace: str
    ) -> None:
        kubeconfig = control_plane.kubeconfig_for("alice", ["team-a"])
        ask = ("get", "pods", "-n", namespace)
        with pytest.raises(KubectlError, match=r'User "alice" cannot list resource "pods"'):
            control_plane.kubectl(*ask, kubeconfig=kubeconfig)
        grant = ("create", "rolebinding", "see", "-n", namespace, "--clusterrole=view")
        control_plane.kubectl(*grant, "--group=team-a")
        wait_until(
            lambda: control_plane.kubectl(*ask, kubeconfig=kubeconfig) == "", 10, "the right"
        )

    def test_a_service_account_authenticates(self, control_plane: Cluster, namespace: str) -> None:
        control_plane.kubectl("create", "serviceaccount", "robot", "-n", namespace)
        kubeconfig = control_plane.kubeconfig_for_service_account(namespace, "robot")
        who = control_plane.kubectl("auth", "whoami", kubeconfig=kubeconfig)
        assert f"system:serviceaccount:{namespace}:robot" in who

    def test_etcd_is_closed_to_users(self, own: ControlPlane) -> None:
        own.kubeconfig_for("mallory")
        pki, port = own.directory / "pki", own.site.ports["etcd"]
        command = [
            str(own.bin("etcdctl")),
            f"--endpoints=https://127.0.0.1:{port}",
            f"--cacert={pki / 'etcd-ca.crt'}",
            "--dial-timeout=2s",
            "--command-timeout=2s",
        ]
        look = ["get", "/registry/namespaces/default", "--keys-only"]
        for user, code in (("etcd", 0), ("mallory", 1)):
            pair = [f"--cert={pki / user}.crt", f"--key={pki / user}.key"]
            done = subprocess.run([*command, *pair, *look], capture_output=True, check=False)
            assert done.returncode == code, done.stderr


class TestNodes:
    def test_a_pod_runs_on_a_kwok_node(self, control_plane: Cluster, namespace: str) -> None:
        control_plane.apply(node("kwok-run"), pod("p", namespace))
        control_plane.kubectl("wait", "--for=condition=Ready", "node/kwok-run", "--timeout=30s")
        ready = ("wait", "--for=condition=Ready", "pod/p", "-n", namespace, "--timeout=30s")
        control_plane.kubectl(*ready)
        found = control_plane.get("pod", "p", "-n", namespace)
        assert found["spec"]["nodeName"] == "kwok-run"
        assert found["status"]["phase"] == "Running"
        status = control_plane.get("node", "kwok-run")["status"]
        assert status["allocatable"]["nvidia.com/gpu"] == "8"
        assert {"type": "Hostname", "address": "kwok-run"} in status["addresses"]
        control_plane.kubectl("delete", "node", "kwok-run")

    def test_a_node_fails_and_heals(self, control_plane: Cluster, namespace: str) -> None:
        control_plane.apply(node("kwok-fail"))
        for act, state in (
            (lambda _: None, "true"),
            (control_plane.fail_node, "false"),
            (control_plane.heal_node, "true"),
        ):
            act("kwok-fail")
            wait = ("wait", f"--for=condition=Ready={state}", "node/kwok-fail", "--timeout=20s")
            control_plane.kubectl(*wait)
        control_plane.kubectl("delete", "node", "kwok-fail")

    @pytest.mark.parametrize(
        ("annotation", "phase"), [("complete-after", "Succeeded"), ("fail-after", "Failed")]
    )
    def test_a_pod_ends_by_annotation(
        self, control_plane: Cluster, namespace: str, annotation: str, phase: str
    ) -> None:
        control_plane.apply(node("kwok-end"), pod("p", namespace, **{annotation: "200ms"}))
        wait = ("wait", f"--for=jsonpath={{.status.phase}}={phase}", "pod/p", "-n", namespace)
        control_plane.kubectl(*wait, "--timeout=20s")
        control_plane.kubectl("delete", "node", "kwok-end")


class TestFaults:
    @pytest.mark.parametrize("component", COMPONENTS)
    def test_a_killed_component_comes_back_with_its_data(
        self, own: ControlPlane, namespace: str, component: str
    ) -> None:
        """What it did before, it does again: a pod runs on a node from before."""
        name = f"kept-{component}"
        own.apply(node(name))
        try:
            own.kubectl("wait", "--for=condition=Ready", f"node/{name}", "--timeout=20s")
            url, pid = own.url, own.pids[component]
            own.kill_component(component)
            assert component not in own.pids
            assert not alive(pid)
            own.start_component(component)
            assert own.url == url
            wait_until(lambda: own.kubectl("get", "--raw", "/readyz") == "ok", 30, "readiness")
            wait_until(lambda: bool(own.apply(pod("p", namespace))), 30, "creation of the pod")
            wait = ("wait", "--for=condition=Ready", "pod/p", "-n", namespace, "--timeout=60s")
            own.kubectl(*wait)
            assert own.get("pod", "p", "-n", namespace)["spec"]["nodeName"] == name
        finally:
            own.kubectl("delete", "node", name)

    def test_with_the_scheduler_stopped_nothing_is_bound(
        self, own: ControlPlane, namespace: str
    ) -> None:
        own.stop_component("kube-scheduler")
        own.apply(node("kwok-late"), pod("late", namespace))
        time.sleep(1)
        assert "nodeName" not in own.get("pod", "late", "-n", namespace)["spec"]
        own.start_component("kube-scheduler")
        own.kubectl("wait", "--for=condition=Ready", "pod/late", "-n", namespace, "--timeout=30s")

    def test_an_unknown_component_is_named(self, own: ControlPlane) -> None:
        with pytest.raises(ControlPlaneError, match=r"no component 'kubelet'.*choose from: etcd"):
            own.stop_component("kubelet")
        with pytest.raises(ControlPlaneError, match=r"no components \['kubelet'\]"):
            ControlPlane(Options(components=("kubelet",))).start()

    def test_two_at_once_do_not_meet(self, own: ControlPlane, namespace: str) -> None:
        only = Options(components=("etcd", "kube-apiserver"))
        with ControlPlane(only) as other:
            assert other.url != own.url
            assert other.pids.keys() == {"etcd", "kube-apiserver"}
            assert namespace not in other.kubectl("get", "namespaces", "-o", "name")
            with pytest.raises(KubectlError, match="certificate signed by unknown authority"):
                other.kubectl("--server", own.url, "get", "nodes")
            pids, folder = list(other.pids.values()), other.directory
        assert not any(alive(pid) for pid in pids)
        assert not folder.exists()

    def test_a_failed_start_keeps_its_logs(
        self, own: ControlPlane, capsys: pytest.CaptureFixture[str]
    ) -> None:
        wrong = Options(extra_arguments={"kube-apiserver": ["--no-such-flag"]})
        plane = ControlPlane(wrong)
        with pytest.raises(ControlPlaneError, match="kube-apiserver ended while starting"):
            plane.start()
        try:
            assert not plane.pids
            assert str(plane.directory / "logs") in capsys.readouterr().err
            assert "no-such-flag" in (plane.directory / "logs" / "kube-apiserver.log").read_text()
        finally:
            shutil.rmtree(plane.directory)

    def test_audit_log_and_fast_eviction(self, own: ControlPlane, tmp_path: Path) -> None:
        policy = tmp_path / "audit.yaml"
        policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")
        options = Options(COMPONENTS[:3], audit_policy=policy, eviction_seconds=7)
        with ControlPlane(options) as plane:
            plane.apply(pod("p", "default"))
            seconds = {
                item["tolerationSeconds"] for item in plane.get("pod", "p")["spec"]["tolerations"]
            }
            assert seconds == {7}
            assert '"resource":"pods"' in (plane.directory / "logs" / "audit.log").read_text()

    @pytest.mark.parametrize("thread", [False, True], ids=["main", "thread"])
    def test_killing_the_parent_leaves_no_child(
        self, own: ControlPlane, tmp_path: Path, thread: bool
    ) -> None:
        """Also when a thread started it and ended: the death signal is per thread."""
        script = """
            import json, threading, time
            from kfarm_controlplane import ControlPlane, Options
            plane = ControlPlane(Options(components=("etcd", "kube-apiserver")))
            if %r:
                starter = threading.Thread(target=plane.start)
                starter.start()
                starter.join()
            else:
                plane.start()
            time.sleep(0.5)
            print(json.dumps(plane.pids), flush=True)
            time.sleep(600)
        """
        code = textwrap.dedent(script) % thread
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            env=environment(TMPDIR=str(tmp_path)),
        ) as parent:
            assert parent.stdout is not None
            pids = json.loads(parent.stdout.readline())
            assert pids.keys() == {"etcd", "kube-apiserver"}
            assert all(alive(pid) for pid in pids.values())
            parent.kill()
        wait_until(lambda: not any(alive(pid) for pid in pids.values()), 10, "death of children")

    def test_a_forgotten_stop_is_made_good_at_exit(self, own: ControlPlane, tmp_path: Path) -> None:
        script = """
            import json
            from kfarm_controlplane import ControlPlane, Options
            plane = ControlPlane(Options(components=("etcd", "kube-apiserver")))
            plane.start()
            print(json.dumps(plane.pids))
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env=environment(TMPDIR=str(tmp_path)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert not any(alive(pid) for pid in json.loads(done.stdout).values())
        assert not list(tmp_path.glob("kfarm-cp-*"))


def _none_terminating(cluster: ControlPlane) -> bool:
    namespaces = cluster.get("namespaces")["items"]
    return all(each["status"]["phase"] == "Active" for each in namespaces)


class TestCleaning:
    def test_what_a_module_made_is_removed(self, own: ControlPlane) -> None:
        own.apply(thing_definition())
        own.kubectl("wait", "--for=condition=Established", "crd/things.test.kfarm.dev")
        wait_until(lambda: _none_terminating(own), 120, "the end of other tests' namespaces")
        before = take_baseline(own)
        stuck = {"finalizers": ["test.kfarm.dev/stuck"]}
        thing = {"apiVersion": "test.kfarm.dev/v1", "kind": "Thing"}
        own.kubectl("create", "namespace", "left-over")
        own.apply(
            {**thing, "metadata": {"name": "t", "namespace": "left-over", **stuck}},
            *(node(f"left-{index}") for index in range(200)),
        )
        own.kubectl("create", "deployment", "left", "--image=x", "--replicas=20")
        pods = [pod(f"left-{index}", "left-over") for index in range(20)]
        pods[0]["metadata"]["finalizers"] = stuck["finalizers"]
        wait_until(lambda: own.apply(*pods) != "", 10, "creation of pods")
        started = time.monotonic()
        restore(own, before)
        assert time.monotonic() - started < 30
        assert take_baseline(own) == before
        assert own.get("pods", "--namespace=default")["items"] == []
        own.kubectl("delete", "crd", "things.test.kfarm.dev")

    def test_a_given_cluster_keeps_what_is_not_ours(
        self, own: ControlPlane, tmp_path: Path
    ) -> None:
        given = ExternalControlPlane(own.kubeconfig, tmp_path)
        before = take_baseline(given)
        real = node("someones-node")
        real["metadata"]["annotations"] = {}
        own.apply(real, node("our-node"))
        own.kubectl("create", "namespace", "someones")
        restore(given, before)
        assert own.kubectl("get", "node", "someones-node", "-o", "name")
        assert own.kubectl("get", "namespace", "someones", "-o", "name")
        with pytest.raises(KubectlError, match="not found"):
            own.get("node", "our-node")
        who = given.kubectl("auth", "whoami", kubeconfig=given.kubeconfig_for("bob", ["team-b"]))
        assert "bob" in who
        assert "team-b" in who
        own.kubectl("delete", "node/someones-node", "namespace/someones")


def thing_definition() -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.test.kfarm.dev"},
        "spec": {
            "group": "test.kfarm.dev",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


class TestSupervisor:
    def test_up_status_and_down_can_be_repeated(self, own: ControlPlane, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "kfarm_controlplane"]

        def run(name: str) -> subprocess.CompletedProcess[str]:
            arguments = [*command, name, "--directory", str(tmp_path)]
            return subprocess.run(
                arguments, env=environment(), capture_output=True, text=True, check=False
            )

        assert run("status").returncode == 1
        assert run("down").returncode == 0
        try:
            first = run("up")
            assert first.returncode == 0, first.stderr
            assert run("up").stdout == first.stdout
            state = supervisor.status(tmp_path)
            assert state is not None
            assert first.stdout == f"export KUBECONFIG={state.kubeconfig}\n"
            assert run("status").returncode == 0
            given = ExternalControlPlane(Path(state.kubeconfig), tmp_path)
            assert given.kubectl("get", "--raw", "/readyz") == "ok"
        finally:
            last = run("down")
        assert last.returncode == 0, last.stderr
        pids = (state.pid, *state.pids.values())
        wait_until(lambda: not any(alive(pid) for pid in pids), 2, "end of the supervisor")
        assert run("status").returncode == 1
