"""The access log: one JSON line per finished call or TCP connection, off unless configured, and never on a call's way.

The data plane only appends a tuple to its list. Every 100 ms this module takes the list away, turns it into
lines a slice per turn of the event loop, and hands them to a thread that writes them. What the disk cannot
keep up with is dropped; the count is told in the log itself and on stderr. It knows nothing of calls but
the order of the tuple.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Protocol

from proxy.admin.log_writer import LogWriter

DRAIN_EVERY_S = 0.1
TELL_EVERY_S = 10.0
SLICE = 100

Entry = tuple[Any, ...]

log = logging.getLogger("meshctl")


class LoggingPlane(Protocol):
    """`access_log` is None, or a list to which each call appends an `Entry` when it ends."""

    access_log: list[Entry] | None


def line(entry: Entry) -> str:
    """The line for one call, with its newline.

    `entry` is (start in Unix seconds, listener, protocol, authority, method, path, cluster, endpoint, pod, HTTP
    status or 0, grpc-status or -1, classification, flag or "", seconds in all, seconds to the response headers
    or nan, request bytes, response bytes, attempts). Raises ValueError or TypeError if it is not.
    """
    (
        start_s,
        listener,
        protocol,
        authority,
        method,
        path,
        cluster,
        endpoint,
        pod,
        http_status,
        grpc_status,
        classification,
        flag,
        duration_s,
        headers_s,
        request_bytes,
        response_bytes,
        attempts,
    ) = entry
    # Written out because a dictionary and json.dumps take three times as long, and there can be 100,000 a
    # second.
    second, millisecond = divmod(int(start_s * 1000), 1000)
    grpc = f'"grpc_status":{grpc_status:d},' if grpc_status >= 0 else ""
    flagged = f'"flag":{quoted(flag)},' if flag else ""
    headers_ms = "null" if headers_s != headers_s else f"{headers_s * 1000:.3f}"
    return (
        f'{{"time":"{_date_time(second)}.{millisecond:03d}Z","listener":{quoted(listener)},'
        f'"protocol":{quoted(protocol)},"authority":{quoted(authority)},"method":{quoted(method)},"path":{quoted(path)},'
        f'"cluster":{quoted(cluster)},"endpoint":{quoted(endpoint)},"pod":{quoted(pod)},'
        f'"http_status":{http_status:d},{grpc}"classification":{quoted(classification)},{flagged}'
        f'"duration_ms":{duration_s * 1000:.3f},"headers_ms":{headers_ms},'
        f'"request_bytes":{request_bytes:d},"response_bytes":{response_bytes:d},"attempts":{attempts:d}}}\n'
    )


def note(missing: int) -> bytes:
    """The line that stands where calls are missing."""
    return f'{{"time":"{_date_time(int(time.time()))}.000Z","dropped":{missing}}}\n'.encode()


@lru_cache(maxsize=16)
def _date_time(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))


class AccessLog:
    """Writes the calls of `plane` to the file at `path` ("-" is stdout), from `start` to `close`."""

    def __init__(self, plane: LoggingPlane, path: str) -> None:
        self.path = path
        self._plane = plane
        self._writer = LogWriter(path, note)
        self._taken: Iterator[Entry] = iter(())
        self._told = 0
        self._told_at_s = -TELL_EVERY_S
        self._task: asyncio.Task[None] | None = None

    @property
    def dropped(self) -> int:
        """Calls that should be in the log and are not."""
        return self._writer.missing_lines

    def start(self) -> None:
        """Begins to log the calls that end from now on. Needs a running event loop."""
        self._plane.access_log = []
        self._writer.start()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def reopen(self) -> None:
        """The file has been moved away: what comes goes to a new one of the same name."""
        self._writer.reopen()

    def close(self) -> None:
        """Stops logging and returns at once; what has gathered is still written if the disk takes it."""
        if self._task is None:
            return
        self._task.cancel()
        self._task = None
        self._put([*self._taken, *(self._plane.access_log or ())])
        self._plane.access_log = None
        self._tell()
        self._writer.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(DRAIN_EVERY_S)
            entries, self._plane.access_log = self._plane.access_log or [], []
            self._taken = iter(entries)
            while entries := list(islice(self._taken, SLICE)):
                self._put(entries)
                await asyncio.sleep(0)
            self._tell()

    def _put(self, entries: list[Entry]) -> None:
        if not entries:
            return
        if self._writer.is_full:  # before work is put into what would be thrown away
            self._writer.refuse(len(entries))
            return
        try:
            lines = "".join(map(line, entries))
        except (TypeError, ValueError):
            log.exception("access log: entries that cannot be read")
            self._writer.refuse(len(entries))
            return
        self._writer.write(lines.encode("ascii"))

    def _tell(self) -> None:
        """Says on stderr, now and then, how many calls are missing."""
        dropped = self.dropped
        if dropped != self._told and time.monotonic() - self._told_at_s >= TELL_EVERY_S:
            self._told = dropped
            self._told_at_s = time.monotonic()
            log.warning("access log: %d calls are missing so far in %s", dropped, self.path)
