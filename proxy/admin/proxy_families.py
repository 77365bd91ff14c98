"""What is counted for the whole proxy and for each of its listeners."""

from collections.abc import Mapping

from proxy.admin.family import Family
from proxy.admin.source import Discovery, Intake, Plane


def downstream_families(plane: Plane) -> list[Family]:
    """Connections from clients, and faults."""
    return [
        Family(
            "meshctl_downstream_connections",
            "gauge",
            (),
            "Connections open from clients.",
            lambda: [((), plane.downstream_connections)],
        ),
        Family(
            "meshctl_downstream_cuts",
            "counter",
            ("reason",),
            "Connections from clients that the proxy cut.",
            lambda: [((reason,), count) for reason, count in plane.cuts.items()],
        ),
        Family(
            "meshctl_faults",
            "counter",
            (),
            "Faults inside the proxy.",
            lambda: [((), plane.faults)],
        ),
    ]


def intake_families(intakes: Mapping[str, Intake]) -> list[Family]:
    """What became of connections before a protocol was spoken on them, by listener."""
    return [
        Family(
            "meshctl_detected_connections",
            "counter",
            ("listener", "protocol"),
            "Connections by the protocol that was found.",
            lambda: [((name, found), n) for name, intake in intakes.items() for found, n in intake.found.items()],
        ),
        Family(
            "meshctl_detection_timeouts",
            "counter",
            ("listener",),
            "Connections taken for TCP because their client took too long to show its protocol.",
            lambda: [((name,), intake.timeouts) for name, intake in intakes.items()],
        ),
        Family(
            "meshctl_refused_connections",
            "counter",
            ("listener", "reason"),
            "Connections closed because they would have led back to the proxy.",
            lambda: [((name, reason), n) for name, intake in intakes.items() for reason, n in intake.refused.items()],
        ),
    ]


def discovery_families(discovery: Discovery | None) -> list[Family]:
    """What is looked up as it is called; nothing without discovery."""
    if discovery is None:
        return []
    return [
        Family(
            "meshctl_discovery_connected",
            "gauge",
            (),
            "Whether the source of endpoints can be reached.",
            lambda: [((), int(discovery.connected))],
        ),
        Family(
            "meshctl_discovery_names",
            "gauge",
            ("state",),
            "Names that are called, by what is known of them.",
            lambda: [((state,), count) for state, count in discovery.counts().items()],
        ),
        Family(
            "meshctl_discovery_timeouts",
            "counter",
            (),
            "Names whose calls went on without an answer.",
            lambda: [((), discovery.timeouts)],
        ),
        Family(
            "meshctl_discovery_unasked",
            "counter",
            (),
            "Times that a name was not looked up because too many new ones are called.",
            lambda: [((), discovery.unasked)],
        ),
        Family(
            "meshctl_discovery_waiting",
            "gauge",
            (),
            "Calls that wait until it is known where their name leads.",
            lambda: [((), discovery.waiting)],
        ),
    ]
