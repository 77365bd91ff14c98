"""Checks of the webhook and of its certificate. The certificates are real, and so is the handshake that judges them."""

import datetime
from typing import Any

import pytest

from injector.config import parse
from meshctl.check import tls
from meshctl.check.facts import Admission, Facts
from meshctl.check.finding import NotMeantError, UnknownError, Unread
from meshctl.check.webhook import WEBHOOK_CHECKS
from tests.unit.check.facts import DAY, NOW, Authority, only, problems, secret, webhook, well

FIND = {check.name: check.find for check in WEBHOOK_CHECKS}
NAME = "meshctl-controller.meshctl.svc"
AUTHORITY = Authority()


def client(**service: Any) -> dict[str, Any]:
    usual = {"namespace": "meshctl", "name": "meshctl-controller", "path": "/inject"}
    return {"service": {**usual, **service}}


def certified(authority: Authority, signer: Authority | None = None, **certificate: Any) -> Facts:
    """A certificate of `signer`, where `authority` is trusted."""
    return well(webhook=webhook(authority.pem), certificates=secret(*(signer or authority).signed(**certificate)))


def test_a_missing_configuration() -> None:
    assert "meshctl upgrade | kubectl apply" in only(FIND["webhook-exists"], well(webhook=None)).hint
    assert "no webhook injector.meshctl.io" in only(FIND["webhook-exists"], well(webhook={"webhooks": []})).what


def test_an_installation_that_has_no_webhook() -> None:
    facts = well(webhook=None, config=parse("{injection: {image: a}, webhook: {enabled: false}}"))
    with pytest.raises(NotMeantError):
        list(FIND["webhook-exists"](facts))


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (client(namespace="old"), "service namespace old, and not meshctl"),
        (client(name="other"), "service name other, and not meshctl-controller"),
        (client(path="/mutate"), "service path /mutate, and not /inject"),
        (client(port=8443), "service port 8443, and not 443"),
        ({"url": "https://example.test/"}, "calls https://example.test/"),
    ],
)
def test_a_webhook_that_leads_elsewhere(config: dict[str, Any], what: str) -> None:
    assert what in only(FIND["webhook-target"], well(webhook=webhook(b"", clientConfig=config))).what


def test_the_port_443_need_not_be_said() -> None:
    assert problems(FIND["webhook-target"], well(webhook=webhook(b"", clientConfig=client()))) == []


def test_rules_that_miss_new_pods() -> None:
    rules = [{"operations": ["UPDATE"], "resources": ["pods"], "apiGroups": [""], "apiVersions": ["v1"]}]
    assert (
        "not called when pods are created" in only(FIND["webhook-rules"], well(webhook=webhook(b"", rules=rules))).what
    )
    broad = [{"operations": ["*"], "resources": ["*"], "apiGroups": ["*"], "apiVersions": ["*"]}]
    assert problems(FIND["webhook-rules"], well(webhook=webhook(b"", rules=broad))) == []


def test_a_webhook_that_can_hold_up_the_cluster() -> None:
    closed = well(webhook=webhook(b"", failurePolicy="Fail"))
    assert only(FIND["webhook-rules"], closed).warning
    everywhere = well(webhook=webhook(b"", namespaceSelector={}))
    assert "does not leave out meshctl, kube-system, kube-node-lease" in only(FIND["webhook-rules"], everywhere).what
    both = problems(FIND["webhook-rules"], well(webhook=webhook(b"", namespaceSelector={}, failurePolicy="Fail")))
    assert [problem.warning for problem in both] == [True, False]


@pytest.mark.parametrize("operator", ["In", "NotIn"])
def test_a_selector_leaves_out_what_it_does_not_select(operator: str) -> None:
    values = ["shop"] if operator == "In" else ["meshctl", "kube-system", "kube-node-lease"]
    expression = {"key": "kubernetes.io/metadata.name", "operator": operator, "values": values}
    selector = {"matchExpressions": [{"key": "team", "operator": "Exists"}, expression]}
    assert problems(FIND["webhook-rules"], well(webhook=webhook(b"", namespaceSelector=selector))) == []


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        (certified(AUTHORITY, ends=NOW - datetime.timedelta(minutes=1)), "has expired"),
        (certified(AUTHORITY, begins=NOW + DAY), "is not valid yet"),
        (certified(AUTHORITY, Authority()), "does not vouch for"),
        (certified(AUTHORITY, name="meshctl-controller.other.svc"), f"is not for {NAME}"),
        (certified(Authority(ends=NOW - datetime.timedelta(minutes=1))), "its CA's, has expired"),
        (
            well(webhook=webhook(AUTHORITY.pem), certificates=secret(AUTHORITY.signed()[0], AUTHORITY.signed()[1])),
            "key",
        ),
        (well(webhook=webhook(AUTHORITY.pem), certificates=secret(b"nothing", b"nothing")), "cannot be read"),
        (well(webhook=webhook(b"nothing")), "does not vouch for"),
        (well(webhook=webhook(b"")), "has no caBundle"),
        (well(certificates={"data": {"tls.crt": "aGVsbG8="}}), "has no tls.key"),
    ],
)
def test_certificates_that_the_api_server_will_not_trust(facts: Facts, what: str) -> None:
    problem = only(FIND["webhook-certificate"], facts)
    assert what in problem.what
    assert "kubectl delete secret -n meshctl meshctl-webhook-tls" in problem.hint


def test_a_certificate_that_is_not_there_need_not_be_deleted() -> None:
    problem = only(FIND["webhook-certificate"], well(certificates=None))
    assert "no secret meshctl-webhook-tls" in problem.what
    assert "kubectl delete" not in problem.hint
    assert "kubectl logs -n meshctl deployment/meshctl-controller" in problem.hint


def test_where_nothing_is_installed_the_hint_is_to_install() -> None:
    for missing in ({"installed_in": None}, {"deployment": None}):
        hint = only(FIND["webhook-exists"], well(webhook=None, namespace="mesh", **missing)).hint
        assert hint == "install it: `meshctl install --namespace mesh | kubectl apply -f -`"
    assert "meshctl upgrade" in only(FIND["webhook-exists"], well(webhook=None)).hint


def test_a_certificate_that_is_trusted_and_one_of_two_authorities() -> None:
    facts = well(webhook=webhook(Authority().pem + AUTHORITY.pem), certificates=secret(*AUTHORITY.signed()))
    assert problems(FIND["webhook-certificate"], facts) == []
    assert problems(FIND["webhook-certificate-lasts"], facts) == []


def test_the_common_name_is_no_name_of_a_certificate() -> None:
    # The tests' own authority is a certificate with a common name and no other.
    refused = tls.accepted(AUTHORITY.pem, AUTHORITY.signed("else")[0], AUTHORITY.signed("else")[1], "tests")
    assert isinstance(refused, tls.Refused)


def test_a_certificate_that_should_have_been_renewed() -> None:
    problem = only(FIND["webhook-certificate-lasts"], certified(AUTHORITY, begins=NOW - 6 * DAY, ends=NOW + DAY))
    assert "certificate expires in 24 hours" in problem.what
    dying = Authority(begins=NOW - 700 * DAY, ends=NOW + 10 * DAY)
    assert "CA expires in 10 days" in only(FIND["webhook-certificate-lasts"], certified(dying)).what
    # One that follows is trusted already.
    followed = well(webhook=webhook(AUTHORITY.pem + dying.pem), certificates=secret(*dying.signed()))
    assert problems(FIND["webhook-certificate-lasts"], followed) == []


def test_who_renews_somebody_elses_certificates() -> None:
    provided = parse("{injection: {image: a}, webhook: {certificates: provided}}")
    assert "cert-manager" in only(FIND["webhook-certificate"], well(certificates=None, config=provided)).hint


def test_pods_that_come_back_from_admission_without_a_sidecar() -> None:
    facts = well(admissions={"shop": Admission(injected=False), "web": Admission(injected=True)})
    problem = only(FIND["webhook-called"], facts)
    assert "a new pod in namespace shop gets no sidecar" in problem.what
    assert "port 8443" in problem.hint


def test_pods_that_are_refused_for_their_sidecar() -> None:
    refused = Admission(injected=False, refused='violates PodSecurity "restricted:latest"')
    problem = only(FIND["webhook-called"], well(admissions={"shop": refused}))
    assert 'violates PodSecurity "restricted:latest"' in problem.what
    assert "kubectl label namespace shop" in problem.hint


def test_that_it_could_not_be_tried_is_not_known_to_be_wrong() -> None:
    for admissions in ({"shop": Unread("forbidden")}, {}):
        with pytest.raises(UnknownError):
            list(FIND["webhook-called"](well(admissions=admissions)))
