"""Databases and mail between pods: Debian's own servers and clients, on their usual ports and on others."""

import os
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.mesh import Mesh
from tests.netns.pod import APP_UID, Pod
from tests.support.process import ROOT

REDIS, OTHER_REDIS = 6379, 7379
POSTGRES, OTHER_POSTGRES = 5432, 7432
MARIADB, OTHER_MARIADB = 3306, 7306
SMTP = 2525
POSTGRES_PROGRAMS = "/usr/lib/postgresql"


def need(*programs: str) -> list[str]:
    """The paths of programs; skips the test when one is missing."""
    found = [path for program in programs if (path := shutil.which(program))]
    if len(found) < len(programs):
        pytest.skip(f"not installed: one of {', '.join(programs)}")
    return found


# ---- Redis: the client speaks first ----


@pytest.fixture(scope="module", params=[REDIS, OTHER_REDIS])
def redis(request: pytest.FixtureRequest, mesh: Mesh) -> int:
    """The port of a redis-server on the loopback of the first server pod."""
    port = int(request.param)
    (server, _) = need("redis-server", "redis-cli")
    pod = mesh.pods[0]
    pod.start(server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp")
    pod.wait_for_port(port)
    return port


def redis_cli(mesh: Mesh, port: int, *command: str) -> str:
    return mesh.client.pod.run("redis-cli", "-h", mesh.pods[0].ipv4, "-p", str(port), *command).strip()


def test_redis_answers_commands(mesh: Mesh, redis: int) -> None:
    assert redis_cli(mesh, redis, "PING") == "PONG"
    assert redis_cli(mesh, redis, "SET", "emoji", "🦑" * 1000) == "OK"
    assert redis_cli(mesh, redis, "--no-raw", "STRLEN", "emoji") == "(integer) 4000"
    # A command that waits, on a connection that is quiet meanwhile.
    assert redis_cli(mesh, redis, "BLPOP", "nothing", "1") == ""


def test_a_pipeline_of_redis_commands_is_answered_in_order(mesh: Mesh, redis: int) -> None:
    pod = mesh.client.pod
    commands = "".join(f"ECHO {number}\n" for number in range(500))
    told = pod.namespace.run(["redis-cli", "-h", mesh.pods[0].ipv4, "-p", str(redis)], APP_UID, commands)
    assert told.split() == [str(number) for number in range(500)]


# ---- PostgreSQL: the client speaks first, in binary ----


@pytest.fixture(scope="module")
def postgres(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod whose PostgreSQL listens on loopback, on the usual port; another port leads there too."""
    need("psql")
    programs = sorted(Path(POSTGRES_PROGRAMS).glob("*/bin"))
    if not programs:
        pytest.skip(f"not installed: PostgreSQL's server, in {POSTGRES_PROGRAMS}")
    pod, data = mesh.pods[1], tmp_path_factory.mktemp("postgres") / "data"
    data.mkdir()
    os.chown(data, APP_UID, APP_UID)
    readable = pod.namespace.place(APP_UID).prefix
    for command in (
        [str(programs[-1] / "initdb"), "--auth=trust", "--username=mesh", "--no-sync", "--pgdata", str(data)],
    ):
        done = subprocess.run([*readable, *command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    for port in (POSTGRES, OTHER_POSTGRES):
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        if port == POSTGRES:
            pod.start(str(programs[-1] / "postgres"), "-D", str(data), "-p", str(port), *options)
            pod.wait_for_port(port)
    yield pod
