"""Manifests as text: their documents, the data in them, and a document's text after a JSON Patch.

Owns what a manifest looks like. A document that nothing changes comes out byte for byte. One that does is, in this
order of preference, JSON written as JSON, its own text with lines put in or taken out (`meshctl.splice`), or its tree
written anew by ruamel.yaml with comments and order kept. Whichever it was, the result is read again and must say what
the patch says. YAML is read as Kubernetes does, by version 1.1 (`yes` is true). What a patch is for is not known here.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, MutableMapping, MutableSequence, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from injector.report import Operation
from meshctl.splice import UNBROKEN, NotBlockStyleError, spliced

SUFFIXES: Final = (".yaml", ".yml", ".json")
STDIN: Final = "-"

_BEGINNING: Final = re.compile(r"^---(?=[ \t\r\n]|$)", re.MULTILINE).search
_LIST: Final = re.compile(r"^( *(?:- +)*)[^ \n#-][^\n]*:[ \t]*(?:#[^\n]*)?\n( *)- ", re.MULTILINE).search
_INDENT: Final = re.compile(r"\n([ \t]+)\S").search


class ManifestError(Exception):
    """A file that cannot be read or rewritten; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file, and what it says; `data` is None for an empty one."""

    source: str
    text: str
    data: Any

    def patched(self, patch: Sequence[Operation]) -> str:
        """The text after the patch. Raises `ManifestError`."""
        if not patch:
            return self.text
        expected = apply(_unshared(self.data), patch)
        if self.text.lstrip().startswith("{") and (as_json := _as_json(self.text, expected)):
            return as_json
        for write in (_spliced, _rewritten):
            try:
                text = write(self.text, patch)
                if _read(text) == expected:
                    return text
            except (NotBlockStyleError, YAMLError, LookupError, TypeError):
                continue
        raise ManifestError(f"{self.source}: cannot be rewritten; write it without YAML's anchors and aliases")


def sources(path: str) -> list[str]:
    """The files that an argument names: itself, or the manifests in a directory, sorted."""
    if path == STDIN or not Path(path).is_dir():
        return [path]
    return [str(each) for each in sorted(Path(path).iterdir()) if each.suffix in SUFFIXES and each.is_file()]


def documents(source: str, text: str) -> list[Document]:
    """The documents of a file. Raises `ManifestError`."""
    found = []
    for number, part in enumerate(_parts(text), 1):
        try:
            found.append(Document(source, part, _unshared(_read(part))))
        except (YAMLError, ValueError, RecursionError) as error:
            cause = " ".join(str(getattr(error, "problem", "") or error).split())[:300]
            hint = "; a template has to be rendered first, by `helm template` say" if "{{" in part else ""
            raise ManifestError(f"{source}: document {number}: {cause}{_line(error)}{hint}") from error
    return found


def joined(texts: Sequence[str]) -> str:
    """Documents as one stream: each begins with its marker, if it is not the first."""
    stream = ""
    for text in texts:
        if stream and not stream.endswith("\n"):
            stream += "\n"
        stream += f"---\n{text}" if stream.strip() and not _BEGINNING(text) else text
    return stream


def apply(data: Any, patch: Sequence[Operation]) -> Any:
    """Changes `data` as the patch says: plain, or ruamel.yaml's with comments. Returns it."""
    for operation in patch:
        *way, name = (word.replace("~1", "/").replace("~0", "~") for word in operation["path"].split("/")[1:])
        here = data
        for word in way:
            here = here[int(word)] if isinstance(here, MutableSequence) else here[word]
        if isinstance(here, MutableSequence):
            _apply_to_list(here, operation, name)
        else:
            _apply_to_mapping(here, operation, name)
    return data


def _apply_to_list(here: MutableSequence[Any], operation: Operation, name: str) -> None:
    if operation["op"] == "remove":
        del here[int(name)]
    else:
        here.insert(len(here) if name == "-" else int(name), operation["value"])


def _apply_to_mapping(here: MutableMapping[str, Any], operation: Operation, name: str) -> None:
    if operation["op"] == "remove":
        del here[name]
    else:
        here[name] = operation["value"]


def _parts(text: str) -> Iterator[str]:
    """The text cut before each `---`. What comes before the first one is a part only if it says something."""
    begin = 0
    while found := _BEGINNING(text, _next_line(text, begin)):
        yield text[begin : found.start()]
        begin = found.start()
    yield text[begin:]


def _next_line(text: str, begin: int) -> int:
    end = text.find("\n", begin)
    return len(text) if end < 0 else end + 1


def _read(text: str) -> Any:
    return _parser("safe").load(text)


def _unshared(data: Any) -> Any:
    """A copy in which nothing is the same object twice, as an alias and its anchor are."""
    if isinstance(data, dict):
        return {key: _unshared(value) for key, value in data.items()}
    return [_unshared(item) for item in data] if isinstance(data, list) else data


def _parser(kind: str) -> YAML:
    parser = YAML(typ=kind, pure=True)
    parser.version = "1.1"
    return parser


def _spliced(text: str, patch: Sequence[Operation]) -> str:
    root = _parser("safe").compose(text)
    if root is None:
        raise NotBlockStyleError
    return spliced(text, root, patch)


def _rewritten(text: str, patch: Sequence[Operation]) -> str:
    parser = YAML(typ="rt", pure=True)
    parser.preserve_quotes = True
    parser.width = UNBROKEN
    parser.explicit_start = bool(_BEGINNING(text))
    found = _LIST(text)
    offset = max(0, len(found[2]) - len(found[1])) if found else 0  # of a list's dashes from their key
    parser.indent(mapping=2, sequence=2 + offset, offset=offset)
    written = io.StringIO()
    parser.dump(apply(parser.load(text), patch), written)
    return written.getvalue()


def _as_json(text: str, data: Any) -> str | None:
    """JSON again if it was JSON, indented as it was."""
    try:
        json.loads(text)
    except ValueError:
        return None
    found = _INDENT(text)
    return json.dumps(data, indent=found[1] if found else None, ensure_ascii=False) + "\n"


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" (its line {mark.line + 1})" if mark is not None else ""
