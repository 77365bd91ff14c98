"""The controller's configuration, `controller.yaml`: frozen records, or every error by its key path.

Reading has no side effects. What sidecars are like (`injection`) is said in the words of the annotations and read by
the same readers, so that a value is right in both places or in none. `docs/controller.md` describes every key; a test
keeps it complete. Must not know how any of it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from injector.annotations import ANNOTATIONS, HIGHEST_GRACE_S, LOG_LEVELS, settings_of
from injector.settings import CONTROLLER, Settings
from proxy import yamltree
from proxy.address import SocketAddress, address, dns_name
from proxy.config import ConfigError, KubernetesConfig
from proxy.schema import (
    INVALID,
    Check,
    Errors,
    Nullable,
    Problem,
    choice,
    described,
    flag,
    integer,
    items,
    key,
    record,
    repeated,
    section,
    text,
)

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_READERS: Final = {each.setting: each.read for each in ANNOTATIONS.values()}


def _read_by(reader: Callable[[str], Any]) -> Check:
    """A check: text that a reader of annotations understands; the field holds what it makes of it."""

    def check(value: object, path: str, errors: Errors) -> Any:
        if not isinstance(value, str):
            quote = "; put it in quotes" if isinstance(value, (int, float)) else ""
            errors.add(path, f"must be text, not {described(value)}{quote}")
            return INVALID
        try:
            return reader(value)
        except ValueError as error:
            errors.add(path, str(error))
            return INVALID

    return check


def _as_annotated(setting: str) -> Check:
    return _read_by(_READERS[setting])


@record
class WebhookConfig:
    """The admission webhook, and who makes its certificate: the controller itself, or somebody else (`provided`)."""

    enabled: bool = key(flag, default=True)
    address: SocketAddress = key(address(lowest_port=0), default=SocketAddress("::", 8443))
    certificates: str = key(choice("self", "provided"), default="self")


@record
class EndpointsConfig:
    """The endpoint service, and what all sidecars that come from one address may have there together."""

    address: SocketAddress = key(address(lowest_port=0), default=SocketAddress("::", 8086))
    streams_per_address: int = key(integer(1, 100_000), default=500)
    names_per_address: int = key(integer(1, 10_000_000), default=50_000)


@record
class AdminConfig:
    """Metrics, health and the other admin pages."""

    address: SocketAddress = key(address(lowest_port=0), default=SocketAddress("::", 9990))


@record
class InjectionConfig:
    """What an injected sidecar is like unless annotations say otherwise; its keys are those of `Settings`."""

    enabled_by_default: bool = key(flag, default=False)
    image: str = key(_as_annotated("image"))
    native_sidecar: bool = key(flag, default=True)
    skip_inbound_ports: tuple[Any, ...] = key(_as_annotated("skip_inbound_ports"), default=())
    skip_outbound_ports: tuple[Any, ...] = key(_as_annotated("skip_outbound_ports"), default=())
    opaque_ports: tuple[Any, ...] | None = key(Nullable(_as_annotated("opaque_ports")), default=None)
    cpu_request: str = key(_as_annotated("cpu_request"), default="10m")
    cpu_limit: str | None = key(Nullable(_as_annotated("cpu_limit")), default=None)
    memory_request: str = key(_as_annotated("memory_request"), default="48Mi")
    memory_limit: str | None = key(Nullable(_as_annotated("memory_limit")), default="256Mi")
    log_level: str = key(choice(*LOG_LEVELS), default="info")
    access_log: bool = key(flag, default=False)
    shutdown_grace_s: int = key(integer(0, HIGHEST_GRACE_S), default=30)
    discovery: str = key(_as_annotated("discovery"), default="controller")
    controller_address: str = key(
        text(r"[^\s:\[\]]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}", "a host and a port"), default=CONTROLLER
    )

    def settings(self) -> Settings:
        """The settings that pods start from."""
        return Settings(**{item.name: getattr(self, item.name) for item in fields(Settings)})

    def problems(self) -> Iterator[Problem]:
        if any(getattr(self, item.name) is INVALID for item in fields(InjectionConfig)):
            return
        given = self.settings()
        followed = settings_of(given, {}, {})  # where a limit is not below its request
        for name in ("cpu_limit", "memory_limit"):
            if getattr(given, name) != getattr(followed, name):
                yield name, f"{getattr(given, name)} is below the request, {getattr(followed, name)}"


@record
class ControllerConfig:
    """The whole configuration."""

    log_level: str = key(choice("debug", "info", "warning", "error"), default="info")
    cluster_domain: str = key(dns_name, default="cluster.local")
    namespaces: tuple[str, ...] = key(items(text(_LABEL, "a namespace's name")), default=())
    webhook: WebhookConfig = key(section(WebhookConfig), default=WebhookConfig())
    endpoints: EndpointsConfig = key(section(EndpointsConfig), default=EndpointsConfig())
    admin: AdminConfig = key(section(AdminConfig), default=AdminConfig())
    kubernetes: KubernetesConfig = key(section(KubernetesConfig), default=KubernetesConfig())
    injection: InjectionConfig = key(section(InjectionConfig))

    def problems(self) -> Iterator[Problem]:
        seen: dict[str, int] = {}
        for index, name in enumerate(self.namespaces):
            if name is not INVALID and seen.setdefault(name, index) != index:
                yield f"namespaces[{index}]", f"{name!r} is namespaces[{seen[name]}] already; remove one of the two"
        places = [(name, getattr(self, name)) for name in ("webhook", "endpoints", "admin")]
        for index, first, value in repeated([each for _, each in places], "address"):
            if value.port:
                yield f"{places[index][0]}.address", f"{value} is {places[first][0]}.address already; choose another"


def load(path: str | Path) -> ControllerConfig:
    """Reads a file (UTF-8); raises ConfigError."""
    try:
        content = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError((f"file: cannot be read: {error.strerror or error}",)) from error
    except ValueError as error:
        raise ConfigError((f"file: is not UTF-8 text: {error}",)) from error
    return parse(content)


def parse(content: str) -> ControllerConfig:
    """Makes a ControllerConfig of YAML text; raises ConfigError."""
    errors = Errors()
    tree = yamltree.read(content, errors)
    if tree is None:
        errors.add("", "is empty; it needs injection.image at least")
    elif tree is not INVALID:
        config = section(ControllerConfig)(tree, "", errors)
    if errors.lines:
        raise ConfigError(tuple(errors.lines))
    assert isinstance(config, ControllerConfig)
    return config
