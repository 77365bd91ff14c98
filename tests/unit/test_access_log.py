"""The access log: what a line says, and that no disk, however slow or full, holds up the event loop."""

import array
import asyncio
import contextlib
import fcntl
import json
import math
import os
import subprocess
import sys
import termios
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.access_log import AccessLog, Entry, line, note
from proxy.admin.log_writer import EXIT_GRACE_S, LogWriter
from proxy.dataplane import DataPlane
from tests.support.waiting import wait_until
from tests.unit.fake_plane import Plane

ROOT = Path(__file__).resolve().parents[2]
KEYS = [
    "time",
    "listener",
    "protocol",
    "authority",
    "method",
    "path",
    "cluster",
    "endpoint",
    "pod",
    "http_status",
    "grpc_status",
    "classification",
    "flag",
    "duration_ms",
    "headers_ms",
    "request_bytes",
    "response_bytes",
    "attempts",
]


def entry(
    start_s: float = 1_700_000_000.25,
    path: str = "/emojivoto.v1.VotingService/Vote",
    grpc_status: int = 0,
    flag: str = "",
    headers_s: float = 0.0011,
) -> Entry:
    return (
        start_s,
        "outbound",
        "http2",
        "voting.example:8080",
        "POST",
        path,
        "voting",
        "10.0.0.1:8080",
        "voting-1",
        200,
        grpc_status,
        "failure" if flag else "success",
        flag,
        0.00123,
        headers_s,
        32,
        48,
        1,
    )


def numbered(count: int, first: int = 0) -> list[Entry]:
    return [entry(path=f"/{number}") for number in range(first, first + count)]


def read(path: Path) -> list[dict[str, Any]]:
    """The lines that are there as a whole; the last one may be on its way."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [json.loads(text) for text in whole.splitlines()]


def paths(lines: list[dict[str, Any]]) -> list[str]:
    return [found["path"] for found in lines if "path" in found]


@contextlib.asynccontextmanager
async def logging_to(path: Path | str) -> AsyncIterator[tuple[Plane, AccessLog]]:
    plane = Plane()
    log = AccessLog(plane, str(path))
    log.start()
    try:
        yield plane, log
    finally:
        log.close()


def append(plane: Plane, entries: list[Entry]) -> None:
    assert plane.access_log is not None, "the access log is off"
    plane.access_log.extend(entries)


async def until(condition: Callable[[], object], what: str) -> None:
    """Like `wait_until`, without stopping the event loop."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{what}: not within 10 s")


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe and its reading end: a file that stands still when nobody reads."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    with contextlib.suppress(OSError):
        os.close(reader)


def test_a_line():
    assert line(entry()) == (
        '{"time":"2023-11-14T22:13:20.250Z","listener":"outbound","protocol":"http2",'
        '"authority":"voting.example:8080","method":"POST","path":"/emojivoto.v1.VotingService/Vote","cluster":"voting",'
        '"endpoint":"10.0.0.1:8080","pod":"voting-1","http_status":200,"grpc_status":0,'
        '"classification":"success","duration_ms":1.230,"headers_ms":1.100,"request_bytes":32,'
        '"response_bytes":48,"attempts":1}\n'
    )


def test_what_a_call_did_not_have():
    shown = json.loads(line(entry(grpc_status=-1, flag="no_endpoint", headers_s=math.nan)))
    assert "grpc_status" not in shown
    assert shown["flag"] == "no_endpoint"
    assert shown["headers_ms"] is None
    assert list(shown) == [key for key in KEYS if key != "grpc_status"]


@pytest.mark.parametrize(
    ("start_s", "shown"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.9996, "2023-11-14T22:13:20.999Z"),
        (1_709_251_199.5, "2024-02-29T23:59:59.500Z"),
    ],
)
def test_times_are_utc_and_cut_to_the_millisecond(start_s, shown):
    assert json.loads(line(entry(start_s)))["time"] == shown


texts = st.text(st.characters(), max_size=20)
counts = st.integers(0, 2**63)
seconds = st.floats(0, 1e6)


@given(
    st.tuples(
        *[st.floats(0, 4e9)],
        *[texts] * 8,
        *[st.integers(0, 999), st.integers(-1, 99)],
        *[texts] * 2,
        *[seconds, seconds | st.just(math.nan)],
        *[counts] * 3,
    )
)
def test_any_call_is_one_line_of_json_that_says_what_it_was(call):
    written = line(call)
    assert written.count("\n") == 1
    assert written.isascii()
    shown = json.loads(written)
    expected = dict(zip(KEYS, call, strict=True))
    when = datetime.strptime(shown.pop("time"), "%Y-%m-%dT%H:%M:%S.%f%z").astimezone(UTC).timestamp()
    assert 0 <= expected.pop("time") - when < 0.0011
    assert shown.pop("duration_ms") == pytest.approx(expected.pop("duration_ms") * 1000, abs=0.001)
    headers_s, headers_ms = expected.pop("headers_ms"), shown.pop("headers_ms")
    assert headers_ms is None if math.isnan(headers_s) else headers_ms == pytest.approx(headers_s * 1000, abs=0.001)
    if expected["grpc_status"] < 0:
        del expected["grpc_status"]
    if not expected["flag"]:
        del expected["flag"]
    assert shown == expected


@pytest.mark.asyncio
async def test_calls_are_appended_to_the_file_in_order(tmp_path):
    path = tmp_path / "access.log"
    path.write_text('{"path":"/before"}\n')
    async with logging_to(path) as (plane, log):
        append(plane, numbered(250))
        await until(lambda: len(read(path)) == 251, "the first calls")
        append(plane, numbered(2, first=250))
        await until(lambda: len(read(path)) == 253, "the calls that came later")
        assert paths(read(path)) == ["/before", *(f"/{number}" for number in range(252))]
        assert log.dropped == 0


@pytest.mark.asyncio
async def test_close_writes_what_has_gathered_and_turns_the_log_off(tmp_path):
    path = tmp_path / "access.log"
    async with logging_to(path) as (plane, log):
        append(plane, numbered(1050))
        await asyncio.sleep(0.1)  # about when the list is taken
        append(plane, numbered(5, first=1050))
        log.close()
        assert plane.access_log is None
        await until(lambda: path.exists() and len(read(path)) == 1055, "all lines")
        assert paths(read(path)) == [f"/{number}" for number in range(1055)]


@pytest.mark.asyncio
async def test_the_list_of_the_compiled_data_plane_is_the_one_that_is_read(tmp_path):
    path = tmp_path / "access.log"
    plane = DataPlane(asyncio.get_running_loop())
    log = AccessLog(plane, str(path))
    log.start()
    for call in numbered(3):
        plane.access_log.append(call)
    log.close()
    assert plane.access_log is None
    await until(lambda: path.exists() and len(read(path)) == 3, "the lines")


@pytest.mark.asyncio
async def test_stdout(capfd):
    async with logging_to("-") as (plane, _):
        append(plane, numbered(3))
        shown = ""
        for _ in range(1000):
            shown += capfd.readouterr().out
            if shown.count("\n") == 3:
                break
            await asyncio.sleep(0.01)
    assert [json.loads(text)["path"] for text in shown.splitlines()] == ["/0", "/1", "/2"]


@pytest.mark.asyncio
async def test_reopen_follows_the_name(tmp_path):
    path, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    async with logging_to(path) as (plane, log):
        append(plane, numbered(2))
        await until(lambda: path.exists() and len(read(path)) == 2, "the first file")
        path.rename(moved)
        append(plane, numbered(1, first=2))
        await until(lambda: len(read(moved)) == 3, "a line to the file that was moved")
        log.reopen()
        await until(path.exists, "the new file")
        append(plane, numbered(1, first=3))
        await until(lambda: read(path), "a line in the new file")
    assert (paths(read(moved)), paths(read(path))) == (["/0", "/1", "/2"], ["/3"])


@pytest.mark.asyncio
async def test_a_disk_that_stands_still_stops_nobody_and_the_gap_is_told(pipe, caplog):
    path, reader = pipe
    total = 40_000
    async with logging_to(path) as (plane, log):
        for first in range(0, total, 1000):
            append(plane, numbered(1000, first))
            await asyncio.sleep(0.01)
        await until(lambda: plane.access_log == [] and log.dropped > 0, "the buffer to be full")
        refused = 0
        while refused != log.dropped:  # what was taken last is looked at in slices
            refused = log.dropped
            await asyncio.sleep(0.3)
        assert 0 < refused < total

        received = bytearray()
        while b"dropped" not in received:
            with contextlib.suppress(BlockingIOError):
                received += os.read(reader, 2**20)
            await asyncio.sleep(0)
        append(plane, numbered(1, first=total))
        while not received.endswith(b"\n") or f"/{total}".encode() not in received:
            with contextlib.suppress(BlockingIOError):
                received += os.read(reader, 2**20)
            await asyncio.sleep(0)

    lines = [json.loads(text) for text in received.splitlines()]
    (note,) = [found for found in lines if "dropped" in found]
    assert set(note) == {"time", "dropped"}
    assert note["dropped"] == refused
    assert len(paths(lines)) == total - refused + 1
    assert "calls are missing so far" in caplog.text


@pytest.mark.asyncio
async def test_the_event_loop_turns_while_many_calls_are_written(tmp_path):
    path = tmp_path / "access.log"
    async with logging_to(path) as (plane, _):
        append(plane, numbered(5_000))  # fewer than the writer holds, so that none is dropped on a busy machine
        turns = 0
        while turns % 20 or not path.exists() or path.read_bytes().count(b"\n") < 5_000:
            await asyncio.sleep(0)
            turns += 1
    assert turns > 25


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path, caplog):
    path = tmp_path / "missing" / "access.log"
    async with logging_to(path) as (plane, log):
        await until(lambda: "No such file or directory" in caplog.text, "to be told before the first call")
        append(plane, numbered(7))
        await until(lambda: log.dropped == 7, "the loss to be counted")
        path.parent.mkdir()
        append(plane, numbered(1, first=7))
        await until(lambda: path.exists() and "/7" in paths(read(path)), "a line after all")
        gap, first = read(path)
        assert (gap["dropped"], first["path"]) == (7, "/7")
    assert caplog.text.count("No such file or directory") == 1


@pytest.mark.asyncio
async def test_a_full_disk(caplog):
    async with logging_to("/dev/full") as (plane, log):
        append(plane, numbered(5))
        await until(lambda: log.dropped >= 5, "the loss to be counted")
        append(plane, numbered(5))
        await until(lambda: log.dropped >= 10, "the next loss to be counted")
    assert caplog.text.count("No space left on device") == 1


@pytest.mark.asyncio
async def test_an_entry_that_cannot_be_read_does_not_end_the_log(tmp_path, caplog):
    path = tmp_path / "access.log"
    async with logging_to(path) as (plane, log):
        append(plane, [("too", "short")])
        await until(lambda: log.dropped == 1, "the loss to be counted")
        append(plane, numbered(1))
        await until(lambda: path.exists() and "/0" in paths(read(path)), "the next line")
    assert "cannot be read" in caplog.text


def waiting_bytes(reader: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(reader, termios.FIONREAD, count)
    return count[0]


def test_a_line_that_broke_off_does_not_spoil_the_next(pipe):
    path, reader = pipe
    writer = LogWriter(str(path), note)
    writer.start()
    try:
        writer.write(b"\n".join([b"x" * 99] * 10_000) + b"\n")
        # The pipe is full, and the writer in the middle of a line, when the reader leaves.
        wait_until(lambda: waiting_bytes(reader) > 60_000, "the pipe to be full")
        os.close(reader)
        wait_until(lambda: writer.missing_lines > 0, "the loss to be counted")
        again = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            writer.write(b"whole\n")
            received = bytearray()

            def arrived() -> bool:
                with contextlib.suppress(BlockingIOError):
                    received.extend(os.read(again, 2**20))
                return received.endswith(b"whole\n")

            wait_until(arrived, "the next line")
            assert received.splitlines()[-1] == b"whole"
        finally:
            os.close(again)
    finally:
        writer.close()


def run_log(path: Path, grace_s: float) -> subprocess.CompletedProcess[bytes]:
    """A process that logs 20,000 calls to `path`, closes the log, and ends; the writer has so long then."""
    script = f"""
        import asyncio
        from proxy.admin import log_writer
        from proxy.admin.access_log import AccessLog
        from tests.unit.fake_plane import Plane
        from tests.unit.test_access_log import numbered

        log_writer.EXIT_GRACE_S = {grace_s}

        async def main():
            plane = Plane()
            log = AccessLog(plane, {str(path)!r})
            log.start()
            plane.access_log.extend(numbered(20_000))
            log.close()

        asyncio.run(main())
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_what_waits_is_written_before_the_process_ends(tmp_path):
    path = tmp_path / "access.log"
    ended = run_log(path, 60)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert len(read(path)) == 20_000


def test_a_disk_that_stands_still_does_not_keep_the_process_from_ending(pipe):
    path, _ = pipe
    ended = run_log(path, EXIT_GRACE_S)
    assert (ended.returncode, ended.stderr) == (0, b"")
