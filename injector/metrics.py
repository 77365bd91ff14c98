"""What the controller counts. docs/controller.md describes each; a test keeps it complete."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The controller's own, on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.injections = Counter(
            "meshctl_injections",
            "Pods that the webhook was asked about, by what became of them.",
            ["outcome", "reason"],
            registry=registry,
        )
        self.admission_s = Histogram(
            "meshctl_admission_duration_seconds",
            "Time to answer an admission request, its body read.",
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.admission_refusals = Counter(
            "meshctl_admission_refusals",
            "Requests to the webhook that were no admission reviews, by HTTP status.",
            ["code"],
            registry=registry,
        )
        self.faults = Counter(
            "meshctl_admission_faults",
            "Pods let through as they were because of a fault in the webhook.",
            registry=registry,
        )
        self.certificate_expiry = Gauge(
            "meshctl_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate that the webhook shows expires; 0 while it has none.",
            registry=registry,
        )
        self.certificates = Counter(
            "meshctl_webhook_certificates",
            "Certificates that this replica made while it led, by kind.",
            ["kind"],
            registry=registry,
        )
        self.leads = Gauge("meshctl_leader", "Whether this replica leads.", registry=registry)
        self.events = Counter(
            "meshctl_events", "Events about injection, by what became of them.", ["result"], registry=registry
        )
