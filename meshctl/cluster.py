"""A connection to a Kubernetes cluster's API server, for commands: requests with JSON in and out, and what went wrong.

Owns how the server is found (a kubeconfig as kubectl finds it, or else the pod's service account), time limits, and
errors that say what to do about them:

    AccessError       no kubeconfig, no such context, credentials that cannot be had
    UnreachableError  no answer, or none in time
    RefusedError      an answer that is no success: `status`, and whether the API server itself gave it

A request that is sent through the API server to a pod (`pod_page`) has the same errors. Knows nothing of what the
objects mean, and nothing of the terminal. Import it only when a command runs: it needs the extra `kubernetes`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from meshctl.access import Access
from proxy.discovery.kubernetes import client

CONNECT_S: Final = 5.0
PAGE_ITEMS: Final = 500
FIELD_MANAGER: Final = "meshctl"
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML
MERGE: Final = "application/merge-patch+json"

Json = Mapping[str, Any]


class ClusterError(Exception):
    """Why there was no good answer, in a sentence; `hint` says what to do about it, empty if nothing is known."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


class AccessError(ClusterError):
    """There is no way to the cluster: where it is, or who we are, is not known."""


class UnreachableError(ClusterError):
    """The API server does not answer."""


class RefusedError(ClusterError):
    """An answer that is no success. `by_server`: the API server gave it, and not a pod behind it."""

    def __init__(self, status: int, problem: str, *, by_server: bool = True) -> None:
        super().__init__(problem, _HINTS.get(status, "") if by_server else "")
        self.status = status
        self.by_server = by_server


_HINTS: Final = {
    401: "the credentials are wrong or have expired: log in to the cluster again, and see that `kubectl get ns` works",
    403: "ask for that permission, or use a context of somebody who has it (--context)",
}


class Cluster:
    """Used as `async with Cluster(access) as cluster`.

    `namespace` is the one that the context names, `server` the API server's URL.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._configuration: Any = None
        self._rest: Any = None
        self.namespace = "default"
        self.server = ""

    async def __aenter__(self) -> Self:
        parts = client.parts()
        configuration = parts.Configuration()
        try:
            self.namespace = await _authenticate(parts, configuration, self._access)
            self._rest = parts.RESTClientObject(configuration)
        except AccessError:
            raise
        except Exception as error:
            # The loader does not check what it reads, and plugins are other people's programs.
            hint = (
                "`kubectl config get-contexts` lists them"
                if self._access.context
                else "see that `kubectl get ns` works"
            )
            raise AccessError(f"cannot log in to the cluster: {_not_loaded(error)}", hint) from error
        self._configuration, self.server = configuration, configuration.host
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._rest.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """An object, or whatever else is JSON there. Raises ClusterError."""
        return _object(path, await self._request("GET", path, query))

    async def find(self, path: str) -> Json | None:
        """The object at `path`, None if it does not exist. Raises ClusterError."""
        try:
            return await self.get(path)
        except RefusedError as error:
            if error.status != 404:
                raise
            return None

    async def list_all(self, path: str, query: Mapping[str, str] | None = None) -> list[Json]:
        """All items of a collection, page by page. Raises ClusterError."""
        items: list[Json] = []
        page = ""
        while True:
            asked = {**(query or {}), "limit": str(PAGE_ITEMS), **({"continue": page} if page else {})}
            answer = await self.get(path, asked)
            items += answer.get("items") or ()
            page = str((answer.get("metadata") or {}).get("continue") or "")
            if not page:
                return items

    async def create(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """What the server made of `body`; with `dry_run` admission runs and nothing is kept. Raises ClusterError."""
        query = {"dryRun": "All"} if dry_run else {}
        return _object(path, await self._request("POST", path, query, body))

    async def apply(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Server-side apply of one object at its own path; fields of others that we name become ours."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        return _object(path, await self._request("PATCH", path, query, body, APPLY))

    async def patch(self, path: str, body: Json) -> Json:
        """A JSON Merge Patch (RFC 7396). Raises ClusterError."""
        return _object(path, await self._request("PATCH", path, None, body, MERGE))

    async def delete(self, path: str) -> bool:
        """Deletes an object and, in the background, what it owns; False if there was none. Raises ClusterError."""
        try:
            await self._request("DELETE", path, {"propagationPolicy": "Background"})
        except RefusedError as error:
            if error.status != 404:
                raise
            return False
        return True

    async def pod_page(self, pod: tuple[str, str], port: int, page: str, query: Mapping[str, str] | None = None) -> str:
        """A page that `pod` (namespace, name) serves over HTTP, fetched by the API server. Raises ClusterError."""
        namespace, name = pod
        path = f"/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{page}"
        return (await self._request("GET", path, query)).decode(errors="replace")

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Json | None = None,
        content_type: str = JSON,
    ) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self._access.timeout_s, connect=min(CONNECT_S, self._access.timeout_s))
        try:
            response = await self._rest.request(
                method,
                self.server + path,
                query_params=list((query or {}).items()),
                headers={**await self._headers(), "Content-Type": content_type},
                body=body,
                _preload_content=False,
                _request_timeout=timeout,
            )
            async with response:
                content: bytes = await response.read()
        except TimeoutError as error:
            raise self._unreachable(f"no answer within {self._access.timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._unreachable(_no_answer(error)) from error
        if not 200 <= response.status < 300:
            raise _refused(response.status, content, f"{method} {path}")
        return content

    async def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json, */*", "User-Agent": "meshctl"}
        settings = await self._configuration.auth_settings()
        return headers | {each["key"]: each["value"] for each in settings.values()}

    def _unreachable(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"the API server at {self.server} cannot be reached: {why}",
            "is the cluster up, is the network there, is it the right context? (`kubectl config current-context`)",
        )


async def _authenticate(parts: Any, configuration: Any, access: Access) -> str:
    """Fills in `configuration`; returns the namespace that commands mean unless they say another."""
    if (paths := _kubeconfig(access)) is not None:
        loader = await parts.load_kube_config(
            config_file=paths, context=access.context, client_configuration=configuration, persist_config=False
        )
        return str(((loader.current_context or {}).get("context") or {}).get("namespace") or "default")
    parts.load_incluster_config(client_configuration=configuration)
    return _own_namespace()


def _kubeconfig(access: Access) -> str | None:
    """The kubeconfig, or several separated by ":"; None in a pod without one. Raises AccessError."""
    given = access.kubeconfig or os.environ.get("KUBECONFIG") or ""
    paths = given or str(Path.home() / ".kube/config")
    if any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):
        return paths
    in_pod = not given and "KUBERNETES_SERVICE_HOST" in os.environ
    if not in_pod or access.context is not None:
        elsewhere = "" if given or in_pod else ", and this is not a pod of a cluster"
        raise AccessError(
            f"there is no kubeconfig at {paths}{elsewhere}", "name one with --kubeconfig FILE, or with KUBECONFIG"
        )
    return None


def _not_loaded(error: Exception) -> str:
    """Why a kubeconfig is no help, on one line."""
    if isinstance(error, (AttributeError, TypeError)):  # what the loader falls over
        return "the kubeconfig does not hold what one has to"
    return " ".join(str(error).split())


def _no_answer(error: Exception) -> str:
    """Why a request had no answer, without aiohttp's own words around it."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not trusted: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno or 0  # below 0: of a look-up, whose own words are good
            return os.strerror(number) if number > 0 else error.os_error.strerror or str(error)
        case aiohttp.InvalidURL():
            return "that is no URL"
    return str(error) or type(error).__name__


def _own_namespace() -> str:
    path = SERVICE_ACCOUNT / "namespace"
    return path.read_text().strip() if path.is_file() else "default"


def _object(path: str, content: bytes) -> Json:
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnreachableError(f"{path}: what answers there is not a Kubernetes API server")
    return value


def _refused(status: int, content: bytes, request: str) -> RefusedError:
    """What an answer says that is no success: a Status object of the API server, or a page of a pod."""
    text = content.decode(errors="replace")
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    by_server = isinstance(answer, dict) and answer.get("kind") == "Status"
    if by_server:
        said = str(answer.get("message") or answer.get("reason") or "")
    elif isinstance(answer, dict):
        said = str(answer.get("error") or answer.get("message") or text)
    else:
        said = text
    said = " ".join(said.split())[:500] or request
    # An API server that knows nobody says so in plain words, or none.
    by_server = by_server or status in (401, 403)
    return RefusedError(status, said if by_server and len(said) > 20 else f"{said} ({status})", by_server=by_server)
