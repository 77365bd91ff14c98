"""A small client of the API server for tests: JSON in, JSON out, one connection for each request.

On purpose not the code under test, and synchronous. `place` is where its sockets are made.
"""

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.kube.certificates import Pair
from tests.support.ports import split_address
from tests.support.process import HERE, Place

TIMEOUT_S = 30
PATCH = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"

Json = dict[str, Any]


class RefusedError(Exception):
    """An answer other than 2xx; the API server's words and its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Access:
    """How one user reaches the API server: with a client certificate or with a token."""

    address: str
    authority: Path
    pair: Pair | None = None
    token: str = ""
    place: Place = HERE

    def kubeconfig(self, path: Path) -> Path:
        """Writes a kubeconfig file."""
        user: Json = {"token": self.token} if self.token else {}
        if self.pair is not None:
            user |= {"client-certificate": str(self.pair.certificate), "client-key": str(self.pair.key)}
        cluster = {"server": f"https://{self.address}", "certificate-authority": str(self.authority)}
        written = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": user}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(written))
        return path


@dataclass(slots=True)
class Api:
    """The API server, as the user of `access`."""

    access: Access
    _tls: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self._tls = ssl.create_default_context(cafile=str(self.access.authority))
        if self.access.pair is not None:
            self._tls.load_cert_chain(self.access.pair.certificate, self.access.pair.key)

    def get(self, path: str) -> Json:
        return self.request("GET", path)

    def create(self, path: str, item: Mapping[str, Any]) -> Json:
        return self.request("POST", path, item)

    def patch(self, path: str, change: Mapping[str, Any]) -> Json:
        """A merge patch."""
        return self.request("PATCH", path, change, PATCH)

    def apply(self, path: str, item: Mapping[str, Any]) -> Json:
        """Creates or changes an object (server-side apply)."""
        return self.request("PATCH", f"{path}?fieldManager=tests&force=true", item, APPLY)

    def delete(self, path: str, grace_s: int | None = None) -> Json:
        options = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        return self.request("DELETE", path, options)

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, media_type: str = "application/json"
    ) -> Json:
        """The answer's JSON. Raises RefusedError, and OSError or http.client.HTTPException without an answer."""
        status, text = self.text(method, path, None if body is None else json.dumps(body), media_type)
        if not 200 <= status < 300:
            raise RefusedError(status, _message(text))
        found = json.loads(text)
        assert isinstance(found, dict)
        return found

    def text(
        self, method: str, path: str, body: str | None = None, media_type: str = "application/json"
    ) -> tuple[int, str]:
        """Status and text of the answer, whatever it is."""
        host, port = split_address(self.access.address)
        headers = {"Accept": "application/json", "Content-Type": media_type}
        if self.access.token:
            headers["Authorization"] = f"Bearer {self.access.token}"
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=self._tls)
        try:
            with self.access.place.entered():
                connection.connect()
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def wait_for(self, path: str, timeout_s: float = 60) -> Json:
        """The object at `path`, once it is there."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return self.get(path)
            except RefusedError as error:
                if error.status != 404 or time.monotonic() >= deadline_s:
                    raise
            time.sleep(0.02)


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:500]
