"""The route table: which clusters a call's authority and path lead to.

Pure: built from the configuration, asked by the data plane's Router once per new (authority, path). The first
route that matches wins. Authorities are compared without regard to case, port and all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.config import MatchConfig, RouteConfig

Target = tuple[list[tuple[Any, int]], float | None]
Resolve = Callable[[str, str, bool], Target | None]


def matches(match: MatchConfig, authority: str, path: str, grpc: bool) -> bool:
    """Whether a call belongs to this route. `path` has no query; gRPC's is "/package.Service/Method"."""
    if match.authority is not None and match.authority.lower() != authority.lower():
        return False
    if match.path_prefix is not None:
        return path.startswith(match.path_prefix)
    if match.service is not None:
        prefix = f"/{match.service}/"
        return grpc and (path == prefix + match.method if match.method else path.startswith(prefix))
    return True


def route_table(routes: tuple[RouteConfig, ...], clusters: Mapping[str, Any]) -> Resolve:
    """What a Router asks: (authority, path, grpc) to ([(cluster, weight), ...], timeout_s), or None."""
    table = [
        (
            route.match,
            ([(clusters[name], weight) for name, weight in route.targets if weight], route.timeout_s),
        )
        for route in routes
    ]

    def resolve(authority: str, path: str, grpc: bool) -> Target | None:
        for match, target in table:
            if matches(match, authority, path, grpc):
                return target
        return None

    return resolve
