"""The proxy, written out once from top to bottom: the one place that wires everything together.

    Listener -> Intake -> DownstreamSession -> Router -> Cluster -> Balancer -> Endpoint -> UpstreamSession
                          Http1Downstream                 ^ resolvers            ^ Dialer   Http1Upstream
                          Relay                             (discovery)                     RelayEnd

Owns the order of starting, reloading and stopping. Every other module is handed what it needs, and knows no
more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvloop

from proxy.admin.access_log import AccessLog
from proxy.admin.exposition import Exposition
from proxy.admin.metrics import Build, PlaneCollector
from proxy.admin.server import AdminServer
from proxy.clusters import Lanes, Originals
from proxy.config import ClusterConfig, Config, ConfigError, ListenerConfig, load
from proxy.dataplane import BUCKETS_S, DataPlane, Limits, Router, libnghttp2_version
from proxy.demand import Demand
from proxy.discovery import make_resolver
from proxy.discovery.directory import Directory, make_directory
from proxy.drain import Drain
from proxy.net.dialer import Dialer
from proxy.net.gate import Gate, raise_limit
from proxy.net.intake import Intake
from proxy.net.listener import Listener, has_ipv6
from proxy.routes import Resolve, Target, opaque_table, route_table
from proxy.version import VERSION

log = logging.getLogger("meshctl")

WATCH_EVERY_S = 1.0
RESOLVE_AGAIN_S = 5.0

FileIdentity = tuple[int, int, int] | None


class Proxy:
    """A running proxy. `run` returns when it has drained."""

    def __init__(self, path: str, config: Config, seen: FileIdentity) -> None:
        """`seen` is what `identity` said of the file before it was read."""
        self._path = path
        self._seen = seen
        self._config = config
        self._kubernetes = config.kubernetes
        limits = config.limits
        self.plane = DataPlane(
            asyncio.get_running_loop(),
            limits=Limits(
                max_header_fields=limits.max_header_fields,
                max_header_list_bytes=limits.max_header_list_bytes,
                max_concurrent_streams=limits.max_concurrent_streams,
                header_timeout_s=limits.header_timeout_s,
            ),
        )
        self.plane.on_note = log.warning
        self._dialer = Dialer(self.plane, own_ports=self._own_ports)
        self._gate = Gate(raise_limit(), self._accept)
        self.plane.on_disconnect = self._gate.leave
        self._resolving: dict[str, asyncio.Task[None]] = {}
        self._clusters: dict[str, Lanes] = {}
        self._table: Resolve = lambda *_: None
        self._opaque: Callable[[str, str], bool] = lambda *_: False
        self._router = Router(self.plane, self._route)
        self._originals = Originals(self.plane, self._reroute)
        self._demand = self._discovery(config)
        self._listeners: dict[str, Listener] = {}
        self._intakes: dict[str, Intake] = {}
        self._collector = PlaneCollector(self, self._intakes, BUCKETS_S, _build(), self._demand)
        self._admin = AdminServer(self, Exposition(self._collector), probe_ports=config.admin.probe_ports)
        self._access_log: AccessLog | None = None
        self._stopping = asyncio.Event()
        self._draining = Drain(self.plane, self._gate)

    def _discovery(self, config: Config) -> Demand | None:
        if config.discovery.mode == "none":
            return None
        demand = Demand(self.plane, self._originals, config.discovery, self._reroute, asyncio.get_running_loop())
        demand.directory = make_directory(config.discovery, config.kubernetes, demand.told)
        return demand

    # ---- what the admin server shows ----

    clusters = property(lambda self: self.plane.clusters)
    cuts = property(lambda self: self.plane.cuts)
    faults = property(lambda self: self.plane.faults)
    downstream_connections = property(lambda self: self.plane.downstream_connections)

    def call_stats(self) -> list[Any]:
        """The data plane's counters, those of calls that matched no route among them."""
        return [*self.plane.call_stats(), *self._router.call_stats()]

    def now_s(self) -> float:
        return float(self.plane.now_s())

    def config(self) -> Mapping[str, Any]:
        return self._config.as_dict()

    def ready(self) -> tuple[bool, str]:
        """Ready when the listeners are bound and every cluster's resolver has spoken (semantics: 13)."""
        if self._stopping.is_set():
            return False, "shutting down"
        silent = [name for name, lanes in self._clusters.items() if lanes.exists is None]
        return (False, f"no word yet about the endpoints of {', '.join(silent)}") if silent else (True, "")

    def shutdown(self) -> None:
        """Begin to drain; the second time, stop at once."""
        if self._stopping.is_set():
            self._draining.end()
        self._stopping.set()

    # ---- start ----

    async def run(self) -> None:
        """Start, serve until told to stop, drain."""
        loop = asyncio.get_running_loop()
        self._bind(self._config)
        await self._admin.start(self._config.admin.address.host, self._config.admin.address.port)
        self._apply(self._config)
        for listener in self._config.listeners:
            await self._listen(listener)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.shutdown)
        loop.add_signal_handler(signal.SIGHUP, self._hangup)
        log.info("admin on %s", self._admin.address)
        if self._demand is not None and self._demand.directory is not None:
            self._resolving["on demand"] = loop.create_task(self._follow(self._demand.directory))
        watching = loop.create_task(self._watch())
        try:
            await self._stopping.wait()
            await self._draining.run(self._listeners.values(), self._intakes.values(), self._config.shutdown_grace_s)
        finally:
            watching.cancel()
            await self._stop()

    def _bind(self, config: Config) -> None:
        """Bind the listeners that are new. Raises OSError, with none of them left bound."""
        bound: dict[str, Listener] = {}
        try:
            for wanted in config.listeners:
                if wanted.name not in self._listeners and _can_be(wanted):
                    bound[wanted.name] = Listener.bind(wanted.name, wanted.address.host, wanted.address.port)
        except OSError:
            for listener in bound.values():
                listener.stop()
            raise
        self._listeners.update(bound)

    async def _listen(self, config: ListenerConfig) -> None:
        listener = self._listeners.get(config.name)
        if listener is None:
            log.info("listener %s is for IPv6, which this kernel runs without", config.name)
            return
        intake = Intake(
            config,
            self._router,
            self._is_opaque,
            detect_timeout_s=self._config.limits.detect_timeout_s,
            own_ports=self._own_ports,
            gate=self._gate,
        )
        self._intakes[config.name] = intake
        await listener.start(intake.protocol)
        listener.accept(self._gate.is_open)
        log.info("listener %s on %s", config.name, listener.address)

    def _own_ports(self) -> set[int]:
        return {listener.port for listener in self._listeners.values()}

    def _accept(self, wanted: bool) -> None:
        """Later: a connection that is just being accepted would be lost."""
        for listener in self._listeners.values():
            asyncio.get_running_loop().call_soon(listener.accept, wanted)

    # ---- configuration ----

    def _apply(self, config: Config) -> None:
        """Make the clusters and routes those of `config`; what did not change is not touched."""
        logging.getLogger().setLevel(config.log_level.upper())
        wanted = {cluster.name: cluster for cluster in config.clusters}
        for cluster_config in wanted.values():
            self._apply_cluster(cluster_config)
        inbound = {listener.name for listener in config.listeners if listener.intercept == "inbound"}
        self._table = route_table(config.routes, {name: self._clusters[name].lane for name in wanted}, inbound)
        self._opaque = opaque_table(config.routes, {name: each.protocol for name, each in wanted.items()}, inbound)
        self._config = config
        self._reroute()
        for name in [name for name in self._clusters if name not in wanted]:
            self._resolving.pop(name).cancel()
            self._clusters.pop(name).close()
        self._apply_access_log(config)

    def _apply_cluster(self, config: ClusterConfig) -> None:
        lanes = self._clusters.get(config.name)
        old = None if lanes is None else lanes.config
        if lanes is None:
            lanes = self._clusters[config.name] = Lanes(self.plane, config)
        elif old != config:
            lanes.configure(config)
        if old is None or old.source != config.source:
            if old is not None:
                self._resolving[config.name].cancel()
            task = asyncio.get_running_loop().create_task(self._resolve(config, lanes))
            self._resolving[config.name] = task

    def _reroute(self) -> None:
        """What was found before may lead elsewhere now."""
        self._router.replace(self._route)

    def _route(self, listener: str, destination: str, authority: str, path: str, protocol: str) -> Target | None:
        """A configured route, or else what discovery says, or else the way to where the connection was going."""
        target = self._table(listener, destination, authority, path, protocol)
        if target is not None:
            return target
        direction = self._intakes[listener].config.intercept or "outbound"
        wire = "http2" if protocol == "grpc" else protocol
        if self._demand is not None and direction == "outbound":
            cluster = self._demand.way(authority, destination, wire)
        else:
            cluster = self._originals.cluster(direction, destination, wire) if destination else None
        return None if cluster is None else ([(cluster, 1)], None)

    def _is_opaque(self, listener: str, destination: str) -> bool:
        """Whether what goes there is passed on without a look into it."""
        return self._opaque(listener, destination) or (self._demand is not None and self._demand.is_tcp(destination))

    async def _follow(self, directory: Directory) -> None:
        """Keep a directory at work."""
        while True:
            try:
                await directory.run()
            except Exception:
                # A fault of ours: what is known stays as it is, and discovery begins anew.
                log.exception("discovery failed, trying again")
            await asyncio.sleep(RESOLVE_AGAIN_S)

    def _apply_access_log(self, config: Config) -> None:
        path = config.access_log.path if config.access_log else None
        if self._access_log is not None and path == self._access_log.path:
            return
        if self._access_log is not None:
            self._access_log.close()
            self._access_log = None
        if path is not None:
            self._access_log = AccessLog(self.plane, path)
            self._access_log.start()

    async def _resolve(self, config: ClusterConfig, lanes: Lanes) -> None:
        """Carry one resolver's updates to its cluster."""
        while True:
            try:
                async for update in make_resolver(config, self._kubernetes).updates():
                    lanes.update(update)
            except Exception:
                # A fault of ours: the endpoints stay as they are, and discovery begins anew.
                log.exception("discovery of cluster %s failed, trying again", config.name)
            await asyncio.sleep(RESOLVE_AGAIN_S)

    # ---- reload ----

    def _hangup(self) -> None:
        if self._access_log is not None:
            self._access_log.reopen()
        self._reload()

    def _reload(self) -> None:
        """Read the file again; one that is wrong is refused as a whole, and the old one stays."""
        old = set(self._listeners)
        self._seen = identity(self._path)
        try:
            config = load(self._path)
            self._bind(config)
        except (ConfigError, OSError) as error:
            self._collector.count_reload("failure")
            for line in error.errors if isinstance(error, ConfigError) else [str(error)]:
                log.error("configuration refused: %s", line)
            return
        self._warn_of_what_waits(config)
        self._apply(config)
        for name in old - {listener.name for listener in config.listeners}:
            self._listeners.pop(name).stop()
        for listener in config.listeners:
            if listener.name not in old:
                task = asyncio.get_running_loop().create_task(self._listen(listener))
                self._resolving[f"listener {listener.name}"] = task
        self._collector.count_reload("success")
        log.info("configuration applied")

    def _warn_of_what_waits(self, config: Config) -> None:
        """Some changes are accepted, and take effect at the next start."""
        old = {listener.name: listener for listener in self._config.listeners}
        waiting = [f"listeners: {a.name}" for a in config.listeners if old.get(a.name, a) != a]
        waiting += ["admin"] if self._config.admin != config.admin else []
        waiting += ["limits"] if self._config.limits != config.limits else []
        waiting += ["kubernetes"] if self._config.kubernetes != config.kubernetes else []
        waiting += ["discovery"] if self._config.discovery != config.discovery else []
        for what in waiting:
            log.warning("configuration: a change of %s takes effect at the next start", what)

    async def _watch(self) -> None:
        """Notice by `stat` that the file changed: works for ConfigMaps, whose files are swapped links."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            self._originals.sweep()
            if self._demand is not None:
                self._demand.sweep()
            now = identity(self._path)
            if now is not None and now != self._seen:
                self._reload()

    # ---- stop ----

    async def _stop(self) -> None:
        for listener in self._listeners.values():
            listener.stop()
        for intake in self._intakes.values():
            for looking in list(intake.looking):
                looking.close()
        for session in list(self.plane.downstreams):
            session.close()
        self._dialer.close()
        for task in self._resolving.values():
            task.cancel()
        for lanes in self._clusters.values():
            lanes.close()
        if self._demand is not None:
            self._demand.close()
        self._originals.close()
        if self._access_log is not None:
            self._access_log.close()
        await self._admin.stop()
        log.info("stopped")


def _can_be(listener: ListenerConfig) -> bool:
    """Nothing is ever redirected to a listener for IPv6 where the kernel runs without it."""
    return listener.intercept is None or ":" not in listener.address.host or has_ipv6()


def _build() -> Build:
    return Build(VERSION, libnghttp2_version())


def identity(path: str) -> FileIdentity:
    """What changes when the file does; None when it cannot be looked at."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def main(path: str | os.PathLike[str]) -> int:
    """Run a configuration file's proxy; returns the exit status: 0, 1 (failed start), 2 (wrong file)."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    seen = identity(str(path))
    try:
        config = load(path)
    except ConfigError as error:
        for line in error.errors:
            print(f"{path}: {line}", file=sys.stderr)
        return 2

    async def serve() -> None:
        await Proxy(str(path), config, seen).run()

    try:
        uvloop.run(serve())
    except OSError as error:
        print(f"meshctl: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0
