"""Environment variables that override keys of the configuration file.

Only values of the whole proxy can be overridden, such as an injector sets for a pod: the variable is `MESHCTL_`
and the key's path in capitals (`limits.header_timeout_s`: `MESHCTL_LIMITS_HEADER_TIMEOUT_S`). OPAQUE_PORTS is the
one that goes to many places: to every listener that may have the key.
Other variables are left alone even if they begin alike, since Kubernetes sets `MESHCTL_PORT` and the like in
every pod next to a Service called "meshctl". An empty variable counts as not set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

OPAQUE_PORTS: Final = "listeners[].opaque_ports"
PROBE_PORTS: Final = "admin.probe_ports"

_TEXTS: Final = (
    "admin.address",
    "access_log.path",
    "log_level",
    "kubernetes.zone",
    "discovery.mode",
    "discovery.controller",
    "discovery.pod",
    "discovery.namespace",
    "discovery.cluster_domain",
)
_NUMBERS: Final = (
    "shutdown_grace_s",
    "limits.max_header_fields",
    "limits.max_header_list_bytes",
    "limits.max_concurrent_streams",
    "limits.header_timeout_s",
    "limits.detect_timeout_s",
)
_LISTS: Final = (OPAQUE_PORTS, PROBE_PORTS)

VARIABLES: Final = {
    "MESHCTL_" + path.upper().replace("[]", "").replace(".", "_"): path for path in (*_TEXTS, *_NUMBERS, *_LISTS)
}
"""Environment variable -> path of the key it overrides."""


@dataclass(frozen=True, slots=True)
class Override:
    """A value from the environment and the variable it came from."""

    variable: str
    value: str | int | float | list[str | int | float]


def present(environment: Mapping[str, str]) -> dict[str, Override]:
    """The overrides an environment holds, by key path."""
    return {
        path: Override(variable, _value(path, text))
        for variable, path in VARIABLES.items()
        if (text := environment.get(variable, ""))
    }


def applied(tree: object, overrides: Mapping[str, Override]) -> object:
    """A copy of a file's plain data with the overrides in it; what is no mapping stays as it is."""
    for path, override in overrides.items():
        if path == OPAQUE_PORTS:
            tree = _with_opaque_ports(tree, override.value)
        else:
            tree = _with(tree, path.split("."), override.value)
    return tree


def _with_opaque_ports(tree: object, ports: object) -> object:
    """With the ports at each listener that looks at redirected connections; at any other they would be an error."""
    listeners = tree.get("listeners") if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or not isinstance(listeners, list):
        return tree
    return {**tree, "listeners": [{**each, "opaque_ports": ports} if _looks(each) else each for each in listeners]}


def _looks(listener: object) -> bool:
    return isinstance(listener, dict) and "intercept" in listener and listener.get("protocol", "detect") == "detect"


def _with(tree: object, path: list[str], value: object) -> object:
    if not path:
        return value
    if tree is not None and not isinstance(tree, dict):
        return tree
    inner = tree or {}
    return {**inner, path[0]: _with(inner.get(path[0]), path[1:], value)}


def _value(path: str, text: str) -> str | int | float | list[str | int | float]:
    if path in _LISTS:
        return [_number(item.strip()) for item in text.split(",")]
    return _number(text) if path in _NUMBERS else text


def _number(text: str) -> int | float | str:
    """The number a text says; the text itself, for the check to refuse, when it says none."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
