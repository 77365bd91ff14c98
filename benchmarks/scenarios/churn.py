"""Pods are restarted, die, come and go, while calls go on: how many of them fail, and how soon a change is seen."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.backend import Backend, BackendOptions
from benchmarks.caller import Call, calling
from benchmarks.fleet import Fleet, fleet
from benchmarks.peers import BY_NAME, PEERS, Contender, default, retrying
from benchmarks.process import sleep_until
from benchmarks.scenarios import Case, Measured, Metric, Pace, Scenario

CALLS_PER_S, SMOKE_CALLS_PER_S = 2000, 200
"""The lower rate stays below every limit also when the machine stood still and all calls come at once."""
OURS = "meshctl"
DELAY_US, KILL_DELAY_US = 5_000, 50_000
"""What a backend takes to answer, so that there are calls in flight: some 3 on each; 33 where one is killed."""
SEEN_WITHIN_MS = 100
SETTLE_S = 0.02
"""With the caller paused, what it has sent reaches a backend in this time, and few are answered."""
LAST_ANSWERS_S = 30.0


def rate(pace: Pace) -> int:
    return SMOKE_CALLS_PER_S if pace.smoke else CALLS_PER_S


def restart(contender: Contender, pace: Pace) -> Measured:
    """Each backend says GOAWAY, finishes, is gone for a while and comes back; one after the other."""
    every_s, down_s, total_s = (0.25, 0.1, 1.2) if pace.smoke else (15.0, 2.0, 60.0)
    with fleet(contender, BackendOptions(delay_us=DELAY_US)) as running:
        with calling(running.port, running.directory, rate(pace), total_s) as caller:
            next_s = time.monotonic()
            for backend in running.backends:
                next_s += every_s
                sleep_until(next_s)
                backend.drain()
                time.sleep(down_s)
                backend.come_back()
            calls = caller.calls(total_s + LAST_ANSWERS_S)
        problems = _problems(running, calls, allowed=0)
        unused = sum(count.last_s == 0 for count in running.read().counts)
        if unused and not pace.smoke:
            problems.append(f"{unused} backends got no call after their restart")
        return Measured(_values(calls), problems)


def kill(contender: Contender, pace: Pace) -> Measured:
    """Each backend is killed once and comes back. The caller pauses meanwhile, so that the calls in flight are
    counted exactly: no call comes in between the count and the end."""
    every_s, down_s, total_s = (0.25, 0.1, 1.2) if pace.smoke else (8.0, 4.0, 30.0)
    in_flight = 0
    with fleet(contender, BackendOptions(delay_us=KILL_DELAY_US)) as running:
        with calling(running.port, running.directory, rate(pace), total_s) as caller:
            next_s = time.monotonic()
            for backend in running.backends:
                next_s += every_s
                sleep_until(next_s)
                with caller.paused():
                    time.sleep(SETTLE_S)
                    in_flight += backend.kill()
                time.sleep(down_s)
                backend.come_back()
            calls = caller.calls(total_s + LAST_ANSWERS_S)
        # The count is exact where what was sent arrives soon, and that is timing.
        problems = _problems(running, calls, allowed=len(calls) if pace.smoke else in_flight)
        return Measured({**_values(calls), "in_flight": in_flight}, problems)


def update(contender: Contender, pace: Pace) -> Measured:
    """A fourth backend, a new one each time, is added to the configuration and removed again; SIGHUP each time."""
    times, between_s = (1, 0.4) if pace.smoke else (25, 1.0)
    total_s = times * 2 * between_s + 0.5
    first_ms, last_ms, served = [], [], 0
    with fleet(contender, BackendOptions(delay_us=DELAY_US)) as running:
        before = yaml.safe_load(_configuration(running).read_text())
        with calling(running.port, running.directory, rate(pace), total_s) as caller:
            for number in range(times):
                with Backend(BackendOptions(delay_us=DELAY_US), running.directory / f"new-{number}.log") as new:
                    added_s = _apply(running, _with_endpoint(before, new.port))
                    time.sleep(between_s)
                    removed_s = _apply(running, before)
                    time.sleep(between_s)
                    new.ask()
                    count = new.answer()
                served += count.calls
                if count.calls:
                    first_ms.append(1e3 * (count.first_s - added_s))
                    last_ms.append(max(0.0, 1e3 * (count.last_s - removed_s)))
            calls = caller.calls(total_s + LAST_ANSWERS_S)
        problems = _problems(running, calls, allowed=0, served_elsewhere=served)
        if not first_ms and pace.smoke:  # too slow a machine for so short a run
            return Measured(_values(calls), problems)
        if len(first_ms) < times:
            return Measured(_values(calls), [*problems, f"{times - len(first_ms)} new endpoints got no call"])
        values = {**_values(calls), "first_ms": max(first_ms), "last_ms": max(last_ms)}
        if not pace.smoke and max(first_ms + last_ms) > SEEN_WITHIN_MS:
            problems.append(f"an update took longer than {SEEN_WITHIN_MS} ms")
        return Measured(values, problems)


def _values(calls: Sequence[Call]) -> dict[str, float]:
    return {
        "calls": len(calls),
        "failed": sum(call.failed for call in calls),
        "longest_ms": 1e3 * max(call.took_s for call in calls),
    }


def _problems(fleet: Fleet, calls: Sequence[Call], *, allowed: int, served_elsewhere: int = 0) -> list[str]:
    """More failed calls than allowed, if the contender is ours: what becomes of a peer's is a result. And good calls
    that no backend has seen."""
    failed = [call for call in calls if call.failed]
    good = len(calls) - len(failed)
    reached = fleet.read().calls + served_elsewhere
    found = []
    if len(failed) > allowed and fleet.contender.peer.name == OURS:
        outcomes = ", ".join(sorted({call.outcome for call in failed}))
        found.append(f"{len(failed)} calls failed ({outcomes}), at most {allowed} may")
    if not good <= reached:
        found.append(f"{good} calls answered, but only {reached} reached the backends")
    if good == 0:
        found.append("no call succeeded")
    return found


def _configuration(fleet: Fleet) -> Path:
    return fleet.directory / fleet.contender.peer.template


def _with_endpoint(configuration: dict[str, Any], port: int) -> dict[str, Any]:
    (cluster,) = configuration["clusters"]
    endpoints = [*cluster["static"]["endpoints"], {"address": f"127.0.0.1:{port}"}]
    return {**configuration, "clusters": [{**cluster, "static": {"endpoints": endpoints}}]}


def _apply(fleet: Fleet, configuration: dict[str, Any]) -> float:
    """Replaces the configuration file in one step and says so to the proxy. Returns when (`time.monotonic`)."""
    file = _configuration(fleet)
    written = file.with_suffix(".new")
    written.write_text(yaml.safe_dump(configuration))
    if fleet.proxy is None:
        raise RuntimeError("there is no proxy to tell")
    now_s = time.monotonic()
    written.replace(file)
    fleet.proxy.signal(signal.SIGHUP)
    return now_s


PROXIES = tuple(retrying(peer) for peer in PEERS if peer.per_call)

SCENARIO = Scenario(
    name="churn",
    title=f"Pods come and go under {CALLS_PER_S:,} calls a second",
    text=(
        "*Restart*: in 60 s each of three backends says GOAWAY, finishes its calls, is gone for 2 s and comes back. "
        "*Kill*: in 30 s each is killed once and comes back after 4 s; at most the calls in flight on it may fail. "
        "*Update*: 25 times a new endpoint is added to the configuration and removed again. A call has failed "
        "when it does not bring a whole message and `grpc-status: 0`. The peers have fixed endpoints and no health "
        "checks; each tries another backend where a call was certainly not processed, which HAProxy and Envoy are "
        "told to here only, for it costs CPU time."
    ),
    metrics=(
        Metric("failed", "failed calls", 0),
        Metric("calls", "of so many", 0),
        Metric("in_flight", "calls in flight on the killed backends", 0),
        Metric("longest_ms", "longest call, ms", 1),
        Metric("first_ms", "from an update to the first call on the new endpoint, longest, ms", 1),
        Metric("last_ms", "from an update to the last call on the removed endpoint, longest, ms", 1),
    ),
    cases=(
        Case("restart", PROXIES, restart),
        Case("kill", PROXIES, kill),
        Case("update", (default(BY_NAME[OURS]),), update),
    ),
    most_rounds=1,
)
