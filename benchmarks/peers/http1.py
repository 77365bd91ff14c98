"""The peers of the scenario `http1`: the same programs, each with a configuration for HTTP/1.1 on both sides."""

from dataclasses import replace

from benchmarks.peers import BY_NAME

_TEMPLATES = {
    "meshctl": "meshctl-http1.yaml",
    "haproxy": "haproxy-http1.cfg",
    "nginx": "nginx-http1.conf",
    "envoy": "envoy-http1.yaml",
}
PEERS = (*(replace(BY_NAME[name], template=template) for name, template in _TEMPLATES.items()), BY_NAME["direct"])
