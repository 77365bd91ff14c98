"""Reads YAML text into plain data: dicts with text keys, lists, text, numbers, truth values, None.

Stricter than `yaml.safe_load` where that hides mistakes: a key given twice is an error (YAML 1.2, section
3.2.1.3), there is one document, and there are no tags but those of the core types. Keys and dates stay text.
Built from the parser's events instead of PyYAML's own tree, whose compiled builder overflows the stack on
deep nesting; that also gives every error its key path. Anchors and aliases work, merge keys (`<<`) do not.

Knows nothing of what the keys mean.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from proxy.schema import INVALID, Errors, below

MAX_DEPTH: Final = 32
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE: Final = "tag:yaml.org,2002:"


def read(text: str, errors: Errors) -> object:
    """The one document of `text`; None when it is empty. Broken parts are INVALID and named in `errors`."""
    try:
        loader = _LOADER(text)
    except (yaml.YAMLError, ValueError) as error:
        errors.add("", f"not YAML: {_explained(error)}")
        return INVALID
    try:
        return _Tree(loader, errors).document()
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        errors.add("", f"not YAML: {_explained(error)}")
        return INVALID
    finally:
        loader.dispose()


class _Tree:
    """One pass over a loader's events."""

    def __init__(self, loader: Any, errors: Errors) -> None:
        self._loader = loader
        self._errors = errors
        self._anchors: dict[str, object] = {}

    def document(self) -> object:
        self._loader.get_event()
        if self._loader.check_event(yaml.StreamEndEvent):
            return None
        self._loader.get_event()
        value = self._value("", 0)
        self._loader.get_event()
        if not self._loader.check_event(yaml.StreamEndEvent):
            self._errors.add("", "holds more than one YAML document; keep one and remove the `---` lines")
        return value

    def _value(self, path: str, depth: int) -> object:
        event = self._loader.get_event()
        if depth > MAX_DEPTH:
            raise ValueError(f"line {event.start_mark.line + 1}: nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                self._errors.add(path, f"refers to *{event.anchor}, which is not defined above this line")
                return INVALID
            return self._anchors[event.anchor]
        value: object
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, path)
        elif event.tag not in (None, "!", f"{_CORE}map", f"{_CORE}seq"):
            self._skip()
            self._errors.add(path, f"has the tag {event.tag!r}; remove it")
            value = INVALID
        elif isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(path, depth)
        else:
            value = self._sequence(path, depth)
        if event.anchor:
            self._anchors[event.anchor] = value
        return value

    def _mapping(self, path: str, depth: int) -> dict[str, object]:
        result: dict[str, object] = {}
        lines: dict[str, int] = {}
        while not self._loader.check_event(yaml.MappingEndEvent):
            line = self._loader.peek_event().start_mark.line + 1
            name = self._key(path, line)
            value = self._value(below(path, name) if name is not None else path, depth + 1)
            if name is None:
                continue
            if name in lines:
                message = f"given twice, in line {lines[name]} and in line {line}; keep one of them"
                self._errors.add(below(path, name), message)
            result[name], lines[name] = value, line
        self._loader.get_event()
        return result

    def _key(self, path: str, line: int) -> str | None:
        event = self._loader.get_event()
        if isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        if not isinstance(event, yaml.AliasEvent):
            self._skip()
        self._errors.add(path, f"the key in line {line} is not text; write it as a plain word")
        return None

    def _sequence(self, path: str, depth: int) -> list[object]:
        result: list[object] = []
        while not self._loader.check_event(yaml.SequenceEndEvent):
            result.append(self._value(f"{path}[{len(result)}]", depth + 1))
        self._loader.get_event()
        return result

    def _skip(self) -> None:
        """Passes over the rest of a collection whose start has been taken."""
        open_collections = 1
        while open_collections:
            event = self._loader.get_event()
            if isinstance(event, yaml.CollectionStartEvent):
                open_collections += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                open_collections -= 1

    def _scalar(self, event: yaml.ScalarEvent, path: str) -> object:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
            if tag not in (f"{_CORE}int", f"{_CORE}float", f"{_CORE}bool", f"{_CORE}null"):
                return event.value
        node = yaml.ScalarNode(tag, event.value)
        try:
            match tag.removeprefix(_CORE):
                case "str":
                    return event.value
                case "null":
                    return None
                case "bool":
                    return self._loader.construct_yaml_bool(node)
                case "float":
                    return self._loader.construct_yaml_float(node)
                case "int":
                    value = self._loader.construct_yaml_int(node)
                    if abs(value) < 2**63:
                        return value
                    self._errors.add(path, "is too large a number")
                case _:
                    self._errors.add(path, f"has the tag {tag!r}; remove it")
        except (ValueError, KeyError, IndexError, OverflowError):
            self._errors.add(path, "is not what its tag says, or too large a number")
        return INVALID


def _explained(error: Exception) -> str:
    """An error of the YAML parser on one line, with the line and column it gives (counted from 1)."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = getattr(error, "problem", None) or "cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
