"""Each annotation: what it changes, what is refused, and that nothing wrong comes through to a container."""

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from injector.annotations import ANNOTATIONS, LONGEST_CHARACTERS, MOST_UNKNOWN, AnnotationsError, settings_of, unknown
from injector.containers import init_container, sidecar
from injector.iptables import PortRange
from injector.patch import injection
from injector.report import Reason
from injector.settings import Settings
from tests.support.process import ROOT
from tests.unit.inject.conftest import SETTINGS, annotated

PREFIX = "config.meshctl.io/"
DIGEST = "@sha256:" + "0" * 64

RIGHT: list[tuple[str, str, dict[str, Any]]] = [
    ("skip-inbound-ports", "80, 90-91", {"skip_inbound_ports": (PortRange(80, 80), PortRange(90, 91))}),
    ("skip-outbound-ports", "443", {"skip_outbound_ports": (PortRange(443, 443),)}),
    ("opaque-ports", "25", {"opaque_ports": (PortRange(25, 25),)}),
    ("proxy-image", "meshctl", {"image": "meshctl"}),
    (
        "proxy-image",
        f"Registry.example:5000/a/b__c:1.0-rc{DIGEST}",
        {"image": f"Registry.example:5000/a/b__c:1.0-rc{DIGEST}"},
    ),
    ("proxy-image", "a--b.c-d/e", {"image": "a--b.c-d/e"}),
    ("proxy-image", "[fd00::1]:5000/a", {"image": "[fd00::1]:5000/a"}),
    ("proxy-cpu-request", "0.25", {"cpu_request": "0.25"}),
    ("proxy-cpu-limit", "500m", {"cpu_limit": "500m"}),
    ("proxy-memory-request", "64M", {"memory_request": "64M"}),
    ("proxy-memory-request", "1Gi", {"memory_request": "1Gi", "memory_limit": "1Gi"}),
    ("proxy-memory-limit", "40Mi", {"memory_limit": "40Mi", "memory_request": "40Mi"}),
    ("log-level", "debug", {"log_level": "debug"}),
    ("access-log", "enabled", {"access_log": True}),
    ("discovery", "direct", {"discovery": "direct"}),
    ("native-sidecar", "disabled", {"native_sidecar": False}),
    ("shutdown-grace-period", "90", {"shutdown_grace_s": 90}),
    ("shutdown-grace-period", "90s", {"shutdown_grace_s": 90}),
    ("shutdown-grace-period", "2m", {"shutdown_grace_s": 120}),
    ("log-level", "", {}),
]

WRONG = [
    ("skip-inbound-ports", "0"),
    ("skip-outbound-ports", "80;90"),
    ("opaque-ports", "$(id)"),
    ("proxy-image", "-oops"),
    ("proxy-image", "a b"),
    ("proxy-image", "a:1\n"),
    ("proxy-image", "A/B"),
    ("proxy-image", "a/" * 300 + "a"),
    ("proxy-image", "a..b/c"),
    ("proxy-image", "a-.b:80/c"),
    ("proxy-image", "[::1/c"),
    ("proxy-cpu-request", "0"),
    ("proxy-cpu-request", "1Gi"),
    ("proxy-cpu-limit", "-1"),
    ("proxy-memory-request", "64MB"),
    ("proxy-memory-limit", "lots"),
    ("log-level", "INFO"),
    ("access-log", "true"),
    ("discovery", "both"),
    ("native-sidecar", "no"),
    ("shutdown-grace-period", "1h"),
    ("shutdown-grace-period", "1441m"),
]


def chosen(**annotations: Any) -> Settings:
    return settings_of(SETTINGS, {}, annotations)


@pytest.mark.parametrize(("name", "value", "expected"), RIGHT)
def test_a_right_value_changes_its_setting_alone(name: str, value: str, expected: dict[str, Any]) -> None:
    settings = chosen(**{PREFIX + name: value})
    changed = {
        field: getattr(settings, field)
        for field in Settings.__slots__  # type: ignore[attr-defined]
        if getattr(settings, field) != getattr(SETTINGS, field)
    }
    assert changed == expected


def test_every_annotation_has_right_and_wrong_examples() -> None:
    assert {PREFIX + name for name, _, _ in RIGHT} == {PREFIX + name for name, _ in WRONG} == set(ANNOTATIONS)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(AnnotationsError, match=f"^{re.escape(PREFIX + name)}: "):
        chosen(**{PREFIX + name: value})


def test_all_wrong_values_are_named_at_once() -> None:
    with pytest.raises(AnnotationsError) as caught:
        chosen(**{PREFIX + "log-level": "x", PREFIX + "access-log": "y"})
    assert [error.partition(":")[0] for error in caught.value.errors] == [PREFIX + "log-level", PREFIX + "access-log"]


def test_a_value_that_is_no_text_is_wrong() -> None:
    with pytest.raises(AnnotationsError, match="opaque-ports: 5432 is not text; put it in quotes"):
        chosen(**{PREFIX + "opaque-ports": 5432})


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_a_value_that_is_too_long_is_wrong_before_it_is_read(name: str) -> None:
    with pytest.raises(AnnotationsError) as raised:
        settings_of(SETTINGS, {}, {name: "x," * LONGEST_CHARACTERS})
    assert raised.value.errors == (f"{name}: has {2 * LONGEST_CHARACTERS} characters, of at most {LONGEST_CHARACTERS}",)


# Tried first at a length at which a pattern that backtracks would end within a minute, and then at any.
@pytest.mark.parametrize("piece", ["a", "a-", "a.", "a-a.", "a/", "a_", "aA", "0:", "[:", "a:1/"])
def test_an_image_that_is_nearly_right_is_refused_at_once(piece: str) -> None:
    for repeated in (28 // len(piece), 480 // len(piece)):
        began_s = time.process_time()
        with pytest.raises(AnnotationsError, match="proxy-image"):
            chosen(**{f"{PREFIX}proxy-image": piece * repeated + "!"})
        assert time.process_time() - began_s < 4, "whoever makes a pod could stop the controller"


@pytest.mark.parametrize(("resource", "low", "high"), [("cpu", "100m", "1"), ("memory", "64M", "64Mi")])
def test_a_limit_below_its_request_is_wrong(resource: str, low: str, high: str) -> None:
    with pytest.raises(AnnotationsError, match=f"proxy-{resource}-limit: {low} is below the request, {high}"):
        chosen(**{f"{PREFIX}proxy-{resource}-limit": low, f"{PREFIX}proxy-{resource}-request": high})


def test_the_pods_value_wins_over_its_namespaces() -> None:
    namespace = {PREFIX + "log-level": "error", PREFIX + "access-log": "enabled"}
    settings = settings_of(SETTINGS, namespace, {PREFIX + "log-level": "debug"})
    assert (settings.log_level, settings.access_log) == ("debug", True)


def test_an_unknown_annotation_is_a_warning_that_names_a_near_one() -> None:
    outcome = injection(annotated(skip_outbound_port="1"), SETTINGS, {}, by_default=True)
    assert outcome.report.reason is None
    (warning,) = outcome.report.warnings
    assert warning.endswith("skip-outbound-port is not known; did you mean config.meshctl.io/skip-outbound-ports?")


def test_unknown_annotations_beyond_a_few_are_only_counted() -> None:
    warnings = unknown({f"{PREFIX}proxy-{number:05}": "" for number in range(10_000)})
    assert len(warnings) == MOST_UNKNOWN + 1
    assert warnings[-1] == "and 9990 more are not known"


@hypothesis_settings(deadline=None, derandomize=True)
@given(st.sampled_from(sorted(ANNOTATIONS)), st.text("0189amMGiks:;.,-/@$()`'\"\n\\ &|", max_size=12))
def test_what_is_not_understood_never_reaches_a_container(name: str, value: str) -> None:
    try:
        settings = chosen(**{name: value})
    except AnnotationsError:
        return
    for container in (init_container(settings), sidecar(settings, 30)):
        assert not re.search(r"[;$()`'\"\n\\&|]", " ".join([container["image"], *container["args"]]))


def test_the_documentation_has_every_annotation_with_its_values_and_default() -> None:
    text = (ROOT / "docs" / "injection.md").read_text()
    rows = re.findall(r"^\| `(config\.[^`]+)` \| ([^|]+) \| ([^|]+) \|", text, flags=re.MULTILINE)
    assert {name: (value, default) for name, value, default in rows} == {
        name: (annotation.value, written(annotation.setting)) for name, annotation in ANNOTATIONS.items()
    }


def test_the_documentation_has_every_reason() -> None:
    text = (ROOT / "docs" / "injection.md").read_text().partition("## Why a pod is not injected")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) == {str(reason) for reason in Reason}


def written(setting: str) -> str:
    """A default as the documentation writes it."""
    default = getattr(SETTINGS, setting)
    match default:
        case bool():
            return "`enabled`" if default else "`disabled`"
        case () | None:
            return "the proxy's" if setting == "opaque_ports" else "none"
        case int():
            return f"`{default}s`"
    return "of this version" if setting == "image" else f"`{default}`"
