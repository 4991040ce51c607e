"""A small Kubernetes client with preconditions, on the transport of the official package.

kopf's own patches carry neither ``uid`` nor ``resourceVersion``; every write of ours does. This is
the only module that talks to the API server besides kopf's watches of our own kinds.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import urllib3
import yaml
from kubernetes import client as k8s
from kubernetes import config as k8s_config
from kubernetes.client.exceptions import ApiException

JSON = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
FIELD_MANAGER = "kfarm"
PAGE = 500
CONNECTIONS = 24
REQUEST_TIMEOUT_S = 30.0


class ApiError(Exception):
    """The API server refused or could not be asked.

    Attributes
    ----------
    status
        HTTP status; 0 when no answer came.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def not_found(self) -> bool:
        """Whether the object does not exist."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """Whether a precondition failed or the object exists already."""
        return self.status == 409

    @property
    def gone(self) -> bool:
        """Whether the resourceVersion is too old."""
        return self.status == 410


@dataclass(frozen=True)
class Resource:
    """One kind of object as the API server serves it."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, sub: str = "") -> str:
        """URL path of the collection, an object or its subresource."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if sub:
            parts.append(sub)
        return "/".join(parts)


PODS = Resource("", "v1", "pods")
NODES = Resource("", "v1", "nodes")
EVENTS = Resource("", "v1", "events")
CONFIG_MAPS = Resource("", "v1", "configmaps")
LEASES = Resource("coordination.k8s.io", "v1", "leases")


def kfarm_resource(plural: str) -> Resource:
    """A kind of our own group."""
    return Resource("kfarm.dev", "v1alpha1", plural)


class KubeClient:
    """Requests with preconditions under one account. Safe to use from many threads.

    Attributes
    ----------
    writes
        Writes that the API server accepted so far.
    observer
        Told of each request: method, path, status (0 without an answer), seconds.
    """

    def __init__(self, configuration: k8s.Configuration) -> None:
        self._configuration = configuration
        configuration.connection_pool_maxsize = CONNECTIONS
        configuration.retries = False
        self._api = k8s.ApiClient(configuration)
        self._streams: set[urllib3.BaseHTTPResponse] = set()
        self._lock = threading.Lock()
        self.writes = 0
        self.observer: Callable[[str, str, int, float], None] | None = None

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, context: str | None = None) -> Self:
        """Connect by a kubeconfig, or from inside a pod when none is given.

        Raises
        ------
        ApiError
            When the kubeconfig, its context or the pod's account cannot be read.
        """
        configuration = k8s.Configuration()
        try:
            if kubeconfig is None:
                k8s_config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                k8s_config.load_kube_config(  # type: ignore[no-untyped-call]
                    str(kubeconfig), context=context, client_configuration=configuration
                )
        except (k8s_config.ConfigException, yaml.YAMLError) as error:
            raise ApiError(0, "BadKubeconfig", f"{kubeconfig or 'in a pod'}: {error}") from error
        return cls(configuration)

    @property
    def configuration(self) -> k8s.Configuration:
        """Host, certificates and token, for kopf's login."""
        return self._configuration

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> JSON | None:
        """Read one object; None when it does not exist."""
        try:
            return self._json("GET", resource.path(namespace, name))
        except ApiError as error:
            if error.not_found:
                return None
            raise

    def server_time(self) -> datetime:
        """The API server's clock, to the second.

        Raises
        ------
        ApiError
            When it does not answer, or does not say.
        """
        response = self._send("GET", "/version", {}, None, "")
        text = str(response.headers.get("Date", ""))
        try:
            return parsedate_to_datetime(text).astimezone(UTC)
        except ValueError as error:
            raise ApiError(0, "BadAnswer", f"GET /version: no date: {text!r}") from error

    def pages(
        self, resource: Resource, namespace: str | None = None, **query: Any
    ) -> Iterator[JSON]:
        """Read a collection page by page; each item is one list body."""
        token = ""
        while True:
            asked = {"limit": PAGE, **query}
            if token:
                asked["continue"] = token
            body = self._json("GET", resource.path(namespace), asked)
            yield body
            token = body.get("metadata", {}).get("continue") or ""
            if not token:
                return

    def items(
        self, resource: Resource, namespace: str | None = None, **query: Any
    ) -> Iterator[JSON]:
        """Read all objects of a collection."""
        for page in self.pages(resource, namespace, **query):
            yield from page.get("items") or ()

    def create(self, resource: Resource, body: JSON, namespace: str | None = None) -> JSON:
        """Create an object; ApiError with `conflict` when it exists."""
        path = resource.path(namespace)
        return self._json("POST", path, {"fieldManager": FIELD_MANAGER}, body, "application/json")

    def patch(
        self,
        resource: Resource,
        name: str,
        body: JSON,
        *,
        namespace: str | None = None,
        sub: str = "",
        content_type: str = MERGE_PATCH,
    ) -> JSON:
        """Patch an object; put ``metadata.uid`` and ``resourceVersion`` into `body`."""
        query = {"fieldManager": FIELD_MANAGER}
        return self._json("PATCH", resource.path(namespace, name, sub), query, body, content_type)

    def apply(
        self,
        resource: Resource,
        name: str,
        body: JSON,
        *,
        manager: str = FIELD_MANAGER,
        namespace: str | None = None,
        sub: str = "",
    ) -> JSON:
        """Server-side apply of just the fields in `body`, which thereby become `manager`'s.

        With ``metadata.uid`` and ``resourceVersion`` in `body` it fails on any change in between.
        """
        path = resource.path(namespace, name, sub)
        query = {"fieldManager": manager, "force": "true"}
        return self._json("PATCH", path, query, body, APPLY_PATCH)

    def served(self, group: str, version: str) -> frozenset[str]:
        """Plurals of the kinds that the API server serves of a group; empty when it knows none."""
        try:
            body = self._json("GET", f"/apis/{group}/{version}")
        except ApiError as error:
            if error.not_found:
                return frozenset()
            raise
        return frozenset(str(item["name"]) for item in body.get("resources") or ())

    def delete(
        self,
        resource: Resource,
        name: str,
        *,
        uid: str | None,
        namespace: str | None = None,
        version: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Delete this very object, as it was at a resourceVersion; gone already is fine."""
        body: JSON = {"kind": "DeleteOptions", "apiVersion": "v1", **(options or {})}
        wanted = {"uid": uid, "resourceVersion": version}
        if any(wanted.values()):
            body["preconditions"] = {key: value for key, value in wanted.items() if value}
        try:
            self._json("DELETE", resource.path(namespace, name), {}, body, "application/json")
        except ApiError as error:
            if not error.not_found:
                raise

    def evict(self, namespace: str, pod: str, uid: str) -> None:
        """Ask for the eviction of this very pod; gone already is fine."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        path = PODS.path(namespace, pod, "eviction")
        try:
            self._json("POST", path, {}, body, "application/json")
        except ApiError as error:
            if not (error.not_found or error.conflict):
                raise

    def watch(
        self, resource: Resource, resource_version: str, *, silence_s: float = 310.0, **query: Any
    ) -> Iterator[JSON]:
        """Stream watch events from a version on; ends when the server closes the stream.

        A stream that says nothing for `silence_s`, bookmarks included, counts as broken.

        Raises
        ------
        ApiError
            On an ERROR event (410 when `resource_version` is too old) or a broken stream.
        """
        asked = {
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": 290,
            **query,
        }
        response = self._send("GET", resource.path(), asked, None, "", read_s=silence_s)
        with self._lock:
            self._streams.add(response)
        try:
            yield from _events(response)
        finally:
            with self._lock:
                self._streams.discard(response)
            response.close()

    def close(self) -> None:
        """End all watch streams, so that their threads stop."""
        with self._lock:
            streams = list(self._streams)
        for response in streams:
            response.shutdown()
        self._api.rest_client.pool_manager.clear()

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: JSON | None = None,
        content_type: str = "",
    ) -> JSON:
        response = self._send(method, path, query or {}, body, content_type)
        try:
            parsed = json.loads(response.data)
        except ValueError as error:
            raise ApiError(0, "BadAnswer", f"{method} {path}: not JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise ApiError(0, "BadAnswer", f"{method} {path}: not an object")
        return parsed

    def _observe(self, method: str, path: str, status: int, seconds: float) -> None:
        if self.observer is not None:
            self.observer(method, path, status, seconds)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: JSON | None,
        content_type: str,
        *,
        read_s: float | None = None,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "kfarm-operator"}
        if content_type:
            headers["Content-Type"] = content_type
        token = bearer(self._configuration)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = f"{self._configuration.host}{path}"
        if query:
            url = f"{url}?{urlencode(query)}"
        timeout = urllib3.Timeout(connect=5.0, read=read_s or REQUEST_TIMEOUT_S)
        began = time.monotonic()
        try:
            response: urllib3.BaseHTTPResponse = self._api.rest_client.pool_manager.request(
                method,
                url,
                body=None if body is None else json.dumps(body, allow_nan=False).encode(),
                headers=headers,
                preload_content=read_s is None,
                timeout=timeout,
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, ApiException) as error:
            self._observe(method, path, 0, time.monotonic() - began)
            raise ApiError(0, "Unreachable", f"{method} {path}: {error}") from error
        self._observe(method, path, response.status, time.monotonic() - began)
        if not 200 <= response.status < 300:
            raise _refusal(method, path, response)
        if method != "GET":
            with self._lock:
                self.writes += 1
        return response


def bearer(configuration: k8s.Configuration) -> str:
    """The token of an account, refreshed where it expires; empty with a client certificate."""
    configuration.get_api_key_with_prefix("authorization")
    keys = (configuration.api_key.get(name) for name in ("authorization", "BearerToken"))
    token = str(next((key for key in keys if key), ""))
    # from a kubeconfig it comes as "Bearer …", in a pod as "bearer …"
    scheme, _, rest = token.partition(" ")
    return rest if scheme.lower() == "bearer" else token


def _events(response: urllib3.BaseHTTPResponse) -> Iterator[JSON]:
    pending = b""
    try:
        for chunk in response.stream(65536, decode_content=True):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield _event(line)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise ApiError(0, "StreamBroken", str(error)) from error


def _event(line: bytes) -> JSON:
    event: JSON = json.loads(line)
    if event.get("type") == "ERROR":
        status = event.get("object") or {}
        raise ApiError(
            int(status.get("code") or 0),
            str(status.get("reason") or "WatchError"),
            str(status.get("message") or "watch error"),
        )
    return event


def _refusal(method: str, path: str, response: urllib3.BaseHTTPResponse) -> ApiError:
    text = response.data.decode("utf-8", "replace")
    try:
        body = json.loads(text)
        return ApiError(
            response.status, str(body.get("reason", "")), f"{method} {path}: {body.get('message')}"
        )
    except (ValueError, AttributeError):
        return ApiError(response.status, "Refused", f"{method} {path}: {text[:300]}")
