"""Cuts a template into its text and the tokens of its actions, as Go's text/template does (`{{- trimming -}}` too).

Knows no keywords and no grammar. Every token knows its line, and what is not known is a `ChartError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_ACTION: Final = re.compile(
    r"\{\{(?P<trim>-\s)?(?P<body>(?:\"(?:[^\"\\\n]|\\.)*\"|`[^`]*`|/\*.*?\*/|[^\"`])*?)\}\}", re.DOTALL
)
_SPACE: Final = " \t\r\n"
_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_ENDS: Final = r"(?=[\s|)]|$)"
_TOKEN: Final = re.compile(
    rf"""(?P<space>\s+)
    |(?P<text>"(?:[^"\\\n]|\\["\\nt])*"|`[^`]*`){_ENDS}
    |(?P<number>0|[1-9][0-9]{{0,8}}){_ENDS}
    |(?P<chain>\$?(?:\.[A-Za-z]\w*)+|\$|\.){_ENDS}
    |(?P<word>[A-Za-z]\w*){_ENDS}
    |(?P<sign>[|(]|\)(?!\.))""",
    re.VERBOSE | re.ASCII,
)
_ESCAPES: Final = {'\\"': '"', "\\\\": "\\", "\\n": "\n", "\\t": "\t"}


class ChartError(Exception):
    """The chart cannot be rendered; the message begins with file and line."""

    def __init__(self, place: Place, problem: str) -> None:
        super().__init__(f"{place.file}:{place.line}: {problem}")


@dataclass(frozen=True, slots=True)
class Place:
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is text, number, chain, word or sign; the value of a text is what it says, without quotes."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands between actions (`tokens` is None), or an action."""

    place: Place
    text: str
    tokens: tuple[Token, ...] | None = None


def pieces(file: str, template: str) -> Iterator[Piece]:
    """The texts and actions of a template; comments are left out. Raises `ChartError`."""
    at, trims_next = 0, False
    for found in _ACTION.finditer(template):
        text = template[at : found.start()]
        yield from _text(file, template, at, text.lstrip(_SPACE) if trims_next else text, trims=bool(found["trim"]))
        place = Place(file, template.count("\n", 0, found.start()) + 1)
        body = found["body"]
        trims_next = bool(re.search(r"\s-$", body))
        if trims_next:
            body = body[:-1]
        if not _COMMENT.fullmatch(body.strip()):
            yield Piece(place, "", tuple(_tokens(place, body)))
        at = found.end()
    rest = template[at:]
    yield from _text(file, template, at, rest.lstrip(_SPACE) if trims_next else rest, trims=False)


def _text(file: str, template: str, at: int, text: str, *, trims: bool) -> Iterator[Piece]:
    if "{{" in text:
        opened = template.index("{{", at)
        raise ChartError(Place(file, template.count("\n", 0, opened) + 1), "an action that is not closed")
    if trims:
        text = text.rstrip(_SPACE)
    if text:
        yield Piece(Place(file, template.count("\n", 0, at) + 1), text)


def _tokens(place: Place, body: str) -> Iterator[Token]:
    at = 0
    while at < len(body):
        found = _TOKEN.match(body, at)
        if found is None:
            raise ChartError(place, f"not understood, or outside of what is supported: {body[at:].strip()[:40]}")
        at = found.end()
        kind = found.lastgroup or ""
        if kind == "text":
            yield Token(kind, _unquoted(found[0]))
        elif kind != "space":
            yield Token(kind, found[0])


def _unquoted(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    return re.sub(r"\\.", lambda escape: _ESCAPES[escape[0]], text[1:-1])
