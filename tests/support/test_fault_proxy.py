"""Each fault of the fault proxy, as a raw client in front of it and a raw server behind it see it."""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fault_proxy import Cut, FaultProxy
from tests.support.ports import accepts, free_address, split_address
from tests.support.waiting import wait_until

QUIET_S = 0.15  # so long nothing comes, where nothing is to come
TIMEOUT_S = 10  # a blocked socket is a failed test


@dataclass
class Ends:
    """A server behind a proxy; `connect` gives the client's and the server's end of a new connection through it."""

    proxy: FaultProxy
    listener: socket.socket
    sockets: contextlib.ExitStack

    def dial(self) -> socket.socket:
        return self.sockets.enter_context(socket.create_connection(split_address(self.proxy.address), TIMEOUT_S))

    def connect(self) -> tuple[socket.socket, socket.socket]:
        client = self.dial()
        server = self.sockets.enter_context(self.listener.accept()[0])
        server.settimeout(TIMEOUT_S)
        return client, server


@pytest.fixture
def ends() -> Iterator[Ends]:
    address = free_address()
    with (
        socket.create_server(split_address(address)) as listener,
        FaultProxy(address) as proxy,
        contextlib.ExitStack() as sockets,
    ):
        listener.settimeout(TIMEOUT_S)
        yield Ends(proxy, listener, sockets)


def read(end: socket.socket, count: int) -> bytes:
    """Exactly so many bytes."""
    data = bytearray()
    while len(data) < count:
        piece = end.recv(count - len(data))
        assert piece, f"closed after {bytes(data)!r}"
        data += piece
    return bytes(data)


def quiet(end: socket.socket) -> bool:
    return not select.select([end], [], [], QUIET_S)[0]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def assert_cut(end: socket.socket, how: Cut) -> None:
    """The next thing that this end hears is the cut."""
    if how is Cut.FIN:
        assert end.recv(1) == b""
    else:
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def assert_passes(ends: Ends) -> None:
    client, server = ends.connect()
    client.sendall(b"request")
    assert read(server, 7) == b"request"
    server.sendall(b"response")
    assert read(client, 8) == b"response"


def test_without_faults_bytes_and_ends_pass_both_ways(ends: Ends) -> None:
    client, server = ends.connect()
    client.sendall(b"request")
    client.shutdown(socket.SHUT_WR)
    assert read(server, 7) == b"request"
    assert server.recv(1) == b""
    server.sendall(b"response after the end of the request")
    server.close()
    assert read(client, 37).endswith(b"request")
    assert client.recv(1) == b""
    wait_until(lambda: ends.proxy.connections == 0, "the end of the connection")
    assert (ends.proxy.up.passed_bytes, ends.proxy.down.passed_bytes, ends.proxy.accepted) == (7, 37, 1)


def test_a_reset_of_one_side_resets_the_other(ends: Ends) -> None:
    client, server = ends.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert_cut(server, Cut.RST)


def test_large_transfers_arrive_whole(ends: Ends) -> None:
    client, server = ends.connect()
    sent = os.urandom(1_000_000)
    sending = threading.Thread(target=client.sendall, args=(sent,))
    sending.start()
    assert read(server, len(sent)) == sent
    sending.join()


def test_latency_delays_one_way_and_does_not_limit_how_much_is_on_its_way(ends: Ends) -> None:
    ends.proxy.up.latency_s = 0.3
    client, server = ends.connect()
    begun_s = time.monotonic()
    for _ in range(20):
        client.sendall(b"x")
        time.sleep(0.005)
    server.sendall(b"other way")
    assert read(client, 9) == b"other way"
    assert not select.select([server], [], [], 0)[0]
    read(server, 1)
    assert time.monotonic() - begun_s >= 0.29
    read(server, 19)
    assert time.monotonic() - begun_s < 20 * 0.3 / 2


def test_bandwidth_limits_one_way(ends: Ends) -> None:
    ends.proxy.down.bytes_per_s = 100_000
    client, server = ends.connect()
    begun_s = time.monotonic()
    server.sendall(bytes(40_000))
    client.sendall(bytes(40_000))
    read(server, 40_000)
    read(client, 40_000)
    assert time.monotonic() - begun_s >= 0.35


def test_pieces_arrive_one_by_one(ends: Ends) -> None:
    ends.proxy.up.piece_bytes = 1
    client, server = ends.connect()
    sent = bytes(range(200))
    client.sendall(sent)
    received = [server.recv(1000)]
    while sum(map(len, received)) < len(sent):
        received.append(server.recv(1000))
    assert b"".join(received) == sent
    assert len(received) > 20


@pytest.mark.parametrize("how", Cut)
def test_cut_ends_every_connection_on_both_sides(ends: Ends, how: Cut) -> None:
    pairs = [ends.connect() for _ in range(3)]
    wait_until(lambda: ends.proxy.connections == 3, "three connections")
    ends.proxy.cut(how)
    assert ends.proxy.connections == 0
    for client, server in pairs:
        assert_cut(client, how)
        assert_cut(server, how)
    assert_passes(ends)


def test_cut_with_fin_stays_a_fin_while_the_peer_goes_on_sending(ends: Ends) -> None:
    client, server = ends.connect()
    ends.proxy.hold()
    client.sendall(bytes(100_000))
    ends.proxy.release()
    ends.proxy.cut(Cut.FIN)
    client.sendall(bytes(100_000))
    assert_cut(client, Cut.FIN)
    while server.recv(2**16):
        pass


@pytest.mark.parametrize("how", Cut)
def test_cut_after_so_many_bytes_of_a_request(ends: Ends, how: Cut) -> None:
    client, server = ends.connect()
    ends.proxy.up.cut_after(10, how)
    client.sendall(b"0123")
    assert read(server, 4) == b"0123"
    client.sendall(b"456789 never seen")
    assert read(server, 6) == b"456789"
    assert_cut(server, how)
    assert_cut(client, how)
    assert_passes(ends)  # once


@pytest.mark.parametrize("how", Cut)
def test_cut_in_the_middle_of_a_response(ends: Ends, how: Cut) -> None:
    client, server = ends.connect()
    ends.proxy.down.cut_after(5, how)
    client.sendall(b"a request is not counted")
    read(server, 24)
    server.sendall(b"response")
    assert read(client, 5) == b"respo"
    assert_cut(client, how)
    assert_cut(server, how)


def test_cut_before_the_first_byte(ends: Ends) -> None:
    client, server = ends.connect()
    ends.proxy.down.cut_after(0, Cut.RST)
    server.sendall(b"response")
    assert_cut(client, Cut.RST)


def test_half_close_ends_one_direction_only(ends: Ends) -> None:
    client, server = ends.connect()
    client.sendall(b"request")
    read(server, 7)
    ends.proxy.half_close(ends.proxy.up)
    assert server.recv(1) == b""
    server.sendall(b"response")
    assert read(client, 8) == b"response"
    assert ends.proxy.connections == 1
    server.close()
    assert client.recv(1) == b""


def test_held_peers_are_neither_read_nor_closed_until_released(ends: Ends) -> None:
    client, server = ends.connect()
    ends.proxy.hold()
    client.sendall(b"request")
    server.sendall(b"response")
    client.shutdown(socket.SHUT_WR)
    assert quiet(server)
    assert quiet(client)
    ends.proxy.release()
    assert read(server, 7) == b"request"
    assert server.recv(1) == b""
    assert read(client, 8) == b"response"


def test_held_peers_stop_the_sender_in_the_end(ends: Ends) -> None:
    client, _ = ends.connect()
    ends.proxy.hold()
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(64 * 2**20))


def test_mute_accepts_and_never_answers(ends: Ends) -> None:
    ends.proxy.mute()
    client = ends.dial()
    client.sendall(b"request")
    assert quiet(client)
    assert quiet(ends.listener)
    ends.proxy.unmute()
    assert_passes(ends)
    ends.proxy.cut(Cut.RST)
    assert_cut(client, Cut.RST)


def test_refuse_closes_the_port_and_leaves_what_is_there(ends: Ends) -> None:
    client, server = ends.connect()
    ends.proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        ends.dial()
    client.sendall(b"request")
    assert read(server, 7) == b"request"
    ends.proxy.accept()
    assert_passes(ends)


def test_ignore_answers_no_syn_and_leaves_what_is_there(ends: Ends) -> None:
    client, server = ends.connect()
    ends.proxy.ignore()
    with pytest.raises(TimeoutError):
        socket.create_connection(split_address(ends.proxy.address), timeout=0.5)
    client.sendall(b"request")
    assert read(server, 7) == b"request"
    ends.proxy.accept()
    assert_passes(ends)


def test_a_target_that_is_not_there_ends_the_connection() -> None:
    with FaultProxy(free_address()) as proxy:
        # The reset may come before `connect` has returned.
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection(split_address(proxy.address), TIMEOUT_S) as client,
        ):
            client.recv(1)
        wait_until(lambda: proxy.connections == 0, "the end of the connection")


def test_nothing_is_left_behind() -> None:
    descriptors, threads = open_descriptors(), threading.active_count()
    target = free_address()
    with socket.create_server(split_address(target)) as listener, FaultProxy(target) as proxy:
        with socket.create_connection(split_address(proxy.address)), listener.accept()[0]:
            proxy.hold()
            proxy.mute()
            with socket.create_connection(split_address(proxy.address)):
                wait_until(lambda: proxy.accepted == 2, "both connections")
                proxy.cut(Cut.FIN)
                proxy.ignore()
        address = proxy.address
    assert not accepts(address)
    assert threading.active_count() == threads
    assert open_descriptors() == descriptors
