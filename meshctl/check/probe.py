"""What one sidecar says of itself on its admin port, asked for through the API server (`pods/proxy`)."""

from __future__ import annotations

import asyncio
import json

from prometheus_client.parser import text_string_to_metric_families

from injector.settings import PORTS
from meshctl.check.facts import Key, Sidecar
from meshctl.cluster import Cluster, UnreachableError

CONNECTED = "meshctl_discovery_connected"
BUILD = "meshctl_build_info"


async def sidecar(cluster: Cluster, pod: Key) -> Sidecar:
    """Raises ClusterError."""
    config, metrics = await asyncio.gather(
        cluster.pod_page(pod, PORTS.admin_port, "/config"), cluster.pod_page(pod, PORTS.admin_port, "/metrics")
    )
    try:
        return understood(config, metrics)
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise UnreachableError(f"what answers on port {PORTS.admin_port} is no sidecar") from error


def understood(config: str, metrics: str) -> Sidecar:
    """Of the pages `/config` and `/metrics`. Raises ValueError and others if they are not what they should be."""
    listeners = json.loads(config).get("listeners") or ()
    connected: bool | None = None
    version = ""
    # Of all lines only these two matter, and parsing the rest takes long.
    lines = "".join(line for line in metrics.splitlines(keepends=True) if line.startswith((CONNECTED, BUILD)))
    for family in text_string_to_metric_families(lines):
        for sample in family.samples:
            if sample.name == CONNECTED:
                connected = (connected is not False) and bool(sample.value)
            else:
                version = sample.labels.get("version", "")
    return Sidecar(version, frozenset(each["intercept"] for each in listeners if each.get("intercept")), connected)
