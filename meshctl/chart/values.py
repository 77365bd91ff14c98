"""The chart's values: its defaults, what a user sets on top, and the check of both together by values.schema.json.

Merged as Helm merges: maps key by key, all else as a whole. Every error names its key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from meshctl.chart.render import chart_files
from proxy import yamltree
from proxy.schema import INVALID, Errors, below, described, suggestion

_KEY: Final = re.compile(r"(?:[^.\\]|\\.)+")
_NUMBER: Final = re.compile(r"0|-?[1-9][0-9]*").fullmatch
_WORDS: Final = {"true": True, "false": False, "null": None}

_TYPES: Final = {"object": "a mapping", "array": "a list", "string": "text", "boolean": "true or false"}

Values = dict[str, Any]


class ValuesError(ValueError):
    """Values that cannot be used; `errors` has a line for each, which begins with its key."""

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(self.errors))


def defaults() -> Values:
    """The chart's own values."""
    return read((chart_files() / "values.yaml").read_text())


def read(text: str) -> Values:
    """The values in a YAML file. Raises `ValuesError`."""
    errors = Errors()
    tree = yamltree.read(text, errors)
    if tree is not INVALID and tree is not None and not isinstance(tree, dict):
        errors.add("", f"must be a mapping, not {described(tree)}")
    if errors.lines:
        raise ValuesError(errors.lines)
    return tree if isinstance(tree, dict) else {}


def setting(text: str) -> Values:
    """The values that `key.of.key=value` means. Raises `ValuesError`.

    true, false, null and whole numbers are what they look like; what begins with a bracket, a brace or a quote is
    YAML; all else is text. A dot within a key has a backslash before it.
    """
    path, equals, value = text.partition("=")
    keys = [key.replace("\\", "") for key in _KEY.findall(path)]
    if not equals or not keys or ".".join(_KEY.findall(path)) != path:
        raise ValuesError([f"{text[:60]!r}: must be KEY=VALUE, such as webhook.failurePolicy=Fail"])
    held: Any = _typed(path, value)
    for key in reversed(keys):
        held = {key: held}
    return dict(held)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Values:
    """`base` with what `over` says."""
    result = dict(base)
    for key, value in over.items():
        held = result.get(key)
        if isinstance(held, Mapping) and isinstance(value, Mapping):
            value = merged(held, value)
        result[key] = value
    return result


def without_nulls(values: Mapping[str, Any]) -> Values:
    """`values` without the keys that are null: what is not given has its default."""
    given = {key: value for key, value in values.items() if value is not None}
    return {key: without_nulls(value) if isinstance(value, Mapping) else value for key, value in given.items()}


def check(values: Mapping[str, Any]) -> None:
    """Raises `ValuesError` unless all values together are right."""
    from jsonschema import Draft202012Validator

    schema = json.loads((chart_files() / "values.schema.json").read_text())
    found = sorted(Draft202012Validator(schema).iter_errors(values), key=lambda error: list(map(str, error.path)))
    if found:
        raise ValuesError([line for error in found for line in _lines(error)])


def _typed(path: str, value: str) -> Any:
    if value in _WORDS:
        return _WORDS[value]
    if _NUMBER(value):
        return int(value)
    if value[:1] in ("[", "{", '"', "'"):
        errors = Errors()
        tree = yamltree.read(value, errors)
        if errors.lines:
            raise ValuesError([f"{path}: {errors.lines[0].removeprefix('file: ')}"])
        return tree
    return value


def _lines(error: Any) -> Iterator[str]:
    """What an error of the schema says, in words; unknown keys one by one."""
    path = ""
    for part in error.absolute_path:
        path = f"{path}[{part}]" if isinstance(part, int) else below(path, part)
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        for key in error.instance:
            if key not in known:
                yield f"{below(path, key)}: unknown key; {suggestion(key, known)}"
    elif error.validator == "required":
        yield f"{path or 'values'}: {error.message}"
    elif error.validator == "enum":
        yield f"{path}: must be one of {', '.join(error.validator_value)}, not {described(error.instance)}"
    elif meaning := error.schema.get("description"):
        yield f"{path}: must be {meaning}, not {described(error.instance)}"
    elif error.validator == "type":
        yield f"{path}: must be {_TYPES[error.validator_value]}, not {described(error.instance)}"
    else:
        yield f"{path}: {error.message}"
