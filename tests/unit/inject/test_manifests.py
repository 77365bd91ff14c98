"""Manifests as text: what comes out of `meshctl inject` besides the sidecar is what went in."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from injector.patch import injection, rebased, removal
from meshctl.__main__ import cli
from meshctl.manifests import ManifestError, apply, documents
from tests.support.process import ROOT
from tests.unit.inject.conftest import IMAGE, SETTINGS, annotated, pod
from tests.unit.inject.test_patch import pods

POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: a\n    image: a:1\n"
PROBED = (
    POD
    + """    readinessProbe: &p
      # before
      periodSeconds: 3
      tcpSocket: # where
          port: 80 # there
      # after
      failureThreshold: 2
    startupProbe:
      tcpSocket: {port: 80}   # the same
    livenessProbe: *p
"""
)
SERVICE = "kind: Service\napiVersion: v1\nmetadata: {name:    s}   # spaced\n"


def inject(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["inject", "--image", IMAGE, *arguments], input=stdin)


def uninject(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["uninject", *arguments], input=stdin)


def manifest(held: Any, kind: str = "Pod", api: str = "v1") -> str:
    return str(yaml.safe_dump({"apiVersion": api, "kind": kind, **held}, sort_keys=False))


# ---- what stays ----


@pytest.mark.parametrize(
    "text",
    [
        POD,
        POD.replace("\n", "\r\n"),
        f"---\n{POD}---\n{POD}",
        f"# before\n--- # first\n{POD}...\n---\n",
        POD + "    command: [a]\n    # the end\n\n\n",
        POD.replace("  - name: a\n    image", "  -   name: a\n      image"),
        POD.replace("  - name: a\n    image: a:1", "    - {name: a, image: a}"),
        POD
        + "  initContainers:\n\n    # own\n    - name: b\n      args:\n      - |\n        text\n\n  # after\n  x: 1\n",
        POD + "  initContainers:\n    - name: b\n  volumes: []\n",
        POD + "    args: [\n  1,\n  2]\n",
        POD.replace("  name: a\nspec", "  name: a\n  annotations:\n    ? x/y\n    : |\n      z\nspec"),
        POD.replace("metadata:\n  name: a\n", ""),
        PROBED,
        PROBED.replace("\n", "\r\n"),
        PROBED.replace("livenessProbe: *p\n", "livenessProbe: {tcpSocket: {port: 81}}\n"),
    ],
)
@pytest.mark.parametrize("form", ["--native-sidecar", "--no-native-sidecar"])
def test_uninject_gives_back_every_byte(text: str, form: str) -> None:
    done = inject(form, stdin=text.encode())
    assert (done.exit_code, "1 injected" in done.stderr or "2 injected" in done.stderr) == (0, True)
    undone = uninject(stdin=done.stdout_bytes)
    if "volumes: []" in text or "{tcpSocket" in text:  # in flow style, so written anew
        assert yaml.safe_load(undone.stdout) == yaml.safe_load(text)
    else:
        assert undone.stdout_bytes.decode() == text


@settings(deadline=None, max_examples=50, derandomize=True)
@given(pods)
def test_any_pod_in_block_style_comes_back_byte_for_byte(held: dict[str, Any]) -> None:
    text = manifest(held)
    injected = patched(text, lambda data: injection(data, SETTINGS, {}, by_default=True).patch)
    undone = patched(injected, lambda data: removal(data).patch)
    if held_empty(held):
        assert yaml.safe_load(undone) == yaml.safe_load(text)
    else:
        assert undone == text


@settings(deadline=None, max_examples=50, derandomize=True)
@given(pods, st.booleans())
def test_any_pod_in_flow_style_comes_back_the_same(held: dict[str, Any], as_json: bool) -> None:
    whole = {"apiVersion": "v1", "kind": "Pod", **held}
    text = json.dumps(whole) if as_json else str(yaml.safe_dump(whole, default_flow_style=True))
    injected = patched(text, lambda data: injection(data, SETTINGS, {}, by_default=True).patch)
    assert yaml.safe_load(patched(injected, lambda data: removal(data).patch)) == whole


@settings(deadline=None, max_examples=50, derandomize=True)
@given(pods)
def test_patches_are_applied_as_rfc_6902_says(held: dict[str, Any]) -> None:
    patch = list(rebased(injection(held, SETTINGS, {}, by_default=True).patch, ("items", 0)))
    assert apply(copy.deepcopy({"items": [held]}), patch) == jsonpatch.apply_patch({"items": [held]}, patch)


def patched(text: str, change: Any) -> str:
    (document,) = documents("test", text)
    return document.patched(change(document.data))


def held_empty(held: dict[str, Any]) -> bool:
    """Whether a collection that injection adds to is there and empty, which only flow style can write."""
    annotations = held.get("metadata", {}).get("annotations", True)
    return not (held.get("metadata", True) and annotations) or [] in held["spec"].values()


def test_documents_without_pods_come_out_byte_for_byte() -> None:
    done = inject(stdin=f"{SERVICE}---\n{POD}---\n# nothing\n---\n{SERVICE}")
    assert done.stdout.startswith(f"{SERVICE}---\n")
    assert done.stdout.endswith(f"---\n# nothing\n---\n{SERVICE}")


def test_yaml_is_read_as_kubernetes_reads_it() -> None:
    done = inject(stdin=POD + "  hostNetwork: yes\n")
    assert "not injected" in done.stderr
    assert "(host_network)" in done.stderr


def test_anchors_that_would_change_two_pods_at_once_are_refused() -> None:
    lines = (POD + "  volumes:\n  - name: own\n").splitlines()
    shared = "kind: List\nitems:\n- &one\n" + "".join(f"  {line}\n" for line in lines) + "- *one\n"
    done = inject(stdin=shared)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "stdin: cannot be rewritten; write it without YAML's anchors and aliases" in done.stderr


def test_an_anchor_elsewhere_does_no_harm() -> None:
    text = POD.replace("name: a\n    image", "name: &name a\n    image").replace("a:1", "*name")
    done = inject(stdin=text)
    assert done.exit_code == 0
    assert uninject(stdin=done.stdout).stdout == text


# ---- files ----


def test_files_directories_and_stdin_are_joined(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(POD.rstrip("\n"))
    (tmp_path / "a.yml").write_text(SERVICE)
    (tmp_path / "c.json").write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", **pod()}))
    (tmp_path / "notes.txt").write_text("not: [read")
    done = inject(str(tmp_path), "-", stdin=POD)
    assert done.exit_code == 0
    assert [each["kind"] for each in yaml.safe_load_all(done.stdout)] == ["Service", "Pod", "Pod", "Pod"]
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()[:-1]] == [
        *(str(tmp_path / name) for name in ("a.yml", "b.yaml", "c.json")),
        "stdin",
    ]
    assert done.stderr.splitlines()[-1] == "3 injected, 1 not (unsupported_kind 1)"


def test_a_namespace_among_the_manifests_counts() -> None:
    namespace = manifest({"metadata": {"name": "shop", "annotations": {"meshctl.io/inject": "disabled"}}}, "Namespace")
    inside = POD.replace("name: a\nspec", "name: a\n  namespace: shop\nspec")
    done = inject(stdin=f"{inside}---\n{POD}---\n{namespace}")
    assert "stdin: Pod/shop/a: not injected: the namespace says meshctl.io/inject: disabled (disabled)" in done.stderr
    assert "stdin: Pod/a: injected" in done.stderr


# ---- what is wrong ----


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"{POD}---\nkind: [", "stdin: document 2: "),
        ("a: 1\na: 2\n", "stdin: document 1: found duplicate key"),
        ("a: {{ .Values.a }}\n", "a template has to be rendered first"),
        ("just text\n", "stdin: is not a Kubernetes object"),
        (b"kind: \xff", "stdin: is not UTF-8 text"),
        ("x: !!python/object:os.system {}", "stdin: document 1: "),
        ("[" * 5000, "stdin: document 1: "),
        (manifest(annotated(log_level="loud")), "config.meshctl.io/log-level: 'loud' is none of"),
        (manifest({"spec": {}}), "spec.containers is empty (malformed)"),
    ],
)
def test_a_wrong_manifest_exits_with_2_and_nothing_is_written(text: str | bytes, complaint: str) -> None:
    done = inject(stdin=text)
    assert (done.exit_code, done.stdout) == (2, "")
    assert complaint in done.stderr


def test_a_missing_file_exits_with_1() -> None:
    done = inject("none.yaml")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error: none.yaml: No such file or directory\n"


def test_a_wrong_image_is_wrong_usage() -> None:
    done = inject("--image", "a b", stdin=POD)
    assert done.exit_code == 2
    assert "'a b' is not an image" in done.stderr


@pytest.mark.parametrize("address", ["", "controller", "controller:0", "a:b:1", "http://controller:1"])
def test_a_wrong_address_of_the_controller_is_wrong_usage(address: str) -> None:
    done = inject("--controller", address, stdin=POD)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{address!r} is not host:port" in done.stderr


def test_on_a_terminal_nobody_is_waited_for_who_was_not_named() -> None:
    leader, terminal = os.openpty()
    try:
        command = [sys.executable, "-m", "meshctl", "inject"]
        done = subprocess.run(command, cwd=ROOT, stdin=terminal, capture_output=True, text=True, timeout=30)
    finally:
        os.close(leader)
        os.close(terminal)
    assert done.returncode == 2
    assert "Name a FILE or a DIR, or - to type manifests here." in done.stderr


def test_documents_names_its_source() -> None:
    with pytest.raises(ManifestError, match=r"^web\.yaml: document 1: "):
        documents("web.yaml", "{")


# ---- warnings ----


def test_an_annotation_beside_the_template_is_a_warning() -> None:
    workload = {
        "metadata": {"name": "w", "annotations": {"meshctl.io/inject": "disabled"}},
        "spec": {"template": pod()},
    }
    done = inject(stdin=manifest(workload, "Deployment", "apps/v1"))
    assert "stdin: Deployment/w: injected" in done.stderr
    assert "warning: meshctl.io/inject has no effect here: it belongs to the pod template's" in done.stderr


@pytest.mark.parametrize(("form", "warned"), [("--native-sidecar", False), ("--no-native-sidecar", True)])
def test_a_job_with_an_ordinary_sidecar_is_a_warning(form: str, warned: bool) -> None:
    done = inject(form, stdin=manifest({"metadata": {"name": "j"}, "spec": {"template": pod()}}, "Job", "batch/v1"))
    assert ("let it end with `meshctl shutdown`" in done.stderr) is warned


def test_the_images_configuration_is_right_with_what_injection_sets() -> None:
    from injector.annotations import settings_of
    from injector.containers import sidecar
    from proxy.config import load
    from proxy.overrides import VARIABLES

    chosen = settings_of(
        SETTINGS,
        {},
        {"config.meshctl.io/opaque-ports": "25,90-91", "config.meshctl.io/access-log": "enabled"},
    )
    environment = {each["name"]: each["value"] for each in sidecar(chosen, 7)["env"] if "value" in each}
    assert set(environment) <= set(VARIABLES)
    config = load(ROOT / "deploy" / "sidecar.yaml", environment)
    assert (config.shutdown_grace_s, config.log_level, str(config.admin.address)) == (7, "info", "[::]:4191")
    assert config.access_log is not None
    assert {listener.intercept: listener.is_opaque(91) for listener in config.listeners} == {
        "inbound": True,
        "outbound": True,
    }
    assert {listener.address.port for listener in config.listeners} == {4140, 4143}
