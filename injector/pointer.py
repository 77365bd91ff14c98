"""JSON Pointers (RFC 6901), as the operations of a JSON Patch name places."""


def pointer(*path: str | int) -> str:
    """The pointer to what these words lead to."""
    return "".join("/" + str(word).replace("~", "~0").replace("/", "~1") for word in path)
