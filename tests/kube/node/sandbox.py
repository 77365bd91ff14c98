"""What the containers of one pod see of the machine: network, files, user and rights, environment.

A container's process is `root.py`, which becomes setpriv, which becomes the command. It may read every file, as the
interpreter and the tree under test may be in a directory that is root's alone; apart from that it has the rights that
its security context gives.
"""

import asyncio
import base64
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.kube.node.client import Client, Json
from tests.kube.node.images import Image
from tests.kube.node.network import NODE_IP, PodNetwork
from tests.support.process import ROOT

DOMAIN = "cluster.local"
API_SERVICE = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
# What container runtimes give.
DEFAULT_RIGHTS = {"chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "setfcap"}
DEFAULT_RIGHTS |= {"net_bind_service", "net_raw", "sys_chroot", "mknod", "audit_write"}
ALL_RIGHTS = DEFAULT_RIGHTS | {"net_admin", "sys_ptrace", "sys_admin"}
READ_ALL = "dac_read_search"
ROOT_SCRIPT = Path(__file__).with_name("root.py")


class Sandbox:
    """Made anew for each pod."""

    def __init__(self, pod: Json, network: PodNetwork, directory: Path) -> None:
        self.pod = pod
        self.network = network
        self._directory = directory
        self._volumes: dict[str, Path] = {}

    async def prepare(self, client: Client) -> None:
        """Makes its files and volumes. Raises what the client raises: a ConfigMap that is not there, say."""
        namespace = self.pod["metadata"]["namespace"]
        search = f"{namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}"
        self._write("resolv.conf", f"search {search}\nnameserver {NODE_IP}\noptions ndots:5\n")
        self._write("hosts", f"127.0.0.1 localhost\n::1 localhost\n{self.network.ip} {self.pod['metadata']['name']}\n")
        for volume in self.pod["spec"].get("volumes", []):
            self._volumes[volume["name"]] = place = self._directory / "volumes" / volume["name"]
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o777)
            for name, text in (await _files(client, self.pod, volume)).items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(text)

    async def start(self, container: Json, image: Image) -> asyncio.subprocess.Process:
        """Starts a container's process, with its output in a file."""
        root = self._directory / f"root-{container['name']}"
        root.mkdir(exist_ok=True)
        context = self._security(container)
        spec = {
            "root": str(root),
            "keep": [str(ROOT), sys.prefix, sys.base_prefix],
            "links": dict(image.links),
            "binds": [*self._own_files(), *self._mounts(container)],
            "read_only": bool(context.get("readOnlyRootFilesystem")),
            "directory": container.get("workingDir") or image.directory,
            "command": [*self._rights(context, image), *_command(container, image)],
        }
        with (self._directory / f"{container['name']}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self.network.namespace.place().prefix,
                sys.executable,
                "-S",
                str(ROOT_SCRIPT),
                json.dumps(spec),
                env=self._environment(container, image),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Whoever wants to run a command beside it must find it in its root.
        root_link = f"/proc/{process.pid}/root"
        while process.returncode is None and os.readlink(root_link) == "/":  # noqa: ASYNC110, PTH115
            await asyncio.sleep(0.005)
        return process

    async def execute(self, container: Json, image: Image, pid: int, command: Sequence[str]) -> int:
        """Runs a command beside a container's process `pid`, as the same user; returns its exit status."""
        inside = ("nsenter", "--target", str(pid), "--mount", "--net", "--root", "--wd")
        with (self._directory / f"{container['name']}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *inside,
                *self._rights(self._security(container), image),
                *command,
                env=self._environment(container, image),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()

    # ---- within ----

    def _write(self, name: str, text: str) -> None:
        (self._directory / name).write_text(text)

    def _own_files(self) -> list[list[Any]]:
        return [[str(self._directory / name), f"/etc/{name}", True] for name in ("resolv.conf", "hosts")]

    def _mounts(self, container: Json) -> list[list[Any]]:
        found = []
        for mount in container.get("volumeMounts", []):
            source = self._volumes[mount["name"]] / mount.get("subPath", "")
            found.append([str(source), mount["mountPath"], bool(mount.get("readOnly"))])
        return found

    def _security(self, container: Json) -> Json:
        of_pod = self.pod["spec"].get("securityContext") or {}
        return {**of_pod, **(container.get("securityContext") or {})}

    def _rights(self, context: Json, image: Image) -> list[str]:
        uid = context.get("runAsUser", image.uid)
        gid = context.get("runAsGroup", uid)
        if context.get("runAsNonRoot") and uid == 0:
            raise ValueError("runAsNonRoot, and the user is root")
        asked = context.get("capabilities") or {}
        drop, add = ({name.lower() for name in asked.get(key, [])} for key in ("drop", "add"))
        kept = set() if "all" in drop else DEFAULT_RIGHTS - drop
        rights = sorted((ALL_RIGHTS if "all" in add else kept | add) | {READ_ALL})
        options = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        if not context.get("privileged"):
            options.append(f"--bounding-set=-all,{','.join(f'+{name}' for name in rights)}")
        options += [f"--{kind}-caps=-all,+{READ_ALL}" for kind in ("inh", "ambient")]
        if context.get("allowPrivilegeEscalation") is False:
            options.append("--no-new-privs")
        return ["setpriv", *options, "--"]

    def _environment(self, container: Json, image: Image) -> dict[str, str]:
        # HOME is what runc gives to a user that it does not know.
        variables = {"HOME": "/", **image.env, "HOSTNAME": self.pod["metadata"]["name"], **API_SERVICE}
        for each in container.get("env", []):
            value = each.get("value", "")
            if source := each.get("valueFrom"):
                value = self._field(source["fieldRef"]["fieldPath"])
            variables[each["name"]] = re.sub(
                r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), value or ""
            )
        return variables

    def _field(self, path: str) -> str:
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        if found := re.fullmatch(r"metadata\.(annotations|labels)\['(.+)'\]", path):
            return str((metadata.get(found[1]) or {}).get(found[2], ""))
        known: dict[str, str] = {
            "metadata.name": metadata["name"],
            "metadata.namespace": metadata["namespace"],
            "metadata.uid": metadata["uid"],
            "spec.nodeName": spec["nodeName"],
            "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
            "status.podIP": self.network.ip,
            "status.podIPs": self.network.ip,
            "status.hostIP": NODE_IP,
        }
        return known[path]


def _command(container: Json, image: Image) -> list[str]:
    if "command" in container:
        return [*container["command"], *container.get("args", [])]
    return [*image.entrypoint, *container.get("args", [])]


async def _files(client: Client, pod: Json, volume: Json) -> Mapping[str, bytes]:
    """What a volume has in it at first."""
    if "projected" in volume:
        found: dict[str, bytes] = {}
        for source in volume["projected"]["sources"]:
            found |= await _files(client, pod, source)
        return found
    if "serviceAccountToken" in volume:
        asked = volume["serviceAccountToken"]
        return {asked["path"]: (await _token(client, pod, asked)).encode()}
    if "downwardAPI" in volume:
        metadata = pod["metadata"]
        known = {"metadata.name": metadata["name"], "metadata.namespace": metadata["namespace"]}
        return {item["path"]: known[item["fieldRef"]["fieldPath"]].encode() for item in volume["downwardAPI"]["items"]}
    for kind, plural, name in (("configMap", "configmaps", "name"), ("secret", "secrets", "secretName")):
        if source := volume.get(kind):
            called = source.get(name) or source["name"]
            return _chosen(source, await _data(client, pod, plural, called))
    if "emptyDir" in volume:
        return {}
    raise ValueError(f"a volume that this node does not know: {volume}")


async def _token(client: Client, pod: Json, asked: Json) -> str:
    metadata, spec = pod["metadata"], pod["spec"]
    account = spec.get("serviceAccountName", "default")
    request: Json = {
        "audiences": [asked["audience"]] if asked.get("audience") else [],
        "expirationSeconds": asked.get("expirationSeconds", 3600),
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]},
    }
    path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
    return str((await client.request("POST", path, {"spec": request}))["status"]["token"])


async def _data(client: Client, pod: Json, plural: str, name: str) -> dict[str, bytes]:
    item = await client.request("GET", f"/api/v1/namespaces/{pod['metadata']['namespace']}/{plural}/{name}")
    data = item.get("data") or {}
    if plural == "secrets":
        return {key: base64.b64decode(value) for key, value in data.items()}
    return {key: value.encode() for key, value in data.items()}


def _chosen(source: Json, data: Mapping[str, bytes]) -> dict[str, bytes]:
    if items := source.get("items"):
        return {item["path"]: data[item["key"]] for item in items}
    return dict(data)
