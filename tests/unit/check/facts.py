"""Facts of an installation that is well, for tests that make one thing of it wrong."""

import base64
import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from injector.config import parse
from meshctl.check.facts import Admission, Facts, Sidecar
from meshctl.check.finding import Note, Problem
from tests.support.kubernetes_server import Object

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
IMAGE = "meshctl:0.1.0"
CONFIG = f"injection: {{image: '{IMAGE}'}}"
BOTH = frozenset({"inbound", "outbound"})
DAY = datetime.timedelta(days=1)

Find = Callable[[Facts], Iterable[Problem | Note]]


def problems(find: Find, facts: Facts) -> list[Problem]:
    return [each for each in find(facts) if isinstance(each, Problem)]


def only(find: Find, facts: Facts) -> Problem:
    """The one problem there is."""
    (problem,) = problems(find, facts)
    return problem


def well(**changes: Any) -> Facts:
    """Nothing is wrong, but for what `changes` say."""
    authority = Authority()
    facts = {
        "namespace": "meshctl",
        "cli_version": "0.1.0",
        "now_s": NOW.timestamp(),
        "server_version": {"major": "1", "minor": "34", "gitVersion": "v1.34.4"},
        "may_not": (),
        "installed_in": {"metadata": {"name": "meshctl"}},
        "deployment": {"spec": {"replicas": 1}, "status": {"readyReplicas": 1}},
        "controller_pods": [controller_pod()],
        "service_account": {"metadata": {"name": "meshctl-controller"}},
        "controller_may_not": (),
        "roles": {},
        "service": {"spec": {"selector": {"app": "controller"}}},
        "slices": [{"endpoints": [{"conditions": {"ready": True}}]}],
        "settings": {"data": {"controller.yaml": CONFIG}},
        "config": parse(CONFIG),
        "lease": lease("controller-1_5f0c", NOW),
        "controller_versions": {"controller-1": "0.1.0"},
        "webhook": webhook(authority.pem),
        "certificates": secret(*authority.signed()),
        "admissions": {"shop": Admission(injected=True)},
        "namespaces": [namespace("shop", {"meshctl.io/inject": "enabled"}), namespace("other")],
        "pods": [pod("web-1", sidecar=IMAGE)],
        "sidecars": {("shop", "web-1"): Sidecar("0.1.0", BOTH, connected=True)},
        "services": [],
    }
    return Facts(**{**facts, **changes})


def controller_pod(name: str = "controller-1", **status: Any) -> Object:
    metadata = {"name": name, "namespace": "meshctl", "labels": {"app": "controller"}}
    return {"metadata": metadata, "status": {"phase": "Running", **status}}


def lease(holder: str, renewed: datetime.datetime) -> Object:
    said = renewed.isoformat().replace("+00:00", "Z")
    return {"spec": {"holderIdentity": holder, "renewTime": said, "leaseDurationSeconds": 15}}


def namespace(name: str, annotations: Mapping[str, str] | None = None, **labels: str) -> Object:
    return {"metadata": {"name": name, "annotations": dict(annotations or {}), "labels": labels}}


def pod(name: str, where: str = "shop", sidecar: str | None = None, **changes: Any) -> Object:
    """A pod of Deployment web, which runs; `sidecar` is the image of one. `changes` are of its specification."""
    owner = {"kind": "ReplicaSet", "name": "web-5d4f", "controller": True}
    spec: Object = {"nodeName": "node-1", "containers": [{"name": "web", "image": "web"}], **changes}
    status: Object = {"phase": "Running", "podIP": "10.0.0.1", "initContainerStatuses": []}
    if sidecar is not None:
        spec["initContainers"] = [{"name": "meshctl-init"}, {"name": "meshctl-proxy", "image": sidecar}]
        status["initContainerStatuses"] = [
            {"name": "meshctl-init", "state": {"terminated": {"exitCode": 0}}},
            {"name": "meshctl-proxy", "ready": True, "state": {"running": {}}},
        ]
    metadata = {"name": name, "namespace": where, "labels": {"pod-template-hash": "5d4f"}, "ownerReferences": [owner]}
    return {"metadata": metadata, "spec": spec, "status": status}


def sidecar_status(given: Object, **status: Any) -> Object:
    """`given` with another status of its sidecar."""
    given["status"]["initContainerStatuses"][1] = {"name": "meshctl-proxy", "ready": False, **status}
    return given


def webhook(ca_pem: bytes, **changes: Any) -> Object:
    excluded = {"key": "kubernetes.io/metadata.name", "operator": "NotIn"}
    service = {"namespace": "meshctl", "name": "meshctl-controller", "path": "/inject", "port": 443}
    hook = {
        "name": "injector.meshctl.io",
        "clientConfig": {"service": service, "caBundle": encoded(ca_pem)},
        "rules": [{"operations": ["CREATE"], "resources": ["pods"], "apiGroups": [""], "apiVersions": ["v1"]}],
        "failurePolicy": "Ignore",
        "namespaceSelector": {
            "matchExpressions": [{**excluded, "values": ["kube-system", "kube-node-lease", "meshctl"]}],
        },
        **changes,
    }
    return {"webhooks": [hook]}


def secret(certificate: bytes, key: bytes) -> Object:
    return {"data": {"tls.crt": encoded(certificate), "tls.key": encoded(key)}}


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


class Authority:
    """A certificate authority; `pem` is its certificate."""

    def __init__(self, begins: datetime.datetime = NOW - DAY, ends: datetime.datetime = NOW + 700 * DAY) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        constraint = x509.BasicConstraints(ca=True, path_length=0)
        self.pem = self._certificate(self._name, self._key, (begins, ends), constraint)

    def signed(
        self,
        name: str = "meshctl-controller.meshctl.svc",
        begins: datetime.datetime = NOW - DAY,
        ends: datetime.datetime = NOW + 6 * DAY,
    ) -> tuple[bytes, bytes]:
        """A certificate for `name` and its key, PEM. The name is not the subject's, which nobody asks any more."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        certificate = self._certificate(x509.Name([]), key, (begins, ends), names)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate, private

    def _certificate(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        life: tuple[datetime.datetime, datetime.datetime],
        extension: x509.ExtensionType,
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(life[0])
            .not_valid_after(life[1])
            .add_extension(extension, critical=True)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
