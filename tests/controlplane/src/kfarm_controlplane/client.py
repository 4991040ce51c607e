"""What tests do with a cluster, whether we started it or it was given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kfarm_controlplane.build import build
from kfarm_controlplane.errors import ControlPlaneError

NOT_READY_LABEL = "node-not-ready.stage.kwok.x-k8s.io"


class KubectlError(ControlPlaneError):
    """kubectl ended with an error.

    Parameters
    ----------
    arguments
        Arguments given.
    code
        Exit code.
    stderr
        What it said.
    """

    def __init__(self, arguments: Iterable[str], code: int, stderr: str) -> None:
        super().__init__(
            f"kubectl {' '.join(arguments)} ended with {code}: {stderr.strip()}",
            "correct the command, or look at the API server's log.",
        )
        self.code = code
        self.stderr = stderr


class Cluster:
    """A cluster that answers to a kubeconfig.

    Parameters
    ----------
    kubeconfig
        Kubeconfig of an administrator.
    directory
        Folder for kubeconfigs of other users and kubectl's cache.
    """

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        self.kubeconfig = kubeconfig
        self.directory = directory

    def bin(self, name: str) -> Path:
        """Return the path of a binary, built if it must be."""
        return build([name])[name]

    def kubectl(
        self,
        *args: str,
        input: str | None = None,
        kubeconfig: Path | None = None,
        timeout: float = 120.0,
    ) -> str:
        """Run kubectl and return what it printed.

        Parameters
        ----------
        args
            Arguments after ``kubectl``.
        input
            Text for its standard input, for ``-f -``.
        kubeconfig
            Whose kubeconfig; the administrator's when None.
        timeout
            Longest time it may take [s].

        Raises
        ------
        KubectlError
            If it ends with an error; has ``code`` and ``stderr``.
        """
        command = [str(self.bin("kubectl")), f"--cache-dir={self.directory / 'kubectl-cache'}"]
        done = subprocess.run(
            [*command, *args],
            input=input,
            env=os.environ | {"KUBECONFIG": str(kubeconfig or self.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise KubectlError(args, done.returncode, done.stderr)
        return done.stdout

    def get(self, *args: str) -> Any:
        """Run ``kubectl get … -o json`` and return the parsed answer."""
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def get_server(self) -> str:
        """Return the address of the API server."""
        path = "jsonpath={.clusters[0].cluster.server}"
        return self.kubectl("config", "view", "--minify", "-o", path)

    def apply(self, *objects: Mapping[str, Any]) -> str:
        """Apply objects, server-side, and return what kubectl printed."""
        # JSON, since PyYAML writes the names y and n as Go's reader of YAML does not take them.
        text = "\n".join(json.dumps(dict(item)) for item in objects)
        return self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)

    def fail_node(self, name: str) -> None:
        """Make a KWOK node NotReady, until `heal_node`."""
        self.kubectl("label", "--overwrite", "node", name, f"{NOT_READY_LABEL}=true")

    def heal_node(self, name: str) -> None:
        """Make a KWOK node that failed Ready again."""
        self.kubectl("label", "--overwrite", "node", name, f"{NOT_READY_LABEL}-")

    def kubeconfig_for(self, user: str, groups: Iterable[str] = ()) -> Path:
        """Return a new kubeconfig for a user, who has no rights yet.

        Parameters
        ----------
        user
            User name.
        groups
            Groups beside ``system:authenticated``.
        """
        raise NotImplementedError

    def kubeconfig_for_service_account(
        self, namespace: str, name: str, duration: str = "24h"
    ) -> Path:
        """Return a new kubeconfig for a service account that exists, by token.

        Parameters
        ----------
        namespace, name
            The service account.
        duration
            Lifetime of the token.
        """
        arguments = ["create", "token", name, "--namespace", namespace, "--duration", duration]
        token = self.kubectl(*arguments).strip()
        user = {"name": f"system:serviceaccount:{namespace}:{name}", "user": {"token": token}}
        return self._derived_kubeconfig(f"{namespace}-{name}", user)

    def _derived_kubeconfig(self, file_name: str, user: dict[str, Any]) -> Path:
        """Write the administrator's kubeconfig with another user in it."""
        arguments = ["config", "view", "--raw", "--flatten", "--minify", "-o", "json"]
        document = json.loads(self.kubectl(*arguments))
        document["users"] = [user]
        for context in document["contexts"]:
            context["context"]["user"] = user["name"]
        path = self.directory / "kubeconfigs" / f"{file_name.replace(':', '-')}.kubeconfig"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=1))
        return path


class ExternalControlPlane(Cluster):
    """A cluster that exists already, named by ``$KFARM_TEST_KUBECONFIG``; nothing is started.

    Parameters
    ----------
    kubeconfig
        Kubeconfig of an administrator of that cluster.
    directory
        Folder for kubeconfigs of other users.
    """

    def bin(self, name: str) -> Path:
        """Return a binary; kubectl from PATH whatever its version, to suit the cluster."""
        on_path = shutil.which(name)
        return Path(on_path) if on_path else super().bin(name)

    def kubeconfig_for(self, user: str, groups: Iterable[str] = ()) -> Path:
        """Return a kubeconfig that impersonates the user: we have no authority to sign with."""
        arguments = ["config", "view", "--raw", "--flatten", "--minify", "-o", "json"]
        admin = json.loads(self.kubectl(*arguments))["users"][0]["user"]
        admin |= {"as": user, "as-groups": ["system:authenticated", *groups]}
        return self._derived_kubeconfig(user, {"name": user, "user": admin})
