"""The same interop cases with @grpc/grpc-js as the client: through the proxy as without it.

`npm install` puts grpc-js into `node/node_modules`, once for each content of `package.json`. Where Node.js
is missing or the installation fails, which is what happens without a network, the tests are skipped and say
why.
"""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.interop.cases import CASES

pytestmark = pytest.mark.node

NODE_DIRECTORY = Path(__file__).parent / "node"
INSTALL = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
INSTALL_TIMEOUT_S = 90
RUN_TIMEOUT_S = 180
DEADLINE_EXCEEDED = 4
STABLE = ("method", "status", "response_sizes", "responses_compressed", "initial_metadata")


@pytest.fixture(scope="session")
def client_command() -> tuple[str, ...]:
    """The client's command line but for the address, with grpc-js installed; or the test is skipped."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    wanted = hashlib.sha256((NODE_DIRECTORY / "package.json").read_bytes()).hexdigest()
    installed = NODE_DIRECTORY / "node_modules" / ".installed-for"
    if not installed.exists() or installed.read_text() != wanted:
        install_grpc_js()
        installed.write_text(wanted)
    return ("node", "client.js")


def install_grpc_js() -> None:
    environment = {**os.environ, "npm_config_fetch_retries": "0", "npm_config_update_notifier": "false"}
    try:
        result = subprocess.run(
            INSTALL,
            cwd=NODE_DIRECTORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm install took over {INSTALL_TIMEOUT_S} s")
    if result.returncode:
        problems = [line for line in result.stderr.splitlines() if "error" in line.lower()]
        pytest.skip(f"npm install failed: {'; '.join(problems[:4])}")


def run_all_cases(command: tuple[str, ...], address: str) -> dict[str, Any]:
    """What the Node.js client saw of each case against the server at `address`."""
    result = subprocess.run(
        (*command, address),
        cwd=NODE_DIRECTORY,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    results: dict[str, Any] = json.loads(result.stdout)
    return results


@pytest.fixture(scope="module")
def direct(client_command: tuple[str, ...], direct_address: str) -> dict[str, Any]:
    return run_all_cases(client_command, direct_address)


@pytest.fixture(scope="module")
def proxied(client_command: tuple[str, ...], proxied_address: str) -> dict[str, Any]:
    return run_all_cases(client_command, proxied_address)


@pytest.mark.parametrize("name", [case.__name__ for case in CASES])
def test_proxied_equals_direct(name: str, direct: dict[str, Any], proxied: dict[str, Any]) -> None:
    assert "error" not in direct[name], direct[name]["error"]
    assert "error" not in proxied[name], proxied[name]["error"]
    assert without_races(proxied[name]) == without_races(direct[name])


def without_races(result: dict[str, Any]) -> dict[str, Any]:
    """A case's result but for what no client can count on: at a deadline the client's own clock and the
    server's DEADLINE_EXCEEDED race, and only the server's brings trailing metadata."""
    records = [
        {key: value for key, value in record.items() if record["status"] != DEADLINE_EXCEEDED or key in STABLE}
        for record in result["records"]
    ]
    return {**result, "records": records}


def test_both_clients_make_the_same_cases(direct: dict[str, Any]) -> None:
    assert set(direct) == {case.__name__ for case in CASES}
