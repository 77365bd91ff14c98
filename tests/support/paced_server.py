"""An HTTP/1.1 server in a thread whose responses come piece by piece: for what happens while one is under way."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.support.waiting import PATIENCE_S

PIECE = b"0123456789abcdef" * 256


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "PacedServer"

    def do_GET(self) -> None:
        """`/PIECES/SECONDS`: so many pieces, one each so many seconds until `hurry` is set."""
        pieces, pause_s = self.path.strip("/").split("/")
        self.server.began.release()
        self.send_response(200)
        self.send_header("content-length", str(int(pieces) * len(PIECE)))
        self.end_headers()
        for _ in range(int(pieces)):
            self.server.hurry.wait(float(pause_s))
            self.wfile.write(PIECE)

    def log_message(self, *_arguments: object) -> None:
        """Nothing to say."""


class PacedServer(ThreadingHTTPServer):
    """Serves on loopback while it is entered; `began` counts the requests that have arrived, `hurry` ends
    all pauses."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 4096

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.began = threading.Semaphore(0)
        self.hurry = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def wait_for_requests(self, count: int, timeout_s: float = PATIENCE_S) -> None:
        """Returns when `count` more requests have arrived."""
        deadline_s = time.monotonic() + timeout_s
        for number in range(count):
            arrived = self.began.acquire(timeout=max(deadline_s - time.monotonic(), 0))
            assert arrived, f"{number} of {count} requests within {timeout_s:g} s"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
