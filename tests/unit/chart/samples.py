"""Values that together reach every branch of the chart."""

from typing import Any

ADMIN_FROM = [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "prometheus"}}}]
# What one reader of YAML or another would take for something else than text.
DELICATE = [
    "1e3",
    "on",
    "N",
    "0x1f",
    "0o17",
    "2001-01-01",
    "1_000",
    ".5",
    " x",
    "a: b # c",
    "two\nlines",
    "ключ",
    '"\\',
    "~",
    "",
]

SAMPLES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "ha": {"ha": True},
    "namespace_only": {"namespaceOnly": True},
    "namespaces": {"namespaces": ["shop", "12", "1e3"]},
    "digest": {"image": {"repository": "r.example:5000/mesh/meshctl", "digest": f"sha256:{'a' * 64}"}},
    "provided": {"webhook": {"certificates": "provided", "caBundle": "QUJD", "failurePolicy": "Fail"}},
    "cert_manager": {"webhook": {"certificates": "provided", "certManager": {"enabled": True}}},
    "issuer": {
        "webhook": {
            "certificates": "provided",
            "certManager": {"enabled": True, "issuer": {"name": "ours", "kind": "ClusterIssuer"}},
        }
    },
    "injection": {
        "injection": {
            "enabledByDefault": True,
            "nativeSidecar": False,
            "discovery": "direct",
            "controllerAddress": "controller.example:8086",
            "skipInboundPorts": 8080,
            "skipOutboundPorts": "25,9000-9010",
            "opaquePorts": "3306",
            "cpuRequest": 0.25,
            "memoryRequest": "64Mi",
            "cpuLimit": 1,
            "memoryLimit": "",
            "logLevel": "debug",
            "accessLog": True,
            "shutdownGraceSeconds": 86400,
        }
    },
    "everything": {
        "ha": True,
        "namespaces": ["shop"],
        "clusterDomain": "mesh.example",
        "logLevel": "warning",
        "image": {"tag": "1.0", "pullPolicy": "Always", "pullSecrets": ["registry"]},
        "controller": {
            "podAnnotations": {f"example.com/{number}": text for number, text in enumerate(DELICATE)},
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"pool": "1e3"},
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "mesh", "effect": "NoSchedule"}],
            "resources": {"requests": {"cpu": 0.5, "memory": "64Mi"}},
        },
        "endpoints": {"streamsPerAddress": 2000, "namesPerAddress": 200000},
        "directMode": {"namespaces": ["shop", "1e3"]},
        "podMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
        "networkPolicy": {"enabled": True, "adminFrom": ADMIN_FROM, "sidecarNamespaces": ["shop", "1e3"]},
    },
    "namespace_only_with_all": {
        "namespaceOnly": True,
        "ha": True,
        "webhook": {"certificates": "provided", "certManager": {"enabled": True}},
        "directMode": {"namespaces": ["shop"]},
        "podMonitor": {"enabled": True},
        "networkPolicy": {"enabled": True, "sidecarNamespaces": ["shop"]},
    },
}
