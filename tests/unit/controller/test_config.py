"""controller.yaml: what it may say, what each mistake is called, and what the documentation says of it."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import injector.config
from injector.__main__ import run
from injector.config import ControllerConfig, InjectionConfig, parse
from injector.settings import Settings
from proxy.config import ConfigError
from tests.support.process import ROOT
from tests.unit.test_config_docs import written_default

DOCUMENT = (ROOT / "docs" / "controller.md").read_text()
SMALL = "injection: {image: 'meshctl:1'}\n"

MISTAKES = [
    ("", "file: is empty; it needs injection.image at least"),
    ("log_level: info", "injection: missing; this key must be given"),
    ("injection: {}", "injection.image: missing; this key must be given"),
    ("injection: {image: 'a b'}", "injection.image: 'a b' is not an image like registry.example/meshctl:1.0"),
    ("injection: {image: 5}", "injection.image: must be text, not 5; put it in quotes"),
    (SMALL + "name_space: a", "name_space: unknown key; did you mean namespaces?"),
    (SMALL + "namespaces: [shop, Shop]", "namespaces[1]: must be a namespace's name, not 'Shop'"),
    (SMALL + "namespaces: [shop, shop]", "namespaces[1]: 'shop' is namespaces[0] already; remove one of the two"),
    (SMALL + "webhook: {certificates: mine}", "webhook.certificates: must be one of self, provided, not 'mine'"),
    (SMALL + "webhook: {enabled: 'yes'}", "webhook.enabled: must be true or false, not 'yes'"),
    (SMALL + "webhook: {enabled: null}", "webhook.enabled: has no value"),
    (SMALL + "admin: {address: '[::]:8443'}", "admin.address: [::]:8443 is webhook.address already"),
    (SMALL + "admin: {address: 'localhost:1'}", "admin.address: must be an IP address and a port"),
    (SMALL + "kubernetes: {context: a}", "kubernetes.context: needs `kubeconfig`"),
    ("injection: {image: a, memory_limit: 1Mi}", "injection.memory_limit: 1Mi is below the request, 48Mi"),
    ("injection: {image: a, cpu_request: '2', cpu_limit: '1'}", "injection.cpu_limit: 1 is below the request, 2"),
    ("injection: {image: a, cpu_limit: 1x}", "injection.cpu_limit: '1x' is not a quantity"),
    ("injection: {image: a, skip_inbound_ports: 80}", "injection.skip_inbound_ports: must be text, not 80"),
    ("injection: {image: a, opaque_ports: '0'}", "injection.opaque_ports: '0' is not a port"),
    ("injection: {image: a, discovery: dns}", "injection.discovery: 'dns' is none of controller, direct, none"),
    ("injection: {image: a, controller_address: a}", "injection.controller_address: must be a host and a port"),
]


@pytest.mark.parametrize(("content", "error"), MISTAKES)
def test_a_mistake_is_named_by_its_key(content: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(content)
    (line,) = caught.value.errors
    assert line.startswith(error)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("log_level: loud\nadmin: {port: 1}\ninjection: {access_log: 1}")
    places = [line.split(":")[0] for line in caught.value.errors]
    assert places == ["log_level", "admin.port", "injection.image", "injection.access_log"]


def test_nothing_is_written_as_null() -> None:
    config = parse(
        "kubernetes: {kubeconfig: null, context: null}\n"
        "injection: {image: a, opaque_ports: null, cpu_limit: null, memory_limit: null}"
    )
    assert config.injection.settings() == Settings(image="a", memory_limit=None)


def test_a_small_file_means_what_meshctl_inject_means() -> None:
    assert parse(SMALL).injection.settings() == Settings(image="meshctl:1")


def test_every_setting_of_a_sidecar_can_be_set() -> None:
    keys = {item.name for item in dataclasses.fields(InjectionConfig)}
    assert keys == {item.name for item in dataclasses.fields(Settings)} | {"enabled_by_default"}


# ---- the command ----


def test_check_says_whether_a_file_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text(SMALL)
    assert run(["--check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: ok\n"
    path.write_text("injection: {}")
    for option in ("--check", "--config"):
        assert run([option, str(path)]) == 2
        assert capsys.readouterr().err == f"{path}: injection.image: missing; this key must be given\n"
    assert run(["--check", str(tmp_path / "absent.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--config"], ["file.yaml"], ["--check", "a", "b"], ["--other=x"]])
def test_wrong_usage_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "usage: python -m injector" in capsys.readouterr().err
    assert run(["--help"]) == 0


# ---- its documentation ----


def keys_with_defaults(cls: type, path: str) -> Iterator[tuple[str, str]]:
    for item in dataclasses.fields(cls):
        below = re.search(r"\b([A-Z]\w+Config)\b", str(item.type))
        if below:
            yield from keys_with_defaults(vars(injector.config)[below[1]], f"{path}{item.name}.")
        elif (path, item.name) != ("kubernetes.", "zone"):  # the proxy's
            yield f"{path}{item.name}", default(item)


def default(item: "dataclasses.Field[Any]") -> str:
    if isinstance(item.default, bool):
        return f"`{str(item.default).lower()}`"
    return written_default(item)


def test_every_key_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| [^|]+ \| ([^|]+) \|", DOCUMENT, flags=re.MULTILINE)
    documented = {name: written for name, written in rows if not name.startswith("meshctl_")}
    assert documented == dict(keys_with_defaults(ControllerConfig, ""))


def test_every_example_in_the_documentation_is_right() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    assert examples
    for content in examples:
        parse(content)
