"""What a client observed of one call, in a form that can be compared with the same call made another way."""

from dataclasses import dataclass, replace

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call as its caller saw it.

    For each response message: how many bytes of payload it had, and whether it came compressed.
    """

    method: str
    status: str
    details: str
    response_sizes: tuple[int, ...]
    responses_compressed: tuple[bool, ...]
    initial_metadata: Metadata
    trailing_metadata: Metadata

    def without_deadline_maker(self) -> "CallRecord":
        """The record without what tells who noticed an expired deadline first.

        Client, proxy and server all keep the deadline, and whoever is first words the status: grpcio's own
        `details`, or the proxy's with its `x-mesh-error`.
        """
        assert self.status == "DEADLINE_EXCEEDED"
        trailing = tuple(field for field in self.trailing_metadata if field[0] != "x-mesh-error")
        return replace(self, details="", trailing_metadata=trailing)
