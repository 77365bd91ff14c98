"""Lays a JSON Patch over the text of a YAML document, so that every other line stays as it was.

Works on lines, by the positions that the parser gives its nodes: what is added comes directly below the key of the
mapping or list it goes into (a list's last item, below the last line of that list), what is removed goes with its
lines. A member of a mapping that is removed just before another one is added to it leaves it its place. That needs
block style at the places that change. Where it is not so, `NotBlockStyleError` is raised, and the document has to be
written anew (`meshctl.manifests`), which is also the one to check the result.

Expects patches as `injector.patch` makes them: each index is that of the unpatched document.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from injector.report import Operation

UNBROKEN: Final = 10**6  # a width at which no line is folded

_COMMENT: Final = re.compile(r"[ \t]+#[^\r\n]*").search


class NotBlockStyleError(Exception):
    """The lines of what is to change cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`count` lines from `line` on give way to `text`."""

    line: int
    text: str
    count: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A mapping or list in block style: the line where its first member may begin, and its column."""

    node: MappingNode | SequenceNode
    first: int
    column: int


def spliced(text: str, root: Node, patch: Sequence[Operation]) -> str:
    """`text`, whose tree is `root`, after the patch. Raises `NotBlockStyleError`."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    ending = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    edits = _edits(root, patch, lines)
    # From the bottom up, so that lines above keep their numbers.
    for edit in sorted(edits, key=lambda edit: -edit.line):
        lines[edit.line : edit.line + edit.count] = edit.text.replace("\n", ending).splitlines(keepends=True)
    return "".join(lines)


def _edits(root: Node, patch: Sequence[Operation], lines: Sequence[str]) -> list[Edit]:
    """One for each operation, but one for a member that is removed and the one that is then added beside it."""
    edits: list[Edit] = []
    waiting = list(reversed(patch))
    while waiting:
        operation = waiting.pop()
        if waiting and operation["op"] == "remove" and waiting[-1]["op"] == "add":
            edit = _exchange(root, operation, waiting.pop(), lines)
            if edit not in edits:  # an alias stands for what has been changed already
                edits.append(edit)
        else:
            edits.append(_edit(root, operation, lines))
    return edits


def _exchange(root: Node, removed: Operation, added: Operation, lines: Sequence[str]) -> Edit:
    """The new member, a mapping, in the lines of the old one, in its style and with the comments at its ends."""
    (*way, old), (*new_way, new) = _words(removed), _words(added)
    node = root
    for word in way:
        node = node.value[int(word)] if isinstance(node, SequenceNode) else _member(node, word)[1]
    key, value = _member(node, old)
    first, last, column = key.start_mark.line, _last_line(value), key.start_mark.column
    if not isinstance(value, MappingNode) or way != new_way or last < first or lines[first][:column].strip():
        raise NotBlockStyleError
    if value.flow_style:
        begin, text = " ", _dumped(added["value"], flow=True)
    else:
        begin = _comment(lines[first]) + "\n"
        text = _indented(added["value"], value.start_mark.column)
    return Edit(first, f"{' ' * column}{new}:{begin}{text.rstrip()}{_comment(lines[last])}\n", last - first + 1)


def _edit(root: Node, operation: Operation, lines: Sequence[str]) -> Edit:
    *way, name = _words(operation)
    place = _place(root, way, lines)
    match operation["op"]:
        case "add" if isinstance(place.node, MappingNode):
            if name in _keys(place.node):
                raise NotBlockStyleError
            return Edit(place.first, _indented({name: operation["value"]}, place.column))
        case "add" if name in ("0", "-"):
            return Edit(
                place.first if name == "0" else _last_line(place.node) + 1,
                _indented([operation["value"]], place.column),
            )
        case "remove":
            return _removal(place, name)
        case _:
            raise NotBlockStyleError


def _removal(place: Place, name: str) -> Edit:
    if isinstance(place.node, MappingNode):
        start, value = _member(place.node, name)
    else:
        value = place.node.value[int(name)]
        start = value
    first, last = start.start_mark.line, _last_line(value)
    if last < first or len(place.node.value) == 1:
        raise NotBlockStyleError
    return Edit(first, "", last - first + 1)


def _place(root: Node, way: Sequence[str], lines: Sequence[str]) -> Place:
    """The collection at the end of the way."""
    node, first = root, root.start_mark.line
    for word in way:
        if isinstance(node, SequenceNode):
            node = node.value[int(word)]
            first = node.start_mark.line
        else:
            key, node = _member(node, word)
            first = key.start_mark.line + 1
    if not isinstance(node, (MappingNode, SequenceNode)) or node.flow_style or not node.value:
        raise NotBlockStyleError
    column = node.start_mark.column
    before = lines[node.start_mark.line][:column]
    if before.strip() or node.start_mark.line < first or node.anchor:
        raise NotBlockStyleError
    return Place(node, first, column)


def _words(operation: Operation) -> Iterator[str]:
    return (word.replace("~1", "/").replace("~0", "~") for word in operation["path"].split("/")[1:])


def _member(node: Node, name: str) -> tuple[ScalarNode, Node]:
    if isinstance(node, MappingNode) and not node.flow_style:
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == name:
                return key, value
    raise NotBlockStyleError


def _keys(node: MappingNode) -> set[str]:
    return {key.value for key, _ in node.value if isinstance(key, ScalarNode)}


def _last_line(node: Node) -> int:
    """The last line of a node. A block collection's own mark is at what follows it, after comments."""
    while isinstance(node, (MappingNode, SequenceNode)) and not node.flow_style and node.value:
        last = node.value[-1]
        key, node = last if isinstance(node, MappingNode) else (last, last)
        if node.end_mark.line < key.end_mark.line:  # an alias: the mark is its anchor's
            return int(key.end_mark.line)
    mark = node.end_mark
    # A literal ends at the beginning of the line after it.
    return int(mark.line - 1 if mark.column == 0 and mark.line > node.start_mark.line else mark.line)


def _indented(value: Any, column: int) -> str:
    return textwrap.indent(_dumped(value), " " * column)


def _dumped(value: Any, *, flow: bool = False) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=UNBROKEN, default_flow_style=flow))


def _comment(line: str) -> str:
    """The comment at the end of a line, with the space before it."""
    found = _COMMENT(line)
    return found[0] if found else ""
