"""The bot: votes for emoji through the web front, at a steady rate.

Several workers, each on a connection of its own, as so many people would. Ends on SIGTERM with a line that
says how the votes went, and with status 1 when one failed that was not meant to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
from collections import Counter
from typing import Any
from urllib.parse import quote

from serving import stop_signal
from settings import Options

log = logging.getLogger("bot")


class WebConnection:
    """One HTTP/1.1 connection to the web front; one request at a time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._host, _, self._port = address.rpartition(":")

    async def open(self) -> None:
        """Connect. Raises OSError."""
        self._reader, self._writer = await asyncio.open_connection(self._host.strip("[]"), int(self._port))

    async def request(self, method: str, target: str) -> tuple[int, Any]:
        """Return the status, and the body's JSON; of anything else, which a proxy may answer, {"error": the text}.

        Raises OSError or EOFError when the connection breaks.
        """
        self._writer.write(f"{method} {target} HTTP/1.1\r\nhost: {self._address}\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *fields = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        body = await self._reader.readexactly(int(headers["content-length"]))
        try:
            answer = json.loads(body)
        except ValueError:
            answer = {"error": body.decode(errors="replace").strip()}
        return int(status_line.split(" ")[1]), answer

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


async def _first_choices(address: str, retry_s: float) -> list[str]:
    """Return the shortcodes there are; asks again until the web front answers."""
    while True:
        web = WebConnection(address)
        try:
            await web.open()
            status, listed = await web.request("GET", "/api/emoji")
            web.close()
            if status == 200:
                return [shortcode for shortcode, _ in listed]
            log.info("the web front is not ready: %s", listed)
        except (OSError, EOFError) as error:
            log.info("the web front is not there: %s", error)
        await asyncio.sleep(retry_s)


class Worker:
    """Votes on one connection, at random moments that make up the wanted rate."""

    def __init__(self, address: str, votes_per_s: float, outcomes: Counter[str]) -> None:
        self._address = address
        self._votes_per_s = votes_per_s
        self._outcomes = outcomes
        self.stopping = False

    async def run(self, choices: list[str]) -> None:
        """Vote until `stopping`; a broken connection counts as a failed vote and is opened again."""
        loop = asyncio.get_running_loop()
        while not self.stopping:
            web = WebConnection(self._address)
            try:
                await web.open()
                due_s = loop.time()
                while not self.stopping:
                    # Counted from the last planned moment, so that slow answers do not lower the rate; of a
                    # standstill, at most a second is caught up with.
                    due_s = max(due_s + random.expovariate(self._votes_per_s), loop.time() - 1)
                    await asyncio.sleep(due_s - loop.time())
                    self._outcomes[await self._vote(web, random.choice(choices))] += 1
                web.close()
            except (OSError, EOFError) as error:
                log.warning("connection to the web front broke: %s", error)
                self._outcomes["failed"] += 1
                await asyncio.sleep(0.1)

    async def _vote(self, web: WebConnection, shortcode: str) -> str:
        status, answer = await web.request("POST", f"/api/vote?choice={quote(shortcode)}")
        if status == 200:
            return "accepted"
        if answer.get("intended"):
            return "refused"
        log.warning("vote for %s failed: %s", shortcode, answer)
        return "failed"


async def main() -> int:
    """Vote until SIGTERM; return 1 when a vote failed that was not meant to, else 0."""
    options = Options("Bot of the demo: votes through the web front.")
    options.add("web-address", "127.0.0.1:8080", "host:port of the web front")
    options.add("votes-per-s", 200.0, "votes per second, over all workers")
    options.add("workers", 16, "how many connections vote")
    args = options.parse()
    stopped = asyncio.create_task(stop_signal().wait())
    listing = asyncio.create_task(_first_choices(args.web_address, retry_s=0.5))
    await asyncio.wait({stopped, listing}, return_when=asyncio.FIRST_COMPLETED)
    if stopped.done():
        return 0
    outcomes: Counter[str] = Counter()
    workers = [Worker(args.web_address, args.votes_per_s / args.workers, outcomes) for _ in range(args.workers)]
    running = [asyncio.create_task(worker.run(listing.result())) for worker in workers]
    await stopped
    for worker in workers:
        worker.stopping = True
    await asyncio.gather(*running)
    counts = ", ".join(f"{outcomes[name]} {name}" for name in ("accepted", "refused", "failed"))
    log.info("votes: %s", counts)
    return 1 if outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
