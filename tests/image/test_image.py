"""The images, built step by step from the Dockerfile and a clean checkout in a bare Debian, and run as their users.

Left out of the default run (`make image-check` runs it, and shows the sizes): it builds a Debian with debootstrap and
needs the network for apt and pip.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from tests.image.dockerfile import parse
from tests.image.root import Builder, Root, debootstrap
from tests.support.ports import free_address
from tests.support.process import ROOT

LIMIT_BYTES = 120_000_000
PROGRAMS = ("debootstrap", "unshare", "chroot", "git")

pytestmark = [
    pytest.mark.image,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    *(pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed") for program in PROGRAMS),
]


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    directory = tmp_path_factory.mktemp("image")
    try:
        checkout(directory / "source")
        debootstrap(directory / "base")
        yield Builder(parse(ROOT / "Dockerfile"), directory / "source", directory / "base", directory / "stages")
    finally:
        shutil.rmtree(directory)


def checkout(directory: Path) -> None:
    """What git keeps of this tree, without what was built in it; for nobody but its owner, as a strict umask has it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
        if not target.is_symlink():
            target.chmod(target.stat().st_mode & 0o700)


@pytest.fixture(scope="module")
def meshctl(builder: Builder) -> Root:
    return builder.build("meshctl")


@pytest.fixture(scope="module")
def demo(builder: Builder) -> Root:
    return builder.build("demo")


def output(root: Root, *command: str) -> str:
    done = root.run(command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_image_is_small(meshctl: Root, capsys: pytest.CaptureFixture[str]) -> None:
    parts = ("opt", "usr", "var", "etc")
    sizes = subprocess.run(
        ["du", "--summarize", "--si", *(part for part in parts if (meshctl.upper / part).exists())],
        cwd=meshctl.upper,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with capsys.disabled():
        print(f"\nbeyond the base: {meshctl.bytes_added() / 1e6:.1f} MB\n{sizes}")
    assert 1_000_000 < meshctl.bytes_added() < LIMIT_BYTES


def test_it_runs_as_the_proxys_user(meshctl: Root) -> None:
    assert output(meshctl, "id", "-u").strip() == "2102"
    assert output(meshctl, "meshctl", "version").startswith("meshctl 0.")


def test_a_sidecar_in_it_starts_is_ready_and_drains(meshctl: Root) -> None:
    admin, listener = free_address(), free_address()
    config = {
        "admin": {"address": admin},
        "listeners": [{"name": "outbound", "address": listener}],
        "clusters": [{"name": "none", "static": {"endpoints": []}}],
        "routes": [{"cluster": "none"}],
        "shutdown_grace_s": 1,
    }
    (meshctl.upper / "etc" / "proxy.yaml").write_text(yaml.safe_dump(config))
    life = """
        meshctl proxy --check /etc/proxy.yaml && meshctl proxy --config /etc/proxy.yaml & proxy=$!
        meshctl await --timeout 30 && meshctl shutdown --wait --timeout 30 && wait $proxy
    """
    done = meshctl.run(["sh", "-c", life], env={"MESHCTL_ADMIN_ADDRESS": admin})
    assert done.returncode == 0, done.stderr
    assert "/etc/proxy.yaml: ok" in done.stdout


def test_the_command_line_has_the_chart_with_it(meshctl: Root) -> None:
    made = list(yaml.safe_load_all(output(meshctl, "meshctl", "install")))
    assert (made[0]["kind"], made[-1]["kind"]) == ("Namespace", "MutatingWebhookConfiguration")


def test_the_controller_starts_and_is_not_ready_without_a_cluster(meshctl: Root) -> None:
    """With its file system read-only in all but name: nothing of it is written."""
    addresses = {name: {"address": free_address()} for name in ("admin", "endpoints", "webhook")}
    config = meshctl.upper / "etc" / "controller.yaml"
    config.write_text(yaml.safe_dump({**addresses, "injection": {"image": "meshctl"}}))
    life = f"""
        python3 -m injector --config /etc/controller.yaml & controller=$!
        for _ in $(seq 100); do
            python3 -c '
import sys, urllib.error, urllib.request
page = "http://{addresses["admin"]["address"]}"
try:
    assert urllib.request.urlopen(page + "/live").status == 200
    urllib.request.urlopen(page + "/ready")
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError:
    sys.exit(1)
            ' && break
            sleep 0.2
        done
        kill $controller && wait $controller
    """
    done = meshctl.run(["sh", "-c", life])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("503 "), done.stderr


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_the_init_container_sets_its_rules_with_both_backends(meshctl: Root, backend: str) -> None:
    """As root, as the init container is, in a network namespace that ends with it."""
    root = Root(meshctl.directory.with_name(f"init-{backend}"), [meshctl.upper, *meshctl.lower], meshctl.environment)
    setting = f"meshctl init-iptables --no-ipv6 --backend {backend} && iptables-{backend} -t nat -S"
    shown = output(root, "unshare", "--net", "sh", "-c", setting)
    assert "-A OUTPUT -p tcp -j MESHCTL_OUTBOUND" in shown
    assert "--uid-owner 2102" in shown


def test_anybody_can_look_at_the_rules(meshctl: Root) -> None:
    assert "MESHCTL_OUTBOUND" in output(meshctl, "meshctl", "init-iptables", "--dry-run", "--no-ipv6")


def test_a_wheel_made_from_the_source_distribution_is_the_one_made_from_a_checkout(builder: Builder) -> None:
    """It has what type checkers and Cython read beside the compiled modules, and neither sources nor tests."""
    root = builder.build("build")
    (direct,) = (root.upper / "wheels").glob("*.whl")
    output(root, "/opt/build/bin/python", "-c", "from setuptools.build_meta import build_sdist; build_sdist('/sdist')")
    (archive,) = (root.upper / "sdist").glob("*.tar.gz")
    pip = ("/opt/build/bin/pip", "wheel", "--no-index", "--no-build-isolation", "--no-deps", "--wheel-dir", "/again")
    output(root, *pip, f"/sdist/{archive.name}")
    (again,) = (root.upper / "again").glob("*.whl")
    names = set(ZipFile(direct).namelist())
    assert set(ZipFile(again).namelist()) == names
    assert {"proxy/py.typed", "proxy/dataplane/__init__.pyi", "proxy/dataplane/call.pxd"} <= names
    assert len([name for name in names if name.endswith(".so")]) == len(list((ROOT / "proxy/dataplane").glob("*.pyx")))
    assert not [name for name in names if name.endswith((".pyx", ".c")) or name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.parametrize("image", ["meshctl", "demo"])
def test_an_image_holds_neither_a_compiler_nor_sources_nor_tests(builder: Builder, image: str) -> None:
    root = builder.build(image)
    for program in ("gcc", "cc", "as", "ld"):
        assert root.run(["which", program]).returncode == 1
    added = [path for path in root.upper.rglob("*") if path.is_file()]
    assert [path for path in added if path.suffix == ".so"]
    assert not [path for path in added if path.suffix in (".a", ".o") or path.is_relative_to(root.upper / "src")]
    # Other projects' wheels bring their sources along; ours does not.
    own = [path for path in added if {"proxy", "injector", "deploy"} & set(path.parts)]
    assert not [path for path in own if path.suffix in (".pyx", ".c") or "tests" in path.relative_to(root.upper).parts]


def test_the_demos_programs_start(demo: Root) -> None:
    assert output(demo, "id", "-u").strip() == "65532"
    for program in ("emoji.py", "voting.py", "web.py", "bot.py"):
        assert "usage:" in output(demo, "/opt/demo/bin/python", program, "--help")
