"""The contenders of the scenario `tcp`: the same programs, each as a TCP relay.

HAProxy has two turns: its plain way, which copies through a buffer of its own, and with the kernel's splicing.
"""

from dataclasses import replace
from pathlib import Path

from benchmarks.peers import BY_NAME, Contender, default

NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
"""Where Debian's package puts it; the template loads it from there."""

_find_nginx = BY_NAME["nginx"].find
_MESHCTL = replace(BY_NAME["meshctl"], template="meshctl-tcp.yaml")
_HAPROXY = replace(BY_NAME["haproxy"], template="haproxy-relay.cfg")
_NGINX = replace(
    BY_NAME["nginx"],
    template="nginx-stream.conf",
    find=lambda: _find_nginx() if NGINX_STREAM.exists() else None,
    package="libnginx-mod-stream",
)
_ENVOY = replace(BY_NAME["envoy"], template="envoy-tcp.yaml")

CONTENDERS = (
    default(_MESHCTL),
    default(_HAPROXY),
    Contender(replace(_HAPROXY, template="haproxy-splice.cfg"), "round_robin", "haproxy splice"),
    default(_NGINX),
    default(_ENVOY),
    default(BY_NAME["direct"]),
)
