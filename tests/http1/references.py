"""Proxies under test, each as lanes: nginx and HAProxy (independent readers), and one that copies bytes blindly.

The configurations are nginx.conf and haproxy.cfg beside this file. Both programs come from Debian packages; `program`
says whether one is there.
"""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.http1.exchange import Lane
from tests.http1.recorder import Recorder
from tests.support.fault_proxy import FaultProxy
from tests.support.ports import free_address
from tests.support.process import Process

LANES = 8
_HERE = Path(__file__).parent
_NGINX_LANE = """\
upstream lane{n} {{ server {backend}; keepalive 8; }}
server {{ listen {address}; location / {{ proxy_pass http://lane{n}; }} }}
"""
_HAPROXY_LANE = """\
frontend lane{n}
    bind {address}
    default_backend lane{n}
backend lane{n}
    server recorder {backend}
"""


def program(name: str) -> str | None:
    """Where an installed program is: Debian keeps these where only root's PATH looks."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def recorders(count: int = LANES) -> Iterator[list[Recorder]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Recorder())) for _ in range(count)]


def _lanes(backends: list[Recorder]) -> list[Lane]:
    return [Lane(free_address(), backend) for backend in backends]


def _written(lanes: list[Lane], template: str) -> str:
    return "".join(
        template.format(n=number, address=lane.address, backend=lane.recorder.address)
        for number, lane in enumerate(lanes)
    )


@contextlib.contextmanager
def nginx(directory: Path) -> Iterator[list[Lane]]:
    with recorders() as backends:
        lanes = _lanes(backends)
        shutil.copy(_HERE / "nginx.conf", directory)
        (directory / "lanes.conf").write_text(_written(lanes, _NGINX_LANE))
        command = (str(program("nginx")), "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf"))
        with Process(command, "nginx") as process:
            for lane in lanes:
                process.wait_for_port(lane.address)
            yield lanes


@contextlib.contextmanager
def haproxy(directory: Path) -> Iterator[list[Lane]]:
    with recorders() as backends:
        lanes = _lanes(backends)
        (directory / "lanes.cfg").write_text(_written(lanes, _HAPROXY_LANE))
        files = ("-f", str(_HERE / "haproxy.cfg"), "-f", str(directory / "lanes.cfg"))
        command = (str(program("haproxy")), "-db", "-q", *files)
        with Process(command, "HAProxy") as process:
            for lane in lanes:
                process.wait_for_port(lane.address)
            yield lanes
            # It lets SIGTERM end it, without an exit status of its own.
            process.stop(expect=-signal.SIGTERM)


@contextlib.contextmanager
def copying() -> Iterator[list[Lane]]:
    """A proxy that understands nothing and forwards every byte as it is: what the assertions have to catch."""
    with contextlib.ExitStack() as stack:
        lanes = []
        for backend in stack.enter_context(recorders(4 * LANES)):  # most of them wait
            proxy = stack.enter_context(FaultProxy(backend.address))
            lanes.append(Lane(proxy.address, backend))
        yield lanes


REFERENCES: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[list[Lane]]]] = {
    "nginx": nginx,
    "haproxy": haproxy,
}
