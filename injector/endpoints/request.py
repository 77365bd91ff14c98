"""What a sidecar says on its stream: a DiscoveryRequest, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from google.protobuf.message import DecodeError

from injector.endpoints.messages import TYPE_URL

LONGEST_LABEL: Final = 63
"""Of a namespace's or a zone's name; what is longer is neither."""


class EndedError(Exception):
    """A stream is ended by us. `reason` is what it is counted under."""

    def __init__(self, code: grpc.StatusCode, reason: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason
        self.text = text


@dataclass(frozen=True, slots=True)
class Node:
    """Who asks; both may be empty."""

    namespace: str
    zone: str


@dataclass(frozen=True, slots=True)
class Request:
    """`nonce` is that of the response it answers, empty if none; `problem` says why that was refused, if it was."""

    names: tuple[str, ...]
    nonce: str
    problem: str | None
    node: Node


def read(data: bytes, most_names: int) -> Request:
    """Raises EndedError if it is no request for endpoints, or one for too many."""
    try:
        message = DiscoveryRequest.FromString(data)
    except DecodeError:
        raise EndedError(grpc.StatusCode.INVALID_ARGUMENT, "invalid", "not a DiscoveryRequest") from None
    if message.type_url not in ("", TYPE_URL):
        raise EndedError(grpc.StatusCode.INVALID_ARGUMENT, "invalid", f"only {TYPE_URL} is served here")
    names = tuple(dict.fromkeys(message.resource_names))
    if len(names) > most_names:
        text = f"{len(names)} names, and {most_names} are the most that a stream may want"
        raise EndedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many_names", text)
    return Request(
        names,
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
        Node(_label(message.node.metadata.fields["namespace"].string_value), _label(message.node.locality.zone)),
    )


def _label(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else ""
