"""The process of a node: `python -m tests.kube.node NAMESPACE KUBECONFIG DIRECTORY`. Ends on SIGTERM, with its pods.

NAMESPACE is the node's network namespace, which it enters before anything else, so that each of its threads and
children is in it. It also ends when the process that started it does.
"""

import asyncio
import ctypes
import logging
import signal
import ssl
import sys
from pathlib import Path

import yaml

from tests.kube.node.client import Client, Mirror
from tests.kube.node.dns import ClusterDns
from tests.kube.node.kubelet import Kubelet
from tests.kube.node.network import NODE_IP
from tests.kube.node.services import ServiceAddresses
from tests.netns.namespace import enter

PR_SET_PDEATHSIG = 1  # sys/prctl.h
NAME = "node"


async def main(kubeconfig: Path, directory: Path) -> None:
    """Runs the node until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    client = _client(kubeconfig)
    pods = Mirror(client, "/api/v1/pods")
    services = Mirror(client, "/api/v1/services")
    slices = Mirror(client, "/apis/discovery.k8s.io/v1/endpointslices")
    kubelet = Kubelet(client, NAME, pods, directory)
    addresses = ServiceAddresses(services, slices)
    works = (kubelet, addresses, ClusterDns(services, slices, NODE_IP), services, slices, pods)
    tasks = [asyncio.create_task(work.run()) for work in works]
    # Ready is a node whose pods reach the Services that were there before it.
    tasks.append(asyncio.create_task(kubelet.live(addresses.applied)))
    stopping = asyncio.create_task(stopped.wait())
    try:
        done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for each in (*tasks, stopping):
            each.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
        await client.close()


def _client(kubeconfig: Path) -> Client:
    written = yaml.safe_load(kubeconfig.read_text())
    cluster, user = written["clusters"][0]["cluster"], written["users"][0]["user"]
    tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
    tls.load_cert_chain(user["client-certificate"], user["client-key"])
    return Client(cluster["server"], tls)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    enter(sys.argv[1])
    asyncio.run(main(Path(sys.argv[2]), Path(sys.argv[3])))
