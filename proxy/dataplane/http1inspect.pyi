from typing import Any, Literal

_Persistence = Literal["", "close", "keep-alive"]

def inspect_request(
    data: bytes, persistence: _Persistence = "", max_fields: int = 100, max_bytes: int = 65536
) -> dict[str, Any]: ...
def inspect_response(
    data: bytes,
    to_head: bool = False,
    to_connect: bool = False,
    persistence: _Persistence = "",
    max_fields: int = 100,
    max_bytes: int = 65536,
) -> dict[str, Any]: ...
def inspect_head_end(pieces: list[bytes]) -> int: ...
def inspect_empty_lines(data: bytes) -> int: ...
def inspect_chunks(pieces: list[bytes]) -> tuple[int, int, bool, str | None]: ...
