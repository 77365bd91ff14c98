"""Pages that controllers and sidecars serve on their admin ports, fetched through the API server.

So nothing has to be forwarded, and who may is decided by the cluster (`get` on `pods/proxy`). What is not there is an
`AbsentError`, a cluster that cannot be asked a `ClusterError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from injector.settings import PORTS, SIDECAR
from meshctl.check.facts import ADMIN_PORT, COMPONENT, Key, key_of
from meshctl.check.podstate import is_ready
from meshctl.check.selection import injected
from meshctl.cluster import Cluster, RefusedError
from meshctl.options import AbsentError

NOT_REACHED = (502, 503, 504)


def pod_key(text: str, namespace: str) -> Key:
    """A pod as it is named on the command line, "pod" or "namespace/pod"."""
    before, slash, name = text.rpartition("/")
    return (before, name) if slash else (namespace, name)


async def sidecar_page(cluster: Cluster, pod: Key, page: str) -> str:
    """A page of the sidecar in `pod`. Raises AbsentError and ClusterError."""
    namespace, name = pod
    found = await cluster.find(f"/api/v1/namespaces/{namespace}/pods/{name}")
    if found is None:
        raise AbsentError(f"there is no pod {name} in namespace {namespace}", f"kubectl get pods -n {namespace}")
    if not injected(found):
        raise AbsentError(f"pod {namespace}/{name} has no sidecar", "`meshctl check` says why, if it should have one")
    try:
        return await cluster.pod_page(pod, PORTS.admin_port, page)
    except RefusedError as error:
        if error.status not in NOT_REACHED:
            raise
        raise AbsentError(
            f"the sidecar of pod {namespace}/{name} does not answer: {error}",
            f"kubectl logs -n {namespace} {name} -c {SIDECAR}",
        ) from error


async def controller_answer(cluster: Cluster, namespace: str, page: str, query: Mapping[str, str]) -> Any:
    """What the first ready controller pod that can be reached answers, of its JSON. Raises as the other one.

    An answer of the controller's own that is no success is a RefusedError whose `by_server` is false.
    """
    selector = {"labelSelector": COMPONENT}
    pods = [
        key_of(pod) for pod in await cluster.list_all(f"/api/v1/namespaces/{namespace}/pods", selector) if is_ready(pod)
    ]
    problem = f"there is no ready controller pod in namespace {namespace}"
    for pod in pods:
        try:
            return json.loads(await cluster.pod_page(pod, ADMIN_PORT, page, query))
        except RefusedError as error:
            if error.status not in NOT_REACHED:
                raise
            problem = f"controller pod {pod[1]} does not answer: {error}"
        except ValueError:
            problem = f"what controller pod {pod[1]} answers is not JSON"
    raise AbsentError(problem, "`meshctl check` says why; --controller-namespace names another namespace")
