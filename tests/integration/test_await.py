"""`meshctl await` and `meshctl shutdown`, beside a real proxy."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import echo_config
from tests.support.echo import EchoClient
from tests.support.ports import free_address
from tests.support.process import ROOT, ProxyProcess, start_proxy
from tests.support.waiting import PATIENCE_S


def meshctl(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "meshctl", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_await_returns_when_a_sidecar_that_starts_later_is_ready(tmp_path: Path) -> None:
    config = echo_config(free_address(), admin={"address": free_address()})
    command = [sys.executable, "-m", "meshctl", "await", "--address", config["admin"]["address"], "--timeout", "30"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as waiting:
        time.sleep(0.5)
        assert waiting.poll() is None
        with ProxyProcess(config, tmp_path) as proxy:
            assert waiting.wait(PATIENCE_S) == 0
            assert proxy.ready()


def test_await_takes_the_address_from_the_environment(tmp_path: Path) -> None:
    with start_proxy(echo_config(free_address()), tmp_path) as proxy:
        assert meshctl("await", MESHCTL_ADMIN_ADDRESS=proxy.admin).returncode == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_a_sidecar_on_every_address_is_asked_over_loopback(tmp_path: Path, host: str) -> None:
    port = free_address().rpartition(":")[2]
    everywhere = f"{host}:{port}"
    config = echo_config(free_address(), admin={"address": everywhere})
    with ProxyProcess(config, tmp_path) as proxy:
        assert meshctl("await", "--timeout", "30", MESHCTL_ADMIN_ADDRESS=everywhere).returncode == 0
        # A kubelet asks the pod's address, of whichever family that is.
        for asked in ("127.0.0.1", *(["[::1]"] if host == "[::]" else [])):
            assert meshctl("await", "--address", f"{asked}:{port}", "--timeout", "30").returncode == 0
        assert meshctl("shutdown", MESHCTL_ADMIN_ADDRESS=everywhere).returncode == 0
        assert proxy.wait() == 0


@contextlib.contextmanager
def draining_for_long(directory: Path) -> Iterator[ProxyProcess]:
    """A proxy with a call that keeps it from ending when it is told to stop once: it waits for an endpoint."""
    config = echo_config(free_address(), shutdown_grace_s=60)
    config["clusters"][0]["failfast_s"] = 60
    with start_proxy(config, directory) as proxy, EchoClient(proxy.listener("outbound")) as client:
        waiting = client.unary.future(b"")
        proxy.wait_until(lambda: proxy.metric("meshctl_cluster_pending") == 1, "a call waits")
        yield proxy
        waiting.cancel()


def test_await_says_why_the_sidecar_was_not_ready_in_time(tmp_path: Path) -> None:
    nobody = free_address()
    done = meshctl("await", "--address", nobody, "--timeout", "0.3")
    assert done.returncode == 1
    problem, hint = done.stderr.splitlines()
    assert problem == "Error: not ready within 0.3 s: no answer: Connection refused"
    assert hint.startswith("Hint: does the sidecar run")
    with draining_for_long(tmp_path) as proxy:
        proxy.signal(signal.SIGTERM)
        proxy.wait_until(lambda: not proxy.ready(), "not ready any more")
        done = meshctl("await", "--address", proxy.admin, "--timeout", "0.3")
        assert (done.returncode, done.stderr) == (1, "Error: not ready within 0.3 s: shutting down\n")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0


@pytest.mark.parametrize("address", ["4191", "127.0.0.1", "::1:4191", "127.0.0.1:0", "127.0.0.1:65536", "[]:1"])
def test_a_wrong_address_is_wrong_usage(address: str) -> None:
    for command in ("await", "shutdown"):
        done = meshctl(command, "--address", address)
        assert done.returncode == 2
        assert "--help" in done.stderr


def test_shutdown_waits_until_the_sidecar_is_gone(tmp_path: Path) -> None:
    with start_proxy(echo_config(free_address(), shutdown_grace_s=0.5), tmp_path) as proxy:
        done = meshctl("shutdown", "--wait", "--address", proxy.admin)
        assert (done.returncode, done.stderr) == (0, "")
        assert proxy.wait() == 0
        again = meshctl("shutdown", "--address", proxy.admin)
        assert again.returncode == 1
        assert "no answer" in again.stderr


def test_shutdown_that_is_not_over_in_time_fails(tmp_path: Path) -> None:
    with draining_for_long(tmp_path) as proxy:
        done = meshctl("shutdown", "--wait", "--timeout", "0.5", "--address", proxy.admin)
        assert done.returncode == 1
        assert "not gone within 0.5 s" in done.stderr
        assert proxy.running and not proxy.ready()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
