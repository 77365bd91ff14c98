"""The admission webhook: POST /inject over TLS 1.2 or newer, AdmissionReview in and out.

Owns the socket, what a request must be (413, 415, 400 and so on say what it is not), and the way from a pod to its
answer. A pod is never refused, and nothing here is a 5xx: where there is a fault of ours the pod goes on as it is, with
a warning. Certificates, what namespaces say and where events go are handed in.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from injector import admission
from injector.admission import Review, ReviewError
from injector.config import InjectionConfig
from injector.events import Events
from injector.metrics import Metrics
from injector.namespaces import Namespaces
from injector.patch import injection
from injector.report import Outcome, Reason, left
from proxy.address import SocketAddress
from proxy.bound import bound, place

log = logging.getLogger(__name__)

PATH: Final = "/inject"
MOST_BYTES: Final = 4 * 2**20  # the API server takes objects of at most 3 MiB
MOST_BYTES_AT_ONCE: Final = 2 * MOST_BYTES  # of all bodies; as objects, JSON is up to thirty times as large
BODY_S: Final = 4.0
STOP_GRACE_S: Final = 5.0
# API servers keep a connection for 90 s; one that we close as they send on it is a pod without a sidecar.
KEEP_ALIVE_S: Final = 180.0


class Webhook:
    """Answers on one address from `start` to `stop`."""

    def __init__(
        self,
        address: SocketAddress,
        door: ssl.SSLContext,
        config: InjectionConfig,
        namespaces: Namespaces,
        events: Events,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._door = door
        self._settings = config.settings()
        self._by_default = config.enabled_by_default
        self._namespaces = namespaces
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self._retires = False
        self._bytes = 0  # of the bodies that are being read or answered
        self.address = address

    async def start(self) -> None:
        """Binds and listens; `address` is then the real one. Raises OSError."""
        paths = web.Application(client_max_size=MOST_BYTES)
        paths.router.add_post(PATH, self._answer)
        wire = bound(self.address)
        self.address = place(wire)
        self._runner = web.AppRunner(
            paths, access_log=None, shutdown_timeout=STOP_GRACE_S, keepalive_timeout=KEEP_ALIVE_S
        )
        await self._runner.setup()
        await web.SockSite(self._runner, wire, ssl_context=self._door, backlog=1024).start()

    def retire(self) -> None:
        """From now on each connection ends with its next answer, as API servers would use it until we close it."""
        self._retires = True

    async def stop(self) -> None:
        """Accepts no more; requests on their way have STOP_GRACE_S."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            with self._room(request):
                body = await _body(request)
                began_s = self._clock()
                review = admission.read(body)
                answer = await self._reviewed(review)
        except ReviewError as error:
            self._metrics.admission_refusals.labels(str(error.status)).inc()
            return web.Response(text=f"{error}\n", status=error.status)
        self._metrics.admission_s.observe(self._clock() - began_s)
        response = web.Response(body=answer, content_type="application/json")
        if self._retires:
            response.force_close()
        return response

    @contextmanager
    def _room(self, request: web.Request) -> Iterator[None]:
        """Memory for what a request may become. Raises ReviewError."""
        length = request.content_length
        needed = MOST_BYTES if length is None or "Content-Encoding" in request.headers else min(length, MOST_BYTES)
        if self._bytes + needed > MOST_BYTES_AT_ONCE:
            raise ReviewError(429, f"more than {MOST_BYTES_AT_ONCE} bytes of requests at once")
        self._bytes += needed
        try:
            yield
        finally:
            self._bytes -= needed

    async def _reviewed(self, review: Review) -> bytes:
        try:
            return await self._decided(review)
        except Exception:
            # Whatever a pod may hold: it must not be kept from running.
            log.exception("a fault while looking at a pod in %r", review.namespace)
            self._metrics.faults.inc()
            return admission.answer(review.uid, warnings=["a fault: this pod was not looked at"])

    async def _decided(self, review: Review) -> bytes:
        if review.pod is None:
            self._count(left(Reason.UNSUPPORTED_KIND))
            said = f"it was asked about {review.what}, and only looks at pods that are made"
            return admission.answer(review.uid, warnings=[said])
        outcome, unknown = await self._outcome(review)
        self._count(outcome)
        if not review.is_dry_run:
            self._events.tell(review.pod, review.namespace, outcome)
        log.debug("a pod in %r: %s", review.namespace, outcome.report)
        return admission.answer(review.uid, outcome.patch, (*unknown, *admission.warnings_of(outcome)))

    async def _outcome(self, review: Review) -> tuple[Outcome, tuple[str, ...]]:
        """What becomes of the pod, and what could not be found out."""
        assert review.pod is not None
        if not self._namespaces.covers(review.namespace):
            return left(Reason.NOT_ENABLED, f"namespace {review.namespace} is none of this controller's"), ()
        said = await self._namespaces.annotations(review.namespace)
        outcome = injection(review.pod, self._settings, said or {}, by_default=self._by_default)
        unknown = () if said is not None else (f"the annotations of namespace {review.namespace} could not be had",)
        return outcome, unknown

    def _count(self, outcome: Outcome) -> None:
        reason = outcome.report.reason
        self._metrics.injections.labels("injected" if reason is None else "not_injected", reason or "").inc()


async def _body(request: web.Request) -> bytes:
    """Raises ReviewError."""
    if request.content_type != "application/json":
        raise ReviewError(415, f"application/json is wanted, not {request.content_type[:100]!r}")
    too_large = ReviewError(413, f"more than {MOST_BYTES} bytes")
    if (request.content_length or 0) > MOST_BYTES:
        raise too_large
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large from None
    except TimeoutError:
        raise ReviewError(408, f"the body did not come within {BODY_S:g} s") from None
