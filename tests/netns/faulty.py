"""An application that fails as a test tells it to: a fault proxy where the application of a meshed pod would be."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.netns.pod import Pod
from tests.support.fault_proxy import FaultProxy


@contextmanager
def fault_proxy(pod: Pod, port: int, target_port: int) -> Iterator[FaultProxy]:
    """A fault proxy from `port` to `target_port` on the loopback of a pod."""
    with ExitStack() as running:
        # Its thread, which makes all its sockets, belongs to the namespace that it is started in.
        with pod.namespace.entered():
            proxy = running.enter_context(FaultProxy(f"127.0.0.1:{target_port}", f"127.0.0.1:{port}"))
        yield proxy


def repair(proxy: FaultProxy) -> None:
    """Ends what a test left broken, so that the next one begins with whole connections."""
    proxy.up.latency_s = proxy.down.latency_s = 0
    proxy.release()
    proxy.unmute()
    proxy.accept()
