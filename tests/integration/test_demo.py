"""The demo: its application, the figures it shows, and `meshctl demo` itself through the real proxy."""

import contextlib
import http.client
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from meshctl.demo import phases
from meshctl.demo.figures import ALL_PODS, NO_POD, Snapshot, figures_between, percentile_ms
from meshctl.demo.phases import Schedule
from meshctl.demo.runner import CHECKOUT, run_demo
from tests.support.ports import free_address, split_address
from tests.support.process import ROOT, Process, start_python
from tests.support.waiting import wait_until

SOURCES = CHECKOUT / "deploy" / "demo"
DOUGHNUT = ":doughnut:"
TIMEOUT_S = 30

SHORT = Schedule(settle_s=1, kubernetes_s=1.5, proxy_s=4, slow_s=3, leaving_s=1, away_s=1, back_s=2, votes_per_s=200)
SHORTEST = Schedule(settle_s=0.5, kubernetes_s=0.5, proxy_s=0.5, slow_s=0.5, leaving_s=0.5, away_s=0.5, back_s=0.5)


@contextlib.contextmanager
def program(name: str, *options: str) -> Generator[tuple[Process, str], None, None]:
    """A running program of deploy/demo, and the address it listens on; it must end with status 0."""
    address = free_address()
    host, port = split_address(address)
    command = (sys.executable, str(SOURCES / f"{name}.py"), "--host", host, "--port", str(port), *options)
    with Process(command, name) as process:
        process.wait_for_port(address)
        yield process, address


class Voter:
    """A gRPC client of one voting pod."""

    def __init__(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(SOURCES))
        self.messages = importlib.import_module("emojivoto_pb2")
        self.channel = grpc.insecure_channel(address)
        self.stub = importlib.import_module("emojivoto_pb2_grpc").VotingServiceStub(self.channel)

    def vote(self, shortcode: str) -> Any:
        """The call, running."""
        return self.stub.Vote.future(self.messages.VoteRequest(shortcode=shortcode), timeout=TIMEOUT_S)

    def took_s(self) -> float:
        """How long one vote takes."""
        began_s = time.monotonic()
        self.vote(":cat:").result()
        return time.monotonic() - began_s


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Generator[tuple[Process, Voter], None, None]:
    """A voting pod and its client."""
    with program("voting", "--pod-name", "voting-7", "--slow-ms", "400") as (process, address):
        voter = Voter(address, monkeypatch)
        with contextlib.closing(voter.channel):
            yield process, voter


def test_a_vote_is_accepted_and_names_its_pod(pod: tuple[Process, Voter]) -> None:
    call = pod[1].vote(":cat:")
    assert call.code() is grpc.StatusCode.OK
    assert ("pod", "voting-7") in call.initial_metadata()


def test_the_vote_for_the_doughnut_fails_and_names_its_pod(pod: tuple[Process, Voter]) -> None:
    for _ in range(3):
        call = pod[1].vote(DOUGHNUT)
        assert call.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "on purpose" in call.details()
        assert ("pod", "voting-7") in call.initial_metadata()


def test_signals_make_a_pod_slow_and_normal_again(pod: tuple[Process, Voter]) -> None:
    process, voter = pod
    voter.took_s()  # the first call connects
    process.signal(signal.SIGUSR1)
    wait_until(lambda: voter.took_s() >= 0.4, "a slow vote")
    process.signal(signal.SIGUSR2)
    wait_until(lambda: voter.took_s() < 0.4, "a fast vote")


def test_a_stopped_pod_finishes_the_calls_it_has(pod: tuple[Process, Voter]) -> None:
    process, voter = pod
    process.signal(signal.SIGUSR1)
    wait_until(lambda: voter.took_s() >= 0.4, "a slow vote")
    call = voter.vote(":cat:")
    call.initial_metadata()  # which the pod sends before it makes the caller wait
    process.stop()
    assert call.code() is grpc.StatusCode.OK


def request(address: str, method: str, path: str) -> tuple[int, Any]:
    """Status and JSON of one HTTP request."""
    with contextlib.closing(http.client.HTTPConnection(*split_address(address), timeout=TIMEOUT_S)) as web:
        web.request(method, path)
        response = web.getresponse()
        return response.status, json.loads(response.read())


def test_the_web_front_votes_and_tells_a_purpose_from_a_failure() -> None:
    with program("emoji") as (_, emoji), contextlib.ExitStack() as stack:
        voting_process, voting = stack.enter_context(program("voting", "--pod-name", "voting-7"))
        _, web = stack.enter_context(program("web", "--emoji-address", emoji, "--voting-address", voting))

        status, listed = request(web, "GET", "/api/emoji")
        assert status == 200
        assert [":cat:", "🐱"] in listed
        for _ in range(2):
            assert request(web, "POST", "/api/vote?choice=:cat:") == (200, {"voted": ":cat:"})
        assert request(web, "POST", "/api/vote?choice=:nothing:")[0] == 404
        status, refused = request(web, "POST", f"/api/vote?choice={DOUGHNUT}")
        assert (status, refused["intended"]) == (502, True)
        voting_process.stop()
        status, failed = request(web, "POST", f"/api/vote?choice={DOUGHNUT}")
        assert (status, failed["intended"]) == (502, False)

        assert request(web, "GET", "/api/leaderboard") == (200, [[":cat:", "🐱", 2]])
        snapshot = Snapshot.parse(0, request(web, "GET", "/stats")[1])
        assert {name: (pod.accepted, pod.refused, pod.failed) for name, pod in snapshot.pods.items()} == {
            "voting-7": (2, 1, 0),
            NO_POD: (0, 0, 1),
        }
        assert snapshot.failed_calls == 1


def stats(pods: Mapping[str, tuple[int, int, int]], failures: Mapping[str, int]) -> dict[str, Any]:
    """What /stats answers when every vote took between 1 and 2 ms."""
    return {
        "buckets_ms": [1.0, 2.0],
        "pods": {
            pod: {
                "accepted": accepted,
                "refused": refused,
                "failed": failed,
                "latency_counts": [0, accepted + refused + failed, 0],
            }
            for pod, (accepted, refused, failed) in pods.items()
        },
        "failures": failures,
    }


def test_figures_are_those_of_the_time_between_two_snapshots() -> None:
    before = Snapshot.parse(10, stats({"a": (100, 5, 1)}, {"UNAVAILABLE": 1}))
    after = Snapshot.parse(12, stats({"a": (150, 15, 1), "": (0, 0, 20)}, {"UNAVAILABLE": 1, "lost": 23}))
    a, b, no_pod, everything = figures_between(before, after, ["a", "b"])
    assert (a.pod, a.calls, a.calls_per_s, a.share, a.success) == ("a", 60, 30, 0.75, 50 / 60)
    assert (a.refused, a.failed) == (10, 0)
    assert (b.pod, b.calls, b.share, b.success, b.p50_ms) == ("b", 0, 0, None, None)
    assert (no_pod.pod, no_pod.calls, no_pod.share, no_pod.success) == (NO_POD, 20, 0.25, 0)
    assert (everything.pod, everything.calls, everything.share) == (ALL_PODS, 80, 1)
    assert everything.p50_ms == 1.5
    assert everything.failed == 23  # three of them to another service


def test_percentiles_are_interpolated_in_their_bucket() -> None:
    buckets_ms = (1.0, 2.0, 4.0)
    assert percentile_ms(0.5, (0, 0, 0, 0), buckets_ms) is None
    assert percentile_ms(0.5, (10, 0, 0, 0), buckets_ms) == 0.5
    assert percentile_ms(0.95, (90, 0, 10, 0), buckets_ms) == 3.0
    assert percentile_ms(0.99, (0, 0, 0, 5), buckets_ms) == 4.0


def test_the_demo_says_that_it_needs_a_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(keep=False, schedule=SHORT, checkout=tmp_path) == 1
    assert "runs from a checkout" in capsys.readouterr().err


def children(pid: int) -> list[int]:
    """The processes that the main thread of `pid` has started and that have not ended."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Whether the process is there, and more than a zombie nobody waits for."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
def test_every_phase_of_the_demo_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = children(os.getpid())
    status = run_demo(keep=False, schedule=SHORT, checkout=CHECKOUT)
    shown = capsys.readouterr()
    assert status == 0, shown.out + shown.err
    assert "got every one of" in shown.out
    assert "not one failed but" in shown.out
    assert "✗" not in shown.out
    assert children(os.getpid()) == before


@pytest.mark.slow
def test_the_demo_fails_when_what_it_shows_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # what the programs wrote stays there
    monkeypatch.setattr(phases, "LEAST_SHARE", 0.4)  # not all of three can have that
    assert run_demo(keep=False, schedule=SHORTEST, checkout=CHECKOUT) == 1
    shown = capsys.readouterr().out
    assert "✗ a pod got less than 40%" in shown
    assert "✗ Through the proxy, all three get calls" in shown


@contextlib.contextmanager
def running_demo(tmp_path: Path) -> Generator[tuple[Process, list[int]], None, None]:
    """`meshctl demo` in its first phase, and the process ids of what it has started."""
    with start_python("meshctl", "demo", name="meshctl demo", env={"TMPDIR": str(tmp_path)}) as demo:
        demo.wait_until(lambda: "each connection goes to one pod" in demo.stdout(), "the first phase", 60)
        started = children(demo.pid)
        assert len(started) == 7  # three voting pods, emoji, balancer, web, bot
        yield demo, started
        wait_until(lambda: not any(map(is_running, started)), "all that the demo started has ended")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_stops_what_it_started(number: signal.Signals, tmp_path: Path) -> None:
    with running_demo(tmp_path) as (demo, started):
        demo.signal(number)
        assert demo.wait(60) == 130
        assert list(tmp_path.iterdir()) == []
        assert not any(map(is_running, started))


@pytest.mark.slow
def test_a_demo_whose_reader_has_left_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "meshctl", "demo"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stdout.readline()
        demo.stdout.close()
        try:
            assert demo.wait(30) == 1
        finally:
            demo.kill()
        assert demo.stderr is not None
        assert "Traceback" not in demo.stderr.read()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_demo_leaves_no_program_behind(tmp_path: Path) -> None:
    with running_demo(tmp_path) as (demo, _):
        demo.signal(signal.SIGKILL)
        demo.wait()


@pytest.mark.slow
def test_the_demo_fails_when_a_program_of_it_dies(tmp_path: Path) -> None:
    with running_demo(tmp_path) as (demo, started):
        os.kill(started[0], signal.SIGKILL)
        assert demo.wait(60) == 1
        assert "ended with status -9" in demo.stderr()
