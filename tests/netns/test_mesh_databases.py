"""Databases and mail between pods: real servers and clients, on their usual ports and on others."""

import os
import pwd
import shutil
import smtplib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.mesh import Mesh
from tests.netns.pod import APP_UID

POSTGRES_PROGRAMS = Path("/usr/lib/postgresql")
SMTP = 2525
MOST_S = 8  # a sidecar that waits for the client to speak gives up after 10 s


def need(*programs: str) -> None:
    """Skips the test when a program is missing."""
    if missing := [program for program in programs if not shutil.which(program)]:
        pytest.skip(f"not installed: {', '.join(missing)}")


# ---- Redis: the client speaks first, in lines ----


@pytest.fixture(scope="module", params=[6379, 7379], ids=["opaque", "detected"])
def redis(request: pytest.FixtureRequest, mesh: Mesh) -> list[str]:
    """The command that reaches a redis-server on the loopback of the first server pod."""
    need("redis-server", "redis-cli")
    pod, port = mesh.pods[0], int(request.param)
    pod.start("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp")
    pod.wait_for_port(port)
    return ["redis-cli", "-h", pod.ipv4, "-p", str(port)]


def test_redis_answers_commands(mesh: Mesh, redis: list[str]) -> None:
    def command(*words: str) -> str:
        return mesh.client.pod.run(*redis, *words).strip()

    assert command("PING") == "PONG"
    assert command("SET", "emoji", "🦑" * 1000) == "OK"
    assert command("STRLEN", "emoji") == "4000"
    # One that waits, on a connection that is quiet meanwhile.
    assert command("BLPOP", "nothing", "1") == ""


def test_a_pipeline_of_redis_commands_is_answered_in_order(mesh: Mesh, redis: list[str]) -> None:
    commands = "".join(f"ECHO {number}\n" for number in range(500))
    told = mesh.client.pod.namespace.run(redis, APP_UID, commands)
    assert told.split() == [str(number) for number in range(500)]


# ---- PostgreSQL: the client speaks first, in binary ----


@pytest.fixture(scope="module")
def postgres_data(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """The programs of a PostgreSQL server, its data and its user: it insists on one that has a name."""
    need("psql")
    programs = sorted(POSTGRES_PROGRAMS.glob("*/bin/initdb"))
    if not programs:
        pytest.skip(f"not installed: PostgreSQL's server, in {POSTGRES_PROGRAMS}")
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("there is no user postgres")
    data = tmp_path_factory.mktemp("postgres") / "data"
    data.mkdir(mode=0o700)
    os.chown(data, user.pw_uid, user.pw_gid)
    options = ("--auth=trust", "--username=mesh", "--no-sync", "--encoding=UTF8", "--pgdata", str(data))
    mesh.pods[1].run(str(programs[-1]), *options, uid=user.pw_uid)
    return programs[-1].parent, data, user.pw_uid


@pytest.fixture(scope="module", params=[5432, 7432], ids=["opaque", "detected"])
def psql(
    request: pytest.FixtureRequest, mesh: Mesh, postgres_data: tuple[Path, Path, int]
) -> Iterator[tuple[str, ...]]:
    """The command that asks a PostgreSQL on the loopback of the second server pod."""
    programs, data, uid = postgres_data
    pod, port = mesh.pods[1], int(request.param)
    settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", f"port={port}")
    options = [word for setting in settings for word in ("-c", setting)]
    server = pod.start(str(programs / "postgres"), "-D", str(data), *options, uid=uid)
    pod.wait_for_port(port)
    yield ("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", f"host={pod.ipv4} port={port} user=mesh dbname=postgres")
    server.stop()


def test_postgresql_answers_questions(mesh: Mesh, psql: tuple[str, ...]) -> None:
    assert mesh.client.pod.run(*psql, "-c", "select 6 * 7") == "42\n"
    many = mesh.client.pod.run(*psql, "-c", "select repeat('x', 100) from generate_series(1, 20000)")
    assert many == ("x" * 100 + "\n") * 20000


def test_postgresql_takes_a_copy_from_the_client(mesh: Mesh, psql: tuple[str, ...]) -> None:
    script = "create temp table t(n int);\ncopy t from stdin;\n" + "".join(f"{n}\n" for n in range(10_000))
    script += "\\.\nselect sum(n) from t;\n"
    assert mesh.client.pod.namespace.run([*psql, "-q"], APP_UID, script) == "49995000\n"


def test_an_error_of_postgresql_is_the_clients_to_see(mesh: Mesh, psql: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match="division by zero"):
        mesh.client.pod.run(*psql, "-c", "select 1 / 0")


# ---- SMTP: the server speaks first ----


@pytest.fixture(scope="module")
def smtp(mesh: Mesh) -> Iterator[str]:
    """The address of an SMTP server, that prints what it gets, in the third server pod; its port is not opaque."""
    pytest.importorskip("aiosmtpd")
    pod = mesh.pods[2]
    listening = ("-n", "-l", f"127.0.0.1:{SMTP}", "-c", "aiosmtpd.handlers.Debugging", "stdout")
    server = pod.start(sys.executable, "-W", "ignore", "-m", "aiosmtpd", *listening)
    pod.wait_for_port(SMTP)
    yield pod.ipv4
    server.stop(expect=-15)


def test_mail_is_delivered_though_its_server_speaks_first(mesh: Mesh, smtp: str) -> None:
    begun_s = time.monotonic()
    with mesh.client.pod.namespace.entered():
        sender = smtplib.SMTP(smtp, SMTP, local_hostname="client", timeout=30)
    with sender:
        assert time.monotonic() - begun_s < MOST_S
        refused = sender.sendmail(
            "vote@example.test", ["count@example.test"], "Subject: squid\r\n\r\nOne for 🦑".encode()
        )
    assert refused == {}
