"""What looks like an attack and is none: keepalive, cancels and many small frames of clients that mean well."""

import time
from itertools import count

from tests.attack import frames
from tests.attack.peer import Attacker
from tests.attack.scene import Scene

RUN_S = 3
# A PING every 10 s is a tenth of a frame a second; for a bounded test, as fast as the budget of
# proxy/dataplane/frames.pxd lets anybody go for ever (100 frames a second), less what a busy machine bunches up.
PINGS_PER_S = 80
CANCELS_PER_S = 30
# libnghttp2 ends a connection that is owed more than 1,000 ACKs, and a burst may arrive in one read.
BURST = 900


def test_keepalive_pings_on_a_quiet_connection(attacked_proxy: Scene) -> None:
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as client:
        sent = 0
        begun_s = time.monotonic()
        while (elapsed_s := time.monotonic() - begun_s) < RUN_S:
            while sent < elapsed_s * PINGS_PER_S:
                client.send(frames.ping())
                sent += 1
            client.read_for(0.02)
        client.read_until(lambda: client.frames[frames.PING] == sent)
        assert not client.cut and not client.goaways
        assert client.frames[frames.PING] == sent


def test_a_burst_of_pings_within_the_budget(attacked_proxy: Scene) -> None:
    """What a client that was asleep for long may send at once."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as client:
        client.send(frames.ping() * BURST)
        client.read_until(lambda: client.frames[frames.PING] == BURST)
        assert not client.cut
        assert client.frames[frames.PING] == BURST


def test_30_cancels_a_second(attacked_proxy: Scene) -> None:
    """Also when nothing else happens on the connection, so that no good call earns anything."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as client:
        streams = count(1, 2)
        cancelled = 0
        begun_s = time.monotonic()
        while (elapsed_s := time.monotonic() - begun_s) < RUN_S:
            while cancelled < elapsed_s * CANCELS_PER_S:
                stream = next(streams)
                client.send(frames.headers(stream, frames.request(frames.CHAT)) + frames.reset(stream))
                cancelled += 1
            client.read_for(0.02)
        client.send(frames.call(last := next(streams)))
        assert client.wait_for(last)
        assert not client.cut and not client.goaways


def test_many_small_messages(attacked_proxy: Scene) -> None:
    """A chatty stream, with the window updates and pings that libraries answer to data with."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as client:
        client.send(frames.headers(1, frames.request(frames.CHAT)))
        for _ in range(200):
            client.send(frames.data(1, frames.message(b"x")) * 20)
            client.send(frames.window_update(0, 120) + frames.window_update(1, 120) + frames.ping())
            client.read_for(0.002)
        client.send(frames.data(1, b"", frames.END_STREAM))
        assert client.wait_for(1)
        assert not client.cut
