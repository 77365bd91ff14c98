"""Checks plain data (dicts, lists, text, numbers) against dataclasses, and turns it into them.

A configuration class is declared with `@record`, each of its keys with `key(check, default=...)`; the key's
name is the field's name. A check takes a value, its path and the list of errors, and gives back what the
field will hold, or adds an error and gives back `INVALID`. Checking goes on after an error, so that one run
finds them all; a record's `problems` method adds what can only be seen by comparing keys.

Knows nothing of files, YAML or what the keys mean; has no side effects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Final, TypeVar, dataclass_transform

T = TypeVar("T")
Check = Callable[[object, str, "Errors"], Any]
"""Takes a value, its key path and where to put errors; gives the value for the field, or INVALID."""

_INDEX: Final = re.compile(r"\[[0-9]+\]")
_PLAIN_NAME: Final = re.compile(r"[\w.-]{1,100}").fullmatch

Problem = tuple[str, str]
"""A key path relative to the record ("" for the record itself) and what is wrong there."""


class Errors:
    """The errors found so far, one line each: `key.path: what is wrong and what to do`."""

    def __init__(self, origins: dict[str, str] | None = None) -> None:
        """`origins` names, by key path (`[]` for any index), where a value came from if not from the file."""
        self.lines: list[str] = []
        self._origins = origins or {}

    def add(self, path: str, message: str) -> None:
        origin = self._origins.get(_INDEX.sub("[]", path).removesuffix("[]"))
        self.lines.append(f"{path or 'file'}: {message}{f' (from {origin})' if origin else ''}")


class _Invalid:
    """Stands in for a value that failed its check, so that what surrounds it can still be checked.

    It has no items, is neither above nor below anything, and each of its attributes is itself. It never
    leaves this package: where there is an error, no configuration is handed out.
    """

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __gt__(self, other: object) -> bool:
        return False

    __lt__ = __gt__

    def __getattr__(self, name: str) -> _Invalid:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


INVALID: Final[Any] = _Invalid()


def key(
    check: Check,
    *,
    default: Any = MISSING,
    derive: Callable[[dict[str, Any]], Any] | None = None,
    render: Callable[[Any], Any] | None = None,
) -> Any:
    """One key of a record. It must be given unless it has a `default`, or `derive` makes one.

    `derive` takes the values of the keys declared above it, by name, without those that are left at their
    default. `render` undoes `check` for `plain`.
    """
    return field(default=default, metadata={"check": check, "derive": derive, "render": render})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(key,))
def record(cls: type[T]) -> type[T]:
    """Makes a frozen, slotted, keyword-only dataclass."""
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


def plain(value: Any) -> Any:
    """The JSON-ready form of a record, as it would be written in the file; keys that are off are left out."""
    if is_dataclass(value):
        result = {}
        for item in fields(value):
            held, render = getattr(value, item.name), item.metadata.get("render")
            if held is not None:
                result[item.name] = plain(render(held) if render else held)
        return result
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def below(path: str, name: str) -> str:
    """The path of key `name` of the mapping at `path`."""
    shown = name if _PLAIN_NAME(name) else repr(name[:100])
    return f"{path}.{shown}" if path else shown


def described(value: object) -> str:
    """A value as an error message names it: short, on one line."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the truth value {str(value).lower()}"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return repr(value if len(value) <= 60 else value[:57] + "...")
        case _:
            return str(value)


def repeated(items: Iterable[Any], attribute: str) -> Iterator[tuple[int, int, Any]]:
    """Yields (index, index of the first one, value) for each item whose attribute an earlier item has too."""
    first: dict[Any, int] = {}
    for index, item in enumerate(items):
        value = getattr(item, attribute)
        if value is not INVALID and first.setdefault(value, index) != index:
            yield index, first[value], value


def section(cls: type[Any]) -> Check:
    """A mapping that becomes the record `cls`."""
    known = {item.name: item for item in fields(cls)}

    def check(value: object, path: str, errors: Errors) -> Any:
        if not isinstance(value, dict):
            errors.add(path, f"must be a mapping with the keys {', '.join(known)}, not {described(value)}")
            return INVALID
        for name in value:
            if name not in known:
                errors.add(below(path, name), f"unknown key; {suggestion(name, known)}")
        values = {}
        for name, item in known.items():
            if name in value:
                values[name] = _run(item.metadata["check"], value[name], below(path, name), errors)
            elif derive := item.metadata["derive"]:
                values[name] = derive(values)
            elif item.default is MISSING:
                errors.add(below(path, name), "missing; this key must be given")
                values[name] = INVALID
        made = cls(**values)
        for place, message in made.problems() if hasattr(made, "problems") else ():
            errors.add(f"{path}.{place}".strip("."), message)
        return made

    return check


def items(check_item: Check, *, at_least: int = 0) -> Check:
    """A list that becomes a tuple."""

    def check(value: object, path: str, errors: Errors) -> Any:
        if not isinstance(value, list):
            errors.add(path, f"must be a list, not {described(value)}")
            return INVALID
        if len(value) < at_least:
            errors.add(path, f"must have {at_least} or more entries, not {len(value)}")
        return tuple(_run(check_item, item, f"{path}[{i}]", errors) for i, item in enumerate(value))

    return check


def pairs(check_value: Check) -> Check:
    """A mapping with free names that becomes a tuple of (name, value) in the order of the file."""

    def check(value: object, path: str, errors: Errors) -> Any:
        if not isinstance(value, dict) or not value:
            errors.add(path, f"must be a mapping with at least one entry, not {described(value or None)}")
            return INVALID
        return tuple((name, _run(check_value, held, below(path, name), errors)) for name, held in value.items())

    return check


def text(pattern: str, meaning: str) -> Check:
    """Text that matches `pattern` from end to end; `meaning` completes the sentence "must be ..."."""
    matches = re.compile(pattern).fullmatch

    def check(value: object, path: str, errors: Errors) -> Any:
        if not isinstance(value, str):
            quote = "; put it in quotes" if isinstance(value, (int, float)) else ""
            errors.add(path, f"must be {meaning}, not {described(value)}{quote}")
            return INVALID
        if not matches(value):
            errors.add(path, f"must be {meaning}, not {described(value)}")
            return INVALID
        return value

    return check


def choice(*options: str) -> Check:
    """One of the words `options`."""

    def check(value: object, path: str, errors: Errors) -> Any:
        if not isinstance(value, str) or value not in options:
            hint = f"; {suggestion(value, options)}" if isinstance(value, str) else ""
            errors.add(path, f"must be one of {', '.join(options)}, not {described(value)}{hint}")
            return INVALID
        return value

    return check


def number(low: float, high: float) -> Check:
    """A number from `low` to `high`, both included; becomes a float."""

    def check(value: object, path: str, errors: Errors) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            unit = "; the unit is part of the key's name" if isinstance(value, str) else ""
            errors.add(path, f"must be a number from {low:g} to {high:g}, not {described(value)}{unit}")
            return INVALID
        return float(value)

    return check


def integer(low: int, high: int) -> Check:
    """A whole number from `low` to `high`, both included."""

    def check(value: object, path: str, errors: Errors) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            errors.add(path, f"must be a whole number from {low} to {high}, not {described(value)}")
            return INVALID
        return value

    return check


@dataclass(frozen=True, slots=True)
class Nullable:
    """A check of a key that may say `null`: nothing, whatever its default is."""

    check: Check

    def __call__(self, value: object, path: str, errors: Errors) -> Any:
        return None if value is None else self.check(value, path, errors)


def flag(value: object, path: str, errors: Errors) -> Any:
    """A check: true or false."""
    if isinstance(value, bool):
        return value
    errors.add(path, f"must be true or false, not {described(value)}")
    return INVALID


def _run(check: Check, value: object, path: str, errors: Errors) -> Any:
    """Checks a value that was given; one that is broken in itself has been reported already."""
    if value is INVALID:
        return INVALID
    if value is None and not isinstance(check, Nullable):
        errors.add(path, "has no value; give it one, or remove the key")
        return INVALID
    return check(value, path, errors)


def suggestion(word: str, known: Iterable[str]) -> str:
    """ "did you mean ...?" for a word that is not among the known ones, or the known ones."""
    # Imported here: it is needed for wrong files only, and a sidecar's memory counts.
    from difflib import get_close_matches

    near = get_close_matches(word[:100], known := list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
